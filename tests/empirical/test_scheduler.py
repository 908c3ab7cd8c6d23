import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from empirical.scheduler import Outcome, Task, run_tasks


def note(folder: str, name: str) -> str:
    with open(Path(folder) / "order.txt", "a") as file:
        file.write(name + "\n")
    return name


def fail(reason: str) -> None:
    raise ValueError(reason)


def die(folder: str, name: str) -> str:
    """Dies the first time, works the second."""
    marker = Path(folder) / f"{name}.died"
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return name


def always_die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def threads() -> tuple[int, str]:
    import torch

    return torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]


def announce(folder: str) -> None:
    """Says who it is, then works far longer than the test waits."""
    path = Path(folder) / "worker.tmp"
    path.write_text(str(os.getpid()))
    path.rename(Path(folder) / "worker")
    time.sleep(300)


def sleepy(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def outcomes(tasks: list[Task], jobs: int = 1) -> dict[str, Outcome]:
    return {outcome.task.name: outcome for outcome in run_tasks(tasks, jobs=jobs)}


def test_order_needs_failures_and_dead_workers(tmp_path: Path) -> None:
    folder = str(tmp_path)
    tasks = [
        Task("late", note, (folder, "late"), needs=("early",)),
        Task("early", note, (folder, "early")),
        Task("bad", fail, ("no such luck",)),
        Task("after bad", note, (folder, "after bad"), needs=("bad",)),
        Task("mortal", die, (folder, "mortal")),
        # After it: a pool that doomed breaks could end mortal before its first death, which would then be its second chance.
        Task("doomed", always_die, needs=("mortal",)),
        Task("last", note, (folder, "last")),
    ]
    found = outcomes(tasks, jobs=2)
    order = (tmp_path / "order.txt").read_text().split("\n")
    assert order.index("early") < order.index("late")
    assert found["bad"].failure == "ValueError: no such luck"
    assert found["after bad"].failure == "needs bad, which failed"
    assert "after bad" not in order
    assert found["mortal"].value == "mortal"
    assert found["doomed"].failure == "its worker process died (killed, or out of memory)"
    assert found["last"].value == "last"
    assert set(found) == {task.name for task in tasks}


def test_a_worker_that_dies_while_the_caller_is_busy_costs_nothing(tmp_path: Path) -> None:
    folder = str(tmp_path)
    tasks = [Task("first", note, (folder, "first")), Task("mortal", die, (folder, "mortal"))]
    tasks += [Task(f"t{i}", note, (folder, f"t{i}")) for i in range(6)]
    found = []
    for outcome in run_tasks(tasks, jobs=2):
        assert outcome.failure is None
        found.append(outcome.task.name)
        time.sleep(0.5)  # as long as drawing a figure
    assert sorted(found) == sorted(task.name for task in tasks)


def test_workers_are_few_and_have_their_own_threads() -> None:
    before = os.environ.get("OMP_NUM_THREADS")
    tasks = [Task(f"t{i}", sleepy, (0.2,)) for i in range(6)]
    found = {o.task.name: o.value for o in run_tasks([*tasks, Task("threads", threads)], jobs=2, threads=1)}
    assert found.pop("threads") == (1, "1")
    assert len(set(found.values())) == 2
    assert os.environ.get("OMP_NUM_THREADS") == before


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = (
        "from empirical.scheduler import Task, run_tasks\n"
        "from tests.empirical.test_scheduler import announce\n"
        "if __name__ == '__main__':\n"
        f"    list(run_tasks([Task('a', announce, ({str(tmp_path)!r},))], jobs=1))\n"
    )
    (tmp_path / "parent.py").write_text(script)
    root = Path(__file__).resolve().parents[2]
    parent = subprocess.Popen(
        [sys.executable, "parent.py"], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(root)}
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "worker").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    worker = int((tmp_path / "worker").read_text())
    parent.kill()
    parent.wait()
    while Path(f"/proc/{worker}/stat").exists() and time.monotonic() < deadline:
        if Path(f"/proc/{worker}/stat").read_text().split()[2] == "Z":
            break
        time.sleep(0.05)
    else:
        assert time.monotonic() < deadline, "the worker outlived its parent"


def test_an_unknown_need_is_refused() -> None:
    with pytest.raises(ValueError, match="needs nobody"):
        list(run_tasks([Task("a", fail, ("x",), needs=("nobody",))], jobs=1))

"""What the tests let SLURM jobs do; a module of its own, because jobs import it on their node."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE = 300.0


def until(what: str, ready: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE:.0f} s"
        time.sleep(0.2)


def note(folder: str, name: str) -> dict[str, str]:
    """Leaves a line for every time it is called."""
    with open(Path(folder) / f"{name}.calls", "a") as file:
        file.write(f"{os.environ.get('SLURMD_NODENAME', '')} {os.environ.get('SLURM_RESTART_COUNT', '0')}\n")
    return {"name": name}


def calls(folder: str | Path, name: str) -> list[list[str]]:
    """(node, restarts) of every call of `note` with that name."""
    path = Path(folder) / f"{name}.calls"
    return [line.split(" ") for line in path.read_text().splitlines()] if path.exists() else []


def wait_for_release(folder: str, name: str) -> dict[str, str]:
    """Notes that it is here, then works until the file `release` appears."""
    found = note(folder, name)
    while not (Path(folder) / "release").exists():
        time.sleep(0.1)
    return found


def fail(reason: str) -> None:
    raise ValueError(reason)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def drive(folder: str, names: list[str], function: str = "wait_for_release") -> None:
    """A driver of its own process, for tests that kill it: runs one task per name and leaves their outcomes."""
    import json

    from empirical.cluster import SlurmOptions, run_tasks_on_slurm
    from empirical.task_graph import Task

    tasks = [Task(name, globals()[function], (folder, name)) for name in names]
    options = SlurmOptions(poll_seconds=0.5, lag_seconds=5.0)
    found = {
        outcome.task.name: outcome.value if outcome.failure is None else outcome.failure
        for outcome in run_tasks_on_slurm(tasks, slurm=options, folder=Path(folder) / "study", say=print)
    }
    (Path(folder) / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    import sys

    import cluster_tasks  # by its own name, so that jobs find the functions again

    cluster_tasks.drive(sys.argv[1], sys.argv[2:])

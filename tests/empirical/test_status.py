"""What `study_status.py` says: states of runs, marks of workers that live or died, time left."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import pandas as pd
import pytest

from empirical.errors import StudyError
from empirical.records import FORMAT, exclusive, write_json
from empirical.running import Mark, announced, is_running, running_tasks
from empirical.status import STATES, read_status, status_text
from empirical.study import failure_path, write_plan
from empirical.study_plan import Study, StudyOptions, plan_study
from empirical.task_graph import Task
from experiments.study_status import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    overrides = {"sizes": (32, 64), "epochs": 1, "test_images": 60}
    options = StudyOptions(out=tmp_path, preset="smoke", overrides=overrides)
    study = plan_study(options)
    write_plan(study, options)
    return study


def finish(study: Study, name: str, seconds: float, **changes: object) -> None:
    run = next(run for run in study.runs if run.name == name)
    record = {
        "format": FORMAT, "run": name, "results": {}, "seconds": seconds, "environment": {"device_name": "a CPU"},
        "fingerprint": study.context.run_fingerprint(run),
    }  # fmt: skip
    write_json(study.context.record_path(name), record | changes)


def fail(study: Study, name: str, reason: str, when: float) -> None:
    write_json(failure_path(study.context.folder, name), {"task": name, "reason": reason, "time": when})


def test_every_state_is_told_from_the_folder_alone(study: Study) -> None:
    folder, now = study.context.folder, time.time() + 60
    singles = [run for run in study.runs if run.kind == "single"]
    done, bad, running, earlier, other = (run.name for run in singles[:5])
    finish(study, done, 2.0)
    finish(study, other, 2.0, fingerprint="of other settings")
    fail(study, bad, "ValueError: no such luck", now)
    fail(study, earlier, "of an earlier start", 1.0)
    mark = Mark(folder, running)
    try:
        status = read_status(folder, now)
    finally:
        mark.remove()
    states = {run.run: run for run in status.runs}
    assert states[done].state == "done"
    assert (states[bad].state, states[bad].reason) == ("failed", "ValueError: no such luck")
    assert states[running].state == "running"
    assert str(os.getpid()) in states[running].where
    assert states[earlier].state == states[other].state == "waiting"
    assert "of an earlier start" in states[earlier].reason
    for run in study.runs:
        assert (states[run.name].state == "blocked") == (bad in run.needs), run.name
    assert sum(status.count(state) for state in STATES) == len(study.runs)
    text = status_text(status)
    assert f"{bad}: ValueError: no such luck" in text
    assert f"1 of {len(study.runs)} runs done" in text
    table = status.table()
    assert list(table.columns) == ["run", "kind", "state", "reason", "seconds", "where"]
    assert len(table) == len(study.runs)


def test_a_source_that_failed_blocks_its_runs(study: Study) -> None:
    name = next(task.name for task in study.data_tasks if "stock" in task.name)
    fail(study, name, "DataError: nothing to read", time.time() + 1)
    status = read_status(study.context.folder, time.time())
    assert dict(status.failed_data) == {name: "DataError: nothing to read"}
    blocked = {run.run for run in status.runs if run.state == "blocked"}
    assert {run.name for run in study.runs if any(draw.source == "stock" for draw in run.draws)} <= blocked
    assert "stock-seed0: DataError: nothing to read" in status_text(status)


def test_time_left_is_the_cost_left_at_the_measured_rate(study: Study) -> None:
    folder, costs = study.context.folder, study.costs()
    assert read_status(folder, time.time()).remaining_seconds is None
    first = next(run for run in study.runs if run.kind == "single")
    finish(study, first.name, 10.0)
    left = sum(cost for name, cost in costs.items() if name != first.name)
    status = read_status(folder, time.time())
    jobs = 2
    assert status.remaining_seconds == pytest.approx(left / (costs[first.name] / 10.0) / jobs)
    # What is prepared is not counted again.
    task = study.data_tasks[0].name
    stamp = folder / "arrays" / f"{task.removeprefix('data/').removeprefix('arrays/')}.json"
    write_json(stamp, {})
    left -= costs[task]
    assert read_status(folder, time.time()).remaining_seconds == pytest.approx(
        left / (costs[first.name] / 10.0) / jobs
    )


def test_marks_die_with_their_worker(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from empirical.running import Mark\n"
        f"mark = Mark(Path({str(tmp_path)!r}), 'a'); print('marked', flush=True); time.sleep(300)"
    )
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "SLURM_ARRAY_JOB_ID": "7",
        "SLURM_ARRAY_TASK_ID": "3",
    }
    worker = subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE)
    assert worker.stdout is not None
    assert worker.stdout.readline() == b"marked\n"
    found = running_tasks(tmp_path)["a"]
    assert (found.process, found.job) == (worker.pid, "7_3")
    worker.kill()
    worker.wait()
    worker.stdout.close()
    assert not running_tasks(tmp_path)
    assert list((tmp_path / "running").iterdir())  # the mark is there, and nobody believes it
    task = announced(Task("a", lambda: list(running_tasks(tmp_path))), tmp_path)
    assert task.function(*task.arguments) == ["a"]
    assert not list((tmp_path / "running").iterdir())


def test_a_study_that_runs_is_seen_and_not_disturbed(tmp_path: Path) -> None:
    assert not is_running(tmp_path)
    with exclusive(tmp_path):
        assert is_running(tmp_path)
    assert not is_running(tmp_path)
    with exclusive(tmp_path):
        pass


@pytest.fixture
def nfs_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks as Linux gives them over NFS: an exclusive one needs a file open for writing (flock(2))."""
    fcntl = pytest.importorskip("fcntl")
    flock = fcntl.flock

    def over_nfs(file: int | IO[str], operation: int) -> None:
        number = file if isinstance(file, int) else file.fileno()
        if operation & fcntl.LOCK_EX and fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        flock(number, operation)

    monkeypatch.setattr(fcntl, "flock", over_nfs)


@pytest.mark.usefixtures("nfs_locks")
def test_what_ended_is_not_said_to_run_on_nfs(tmp_path: Path) -> None:
    with exclusive(tmp_path):
        assert is_running(tmp_path)
    assert not is_running(tmp_path)
    mark = Mark(tmp_path, "a")
    assert running_tasks(tmp_path).keys() == {"a"}
    mark._file.close()  # as after kill -9: the file stays, the lock is gone
    assert not running_tasks(tmp_path)


def test_the_command(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    finish(study, study.runs[0].name, 1.0)
    out = tmp_path / "status.csv"
    monkeypatch.setattr(sys, "argv", ["study_status.py", str(tmp_path), "--out", str(out)])
    assert main() == 0
    printed = capsys.readouterr().out
    assert "stopped; about" in printed
    assert "Next: the command that started the study goes on from here" in printed
    assert pd.read_csv(out)["state"].value_counts()["done"] == 1
    monkeypatch.setattr(sys, "argv", ["study_status.py", str(tmp_path / "nowhere")])
    assert main() == 2
    assert "no study was started here" in capsys.readouterr().err


def test_a_study_of_an_older_version_is_said_to_be_one(tmp_path: Path) -> None:
    write_json(tmp_path / "study.json", {"preset": "smoke"})
    with pytest.raises(StudyError, match="older version"):
        read_status(tmp_path, 0.0)

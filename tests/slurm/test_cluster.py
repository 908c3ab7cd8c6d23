"""Studies as SLURM jobs, on a real SLURM of two nodes: arrays, failures, preemption, lost nodes, lost connections."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cluster_tasks
import pytest
from cluster_tasks import PATIENCE, calls, die, fail, note, until, wait_for_release
from local_cluster import NODES, LocalCluster

from empirical.cluster import SlurmOptions, run_tasks_on_slurm
from empirical.errors import StudyError
from empirical.scheduler import run_tasks
from empirical.slurm_jobs import job_name, queue
from empirical.task_graph import Outcome, Task

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = SlurmOptions(poll_seconds=0.5, lag_seconds=5.0)


def outcomes(tasks: list[Task], folder: Path, options: SlurmOptions = OPTIONS) -> dict[str, Outcome]:
    return {outcome.task.name: outcome for outcome in run_tasks_on_slurm(tasks, slurm=options, folder=folder)}


def test_outcomes_are_those_of_the_scheduler_here(cluster: LocalCluster, tmp_path: Path) -> None:
    """Order, values, failures and what they block: the same graph on SLURM and on worker processes."""

    def graph(folder: Path) -> list[Task]:
        folder.mkdir()
        return [
            Task("late", note, (str(folder), "late"), needs=("early",)),
            Task("early", note, (str(folder), "early")),
            Task("bad", fail, ("no such luck",)),
            Task("after bad", note, (str(folder), "after-bad"), needs=("bad",)),
            Task("after that", note, (str(folder), "after-that"), needs=("after bad",)),
            Task("last", note, (str(folder), "last"), needs=("done before",)),
        ]

    here = {o.task.name: o for o in run_tasks(graph(tmp_path / "here"), jobs=1, done=("done before",))}
    there: dict[str, Outcome] = {}
    tasks = graph(tmp_path / "there")
    for outcome in run_tasks_on_slurm(tasks, slurm=OPTIONS, folder=tmp_path, done=("done before",)):
        there[outcome.task.name] = outcome
    assert there.keys() == here.keys()
    for name, outcome in there.items():
        expected = here[name]
        assert (outcome.value, outcome.failure, outcome.blocked_by) == (
            expected.value,
            expected.failure,
            expected.blocked_by,
        )
    assert len(calls(tmp_path / "there", "late")) == 1
    assert not calls(tmp_path / "there", "after-bad")
    # What was ready together was one array.
    words = ("sacct", "-n", "-X", "-P", "-o", "JobID", f"--name={job_name(tmp_path / 'slurm')}")
    # The accounts come some moments after the jobs.
    until("the account of four tasks", lambda: len(cluster.command(*words).split()) >= 4)
    assert sorted(job.partition("_")[2] for job in cluster.command(*words).split()) == ["", "0", "1", "2"]


def test_both_nodes_work_and_runs_can_share_a_job(cluster: LocalCluster, tmp_path: Path) -> None:
    tasks = [Task(f"t{i}", wait_for_release, (str(tmp_path), f"t{i}")) for i in range(4)]
    tasks.insert(1, Task("bad", fail, ("alone",)))
    options = SlurmOptions(poll_seconds=0.5, lag_seconds=5.0, cpus_per_run=2, runs_per_job=3)
    with ThreadPoolExecutor(1) as background:
        future = background.submit(outcomes, tasks, tmp_path, options)
        # Three tasks per job, two cores per job and per node: the first task of each job runs, on a node of its own.
        until("two nodes at work", lambda: calls(tmp_path, "t0") and calls(tmp_path, "t2"))
        assert not calls(tmp_path, "t1")
        (tmp_path / "release").touch()
        found = future.result(PATIENCE)
    assert {calls(tmp_path, name)[0][0] for name in ("t0", "t2")} == set(NODES)
    assert found.pop("bad").failure == "ValueError: alone"
    assert {name: outcome.value for name, outcome in found.items()} == {
        f"t{i}": {"name": f"t{i}"} for i in range(4)
    }
    assert all(len(calls(tmp_path, f"t{i}")) == 1 for i in range(4))


def test_a_preempted_job_starts_again_and_counts_once(cluster: LocalCluster, tmp_path: Path) -> None:
    tasks = [Task(f"t{i}", wait_for_release, (str(tmp_path), f"t{i}")) for i in range(2)]
    options = SlurmOptions(poll_seconds=0.5, lag_seconds=5.0, partition="batch", cpus_per_run=2)
    with ThreadPoolExecutor(1) as background:
        future = background.submit(outcomes, tasks, tmp_path, options)
        until("both at work", lambda: calls(tmp_path, "t0") and calls(tmp_path, "t1"))
        cluster.command(
            "sbatch",
            "-p",
            "urgent",
            "-N",
            "2",
            "--exclusive",
            "-o",
            "/dev/null",
            "--wrap",
            "sleep 1",
            "--wait",
        )
        until("both at work again", lambda: all(len(calls(tmp_path, f"t{i}")) == 2 for i in range(2)))
        (tmp_path / "release").touch()
        found = future.result(PATIENCE)
    assert {name: outcome.value for name, outcome in found.items()} == {
        "t0": {"name": "t0"},
        "t1": {"name": "t1"},
    }
    assert [restarts for _, restarts in calls(tmp_path, "t0")] == ["0", "1"]


def test_a_lost_node_costs_its_run_a_new_start_elsewhere(cluster: LocalCluster, tmp_path: Path) -> None:
    tasks = [Task("t0", wait_for_release, (str(tmp_path), "t0")), Task("t1", note, (str(tmp_path), "t1"))]
    with ThreadPoolExecutor(1) as background:
        future = background.submit(outcomes, tasks, tmp_path)
        until("at work", lambda: calls(tmp_path, "t0"))
        lost = calls(tmp_path, "t0")[0][0]
        cluster.lose_node(lost)
        try:
            until("at work elsewhere", lambda: len(calls(tmp_path, "t0")) == 2)
            (tmp_path / "release").touch()
            found = future.result(PATIENCE)
        finally:
            cluster.start_node(lost)
            until("both nodes back", lambda: cluster.node_state(lost) == "idle")
    assert {outcome.failure for outcome in found.values()} == {None}
    assert calls(tmp_path, "t0")[1][0] in set(NODES) - {lost}
    assert len(calls(tmp_path, "t1")) == 1


def test_a_job_that_is_killed_fails_alone_and_says_why(cluster: LocalCluster, tmp_path: Path) -> None:
    tasks = [
        Task("killed", die),
        Task("cancelled", wait_for_release, (str(tmp_path), "cancelled")),
        Task("after", note, (str(tmp_path), "after"), needs=("killed",)),
        Task("fine", note, (str(tmp_path), "fine")),
    ]
    with ThreadPoolExecutor(1) as background:
        future = background.submit(outcomes, tasks, tmp_path)
        until("at work", lambda: calls(tmp_path, "cancelled"))
        journal = json.loads((tmp_path / "slurm" / "jobs.json").read_text())
        cluster.command("scancel", journal["cancelled"]["job"])
        found = future.result(PATIENCE)
    assert "out of memory: raise --slurm.memory-gb" in (found["killed"].failure or "")
    assert found["after"].blocked_by == "killed"
    assert "was cancelled" in (found["cancelled"].failure or "")
    assert found["fine"].value == {"name": "fine"}


def test_jobs_outlive_their_driver_and_the_next_start_finds_them(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    folder, name = tmp_path / "study", job_name(tmp_path / "study" / "slurm")
    command = [sys.executable, str(Path(cluster_tasks.__file__)), str(tmp_path), "kept", "dropped"]
    driver = subprocess.Popen(command, cwd=tmp_path, start_new_session=True)
    until("both at work", lambda: calls(tmp_path, "kept") and calls(tmp_path, "dropped"))
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    assert len(queue(name)) == 2
    # The next start wants `kept` still, something else under the name `dropped`, and one more.
    tasks = [
        Task("kept", wait_for_release, (str(tmp_path), "kept")),
        Task("dropped", note, (str(tmp_path), "other")),
        Task("new", note, (str(tmp_path), "new"), needs=("dropped",)),
    ]
    with ThreadPoolExecutor(1) as background:
        future = background.submit(outcomes, tasks, folder)
        until("the new one", lambda: calls(tmp_path, "new"))
        assert len(calls(tmp_path, "kept")) == 1
        (tmp_path / "release").touch()
        found = future.result(PATIENCE)
    assert {each: outcome.value for each, outcome in found.items()} == {
        "kept": {"name": "kept"},
        "dropped": {"name": "other"},
        "new": {"name": "new"},
    }
    assert len(calls(tmp_path, "kept")) == len(calls(tmp_path, "other")) == 1
    until("an empty queue", lambda: not queue(name))


def test_a_driver_that_is_stopped_takes_its_jobs_along(cluster: LocalCluster, tmp_path: Path) -> None:
    command = [sys.executable, str(Path(cluster_tasks.__file__)), str(tmp_path), "one", "two", "three"]
    name = job_name(tmp_path / "study" / "slurm")
    driver = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    until("at work", lambda: calls(tmp_path, "one"))
    driver.send_signal(signal.SIGINT)
    driver.wait(PATIENCE)
    until("an empty queue", lambda: not queue(name))
    assert not (tmp_path / "found.json").exists()


def test_refused_jobs_and_silent_controllers_are_said_clearly(
    cluster: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [Task("a", note, (str(tmp_path), "a"))]
    with pytest.raises(StudyError, match=r"SLURM refused the jobs: .*partition.*--slurm.partition"):
        outcomes(tasks, tmp_path, SlurmOptions(partition="nowhere"))
    conf = tmp_path / "slurm.conf"
    conf.write_text(
        (cluster.folder / "slurm.conf")
        .read_text()
        .replace("SlurmctldPort=", "MessageTimeout=2\nSlurmctldPort=1 #")
    )
    monkeypatch.setenv("SLURM_CONF", str(conf))
    with pytest.raises(StudyError, match="SLURM does not answer: squeue"):
        outcomes(tasks, tmp_path)


STUDY = ("--preset", "smoke", "--sizes", "32", "64", "--epochs", "1", "--test-images", "60")


def study(out: Path, *more: str) -> list[str]:
    return [sys.executable, str(ROOT / "experiments" / "clip_mixtures.py"), *STUDY, "--out", str(out), *more]


def test_a_study_on_slurm_killed_and_preempted_gives_the_tables_of_one_here(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    on_slurm = ("--executor", "slurm", "--slurm.poll-seconds", "1", "--slurm.lag-seconds", "10")
    on_slurm += ("--slurm.partition", "batch")
    subprocess.run(study(here, "--jobs", "1", "--quiet"), cwd=ROOT, check=True, capture_output=True)
    driver = subprocess.Popen(
        study(there, *on_slurm), cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL
    )
    until("a first record", lambda: list((there / "records").glob("[!.]*.json")))
    cluster.command(
        "sbatch", "-p", "urgent", "-N", "2", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1", "--wait"
    )
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    finished = {path: path.stat().st_mtime_ns for path in (there / "records").glob("[!.]*.json")}
    done = subprocess.run(study(there, *on_slurm), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for path, time_ns in finished.items():
        assert path.stat().st_mtime_ns == time_ns, f"{path.name} was repeated"
    for table in ("accuracies.csv", "trends.csv", "predictions.csv", "scores.csv"):
        assert (there / table).read_bytes() == (here / table).read_bytes(), table

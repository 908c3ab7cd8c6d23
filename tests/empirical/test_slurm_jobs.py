"""SLURM jobs without a SLURM: what a job does and leaves behind, and what its end is called. The rest: tests/slurm."""

import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from empirical.cluster import SlurmOptions, run_tasks_on_slurm
from empirical.errors import StudyError
from empirical.records import write_json
from empirical.slurm_jobs import (
    Job,
    JobEnd,
    Journal,
    carry_out,
    identity,
    job_name,
    outcome_path,
    read_outcome,
)
from empirical.study_plan import StudyOptions, plan_study
from empirical.task_graph import Task, TaskGraph


@dataclass(frozen=True)
class Settings:
    folder: Path
    sizes: tuple[int, ...]


def count(folder: str, name: str) -> dict[str, str]:
    with open(Path(folder) / name, "a") as file:
        file.write("x")
    return {"name": name}


def fail() -> None:
    raise ValueError("no such luck")


def hunger() -> None:
    raise MemoryError


def fail_after_another(folder: Path) -> None:
    task = Task("task", fail_after_another, (folder,))
    write_json(
        outcome_path(folder, "task"), {"task": "task", "identity": identity(task), "failure": "the first"}
    )
    raise ValueError("peer has gone")


@pytest.fixture
def signals() -> Iterator[None]:
    """What a job does to its process's signals ends with the test."""
    assert threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals")
def test_a_job_that_starts_again_repeats_nothing(tmp_path: Path) -> None:
    tasks = [
        Task("a", count, (str(tmp_path), "a")),
        Task("bad", fail),
        Task("b", count, (str(tmp_path), "b")),
    ]
    tasks.append(Task("hungry", hunger))
    carry_out(tmp_path, tasks[:1], 1)
    carry_out(tmp_path, tasks, 1)
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() == "x"
    outcomes = [read_outcome(tmp_path, task) for task in tasks]
    assert [outcome.value for outcome in outcomes if outcome] == [{"name": "a"}, None, {"name": "b"}, None]
    assert [outcome.failure for outcome in outcomes if outcome] == [
        None, "ValueError: no such luck", None, "out of memory: MemoryError: ",
    ]  # fmt: skip


@pytest.mark.usefixtures("signals")
def test_an_outcome_of_another_task_with_the_same_name_is_not_taken(tmp_path: Path) -> None:
    carry_out(tmp_path, [Task("a", count, (str(tmp_path), "a"))], 1)
    assert outcome_path(tmp_path, "a").exists()
    assert read_outcome(tmp_path, Task("a", count, (str(tmp_path), "b"))) is None


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize("rank", ["0", "1"])
def test_of_several_processes_the_first_ones_value_counts_and_anybodys_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: str
) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_PROCID", rank)
    good, bad = Task("good", count, (str(tmp_path), "good")), Task("bad", fail)
    carry_out(tmp_path, [good], 1)
    assert (read_outcome(tmp_path, good) is not None) == (rank == "0")
    for task in (bad, Task("hungry", hunger)):
        with pytest.raises(SystemExit) as raised:
            carry_out(tmp_path, [task, good], 1)
        assert raised.value.code == 1
    outcome = read_outcome(tmp_path, bad)
    assert outcome is not None
    assert outcome.failure == "ValueError: no such luck"
    assert (tmp_path / "good").read_text() == "x", "nothing after a failure: the others have gone"


@pytest.mark.usefixtures("signals")
def test_the_first_failure_of_a_group_is_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another process fails of meanwhile, mostly that one of them has gone, does not replace it."""
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_PROCID", "0")
    task = Task("task", fail_after_another, (tmp_path,))
    with pytest.raises(SystemExit):
        carry_out(tmp_path, [task], 1)
    outcome = read_outcome(tmp_path, task)
    assert outcome is not None
    assert outcome.failure == "the first"


def test_identities_follow_what_is_called_with_what() -> None:
    task = Task("a", count, (Settings(Path("x"), (1, 2)), {"k": [1.5]}))
    assert identity(task) == identity(
        Task("a", count, (Settings(Path("x"), (1, 2)), {"k": [1.5]}), ("need",))
    )
    others = [
        Task("a", fail, task.arguments),
        Task("a", count, (Settings(Path("x"), (1, 3)), {"k": [1.5]})),
        Task("a", count, (Settings(Path("y"), (1, 2)), {"k": [1.5]})),
        Task("a", count, (Settings(Path("x"), (1, 2)), {"k": [1.5000001]})),
    ]
    assert len({identity(each) for each in [task, *others]}) == 5
    assert job_name(Path("x")) == job_name(Path.cwd() / "x") != job_name(Path("y"))


def test_the_journal_survives_and_a_damaged_one_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "jobs.json"
    Journal(path).add([Job("12_3", [Task("a", fail), Task("b", fail)])])
    assert Journal(path).entries["b"] == {"job": "12_3", "identity": identity(Task("b", fail))}
    path.write_text('{"a": ')
    assert Journal(path).entries == {}


@pytest.mark.parametrize(
    ("end", "words", "is_lost"),
    [
        (JobEnd("OUT_OF_MEMORY", "0:125", "n1"), "on n1 was killed, most likely out of memory: raise --slurm.memory-gb", False),
        (JobEnd("FAILED", "9:0", "n1"), "most likely out of memory", False),
        (JobEnd("TIMEOUT", "0:0", "n1"), "did not finish in 7 minutes: raise --slurm.timeout-min", False),
        (JobEnd("CANCELLED", "0:0", "None assigned"), "SLURM job 5_1 was cancelled", False),
        (JobEnd("NODE_FAIL", "1:0", "n2"), "was lost again and again (NODE_FAIL)", True),
        (JobEnd("PREEMPTED", "0:15", "n2"), "(PREEMPTED)", True),
        (JobEnd("FAILED", "15:0", "n2"), "was lost again and again (FAILED)", True),
        (JobEnd("FAILED", "12:0", "n2"), "was lost again and again (FAILED)", True),
        (JobEnd("FAILED", "1:0", "n1", "ImportError: x"), "FAILED (exit code 1:0) without a result: ImportError: x", False),
        (JobEnd(), "accounting does not say why", False),
    ],
)  # fmt: skip
def test_ends_say_why_and_what_to_do(end: JobEnd, words: str, is_lost: bool) -> None:
    assert words in end.reason("5_1", timeout_min=7)
    assert end.is_lost == is_lost


def test_a_machine_without_slurm_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StudyError, match="no sbatch here; start the study on a login node"):
        next(run_tasks_on_slurm([Task("a", fail)], slurm=SlurmOptions(), folder=tmp_path))
    with pytest.raises(StudyError, match="no sbatch here"):
        plan_study(StudyOptions(out=tmp_path, preset="smoke", executor="slurm"))
    with pytest.raises(StudyError, match="--executor cloud: choose from local, slurm"):
        plan_study(StudyOptions(out=tmp_path, preset="smoke", executor="cloud"))


def test_options_that_cannot_be_meant_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sbatch").write_text("#!/bin/sh\n")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    for options, words in (
        (SlurmOptions(timeout_min=0), "--slurm.timeout-min 0: must be at least 1"),
        (SlurmOptions(runs_per_job=0), "--slurm.runs-per-job 0"),
        (SlurmOptions(sbatch=("exclude",)), "'exclude': expected KEY=VALUE"),
    ):
        with pytest.raises(StudyError, match=words):
            options.check()
    with pytest.raises(StudyError, match=r"--slurm\.gpus-per-run 1"):
        SlurmOptions().check(needs_gpu=True)


def test_options_reach_sbatch() -> None:
    options = SlurmOptions(
        partition="a,b", gpus_per_run=2, memory_gb=1.5, setup=("module load cuda",), sbatch=("exclude=n7",)
    )
    found = options.parameters("name", threads=3)
    assert found["gpus_per_node"] == 2
    assert found["mem"] == "1536M"
    assert found["cpus_per_task"] == 3
    assert found["partition"] == "a,b"
    assert found["additional_parameters"] == {"requeue": True, "exclude": "n7"}
    assert found["setup"] == [
        "module load cuda", "export OMP_NUM_THREADS=3", "export MKL_NUM_THREADS=3", "export OPENBLAS_NUM_THREADS=3",
    ]  # fmt: skip
    assert not {"account", "qos", "constraint"} & found.keys()


def test_a_graph_hands_out_the_earliest_and_takes_back() -> None:
    tasks = [Task("a", fail, needs=("c",)), Task("b", fail), Task("c", fail), Task("d", fail)]
    graph = TaskGraph(tasks)
    (first,) = graph.ready(1)
    assert first.name == "b"
    graph.take("d")
    assert [task.name for task in graph.ready()] == ["c"]
    graph.finished(tasks[2], None)
    graph.give_back(first)
    # `a` became ready after `b` came back, and stands before it in the list.
    assert [task.name for task in graph.ready()] == ["a", "b"]
    assert not graph.over
    for task in (tasks[0], tasks[1], tasks[3]):
        graph.failed(task, "no")
    assert graph.over


def test_tasks_in_a_circle_are_refused() -> None:
    with pytest.raises(ValueError, match="in a circle: a, b"):
        TaskGraph([Task("a", fail, needs=("b",)), Task("b", fail, needs=("a",)), Task("c", fail)])

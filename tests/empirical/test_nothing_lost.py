"""Runs that die at the worst moment, disks that are full, losses that are NaN, memory that is not there."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from small_study import single, small_context

from empirical import faults
from empirical.execution import StudyContext, execute_run
from empirical.recipe import Recipe
from empirical.records import load_records, read_json, remove_leftovers, write_atomically, write_json, writer
from empirical.scheduler import DEAD_WORKER, Task, run_tasks
from empirical.task_graph import Outcome

ROOT = Path(__file__).resolve().parents[2]
RECORD = {"format": 1, "results": {}, "text": "x" * 5000}


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> StudyContext:
    return small_context(tmp_path_factory.mktemp("study"))


def outcomes(context: StudyContext, *tasks: Task) -> dict[str, Outcome]:
    return {outcome.task.name: outcome for outcome in run_tasks(tasks, jobs=1)}


def run_task(context: StudyContext, source: str, size: int) -> Task:
    run = single(source, size)
    return Task(run.name, execute_run, (context, run))


@pytest.mark.parametrize("moment", faults.MOMENTS)
def test_a_writer_killed_at_any_moment_leaves_the_old_file_or_the_new(tmp_path: Path, moment: str) -> None:
    path = tmp_path / "records" / "a.json"
    write_json(path, RECORD | {"version": "old"})
    script = (
        "from pathlib import Path; from empirical.records import write_json\n"
        f"write_json(Path({str(path)!r}), {RECORD | {'version': 'new'}!r})"
    )
    environment = os.environ | {faults.VARIABLE: f"{moment} records/a.json", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", script], env=environment, check=False)
    assert ended.returncode == -signal.SIGKILL
    complaints: list[str] = []
    records = load_records(path.parent, complaints.append)
    assert not complaints
    assert records["a"] == RECORD | {"version": "new" if moment == "renamed" else "old"}
    leftovers = [each for each in path.parent.iterdir() if each != path]
    assert len(leftovers) == (moment != "renamed")
    assert remove_leftovers(tmp_path) == len(leftovers)
    assert list(path.parent.iterdir()) == [path]


def test_leftovers_of_the_living_and_of_other_hosts_stay(tmp_path: Path) -> None:
    kept = [
        tmp_path / f".a.json.{writer()}.tmp.json",
        tmp_path / ".b.json.elsewhere.1.tmp.json",
        tmp_path / ".hidden.json",
    ]
    old = tmp_path / ".c.json.elsewhere.1.tmp.json"
    for path in [*kept, old]:
        path.write_text("")
    os.utime(old, (0, 0))
    assert remove_leftovers(tmp_path) == 1
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_a_worker_killed_while_it_writes_weights_fails_its_run_alone_and_the_next_start_repeats_no_other(
    context: StudyContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doomed, fine, in_place = (run_task(context, "stock", size) for size in (20, 21, 22))
    monkeypatch.setenv(
        faults.VARIABLE,
        f"half-written models/{doomed.name}.safetensors; renamed records/{in_place.name}.json",
    )
    found = outcomes(context, doomed, fine, in_place)
    assert found[doomed.name].failure == DEAD_WORKER
    assert not context.record_path(doomed.name).exists()
    assert not context.weights_path(doomed.name).exists()
    assert found[fine.name].failure is None
    assert found[in_place.name].failure == DEAD_WORKER  # nobody lived to say that its record was in place
    assert context.record_path(in_place.name).exists()
    monkeypatch.delenv(faults.VARIABLE)
    before = {path: path.stat().st_mtime_ns for path in (context.folder / "records").glob("[!.]*.json")}
    again = outcomes(context, doomed, fine, in_place)
    assert {outcome.failure for outcome in again.values()} == {None}
    assert again[in_place.name].value == read_json(context.record_path(in_place.name))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    other = small_context(tmp_path)
    execute_run(other, doomed.arguments[1])
    ours, theirs = (load_file(each.weights_path(doomed.name)) for each in (context, other))
    assert all(np.array_equal(ours[key], theirs[key]) for key in theirs)


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """A real limit of the system: a write beyond it fails as on a full disk (Python ignores SIGXFSZ)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_does_not_fit_is_named_and_leaves_nothing_behind(context: StudyContext) -> None:
    run = single("stock", 23)
    with (
        no_file_larger_than(100_000),
        pytest.raises(OSError, match=r"File too large.*stock-n23.*safetensors"),
    ):
        execute_run(context, run)
    assert not context.weights_path(run.name).exists()
    assert not context.record_path(run.name).exists()
    assert not list((context.folder / "models").glob(".*n23*"))
    with no_file_larger_than(1_000), pytest.raises(OSError, match=r"File too large.*note\.txt"):
        write_atomically(context.folder / "note.txt", lambda path: path.write_text("x" * 5000))
    assert execute_run(context, run)["run"] == run.name


def test_a_loss_that_is_not_a_number_fails_its_run_alone(context: StudyContext) -> None:
    # AdamW multiplies a weight by 1 - learning rate x decay at every step: it leaves float32 after a few.
    diverging = replace(context, recipe=Recipe(epochs=40, batch_size=16, learning_rate=1e6))
    bad, good = run_task(diverging, "snapshots", 32), run_task(context, "snapshots", 20)
    found = outcomes(context, bad, good)
    assert "TrainingError: the loss became nan at step" in (found[bad.name].failure or "")
    assert "lower learning_rate (1000000.0)" in (found[bad.name].failure or "")
    assert not context.record_path(bad.name).exists()
    assert found[good.name].failure is None


def limit_memory(extra: int) -> int:
    """From here on this worker gets no more than `extra` bytes beyond what it has."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + extra, resource.RLIM_INFINITY))
    return os.getpid()


def ask_numpy(size: int) -> float:
    return float(np.ones(size, dtype=np.uint8).sum())


def ask_torch(size: int) -> float:
    import torch

    return float(torch.ones(size, dtype=torch.uint8).sum())


def test_a_worker_without_memory_fails_its_run_alone_and_says_so() -> None:
    tasks = [
        Task("limit", limit_memory, (500_000_000,)),
        Task("numpy", ask_numpy, (2_000_000_000,)),
        Task("torch", ask_torch, (2_000_000_000,)),
        Task("fine", ask_numpy, (1000,)),
    ]
    found = {outcome.task.name: outcome for outcome in run_tasks(tasks, jobs=1)}
    for name in ("numpy", "torch"):
        assert (found[name].failure or "").startswith("out of memory: "), found[name].failure
    assert found["fine"].value == 1000

"""Many runs at once on one device: the same numbers as one run after the other, and failures that stay alone."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from small_study import one_of_each_kind, single, small_context

from empirical.device_executor import run_tasks_on_device
from empirical.execution import StudyContext, execute_run
from empirical.plan import Draw, RunSpec
from empirical.scheduler import Task
from empirical.task_graph import TaskGraph


def tasks_of(context: StudyContext, runs: list[RunSpec]) -> list[Task]:
    return [Task(run.name, execute_run, (context, run), run.needs) for run in runs]


def test_runs_in_lanes_equal_runs_one_by_one(tmp_path: Path) -> None:
    """Bit for bit on a CPU: lanes only interleave; records come out in any order, needs are kept."""
    alone, together = small_context(tmp_path / "alone"), small_context(tmp_path / "together")
    runs = one_of_each_kind()
    for run in sorted(runs, key=lambda run: (len(run.needs), run.kind != "single")):
        execute_run(alone, run)
    outcomes = list(run_tasks_on_device(tasks_of(together, runs), lanes=3, jobs=1))
    assert {outcome.task.name: outcome.failure for outcome in outcomes} == {run.name: None for run in runs}
    for run in runs:
        for name in together.test_sets:
            ours, theirs = (np.load(c.logits_path(run.name, name)) for c in (together, alone))
            np.testing.assert_array_equal(ours, theirs, err_msg=f"{run.name} on {name}")
        if run.draws:
            ours, theirs = (load_file(c.weights_path(run.name)) for c in (together, alone))
            assert ours.keys() == theirs.keys()
            assert all(np.array_equal(ours[key], theirs[key]) for key in ours)


def test_a_run_that_fails_takes_along_only_what_needs_it(tmp_path: Path) -> None:
    context = small_context(tmp_path)
    broken = RunSpec("single", (("snapshots", 1.0),), 1, 0, draws=(Draw("snapshots", 0, 1),))
    ensemble = RunSpec(
        "output_mixing", (("snapshots", 0.5), ("stock", 0.5)), 16, 0, heads=(broken.name, "other"), heads_n_train="each"
    )  # fmt: skip
    runs = [ensemble, broken, single("stock", 16)]
    outcomes = {
        outcome.task.name: outcome
        for outcome in run_tasks_on_device(tasks_of(context, runs), lanes=2, jobs=1, done=("other",))
    }
    assert "at least 2" in (outcomes[broken.name].failure or "")
    assert outcomes[ensemble.name].blocked_by == broken.name
    assert outcomes[runs[2].name].failure is None


def _dies_when_told(sign: Path) -> None:
    while not sign.exists():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_dies_while_the_caller_is_busy_takes_along_only_its_task(tmp_path: Path) -> None:
    """The pool is found broken by what is to be handed out next, which goes to the next pool."""
    needs = ("first",)
    tasks = [Task("first", os.getpid), Task("dies", _dies_when_told, (tmp_path / "now",))]
    tasks += [Task(f"later {i}", os.getpid, (), needs) for i in range(3)]
    outcomes = {}
    for outcome in run_tasks_on_device(tasks, lanes=1, jobs=1):
        outcomes[outcome.task.name] = outcome
        if outcome.task.name == "first":
            (tmp_path / "now").touch()
            while Path(f"/proc/{outcome.value}").exists():
                time.sleep(0.01)
    assert outcomes.keys() == {task.name for task in tasks}
    assert "worker process died" in (outcomes["dies"].failure or "")
    assert {name for name, outcome in outcomes.items() if outcome.failure is not None} == {"dies"}


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_task_graph_hands_out_every_task_once_and_after_what_it_needs(data: st.DataObject) -> None:
    """Against the definition, on random graphs with random failures."""
    count = data.draw(st.integers(1, 12))
    needs = [
        data.draw(st.sets(st.integers(0, max(i - 1, 0)), max_size=3)) if i else set() for i in range(count)
    ]
    fails = data.draw(st.sets(st.integers(0, count - 1)))
    tasks = [Task(str(i), print, (), tuple(str(j) for j in sorted(needs[i]))) for i in range(count)]
    graph, finished, gone, waiting = TaskGraph(tasks), set(), set(), []
    while not graph.over:
        gone |= {int(outcome.task.name) for outcome in graph.blocked()}
        waiting += graph.ready()
        if not waiting:
            continue
        task = waiting.pop(data.draw(st.integers(0, len(waiting) - 1)))
        number = int(task.name)
        assert needs[number] <= finished
        assert number not in finished | gone
        if number in fails:
            assert graph.failed(task, ValueError("no")).failure == "ValueError: no"
            gone.add(number)
        else:
            graph.finished(task, None)
            finished.add(number)
    doomed = set()
    for i in range(count):
        if i in fails or needs[i] & doomed:
            doomed.add(i)
    assert gone == doomed
    assert finished == set(range(count)) - doomed


def test_a_task_that_needs_the_unknown_is_refused() -> None:
    with pytest.raises(ValueError, match="a needs b"):
        TaskGraph([Task("a", print, (), ("b",))])

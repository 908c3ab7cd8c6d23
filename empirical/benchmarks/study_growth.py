"""What one run costs as its study grows: `growth_table` carries out real studies of about 10, 50 and 200 tiny runs.

Ours is a run of the largest study and the peer one of the smallest; a ratio below 1 says that a run became dearer.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import pandas as pd

from empirical.benchmarks.fresh_process import COLUMNS
from empirical.progress import StudyProgress
from empirical.records import processor_name
from empirical.results import write_results
from empirical.scheduler import Task, run_tasks
from empirical.study import finished_runs, run_study, tasks_to_do
from empirical.study_plan import StudyOptions, plan_study

SEEDS = (1, 5, 22)
"""Seeds of the studies; each brings 9 runs (4 single, 1 mixture, 2 ensembles, 2 pools) and its own data."""


def growth_table(
    folder: Path,
    *,
    seeds: Sequence[int] = SEEDS,
    jobs: int = 1,
    say: Callable[[str], None] = lambda message: None,
) -> pd.DataFrame:
    """Columns name, device, ours_seconds, peer, peer_seconds, ratio (= peer/ours); a few minutes on a CPU.

    The first row is the whole of it: what each further run adds to a study, between its last two sizes against between its
    first two, so that the start of the workers and the test sets, which cost the same for any study, do not count. The
    other rows are the study's own work per run: to plan it, to look through its records at a start, to hand it to a worker,
    and to put it into tables and figures.

    Args:
        folder: where the studies go; it must be new, because finished runs are not repeated.
        seeds: seeds of at least three studies, from the smallest to the largest.
        jobs: worker processes.
        say: gets a line when a study is done.
    """
    rows: list[dict[str, float]] = []
    # JAX compiles and libraries load once per process, whichever study comes first: one that does not count.
    run_study(_options(folder / "warm_up", seeds[0], jobs), StudyProgress(quiet=True))
    for count in seeds:
        options = _options(folder / f"{count}_seeds", count, jobs)
        seconds = _seconds(lambda options=options: run_study(options, StudyProgress(quiet=True)))
        rows.append({"whole study": seconds, **_own_work(options)})
        say(f"a study of {rows[-1]['runs']:.0f} runs took {seconds:.1f} s")
    device = processor_name()
    table = [_marginal(rows, device)]
    small, large = rows[0], rows[-1]
    table += [
        _row(
            f"{name}, per run of {large['runs']:.0f}", device, large[name] / large["runs"],
            f"per run of {small['runs']:.0f}", small[name] / small["runs"],
        )
        for name in small
        if name not in ("whole study", "runs")
    ]  # fmt: skip
    return pd.DataFrame(table, columns=list(COLUMNS))


def _options(out: Path, num_seeds: int, jobs: int) -> StudyOptions:
    overrides = {"sizes": (32,), "epochs": 1, "test_images": 60, "num_seeds": num_seeds}
    return StudyOptions(out=out, preset="smoke", jobs=jobs, overrides=overrides)


def _marginal(rows: Sequence[dict[str, float]], device: str) -> dict[str, object]:
    def between(first: dict[str, float], second: dict[str, float]) -> float:
        return (second["whole study"] - first["whole study"]) / (second["runs"] - first["runs"])

    first, second, before, last = rows[0], rows[1], rows[-2], rows[-1]
    return _row(
        f"a run, in a study that grows from {before['runs']:.0f} to {last['runs']:.0f}", device, between(before, last),
        f"from {first['runs']:.0f} to {second['runs']:.0f}", between(first, second),
    )  # fmt: skip


def _row(name: str, device: str, ours: float, peer: str, theirs: float) -> dict[str, object]:
    return dict(zip(COLUMNS, (name, device, ours, peer, theirs, theirs / ours), strict=True))


def _own_work(options: StudyOptions) -> dict[str, float]:
    """Seconds that a finished study's own steps take, besides training."""
    study = plan_study(options)
    records = finished_runs(study, lambda message: None)
    tasks = [Task(run.name, _nothing, (study.context, run), run.needs) for run in study.runs]
    found = {
        "runs": float(len(study.runs)),
        "planning": _median_seconds(lambda: plan_study(options)),
        "looking through records": _median_seconds(lambda: finished_runs(study, lambda message: None)),
        "listing tasks": _median_seconds(lambda: tasks_to_do(study, {})),
    }
    outcomes = run_tasks(tasks, jobs=1)
    next(outcomes)  # its worker has started: every study pays for that once
    found["handing to a worker"] = _seconds(lambda: list(outcomes)) * len(tasks) / (len(tasks) - 1)
    found["tables and figures"] = _seconds(lambda: write_results(study, records, {}, partial=True))
    return found


def _nothing(*arguments: object) -> None:
    del arguments


def _median_seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """For what takes milliseconds, where one pause of the machine would be all that is seen."""
    return median(_seconds(work) for _ in range(repeats))


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started

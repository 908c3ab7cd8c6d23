"""Train ridge, logistic and hinge classifiers on mixtures and hold them against their exact limits at n/d = δ.

Three mixtures (two noise levels; three sources; noise of different shape), n/d in {0.5, 1, 2, 8}, three regularisations, and the
hard margin where data are safely separable. At the largest d every cell must agree with the limit; the smaller d show how
fast the rest, the gap of finite d, falls. Accuracies are exact given the weights, standard errors are over fresh data.

What to look at in learner_limits.png: lines (limits, nothing fitted) and points (trained) against n/d, the z-scores, and the gap.

Every finished chunk of trials is a line of OUT/trials.jsonl; the same command goes on where it was stopped, on any machine.

Examples:
    python experiments/learner_limits.py
    python experiments/learner_limits.py --num-features 50 200 --largest-stderr 0.004 0.004 --out runs/learner_limits_small
    python experiments/learner_limits.py --learners square logistic --workers 1
    python experiments/learner_limits.py --workers 11 --gpu-workers 2
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from empirical.command import Command, print_next, print_written

if TYPE_CHECKING:
    import pandas as pd

    from empirical.learner_limits_study import Ledger, Settings
    from theory.learner_limits import Job

LEDGER = "trials.jsonl"


@dataclass(frozen=True)
class Arguments:
    """Trained learners beside their exact limits, about half an hour on two cores."""

    out: Path = Path("runs/learner_limits")
    """Folder for learner_limits.csv, summary.txt, provenance.json, the figure and trials.jsonl, the finished chunks."""
    seed: int = 0
    """Seed of all data; the same seed gives the same table."""
    workers: int = 2
    """Processes that train side by side on CPUs, one thread each."""
    gpu_workers: int = 0
    """Processes that train on a GPU (JAX with CUDA); they take hinge and hard margin at large d."""
    num_features: tuple[int, ...] = (64, 250, 1000)
    """Values of d; agreement is judged at the largest."""
    largest_stderr: tuple[float, ...] = (0.001, 0.00025, 0.0005)
    """Standard error of an accuracy up to which trials of square and logistic loss are added, for each d."""
    kinked_factor: float = 2.4
    """Hinge and hard margin, which take 50 times as long to train, may have standard errors larger by this factor."""
    min_trials: int = 30
    """Data sets per job at least."""
    samples_per_feature: tuple[float, ...] = (0.5, 1.0, 2.0, 8.0)
    """n/d."""
    penalties: tuple[float, ...] = (0.01, 0.1, 1.0)
    """λ in (1/n) Σ ℓ(u·w) + λ/2 ‖w‖²."""
    learners: tuple[str, ...] = ("square", "logistic", "hinge", "hard_margin")
    """Learners to train."""


def run(arguments: Arguments) -> "pd.DataFrame":
    """Train what is missing, write the table, the summary and the figure; returns the table.

    Raises:
        ValueError: arguments outside their range, a folder with chunks of another seed, or GPU workers without a GPU.
    """
    check(arguments)
    from empirical.learner_limits_study import Ledger, Settings, prepare, standing, train_jobs

    prepare("cpu")
    from empirical.records import write_provenance, write_text
    from empirical.tables import write_table
    from theory.learner_limits import jobs
    from theory.learner_limits_curves import limit_curves
    from theory.learner_limits_figure import draw_learner_limits

    started = time.monotonic()
    todo = jobs(arguments.samples_per_feature, arguments.num_features, arguments.learners)
    settings = Settings(
        arguments.seed,
        arguments.penalties,
        arguments.min_trials,
        dict(zip(arguments.num_features, arguments.largest_stderr, strict=True)),
        arguments.kinked_factor,
    )
    ledger = Ledger(arguments.out / LEDGER, settings)
    missing = sum(standing(job, ledger, settings)[1] is None for job in todo)
    print(f"{len(todo)} jobs, {len(todo) - missing} of them done before", flush=True)
    try:
        train_jobs(todo, ledger, settings, arguments.workers, arguments.gpu_workers, _say)
    except RuntimeError as error:
        if "backend" not in str(error):
            raise
        raise ValueError(f"no GPU for --gpu-workers {arguments.gpu_workers}: {error}") from error
    table = read_cells(todo, ledger, settings)
    text = summary(table)
    names = ("learner_limits.csv", "summary.txt", "provenance.json", "learner_limits_curves.csv")
    outputs = [arguments.out / name for name in names]
    write_table(table, outputs[0], digits=None)
    write_text(outputs[1], text + "\n")
    work = {name: round(total) for name, total in ledger.work.items()}  # machines of earlier starts included
    write_provenance(arguments.out, arguments, time.monotonic() - started, worker_seconds_by_device=work)
    curves = limit_curves(table)
    write_table(curves, outputs[3], digits=None)
    outputs += draw_learner_limits(table, curves, arguments.out / "learner_limits")
    print(text)
    print_written(outputs)
    print_next(f"python -m paper_figures.keep {arguments.out}")
    return table


def _say(line: str) -> None:
    print(line, flush=True)


def check(arguments: Arguments) -> None:
    """Refuse arguments that would fail later.

    Raises:
        ValueError: naming the argument, its value and what is allowed.
    """
    if len(arguments.largest_stderr) != len(arguments.num_features):
        raise ValueError(
            f"--largest-stderr needs one number for each of the {len(arguments.num_features)} --num-features, "
            f"got {len(arguments.largest_stderr)}"
        )
    for name in ("largest_stderr", "samples_per_feature", "penalties"):
        values = getattr(arguments, name)
        if not values or min(values) <= 0:
            raise ValueError(f"--{name.replace('_', '-')} needs numbers > 0, got {list(values)}")
    if arguments.min_trials < 2:
        raise ValueError(f"--min-trials must be at least 2 for a standard error, got {arguments.min_trials}")
    if arguments.kinked_factor < 1:
        raise ValueError(f"--kinked-factor must be at least 1, got {arguments.kinked_factor}")
    if min(arguments.workers, arguments.gpu_workers) < 0 or arguments.workers + arguments.gpu_workers < 1:
        raise ValueError(
            f"at least one worker is needed, got --workers {arguments.workers} --gpu-workers {arguments.gpu_workers}"
        )


def read_cells(todo: "list[Job]", ledger: "Ledger", settings: "Settings") -> "pd.DataFrame":
    """All cells in one table beside their limits, ordered by d, mixture, learner, n/d, λ and target."""
    import pandas as pd

    from empirical.learner_limits_study import standing
    from theory.learner_limits import with_predictions
    from theory.learner_limits_trials import cells

    ordered = sorted(
        todo, key=lambda job: (-job.num_features, job.mixture, job.learner, job.samples_per_feature)
    )
    found = [(job, standing(job, ledger, settings)[1]) for job in ordered]
    tables = [cells(job, moments, settings.penalties) for job, moments in found if moments is not None]
    return with_predictions(pd.concat(tables, ignore_index=True))


def summary(table: "pd.DataFrame") -> str:
    """What was found, in a few lines."""
    from theory.learner_limits_verdict import verdict

    found = verdict(table)
    trained = int(
        table.groupby(["mixture", "learner", "samples_per_feature", "d"])["num_trials"].first().sum()
    )
    gaps = ", ".join(
        f"{gap.rms:.5f} (at most {gap.high:.5f}) at d = {gap.num_features}" for gap in found.gaps
    )
    lines = [
        f"Exact limits against {trained} trained data sets, {len(table)} cells (mixture x learner x n/d x λ x target x d)",
        f"At d = {found.num_features}: {found.beyond_3} of {found.num_cells} cells beyond 3 standard errors, "
        f"{found.beyond_5} beyond 5; largest standard error of an accuracy {found.largest_stderr:.5f}",
        f"Finite-d gap, rms beyond standard errors: {gaps}",
    ]
    if len(found.gaps) > 1:
        low, high = found.shrinkages[-1].small, found.shrinkages[-1].large
        lines += [
            f"Gap at d = {x.large} as a multiple of the gap at d = {x.small}, cell by cell: {x.ratio:.2f} ± {x.stderr:.2f} "
            f"({x.small / x.large:.2f} if it is O(1/d))"
            for x in found.shrinkages
        ]
        lines.append(f"The gap falls from d = {low} to d = {high}: {'yes' if found.falls else 'not shown'}")
    lines.append(f"Agreement (at most 1% beyond 3, none beyond 5): {'yes' if found.agrees else 'NO'}")
    return "\n".join(lines)


main = Command(
    Arguments,
    run,
    __doc__,
    stopped=lambda arguments: f"{arguments.out / LEDGER} holds what is finished, run again to go on",
    expected=(ValueError,),
)

if __name__ == "__main__":
    main.exit()

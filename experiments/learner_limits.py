"""Train ridge, logistic and hinge classifiers on mixtures and hold them against their exact limits at n/d = δ.

Three mixtures (two noise levels; three sources; noise of different shape), n/d in {0.5, 1, 2, 8}, three regularisations, and the
hard margin where data are safely separable. At the largest d every cell must agree with the limit; the smaller d show how
fast the rest, the gap of finite d, falls. Accuracies are exact given the weights, standard errors are over fresh data.

What to look at in learner_limits.png: lines (limits, nothing fitted) and points (trained) against n/d, the z-scores, and the gap.

Every finished job is kept in OUT/cells; the same command goes on where it was stopped.

Examples:
    python experiments/learner_limits.py
    python experiments/learner_limits.py --num-features 50 200 --largest-stderr 0.004 0.004 --out runs/learner_limits_small
    python experiments/learner_limits.py --learners square logistic --workers 1
"""

import dataclasses
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

if TYPE_CHECKING:
    import pandas as pd

    from theory.learner_limits import Job


@dataclass(frozen=True)
class Arguments:
    """Trained learners beside their exact limits, about 25 minutes on two cores."""

    out: Path = Path("runs/learner_limits")
    """Folder for learner_limits.csv, summary.txt, provenance.json, the figure and the finished cells."""
    seed: int = 0
    """Seed of all data; the same seed gives the same table."""
    workers: int = 2
    """Processes that train side by side, one thread each."""
    num_features: tuple[int, ...] = (64, 250, 1000)
    """Values of d; agreement is judged at the largest."""
    largest_stderr: tuple[float, ...] = (0.0005, 0.00025, 0.0005)
    """Standard error of an accuracy up to which trials of square and logistic loss are added, for each d."""
    kinked_factor: float = 2.4
    """Hinge and hard margin, which take 50 times as long to train, may have standard errors larger by this factor."""
    min_trials: int = 40
    """Data sets per job to begin with."""
    samples_per_feature: tuple[float, ...] = (0.5, 1.0, 2.0, 8.0)
    """n/d."""
    penalties: tuple[float, ...] = (0.01, 0.1, 1.0)
    """λ in (1/n) Σ ℓ(u·w) + λ/2 ‖w‖²."""
    learners: tuple[str, ...] = ("square", "logistic", "hinge", "hard_margin")
    """Learners to train."""


def main() -> int:
    """Parse, run, print."""
    arguments = tyro.cli(Arguments, description=__doc__)
    os.environ.setdefault("MPLBACKEND", "Agg")
    try:
        run(arguments)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            f"\nstopped; finished jobs are in {arguments.out / 'cells'}, run again to go on", file=sys.stderr
        )
        return 130
    return 0


def run(arguments: Arguments) -> "pd.DataFrame":
    """Train what is missing, write the table, the summary and the figure; returns the table.

    Raises:
        ValueError: arguments outside their range, or a folder with cells of other settings.
    """
    check(arguments)
    _initialise()
    from empirical.records import write_atomically
    from theory.learner_limits import jobs
    from theory.learner_limits_figure import draw_learner_limits

    started = time.monotonic()
    todo = jobs(arguments.samples_per_feature, arguments.num_features, arguments.learners)
    claim(arguments)
    missing = [job for job in todo if not cell_path(arguments, job).exists()]
    print(f"{len(todo)} jobs, {len(todo) - len(missing)} of them done before", flush=True)
    train_all(arguments, missing)
    table = read_cells(arguments, todo)
    text = summary(table)
    outputs = [arguments.out / name for name in ("learner_limits.csv", "summary.txt", "provenance.json")]
    write_atomically(outputs[0], lambda path: table.to_csv(path, index=False))
    write_atomically(outputs[1], lambda path: path.write_text(text + "\n", encoding="utf-8"))
    write_provenance(arguments, outputs[2], time.monotonic() - started, len(missing))
    outputs += draw_learner_limits(table, arguments.out / "learner_limits")
    print(text)
    print("\nWritten:\n" + "\n".join(f"  {path}" for path in outputs))
    return table


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
    if arguments.workers < 1:
        raise ValueError(f"--workers must be at least 1, got {arguments.workers}")


def cell_path(arguments: Arguments, job: "Job") -> Path:
    """Where a finished job's table lies."""
    return arguments.out / "cells" / f"{job.name}.csv"


def claim(arguments: Arguments) -> None:
    """Write what the cells depend on into the folder, or refuse one whose cells were made otherwise.

    Raises:
        ValueError: the folder holds cells of other settings.
    """
    from empirical.records import read_json, write_json

    goals = dict(zip(map(str, arguments.num_features), arguments.largest_stderr, strict=True))
    wanted: dict[str, Any] = {
        "seed": arguments.seed,
        "min_trials": arguments.min_trials,
        "penalties": list(arguments.penalties),
        "kinked_factor": arguments.kinked_factor,
    }
    path = arguments.out / "cells" / "settings.json"
    found = read_json(path) if path.exists() else {**wanted, "largest_stderr": {}}
    known = {d: goal for d, goal in found["largest_stderr"].items() if d in goals}
    if {k: found.get(k) for k in wanted} != wanted or any(goals[d] != goal for d, goal in known.items()):
        raise ValueError(f"{path.parent} holds cells of other settings ({found}); choose another --out")
    write_json(path, {**wanted, "largest_stderr": {**found["largest_stderr"], **goals}})


def train_all(arguments: Arguments, missing: "list[Job]") -> None:
    """Run jobs in processes of one thread each; each is written as soon as it is finished."""
    started = time.monotonic()
    # One thread for each: two jobs side by side use two cores better than one job that splits its matrices.
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(arguments.workers, max(1, len(missing))), context, _initialise) as pool:
        futures = {pool.submit(_work, arguments, job): job for job in missing}
        try:
            for count, future in enumerate(as_completed(futures), 1):
                seconds = future.result()
                print(
                    f"[{count}/{len(missing)}] {time.monotonic() - started:.0f} s: {futures[future].name} ({seconds:.0f} s)",
                    flush=True,
                )
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _initialise() -> None:
    import jax

    jax.config.update("jax_enable_x64", True)


def _work(arguments: Arguments, job: "Job") -> float:
    from empirical.records import write_atomically
    from theory.learner_limits import run_job

    started = time.monotonic()
    goal = arguments.largest_stderr[arguments.num_features.index(job.num_features)]
    goal *= 1 if job.learner in ("square", "logistic") else arguments.kinked_factor
    table = run_job(job, arguments.penalties, arguments.seed, arguments.min_trials, goal)
    write_atomically(cell_path(arguments, job), lambda path: table.to_csv(path, index=False))
    return time.monotonic() - started


def read_cells(arguments: Arguments, todo: "list[Job]") -> "pd.DataFrame":
    """All cells in one table beside their limits, ordered by d, mixture, learner, n/d, λ and target."""
    import pandas as pd

    from theory.learner_limits import with_predictions

    ordered = sorted(
        todo, key=lambda job: (-job.num_features, job.mixture, job.learner, job.samples_per_feature)
    )
    cells = pd.concat([pd.read_csv(cell_path(arguments, job)) for job in ordered], ignore_index=True)
    return with_predictions(cells)


def summary(table: "pd.DataFrame") -> str:
    """What was found, in a few lines."""
    from theory.learner_limits import verdict

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


def write_provenance(arguments: Arguments, path: Path, seconds: float, num_trained: int) -> None:
    """Write what the numbers depend on: config, seed, versions, device, and the time this run took."""
    from empirical.records import environment, write_json

    config = {k: str(v) if isinstance(v, Path) else v for k, v in dataclasses.asdict(arguments).items()}
    record = {
        "config": config,
        "seed": arguments.seed,
        "seconds": round(seconds, 1),
        "jobs_trained": num_trained,
    }
    write_json(path, {**record, **environment("cpu")})


if __name__ == "__main__":
    sys.exit(main())

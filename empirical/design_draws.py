"""Theory's best mixture in many draws of a measurement, on several processes where there are many.

Use `best_shares`. Most of a solve is the convex solver's own bookkeeping, so draws are shared out to spawned processes.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from empirical.workers import WorkerPool, usable_cores
from theory.portfolio import best_mixture_from_statistics
from theory.source_statistics import SourceStatistics

Problem = tuple[SourceStatistics, float, Sequence[float]]
"""Statistics, number of samples, and the samples there are of each source."""
WORTH_A_PROCESS = 400
"""Solves that a process of its own is started for: starting takes seconds, a solve about 15 ms."""


def best_shares(
    problems: Sequence[Problem],
    workers: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Float[np.ndarray, "b s"]:
    """Shares (B, S) of the best mixture of every problem; nan where no mixture has d' > 0 on every target.

    (Such a draw is so far out that it says nothing about shares.) workers: processes; 0 takes as many as there are cores and
    the number of problems is worth. on_progress is called with (problems done, problems in all).
    """
    if not problems:
        return np.empty((0, 0))
    workers = workers or max(1, min(usable_cores(), len(problems) // WORTH_A_PROCESS))
    if workers == 1:
        shares = []
        for done, problem in enumerate(problems):
            shares.append(_solve(problem))
            on_progress(done + 1, len(problems))
        return np.stack(shares)
    size = max(1, min(50, len(problems) // (4 * workers)))
    parts = [problems[i : i + size] for i in range(0, len(problems), size)]
    found: list[np.ndarray] = []
    with WorkerPool(workers) as pool:
        for part in pool.map(_solve_all, parts):
            found += part
            on_progress(len(found), len(problems))
    return np.stack(found)


def _solve_all(problems: Sequence[Problem]) -> list[np.ndarray]:
    return [_solve(problem) for problem in problems]


def _solve(problem: Problem) -> np.ndarray:
    statistics, num_samples, budgets = problem
    try:
        return best_mixture_from_statistics(statistics, num_samples, list(budgets)).shares
    except ValueError:
        return np.full(statistics.num_sources, np.nan)

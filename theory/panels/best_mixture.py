"""Panel `best_mixture`: the certified best mixture of three sources (section 5), and what it does when it is simulated.

A long source that knows much of one shift, a short one that knows the other, and a clean one (a third of the noise) that knows
little. With scarce data the long source is best alone, with plenty the sources hedge each other: the best shares move with n.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import numpy as np
from jax import Array
from jaxtyping import Float, Key

from theory.classifiers import averaging_law
from theory.gaussian import Source, Target
from theory.monte_carlo import sample_averaging
from theory.panels.panel import Progress, check_at_least, silent
from theory.portfolio import BestMixture, best_mixture
from theory.portfolio_frontier import mixture_frontier
from theory.reduced_problem import ReducedProblem, reduce_problem
from theory.source_statistics import SourceStatistics, source_statistics
from theory.trial_statistics import agreement, summarise

if TYPE_CHECKING:
    import pandas as pd

WORST = "worst of both"
#: Mixtures whose margins are simulated beside the best one.
RIVALS = ("best mixture", "equal shares", "best single source")


@dataclass(frozen=True)
class BestMixtureOptions:
    """The best mixture of three sources."""

    num_features: int = 400
    """d, at least 8."""
    map_samples: float = 1_000.0
    """n of the map over all mixtures and of the frontier."""
    sizes: tuple[float, ...] = (10.0, 100.0, 1_000.0, 10_000.0, 1_000_000.0)
    """Training samples n at which mixtures are simulated; any size costs the same."""
    path_points: int = 25
    """Training samples n from the smallest to the largest size at which the best mixture is computed."""
    map_steps: int = 40
    """Shares on the map are multiples of one over this."""
    frontier_points: int = 15
    """Mixtures on the frontier of the two shifts; every second one is simulated."""
    num_trials: int = 8_000
    """Classifiers per mixture."""

    def check(self) -> None:
        """Refuse options that would fail later, after the time has been spent.

        Raises:
            ValueError: naming the option, its value and what is allowed.
        """
        check_at_least(self, num_features=8, path_points=2, map_steps=4, frontier_points=2, num_trials=2)
        for name, sizes in (("sizes", self.sizes), ("map-samples", (self.map_samples,))):
            if not sizes or not all(0 < size < np.inf for size in sizes):
                raise ValueError(f"--{name} must be finite numbers > 0, got {list(sizes)}")


def best_mixture_setting(num_features: int) -> tuple[list[Source], list[Target]]:
    """Three sources and two shifts in d = `num_features` dimensions (axes: content, style, viewpoint, texture)."""

    def vector(*entries: float) -> Float[np.ndarray, " d"]:
        return np.r_[np.asarray(entries), np.zeros(num_features - len(entries))]

    return [
        Source(vector(1.5, 0.5, 0.9, -0.9), 1.0, "stock"),
        Source(vector(0.7, 0.9, 0.1, 0.5), 1.0, "snapshots"),
        Source(vector(0.3, 0.4, 0.7, 0.1), 0.3, "curated"),
    ], [
        Target(vector(0.5, 1.0, 0.1, 0.0), 1.0, "style"),
        Target(vector(0.5, 0.1, 1.0, 0.0), 1.44, "viewpoint"),
    ]


def num_best_mixture_steps(options: BestMixtureOptions) -> int:
    """How often `best_mixture_tables` reports progress."""
    return 3 + len(options.sizes)


def best_mixture_tables(
    key: Key[Array, ""], options: BestMixtureOptions | None = None, progress: Progress = silent
) -> "dict[str, pd.DataFrame]":
    """Map, path, frontier and simulations of the best mixture.

    Args:
        key: random key.
        options: sizes.
        progress: told after the map, the path, the frontier and every simulated size.

    Returns:
        `best_mixture_map`: margins on both shifts of all shares on a grid, at one n.
        `best_mixture_path`: for each objective (either shift, the worst of both) and n the best shares, the objective, its
        certified upper bound, the relative gap and what equal shares and the best single source reach.
        `best_mixture_frontier`: shares of the mixtures that no other beats on both shifts, with their gap; where simulated,
        probit_simulated and probit_stderr, one row per shift.
        `best_mixture_margins`: probit_predicted, _simulated and _stderr of the best mixture for the worst of both and of its
        rivals, one row per n, mixture and shift.

    Raises:
        ValueError: options outside their range.
    """
    options = options or BestMixtureOptions()
    options.check()
    sources, shifts = best_mixture_setting(options.num_features)
    statistics, problem = source_statistics(sources, shifts), reduce_problem(sources, shifts)
    grid = _map(statistics, options)
    progress("margins of all mixtures")
    path = _path(sources, shifts, statistics, options)
    progress("best mixture against n")
    frontier_key, size_key = jax.random.split(key)
    frontier = _frontier(frontier_key, sources, shifts, problem, options)
    progress("frontier of the two shifts")
    rows: list[dict[str, object]] = []
    for number, n in enumerate(options.sizes):
        stream = jax.random.fold_in(size_key, number)
        best = best_mixture(sources, shifts, n)
        single = np.eye(len(sources))[int(statistics.margins(n * np.eye(len(sources))).min(1).argmax())]
        equal = np.full(len(sources), 1 / len(sources))
        for place, (name, shares) in enumerate(zip(RIVALS, (best.shares, equal, single), strict=True)):
            counts = n * shares
            told = _simulated(jax.random.fold_in(stream, place), sources, shifts, problem, counts, options)
            rows += [{"n": n, "mixture": name, **row} for row in told]
        progress(f"simulated mixtures at n = {n:g}")
    return {
        "best_mixture_map": grid,
        "best_mixture_path": path,
        "best_mixture_frontier": frontier,
        "best_mixture_margins": _frame(rows),
    }


def best_mixture_summary(tables: "Mapping[str, pd.DataFrame]") -> list[str]:
    """What was found, in a few lines."""
    path, margins, frontier = (tables[f"best_mixture_{name}"] for name in ("path", "margins", "frontier"))
    seen = frontier[frontier["probit_simulated"].notna()]
    agrees = np.r_[agreement(margins), agreement(seen)]
    worst = path[path["objective"] == WORST].sort_values("n")
    last = worst.iloc[-1]
    ends = [
        ", ".join(
            f"{row[f'share_{name}']:.0%} {name}" for name in _names(path) if row[f"share_{name}"] > 5e-4
        )
        for _, row in worst.iloc[[0, -1]].iterrows()
    ]
    return [
        f"Best mixture: {agrees.mean():.1%} of {len(agrees)} simulated margins within 4 standard errors of theory; largest "
        f"certified gap of {len(path) + len(frontier) // 2} optima {max(path['gap'].max(), frontier['gap'].max()):.0e}",
        f"For the worst of both shifts: {ends[0]} at n = {worst['n'].iloc[0]:g}, {ends[1]} at n = {last['n']:g}, where the "
        f"margin is {last['margin']:.3f} (equal shares {last['margin_equal']:.3f}, best single source "
        f"{last['margin_single']:.3f})",
    ]


def _names(path: "pd.DataFrame") -> list[str]:
    return [str(column).removeprefix("share_") for column in path.columns if str(column).startswith("share_")]


def _frame(rows: list[dict[str, object]]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(rows)


def _shares(names: tuple[str, ...], shares: Float[np.ndarray, " s"]) -> dict[str, object]:
    return {f"share_{name}": share for name, share in zip(names, shares.tolist(), strict=True)}


def _map(statistics: SourceStatistics, options: BestMixtureOptions) -> "pd.DataFrame":
    import pandas as pd

    steps = options.map_steps
    corners = [(i, j, steps - i - j) for i in range(steps + 1) for j in range(steps + 1 - i)]
    shares = np.asarray(corners) / steps
    margins = statistics.margins(options.map_samples * shares)
    columns = {f"share_{name}": shares[:, s] for s, name in enumerate(statistics.source_names)}
    columns |= {f"margin_{name}": margins[:, t] for t, name in enumerate(statistics.target_names)}
    return pd.DataFrame({"n": options.map_samples, **columns})


def _path(
    sources: list[Source], shifts: list[Target], statistics: SourceStatistics, options: BestMixtureOptions
) -> "pd.DataFrame":
    corners, rows = np.eye(len(sources)), []
    objectives = {**{shift.name: [t] for t, shift in enumerate(shifts)}, WORST: list(range(len(shifts)))}
    sizes = np.geomspace(min(options.sizes), max(options.sizes), options.path_points).tolist()
    for objective, targets in objectives.items():
        for n in sorted({*sizes, options.map_samples}):
            found: BestMixture = best_mixture(sources, [shifts[t] for t in targets], n)
            rows.append(
                {
                    "objective": objective,
                    "n": n,
                    **_shares(statistics.source_names, found.shares),
                    "margin": found.margin,
                    "upper_bound": found.upper_bound,
                    "gap": found.gap,
                    "num_boxes": found.num_boxes,
                    "margin_equal": float(statistics.margins(n * corners.mean(0))[targets].min()),
                    "margin_single": float(statistics.margins(n * corners)[:, targets].min(1).max()),
                }
            )
    return _frame(rows)


def _frontier(
    key: Array,
    sources: list[Source],
    shifts: list[Target],
    problem: ReducedProblem,
    options: BestMixtureOptions,
) -> "pd.DataFrame":
    n = options.map_samples
    found = mixture_frontier(sources, shifts[0], shifts[1], n, num_points=options.frontier_points)
    rows: list[dict[str, object]] = []
    for place, point in enumerate(found.points):
        stream = jax.random.fold_in(key, place)
        told = _simulated(stream, sources, shifts, problem, point.counts, options, place % 2 == 0)
        shares = _shares(point.source_names, point.shares)
        rows += [{"place": place, "n": n, **shares, "gap": point.gap, **row} for row in told]
    return _frame(rows)


def _simulated(
    key: Array,
    sources: list[Source],
    shifts: list[Target],
    problem: ReducedProblem,
    counts: Float[np.ndarray, " s"],
    options: BestMixtureOptions,
    draw: bool = True,
) -> list[dict[str, object]]:
    """Margins on every shift at leading order, at second order and simulated."""
    law = averaging_law(sources, counts)
    told = summarise(sample_averaging(key, problem, counts, options.num_trials).margins) if draw else None
    return [
        {
            "shift": shift.name,
            "trials": options.num_trials if told else 0,
            "probit_leading": float(law.place(shift)),
            "probit_predicted": float(law.expected_margin(shift)),
            "probit_simulated": told.mean[t] if told else np.nan,
            "probit_stderr": told.stderr[t] if told else np.nan,
        }
        for t, shift in enumerate(shifts)
    ]

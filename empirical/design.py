r"""The designed mixture: theory's portfolio for a budget and a shift, from single-source models alone.

`design_mixture` maximises the predicted d' of N samples on a shift, or on the worst of several, over the shares of the measured
sources (section 5, `theory.best_mixture_from_statistics`), and solves it again in every draw of the measurement's errors, so that
shares and predictions come with intervals. `designs_table` and `candidates_table` are the tidy tables, `empirical.design_rank`
holds a design against the mixtures that were trained.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from empirical.design_draws import best_shares
from empirical.errors import StudyError
from empirical.group_means import Means, group_means
from empirical.measured_sources import NUM_DRAWS, MeasuredSources, measure_sources, sources_by_size
from empirical.plan import Shares, format_shares, split_counts
from theory.arrays import Scalar
from theory.links import dprime_inverse
from theory.portfolio import BestMixture, best_mixture_from_statistics

WORST_OF = "worst of "
SMALLEST_SHARE = 0.005
DESIGN_COLUMNS = (
    "shift", "budget", "measured_at", "sources", "source", "share", "share_low", "share_high", "dprime_predicted",
    "dprime_low", "dprime_high", "accuracy_predicted", "accuracy_low", "accuracy_high", "num_draws",
)  # fmt: skip
CANDIDATE_COLUMNS = (
    "shift", "budget", "candidate", "sources", "test_set", "dprime_predicted", "dprime_low", "dprime_high",
    "accuracy_predicted", "accuracy_low", "accuracy_high", "designed_ahead", "within_available",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class DesignedMixture:
    """A recommended mixture of S sources, how sure the recommendation is, and what it should reach.

    shifts: the test sets whose worst d' it maximises. best: theory's optimum with its certificate. shares: that optimum in
    steps of 0.1%, shares under 0.5% left out. drawn_shares: (B, S) the optimum in every draw; rows of nan where a draw has
    no mixture with d' > 0. available: (S,) samples there are of each source, inf where there is no limit.
    """

    shifts: tuple[str, ...]
    num_samples: int
    measured: MeasuredSources
    best: BestMixture
    shares: Shares
    drawn_shares: Float[np.ndarray, "b s"]
    available: Float[np.ndarray, " s"]

    @property
    def target(self) -> str:
        """The shift, or `worst of a, b, c`."""
        return target_name(self.shifts)

    @property
    def sources(self) -> str:
        """The mixture as the tables write it, `stock:0.5+snapshots:0.5`."""
        return format_shares(self.shares)

    @property
    def weights(self) -> Float[np.ndarray, " s"]:
        """Recommended share of every measured source, (S,)."""
        by_name = dict(self.shares)
        return np.array([by_name.get(name, 0.0) for name in self.measured.sources])

    def share_intervals(self, level: float = 0.95) -> Float[np.ndarray, "2 s"]:
        """Central interval of each source's optimal share over the draws; nan without draws."""
        return central_interval(self.drawn_shares, level)

    def predicted(
        self, weights: Float[np.ndarray, " s"], test_sets: Sequence[str]
    ) -> tuple[Float[np.ndarray, " t"], Float[np.ndarray, "b t"]]:
        """d' of `num_samples` samples in these shares on these test sets: as measured (T,) and in every draw (B, T)."""
        return predicted_dprime(self.measured, weights * self.num_samples, test_sets)


def target_name(shifts: Sequence[str]) -> str:
    """How tables call the aim of a design: the shift's name, or `worst of a, b`."""
    return shifts[0] if len(shifts) == 1 else WORST_OF + ", ".join(shifts)


def target_shifts(name: str) -> tuple[str, ...]:
    """Inverse of `target_name`."""
    return tuple(name.removeprefix(WORST_OF).split(", ")) if name.startswith(WORST_OF) else (name,)


def central_interval(draws: Float[np.ndarray, "b *x"], level: float = 0.95) -> Float[np.ndarray, "2 *x"]:
    """Central interval over the finite draws along the first axis; nan where there are none."""
    finite = draws[np.isfinite(draws).reshape(len(draws), -1).all(axis=1)] if len(draws) else draws
    if len(finite) == 0:
        return np.full((2, *draws.shape[1:]), np.nan)
    return np.quantile(finite, [(1 - level) / 2, (1 + level) / 2], axis=0)


def predicted_dprime(
    measured: MeasuredSources, counts: Float[np.ndarray, " s"], test_sets: Sequence[str]
) -> tuple[Float[np.ndarray, " t"], Float[np.ndarray, "b t"]]:
    r"""Place of a mixture of counts n_s: d' on each test set, as measured (T,) and in every draw (B, T).

    $$d_\text{mix}(t)=\frac{\sum_sn_sd_s(t)}{\sqrt{\sum_{su}n_sn_ur_{su}(t)+n_0\sum_sn_s(1-r_{ss}(t))}}$$

    for models of $n_0$ samples (`theory.SourceStatistics.margins` in the units of `empirical.measured_sources`).
    """
    value = measured.statistics(test_sets).margins(counts)
    return value, measured.drawn_margins(counts, test_sets)


@dataclass(frozen=True)
class DesignTask:
    """What to design: sources measured at a size near the budget, the shifts, the budget and what there is of each source.

    shifts: one test set, or several whose smallest d' counts. available: samples there are of a source, by name; sources that
    are left out have no limit.
    """

    measured: MeasuredSources
    shifts: tuple[str, ...]
    num_samples: int
    available: Mapping[str, Scalar] | None = None

    def budgets(self) -> list[float]:
        """Samples there are of each source, in the order of `measured`."""
        return [float((self.available or {}).get(name, math.inf)) for name in self.measured.sources]


def design_mixture(
    measured: MeasuredSources,
    shifts: Sequence[str],
    num_samples: int,
    available: Mapping[str, Scalar] | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> DesignedMixture:
    """The mixture of `num_samples` samples with the largest predicted d' on a shift, or on the worst of several.

    The sources were measured at one size; theory carries them to another (what a source knows stays, its noise falls as 1/n).
    Growth that departs from the theory's makes that extrapolation wrong in proportion: design at sizes near the measured ones.

    Args:
        measured: sources measured at a size near `num_samples` (`measure_sources`).
        shifts: one test set, or several whose smallest d' counts.
        num_samples: the budget N.
        available: samples there are of a source, by name; sources that are left out have no limit.
        on_progress: called with (draws done, draws in all).

    Raises:
        StudyError: nothing to aim at, a budget < 2, an unknown source in `available`, or no mixture with d' > 0.
    """
    return design_mixtures([DesignTask(measured, tuple(shifts), num_samples, available)], 0, on_progress)[0]


def design_mixtures(
    tasks: Sequence[DesignTask],
    workers: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_skip: Callable[[str], None] | None = None,
) -> list[DesignedMixture]:
    """`design_mixture` of several tasks at once; their draws share the processes (`empirical.design_draws.best_shares`).

    on_skip: a task without a mixture of d' > 0 is left out and its reason goes here; without it such a task raises StudyError.
    """
    best, problems, designable = [], [], []
    for task in tasks:
        names, shifts = task.measured.sources, task.shifts
        if not shifts or task.num_samples < 2:
            raise StudyError(
                f"a design needs a shift and a budget of 2 samples or more, got {list(shifts)}, {task.num_samples}"
            )
        unknown = [name for name in task.available or {} if name not in names]
        if unknown:
            raise StudyError(f"no source {unknown[0]!r} in this study; there are {', '.join(names)}")
        try:
            best.append(
                best_mixture_from_statistics(
                    task.measured.statistics(shifts), task.num_samples, task.budgets()
                )
            )
        except ValueError as error:
            reason = f"{target_name(shifts)}, budget {task.num_samples}: {error}"
            if on_skip is None:
                raise StudyError(reason) from error
            on_skip(reason)
            continue
        designable.append(task)
        problems += [
            (task.measured.drawn_statistics(b, shifts), float(task.num_samples), task.budgets())
            for b in range(task.measured.num_draws)
        ]
    drawn = best_shares(problems, workers, on_progress)
    designs, start = [], 0
    for task, found in zip(designable, best, strict=True):
        stop = start + task.measured.num_draws
        names = task.measured.sources
        designs.append(
            DesignedMixture(
                task.shifts, task.num_samples, task.measured, found, rounded_shares(names, found.shares),
                drawn[start:stop].reshape(-1, len(names)), np.array(task.budgets()),
            )
        )  # fmt: skip
        start = stop
    return designs


def rounded_shares(sources: Sequence[str], shares: Float[np.ndarray, " s"]) -> Shares:
    """Shares in steps of 0.1% that sum to 1, without those under 0.5%: what is worth writing down and training."""
    kept = [(name, float(p)) for name, p in zip(sources, shares, strict=True) if p >= SMALLEST_SHARE]
    total = sum(p for _, p in kept)
    normal = tuple((name, p / total) for name, p in kept)
    return tuple(
        (name, count / 1000) for (name, _), count in zip(normal, split_counts(normal, 1000), strict=True)
    )


def designs_table(designs: Iterable[DesignedMixture]) -> pd.DataFrame:
    """One row per design and source: its share with a 95% interval, and the design's predicted d' and accuracy.

    share is the recommendation (rounded), share_low and share_high the central 95% of the optimum over the draws. The
    prediction is that of the recommended mixture on its shift (on the worst one of several). Columns `DESIGN_COLUMNS`.
    """
    rows = []
    for design in designs:
        low, high = design.share_intervals()
        value, interval, accuracy, accuracies = _on_target(design, design.weights)
        for s, name in enumerate(design.measured.sources):
            rows.append(
                (design.target, design.num_samples, design.measured.n_train, design.sources, name, design.weights[s],
                 low[s], high[s], value, *interval, accuracy, *accuracies, design.measured.num_draws)
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(DESIGN_COLUMNS))


def candidates_table(designs: Iterable[DesignedMixture]) -> pd.DataFrame:
    """The design beside what one would do without it: equal shares, and every source alone; on every test set.

    designed_ahead: in which share of the draws the designed mixture's d' on its target is larger than the candidate's.
    within_available: whether there are samples enough for the candidate. Columns `CANDIDATE_COLUMNS`.
    """
    rows = []
    for design in designs:
        names, s = design.measured.sources, len(design.measured.sources)
        candidates = {"designed": design.weights, "equal shares": np.full(s, 1 / s)}
        candidates |= {f"{name} alone": np.eye(s)[i] for i, name in enumerate(names)}
        test_sets = design.measured.test_sets
        aim = [test_sets.index(name) for name in design.shifts]
        own = None
        for words, weights in candidates.items():
            value, draws = design.predicted(weights, test_sets)
            worst = draws[:, aim].min(axis=1)
            own = worst if own is None else own
            ahead = float(np.mean(own > worst)) if len(worst) and words != "designed" else np.nan
            low, high = central_interval(draws)
            enough = bool(np.all(weights * design.num_samples <= design.available + 1))
            text = format_shares(tuple((n, float(w)) for n, w in zip(names, weights, strict=True) if w > 0))
            for t, test_set in enumerate(test_sets):
                ends = (value[t], low[t], high[t])
                accuracy = _accuracy(np.array(ends), int(design.measured.num_classes[t]))
                rows.append(
                    (
                        design.target,
                        design.num_samples,
                        words,
                        text,
                        test_set,
                        *ends,
                        *accuracy,
                        ahead,
                        enough,
                    )
                )
    return pd.DataFrame(rows, columns=list(CANDIDATE_COLUMNS))


def _accuracy(dprime: np.ndarray, num_classes: int) -> np.ndarray:
    finite = np.isfinite(dprime)
    return np.where(finite, np.asarray(dprime_inverse(np.where(finite, dprime, 0.0), num_classes)), np.nan)


def _on_target(design: DesignedMixture, weights: np.ndarray) -> tuple[float, np.ndarray, float, np.ndarray]:
    """Predicted d' on the (worst) shift with its interval, and the same as accuracy."""
    value, draws = design.predicted(weights, design.shifts)
    worst = int(np.argmin(value))
    interval = central_interval(draws.min(axis=1))
    classes = int(design.measured.num_classes[design.measured.test_sets.index(design.shifts[worst])])
    accuracy = _accuracy(np.array([value[worst], *interval]), classes)
    return float(value[worst]), interval, float(accuracy[0]), accuracy[1:]


def nearest_measured_size(overlaps: pd.DataFrame, num_samples: int) -> int:
    """The size nearest to a budget on a logarithmic scale, among those at which the most sources were measured together.

    (The heads of ensembles add sizes that only some sources have.) Raises StudyError where no source has two seeds of a size.
    """
    sizes = sources_by_size(overlaps)
    if not sizes:
        raise StudyError(
            "no source has two seeds of one size: how much of a model is noise shows between two seeds; "
            "train with --num-seeds 2 or more"
        )
    most = max(map(len, sizes.values()))
    full = [n for n, names in sizes.items() if len(names) == most]
    return min(full, key=lambda n: (abs(math.log(n / num_samples)), -n))


def designs_of_study(
    accuracies: pd.DataFrame,
    overlaps: pd.DataFrame,
    budgets: Sequence[int],
    targets: Sequence[Sequence[str]],
    num_draws: int = NUM_DRAWS,
    seed: int = 0,
    means: Means | None = None,
    workers: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_skip: Callable[[str], None] = lambda reason: None,
) -> list[DesignedMixture]:
    """A design for every budget and target (a target is one test set or several, whose worst counts), budget by budget.

    Single-source models alone are looked at. A target on which no source has learned anything is left out (on_skip is told
    why). Raises DataError or StudyError: see `measure_sources`, `design_mixture`; also when no target is left.
    """
    means = means or group_means(accuracies)
    tasks = []
    for budget in budgets:
        size = nearest_measured_size(overlaps, budget)
        names = sources_by_size(overlaps)[size]
        measured = measure_sources(accuracies, overlaps, size, names, num_draws, seed, means)
        tasks += [DesignTask(measured, tuple(shifts), budget) for shifts in targets]
    skipped: list[str] = []
    designs = design_mixtures(tasks, workers, on_progress, skipped.append)
    for reason in skipped:
        on_skip(reason)
    if skipped and not designs:
        raise StudyError(skipped[0])
    return designs

r"""Which mixture is best, from single-source models alone: by the theory's portfolio, and among listed mixtures.

Use `best_mixtures` for the table and `describe_best` for it in words. What is maximised is d' on a test set (accuracy), or the
worst of several; the d' *ratio* (robustness) is best at a single source (Theorem 2), which `most_robust_source` names.

The portfolio (`theory.best_mixture_from_statistics`) needs signals, overlaps and noise; single-source models tell

$$a_{s,t}=d_s(t),\qquad \frac{T_{s,t}}n=\tau_{s,t}=2\,\frac{d\log d_s(t)}{d\log n},\qquad G_{ss,t}=1-\tau_{s,t}$$

at size n, with classifiers of equal length (the mediant's own assumption): from $d^2=a^2/(G+T/n)$ follows the growth exponent
$\tfrac12(T/n)/(G+T/n)$. The overlap of two sources' classifiers, $G_{su}=c\sqrt{G_{ss}G_{uu}}$, they do not tell: c = 1 (all
sources teach the same) and c = 0 (each something else) bracket it where sources do not oppose each other.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import norm

from empirical.errors import DataError
from empirical.group_means import GroupMean, image_contributions, image_variance, seed_variance
from empirical.mixture_forecast import SingleSources, mixture_name
from theory.portfolio import best_mixture_from_statistics
from theory.source_statistics import SourceStatistics

BEST_COLUMNS = (
    "objective", "n_train", "overlap", "sources", "dprime", "dprime_low", "dprime_high", "best_single_source",
    "best_single_dprime", "gain", "gain_low", "gain_high", "certified_gap",
)  # fmt: skip
WORST = "worst shift"
DEFAULT_OVERLAPS = (1.0, 0.5, 0.0)
_Z = 1.96


def noise_shares(single: SingleSources, n_train: int) -> np.ndarray:
    """tau (S, T): the share of a classifier's squared length at size n that is noise, twice the growth exponent of its d'.

    The exponent is that between the sizes around n (the nearest two beyond them), cut to [0, 1/2]; 0 where a source has one
    size or a d' that is not positive.
    """
    shares = np.zeros((len(single.names), len(single.means.test_sets)))
    for i, name in enumerate(single.names):
        sizes = single.sizes(name)
        if len(sizes) < 2:
            continue
        j = int(np.clip(np.searchsorted(sizes, n_train), 1, len(sizes) - 1))
        ends = np.stack([single.means.groups[("single", name, "", n)].mean for n in sizes[j - 1 : j + 1]])
        with np.errstate(divide="ignore", invalid="ignore"):
            exponent = np.log(ends[1] / ends[0]) / np.log(sizes[j] / sizes[j - 1])
        shares[i] = 2 * np.clip(np.where(np.isfinite(exponent), exponent, 0.0), 0.0, 0.5)
    return shares


def mixture_statistics(
    single: SingleSources, n_train: int, overlap: float, test_sets: Sequence[str], names: Sequence[str]
) -> SourceStatistics:
    """Signals, overlaps and noise of the sources as the portfolio takes them, see the module; overlap is c in [0, 1]."""
    if not 0 <= overlap <= 1:
        raise DataError(f"an overlap lies between 0 (unrelated) and 1 (the same), got {overlap:g}")
    chosen = [single.means.test_sets.index(name) for name in test_sets]
    rows = [single.names.index(name) for name in names]
    tau = noise_shares(single, n_train)[np.ix_(rows, chosen)].T
    found = [single.at(name, n_train) for name in names]
    signals = np.array([part[0].mean[chosen] for part in found if part is not None]).T
    own = np.sqrt(1 - tau)
    correlation = np.where(np.eye(len(names), dtype=bool), 1.0, overlap)
    grams = own[:, :, None] * own[:, None, :] * correlation
    return SourceStatistics(signals, grams, tau * n_train, list(names), list(test_sets))


def best_mixtures(
    single: SingleSources,
    n_train: int,
    shifts: Sequence[str],
    overlaps: Sequence[float] = DEFAULT_OVERLAPS,
    budgets: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """The best mixture of n samples for the reference, for each shift and for the worst shift, at each overlap.

    The worst of several shifts is d' over the best single source's d' there, so that no shift rules by its scale alone; `dprime`
    is then this ratio. budgets: samples there are of each source (all that are not named: no limit). Intervals carry the
    measured d' of the sources at these shares (seeds and test images); gain is over the best single source within budgets, on
    the same objective; a source that lacks one of its test sets is not in it. certified_gap: by how much of it any mixture could
    be ahead (`theory.portfolio`).

    Columns: `BEST_COLUMNS`. Raises DataError for an unknown source in budgets, budgets below n, or no positive d' at n.
    """
    everyone = [name for name in single.names if single.at(name, n_train) is not None]
    unknown = [name for name in budgets or {} if name not in single.names]
    if unknown:
        raise DataError(f"there is no source {unknown[0]!r}; the sources are {', '.join(single.names)}")
    every_limit = np.array([(budgets or {}).get(name, np.inf) for name in everyone])
    if every_limit.sum() < n_train:
        raise DataError(f"the budgets hold {every_limit.sum():,.0f} samples, fewer than n = {n_train:,}")
    found_parts = [part[0] for name in everyone if (part := single.at(name, n_train)) is not None]
    objectives: dict[str, list[str]] = {name: [name] for name in (single.reference, *shifts)}
    if len(shifts) > 1:
        objectives[WORST] = list(shifts)
    rows = []
    for objective, sets in objectives.items():
        at = [single.means.test_sets.index(name) for name in sets]
        measured = [i for i, part in enumerate(found_parts) if np.all(np.isfinite(part.mean[at]))]
        names, parts, limits = (
            [everyone[i] for i in measured],
            [found_parts[i] for i in measured],
            every_limit[measured],
        )
        values = np.array([part.mean[at] for part in parts])
        if not measured or limits.sum() < n_train or not np.all(values.max(0) > 0):
            continue
        levels = values.max(0) if objective == WORST else np.ones(1)
        alone = np.where(limits >= n_train, (values / levels).min(1), -np.inf)
        top = int(np.argmax(alone))
        for overlap in overlaps:
            statistics = mixture_statistics(single, n_train, overlap, sets, names)
            try:
                found = best_mixture_from_statistics(
                    statistics, n_train, limits, levels=levels, tolerance=1e-5
                )
            except ValueError as error:
                raise DataError(f"no best mixture for {objective} at n = {n_train:,}: {error}") from error
            worst = found.worst_target
            error, gain_error = _errors(
                single, parts, found.shares, statistics, worst, at[worst], top, n_train
            )
            error, gain_error = error / levels[worst], gain_error / levels[worst]
            shares = {name: float(p) for name, p in zip(names, found.shares, strict=True) if p > 5e-6}
            total = sum(shares.values())
            single_best = float(alone[top])
            gain = found.margin - single_best
            rows.append(
                (objective, n_train, overlap, mixture_name({name: p / total for name, p in shares.items()}), found.margin,
                 found.margin - _Z * error, found.margin + _Z * error, names[top] if np.isfinite(single_best) else "",
                 single_best if np.isfinite(single_best) else np.nan,
                 *((gain, gain - _Z * gain_error, gain + _Z * gain_error) if np.isfinite(gain) else (np.nan,) * 3),
                 max(found.gap, 0.0))
            )  # fmt: skip
    if not rows:
        raise DataError(
            f"no source has a d' above 0 (an accuracy above chance) on any test set at n = {n_train:,}"
        )
    return pd.DataFrame(rows, columns=list(BEST_COLUMNS))


def _errors(
    single: SingleSources,
    parts: Sequence[GroupMean],
    shares: np.ndarray,
    statistics: SourceStatistics,
    target: int,
    at: int,
    top: int,
    n_train: int,
) -> tuple[float, float]:
    """Errors of the mixture's d' and of its lead over one source, from those of the measured d' (lengths held fixed)."""
    squared = shares @ statistics.grams[target] @ shares + shares @ statistics.noises[target] / n_train
    weights = np.zeros((len(parts), len(single.means.test_sets)))
    weights[:, at] = shares / np.sqrt(squared)
    lead = weights.copy()
    lead[top, at] -= 1.0
    return tuple(  # pyright: ignore[reportReturnType]
        float(np.sqrt(seed_variance(parts, w, single.seeds) + image_variance(image_contributions(parts, w))))
        for w in (weights, lead)
    )


def most_robust_source(single: SingleSources, n_train: int, shifts: Sequence[str]) -> pd.DataFrame:
    """Each shift's most robust source at size n: the largest d' ratio, which no mixture exceeds (Theorem 2).

    Columns: shift, source, ratio, ratio_low, ratio_high (95%), runner_up, probability (that it is ahead of the runner-up,
    errors taken as independent).
    """
    rows = []
    names = [name for name in single.names if single.at(name, n_train) is not None]
    parts = [part[0] for name in names if (part := single.at(name, n_train)) is not None]
    for shift in shifts:
        at = single.means.test_sets.index(shift)
        x, y = (np.array([part.mean[k] for part in parts]) for k in (single.ref, at))
        usable = np.isfinite(x) & np.isfinite(y) & (x > 0)
        if not usable.any():
            continue
        ratio = np.where(usable, y / np.where(usable, x, 1.0), -np.inf)
        order = np.argsort(-ratio, kind="stable")
        errors = []
        for i in order[:2]:
            gradient = np.zeros((1, len(single.means.test_sets)))
            gradient[0, [single.ref, at]] = -y[i] / x[i] ** 2, 1 / x[i]
            images = image_variance(image_contributions([parts[i]], gradient))
            errors.append(float(np.sqrt(seed_variance([parts[i]], gradient, single.seeds) + images)))
        first = float(ratio[order[0]])
        second = float(ratio[order[1]]) if len(order) > 1 and usable[order[1]] else -np.inf
        ahead = float(norm.cdf((first - second) / np.hypot(*errors))) if np.isfinite(second) else np.nan
        rows.append(
            (shift, names[order[0]], first, first - _Z * errors[0], first + _Z * errors[0],
             names[order[1]] if np.isfinite(second) else "", ahead)
        )  # fmt: skip
    columns = ["shift", "source", "ratio", "ratio_low", "ratio_high", "runner_up", "probability"]
    return pd.DataFrame(rows, columns=pd.Index(columns))


def describe_best(best: pd.DataFrame, robust: pd.DataFrame) -> list[str]:
    """Sentences: the most robust source per shift, then the best mixture per objective over the overlaps."""
    sentences = [
        f"Robustness (d' ratio) on {row['shift']}: {row['source']} alone, {row['ratio']:.3f} [{row['ratio_low']:.3f}, "
        f"{row['ratio_high']:.3f}]; by Theorem 2 no mixture of the sources measured there exceeds the most robust of them."
        + (
            f" Ahead of {row['runner_up']} with probability {row['probability']:.0%}."
            if row["runner_up"]
            else ""
        )
        for _, row in robust.iterrows()
    ]
    for (objective, n), part in best.groupby(["objective", "n_train"], sort=False):
        what = "Worst shift (d' over the best source's there)" if objective == WORST else f"d' on {objective}"
        for _, row in part.iterrows():
            gain = (
                f", {row['gain']:+.3f} [{row['gain_low']:+.3f}, {row['gain_high']:+.3f}] over {row['best_single_source']}"
                if row["best_single_source"]
                else ""
            )
            sentences.append(
                f"{what}, n = {n:,}, overlap {row['overlap']:g}: {_in_words(row['sources'])}: {row['dprime']:.3f} "
                f"[{row['dprime_low']:.3f}, {row['dprime_high']:.3f}]{gain}."
            )
    return sentences


def _in_words(sources: str) -> str:
    parts = [part.rpartition(":") for part in sources.split("+")]
    if len(parts) == 1:
        return f"{parts[0][0]} alone"
    return " + ".join(f"{100 * float(share):.2g}% {name}" for name, _, share in parts)

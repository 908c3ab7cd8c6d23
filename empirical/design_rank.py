"""Where a designed mixture stands among all mixtures that were trained.

Use `rank_designed` once the designed mixtures have runs of their own: the table that a study keeps as designed.csv.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from empirical.design import target_shifts
from empirical.group_means import (
    GroupMean,
    Means,
    common_share,
    group_means,
    image_contributions,
    image_variance,
    ratio_stderr,
    seed_variance,
)
from empirical.power import seeds_needed
from empirical.prediction import mixture_shares
from empirical.robustness import check_accuracies
from theory.links import dprime_inverse

DESIGNED_COLUMNS = (
    "shift", "budget", "sources", "num_seeds", "dprime_predicted", "dprime_low", "dprime_high", "accuracy_predicted",
    "accuracy_low", "accuracy_high", "dprime_measured", "dprime_measured_stderr", "accuracy_measured", "rank", "rank_low",
    "rank_high", "num_mixtures", "rank_with_sources", "num_with_sources", "best_other", "dprime_best_other",
    "ahead_of_best", "ahead_low", "ahead_high", "seeds_needed", "best_source", "dprime_best_source", "gain_over_source",
    "gain_low", "gain_high", "judged_against",
)  # fmt: skip
_SAME = 1e-3


def rank_designed(
    designs: pd.DataFrame,
    accuracies: pd.DataFrame,
    reference: str = "reference",
    overlaps: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Predicted and measured d' of every design, and its rank among the mixtures trained with the same number of samples.

    A design that is a single source is judged by that source's models, the very ones that it was chosen for. On the worst of
    several shifts a mixture counts by the smallest of its mean d'. Means are over all seeds that a mixture has.

    rank: 1 + the number of other input mixtures with a larger mean d', of num_mixtures in all (the design among them);
    rank_low and rank_high count only the others that are better (worse) by more than t_.975 standard errors of the difference
    (seeds and test images). rank_with_sources also counts the single sources. ahead_of_best: d' of the design minus that of the
    best other mixture or source, with a 95% interval that does not know that this one was picked as the best;
    seeds_needed where it holds 0 (`empirical.power.seeds_needed`). gain_over_source: d' of a designed mixture minus that of
    best_source, the best measured single source of that many samples, which is what mixing must beat to be of use; empty for a
    design of one source. Its 95% interval [gain_low, gain_high] is Bonferroni's over the sources, and so holds for the truly best
    of them whichever that is: that one was picked by its luck costs coverage nothing. The value itself is rather too low, as the
    best of several measured means is too high. judged_against says who the others were. A design without
    runs has its prediction and empty measurements. Columns `DESIGNED_COLUMNS`.

    Args:
        designs: `empirical.design.designs_table`.
        accuracies: a table with the designed and all other mixtures; tables of several folders may be concatenated.
        reference: the reference test set.
        overlaps: of the single-source models, for the errors of the test images (`empirical.group_means`).

    Raises DataError for a table that lacks a column or the reference.
    """
    check_accuracies(accuracies, reference)
    means = group_means(accuracies, overlaps)
    classes = accuracies.drop_duplicates("test_set").set_index("test_set")["num_classes"]
    seeds_of = accuracies.groupby(["kind", "sources", "n_train"])["seed"].agg(lambda s: tuple(sorted(set(s))))
    rows = []
    for (target, budget), part in designs.groupby(["shift", "budget"], sort=False):
        design = part.iloc[0]
        head = [target, budget, design["sources"]]
        predicted = [design[c] for c in DESIGNED_COLUMNS[4:10]]
        others = {
            (kind, sources): group
            for (kind, sources, _, n), group in means.groups.items()
            if n == budget and kind in ("input_mixing", "single")
        }
        at = [means.test_sets.index(name) for name in target_shifts(str(target)) if name in means.test_sets]
        key = _same_mixture(str(design["sources"]), others)
        if key is None or not at or not np.isfinite(others[key].mean[at]).all():
            lacking = [np.nan] * (len(DESIGNED_COLUMNS) - len(head) - len(predicted) - 2)
            rows.append([*head, 0, *predicted, *lacking, "not trained"])
            continue
        own = others.pop(key)
        others = {k: g for k, g in others.items() if np.isfinite(g.mean[at]).all()}
        worst = at[int(np.argmin(own.mean[at]))]
        value = float(own.mean[worst])
        stderr = ratio_stderr([own], _unit(means, worst), means.seed_covariance("all", int(budget)))
        accuracy = float(dprime_inverse(value, int(classes[means.test_sets[worst]])))
        differences = {k: _difference(own, group, at, means, int(budget)) for k, group in others.items()}
        mixtures = [k for k in others if k[0] == "input_mixing"]
        rank = 1 + sum(differences[k][0] < 0 for k in mixtures)
        low = 1 + sum(differences[k][2] < 0 for k in mixtures)
        high = 1 + sum(not differences[k][1] > 0 for k in mixtures)
        with_sources = 1 + sum(d[0] < 0 for d in differences.values())
        ranks = [rank, low, high, len(mixtures) + 1, with_sources, len(others) + 1]
        best = min(differences, key=lambda k: differences[k][0]) if differences else None
        beside = (
            [np.nan] * 6
            if best is None
            else [best[1], float(others[best].mean[at].min()), *differences[best]]
        )
        seeds = seeds_of[(*key, int(budget))]
        against = (
            f"{len(mixtures)} input mixtures and {len(others) - len(mixtures)} single sources with n_train {budget}; "
            f"seeds of the design: {', '.join(map(str, seeds))}"
        )
        gain = [np.nan] * 5
        if key[0] == "input_mixing":
            gain = _over_sources(
                own, {k[1]: g for k, g in others.items() if k[0] == "single"}, at, means, int(budget)
            )
        rows.append(
            [*head, own.num_seeds, *predicted, value, stderr, accuracy, *ranks, *beside, *gain, against]
        )
    return pd.DataFrame(rows, columns=list(DESIGNED_COLUMNS))


def _same_mixture(sources: str, groups: dict[tuple[str, str], GroupMean]) -> tuple[str, str] | None:
    """The group trained with these shares (to 0.1%); a design of one source is that source."""
    if ":" not in sources:
        return ("single", sources) if ("single", sources) in groups else None
    wanted = mixture_shares(sources)
    for key in groups:
        if key[0] == "input_mixing":
            shares = mixture_shares(key[1])
            if set(shares) == set(wanted) and all(abs(shares[s] - wanted[s]) < _SAME for s in wanted):
                return key
    return None


def _unit(means: Means, index: int) -> np.ndarray:
    return np.eye(len(means.test_sets))[[index]]


def _over_sources(
    own: GroupMean, sources: dict[str, GroupMean], at: list[int], means: Means, n_train: int
) -> list:
    """The best measured source, its d', and the gain over the best of all with its interval; empty without sources."""
    if not sources:
        return [np.nan] * 5
    level = 1 - 0.05 / len(sources)
    gains = {name: _difference(own, group, at, means, n_train, level)[:3] for name, group in sources.items()}
    best = min(gains, key=lambda name: gains[name][0])
    ends = (min(gain[end] for gain in gains.values()) for end in (1, 2))
    return [best, float(sources[best].mean[at].min()), gains[best][0], *ends]


def _difference(
    own: GroupMean, other: GroupMean, at: list[int], means: Means, n_train: int, level: float = 0.95
) -> tuple[float, float, float, float]:
    """(Worst) d' of one group minus another's, its interval, and the seeds needed to tell them apart where it holds 0.

    An interval without ends where seeds give no error.
    """
    ends = [at[int(np.argmin(group.mean[at]))] for group in (own, other)]
    value = float(own.mean[ends[0]] - other.mean[ends[1]])
    seeds = means.seed_covariance("all", n_train)
    if seeds.degrees == 0:
        return value, -np.inf, np.inf, np.nan
    gradients = np.concatenate([_unit(means, ends[0]), -_unit(means, ends[1])])
    half = float(stdtrit(seeds.degrees, 0.5 + level / 2)) * ratio_stderr([own, other], gradients, seeds)
    needed = np.nan
    if abs(value) <= half:
        one_seed = [replace(group, num_seeds=1) for group in (own, other)]
        images = image_variance(image_contributions([own, other], gradients), common_share([own, other]))
        needed = seeds_needed(value, seed_variance(one_seed, gradients, seeds), images)
    return value, value - half, value + half, needed

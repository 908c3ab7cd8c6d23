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
    "ahead_of_best", "ahead_low", "ahead_high", "seeds_needed", "judged_against",
)  # fmt: skip
_SAME = 1e-3


def rank_designed(
    designs: pd.DataFrame, accuracies: pd.DataFrame, reference: str = "reference"
) -> pd.DataFrame:
    """Predicted and measured d' of every design, and its rank among the mixtures trained with the same number of samples.

    A design that is a single source is judged by that source's models, the very ones that it was chosen for. On the worst of
    several shifts a mixture counts by the smallest of its mean d'. Means are over all seeds that a mixture has.

    rank: 1 + the number of other input mixtures with a larger mean d', of num_mixtures in all (the design among them);
    rank_low and rank_high count only the others that are better (worse) by more than t_.975 standard errors of the difference
    (seeds and test images). rank_with_sources also counts the single sources. ahead_of_best: d' of the design minus that of the
    best other mixture or source, with a 95% interval that does not know that this one was picked as the best;
    seeds_needed where it holds 0 (`empirical.power.seeds_needed`). judged_against says who the others were. A design without
    runs has its prediction and empty measurements. Columns `DESIGNED_COLUMNS`.

    Args:
        designs: `empirical.design.designs_table`.
        accuracies: a table with the designed and all other mixtures; tables of several folders may be concatenated.
        reference: the reference test set.

    Raises DataError for a table that lacks a column or the reference.
    """
    check_accuracies(accuracies, reference)
    means = group_means(accuracies)
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
            rows.append([*head, 0, *predicted, *[np.nan] * 15, "not trained"])
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
        rows.append([*head, own.num_seeds, *predicted, value, stderr, accuracy, *ranks, *beside, against])
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


def _difference(
    own: GroupMean, other: GroupMean, at: list[int], means: Means, n_train: int
) -> tuple[float, float, float, float]:
    """(Worst) d' of one group minus another's, its 95% interval, and the seeds needed to tell them apart where it holds 0.

    An interval without ends where seeds give no error.
    """
    ends = [at[int(np.argmin(group.mean[at]))] for group in (own, other)]
    value = float(own.mean[ends[0]] - other.mean[ends[1]])
    seeds = means.seed_covariance("all", n_train)
    if seeds.degrees == 0:
        return value, -np.inf, np.inf, np.nan
    gradients = np.concatenate([_unit(means, ends[0]), -_unit(means, ends[1])])
    half = float(stdtrit(seeds.degrees, 0.975)) * ratio_stderr([own, other], gradients, seeds)
    needed = np.nan
    if abs(value) <= half:
        one_seed = [replace(group, num_seeds=1) for group in (own, other)]
        images = image_variance(image_contributions([own, other], gradients))
        needed = seeds_needed(value, seed_variance(one_seed, gradients, seeds), images)
    return value, value - half, value + half, needed

"""Two studies, or one study and its repetition, compared group by group: what differs, by how much, what it takes to say.

Use `compare_studies` on two accuracies tables; `summarise_comparison` counts the verdicts.
"""

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from empirical.errors import DataError
from empirical.group_means import (
    GroupMean,
    Means,
    group_means,
    image_contributions,
    image_variance,
    seed_variance,
)
from empirical.power import seeds_needed
from empirical.robustness import check_accuracies, group_labels
from theory.links import dprime_inverse

COMPARISON_COLUMNS = (
    "quantity", "test_set", "kind", "group", "n_train", "num_seeds_a", "num_seeds_b", "value_a", "value_b", "difference",
    "difference_low", "difference_high", "verdict", "seeds_needed",
)  # fmt: skip
VERDICTS = ("b higher", "a higher", "not told apart", "no interval")
RATIO, DPRIME, ACCURACY = "d' ratio", "d'", "accuracy"


def compare_studies(a: pd.DataFrame, b: pd.DataFrame, reference: str = "reference") -> pd.DataFrame:
    """Differences (b - a) of every group of models that both studies have, of the same kind and size.

    Per test set: accuracy and d'; per shift: the ratio d'_shift / d'_reference. Means over seeds. The 95% intervals carry the
    seeds of both studies (covariance pooled within each; t with the sum of their degrees of freedom) and the test images of both
    as if they were different ones: on the same images the interval is too wide rather than too narrow. verdict: "b higher",
    "a higher", "not told apart", or "no interval" where a study has one seed of everything. seeds_needed: where not told apart,
    the seeds per study that would tell a difference as large as the measured one (80% power; inf: more test images first).

    Groups are `group_labels`. Columns `COMPARISON_COLUMNS`; no row where the studies share nothing.

    Raises DataError for tables that lack a column or the reference, or test sets of different classes.
    """
    for table in (a, b):
        check_accuracies(table, reference)
    means_a, means_b = (group_means(table.assign(sources=group_labels(table))) for table in (a, b))
    classes = _classes(a, b)
    shared = [t for t in means_a.test_sets if t in means_b.test_sets]
    rows = []
    for key, first in means_a.groups.items():
        second = means_b.groups.get(key)
        if second is None:
            continue
        kind, group, _, n = key
        head = (kind, group, n, first.num_seeds, second.num_seeds)
        for test_set in shared:
            for quantity in (ACCURACY, DPRIME, RATIO):
                if quantity == RATIO and test_set == reference:
                    continue
                sides = [
                    _side(quantity, each, means, test_set, reference, n, classes[test_set])
                    for each, means in ((first, means_a), (second, means_b))
                ]
                if all(np.isfinite(side[0]) for side in sides):
                    rows.append(
                        (
                            quantity,
                            test_set,
                            *head,
                            *_compared(sides[0], sides[1], (first.num_seeds, second.num_seeds)),
                        )
                    )
    return pd.DataFrame(rows, columns=list(COMPARISON_COLUMNS))


_Side = tuple[float, float, float, int]


def _side(
    quantity: str,
    group: GroupMean,
    means: Means,
    test_set: str,
    reference: str,
    n_train: int,
    num_classes: int,
) -> _Side:
    """Value, variance of one seed, variance from images, degrees of freedom."""
    at, ref = means.test_sets.index(test_set), means.test_sets.index(reference)
    gradient = np.zeros((1, len(means.test_sets)))
    y, x = group.mean[at], group.mean[ref]
    if not np.isfinite(y) or (quantity == RATIO and not (np.isfinite(x) and x > 0)):
        return np.nan, np.nan, np.nan, 0
    if quantity == RATIO:
        value = y / x
        gradient[0, [ref, at]] = -y / x**2, 1 / x
    elif quantity == DPRIME:
        value, gradient[0, at] = y, 1.0
    else:
        step = 1e-4
        ends = np.asarray(dprime_inverse(np.array([y - step, y, y + step]), num_classes))
        value, gradient[0, at] = float(ends[1]), float(ends[2] - ends[0]) / (2 * step)
    seeds = means.seed_covariance("all", n_train)
    one = [GroupMean(group.mean, group.image_stderr, 1)]
    spread = seed_variance(one, gradient, seeds) if seeds.degrees else np.nan
    return float(value), spread, image_variance(image_contributions([group], gradient)), seeds.degrees


def _compared(a: _Side, b: _Side, num_seeds: tuple[int, int]) -> tuple:
    difference, degrees = b[0] - a[0], a[3] + b[3]
    images = a[2] + b[2]
    variance = a[1] / num_seeds[0] + b[1] / num_seeds[1] + images
    if not np.isfinite(variance):
        return a[0], b[0], difference, np.nan, np.nan, "no interval", np.nan
    half = float(stdtrit(degrees, 0.975)) * float(np.sqrt(variance))
    low, high = difference - half, difference + half
    verdict = "b higher" if low > 0 else "a higher" if high < 0 else "not told apart"
    needed = seeds_needed(difference, a[1] + b[1], images) if verdict == "not told apart" else np.nan
    return a[0], b[0], difference, low, high, verdict, needed


def _classes(a: pd.DataFrame, b: pd.DataFrame) -> dict[str, int]:
    found: dict[str, int] = {}
    for table in (a, b):
        for test_set, count in table.groupby("test_set")["num_classes"].first().items():
            if found.setdefault(str(test_set), int(count)) != int(count):
                raise DataError(
                    f"test set {test_set} has {found[str(test_set)]} classes in one study and {count} in the other: they cannot "
                    "be compared"
                )
    return found


def summarise_comparison(comparison: pd.DataFrame) -> pd.DataFrame:
    """Counts of verdicts per quantity and test set, the mean difference, and the median of the seeds that are still needed.

    Columns quantity, test_set, num_groups, b_higher, a_higher, not_told_apart, no_interval (of groups without a verdict),
    expected_by_chance (5% of the others would be told apart were there no difference), mean_difference, median_seeds_needed.
    """
    rows = []
    for (quantity, test_set), part in comparison.groupby(["quantity", "test_set"], sort=False):
        counts = part["verdict"].value_counts()
        needed = part["seeds_needed"].dropna()
        judged = len(part) - int(counts.get("no interval", 0))
        rows.append(
            (quantity, test_set, len(part), *(int(counts.get(verdict, 0)) for verdict in VERDICTS),
             0.05 * judged, float(part["difference"].mean()), float(needed.median()) if len(needed) else np.nan)
        )  # fmt: skip
    names = [
        "quantity",
        "test_set",
        "num_groups",
        "b_higher",
        "a_higher",
        "not_told_apart",
        "no_interval",
        "expected_by_chance",
    ]
    return pd.DataFrame(rows, columns=[*names, "mean_difference", "median_seeds_needed"])

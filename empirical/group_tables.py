"""Means over seeds as tidy tables with 95% intervals: d' of every group of models, and its ratio of shift to reference.

Use `dprime_table` for places (data efficiency, points of a figure) and `ratio_table` for robustness. Errors are those of
`empirical.group_means`: seed covariance pooled over the study, plus the binomial error of the test images.
"""

import numpy as np
import pandas as pd

from empirical.group_means import group_means, ratio_stderr
from empirical.robustness import check_accuracies, shifts
from theory.links import dprime_inverse

_KEYS = ["kind", "sources", "heads", "n_train", "num_seeds"]
DPRIME_COLUMNS = (
    *_KEYS, "test_set", "num_classes", "dprime", "dprime_stderr", "accuracy", "accuracy_low", "accuracy_high",
)  # fmt: skip
RATIO_COLUMNS = (*_KEYS, "shift", "dprime_ref", "ratio", "ratio_stderr", "ratio_low", "ratio_high")
_Z = 1.959963984540054


def _groups_of(accuracies: pd.DataFrame) -> pd.DataFrame:
    """The models that groups are made of: filtered pools are told apart by their filter and the share it kept."""
    return accuracies[accuracies["kind"] != "filtered"]


def dprime_table(
    accuracies: pd.DataFrame, reference: str = "reference", overlaps: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Mean d' over seeds of every group (kind, sources, heads, n_train) on every test set.

    accuracy is A_K(mean d'), its 95% ends those of mean d' +- 1.96 standard errors; they are empty where a group has an
    infinite d' on the set or no group of the study has two seeds. Filtered pools are left out. Columns: `DPRIME_COLUMNS`.
    overlaps: of the study, for the errors of the test images (`empirical.group_means`).

    Raises DataError for a missing column or reference set.
    """
    check_accuracies(accuracies, reference)
    table = _groups_of(accuracies)
    if table.empty:
        return pd.DataFrame(columns=list(DPRIME_COLUMNS))
    means = group_means(table, overlaps)
    classes = table.drop_duplicates("test_set").set_index("test_set")["num_classes"]
    rows = []
    for (kind, sources, heads, n), group in means.groups.items():
        covariance = means.seed_covariance("single" if kind == "single" else "all", n)
        for i, name in enumerate(means.test_sets):
            stderr = ratio_stderr([group], np.eye(len(means.test_sets))[i][None], covariance)
            rows.append(
                (kind, sources, heads, n, group.num_seeds, name, int(classes[name]), group.mean[i], stderr)
            )
    out = pd.DataFrame(rows, columns=list(DPRIME_COLUMNS[:9]))
    for end, z in (("", 0.0), ("_low", -_Z), ("_high", _Z)):
        value = out["dprime"].to_numpy(float) + z * np.where(
            z == 0, 0.0, out["dprime_stderr"].to_numpy(float)
        )
        out[f"accuracy{end}"] = np.asarray(dprime_inverse(value, out["num_classes"].to_numpy(float)))
    return out


def ratio_table(
    accuracies: pd.DataFrame, reference: str = "reference", overlaps: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Mean d' ratio of shift to reference of every group, with the delta-method error and 95% ends.

    A ratio over a mean d'_ref that is not above 3 standard errors says nothing and has no row; filtered pools are left out.
    Columns: `RATIO_COLUMNS`. overlaps: of the study, for the errors of the test images (`empirical.group_means`).

    Raises DataError for a missing column or reference set.
    """
    check_accuracies(accuracies, reference)
    table = _groups_of(accuracies)
    if table.empty:
        return pd.DataFrame(columns=list(RATIO_COLUMNS))
    means = group_means(table, overlaps)
    ref = means.test_sets.index(reference)
    rows = []
    for (kind, sources, heads, n), group in means.groups.items():
        covariance = means.seed_covariance("single" if kind == "single" else "all", n)
        of_ref = ratio_stderr([group], np.eye(len(means.test_sets))[ref][None], covariance)
        for shift in shifts(table, reference):
            at = means.test_sets.index(shift)
            x, y = group.mean[ref], group.mean[at]
            if not (np.isfinite(x) and np.isfinite(y) and x > 3 * np.nan_to_num(of_ref)):
                continue
            gradient = np.zeros((1, len(means.test_sets)))
            gradient[0, [ref, at]] = -y / x**2, 1 / x
            error = ratio_stderr([group], gradient, covariance)
            ratio = y / x
            ends = ratio - _Z * error, ratio + _Z * error
            rows.append((kind, sources, heads, n, group.num_seeds, shift, x, ratio, error, *ends))
    return pd.DataFrame(rows, columns=list(RATIO_COLUMNS))

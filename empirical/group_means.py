"""Mean d' of each group of models over its seeds, and the errors of anything computed from such means.

Use `group_means` on a tidy accuracies table and `ratio_stderr` for the delta-method error of a function of the means.
`empirical.prediction` builds the bridge on them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from empirical.robustness import with_link_errors


@dataclass(frozen=True)
class GroupMean:
    """Mean d' over the seeds of one group of models (same kind, sources and n_train) on every test set.

    mean, image_stderr: (T,) in the order of `Means.test_sets`; image_stderr is the binomial error of the test images.
    """

    mean: np.ndarray
    image_stderr: np.ndarray
    num_seeds: int


@dataclass(frozen=True)
class Means:
    """Group means of a study and the seed covariances behind their errors.

    groups maps (kind, sources, heads, n_train) to its mean; seed_covariance maps "single" (single-source models only,
    used for predictions) and "all" (single-source and mixture models, used for measurements) to (T, T) and its degrees
    of freedom.
    """

    test_sets: tuple[str, ...]
    groups: Mapping[tuple[str, str, str, int], GroupMean]
    seed_covariance: Mapping[str, tuple[np.ndarray, int]]


def group_means(accuracies: pd.DataFrame) -> Means:
    """Mean d' per group with the seed covariance pooled over the study.

    C = sum_g sum_seeds r r' / sum_g (S_g - 1), r = d' minus its group mean on all test sets: the full covariance between
    test sets, unbiased although two seeds alone give almost no estimate per group. Models that lack a test set or have an
    infinite d' on one are left out of C; a group with an infinite d' has a non-finite mean there.
    """
    table = with_link_errors(accuracies)
    heads = table["heads_n_train"] if "heads_n_train" in table else pd.Series("", index=table.index)
    table = table.assign(heads=heads.fillna("").astype(str))
    test_sets = tuple(str(name) for name in pd.unique(table["test_set"]))
    keys = ["kind", "sources", "heads", "n_train"]
    wide = table.pivot(index=[*keys, "run"], columns="test_set", values=["dprime", "dprime_stderr"])
    groups: dict[tuple[str, str, str, int], GroupMean] = {}
    residuals: dict[str, list[np.ndarray]] = {"single": [], "all": []}
    degrees = {"single": 0, "all": 0}
    for (kind, sources, head, n), rows in wide.groupby(level=keys, sort=True):
        values, errors = (rows[name][list(test_sets)].to_numpy(float) for name in ("dprime", "dprime_stderr"))
        # Infinite d' must not become a number by averaging with its opposite.
        mean = np.where(
            np.isfinite(values).all(axis=0), np.where(np.isfinite(values), values, 0.0).mean(axis=0), np.nan
        )
        groups[(str(kind), str(sources), str(head), int(n))] = GroupMean(
            mean, errors.mean(axis=0), len(values)
        )
        complete = values[np.isfinite(values).all(axis=1)]
        if len(complete) > 1:
            for pool, kinds in (("single", {"single"}), ("all", {"single", "input_mixing"})):
                if kind in kinds:
                    residuals[pool].append(complete - complete.mean(axis=0))
                    degrees[pool] += len(complete) - 1
    covariance = {}
    for pool, parts in residuals.items():
        total = sum((part.T @ part for part in parts), np.zeros((len(test_sets), len(test_sets))))
        covariance[pool] = (
            total / degrees[pool] if degrees[pool] else np.full_like(total, np.nan),
            degrees[pool],
        )
    return Means(test_sets, groups, covariance)


def ratio_stderr(groups: Sequence[GroupMean], gradients: np.ndarray, seed_covariance: np.ndarray) -> float:
    """Delta-method error of a function of group means: gradients (G, T) in the order of `groups`.

    Seeds are independent between groups: sum_g gradient' C gradient / S_g. The test images are the same for all seeds and
    all groups, so their binomial error does not average over seeds; per test set the larger of "fully shared between
    groups", (sum_g gradient stderr)^2, and "independent", sum_g (gradient stderr)^2, is added, which is conservative
    for sums and for differences alike.
    """
    seeds = sum(
        float(g @ seed_covariance @ g) / group.num_seeds for group, g in zip(groups, gradients, strict=True)
    )
    images = np.where(gradients == 0, 0.0, np.stack([group.image_stderr for group in groups])) * gradients
    return float(np.sqrt(seeds + np.sum(np.maximum(images.sum(axis=0) ** 2, (images**2).sum(axis=0)))))

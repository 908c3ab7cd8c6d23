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
class SeedCovariance:
    """How d' varies between seeds: matrix (T, T) between test sets, and the degrees of freedom it is known with."""

    matrix: np.ndarray
    degrees: int


@dataclass(frozen=True)
class Means:
    """Group means of a study and the seed covariances behind their errors.

    groups maps (kind, sources, heads, n_train) to its mean. `pooled` maps "single" (single-source models only, used for
    predictions) and "all" (single-source and mixture models, used for measurements) to the covariance over all sizes,
    `at_size` the same with n_train, for the sizes that have at least `MIN_DEGREES` degrees of freedom of their own.
    """

    test_sets: tuple[str, ...]
    groups: Mapping[tuple[str, str, str, int], GroupMean]
    pooled: Mapping[str, SeedCovariance]
    at_size: Mapping[tuple[str, int], SeedCovariance]

    def seed_covariance(self, pool: str, n_train: int) -> SeedCovariance:
        """The covariance at one size: small models vary more between seeds than large ones."""
        return self.at_size.get((pool, n_train), self.pooled[pool])


MIN_DEGREES = 4


def group_means(accuracies: pd.DataFrame) -> Means:
    """Mean d' per group with the seed covariance pooled over the study, at each size where it can be.

    C = sum_g sum_seeds r r' / sum_g (S_g - 1), r = d' minus its group mean on all test sets: the full covariance between
    test sets, unbiased although two seeds alone give almost no estimate per group. Mixtures of the same sources and size
    share samples, so together they count as one group in the degrees of freedom. Models that lack a test set or have an
    infinite d' on one are left out of C; a group with an infinite d' has a non-finite mean there.
    """
    table = with_link_errors(accuracies)
    heads = table["heads_n_train"] if "heads_n_train" in table else pd.Series("", index=table.index)
    table = table.assign(heads=heads.fillna("").astype(str))
    test_sets = tuple(str(name) for name in pd.unique(table["test_set"]))
    keys = ["kind", "sources", "heads", "n_train"]
    wide = table.pivot(index=[*keys, "run"], columns="test_set", values=["dprime", "dprime_stderr"])
    groups: dict[tuple[str, str, str, int], GroupMean] = {}
    residuals: dict[tuple[str, int], list[tuple[str, np.ndarray]]] = {}
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
            family = "+".join(sorted(part.rpartition(":")[0] or part for part in str(sources).split("+")))
            for pool, kinds in (("single", {"single"}), ("all", {"single", "input_mixing"})):
                if kind in kinds:
                    part = (f"{family} {n}", complete - complete.mean(axis=0))
                    residuals.setdefault((pool, int(n)), []).append(part)
    pooled = {
        pool: _covariance(
            [p for (name, _), parts in residuals.items() if name == pool for p in parts], len(test_sets)
        )
        for pool in ("single", "all")
    }
    at_size = {key: _covariance(parts, len(test_sets)) for key, parts in residuals.items()}
    return Means(test_sets, groups, pooled, {k: c for k, c in at_size.items() if c.degrees >= MIN_DEGREES})


def _covariance(parts: Sequence[tuple[str, np.ndarray]], num_sets: int) -> SeedCovariance:
    if not parts:
        return SeedCovariance(np.full((num_sets, num_sets), np.nan), 0)
    free = sum(len(residual) - 1 for _, residual in parts)
    families = {family: len(residual) - 1 for family, residual in parts}
    matrix = np.sum([residual.T @ residual for _, residual in parts], axis=0) / free
    return SeedCovariance(matrix, sum(families.values()))


def image_variance(contributions: np.ndarray) -> float:
    """Variance from the test images of a sum of contributions (G, T), each its gradient times its binomial error.

    The test images are the same for all seeds and all models, so their error does not average over them; per test set the
    larger of "fully shared", (sum_g contribution)^2, and "independent", sum_g contribution^2, is taken: conservative for
    sums and for differences alike.
    """
    return float(np.sum(np.maximum(contributions.sum(axis=0) ** 2, (contributions**2).sum(axis=0))))


def image_contributions(groups: Sequence[GroupMean], gradients: np.ndarray) -> np.ndarray:
    """Gradient times binomial error of each group and test set, (G, T); zero where the gradient is zero."""
    errors = np.stack([group.image_stderr for group in groups])
    return np.where(gradients == 0, 0.0, errors) * gradients


def seed_variance(groups: Sequence[GroupMean], gradients: np.ndarray, seeds: SeedCovariance) -> float:
    """Variance from the seeds: sum_g gradient' C gradient / S_g, seeds being independent between groups."""
    return sum(
        float(g @ seeds.matrix @ g) / group.num_seeds for group, g in zip(groups, gradients, strict=True)
    )


def ratio_stderr(groups: Sequence[GroupMean], gradients: np.ndarray, seeds: SeedCovariance) -> float:
    """Delta-method error of a function of group means: gradients (G, T) in the order of `groups`."""
    images = image_variance(image_contributions(groups, gradients))
    return float(np.sqrt(seed_variance(groups, gradients, seeds) + images))

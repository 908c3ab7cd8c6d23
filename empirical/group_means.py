"""Mean d' of each group of models over its seeds, and the errors of anything computed from such means.

Use `group_means` on a tidy accuracies table and `ratio_stderr` for the delta-method error of a function of the means.
`empirical.prediction` builds the bridge on them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from empirical.image_sharing import image_sharing
from empirical.robustness import with_link_errors


@dataclass(frozen=True)
class GroupMean:
    r"""Mean d' over the seeds of one group of models (same kind, sources and n_train) on every test set.

    mean, image_stderr: (T,) in the order of `Means.test_sets`; image_stderr is the error from the test images that all seeds
    have in common, $\sqrt{\rho_gB_g}$ (`empirical.image_sharing`): image_scale is $\sqrt{\rho_g}$, 1 where no overlaps tell it.
    shared: (T,) the share of it that any two groups have in common; None where it is not known.
    """

    mean: np.ndarray
    image_stderr: np.ndarray
    num_seeds: int
    shared: np.ndarray | None = None
    image_scale: np.ndarray | float = 1.0


@dataclass(frozen=True)
class SeedCovariance:
    """How d' varies between seeds: matrix (T, T) between test sets, and the degrees of freedom it is known with.

    nan on a test set on which no group has two finite d'; degrees are the fewest of the other test sets.
    """

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


def group_means(accuracies: pd.DataFrame, overlaps: pd.DataFrame | None = None) -> Means:
    """Mean d' per group with the seed covariance pooled over the study, at each size where it can be.

    C = sum_g sum_seeds r r' / sum_g (S_g - 1), r = d' minus its group mean on all test sets: the full covariance between
    test sets, unbiased although two seeds alone give almost no estimate per group. Mixtures of the same sources and size
    share samples, so together they count as one group in the degrees of freedom. An entry of C is taken over the groups
    whose d' are finite on both of its test sets; a group with an infinite d' has a non-finite mean there.

    overlaps: of the study's single-source models; with them the errors of the test images are those that the seeds have in
    common (`empirical.image_sharing`). Without them all of the binomial error is taken as common: too large, since C has
    each model's own part already.
    """
    table = with_link_errors(accuracies)
    heads = table["heads_n_train"] if "heads_n_train" in table else pd.Series("", index=table.index)
    table = table.assign(heads=heads.fillna("").astype(str))
    test_sets = tuple(str(name) for name in pd.unique(table["test_set"]))
    keys = ["kind", "sources", "heads", "n_train"]
    wide = table.pivot(index=[*keys, "run"], columns="test_set", values=["dprime", "dprime_stderr"])
    sharing = None if overlaps is None or overlaps.empty else image_sharing(accuracies, overlaps, test_sets)
    groups: dict[tuple[str, str, str, int], GroupMean] = {}
    residuals: dict[tuple[str, int], list[tuple[str, np.ndarray]]] = {}
    for (kind, sources, head, n), rows in wide.groupby(level=keys, sort=True):
        values, errors = (rows[name][list(test_sets)].to_numpy(float) for name in ("dprime", "dprime_stderr"))
        # Infinite d' must not become a number by averaging with its opposite.
        mean = np.where(
            np.isfinite(values).all(axis=0), np.where(np.isfinite(values), values, 0.0).mean(axis=0), np.nan
        )
        names = [part.rpartition(":")[0] or part for part in str(sources).split("+")]
        known = sharing.of(names, int(n)) if sharing and kind in ("single", "input_mixing") else None
        rho, shared = (np.ones(len(test_sets)), None) if known is None else known
        groups[(str(kind), str(sources), str(head), int(n))] = GroupMean(
            mean, errors.mean(axis=0) * np.sqrt(rho), len(values), shared, np.sqrt(rho)
        )
        if len(values) > 1:
            family = "+".join(sorted(names))
            for pool, kinds in (("single", {"single"}), ("all", {"single", "input_mixing"})):
                if kind in kinds:
                    part = (f"{family} {n}", values - mean)  # nan on a test set with an infinite d'
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
    total, free = np.zeros((num_sets, num_sets)), np.zeros((num_sets, num_sets))
    families: dict[str, np.ndarray] = {}
    for family, residual in parts:
        finite = np.isfinite(residual).all(axis=0)
        filled = np.where(finite, residual, 0.0)
        total += filled.T @ filled
        free += (len(residual) - 1) * np.outer(finite, finite)
        families[family] = np.maximum(families.get(family, 0), (len(residual) - 1) * finite)
    known = np.diagonal(free) > 0
    if not known.any():
        return SeedCovariance(np.full((num_sets, num_sets), np.nan), 0)
    matrix = np.divide(total, free, out=np.full_like(total, np.nan), where=free > 0)
    return SeedCovariance(matrix, int(np.sum(list(families.values()), axis=0)[known].min()))


def image_variance(contributions: np.ndarray, shared: np.ndarray | None = None) -> float:
    """Variance from the test images of a sum of contributions (G, T), each its gradient times its images' error.

    The test images are the same for all seeds and all models. shared (T,): the share of the contributions' errors that is
    common to all of them, shared (sum_g contribution)^2 + (1 - shared) sum_g contribution^2 per test set. Where it is not known,
    the larger of "fully shared" and "independent" is taken: conservative for sums and for differences alike.
    """
    together, apart = contributions.sum(axis=0) ** 2, (contributions**2).sum(axis=0)
    if shared is None:
        return float(np.sum(np.maximum(together, apart)))
    return float(np.sum(shared * together + (1 - shared) * apart))


def common_share(groups: Sequence[GroupMean]) -> np.ndarray | None:
    """The smallest `shared` of these groups per test set; None where one of them has none."""
    found = [group.shared for group in groups if group.shared is not None]
    return np.min(found, axis=0) if len(found) == len(groups) and found else None


def image_contributions(groups: Sequence[GroupMean], gradients: np.ndarray) -> np.ndarray:
    """Gradient times the images' error of each group and test set, (G, T); zero where the gradient is zero."""
    errors = np.stack([group.image_stderr for group in groups])
    return np.where(gradients == 0, 0.0, errors) * gradients


def seed_variance(groups: Sequence[GroupMean], gradients: np.ndarray, seeds: SeedCovariance) -> float:
    """Variance from the seeds: sum_g gradient' C gradient / S_g, seeds being independent between groups."""
    # A test set that the function does not depend on may have no covariance at all.
    used = np.any(gradients != 0, axis=0)
    matrix = seeds.matrix[np.ix_(used, used)]
    return sum(
        float(g[used] @ matrix @ g[used]) / group.num_seeds
        for group, g in zip(groups, gradients, strict=True)
    )


def ratio_stderr(groups: Sequence[GroupMean], gradients: np.ndarray, seeds: SeedCovariance) -> float:
    """Delta-method error of a function of group means: gradients (G, T) in the order of `groups`."""
    images = image_variance(image_contributions(groups, gradients), common_share(groups))
    # Entries of C over different groups need not make a covariance; a variance below 0 is 0.
    return float(np.sqrt(np.maximum(seed_variance(groups, gradients, seeds), 0.0) + images))

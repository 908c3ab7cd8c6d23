"""Margins of many trained classifiers in the limit of many features, each with sources, shares, n, λ and targets of its own.

Use `limit_margins` where the rows of a table differ in all of these: they are solved together, with one compiled program for
each loss however many rows there are. For one setting and a sweep over shares, n or λ use `theory.asymptotics` itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from theory.arrays import Scalar
from theory.asymptotics import asymptotics_sweep
from theory.gaussian import Source, Target, check_dimensions

_BATCH = 64


@dataclass(frozen=True, eq=False)
class LimitRow:
    """One learner on one mixture of two sources.

    Attributes:
        sources: two sources with isotropic or diagonal noise.
        targets: test distributions with isotropic noise, as many in every row.
        share: share of the first source.
        num_samples: n.
        penalty: λ.
    """

    sources: tuple[Source, Source]
    targets: tuple[Target, ...]
    share: Scalar
    num_samples: Scalar
    penalty: Scalar


def limit_margins(
    rows: Sequence[LimitRow], loss: str
) -> tuple[Float[np.ndarray, "rows t"], Float[np.ndarray, "rows s"]]:
    """Margins on the targets and weights p_sF_s of the sources, for every row.

    Args:
        rows: settings, all with the same number of features.
        loss: "square", "logistic" or "hinge".

    Returns:
        Margins (rows, T) and p_sF_s (rows, 2).

    Raises:
        ValueError: no row, targets with noise that is not isotropic, or what `asymptotics_sweep` refuses.
    """
    if not rows:
        raise ValueError("at least one row is needed, got none")
    for row in rows:
        check_dimensions(*row.sources, *row.targets)
        for target in row.targets:
            if target.covariance.ndim:
                raise ValueError(
                    f"targets need isotropic noise here, that of {target.name!r} has shape {target.covariance.shape}"
                )
    parts = [_solve(rows[start : start + _BATCH], loss) for start in range(0, len(rows), _BATCH)]
    margins, pulls = (np.concatenate(part) for part in zip(*parts, strict=True))
    return margins, pulls


def _solve(rows: Sequence[LimitRow], loss: str) -> tuple[np.ndarray, np.ndarray]:
    # Filled up to one size: programs are compiled by shape, and compiling is what costs.
    filled = [*rows, *[rows[0]] * (_BATCH - len(rows))]
    shares = np.asarray([[row.share, 1 - row.share] for row in filled])
    limit = asymptotics_sweep(
        [row.sources for row in filled],
        shares,
        np.asarray([float(row.num_samples) for row in filled]),
        np.asarray([float(row.penalty) for row in filled]),
        loss,
    )
    mean, noise = (np.asarray(values, np.float64)[: len(rows)] for values in limit.weights())
    means = np.asarray([[target.mean for target in row.targets] for row in rows], np.float64)
    scale = np.sqrt(np.asarray([[target.covariance for target in row.targets] for row in rows], np.float64))
    length = np.sqrt(np.sum(mean**2 + noise, axis=-1, keepdims=True))
    pulls = shares[: len(rows)] * np.asarray(limit.pulls, np.float64)[: len(rows)]
    return np.einsum("bd,btd->bt", mean, means) / (scale * length), pulls

"""Random K-class sources and targets that the K-class tests share."""

from typing import Any

import numpy as np
from gaussian_cases import random_covariance

from theory.multiclass import MulticlassSource, MulticlassTarget, simplex_means


def random_classes(
    rng: np.random.Generator, kind: Any, form: str, num_classes: int, dimension: int, name: str = ""
) -> Any:
    means = rng.standard_normal((num_classes, dimension)) + 0.5
    return kind(means, random_covariance(rng, form, dimension), name)


def simplex_pair(num_classes: int, norm: float, dimension: int) -> tuple[MulticlassSource, MulticlassTarget]:
    """One source and one target with the same simplex means and unit noise."""
    means = simplex_means(num_classes, norm, dimension)
    return MulticlassSource(means), MulticlassTarget(means)


def turned(item: Any, rotation: np.ndarray, scale: float = 1.0) -> Any:
    """The same classes after features are rotated and multiplied by a number."""
    d = item.dimension
    covariance = np.asarray(item.covariance)
    matrix = covariance if covariance.ndim == 2 else np.diag(np.broadcast_to(covariance, (d,)))
    matrix = scale**2 * rotation @ matrix @ rotation.T
    return type(item)(scale * np.asarray(item.means) @ rotation.T, (matrix + matrix.T) / 2, item.name)

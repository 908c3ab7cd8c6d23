"""Random best-mixture problems that the portfolio tests share, and brute scans of the simplex."""

import itertools

import numpy as np

from theory.source_statistics import SourceStatistics

NOISES = ("none", "common", "per source", "per pair")


def random_statistics(
    rng: np.random.Generator,
    num_sources: int,
    num_targets: int,
    noise: str,
    proportional: bool = False,
    dimension: int = 5,
) -> SourceStatistics:
    """Sources around a common direction that all targets share, so that mixtures with positive margins exist."""
    means = rng.standard_normal((num_sources, dimension))
    common = means.sum(0) / np.linalg.norm(means.sum(0))
    tests = common + 0.4 * rng.standard_normal((num_targets, dimension))
    factors = rng.standard_normal((num_targets, dimension, dimension))
    sigmas = factors @ np.swapaxes(factors, 1, 2) / dimension + 0.2 * np.eye(dimension)
    if proportional:
        sigmas = rng.uniform(0.3, 3, num_targets)[:, None, None] * sigmas[0]
    traces = np.trace(sigmas, axis1=1, axis2=2)[:, None]
    scale = {
        "none": np.zeros(num_sources),
        "common": np.full(num_sources, 30.0),
        "per source": 10 ** rng.uniform(-1, 2, num_sources),
        "per pair": 10 ** rng.uniform(-1, 2, (num_targets, num_sources)),
    }[noise]
    grams = means @ sigmas @ means.T
    return SourceStatistics(
        tests @ means.T, grams, np.broadcast_to(traces * scale, (num_targets, num_sources))
    )


def simplex_grid(num_sources: int, steps: int) -> np.ndarray:
    """All shares that are multiples of 1/steps, shape (N, S)."""
    cuts = itertools.combinations(range(steps + num_sources - 1), num_sources - 1)
    rows = [np.diff([-1, *cut, steps + num_sources - 1]) - 1 for cut in cuts]
    return np.asarray(rows) / steps


def worst(statistics: SourceStatistics, counts: np.ndarray) -> np.ndarray:
    """The smallest margin over the targets."""
    return statistics.margins(counts).min(-1)

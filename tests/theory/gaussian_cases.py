"""Random sources and targets that the theorem tests share."""

from typing import Any

import numpy as np

from theory import Source, Target

FORMS = ("scalar", "diagonal", "full")


def random_covariance(rng: np.random.Generator, form: str, dimension: int) -> np.ndarray:
    if form == "scalar":
        return np.asarray(rng.uniform(0.5, 2))
    if form == "diagonal":
        return rng.uniform(0.5, 2, dimension)
    factor = rng.standard_normal((dimension, dimension))
    return factor @ factor.T / dimension + 0.3 * np.eye(dimension)


def dense(covariance: Any, dimension: int) -> np.ndarray:
    covariance = np.asarray(covariance)
    if covariance.ndim == 2:
        return covariance
    return np.diag(np.broadcast_to(covariance, (dimension,)))


def random_source(rng: np.random.Generator, form: str, dimension: int, name: str = "") -> Source:
    return Source(rng.standard_normal(dimension) + 0.5, random_covariance(rng, form, dimension), name)


def random_target(rng: np.random.Generator, form: str, dimension: int, name: str = "") -> Target:
    return Target(rng.standard_normal(dimension) + 0.5, random_covariance(rng, form, dimension), name)


def assert_mean_is(samples: Any, expected: Any, sigmas: float = 4.5) -> None:
    """The mean over the first axis agrees within `sigmas` standard errors."""
    samples = np.asarray(samples, dtype=np.float64)
    error = samples.std(0, ddof=1) / np.sqrt(len(samples))
    assert np.all(np.abs(samples.mean(0) - np.asarray(expected)) <= sigmas * error + 1e-12)

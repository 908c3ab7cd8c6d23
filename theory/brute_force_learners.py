r"""Brute-force twins of the exact samplers: draw all n samples, solve the d x d (or n x n) system, evaluate.

Use `brute_force_learner` to judge `theory.exact_least_squares`, `theory.exact_minimum_norm` and `theory.exact_ridge`, or where
they do not apply: any covariance for any source, different noise levels with n > d. `draw_rows` makes the samples for any
other learner, `solve_square` trains the square loss on them. Cost O(nd min(n, d)) per classifier; float64 and NumPy throughout,
so that nothing is compiled for a new shape; seeded by the JAX key.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Key

from theory import covariance as cov
from theory.arrays import ArrayLike, Scalar
from theory.brute_force import _evaluate
from theory.exact_geometry import generator_of
from theory.gaussian import Source, Target, check_dimensions
from theory.monte_carlo import MarginDraws

LinearLearner: TypeAlias = Literal["least_squares", "pooled_lda", "minimum_norm", "ridge"]
LEARNERS: tuple[LinearLearner, ...] = get_args(LinearLearner)

_BATCH_ELEMENTS = 1 << 21


def solve_square(
    learner: LinearLearner,
    rows: Float[np.ndarray, "trials n d"],
    counts: Sequence[int],
    penalty: Scalar = 0.0,
) -> Float[np.ndarray, "trials d"]:
    """Weights of a linear learner from the rows u_i = y_ix_i, sorted by source; no checks.

    Args:
        learner: as `brute_force_weights`.
        rows: samples of every trial.
        counts: n_s of the sources that give any (pooled LDA only).
        penalty: λ of the ridge.
    """
    n, d = rows.shape[1:]
    turned = rows.swapaxes(1, 2)
    total = rows.sum(1)[..., None]
    if learner == "minimum_norm":
        return (turned @ np.linalg.solve(rows @ turned, np.ones((len(rows), n, 1))))[..., 0]
    if learner == "pooled_lda":
        groups = np.split(rows, np.cumsum(counts)[:-1].tolist(), axis=1)
        scatter = sum(_scatter(group) for group in groups)
        return (n - len(counts)) / n * np.linalg.solve(scatter, total)[..., 0]
    if learner == "least_squares":
        basis, upper = np.linalg.qr(rows)
        return np.linalg.solve(upper, basis.sum(1)[..., None])[..., 0]
    return np.linalg.solve(turned @ rows + n * penalty * np.eye(d), total)[..., 0]


def _scatter(group: np.ndarray) -> np.ndarray:
    centred = group - group.mean(1, keepdims=True)
    return centred.swapaxes(1, 2) @ centred


def _noise(generator: np.random.Generator, source: Source, shape: tuple[int, ...]) -> np.ndarray:
    normals = generator.standard_normal(shape)
    covariance = np.asarray(source.covariance, np.float64)
    if covariance.ndim < 2:
        return np.sqrt(covariance) * normals
    eigenvalues, vectors = np.linalg.eigh(np.asarray(cov.as_matrix(source.covariance, shape[-1]), np.float64))
    return (normals * np.sqrt(np.clip(eigenvalues, 0, None))) @ vectors.T


def draw_rows(
    generator: np.random.Generator, sources: Sequence[Source], counts: Sequence[int], num_trials: int
) -> Float[np.ndarray, "trials n d"]:
    """Samples y x of several data sets, sorted by source: random labels times features drawn given the labels.

    Args:
        generator: source of randomness.
        sources: S training distributions, any covariance.
        counts: n_s >= 0, whole numbers, not all 0.
        num_trials: data sets.
    """
    d = check_dimensions(*sources)
    parts = []
    for source, count in zip(sources, counts, strict=True):
        labels = generator.choice([-1.0, 1.0], (num_trials, count, 1))
        features = labels * np.asarray(source.mean, np.float64)
        features += _noise(generator, source, (num_trials, count, d))
        parts.append(np.multiply(labels, features, out=features))
    return np.concatenate(parts, axis=1)


def brute_force_weights(
    key: Key[Array, ""],
    sources: Sequence[Source],
    counts: ArrayLike,
    num_trials: int,
    learner: LinearLearner,
    penalty: Scalar = 0.0,
) -> Float[Array, "trials d"]:
    """Weights of classifiers, each trained on its own n_s fresh samples of every source.

    Args:
        key: random key.
        sources: S training distributions, any covariance.
        counts: n_s, whole numbers, shape (S,).
        num_trials: classifiers to train.
        learner: "least_squares" (n >= d), "pooled_lda" (within-source covariance, n − S >= d), "minimum_norm" (n <= d)
            or "ridge".
        penalty: λ of the ridge, > 0; unused otherwise.

    Returns:
        Weights, shape (num_trials, d).

    Raises:
        ValueError: an unknown learner, counts that are not one whole number >= 0 for each source or outside the learner's
            range, a ridge penalty that is not > 0, or fewer than one trial.
    """
    d = check_dimensions(*sources)
    if learner not in LEARNERS:
        raise ValueError(f"learner must be one of {LEARNERS}, got {learner!r}")
    numbers = np.atleast_1d(np.asarray(counts, np.float64))
    if numbers.shape != (len(sources),) or (numbers < 0).any() or np.any(np.rint(numbers) != numbers):
        raise ValueError(
            f"counts must be one whole number >= 0 for each of {len(sources)} sources, got {numbers.tolist()}"
        )
    chosen = [source for source, count in zip(sources, numbers, strict=True) if count > 0]
    numbers_used = [int(count) for count in numbers if count > 0]
    n = sum(numbers_used)
    low, high = {
        "least_squares": (d, np.inf),
        "pooled_lda": (d + len(chosen), np.inf),
        "minimum_norm": (1, d),
        "ridge": (1, np.inf),
    }[learner]
    if not low <= n <= high:
        raise ValueError(f"{learner} at d = {d} needs between {low:g} and {high:g} samples, got {n}")
    if learner == "ridge" and not (np.isfinite(penalty) and penalty > 0):
        raise ValueError(f"the penalty of a ridge must be a finite number > 0, got {penalty}")
    if num_trials < 1:
        raise ValueError(f"num_trials must be at least 1, got {num_trials}")
    generator = generator_of(key)
    batch = max(1, min(num_trials, _BATCH_ELEMENTS // (d * max(n, d))))
    weights = []
    for start in range(0, num_trials, batch):
        rows = draw_rows(generator, chosen, numbers_used, min(batch, num_trials - start))
        weights.append(solve_square(learner, rows, numbers_used, penalty))
    return jnp.asarray(np.concatenate(weights), sources[0].mean.dtype)


def brute_force_learner(
    key: Key[Array, ""],
    sources: Sequence[Source],
    counts: ArrayLike,
    targets: Sequence[Target],
    num_trials: int,
    learner: LinearLearner,
    penalty: Scalar = 0.0,
) -> MarginDraws:
    """Margins on T targets of classifiers that are trained on drawn samples; arguments as `brute_force_weights`.

    Returns:
        `MarginDraws` with arrays (num_trials, T).

    Raises:
        ValueError: as `brute_force_weights`.
    """
    check_dimensions(*sources, *targets)
    return _evaluate(brute_force_weights(key, sources, counts, num_trials, learner, penalty), targets)

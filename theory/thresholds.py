"""Choosing a filter's threshold: for a wanted share of kept pairs, or for the best margin on a target (Theorem 3).

Use `threshold_for_kept_share` to speak of "keep the best 30%", and `best_threshold` to weigh cleaner data against fewer.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import log_ndtr, logsumexp
from jaxtyping import Float

from theory import covariance as cov
from theory.arrays import ArrayLike, as_float_array, require
from theory.filtering import Pool, filter_pool
from theory.gaussian import Target

_REACH = 40.0  # standard deviations of score to either side that any threshold of interest lies within


def score_statistics(pool: Pool, direction: ArrayLike) -> tuple[Float[Array, " j"], Float[Array, " j"]]:
    """Mean f·ν_j and standard deviation ‖f‖_j of the filter's score on each component, in units of the score."""
    pulls = filter_pool(pool, direction, -jnp.inf).pulls
    f = as_float_array(direction)
    return pool.means @ f, pulls @ f


def threshold_for_kept_share(
    pool: Pool, direction: ArrayLike, kept_share: ArrayLike
) -> Float[Array, "*batch"]:
    """Threshold at which a wanted share of the pool passes, the inverse of κ(τ) = Σ_j π_j(1 − Φ(t_j)).

    Args:
        pool: the unfiltered data.
        direction: f, shape (d,).
        kept_share: κ in (0, 1], one or an array; 1 gives −inf (keep everything).

    Returns:
        τ in units of the score, the shape of `kept_share`.

    Raises:
        ValueError: a share outside (0, 1].

    Source: Theorem 3 (kept shares).
    """
    means, stds = score_statistics(pool, direction)
    share = as_float_array(kept_share)
    require((share > 0) & (share <= 1), share, "a kept share must lie in (0, 1]")
    low = jnp.full(share.shape, jnp.min(means - _REACH * stds))
    high = jnp.full(share.shape, jnp.max(means + _REACH * stds))
    log_weights, log_share = jnp.log(pool.weights), jnp.log(share)
    for _ in range(200):  # bisection in log κ: monotone, and accurate however small the share
        middle = 0.5 * (low + high)
        kept = logsumexp(log_weights + log_ndtr((means - middle[..., None]) / stds), axis=-1)
        low, high = jnp.where(kept > log_share, middle, low), jnp.where(kept > log_share, high, middle)
    return jnp.where(share == 1, -jnp.inf, 0.5 * (low + high))


@dataclass(frozen=True, eq=False)
class BestThreshold:
    """The threshold with the largest margin on a target, and every other one that looks best from nearby.

    Attributes:
        threshold: τ*, −inf when filtering does not pay.
        kept_share: κ(τ*).
        margin: m(τ*), a probit accuracy.
        pool_margin: the margin without filtering.
        local_maxima: (τ, m(τ)) of all local maxima found, best first. More than one is common enough to matter.
    """

    threshold: float
    kept_share: float
    margin: float
    pool_margin: float
    local_maxima: tuple[tuple[float, float], ...]


def best_threshold(
    pool: Pool,
    direction: ArrayLike,
    target: Target,
    num_pool: float,
    min_kept: float = 10.0,
    grid_size: int = 400,
    relative_tolerance: float = 1e-8,
) -> BestThreshold:
    """Threshold that maximises the margin on a target, by grid and refinement.

    m(τ) may have several maxima, so a grid even in the score is searched first and each of its peaks is refined by golden
    section. Keeping everything (τ = −inf) always stands for comparison.

    Args:
        pool: the unfiltered data.
        direction: f, shape (d,).
        target: the test distribution whose margin counts.
        num_pool: n, pairs in the pool.
        min_kept: fewest pairs that may be kept, at least 1; the closed form means little below about 10.
        grid_size: thresholds on the grid, at least 10.
        relative_tolerance: width at which the refinement stops, relative to the grid's range.

    Returns:
        A `BestThreshold`.

    Raises:
        ValueError: a pool smaller than `min_kept`, min_kept < 1 or grid_size < 10.

    Source: Theorem 3 (the best threshold; margins with several maxima).
    """
    if min_kept < 1 or num_pool < min_kept:
        raise ValueError(f"min_kept must lie between 1 and the pool's {num_pool:g} pairs, got {min_kept:g}.")
    if grid_size < 10:
        raise ValueError(
            f"A grid of at least 10 thresholds is needed to see several maxima, got {grid_size}."
        )
    means, stds = score_statistics(pool, direction)
    top = float(threshold_for_kept_share(pool, direction, min(1.0, min_kept / num_pool) * (1 - 1e-9)))
    bottom = min(float(jnp.min(means - 6.0 * stds)), top)
    pool_margin = float(_leading_place(pool, direction, jnp.asarray(-jnp.inf), target, num_pool))
    grid = np.linspace(bottom, top, grid_size)
    values = np.asarray(_leading_place(pool, direction, jnp.asarray(grid), target, num_pool))
    padded = np.concatenate([[-np.inf], values, [-np.inf]])
    peaks = np.flatnonzero((padded[1:-1] > padded[:-2]) & (padded[1:-1] >= padded[2:]))
    maxima = [(-np.inf, pool_margin)]
    if len(peaks):
        low, high = grid[np.maximum(peaks - 1, 0)], grid[np.minimum(peaks + 1, grid_size - 1)]
        found = _golden_section(
            pool, direction, target, num_pool, low, high, relative_tolerance * (top - bottom)
        )
        # The first grid point keeps all but a billionth of the pool: where it is the peak, that peak is the raw pool.
        maxima += [(t, m) for t, m, peak in zip(*found, peaks, strict=True) if peak > 0]
    maxima.sort(key=lambda pair: -pair[1])
    tau, margin = maxima[0]
    kept = float(filter_pool(pool, direction, tau).kept_share)
    interior = maxima if values[0] >= values[1] else [pair for pair in maxima if np.isfinite(pair[0])]
    return BestThreshold(tau, kept, margin, pool_margin, tuple(interior or maxima))


def _golden_section(
    pool: Pool,
    direction: ArrayLike,
    target: Target,
    num_pool: float,
    low: np.ndarray,
    high: np.ndarray,
    tolerance: float,
) -> tuple[list[float], list[float]]:
    """Maximise the margin in every bracket [low_i, high_i] at once."""
    ratio = (np.sqrt(5.0) - 1.0) / 2.0

    def value(thresholds: np.ndarray) -> np.ndarray:
        return np.asarray(_leading_place(pool, direction, jnp.asarray(thresholds), target, num_pool))

    while np.max(high - low) > tolerance:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        rising = value(left) < value(right)
        low, high = np.where(rising, left, low), np.where(rising, high, right)
    middle = 0.5 * (low + high)
    return middle.tolist(), value(middle).tolist()


def _leading_place(
    pool: Pool, direction: ArrayLike, thresholds: Array, target: Target, num_pool: float
) -> Array:
    """`filtered_place` at leading order for many thresholds at once, without forming one covariance per threshold."""
    kept = filter_pool(pool, direction, thresholds)
    sigma, d = target.covariance, pool.dimension
    traces = jnp.stack([cov.trace_product(source.covariance, sigma, d) for source in pool.sources])
    mean = kept.mean
    within = jnp.sum(
        kept.weights * (traces - kept.variance_reductions * cov.quadratic_form(sigma, kept.pulls)), axis=-1
    )
    between = jnp.sum(
        kept.weights * cov.quadratic_form(sigma, kept.component_means - mean[..., None, :]), axis=-1
    )
    length = cov.quadratic_form(sigma, mean) + (within + between) / (num_pool * kept.kept_share)
    return mean @ target.mean / jnp.sqrt(length)

"""Choosing a filter's threshold: for a wanted share of kept pairs, or for the best margin on a target (Theorem 3).

Use `threshold_for_kept_share` to speak of "keep the best 30%", and `best_threshold` to weigh cleaner data against fewer.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import log_ndtr, logsumexp
from jaxtyping import Float

from theory import covariance as cov
from theory.arrays import ArrayLike, as_float_array, require
from theory.filtering import Pool, checked_direction, filter_pool
from theory.gaussian import Target

_REACH = 40.0  # standard deviations of score to either side that any threshold of interest lies within


def score_statistics(pool: Pool, direction: ArrayLike) -> tuple[Float[Array, " j"], Float[Array, " j"]]:
    """Mean f·ν_j and standard deviation ‖f‖_j of the filter's score on each component, in units of the score."""
    f = checked_direction(pool, direction)
    stds = jnp.sqrt(jnp.stack([cov.quadratic_form(source.covariance, f) for source in pool.sources]))
    return pool.means @ f, stds


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
    return jnp.where(
        share == 1, -jnp.inf, _invert_kept_share(jnp.log(share), means, stds, jnp.log(pool.weights))
    )


@jax.jit
def _invert_kept_share(log_share: Array, means: Array, stds: Array, log_weights: Array) -> Array:
    """Bisection in log κ: monotone, and accurate however small the share."""

    def halve(_: Any, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = 0.5 * (low + high)
        kept = logsumexp(log_weights + log_ndtr((means - middle[..., None]) / stds), axis=-1)
        return jnp.where(kept > log_share, middle, low), jnp.where(kept > log_share, high, middle)

    low = jnp.full(log_share.shape, jnp.min(means - _REACH * stds))
    high = jnp.full(log_share.shape, jnp.max(means + _REACH * stds))
    low, high = jax.lax.fori_loop(0, 100, halve, (low, high))
    return 0.5 * (low + high)


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
    num_pool: float | int,
    min_kept: float | int = 10.0,
    grid_size: int = 400,
    relative_tolerance: float = 1e-8,
) -> BestThreshold:
    """Threshold that maximises the margin on a target, by grid and refinement.

    m(τ) may have several maxima, so a grid even in the score is searched first and each of its peaks is refined by
    grids around it. Keeping everything (τ = −inf) always stands for comparison.

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
    pool_margin = float(leading_places(pool, direction, jnp.asarray(-jnp.inf), target, num_pool))
    grid = np.linspace(bottom, top, grid_size)
    values = np.asarray(leading_places(pool, direction, jnp.asarray(grid), target, num_pool))
    padded = np.concatenate([[-np.inf], values, [-np.inf]])
    peaks = np.flatnonzero((padded[1:-1] > padded[:-2]) & (padded[1:-1] >= padded[2:]))
    maxima = [(-np.inf, pool_margin)]
    # The first grid point keeps all but a billionth of the pool: where it is the peak, that peak is the raw pool.
    for peak in peaks[peaks > 0]:
        bracket = float(grid[peak - 1]), float(grid[min(peak + 1, grid_size - 1)])
        tolerance = relative_tolerance * (top - bottom)
        maxima.append(_zoom(pool, direction, target, num_pool, bracket, grid_size, tolerance))
    maxima.sort(key=lambda pair: -pair[1])
    tau, margin = maxima[0]
    kept = float(filter_pool(pool, direction, tau).kept_share)
    interior = maxima if values[0] >= values[1] else [pair for pair in maxima if np.isfinite(pair[0])]
    return BestThreshold(tau, kept, margin, pool_margin, tuple(interior or maxima))


def _zoom(
    pool: Pool,
    direction: ArrayLike,
    target: Target,
    num_pool: float | int,
    bracket: tuple[float, float],
    grid_size: int,
    tolerance: float,
) -> tuple[float, float]:
    """Maximise the margin inside a bracket around one peak, by grids around the best point of the last grid."""
    low, high = bracket
    while True:
        # Always the same number of points: one compilation serves every grid.
        grid = np.linspace(low, high, grid_size)
        values = np.asarray(leading_places(pool, direction, jnp.asarray(grid), target, num_pool))
        best = int(values.argmax())
        if high - low <= tolerance:
            return float(grid[best]), float(values[best])
        low, high = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, grid_size - 1)])


def leading_places(
    pool: Pool, direction: ArrayLike, thresholds: ArrayLike, target: Target, num_pool: float | int
) -> Float[Array, "*batch"]:
    """`filtered_place` at leading order for many thresholds at once, without a covariance for each of them.

    Args:
        pool: the unfiltered data.
        direction: f, shape (d,).
        thresholds: τ in units of the score, one or an array.
        target: the test distribution.
        num_pool: n, pairs in the pool.

    Returns:
        Margins, the shape of `thresholds`.

    Raises:
        ValueError: as `filter_pool`.
    """
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

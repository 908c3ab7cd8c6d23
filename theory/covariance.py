r"""Covariances in three forms, one algebra: a scalar variance $\gamma^2 I$, a diagonal or a full matrix.

A covariance is an array of shape () (isotropic: the variance of every coordinate), (d,) (the diagonal) or
(d, d). Every function here accepts any of them and costs O(d) for the first two. Use `validate_covariance` on
what a user passes, the rest on what it returned. Units: the square of the features' unit.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Key, UInt32

from theory.arrays import ArrayLike, as_float_array, is_concrete, require


def validate_covariance(
    covariance: ArrayLike, dimension: int, name: str = "covariance"
) -> Float[Array, "..."]:
    """A covariance as a float array of shape (), (d,) or (d, d), checked to be symmetric and >= 0.

    Args:
        covariance: a variance, d variances, or a d x d matrix.
        dimension: d, the number of features.
        name: how the error message calls it.

    Raises:
        ValueError: another shape; an entry that is not finite; a negative variance; a matrix that is not
            symmetric or has a negative eigenvalue (beyond rounding).
    """
    array = as_float_array(covariance)
    allowed = ((), (dimension,), (dimension, dimension))
    if array.shape not in allowed:
        raise ValueError(
            f"{name} must have shape (), ({dimension},) or ({dimension}, {dimension}), got {array.shape}"
        )
    require(jnp.isfinite(array), array, f"every entry of {name} must be finite")
    if array.ndim < 2:
        require(array >= 0, array, f"every variance in {name} must be >= 0")
    elif is_concrete(array):
        matrix = np.asarray(array, dtype=np.float64)
        rounding = 64 * dimension * float(jnp.finfo(array.dtype).eps) * max(np.abs(matrix).max(), 1e-300)
        asymmetry = np.abs(matrix - matrix.T).max()
        if asymmetry > rounding:
            raise ValueError(f"{name} must be symmetric, got entries that differ by {asymmetry:.3g}")
        smallest = np.linalg.eigvalsh(matrix)[0]
        if smallest < -rounding:
            raise ValueError(f"every eigenvalue of {name} must be >= 0, got {smallest:.6g}")
    return array


def apply(covariance: Float[Array, "..."], vectors: Float[Array, "... d"]) -> Float[Array, "... d"]:
    r"""$\Sigma v$ for every vector v in the last axis."""
    return vectors @ covariance if covariance.ndim == 2 else covariance * vectors


def quadratic_form(
    covariance: Float[Array, "..."], left: Float[Array, "... d"], right: Float[Array, "... d"] | None = None
) -> Float[Array, "..."]:
    r"""$u^\top\Sigma v$ over the last axis (v = u if left out); leading axes broadcast."""
    return jnp.sum(left * apply(covariance, left if right is None else right), axis=-1)


def as_matrix(covariance: Float[Array, "..."], dimension: int) -> Float[Array, "d d"]:
    """The d x d matrix of a covariance of any form."""
    if covariance.ndim == 2:
        return covariance
    return jnp.diag(jnp.broadcast_to(covariance, (dimension,)))


def trace(covariance: Float[Array, "..."], dimension: int) -> Float[Array, ""]:
    r"""$\operatorname{tr}\Sigma$."""
    if covariance.ndim == 0:
        return dimension * covariance
    return jnp.trace(covariance) if covariance.ndim == 2 else jnp.sum(covariance)


def trace_product(
    first: Float[Array, "..."], second: Float[Array, "..."], dimension: int
) -> Float[Array, ""]:
    r"""$\operatorname{tr}(\Gamma\Sigma)$, without forming the product."""
    if first.ndim == 2 and second.ndim == 2:
        return jnp.sum(first * second.T)
    if first.ndim == 2:
        first = jnp.diagonal(first)
    if second.ndim == 2:
        second = jnp.diagonal(second)
    return jnp.sum(jnp.broadcast_to(first * second, (dimension,)))


def trace_squared_product(
    first: Float[Array, "..."], second: Float[Array, "..."], dimension: int
) -> Float[Array, ""]:
    r"""$\operatorname{tr}((\Gamma\Sigma)^2)$: what the fluctuation of $\hat w^\top\Sigma\hat w$ is made of."""
    if first.ndim < 2 and second.ndim < 2:
        return jnp.sum(jnp.broadcast_to((first * second) ** 2, (dimension,)))
    product = apply(second, as_matrix(first, dimension))
    return jnp.sum(product * product.T)


def add(first: Float[Array, "..."], second: Float[Array, "..."], dimension: int) -> Float[Array, "..."]:
    """The sum of two covariances in the simplest form that holds both."""
    if first.ndim == second.ndim or max(first.ndim, second.ndim) < 2:
        return first + second
    return as_matrix(first, dimension) + as_matrix(second, dimension)


def weighted_sum(
    weights: Float[Array, " s"], covariances: tuple[Float[Array, "..."], ...], dimension: int
) -> Float[Array, "..."]:
    r"""$\sum_s w_s\Gamma_s$ for weights of shape (S,), in the simplest form that holds all of them."""
    if len(covariances) != weights.shape[0]:
        raise ValueError(f"one weight for each of the {len(covariances)} covariances, got {weights.shape[0]}")
    total = weights[0] * covariances[0]
    for index in range(1, len(covariances)):
        total = add(total, weights[index] * covariances[index], dimension)
    return total


def proportionality(first: Float[Array, "..."], second: Float[Array, "..."], dimension: int) -> float | None:
    """The number c² with second = c² first, or None if there is none (equality up to rounding).

    Raises:
        ValueError: a covariance is traced (inside `jit` the answer cannot decide the formula), or first is 0.
    """
    if not is_concrete(first, second):
        raise ValueError(
            "whether two covariances are proportional cannot be decided inside jit, vmap or grad"
        )
    if first.ndim < 2 and second.ndim < 2:
        a, b = np.broadcast_arrays(np.asarray(first, np.float64), np.asarray(second, np.float64))
    else:
        a, b = (np.asarray(as_matrix(x, dimension), np.float64) for x in (first, second))
    largest = np.abs(a).max()
    if largest == 0:
        raise ValueError("a covariance that is proportional to another cannot start from one that is 0")
    ratio = float(np.sum(a * b) / np.sum(a * a))
    rounding = 1024 * float(jnp.finfo(jnp.result_type(first, second)).eps)
    return ratio if np.abs(b - ratio * a).max() <= rounding * max(abs(ratio) * largest, 0.0) else None


def sample(
    key: Key[Array, ""] | UInt32[Array, "2"], covariance: Float[Array, "..."], shape: tuple[int, ...]
) -> Float[Array, "..."]:
    """Gaussian noise of mean 0 with this covariance along the last axis of `shape` (which has length d).

    A full matrix is factored by its eigenvectors, so that singular covariances are fine.
    """
    noise = jax.random.normal(key, shape, dtype=covariance.dtype)
    if covariance.ndim < 2:
        return jnp.sqrt(covariance) * noise
    eigenvalues, eigenvectors = jnp.linalg.eigh(covariance)
    return (noise * jnp.sqrt(jnp.clip(eigenvalues, 0))) @ eigenvectors.T

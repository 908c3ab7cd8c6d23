"""Turn what callers pass (numbers, lists, numpy or JAX arrays) into JAX arrays, and check shares and counts.

Use `as_float_array` at the border of every public function, `check_shares` and `check_counts` for mixtures.
Values are checked only where they are known: inside `jit`, `vmap` or `grad` shapes are checked and values are
not. The library never switches JAX's precision: float64 is used if the caller enabled it.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax import Array

ArrayLike: TypeAlias = Array | np.ndarray | np.number | float | int | Sequence
Scalar: TypeAlias = float | int


def is_concrete(*values: Any) -> bool:
    """Whether no value is a tracer, so that its entries may be compared and reported."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree_util.tree_leaves(values))


def as_float_array(values: ArrayLike) -> Array:
    """The values as a floating-point JAX array: float32 stays float32, integers take the default float."""
    array = jnp.asarray(values)
    return array.astype(jnp.result_type(array, float))


def require(condition: Any, values: Any, message: str) -> None:
    """Raise `ValueError` with the first value where a concrete condition fails; do nothing under tracing."""
    if not is_concrete(condition, values):
        return
    fine, shown = np.broadcast_arrays(np.asarray(condition), np.asarray(values))
    if not fine.all():
        raise ValueError(f"{message}, got {shown[~fine].flat[0]}")


def check_shares(shares: ArrayLike, num_sources: int, name: str = "shares") -> Array:
    """Shares or ensemble weights of the sources, checked: one each, non-negative, summing to one.

    Args:
        shares: (..., S) numbers without unit.
        num_sources: S.
        name: how the error message calls them.

    Raises:
        ValueError: the number of shares is not S, a share is negative or not finite, or they do not sum to 1
            within rounding.
    """
    array = as_float_array(shares)
    if array.ndim == 0 or array.shape[-1] != num_sources:
        raise ValueError(
            f"{name} must hold one number for each of the {num_sources} sources, got shape {array.shape}"
        )
    require(jnp.isfinite(array) & (array >= 0), array, f"every entry of {name} must be a number >= 0")
    total = array.sum(-1)
    tolerance = 64 * num_sources * jnp.finfo(array.dtype).eps
    require(jnp.abs(total - 1) <= tolerance, total, f"{name} must sum to 1")
    return array


def check_counts(counts: ArrayLike, name: str = "num_samples") -> Array:
    """Numbers of training samples as floats, checked to be positive and finite (values above 1e9 are welcome).

    Raises:
        ValueError: a count is not a finite number > 0.
    """
    array = as_float_array(counts)
    require(jnp.isfinite(array) & (array > 0), array, f"{name} must be a finite number > 0")
    return array


def check_whole_counts(counts: ArrayLike, num_sources: int) -> np.ndarray:
    """Numbers of samples n_s to draw from each source, shape (S,), as int64.

    Raises:
        ValueError: not one whole number >= 0 for each source, or all 0.
    """
    numbers = np.atleast_1d(np.asarray(counts))
    whole = np.rint(numbers).astype(np.int64)
    if numbers.shape != (num_sources,) or (whole < 0).any() or whole.sum() < 1 or np.any(whole != numbers):
        raise ValueError(
            f"counts must be one whole number >= 0 for each of {num_sources} sources, got {numbers.tolist()}"
        )
    return whole

r"""d′ of many accuracies at one K: the link is integrated on a grid once and inverted by interpolation.

Used by `theory.links.dprime`, which decides when; call that. On the probit scale $y(m)=\Phi^{-1}(A_K(m))$ the link is so nearly
straight that the cubic through its values and exact slopes at 512 nodes is within 1e-9 of the root in float64. The grid depends
on K alone and is kept: a study asks for the same number of classes again and again.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import ndtri

from theory.links import _dprime, _tail, _typical_maximum

NUM_NODES = 512
#: Accuracies further than this from 0 and 1 lie on the grid.
LEAST_TAIL = 1e-9


class LinkTable(NamedTuple):
    """The link at equally spaced d′.

    Attributes:
        nodes: d′, shape (N,).
        probits: Φ⁻¹ of the accuracy there.
        slopes: dΦ⁻¹(A)/dd′ there.
    """

    nodes: Array
    probits: Array
    slopes: Array


@lru_cache(maxsize=64)
def link_table(num_classes: float | int, dtype: Any) -> LinkTable:
    """The table for K classes in a precision, computed at the first call."""
    return jax.block_until_ready(_integrate(jnp.asarray(num_classes, dtype)))


@jax.jit
def _integrate(num_classes: Array) -> LinkTable:
    dtype = num_classes.dtype
    # In float32 the upper end would round to 1.
    least = max(LEAST_TAIL, float(jnp.finfo(dtype).eps) / 2)
    ends = jnp.asarray([LEAST_TAIL, 1 - least], dtype)
    low, high = _dprime(ends, jnp.broadcast_to(num_classes, (2,)))
    nodes = jnp.linspace(low - 0.01, high + 0.01, NUM_NODES, dtype=dtype)
    k = jnp.broadcast_to(num_classes - 1, nodes.shape)
    upper = nodes > _typical_maximum(num_classes[None] - 1)[0]
    tail, sign = _tail(nodes, k, upper), jnp.where(upper, -1, 1)
    y = sign * ndtri(tail.probability)
    slope = sign * tail.probability * tail.score * jnp.exp(y**2 / 2) * np.sqrt(2 * np.pi)
    return LinkTable(nodes, y, slope)


def dprime_by_table(accuracy: Array, num_classes: float | int) -> Array:
    """d′ of accuracies (N,) that are 0, 1, not numbers, or at least `LEAST_TAIL` from both ends, at one K."""
    return _look_up(accuracy, link_table(num_classes, accuracy.dtype))


@jax.jit
def _look_up(accuracy: Array, table: LinkTable) -> Array:
    nodes, y, slope = table
    inside = (accuracy > 0) & (accuracy < 1)
    upper = accuracy > 0.5
    wanted = jnp.where(upper, -1, 1) * ndtri(jnp.where(inside, jnp.where(upper, 1 - accuracy, accuracy), 0.5))
    left = jnp.clip(jnp.searchsorted(y, wanted) - 1, 0, NUM_NODES - 2)
    width = y[left + 1] - y[left]
    t = (wanted - y[left]) / width
    m = (
        (1 + 2 * t) * (1 - t) ** 2 * nodes[left]
        + t**2 * (3 - 2 * t) * nodes[left + 1]
        + t * (1 - t) ** 2 * width / slope[left]
        - t**2 * (1 - t) * width / slope[left + 1]
    )
    m = jnp.where(accuracy == 0, -jnp.inf, jnp.where(accuracy == 1, jnp.inf, m))
    return jnp.where(jnp.isnan(accuracy), jnp.nan, m)

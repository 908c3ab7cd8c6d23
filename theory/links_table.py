r"""d′ of many accuracies at one K: the link is integrated on a grid once and inverted by interpolation.

Used by `theory.links.dprime`, which decides when; call that. On the probit scale $y(m)=\Phi^{-1}(A_K(m))$ the link is so nearly
straight that the cubic through its values and exact slopes at 256 nodes is within 1e-9 of the root in float64.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import ndtri

from theory.links import _dprime, _tail, _typical_maximum

NUM_NODES = 256
#: Accuracies further than this from 0 and 1 span few enough d′ for the grid.
LEAST_TAIL = 1e-9


@jax.jit
def dprime_by_table(accuracy: Array, num_classes: Array) -> Array:
    """d′ of accuracies (N,) that are 0, 1, not numbers, or at least `LEAST_TAIL` from both ends, at one K ()."""
    inside = (accuracy > 0) & (accuracy < 1)
    known = jnp.where(inside, accuracy, jnp.nan)
    ends = jnp.nan_to_num(jnp.stack([jnp.nanmin(known), jnp.nanmax(known)]), nan=0.5)
    low, high = _dprime(ends, jnp.broadcast_to(num_classes, (2,)))
    nodes = jnp.linspace(low - 0.01, high + 0.01, NUM_NODES, dtype=accuracy.dtype)
    k = jnp.broadcast_to(num_classes - 1, nodes.shape)
    middle = _typical_maximum(num_classes[None] - 1)[0]

    upper = nodes > middle
    tail, sign = _tail(nodes, k, upper), jnp.where(upper, -1, 1)
    y = sign * ndtri(tail.probability)
    slope = sign * tail.probability * tail.score * jnp.exp(y**2 / 2) * np.sqrt(2 * np.pi)

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

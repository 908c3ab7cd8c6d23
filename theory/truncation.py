"""One-sided truncation of a normal variable: the scalar functions behind Theorem 3.

Z standard normal, kept when Z >= t. `hazard` is the mean of what is kept, `hazard_gap` how far it lies above t, and
`variance_reduction` how much variance the cut removes. All three stay accurate at any t, where the textbook φ/(1−Φ) is 0/0.
"""

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import log_ndtr
from jax.typing import ArrayLike
from jaxtyping import Array, Float

# Above this the continued fraction of Mills' ratio reaches float64 precision with `_TERMS` levels; below it the direct
# difference h - t has lost nothing yet.
_SWITCH = 6.0
_TERMS = 45


def _gap_of_tail(t: Array) -> Array:
    """h(t) − t = 1/(t + 2/(t + 3/(t + ...))), for t >= _SWITCH: no subtraction of nearly equal numbers."""
    fraction = t
    for k in range(_TERMS, 1, -1):
        fraction = t + k / fraction
    return 1.0 / fraction


@jax.custom_jvp
def _hazard(t: Array) -> Array:
    tail = t > _SWITCH
    body = jnp.where(tail, 0.0, t)
    direct = jnp.exp(-0.5 * body * body - 0.5 * math.log(2 * math.pi) - log_ndtr(-body))
    far = jnp.where(tail, t, _SWITCH)
    return jnp.where(tail, far + _gap_of_tail(far), direct)


@_hazard.defjvp
def _hazard_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (t,), (dt,) = primals, tangents
    return _hazard(t), variance_reduction(t) * dt


def _as_float(t: ArrayLike) -> Array:
    t = jnp.asarray(t)
    return t if jnp.issubdtype(t.dtype, jnp.floating) else t.astype(jnp.result_type(float))


def hazard(t: ArrayLike) -> Float[Array, "..."]:
    """Hazard of the standard normal, E[Z | Z >= t].

    h(t) = φ(t) / (1 − Φ(t)); h(−∞) = 0, h(t) = t + 1/t − 2/t³ + ... for large t. Differentiable: h′ = h (h − t).

    Args:
        t: thresholds in standard deviations, any shape; ±inf allowed.

    Returns:
        h(t), the shape of t.
    """
    return _hazard(_as_float(t))


def hazard_gap(t: ArrayLike) -> Float[Array, "..."]:
    """Mean excess of what passes over the threshold, h(t) − t > 0, without cancellation for large t.

    Args:
        t: thresholds in standard deviations, any shape; −inf gives inf, +inf gives 0.

    Returns:
        h(t) − t, the shape of t.
    """
    t = _as_float(t)
    tail = t > _SWITCH
    body = jnp.where(tail, 0.0, t)
    far = jnp.where(tail, t, _SWITCH)
    return jnp.where(tail, _gap_of_tail(far), _hazard(body) - body)


def variance_reduction(t: ArrayLike) -> Float[Array, "..."]:
    """Share of the variance that truncation at t removes, 1 − Var(Z | Z >= t).

    h(t)(h(t) − t), rising from 0 at t = −∞ to 1 at t = +∞.

    Args:
        t: thresholds in standard deviations, any shape; ±inf allowed.

    Returns:
        The share in [0, 1], the shape of t.
    """
    t = _as_float(t)
    inner = jnp.clip(t, -1e8, 1e8)  # h underflows to 0 and h(h − t) tends to 1 long before; avoids 0 · inf
    return jnp.where(t == jnp.inf, 1.0, _hazard(inner) * hazard_gap(inner))

r"""Gaussian moments of a trained sample's pull, which the exact asymptotics of `theory.asymptotics` are made of.

A sample whose margin without itself would be $\omega\sim\mathcal N(m,q)$ ends at $h=\operatorname{prox}_{V\ell}(\omega)$ and
pulls with $f=-\ell'(h)=(h-\omega)/V$. Use `moments` for

$$F=E f,\qquad k=E\frac{\ell''(h)}{1+V\ell''(h)}=-\frac{\partial F}{\partial m},\qquad x=E f^2.$$

Square loss and the piecewise linear ones are exact (Gaussian integrals of the clipped line, kinks included); the logistic
loss is integrated by the trapezoidal rule, which converges geometrically here: f is analytic for |Im ω| < π whatever V.
"""

from typing import Literal, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import erfc

from theory.losses import LOGISTIC

#: What a learner minimises: one of the losses, or the limit λ → 0 in which samples are fitted (exactly, or beyond 1).
Learner: TypeAlias = Literal["square", "logistic", "hinge", "minimum_norm", "hard_margin"]
#: The limits, whose pull is counted in units of λ: their equations are those of λ = 1.
LIMITS: tuple[Learner, ...] = ("minimum_norm", "hard_margin")

_REACH = 8.5  # standard deviations; what lies beyond weighs 2e-17
_LEGENDRE = np.polynomial.legendre.leggauss(12)
_INVERSE_ROOT = 1 / np.sqrt(2 * np.pi)


def largest_length(num_nodes: int) -> float:
    """The largest q for which the trapezoidal rule with this many nodes errs by less than 1e-9.

    Its error is exp(−2π·width/spacing) with the strip |Im Z| < π/√q.
    """
    spacing = 2 * _REACH / (num_nodes - 1)
    return (2 * np.pi**2 / (spacing * np.log(1e10))) ** 2


def moments(
    learner: Learner, mean: Array, squared_length: Array, scale: Array, num_nodes: int = 128
) -> tuple[Array, Array, Array]:
    """F, k and x of a learner, elementwise in m, q > 0 and V >= 0 (V > 0 for the two limits).

    Args:
        learner: see `Learner`.
        mean: m, any shape.
        squared_length: q, same shape.
        scale: V, same shape.
        num_nodes: nodes of the trapezoidal rule (logistic loss only).
    """
    if learner == "square":
        return _square(mean, squared_length, scale, 1.0)
    if learner == "minimum_norm":
        return _square(mean, squared_length, scale, 0.0)
    if learner == "hinge":
        return _hinge(mean, squared_length, scale)
    if learner == "hard_margin":
        return _hard_margin(mean, squared_length, scale)
    return _logistic(mean, squared_length, scale, num_nodes)


def _square(m: Array, q: Array, v: Array, own: float) -> tuple[Array, Array, Array]:
    # The minimum-norm interpolator has h = 1 and no softness of its own.
    softness = own + v
    return (1 - m) / softness, 1 / softness, ((1 - m) ** 2 + q) / softness**2


def _logistic(m: Array, q: Array, v: Array, num_nodes: int) -> tuple[Array, Array, Array]:
    nodes = jnp.linspace(-_REACH, _REACH, num_nodes, dtype=m.dtype)
    density = jnp.exp(-0.5 * nodes**2)
    density = density / density.sum()
    v = v[..., None]
    h = LOGISTIC.prox(m[..., None] + jnp.sqrt(q)[..., None] * nodes, v)
    pull, curvature = -LOGISTIC.derivative(h), LOGISTIC.curvature(h)
    return pull @ density, (curvature / (1 + v * curvature)) @ density, pull**2 @ density


def _hinge(m: Array, q: Array, v: Array) -> tuple[Array, Array, Array]:
    # f is (1 − ω)/V clipped to [0, 1]: averages of Φ between the two kinks a = (1 − V − m)/√q and b = (1 − m)/√q.
    root = jnp.sqrt(q)
    width = v / root
    # Nothing is left above 9: the pull is 1, and differences of large numbers would only round it.
    low = jnp.minimum((1 - v - m) / root, 9.0)
    high = low + width
    narrow = width < 0.5
    # Far kinks: differences of Gaussian integrals. Near ones: those would cancel, so integrate between the kinks.
    safe = jnp.where(narrow, 1.0, width)
    rise = ramp(high) - ramp(low)
    mean_far = rise / safe
    curvature_far = (below(high) - below(low)) / (safe * root)
    # E f² = Φ(a) + E[(b − Z)²; a < Z < b]/width².
    square_far = (parabola(high) - parabola(low) - 2 * safe * ramp(low)) / safe**2
    t, weights = (jnp.asarray(x, m.dtype) for x in _LEGENDRE)
    t, weights = (1 + t) / 2, weights / 2
    at = low[..., None] + t * width[..., None]
    covered = below(at)
    mean_near, square_near = covered @ weights, covered @ (2 * (1 - t) * weights)
    curvature_near = density_at(at) @ weights / root
    return (
        jnp.where(narrow, mean_near, mean_far),
        jnp.where(narrow, curvature_near, curvature_far),
        jnp.where(narrow, square_near, square_far),
    )


def _hard_margin(m: Array, q: Array, v: Array) -> tuple[Array, Array, Array]:
    # h = max(ω, 1): the pull is (1 − ω)₊/V.
    root = jnp.sqrt(q)
    t = (1 - m) / root
    return root / v * ramp(t), below(t) / v, q / v**2 * parabola(t)


def below(t: Array) -> Array:
    """Φ(t), accurate in both tails."""
    return 0.5 * erfc(-t * np.sqrt(0.5))


def density_at(t: Array) -> Array:
    """φ(t)."""
    return _INVERSE_ROOT * jnp.exp(-0.5 * t**2)


def ramp(t: Array) -> Array:
    """E (t − Z)₊ = tΦ(t) + φ(t)."""
    return t * below(t) + density_at(t)


def parabola(t: Array) -> Array:
    """E (t − Z)₊² = (1 + t²)Φ(t) + tφ(t)."""
    return (1 + t**2) * below(t) + t * density_at(t)

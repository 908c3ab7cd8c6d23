r"""Convex losses of the margin u = y w·x that linear learners minimise: square, logistic and hinge.

Each `Loss` carries ℓ, ℓ′, ℓ″ and the proximal operator that the exact asymptotics need,

$$\operatorname{prox}_{V\ell}(\omega)=\arg\min_h\ \ell(h)+\frac{(h-\omega)^2}{2V}.$$

Use the instances `SQUARE` (ridge and least squares), `LOGISTIC` and `HINGE` (the soft-margin support vector machine). All
functions are elementwise, vectorised and follow the precision of their input.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

_BISECTIONS = 30
_NEWTON_STEPS = 4


@dataclass(frozen=True)
class Loss:
    r"""A convex loss ℓ(u) of the margin.

    Attributes:
        name: as tables and messages call it.
        value: ℓ.
        derivative: ℓ′ (a subgradient where the loss has a kink).
        curvature: ℓ″, 0 almost everywhere for the hinge.
        prox: (ω, V) -> prox, shapes broadcast; V > 0.
        smooth: whether ℓ″ exists everywhere.
    """

    name: str
    value: Callable[[Array], Array]
    derivative: Callable[[Array], Array]
    curvature: Callable[[Array], Array]
    prox: Callable[[Array, Array], Array]
    smooth: bool


def _logistic_prox(omega: Array, scale: Array) -> Array:
    # h solves h = ω + V σ(−h), so it lies in [ω, ω + V]. Newton alone cycles silently for V above about 29: bisect first.
    omega, scale = jnp.broadcast_arrays(omega, scale)

    def halve(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = 0.5 * (low + high)
        below = middle < omega + scale * jax.nn.sigmoid(-middle)
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    def newton(_: int, h: Array) -> Array:
        p = jax.nn.sigmoid(-h)
        return h - (h - omega - scale * p) / (1 + scale * p * (1 - p))

    low, high = jax.lax.fori_loop(0, _BISECTIONS, halve, (omega, omega + scale))
    return jax.lax.fori_loop(0, _NEWTON_STEPS, newton, 0.5 * (low + high))


#: ℓ(u) = (1 − u)²/2: least squares on labels ±1, ridge regression with the L2 penalty.
SQUARE = Loss(
    name="square",
    value=lambda u: 0.5 * (1 - u) ** 2,
    derivative=lambda u: u - 1,
    curvature=jnp.ones_like,
    prox=lambda omega, scale: (omega + scale) / (1 + scale),
    smooth=True,
)

#: ℓ(u) = log(1 + e^(−u)): logistic regression.
LOGISTIC = Loss(
    name="logistic",
    value=lambda u: jax.nn.softplus(-u),
    derivative=lambda u: -jax.nn.sigmoid(-u),
    curvature=lambda u: jax.nn.sigmoid(u) * jax.nn.sigmoid(-u),
    prox=_logistic_prox,
    smooth=True,
)

#: ℓ(u) = max(0, 1 − u): the soft-margin support vector machine; as λ → 0 on separable data the hard margin.
HINGE = Loss(
    name="hinge",
    value=lambda u: jnp.maximum(0, 1 - u),
    derivative=lambda u: jnp.where(u < 1, -1.0, 0.0).astype(u.dtype),
    curvature=jnp.zeros_like,
    prox=lambda omega, scale: jnp.where(omega < 1 - scale, omega + scale, jnp.maximum(omega, 1.0)),
    smooth=False,
)

LOSSES: dict[str, Loss] = {loss.name: loss for loss in (SQUARE, LOGISTIC, HINGE)}

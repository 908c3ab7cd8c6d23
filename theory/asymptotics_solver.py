r"""The fixed points of `theory.asymptotics`, solved for one setting at a time (and batched by `vmap`).

Square losses need no iteration that could diverge: the susceptibilities V solve a monotone, concave scalar system, the rest
is two S x S solves. Other losses take Newton steps on (m, q, V), each accepted only if the residual falls, with the damped
map as the way out; they start from the square loss that best resembles them.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jax import Array

from theory.loss_moments import LIMITS, Learner, moments
from theory.source_law import Law

_DAMPING = {"logistic": 0.6, "hinge": 0.3, "hard_margin": 0.3}
_LENGTHS = (1.0, 0.4, 0.1, 0.02)  # of Newton steps tried at once
_MAX_ITERATIONS = 400

#: m, q, V and the moments F, k, x, each (S,), and the residual.
Solution: TypeAlias = tuple[Array, Array, Array, Array, Array, Array, Array]
Map: TypeAlias = Callable[[Array], Array]


def tolerance(dtype: object) -> float:
    """The residual at which a fixed point counts as found: 1e-9 in float64, 1e-4 in float32."""
    return 1e-9 if jnp.finfo(dtype).bits == 64 else 1e-4


def _target_residual(dtype: object) -> float:
    return 1e-12 if jnp.finfo(dtype).bits == 64 else 3e-6


@partial(jax.jit, static_argnames=("learner", "num_nodes", "stacked"))
def solve_batch(
    learner: Learner,
    law: Law,
    shares: Array,
    inverse_n: Array,
    penalty: Array,
    num_nodes: int,
    stacked: bool,
) -> Solution:
    """Solutions for shares (B, S), 1/n (B,) and λ (B,), for one law or one for each (`stacked`)."""

    def one(law: Law, p: Array, inverse: Array, lam: Array) -> Solution:
        return solve(learner, law, p, inverse, lam, num_nodes)

    return jax.vmap(one, in_axes=(0 if stacked else None, 0, 0, 0))(law, shares, inverse_n, penalty)


def solve(
    learner: Learner, law: Law, shares: Array, inverse_n: Array, penalty: Array, num_nodes: int
) -> Solution:
    """m, q, V and the residual for one setting; 1/n = 0 is the population, λ is ignored by the two limits."""
    lam = jnp.ones_like(penalty) if learner in LIMITS else penalty

    def step(state: Array) -> Array:
        return update(learner, law, shares, inverse_n, lam, num_nodes, state)

    if learner in ("square", "minimum_norm"):
        own = jnp.asarray(1.0 if learner == "square" else 0.0, shares.dtype)
        state = jnp.concatenate(solve_square(law, shares, inverse_n, lam, own))
        residual = _residual(state, step(state))
    else:
        start = _start(learner, law, shares, inverse_n, lam)
        state, residual = newton(step, start, _DAMPING[learner], by_length=learner == "hard_margin")
    m, q, v = jnp.split(state, 3)
    return m, q, v, *moments(learner, m, q, v, num_nodes), residual


def update(
    learner: Learner,
    law: Law,
    shares: Array,
    inverse_n: Array,
    penalty: Array,
    num_nodes: int,
    state: Array,
) -> Array:
    """One application of the fixed-point map to (m, q, V), concatenated."""
    m, q, v = jnp.split(state, 3)
    mean, curvature, square = moments(learner, m, q, v, num_nodes)
    tables = law.tables(penalty, shares * curvature)
    pulls = shares * mean
    return jnp.concatenate(
        [
            tables.signal @ pulls,
            jnp.einsum("rst,s,t->r", tables.lengths, pulls, pulls)
            + inverse_n * tables.noise @ (shares * square),
            inverse_n * tables.traces,
        ]
    )


def _residual(state: Array, updated: Array) -> Array:
    m, q, v = jnp.split(state, 3)
    tiny = jnp.finfo(state.dtype).tiny
    scale = jnp.concatenate([1 + jnp.abs(m), q + tiny, v + tiny])
    return jnp.max(jnp.abs(updated - state) / scale)


def solve_square(
    law: Law, shares: Array, inverse_n: Array, penalty: Array, own: Array
) -> tuple[Array, Array, Array]:
    """m, q and V of the loss (h − 1)²/(2 own): 1 is the square loss, 0 interpolation (with λ = 1)."""

    def step(v: Array) -> Array:
        return inverse_n * law.traces(penalty, shares / (own + v))

    # T is increasing and concave, so Newton from above decreases monotonically to the only fixed point; λ = 0 has no start
    # from above and begins at the scale of the noise.
    at_most = inverse_n * law.traces(jnp.ones_like(penalty), jnp.zeros_like(shares))
    start = at_most / jnp.where(penalty > 0, penalty, 1)
    v = _fixed_point_of_increasing_map(step, start)
    softness = own + v
    tables = law.tables(penalty, shares / softness)
    pulls = jnp.linalg.solve(jnp.diag(softness) + tables.signal * shares, jnp.ones_like(v))
    m = tables.signal @ (shares * pulls)
    c = shares * pulls
    noise = inverse_n * tables.noise * shares
    fixed = jnp.einsum("rst,s,t->r", tables.lengths, c, c) + noise @ pulls**2
    q = jnp.linalg.solve(jnp.eye(len(v), dtype=v.dtype) - noise / softness**2, fixed)
    return m, q, v


def _fixed_point_of_increasing_map(step: Map, start: Array) -> Array:
    size, tiny = start.shape[0], jnp.finfo(start.dtype).tiny

    def both(v: Array) -> tuple[Array, Array]:
        image = step(v)
        return image, image

    slopes = jax.jacfwd(both, has_aux=True)

    def error(v: Array, image: Array) -> Array:
        return jnp.max(jnp.abs(image - v) / (v + tiny))

    def unfinished(state: tuple[Array, Array, Array]) -> Array:
        return (state[2] < _MAX_ITERATIONS) & (state[1] > 4 * jnp.finfo(start.dtype).eps)

    def improve(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        v, _, count = state
        jacobian, image = slopes(v)
        newton = v + jnp.linalg.solve(jnp.eye(size, dtype=v.dtype) - jacobian, image - v)
        # The map itself converges from anywhere, if slowly.
        both = jnp.stack([newton, image])
        errors = jax.vmap(error)(both, jax.vmap(step)(both))
        better = (newton > 0).all() & (errors[0] < 0.9 * error(v, image))
        return jnp.where(better, newton, image), jnp.where(better, errors[0], errors[1]), count + 1

    infinite = jnp.asarray(jnp.inf, start.dtype)
    return jax.lax.while_loop(unfinished, improve, (start, infinite, jnp.asarray(0)))[0]


def _start(learner: Learner, law: Law, shares: Array, inverse_n: Array, penalty: Array) -> Array:
    one = jnp.ones_like(penalty)
    if learner == "logistic":
        # log(1 + e^(−u)) ≈ (u − 2)²/8: twice the ridge classifier at 4λ.
        m, q, v = solve_square(law, shares, inverse_n, 4 * penalty, one)
        return jnp.concatenate([2 * m, 4 * q, 4 * v])
    return jnp.concatenate(solve_square(law, shares, inverse_n, penalty, one))


def newton(step: Map, start: Array, damping: float, by_length: bool = False) -> tuple[Array, Array]:
    """The fixed point of a map of (m, q, V), concatenated, and its residual: safeguarded Newton steps, else damped ones.

    Args:
        step: the map.
        start: where to begin, q > 0.
        damping: share of the map's step where Newton's do not help.
        by_length: take Newton's steps in (m/√q, log q, log V), for solutions whose length diverges; V > 0.
    """
    lengths = jnp.asarray(_LENGTHS, start.dtype)
    size = start.shape[0]
    third = size // 3
    goal = _target_residual(start.dtype)

    def both(state: Array) -> tuple[Array, Array]:
        image = step(state)
        return image, image

    slopes = jax.jacfwd(both, has_aux=True)

    def allowed(state: Array) -> Array:
        # V = 0 stays 0 in the population; elsewhere q and V must stay positive.
        positive = jnp.all(state[third : 2 * third] > 0) & jnp.all(state[2 * third :] >= 0)
        return jnp.all(jnp.isfinite(state)) & positive

    def candidates_from(state: Array) -> Array:
        jacobian, image = slopes(state)
        scale = jnp.maximum(jnp.abs(state), jnp.finfo(state.dtype).tiny ** 0.25)
        matrix = (jnp.eye(size, dtype=state.dtype) - jacobian) * scale / scale[:, None]
        direction = scale * jnp.linalg.solve(matrix, (image - state) / scale)
        if by_length:
            inside, forward = jax.jvp(_by_length, (state,), (direction,))
            # Beyond a factor e⁴ at once the linear model says nothing.
            forward = forward * jnp.minimum(1, 4 / jnp.max(jnp.abs(forward)))
            newtons = jax.vmap(_from_length)(inside + lengths[:, None] * forward)
        else:
            newtons = state + lengths[:, None] * direction
        damped = state + damping * (image - state)
        return jnp.concatenate([newtons, damped[None]])

    def unfinished(carry: tuple[Array, Array, Array]) -> Array:
        return (carry[2] < _MAX_ITERATIONS) & (carry[1] > goal)

    def improve(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        state, residual, count = carry
        candidates = candidates_from(state)
        fine = jax.vmap(allowed)(candidates)
        safe = jnp.where(fine[:, None], candidates, state)
        errors = jax.vmap(_residual)(safe, jax.vmap(step)(safe))
        errors = jnp.where(fine & ~jnp.isnan(errors), errors, jnp.inf)
        best = jnp.argmin(errors)
        # Where no candidate helps, the damped map goes on: its residual may rise before it falls.
        best = jnp.where(errors[best] < 0.95 * residual, best, len(_LENGTHS))
        return safe[best], errors[best], count + 1

    infinite = jnp.asarray(jnp.inf, start.dtype)
    state, residual, _ = jax.lax.while_loop(unfinished, improve, (start, infinite, jnp.asarray(0)))
    return state, residual


def _by_length(state: Array) -> Array:
    m, q, v = jnp.split(state, 3)
    return jnp.concatenate([m / jnp.sqrt(q), jnp.log(q), jnp.log(v)])


def _from_length(values: Array) -> Array:
    t, log_q, log_v = jnp.split(values, 3)
    return jnp.concatenate([t * jnp.exp(log_q / 2), jnp.exp(log_q), jnp.exp(log_v)])

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
from theory.source_geometry import Geometry

_DAMPING = {"logistic": 0.6, "hinge": 0.3, "hard_margin": 0.3}
_LENGTHS = (1.0, 0.4, 0.1, 0.02)  # of Newton steps tried at once
_MAX_ITERATIONS = 400

#: m, q, V, each (S,), and the residual.
Solution: TypeAlias = tuple[Array, Array, Array, Array]
Map: TypeAlias = Callable[[Array], Array]


def tolerance(dtype: object) -> float:
    """The residual at which a fixed point counts as found: 1e-9 in float64, 1e-4 in float32."""
    return 1e-9 if jnp.finfo(dtype).bits == 64 else 1e-4


def _target_residual(dtype: object) -> float:
    return 1e-12 if jnp.finfo(dtype).bits == 64 else 3e-6


@partial(jax.jit, static_argnames=("learner", "num_nodes", "stacked"))
def solve_batch(
    learner: Learner,
    geometry: Geometry,
    shares: Array,
    inverse_n: Array,
    penalty: Array,
    num_nodes: int,
    stacked: bool,
) -> Solution:
    """Solutions for shares (B, S), 1/n (B,) and λ (B,), for one geometry or one for each (`stacked`)."""

    def one(geometry: Geometry, p: Array, inverse: Array, lam: Array) -> Solution:
        return solve(learner, geometry, p, inverse, lam, num_nodes)

    return jax.vmap(one, in_axes=(0 if stacked else None, 0, 0, 0))(geometry, shares, inverse_n, penalty)


def solve(
    learner: Learner, geometry: Geometry, shares: Array, inverse_n: Array, penalty: Array, num_nodes: int
) -> Solution:
    """m, q, V and the residual for one setting; 1/n = 0 is the population, λ is ignored by the two limits."""
    lam = jnp.ones_like(penalty) if learner in LIMITS else penalty
    if learner in ("square", "minimum_norm"):
        own = jnp.asarray(1.0 if learner == "square" else 0.0, shares.dtype)
        m, q, v = solve_square(geometry, shares, inverse_n, lam, own)
        state = jnp.concatenate([m, q, v])
        return m, q, v, _residual(state, update(learner, geometry, shares, inverse_n, lam, num_nodes, state))
    start = _start(learner, geometry, shares, inverse_n, lam)

    def step(state: Array) -> Array:
        return update(learner, geometry, shares, inverse_n, lam, num_nodes, state)

    state, residual = newton(step, start, _DAMPING[learner])
    m, q, v = jnp.split(state, 3)
    return m, q, v, residual


def update(
    learner: Learner,
    geometry: Geometry,
    shares: Array,
    inverse_n: Array,
    penalty: Array,
    num_nodes: int,
    state: Array,
) -> Array:
    """One application of the fixed-point map to (m, q, V), concatenated."""
    m, q, v = jnp.split(state, 3)
    mean, curvature, square = moments(learner, m, q, v, num_nodes)
    tables = geometry.tables(penalty, shares * curvature)
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
    geometry: Geometry, shares: Array, inverse_n: Array, penalty: Array, own: Array
) -> tuple[Array, Array, Array]:
    """m, q and V of the loss (h − 1)²/(2 own): 1 is the square loss, 0 interpolation (with λ = 1)."""

    def step(v: Array) -> Array:
        return inverse_n * geometry.traces(penalty, shares / (own + v))

    # T is increasing and concave, so Newton from above decreases monotonically to the only fixed point; λ = 0 has no start
    # from above and begins at the scale of the noise.
    at_most = inverse_n * geometry.traces(jnp.ones_like(penalty), jnp.zeros_like(shares))
    start = at_most / jnp.where(penalty > 0, penalty, 1)
    v = _fixed_point_of_increasing_map(step, start)
    softness = own + v
    tables = geometry.tables(penalty, shares / softness)
    pulls = jnp.linalg.solve(jnp.diag(softness) + tables.signal * shares, jnp.ones_like(v))
    m = tables.signal @ (shares * pulls)
    c = shares * pulls
    noise = inverse_n * tables.noise * shares
    fixed = jnp.einsum("rst,s,t->r", tables.lengths, c, c) + noise @ pulls**2
    q = jnp.linalg.solve(jnp.eye(len(v), dtype=v.dtype) - noise / softness**2, fixed)
    return m, q, v


def _fixed_point_of_increasing_map(step: Map, start: Array) -> Array:
    size, tiny = start.shape[0], jnp.finfo(start.dtype).tiny
    jacobian = jax.jacfwd(step)

    def error(v: Array, updated: Array) -> Array:
        return jnp.max(jnp.abs(updated - v) / (v + tiny))

    def unfinished(state: tuple[Array, Array, Array]) -> Array:
        v, updated, count = state
        return (count < _MAX_ITERATIONS) & (error(v, updated) > 4 * jnp.finfo(v.dtype).eps)

    def improve(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        v, updated, count = state
        newton = v + jnp.linalg.solve(jnp.eye(size, dtype=v.dtype) - jacobian(v), updated - v)
        newton_updated = step(newton)
        better = (newton > 0).all() & (error(newton, newton_updated) < 0.9 * error(v, updated))
        plain_updated = step(updated)
        return (
            jnp.where(better, newton, updated),
            jnp.where(better, newton_updated, plain_updated),
            count + 1,
        )

    return jax.lax.while_loop(
        unfinished,
        improve,
        (start, step(start), jnp.asarray(0)),
    )[0]


def _start(learner: Learner, geometry: Geometry, shares: Array, inverse_n: Array, penalty: Array) -> Array:
    one = jnp.ones_like(penalty)
    if learner == "logistic":
        # log(1 + e^(−u)) ≈ (u − 2)²/8: twice the ridge classifier at 4λ.
        m, q, v = solve_square(geometry, shares, inverse_n, 4 * penalty, one)
        return jnp.concatenate([2 * m, 4 * q, 4 * v])
    return jnp.concatenate(solve_square(geometry, shares, inverse_n, penalty, one))


def newton(step: Map, start: Array, damping: float) -> tuple[Array, Array]:
    """The fixed point of a map of (m, q, V), concatenated, and its residual: safeguarded Newton steps, else damped ones."""
    lengths = jnp.asarray(_LENGTHS, start.dtype)
    size = start.shape[0]
    third = size // 3
    jacobian = jax.jacfwd(step)
    goal = _target_residual(start.dtype)

    def allowed(state: Array) -> Array:
        # V = 0 stays 0 in the population; elsewhere q and V must stay positive.
        return (
            jnp.all(jnp.isfinite(state))
            & jnp.all(state[third : 2 * third] > 0)
            & jnp.all(state[2 * third :] >= 0)
        )

    def unfinished(carry: tuple[Array, Array, Array, Array]) -> Array:
        return (carry[3] < _MAX_ITERATIONS) & (carry[2] > goal)

    def improve(carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        state, updated, residual, count = carry
        scale = jnp.maximum(jnp.abs(state), jnp.finfo(state.dtype).tiny ** 0.25)
        matrix = (jnp.eye(size, dtype=state.dtype) - jacobian(state)) * scale / scale[:, None]
        direction = scale * jnp.linalg.solve(matrix, (updated - state) / scale)
        damped = state + damping * (updated - state)
        candidates = jnp.concatenate([state + lengths[:, None] * direction, damped[None]])
        fine = jax.vmap(allowed)(candidates)
        safe = jnp.where(fine[:, None], candidates, state)
        images = jax.vmap(step)(safe)
        errors = jnp.where(fine, jax.vmap(_residual)(safe, images), jnp.inf)
        errors = jnp.where(jnp.isnan(errors), jnp.inf, errors)
        best = jnp.argmin(errors)
        # Where no candidate helps, the damped map goes on: its residual may rise before it falls.
        best = jnp.where(errors[best] < 0.95 * residual, best, len(_LENGTHS))
        return safe[best], images[best], errors[best], count + 1

    image = step(start)
    state, _, residual, _ = jax.lax.while_loop(
        unfinished, improve, (start, image, _residual(start, image), jnp.asarray(0))
    )
    return state, residual

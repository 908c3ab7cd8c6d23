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
    """The residual at which a fixed point counts as found: 1e-8 in float64, 1e-4 in float32."""
    return 1e-8 if jnp.finfo(dtype).bits == 64 else 1e-4


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
    start: Array,
) -> Solution:
    """Solutions for shares (B, S), 1/n (B,), λ (B,) and starts (B, 3S), for one law or one for each (`stacked`)."""

    def one(law: Law, p: Array, inverse: Array, lam: Array, begin: Array) -> Solution:
        return solve(learner, law, p, inverse, lam, num_nodes, begin)

    axes = (0 if stacked else None, 0, 0, 0, 0)
    return jax.vmap(one, in_axes=axes)(law, shares, inverse_n, penalty, start)


def solve(
    learner: Learner,
    law: Law,
    shares: Array,
    inverse_n: Array,
    penalty: Array,
    num_nodes: int,
    start: Array | None = None,
) -> Solution:
    """m, q, V, their moments and the residual for one setting.

    Args:
        learner: see `theory.loss_moments.Learner`.
        law: of the sources.
        shares: p_s, (S,).
        inverse_n: 1/n; 0 is the population.
        penalty: λ, ignored by the two limits.
        num_nodes: of the quadrature.
        start: (m, q, V) of a setting nearby, concatenated; not numbers, or None, to begin at a square loss.
    """
    lam = jnp.ones_like(penalty) if learner in LIMITS else penalty

    def step(state: Array) -> Array:
        return update(learner, law, shares, inverse_n, lam, num_nodes, state)

    if learner in ("square", "minimum_norm"):
        own = jnp.asarray(1.0 if learner == "square" else 0.0, shares.dtype)
        state = jnp.concatenate(solve_square(law, shares, inverse_n, lam, own))
        residual = _residual(state, step(state))
    else:
        begin = _start(learner, law, shares, inverse_n, lam)
        if start is not None:
            begin = jnp.where(jnp.isnan(start), begin, start)
        state, residual = newton(step, begin, _DAMPING[learner])
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
    v = _susceptibilities(law, shares, inverse_n, penalty, own)
    softness = own + v
    tables = law.tables(penalty, shares / softness)
    pulls = jnp.linalg.solve(jnp.diag(softness) + tables.signal * shares, jnp.ones_like(v))
    c = shares * pulls
    noise = inverse_n * tables.noise * shares
    fixed = jnp.einsum("rst,s,t->r", tables.lengths, c, c) + noise @ pulls**2
    q = jnp.linalg.solve(jnp.eye(len(v), dtype=v.dtype) - noise / softness**2, fixed)
    return tables.signal @ c, q, v


def _susceptibilities(law: Law, shares: Array, inverse_n: Array, penalty: Array, own: Array) -> Array:
    """The only fixed point of V = tr(Γ_sR)/n with K_t = p_t/(own + V_t)."""
    eye = jnp.eye(len(shares), dtype=shares.dtype)
    goal = 4 * jnp.finfo(shares.dtype).eps
    infinite = jnp.asarray(jnp.inf, shares.dtype)
    # The map is increasing and concave: from above Newton decreases monotonically to the fixed point, and the map itself
    # converges from anywhere. λ = 0 has no start from above and begins at the scale of the noise.
    at_most = inverse_n * law.traces(jnp.ones_like(penalty), jnp.zeros_like(shares))
    start = at_most / jnp.where(penalty > 0, penalty, 1)

    def unfinished(state: tuple[Array, Array, Array, Array]) -> Array:
        return (state[3] < _MAX_ITERATIONS) & (state[2] > goal)

    def improve(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        v, retreat, previous, count = state
        tables = law.tables(penalty, shares / (own + v))
        image = inverse_n * tables.traces
        error = jnp.max(jnp.abs(image - v) / (v + jnp.finfo(v.dtype).tiny))
        slopes = inverse_n * tables.noise * shares / (own + v) ** 2
        newton = v + jnp.linalg.solve(eye - slopes, image - v)
        worse = ~(error < 0.9 * previous) & (error > goal)
        following = jnp.where((newton > 0).all(), newton, image)
        return (
            jnp.where(worse, retreat, jnp.where(error > goal, following, v)),
            image,
            jnp.where(worse, infinite, error),
            count + 1,
        )

    # V = 0 in the population is its own image.
    return jax.lax.while_loop(unfinished, improve, (start, start, infinite, jnp.asarray(0)))[0]


def _start(learner: Learner, law: Law, shares: Array, inverse_n: Array, penalty: Array) -> Array:
    one = jnp.ones_like(penalty)
    if learner == "logistic":
        # log(1 + e^(−u)) ≈ (u − 2)²/8: twice the ridge classifier at 4λ.
        m, q, v = solve_square(law, shares, inverse_n, 4 * penalty, one)
        return jnp.concatenate([2 * m, 4 * q, 4 * v])
    return jnp.concatenate(solve_square(law, shares, inverse_n, penalty, one))


def newton(step: Map, start: Array, damping: float) -> tuple[Array, Array]:
    """The fixed point of a map of (m, q, V), concatenated, and its residual: safeguarded Newton steps, else damped ones.

    Newton works in (m/√q, log q, log V), where solutions of diverging length are near.
    From each accepted state steps of falling length are tried, at last the damped map, which is always accepted: its
    residual may rise before it falls.

    Args:
        step: the map.
        start: where to begin, q > 0.
        damping: share of the map's step where Newton's do not help.
    """
    lengths = jnp.asarray(_LENGTHS, start.dtype)
    size = start.shape[0]
    third = size // 3
    goal = _target_residual(start.dtype)

    def twice(state: Array) -> tuple[Array, Array]:
        image = step(state)
        return image, image

    slopes = jax.jacfwd(twice, has_aux=True)

    def allowed(state: Array) -> Array:
        # V = 0 stays 0 in the population; elsewhere q and V must stay positive.
        positive = jnp.all(state[third : 2 * third] > 0) & jnp.all(state[2 * third :] >= 0)
        return jnp.all(jnp.isfinite(state)) & positive

    def tries_from(state: Array, image: Array, jacobian: Array) -> Array:
        scale = jnp.maximum(jnp.abs(state), jnp.finfo(state.dtype).tiny ** 0.25)
        matrix = (jnp.eye(size, dtype=state.dtype) - jacobian) * scale / scale[:, None]
        direction = scale * jnp.linalg.solve(matrix, (image - state) / scale)
        inside, forward = jax.jvp(_by_length, (state,), (direction,))
        # Beyond a factor e⁴ at once the linear model says nothing.
        forward = forward * jnp.minimum(1, 4 / jnp.max(jnp.abs(forward)))
        newtons = jax.vmap(_from_length)(inside + lengths[:, None] * forward)
        damped = state + damping * (image - state)
        tries = jnp.concatenate([newtons, damped[None]])
        return jnp.where(jax.vmap(allowed)(tries)[:, None], tries, damped)

    def unfinished(carry: tuple[Array, ...]) -> Array:
        _, residual, _, _, count = carry
        return (count < _MAX_ITERATIONS) & (residual > goal)

    def improve(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        state, residual, tries, index, count = carry
        trial = tries[index]
        jacobian, image = slopes(trial)
        error = _residual(trial, image)
        error = jnp.where(jnp.isnan(error), jnp.inf, error)
        accepted = (error < 0.95 * residual) | (index == len(_LENGTHS))
        return (
            jnp.where(accepted, trial, state),
            jnp.where(accepted, error, residual),
            jnp.where(accepted, tries_from(trial, image, jacobian), tries),
            jnp.where(accepted, 0, index + 1),
            count + 1,
        )

    infinite = jnp.asarray(jnp.inf, start.dtype)
    tries = jnp.broadcast_to(start, (len(_LENGTHS) + 1, size))
    carry = (start, infinite, tries, jnp.asarray(0), jnp.asarray(0))
    state, residual, *_ = jax.lax.while_loop(unfinished, improve, carry)
    return state, residual


def _by_length(state: Array) -> Array:
    m, q, v = jnp.split(state, 3)
    # V = 0 (the population) is shown as −∞ would be, by a number whose exponential is 0.
    log_v = jnp.where(v > 0, jnp.log(jnp.where(v > 0, v, 1)), -1e4)
    return jnp.concatenate([m / jnp.sqrt(q), jnp.log(q), log_v])


def _from_length(values: Array) -> Array:
    t, log_q, log_v = jnp.split(values, 3)
    return jnp.concatenate([t * jnp.exp(log_q / 2), jnp.exp(log_q), jnp.exp(log_v)])

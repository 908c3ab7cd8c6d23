r"""Solvers of `theory.learners` for smooth losses: one problem, a path of regularisations, a certified optimum.

Use `theory.learners`; here are the programs it compiles, to be tried in turn until the certificate meets the tolerance:
`quick_path` (BFGS in float32: a dozen passes over the samples are all that well-conditioned problems need), `polish_path`
(Newton's method with conjugate gradients, to any digit) and `sure_path` (factorised Hessians, whatever the data) in min(n, d)
coordinates: with n <= d, $U^\top=QR$ and the optimum lies in the span of the samples.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import cho_factor, cho_solve, solve_triangular

from theory.learners_batches import for_each
from theory.losses import SQUARE, Loss

_BACKTRACKS = 12
_QUASI_NEWTON_STEPS = 32
_PATIENCE = 4
_NEWTON_STEPS = 12
_SOLVER_STEPS = 40
TIGHT = 5e-5  # tolerance below which float32 cannot be relied on
_FORCING = 0.1  # residual of the linear system that a fast Newton step leaves

Solution = tuple[
    Array, Array, Array, Array
]  # weights, bound on their relative error, duality gap, iterations


def in_span(samples: Array) -> tuple[Array, Array | None]:
    """The samples (n, k) in k = min(n, d) coordinates of their span, and the basis (d, k) (None where it is I)."""
    n, d = samples.shape
    if n > d:
        return samples, None
    basis, triangle = jnp.linalg.qr(samples.T)
    return triangle.T, basis


def out_of_span(weights: Array, basis: Array | None) -> Array:
    """Weights (..., k) in the span as weights (..., d)."""
    return weights if basis is None else weights @ basis.T


def _gradient(loss: Loss, features: Array, lam: Array, w: Array, margins: Array) -> Array:
    return lam * w + loss.derivative(margins) @ features / features.shape[0]


def _certificate(w: Array, gradient: Array, lam: Array) -> tuple[Array, Array]:
    """Bound on ‖w − w*‖/‖w‖ by strong convexity, and the duality gap."""
    square = gradient @ gradient
    return jnp.sqrt(square / (w @ w)) / lam, square / (2 * lam)


def _line_search(
    loss: Loss, lam: Array, w: Array, step: Array, margins: Array, change: Array, first: Array, length: Array
) -> Array:
    """A length at which the slope along the step is at most half of what it was, `first`: the given one almost always."""
    along, square = lam * (w @ step), lam * (step @ step)

    def slope(length: Array) -> Array:
        return along + length * square + jnp.mean(loss.derivative(margins + length * change) * change)

    def too_far(state: tuple[Array, Array, Array]) -> Array:
        _, now, count = state
        return (now > -0.5 * first) & (count < _BACKTRACKS)

    def shorten(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        length, now, count = state
        length = length * jnp.maximum(first / (first - now), 0.1)
        return length, slope(length), count + 1

    return jax.lax.while_loop(too_far, shorten, (length, slope(length), jnp.asarray(0)))[0]


def _quasi_newton(loss: Loss, features: Array, lam: Array, tolerance: Array) -> tuple[Array, Array]:
    """The BFGS method from w = 0, every step remembered (compact inverse of Byrd, Nocedal and Schnabel): w and passes.

    One pass over the samples for each step, fewer than any method that solves linear systems needs.
    """
    n, d = features.shape
    memory = _QUASI_NEWTON_STEPS
    numbers = jnp.arange(memory)

    def unfinished(state: tuple[Array, ...]) -> Array:
        *_, best, idle, count = state
        return ~(best <= tolerance) & (idle < _PATIENCE) & (count < memory)

    def advance(state: tuple[Array, ...]) -> tuple[Array, ...]:
        w, margins, gradient, steps, turns, mixed, turned, scale, best, idle, count = state
        inside = solve_triangular(mixed, steps @ gradient)
        weighted = jnp.diagonal(mixed) * inside + scale * (turned @ inside - turns @ gradient)
        outside = solve_triangular(mixed, weighted, trans="T")
        step = scale * (inside @ turns - gradient) - outside @ steps
        change = features @ step
        first = gradient @ step
        bend = lam * (step @ step) + jnp.mean(loss.curvature(margins) * change**2)
        length = _line_search(loss, lam, w, step, margins, change, first, -first / bend)
        w, margins = w + length * step, margins + length * change
        new = _gradient(loss, features, lam, w, margins)
        step, turn = length * step, new - gradient
        steps, turns = steps.at[count].set(step), turns.at[count].set(turn)
        product = step @ turn
        column = jnp.where(numbers < count, steps @ turn, jnp.where(numbers == count, product, 0))
        both = turns @ turn
        error = _certificate(w, new, lam)[0]
        return (
            w,
            margins,
            new,
            steps,
            turns,
            mixed.at[:, count].set(column),
            turned.at[:, count].set(both).at[count].set(both),
            product / (turn @ turn),
            jnp.minimum(best, error),
            jnp.where(error < best, 0, idle + 1),
            count + 1,
        )

    zeros, nothing = jnp.zeros(d, features.dtype), jnp.zeros((memory, d), features.dtype)
    margins = jnp.zeros(n, features.dtype)
    state = (
        zeros,
        margins,
        _gradient(loss, features, lam, zeros, margins),
        nothing,
        nothing,
        jnp.eye(memory, dtype=features.dtype),
        jnp.zeros((memory, memory), features.dtype),
        jnp.ones((), features.dtype),
        jnp.asarray(jnp.inf, features.dtype),
        jnp.asarray(0),
        jnp.asarray(0),
    )
    w, *_, count = jax.lax.while_loop(unfinished, advance, state)
    return w, count + 1


def _conjugate_gradients(
    product: Callable[[Array], Array], right: Array, enough: Callable[[Array], Array]
) -> tuple[Array, Array]:
    """An x with a residual of at most `enough(x)`, unless `_SOLVER_STEPS` run out, and the steps taken."""

    def unfinished(state: tuple[Array, ...]) -> Array:
        x, *_, square, count = state
        return (square > enough(x) ** 2) & (count < _SOLVER_STEPS)

    def step(state: tuple[Array, ...]) -> tuple[Array, ...]:
        x, residual, direction, square, count = state
        image = product(direction)
        length = square / (direction @ image)
        residual = residual - length * image
        new = residual @ residual
        return x + length * direction, residual, residual + new / square * direction, new, count + 1

    start = (jnp.zeros_like(right), right, right, right @ right, jnp.asarray(0))
    x, *_, count = jax.lax.while_loop(unfinished, step, start)
    return x, count


def _newton_cg(
    loss: Loss, features: Array, inner: Array, lam: Array, w: Array, margins: Array, tolerance: Array
) -> Solution:
    """Newton's method with conjugate gradients on `inner` (the features, perhaps rounded), from w with its margins."""
    n = features.shape[0]
    lam_inner = lam.astype(inner.dtype)
    # A quadratic is solved in one step, down to what its arithmetic can.
    forcing = 8 * jnp.finfo(inner.dtype).eps if loss.name == SQUARE.name else _FORCING

    def state_at(w: Array, margins: Array, count: Array, passes: Array, old: Array) -> tuple[Array, ...]:
        gradient = _gradient(loss, features, lam, w, margins)
        error, gap = _certificate(w, gradient, lam)
        # Stop also where a step no longer pays: rounding has been reached, or conjugate gradients were cut short.
        return w, margins, gradient, error, gap, count, passes, ~(error < 0.5 * old)

    def unfinished(state: tuple[Array, ...]) -> Array:
        *_, error, _, count, _, stuck = state
        return ~(error <= tolerance) & ~stuck & (count < _NEWTON_STEPS)

    def newton(state: tuple[Array, ...]) -> tuple[Array, ...]:
        w, margins, gradient, error, _, count, passes, _ = state
        curvature = loss.curvature(margins).astype(inner.dtype) / n
        norm = jnp.linalg.norm(gradient)
        scaled = (w / norm).astype(inner.dtype)
        aim = 0.5 * (tolerance * lam).astype(inner.dtype)
        solution, steps = _conjugate_gradients(
            lambda p: (curvature * (inner @ p)) @ inner + lam_inner * p,
            (gradient / norm).astype(inner.dtype),
            lambda x: jnp.maximum(forcing, aim * jnp.linalg.norm(scaled - x)),
        )
        step = -norm * solution.astype(w.dtype)
        change = features @ step
        if loss.name == SQUARE.name:
            length = jnp.ones_like(lam)
        else:
            length = _line_search(loss, lam, w, step, margins, change, gradient @ step, jnp.ones_like(lam))
        w, margins = w + length * step, margins + length * change
        return state_at(w, margins, count + 1, passes + steps + 1, error)

    zero = jnp.asarray(0)
    first = state_at(w, margins, zero, zero, jnp.asarray(jnp.inf, features.dtype))
    first = (*first[:-1], jnp.asarray(False))
    w, _, _, error, gap, _, passes, _ = jax.lax.while_loop(unfinished, newton, first)
    return w, error, gap, passes + 1


def _sure_ridge(rows: Array, lambdas: Array, refinements: int = 2) -> Solution:
    n = rows.shape[0]
    features, basis = in_span(rows)
    gram = features.T @ features / n
    eye = jnp.eye(gram.shape[0], dtype=gram.dtype)

    def solve(lam: Array) -> Solution:
        factor = cho_factor(gram + lam * eye, lower=True)

        def refine(_: Any, w: Array) -> Array:
            return w + cho_solve(factor, features.T @ (1 - features @ w) / n - lam * w)

        w = jax.lax.fori_loop(0, refinements + 1, refine, jnp.zeros_like(gram[0]))
        if basis is not None:
            # With λ = 0 the interpolator solves a triangular system: no squared condition number.
            w = jnp.where(lam > 0, w, solve_triangular(features, jnp.ones_like(w), lower=True))
        gradient = lam * w - features.T @ (1 - features @ w) / n
        error, gap = _certificate(w, gradient, jnp.where(lam > 0, lam, 1))
        # Without λ nothing bounds the error from above; the step that is left measures it.
        if basis is None:
            step = cho_solve(factor, gradient)
            above = gradient @ step / 2
        else:
            missed = 1 - features @ w
            step = solve_triangular(features, missed, lower=True)
            above = jnp.mean(missed**2) / 2
        error = jnp.where(lam > 0, error, jnp.linalg.norm(step) / jnp.linalg.norm(w))
        gap = jnp.where(lam > 0, gap, above)
        return w, error, gap, jnp.asarray(refinements + 1)

    weights, error, gap, count = jax.lax.map(solve, lambdas)
    return out_of_span(weights, basis), error, gap, count


def _sure_newton(
    loss: Loss, rows: Array, lambdas: Array, tolerance: Array, max_iterations: Array
) -> Solution:
    n = rows.shape[0]
    features, basis = in_span(rows)
    eye = jnp.eye(features.shape[1], dtype=features.dtype)

    def step(start: Array, lam: Array) -> tuple[Array, Solution]:
        def unfinished(state: tuple[Array, ...]) -> Array:
            w, _, gradient, count = state
            error = _certificate(w, gradient, lam)[0]
            return (count < max_iterations) & ~(error <= tolerance) & jnp.isfinite(gradient).all()

        def newton(state: tuple[Array, ...]) -> tuple[Array, ...]:
            w, margins, gradient, count = state
            hessian = (features * loss.curvature(margins)[:, None]).T @ features / n + lam * eye
            step = -cho_solve(cho_factor(hessian, lower=True), gradient)
            change = features @ step
            length = _line_search(loss, lam, w, step, margins, change, gradient @ step, jnp.ones_like(lam))
            w, margins = w + length * step, margins + length * change
            return w, margins, _gradient(loss, features, lam, w, margins), count + 1

        margins = features @ start
        state = (start, margins, _gradient(loss, features, lam, start, margins), jnp.asarray(0))
        w, _, _, count = jax.lax.while_loop(unfinished, newton, state)
        error, gap = _certificate(w, _gradient(loss, features, lam, w, features @ w), lam)
        return w, (w, error, gap, count)

    # From the strongest regularisation to the weakest, each from its predecessor's solution.
    order = jnp.argsort(-lambdas)
    _, results = jax.lax.scan(step, jnp.zeros_like(features[0]), lambdas[order])
    weights, error, gap, count = (values[jnp.argsort(order)] for values in results)
    return out_of_span(weights, basis), error, gap, count


def _each_penalty(solve: Callable[..., Solution], *inputs: Array) -> Solution:
    """Solve for every λ at once, so that one pass over the samples serves all; what failed is 0 with an infinite bound."""
    if inputs[0].shape[0] == 1:
        w, error, gap, passes = jax.tree.map(lambda x: x[None], solve(*(x[0] for x in inputs)))
    else:
        w, error, gap, passes = jax.vmap(solve)(*inputs)
    fine = jnp.isfinite(error) & (inputs[0] > 0)
    return jnp.where(fine[:, None], w, 0), jnp.where(fine, error, jnp.inf), gap, passes


@partial(jax.jit, static_argnames=("loss",))
def quick_path(
    samples: Array, which: Array, count: Array, lambdas: Array, tolerance: Array, loss: Loss
) -> Solution:
    """Weights (B, L, d), error bounds, gaps and passes over the samples (B, L) by BFGS in float32; B as in `for_each`.

    Only the bounds are computed in the samples' precision. They are infinite where the method failed, and for λ = 0.
    """

    def solve(index: Array) -> Solution:
        single = samples[index].astype(jnp.float32)

        def one(lam: Array) -> Solution:
            positive = jnp.where(lam > 0, lam, 1)
            aim = jnp.maximum(0.7 * tolerance, TIGHT).astype(jnp.float32)
            w, passes = _quasi_newton(loss, single, positive.astype(jnp.float32), aim)
            w, rows = w.astype(samples.dtype), samples[index]
            gradient = _gradient(loss, rows, positive, w, rows @ w)
            return w, *_certificate(w, gradient, positive), passes + 1

        return _each_penalty(one, lambdas)

    return for_each(solve, which, count)


@partial(jax.jit, static_argnames=("loss",))
def polish_path(
    samples: Array, which: Array, count: Array, starts: Array, lambdas: Array, tolerance: Array, loss: Loss
) -> Solution:
    """As `quick_path` by Newton's method with conjugate gradients, from `starts` (problems, L, d), to any tolerance."""

    def solve(index: Array) -> Solution:
        features = samples[index]
        inner = features.astype(jnp.float32)

        def one(lam: Array, start: Array) -> Solution:
            positive = jnp.where(lam > 0, lam, 1)
            return _newton_cg(loss, features, inner, positive, start, features @ start, tolerance)

        return _each_penalty(one, lambdas, starts[index])

    return for_each(solve, which, count)


@partial(jax.jit, static_argnames=("loss",))
def sure_path(
    samples: Array,
    which: Array,
    count: Array,
    lambdas: Array,
    tolerance: Array,
    max_iterations: Array,
    loss: Loss,
) -> Solution:
    """As `quick_path` by factorised Hessians, for any data and also λ = 0 (square loss); counts factorisations."""

    def solve(index: Array) -> Solution:
        rows = samples[index]
        if loss.name == SQUARE.name:
            return _sure_ridge(rows, lambdas)
        return _sure_newton(loss, rows, lambdas, tolerance, max_iterations)

    return for_each(solve, which, count)

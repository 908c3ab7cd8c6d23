r"""Solvers of `theory.learners` for smooth losses: one problem, a path of regularisations, a certified optimum.

Use `theory.learners`; here are the programs it compiles. Each problem is first solved by Newton's method with conjugate
gradients (`fast`: a few passes over the samples, in float32 where the answer allows it, all λ in one pass), which is all that
well-conditioned problems need. Where the certificate then misses the tolerance, Newton's method with factorised Hessians
takes over (`sure`), in min(n, d) coordinates: with n <= d, $U^\top=QR$ and the optimum lies in the span of the samples.
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
_FAST_NEWTON_STEPS = 12
_FAST_SOLVER_STEPS = 40
_LEAST_TOLERANCE = 1e-4  # asked of float32 before float64 takes over
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
    loss: Loss, lam: Array, w: Array, step: Array, margins: Array, change: Array, first: Array
) -> Array:
    """A length at which the slope along the step is at most half of what it was, `first`: 1 almost always."""
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

    one = jnp.ones_like(lam)
    return jax.lax.while_loop(too_far, shorten, (one, slope(one), jnp.asarray(0)))[0]


def _conjugate_gradients(
    product: Callable[[Array], Array], right: Array, enough: Callable[[Array], Array]
) -> tuple[Array, Array]:
    """An x with a residual of at most `enough(x)`, unless `_FAST_SOLVER_STEPS` run out, and the steps taken."""

    def unfinished(state: tuple[Array, ...]) -> Array:
        x, *_, square, count = state
        return (square > enough(x) ** 2) & (count < _FAST_SOLVER_STEPS)

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


def _fast(
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
        return ~(error <= tolerance) & ~stuck & (count < _FAST_NEWTON_STEPS)

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
            length = _line_search(loss, lam, w, step, margins, change, gradient @ step)
        w, margins = w + length * step, margins + length * change
        return state_at(w, margins, count + 1, passes + steps + 1, error)

    zero = jnp.asarray(0)
    first = state_at(w, margins, zero, zero, jnp.asarray(jnp.inf, features.dtype))
    first = (*first[:-1], jnp.asarray(False))
    w, _, _, error, gap, _, passes, _ = jax.lax.while_loop(unfinished, newton, first)
    return w, error, gap, passes + 1


def _fast_path(loss: Loss, features: Array, lambdas: Array, tolerance: Array) -> Solution:
    """Weights (L, d), error bounds, gaps and passes (L,); what is not finite is given as 0 with an infinite bound."""
    n, d = features.shape
    double = features.dtype == jnp.float64
    inner = features.astype(jnp.float32)

    def solve(lam: Array) -> Solution:
        positive = jnp.where(lam > 0, lam, 1)
        least = _LEAST_TOLERANCE if double else 0.0
        single = (positive.astype(jnp.float32), jnp.zeros(d, jnp.float32), jnp.zeros(n, jnp.float32))
        aim = jnp.maximum(0.9 * tolerance, least).astype(jnp.float32)
        w, error, gap, passes = _fast(loss, inner, inner, *single, aim)
        if double:
            w = jnp.where(jnp.isfinite(w).all(), w, 0).astype(features.dtype)
            w, error, gap, more = _fast(loss, features, inner, positive, w, features @ w, tolerance)
            passes = passes + more
        fine = jnp.isfinite(error) & (lam > 0)
        return jnp.where(fine, w, 0), jnp.where(fine, error, jnp.inf), gap, passes

    if lambdas.shape[0] == 1:
        return jax.tree.map(lambda x: x[None], solve(lambdas[0]))
    return jax.vmap(solve)(lambdas)


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
            length = _line_search(loss, lam, w, step, margins, change, gradient @ step)
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


@partial(jax.jit, static_argnames=("loss",))
def fast_path(
    samples: Array, which: Array, count: Array, lambdas: Array, tolerance: Array, loss: Loss
) -> Solution:
    """Weights (B, L, d), error bounds, gaps and passes over the samples (B, L) by conjugate gradients; B as in `for_each`.

    The bound is infinite where the method failed, and for λ = 0, which it leaves alone.
    """
    return for_each(lambda rows: _fast_path(loss, rows, lambdas, tolerance), samples, which, count)


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
    """As `fast_path` by factorised Hessians, for any data and also λ = 0 (square loss); counts factorisations."""

    def solve(rows: Array) -> Solution:
        if loss.name == SQUARE.name:
            return _sure_ridge(rows, lambdas)
        return _sure_newton(loss, rows, lambdas, tolerance, max_iterations)

    return for_each(solve, samples, which, count)

r"""Solvers of `theory.learners` for smooth losses: one problem, a path of regularisations, a certified optimum.

Use `theory.learners`; here are the programs it compiles. With n <= d every problem is first turned into n coordinates
($U^\top=QR$; the optimum lies in the span of the samples), so no matrix is larger than min(n, d) squared.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import cho_factor, cho_solve, solve_triangular

from theory.losses import Loss

_BACKTRACKS = 12


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


def along_path(lambdas: Array, start: Array, solve_one: object) -> tuple[Array, ...]:
    """Solve for λ from the largest to the smallest, each from its predecessor's solution; results in the given order."""
    order = jnp.argsort(-lambdas)

    def step(state: Array, lam: Array) -> tuple[Array, tuple[Array, ...]]:
        return solve_one(state, lam)  # pyright: ignore[reportCallIssue]

    _, results = jax.lax.scan(step, start, lambdas[order])
    back = jnp.argsort(order)
    return jax.tree.map(lambda values: values[back], results)


@partial(jax.jit, static_argnames=("refinements",))
def ridge_path(samples: Array, lambdas: Array, refinements: int = 2) -> tuple[Array, Array, Array, Array]:
    """Ridge weights (B, L, d), their error bounds, duality gaps and iterations (B, L) for samples (B, n, d)."""

    def one_problem(rows: Array) -> tuple[Array, Array, Array, Array]:
        n = rows.shape[0]
        features, basis = in_span(rows)
        gram = features.T @ features / n
        eye = jnp.eye(gram.shape[0], dtype=gram.dtype)

        def solve(lam: Array) -> tuple[Array, Array, Array, Array]:
            factor = cho_factor(gram + lam * eye, lower=True)

            def refine(_: int, w: Array) -> Array:
                residual = features.T @ (1 - features @ w) / n - lam * w
                return w + cho_solve(factor, residual)

            w = jax.lax.fori_loop(0, refinements + 1, refine, jnp.zeros_like(gram[0]))
            if basis is not None:
                # With λ = 0 the interpolator solves a triangular system: no squared condition number.
                w = jnp.where(lam > 0, w, solve_triangular(features, jnp.ones_like(w), lower=True))
            gradient = lam * w - features.T @ (1 - features @ w) / n
            step = cho_solve(factor, gradient)
            error = jnp.where(lam > 0, jnp.linalg.norm(gradient) / lam, jnp.linalg.norm(step))
            if basis is not None:
                missed = solve_triangular(features, 1 - features @ w, lower=True)
                error = jnp.where(lam > 0, error, jnp.linalg.norm(missed))
                step = jnp.where(lam > 0, step, 0)
            gap = jnp.where(lam > 0, gradient @ gradient / (2 * lam), gradient @ step / 2)
            return w, error / jnp.linalg.norm(w), gap, jnp.asarray(refinements + 1)

        weights, *rest = jax.lax.map(solve, lambdas)
        return out_of_span(weights, basis), *rest

    return jax.lax.map(one_problem, samples)


@partial(jax.jit, static_argnames=("loss", "max_iterations"))
def newton_path(
    samples: Array, lambdas: Array, tolerance: Array, loss: Loss, max_iterations: int
) -> tuple[Array, Array, Array, Array]:
    """Weights (B, L, d), error bounds, duality gaps and iterations (B, L) of a smooth loss, by Newton's method."""

    def one_problem(rows: Array) -> tuple[Array, Array, Array, Array]:
        n = rows.shape[0]
        features, basis = in_span(rows)
        eye = jnp.eye(features.shape[1], dtype=features.dtype)

        def solve(start: Array, lam: Array) -> tuple[Array, tuple[Array, Array, Array, Array]]:
            def gradient_at(w: Array, margins: Array) -> Array:
                return lam * w + loss.derivative(margins) @ features / n

            def error_of(w: Array, gradient: Array) -> Array:
                return jnp.linalg.norm(gradient) / (lam * jnp.linalg.norm(w))

            def unfinished(state: tuple[Array, ...]) -> Array:
                w, _, gradient, count = state
                return (count < max_iterations) & ~(error_of(w, gradient) <= tolerance)

            def newton(state: tuple[Array, ...]) -> tuple[Array, ...]:
                w, margins, gradient, count = state
                hessian = (features * loss.curvature(margins)[:, None]).T @ features / n + lam * eye
                step = -cho_solve(cho_factor(hessian, lower=True), gradient)
                change = features @ step
                length = _line_search(loss, lam, w, step, margins, change)
                w, margins = w + length * step, margins + length * change
                return w, margins, gradient_at(w, margins), count + 1

            margins = features @ start
            state = (start, margins, gradient_at(start, margins), jnp.asarray(0))
            w, _, _, count = jax.lax.while_loop(unfinished, newton, state)
            gradient = gradient_at(w, features @ w)
            return w, (w, error_of(w, gradient), gradient @ gradient / (2 * lam), count)

        start = jnp.zeros_like(features[0])
        weights, error, gap, count = along_path(lambdas, start, solve)
        return out_of_span(weights, basis), error, gap, count

    return jax.lax.map(one_problem, samples)


def _line_search(loss: Loss, lam: Array, w: Array, step: Array, margins: Array, change: Array) -> Array:
    """A length at which the slope along the step is at most half of what it was: 1 almost always."""
    along, square = lam * (w @ step), lam * (step @ step)

    def slope(length: Array) -> Array:
        return along + length * square + jnp.mean(loss.derivative(margins + length * change) * change)

    first = slope(jnp.zeros_like(lam))

    def too_far(state: tuple[Array, Array, Array]) -> Array:
        _, now, count = state
        return (now > -0.5 * first) & (count < _BACKTRACKS)

    def shorten(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        length, now, count = state
        length = length * jnp.maximum(first / (first - now), 0.1)
        return length, slope(length), count + 1

    one = jnp.ones_like(lam)
    return jax.lax.while_loop(too_far, shorten, (one, slope(one), jnp.asarray(0)))[0]

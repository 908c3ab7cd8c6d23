r"""Solvers of `theory.learners` for the hinge: primal-dual interior points, certified by the duality gap.

Use `theory.learners`; here are the programs it compiles. Both solve the Newton systems of their barrier problems in
min(n, d) coordinates, with Mehrotra's predictor and corrector; 10 to 25 factorisations reach rounding whatever the data.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import cho_factor, cho_solve

from theory.learners_smooth import in_span, out_of_span

_TO_BOUNDARY = 0.995


def _longest(*pairs: tuple[Array, Array]) -> Array:
    """The longest step in [0, 1] that leaves every first array positive when the second is added to it."""
    lengths = [jnp.min(jnp.where(change < 0, -value / change, jnp.inf)) for value, change in pairs]
    return jnp.minimum(1.0, _TO_BOUNDARY * jnp.min(jnp.stack(lengths)))


@partial(jax.jit, static_argnames=("max_iterations",))
def hinge_path(
    samples: Array, which: Array, lambdas: Array, tolerance: Array, max_iterations: int
) -> tuple[Array, Array, Array, Array]:
    r"""Soft-margin weights (B, L, d), error bounds, duality gaps and iterations (B, L) of problems `which` (B,) of (·, n, d).

    Dual variables $\alpha\in(0,1)^n$, slacks $s,\xi>0$: $\lambda nw=U^\top\alpha$, $s-\xi=Uw-1$, barrier
    $\alpha s=(1-\alpha)\xi=\mu$.
    """

    def one_problem(rows: Array) -> tuple[Array, Array, Array, Array]:
        n = rows.shape[0]
        features, basis = in_span(rows)
        eye = jnp.eye(features.shape[1], dtype=features.dtype)

        def solve(lam: Array) -> tuple[Array, Array, Array, Array]:
            strength = lam * n

            def certified(alpha: Array, w: Array) -> tuple[Array, Array]:
                # A sum of terms that are all >= 0 (Fenchel's inequalities), not a difference of two objectives.
                margins = features @ w
                parts = jnp.mean(jnp.maximum(0, 1 - margins) - alpha * (1 - margins))
                apart = w - features.T @ alpha / strength
                gap = jnp.maximum(parts, 0) + lam / 2 * (apart @ apart)
                return gap, jnp.sqrt(2 * gap / lam) / jnp.linalg.norm(w)

            def unfinished(state: tuple[Array, ...]) -> Array:
                *_, error, _, count, stuck = state
                return (count < max_iterations) & ~(error <= tolerance) & ~stuck

            def advance(state: tuple[Array, ...]) -> tuple[Array, ...]:
                w, alpha, beta, s, xi, best, error, gap, count, _ = state
                weight = 1 / (s / alpha + xi / beta)
                factor = cho_factor((features * weight[:, None]).T @ features + strength * eye, lower=True)
                off = features @ w - 1 - s + xi
                missing = features.T @ alpha - strength * w

                def direction(first: Array, second: Array) -> tuple[Array, ...]:
                    target = first / alpha - second / beta - off
                    d_w = cho_solve(factor, missing + features.T @ (weight * target))
                    d_alpha = weight * (target - features @ d_w)
                    return d_w, d_alpha, (first - s * d_alpha) / alpha, (second + xi * d_alpha) / beta

                def length_of(d_alpha: Array, d_s: Array, d_xi: Array) -> Array:
                    return _longest((alpha, d_alpha), (beta, -d_alpha), (s, d_s), (xi, d_xi))

                mu = (jnp.mean(alpha * s) + jnp.mean(beta * xi)) / 2
                _, d_alpha, d_s, d_xi = direction(-alpha * s, -beta * xi)
                length = length_of(d_alpha, d_s, d_xi)
                after = jnp.mean((alpha + length * d_alpha) * (s + length * d_s))
                after = (after + jnp.mean((beta - length * d_alpha) * (xi + length * d_xi))) / 2
                centre = mu * (after / mu) ** 3
                d_w, d_alpha, d_s, d_xi = direction(
                    centre - alpha * s - d_alpha * d_s, centre - beta * xi + d_alpha * d_xi
                )
                length = length_of(d_alpha, d_s, d_xi)
                w, alpha, beta = w + length * d_w, alpha + length * d_alpha, beta - length * d_alpha
                new_gap, new_error = certified(alpha, w)
                better = new_error < error
                return (
                    w,
                    alpha,
                    beta,
                    s + length * d_s,
                    xi + length * d_xi,
                    jnp.where(better, w, best),
                    jnp.where(better, new_error, error),
                    jnp.where(better, new_gap, gap),
                    count + 1,
                    # Rounding has the last word once steps vanish or the certificate gets far worse: the best w stands.
                    ~((length > 1e-6) & (new_error < 100 * error)),
                )

            half, one = jnp.full(n, 0.5, features.dtype), jnp.ones(n, features.dtype)
            nothing, infinite = jnp.zeros_like(features[0]), jnp.asarray(jnp.inf, features.dtype)
            # w = 0 with margins 0 = 1 + s - ξ: well centred whatever λ is.
            start = (nothing, half, half, one, 2 * one, nothing * jnp.nan, infinite, infinite)
            state = (*start, jnp.asarray(0), jnp.asarray(False))
            *_, best, error, gap, count, _ = jax.lax.while_loop(unfinished, advance, state)
            return best, error, gap, count

        weights, *rest = jax.lax.map(solve, lambdas)
        return out_of_span(weights, basis), *rest

    return jax.lax.map(lambda index: one_problem(samples[index]), which)


@partial(jax.jit, static_argnames=("max_iterations",))
def hard_margin(samples: Array, which: Array, tolerance: Array, max_iterations: int) -> tuple[Array, ...]:
    r"""Hard-margin weights (B, d), error bounds, gaps, iterations and smallest margins (B,) of problems `which` (B,).

    The point $v=U^\top\alpha$ of the samples' convex hull closest to the origin; $w=v/\min_iu_i\cdot v$ if that is positive.
    """

    def one_problem(rows: Array) -> tuple[Array, ...]:
        n = rows.shape[0]
        features, basis = in_span(rows)
        scale = jnp.sqrt(jnp.mean(jnp.sum(features**2, -1)))
        features = features / scale
        eye = jnp.eye(features.shape[1], dtype=features.dtype)

        def gap_of(v: Array) -> Array:
            return v @ v - jnp.min(features @ v)

        def unfinished(state: tuple[Array, ...]) -> Array:
            *_, error, count, stuck = state
            return (count < max_iterations) & ~(error <= tolerance) & ~stuck

        def advance(state: tuple[Array, ...]) -> tuple[Array, ...]:
            alpha, s, tau, _, count, _ = state
            weight = alpha / s
            factor = cho_factor((features * weight[:, None]).T @ features + eye, lower=True)
            v = features.T @ alpha
            off = features @ v - tau - s
            # With Δτ unknown the step is affine in it; 1ᵀΔα = 0 decides.
            per_tau = weight * (1 - features @ cho_solve(factor, features.T @ weight))

            def direction(wanted: Array) -> tuple[Array, Array, Array]:
                target = wanted / alpha - off
                free = weight * (target - features @ cho_solve(factor, features.T @ (weight * target)))
                d_tau = (1 - alpha.sum() - free.sum()) / per_tau.sum()
                d_alpha = free + d_tau * per_tau
                return d_alpha, (wanted - s * d_alpha) / alpha, d_tau

            mu = jnp.mean(alpha * s)
            d_alpha, d_s, _ = direction(-alpha * s)
            length = _longest((alpha, d_alpha), (s, d_s))
            after = jnp.mean((alpha + length * d_alpha) * (s + length * d_s))
            d_alpha, d_s, d_tau = direction(mu * (after / mu) ** 3 - alpha * s - d_alpha * d_s)
            length = _longest((alpha, d_alpha), (s, d_s))
            alpha, s, tau = alpha + length * d_alpha, s + length * d_s, tau + length * d_tau
            v = features.T @ (alpha / alpha.sum())
            error = jnp.sqrt(2 * jnp.maximum(gap_of(v), 0)) / jnp.linalg.norm(v)
            return alpha, s, tau, error, count + 1, ~(length > 1e-6)

        alpha = jnp.full(n, 1 / n, features.dtype)
        products = features @ (features.T @ alpha)
        tau = jnp.min(products) - 1
        infinite = jnp.asarray(jnp.inf, features.dtype)
        state = (alpha, products - tau, tau, infinite, jnp.asarray(0), jnp.asarray(False))
        alpha, _, _, error, count, _ = jax.lax.while_loop(unfinished, advance, state)
        v = features.T @ (alpha / alpha.sum())
        smallest = jnp.min(features @ v)
        w = v / (smallest * scale)
        # Of the primal ½‖w‖² and the dual ½/‖v‖² (in the samples' unit).
        gap = 0.5 * (w @ w) - 0.5 / (v @ v * scale**2)
        return out_of_span(w, basis), error, gap, count, smallest

    return jax.lax.map(lambda index: one_problem(samples[index]), which)

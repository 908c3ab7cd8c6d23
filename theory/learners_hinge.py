r"""Solvers of `theory.learners` for the hinge: primal-dual interior points, certified by the duality gap.

Use `theory.learners`; here are the programs it compiles. Both solve the Newton systems of their barrier problems in
min(n, d) coordinates, with Mehrotra's predictor and corrector; 10 to 25 factorisations reach rounding whatever the data.
In float64 the soft margin takes its first steps, where nothing depends on the last digits, in float32.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import cho_factor, cho_solve

from theory.learners_batches import for_each
from theory.learners_smooth import Solution, in_span, out_of_span

_TO_BOUNDARY = 0.995
_SHORTEST_STEP = 1e-6
_PATIENCE = 6  # steps without a better certificate after which rounding has had the last word
_HANDOVER = 0.03  # error bound at which float64 takes over from float32


def _longest(*pairs: tuple[Array, Array]) -> Array:
    """The longest step in [0, 1] that leaves every first array positive when the second is added to it."""
    lengths = [jnp.min(jnp.where(change < 0, -value / change, jnp.inf)) for value, change in pairs]
    return jnp.minimum(1.0, _TO_BOUNDARY * jnp.min(jnp.stack(lengths)))


def _soft_margin(
    features: Array, lam: Array, start: tuple[Array, ...], tolerance: Array, max_iterations: Array
) -> tuple[tuple[Array, ...], Solution]:
    """Interior points from `start` = (w, α, 1 − α, s, ξ) until the certificate meets the tolerance or rounding stops it."""
    n = features.shape[0]
    strength = lam * n
    eye = jnp.eye(features.shape[1], dtype=features.dtype)

    def certified(alpha: Array, w: Array) -> tuple[Array, Array]:
        # A sum of terms that are all >= 0 (Fenchel's inequalities), not a difference of two objectives.
        margins = features @ w
        parts = jnp.mean(jnp.maximum(0, 1 - margins) - alpha * (1 - margins))
        apart = w - features.T @ alpha / strength
        gap = jnp.maximum(parts, 0) + lam / 2 * (apart @ apart)
        return gap, jnp.sqrt(2 * gap / lam) / jnp.linalg.norm(w)

    def unfinished(state: tuple[Array, ...]) -> Array:
        *_, error, _, count, idle = state
        return (count < max_iterations) & ~(error <= tolerance) & (idle < _PATIENCE)

    def advance(state: tuple[Array, ...]) -> tuple[Array, ...]:
        w, alpha, beta, s, xi, best, error, gap, count, idle = state
        weight = 1 / (s / alpha + xi / beta)
        factor = cho_factor((features * weight[:, None]).T @ features + strength * eye, lower=True)
        # What is left of the two linear conditions, which the step restores.
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
            jnp.where(length > _SHORTEST_STEP, jnp.where(better, 0, idle + 1), _PATIENCE),
        )

    infinite = jnp.asarray(jnp.inf, features.dtype)
    state = (*start, start[0] * jnp.nan, infinite, infinite, jnp.asarray(0), jnp.asarray(0))
    *last, best, error, gap, count, _ = jax.lax.while_loop(unfinished, advance, state)
    return tuple(last), (best, error, gap, count)


def _start(features: Array) -> tuple[Array, ...]:
    half, one = jnp.full(features.shape[0], 0.5, features.dtype), jnp.ones(features.shape[0], features.dtype)
    # w = 0 with margins 0 = 1 + s - ξ: well centred whatever λ is.
    return jnp.zeros_like(features[0]), half, half, one, 2 * one


@jax.jit
def soft_margin(
    samples: Array, which: Array, count: Array, lam: Array, tolerance: Array, max_iterations: Array
) -> Solution:
    r"""Soft-margin weights (B, d), error bounds, duality gaps and iterations (B,) for one λ (B as in `for_each`).

    Dual variables $\alpha\in(0,1)^n$, slacks $s,\xi>0$: $\lambda nw=U^\top\alpha$, $s-\xi=Uw-1$, barrier
    $\alpha s=(1-\alpha)\xi=\mu$.
    """

    def one_problem(rows: Array) -> Solution:
        features, basis = in_span(rows)
        start, before = _start(features), jnp.asarray(0)
        if features.dtype == jnp.float64:
            single, handover = features.astype(jnp.float32), jnp.asarray(_HANDOVER, jnp.float32)
            rough, (*_, before) = _soft_margin(
                single, lam.astype(jnp.float32), _start(single), handover, max_iterations
            )
            w, alpha, beta, s, xi = (x.astype(features.dtype) for x in rough)
            # α + β = 1 again in all digits, the smaller of them unchanged.
            alpha, beta = jnp.where(alpha < 0.5, alpha, 1 - beta), jnp.where(alpha < 0.5, 1 - alpha, beta)
            rough = (w, alpha, beta, s, xi)
            inside = jnp.stack([jnp.isfinite(w).all(), *[(x > 0).all() for x in rough[1:]]]).all()
            start = tuple(jnp.where(inside, a, b) for a, b in zip(rough, start, strict=True))
        _, (w, error, gap, steps) = _soft_margin(features, lam, start, tolerance, max_iterations)
        return out_of_span(w, basis), error, gap, before + steps

    return for_each(lambda index: one_problem(samples[index]), which, count)


@jax.jit
def hard_margin(
    samples: Array, which: Array, count: Array, tolerance: Array, max_iterations: Array
) -> tuple[Array, Array, Array, Array, Array]:
    r"""Hard-margin weights (B, d), error bounds, gaps, iterations and margins' bounds (B, 2) (B as in `for_each`).

    The point $v=U^\top\alpha$ of the samples' convex hull closest to the origin; $w=v/\min_iu_i\cdot v$ if that is positive.
    The bounds are $\min_iu_i\cdot v/\|v\|$ and the shortest $\|v\|$, in units of the samples' root mean square
    length: no direction has a larger margin than the second.
    """

    def one_problem(rows: Array) -> tuple[Array, Array, Array, Array, Array]:
        features, basis = in_span(rows)
        n, dtype = features.shape[0], features.dtype
        scale = jnp.sqrt(jnp.mean(jnp.sum(features**2, -1)))
        features = features / scale
        eye = jnp.eye(features.shape[1], dtype=dtype)
        hopeless = jnp.finfo(dtype).eps ** 0.5

        def error_of(v: Array) -> Array:
            square = v @ v
            return jnp.sqrt(2 * jnp.maximum(square - jnp.min(features @ v), 0) / square)

        def unfinished(state: tuple[Array, ...]) -> Array:
            *_, shortest, error, count, idle = state
            return (
                (count < max_iterations) & ~(error <= tolerance) & (idle < _PATIENCE) & (shortest > hopeless)
            )

        def advance(state: tuple[Array, ...]) -> tuple[Array, ...]:
            v, alpha, s, tau, best, shortest, error, count, idle = state
            weight = alpha / s
            factor = cho_factor((features * weight[:, None]).T @ features + eye, lower=True)
            off = features @ v - tau - s
            missing = features.T @ alpha - v

            # With Δτ unknown the step is affine in it; Σα = 1 decides.
            v_per_tau = cho_solve(factor, features.T @ weight)
            per_tau = weight * (1 - features @ v_per_tau)

            def direction(wanted: Array) -> tuple[Array, ...]:
                target = wanted / alpha - off
                d_v = cho_solve(factor, missing + features.T @ (weight * target))
                d_alpha = weight * (target - features @ d_v)
                d_tau = (1 - alpha.sum() - d_alpha.sum()) / per_tau.sum()
                d_v, d_alpha = d_v + d_tau * v_per_tau, d_alpha + d_tau * per_tau
                return d_v, d_alpha, (wanted - s * d_alpha) / alpha, d_tau

            mu = jnp.mean(alpha * s)
            _, d_alpha, d_s, _ = direction(-alpha * s)
            length = _longest((alpha, d_alpha), (s, d_s))
            after = jnp.mean((alpha + length * d_alpha) * (s + length * d_s))
            d_v, d_alpha, d_s, d_tau = direction(mu * (after / mu) ** 3 - alpha * s - d_alpha * d_s)
            length = _longest((alpha, d_alpha), (s, d_s))
            alpha = alpha + length * d_alpha
            hull = features.T @ (alpha / alpha.sum())
            new, norm = error_of(hull), jnp.linalg.norm(hull)
            better = new < error
            # Without a hyperplane there is no better certificate, only a shorter and shorter hull.
            progress = better | (norm < 0.5 * shortest)
            return (
                v + length * d_v,
                alpha,
                s + length * d_s,
                tau + length * d_tau,
                jnp.where(better, hull, best),
                jnp.minimum(norm, shortest),
                jnp.where(better, new, error),
                count + 1,
                jnp.where(length > _SHORTEST_STEP, jnp.where(progress, 0, idle + 1), _PATIENCE),
            )

        alpha = jnp.full(n, 1 / n, dtype)
        v = features.T @ alpha
        tau = jnp.min(features @ v) - 1
        infinite = jnp.asarray(jnp.inf, dtype)
        state = (v, alpha, features @ v - tau, tau, v, infinite, infinite, jnp.asarray(0), jnp.asarray(0))
        *_, v, shortest, error, count, _ = jax.lax.while_loop(unfinished, advance, state)
        smallest, length = jnp.min(features @ v), jnp.linalg.norm(v)
        w = v / (smallest * scale)
        # The primal ½‖w‖² less the dual ½/‖v‖² in the samples' unit.
        gap = 0.5 * (w @ w) - 0.5 / (length * scale) ** 2
        return out_of_span(w, basis), error, gap, count, jnp.stack([smallest / length, shortest])

    return for_each(lambda index: one_problem(samples[index]), which, count)

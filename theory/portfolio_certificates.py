r"""A proof that no mixture has a larger margin: the dual bound, computed here and not by the solver.

Weak duality. For weights $\lambda_t\ge0$ of the targets, prices $\eta^\pm\ge0$ of the ends of the noise intervals, any point
$\hat p$ and any p in the polytope with noise in the intervals, a level m that p reaches on every target satisfies

$$0\le\sum_t\lambda_t\bigl(a_t\cdot p-m\|y_t(p)\|\bigr)+\sum_k\eta^+_k(u_k-\tau_k)+\eta^-_k(\tau_k-l_k)
  \le\varphi(m)=\max_{p\in\mathcal P}\bigl[c(m)\cdot p\bigr]+c_0(m),$$

because a norm lies above its tangent at $\hat p$ (Cauchy and Schwarz), which makes the middle affine in p; the maximum over
$\mathcal P$ is a fill of the largest entries first. φ is convex, so that its root is an upper bound on the best level. It
holds **whatever** λ, η and $\hat p$ are; with a solver's multipliers and its answer it is tight. For one target, no interval
and $\mathcal P$ the simplex it reads $m\le\max_s a_s\|\hat p\|_M/(M\hat p)_s$.

A tangent can be negative at mixtures far from $\hat p$, and a multiplier that is off in its tenth digit then leaves φ without
a root. A norm also lies above averages of its tangents: as little as is needed of the tangent at the offending mixture is
mixed in. Rounding: bounds are raised by 10⁻¹² and signals below 10⁻¹⁴ of their terms count as 0.
"""

import numpy as np
from jaxtyping import Float

from theory.portfolio_problem import MixtureProblem

_ROUNDING = 1e-12
_SLACK = 1e-14
_STEPS = 200


def upper_bound(
    problem: MixtureProblem,
    box: Float[np.ndarray, "k 2"],
    point: Float[np.ndarray, " s"],
    target_weights: Float[np.ndarray, " t"],
    upper_prices: Float[np.ndarray, " k"],
    lower_prices: Float[np.ndarray, " k"],
) -> float:
    """A number that no mixture of the problem with noise in the box exceeds; ∞ if the multipliers prove nothing.

    Args:
        problem: the best-mixture problem.
        box: noise intervals (l, u), one per group.
        point: where the norms are linearised; the nearer to the best mixture, the tighter.
        target_weights: λ, any numbers; negative ones (rounding of a solver) count as 0.
        upper_prices: η⁺ of τ <= u; negative ones count as 0.
        lower_prices: η⁻ of τ >= l; negative ones count as 0.
    """
    weights, up, down = (np.clip(x, 0, None) for x in (target_weights, upper_prices, lower_prices))
    if not weights.sum() > 0 or not all(np.isfinite(x).all() for x in (weights, up, down, point)):
        return np.inf
    scale = weights.sum()
    weights, up, down = weights / scale, up / scale, down / scale
    gain = weights @ problem.signals - (up - down) @ problem.shapes
    # Without noise and with more sources than dimensions every difference gain - m cost vanishes; rounding must not decide.
    gain = gain - _SLACK * (weights @ np.abs(problem.signals) + (up + down) @ problem.shapes)
    gain_constant = float(up @ box[:, 1] - down @ box[:, 0])
    cost, cost_constant = _tangent(problem, box, point, weights)
    # Newton on a convex, piecewise linear function from the left of its root: it ends exactly on the piece that holds it.
    lengths, _, _ = problem.relaxed_lengths(point, box)
    start = 0.999 * max(float((problem.signals @ point / np.where(lengths > 0, lengths, np.inf)).min()), 0.0)
    level = start
    for _ in range(_STEPS):
        best = problem.maximise_linear(gain - level * cost)
        value, length = float(gain @ best) + gain_constant, float(cost @ best) + cost_constant
        if value <= level * length:
            return level * (1 + _ROUNDING)
        if length > 0 and value > level * length * (1 + 1e-15):
            level = value / length
            continue
        if length > 0:
            return level * (1 + _ROUNDING)
        slope, constant = _tangent(problem, box, best, weights)
        true_length = float(slope @ best) + constant
        if level == 0 or not true_length > 0:
            return np.inf
        mixed = 2 * (value - level * length) / (level * (true_length - length))
        if not mixed < 1:
            return np.inf
        cost, cost_constant = (
            (1 - mixed) * cost + mixed * slope,
            (1 - mixed) * cost_constant + mixed * constant,
        )
        level = start
    return np.inf


def _tangent(
    problem: MixtureProblem,
    box: Float[np.ndarray, "k 2"],
    point: Float[np.ndarray, " s"],
    weights: Float[np.ndarray, " t"],
) -> tuple[Float[np.ndarray, " s"], float]:
    """Slope and constant of the tangent of Σλ_t‖y_t‖ at a point."""
    _, slopes, constants = problem.relaxed_lengths(point, box)
    return weights @ slopes, float(weights @ constants)


def proves_empty(
    problem: MixtureProblem,
    box: Float[np.ndarray, "k 2"],
    upper_prices: Float[np.ndarray, " k"],
    lower_prices: Float[np.ndarray, " k"],
) -> bool:
    r"""Whether prices show that no mixture has its noise in a box (Farkas).

    $$\max_{p\in\mathcal P}\ \sum_k\eta^+_k(u_k-\tau_k)+\eta^-_k(\tau_k-l_k)<0$$

    Args:
        problem: the best-mixture problem.
        box: noise intervals (l, u), one per group.
        upper_prices: η⁺, any numbers; negative ones count as 0.
        lower_prices: η⁻, likewise.
    """
    up, down = np.clip(upper_prices, 0, None), np.clip(lower_prices, 0, None)
    gain, constant = -(up - down) @ problem.shapes, float(up @ box[:, 1] - down @ box[:, 0])
    size = float(up @ box[:, 1] + down @ box[:, 0])
    return float(gain @ problem.maximise_linear(gain)) + constant < -_ROUNDING * size

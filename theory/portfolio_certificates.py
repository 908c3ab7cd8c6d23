r"""A proof that no mixture has a larger margin: the dual bound, computed here and not by the solver.

Weak duality. For weights $\lambda_t\ge0$ of the targets, prices $\eta^\pm\ge0$ of the ends of the noise intervals, any point
$\hat p$ and any p in the polytope with noise in the intervals, a level m that p reaches on every target satisfies

$$0\le\sum_t\lambda_t\bigl(a_t\cdot p-m\|y_t(p)\|\bigr)+\sum_k\eta^+_k(u_k-\tau_k)+\eta^-_k(\tau_k-l_k)
  \le\varphi(m)=\max_{p\in\mathcal P}\bigl[c(m)\cdot p\bigr]+c_0(m),$$

because a norm lies above its tangent at $\hat p$ (Cauchy and Schwarz), which makes the middle affine in p; the maximum over
$\mathcal P$ is a fill of the largest entries first. φ is convex, so every m with φ(m) < 0 right of its root is impossible: the
root is an upper bound on the best level. It holds **whatever** λ, η and $\hat p$ are; with a solver's multipliers and its
answer it is tight. For one target, one interval of width 0 and $\mathcal P$ the simplex it reads
$m\le\max_s a_s\|\hat p\|_M/(M\hat p)_s$.
"""

import numpy as np
from jaxtyping import Float

from theory.portfolio_problem import MixtureProblem

#: Rounding of a dozen sums of products, added to every bound so that it stays one in floating point.
_INFLATION = 1e-12


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
    _, slopes, constants = problem.relaxed_lengths(point, box)
    gain = weights @ problem.signals - (up - down) @ problem.shapes
    gain_constant = float(up @ box[:, 1] - down @ box[:, 0])
    cost, cost_constant = weights @ slopes, float(weights @ constants)
    level = 0.0
    # Newton on a convex, piecewise linear function from the left: it ends exactly on the piece that holds the root.
    for _ in range(200):
        best = problem.maximise_linear(gain - level * cost)
        value, length = float(gain @ best) + gain_constant, float(cost @ best) + cost_constant
        if value - level * length <= 1e-15 * (abs(value) + level * abs(length)):
            return level * (1 + _INFLATION)
        if length <= 0:
            return np.inf
        if value / length <= level * (1 + 1e-15):
            return level * (1 + _INFLATION)
        level = value / length
    return np.inf


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
    return float(gain @ problem.maximise_linear(gain)) + constant < -_INFLATION * size

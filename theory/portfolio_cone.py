r"""The convex inner problems of the best mixture, given to a solver (cvxpy with Clarabel) in scaled variables.

Homogenised by $p=z/e$: minimise $\|y(z,e)\|^2$ subject to $a_t\cdot z/c_t\ge\rho$ for all t, one QP, if the targets' forms are
proportional; otherwise Dinkelbach's iteration on SOCPs, maximise s subject to $a_t\cdot z-m\|y_t(z,e)\|\ge s\,\omega_t$,
whose root m (s = 0) is the best level. Measured in the length of its source, a share costs no digits however long or short
the source is; where budgets decide, plain shares are the better variables: the search tries both. cvxpy loads with the first
problem, which `import theory` therefore leaves out.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from theory.portfolio_problem import MixtureProblem

_TOLERANCES = {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11, "max_threads": 1}


@dataclass(frozen=True, eq=False)
class InnerSolution:
    """What a solver says about one box: a point and multipliers, none of it trusted.

    Attributes:
        point: p.
        target_weights: λ.
        upper_prices: η⁺.
        lower_prices: η⁻.
    """

    point: Float[np.ndarray, " s"]
    target_weights: Float[np.ndarray, " t"]
    upper_prices: Float[np.ndarray, " k"]
    lower_prices: Float[np.ndarray, " k"]


class InnerProblem:
    """One compiled convex program per best-mixture problem, solved for many boxes.

    Args:
        problem: the best-mixture problem.
        scale: the unit 1/scale_s in which the solver sees p_s, shape (S,).
    """

    def __init__(self, problem: MixtureProblem, scale: Float[np.ndarray, " s"]):
        import cvxpy as cp

        self.problem, self.scale, self.num_solved = problem, scale, 0
        num_targets, num_sources = problem.signals.shape
        self.is_quadratic = problem.proportionality is not None
        # A solver that stops short of its tolerance is no harm: the certificate judges the answer.
        self._z, self._e = cp.Variable(num_sources, nonneg=True), cp.Variable(nonneg=True)
        unscale = 1 / self.scale
        total = (unscale / unscale.max()) @ self._z
        low, high = (x / unscale.max() for x in problem.total)
        constraints: list[Any] = [total == high * self._e] if low == high else [total >= low * self._e]
        if low < high:
            constraints.append(total <= high * self._e)
        constraints += [
            self._z[s] <= problem.caps[s] * self.scale[s] * self._e
            for s in np.flatnonzero(problem.caps < problem.total[1])
        ]
        num_groups = len(problem.shapes)
        self._box = cp.Parameter((num_groups, 2)) if num_groups else None
        self._ends: list[tuple[Any, Any]] = []
        if self._box is not None:
            for k in range(num_groups):
                noise = (problem.shapes[k] * unscale) @ self._z
                self._ends.append((noise <= self._box[k, 1] * self._e, noise >= self._box[k, 0] * self._e))
            constraints += [end for pair in self._ends for end in pair]
        forms = [0] if self.is_quadratic else range(num_targets)
        self._rows = {t: cp.Parameter(num_sources) for t in forms if problem.groups[t] >= 0}
        self._offsets = {t: cp.Parameter(nonneg=True) for t in self._rows}
        lengths = [self._length(cp, t, problem.factors[t] * unscale) for t in forms]
        signals = problem.signals * unscale
        if problem.proportionality is not None:
            self._level = cp.Parameter(nonneg=True)
            self._reach = [
                (signals[t] / c) @ self._z >= self._level for t, c in enumerate(problem.proportionality)
            ]
            objective = cp.Minimize(cp.sum_squares(lengths[0]))
        else:
            self._level = cp.Parameter(nonneg=True)
            self._omega, slack = cp.Parameter(num_targets, nonneg=True), cp.Variable()
            norms = cp.Variable(num_targets)
            constraints += [cp.norm(y) <= norms[t] for t, y in enumerate(lengths)]
            self._reach = [
                signals[t] @ self._z - self._level * norms[t] >= self._omega[t] * slack
                for t in range(num_targets)
            ]
            constraints.append(cp.sum(self._z) == 1)
            objective = cp.Maximize(slack)
        self._program = cp.Problem(objective, constraints + self._reach)

    def _length(self, cp: Any, t: int, factor: Float[np.ndarray, "r s"]) -> Any:
        if t not in self._rows:
            return factor @ self._z
        return cp.hstack([factor @ self._z, self._rows[t] @ self._z + self._offsets[t] * self._e])

    def solve(
        self, box: Float[np.ndarray, "k 2"], level: float, omega: Float[np.ndarray, " t"]
    ) -> InnerSolution | None:
        """The solver's answer for one box, or None if it has none.

        Args:
            box: noise intervals.
            level: ρ of the QP (any positive number; near the best level is best), m of the SOCP.
            omega: lengths of the targets near the solution, weights of the SOCP's slack.
        """
        import warnings

        import cvxpy as cp

        problem = self.problem
        rows, offsets = problem.chords(box)
        if self._box is not None:
            self._box.value = box
        for t, row in self._rows.items():
            row.value, self._offsets[t].value = rows[t] / self.scale, offsets[t]
        self._level.value = level
        if not self.is_quadratic:
            self._omega.value = omega
        self.num_solved += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                self._program.solve(solver=cp.CLARABEL, **_TOLERANCES)
            except cp.SolverError:
                return None
        if self._z.value is None or self._e.value is None or not self._e.value > 0:
            return None
        point = np.clip(self._z.value, 0, None) / self.scale / float(self._e.value)
        scale = problem.proportionality if self.is_quadratic else np.ones(len(problem.signals))
        weights = np.asarray([float(reach.dual_value) for reach in self._reach]) / scale
        ends = np.asarray([[float(e.dual_value) for e in pair] for pair in self._ends]).reshape(-1, 2)
        return InnerSolution(point, weights, ends[:, 0], ends[:, 1])


def best_worst_signal(
    problem: MixtureProblem, box: Float[np.ndarray, "k 2"]
) -> tuple[float, InnerSolution | None]:
    """The largest smallest signal in a box, each target's in units of its largest, with a point and multipliers."""
    from scipy.optimize import linprog

    num_targets, num_sources = problem.signals.shape
    units = np.abs(problem.signals).max(1)
    units = np.where(units > 0, units, 1.0)
    reach = np.hstack([-problem.signals / units[:, None], np.ones((num_targets, 1))])
    ends = np.hstack(
        [np.concatenate([problem.shapes, -problem.shapes]), np.zeros((2 * len(problem.shapes), 1))]
    )
    total = np.r_[np.ones(num_sources), 0.0]
    found = linprog(
        np.r_[np.zeros(num_sources), -1.0],
        A_ub=np.vstack([reach, ends, total, -total]),
        b_ub=np.r_[np.zeros(num_targets), box[:, 1], -box[:, 0], problem.total[1], -problem.total[0]],
        bounds=[*((0.0, float(cap)) for cap in problem.caps), (None, None)],
        method="highs",
    )
    if found.x is None:
        return -np.inf, None
    prices = -np.asarray(found.ineqlin.marginals)
    groups = len(problem.shapes)
    up, down = (
        prices[num_targets : num_targets + groups],
        prices[num_targets + groups : num_targets + 2 * groups],
    )
    return -float(found.fun), InnerSolution(found.x[:-1], prices[:num_targets] / units, up, down)


def emptiness_prices(
    problem: MixtureProblem, box: Float[np.ndarray, "k 2"]
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Prices of the intervals' ends that prove a box empty if it is: those of the least common violation."""
    from scipy.optimize import linprog

    groups, num_sources = problem.shapes.shape
    widths = np.where(box[:, 1] > 0, box[:, 1], 1.0)[:, None]
    ends = np.concatenate([problem.shapes / widths, -problem.shapes / widths])
    total = np.r_[np.ones(num_sources), 0.0]
    found = linprog(
        np.r_[np.zeros(num_sources), 1.0],
        A_ub=np.vstack([np.hstack([ends, -np.ones((2 * groups, 1))]), total, -total]),
        b_ub=np.r_[
            (box[:, 1:] / widths)[:, 0], -(box[:, :1] / widths)[:, 0], problem.total[1], -problem.total[0]
        ],
        bounds=[*((0.0, float(cap)) for cap in problem.caps), (0.0, None)],
        method="highs",
    )
    prices = np.zeros(2 * groups) if found.x is None else -np.asarray(found.ineqlin.marginals)[: 2 * groups]
    return prices[:groups] / widths[:, 0], prices[groups:] / widths[:, 0]

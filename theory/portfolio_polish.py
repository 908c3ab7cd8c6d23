r"""A few Newton steps on the optimality conditions of an inner problem, from a cone solver's answer to full precision.

A cone solver stops when the level is right to ten digits, at which a smooth optimum is right to five: too few for a tight
bound, whose error is of first order in the point. With the constraints that hold with equality read off from its answer the
optimality conditions are a square system, solved here. A failure is harmless: what comes out is judged by the same
certificate as what went in.
"""

import numpy as np
from jaxtyping import Float

from theory.portfolio_cone import InnerSolution
from theory.portfolio_problem import MixtureProblem

_ACTIVE = 1e-6
_STEPS = 8


def polished(
    problem: MixtureProblem, box: Float[np.ndarray, "k 2"], found: InnerSolution, level: float
) -> InnerSolution | None:
    r"""Solve the optimality conditions near an answer; None if that fails.

    $$\sum_t\lambda_t\bigl(a_t-m\nabla\|y_t(p)\|\bigr)_s=\theta+\sum_k\eta_k\text{shape}_{ks}\ (s\text{ free}),\quad
      a_t\cdot p=m\|y_t(p)\|\ (\lambda_t>0),\quad\sum_t\lambda_t=1$$

    with the total and the noise intervals at the ends they have reached. Unknowns: free shares, λ, θ, η and m.

    Args:
        problem: the best-mixture problem.
        box: noise intervals.
        found: a solver's answer.
        level: the level it reaches in the relaxation.
    """
    unit = 1 / problem.lengths
    x = np.minimum(found.point, problem.caps) / unit
    capped = found.point >= problem.caps * (1 - _ACTIVE)
    free = (x > _ACTIVE * x.max()) & ~capped
    x = np.where(free, x, np.where(capped, problem.caps / unit, 0.0))
    weights = np.clip(found.target_weights, 0, None)
    if not free.any() or not weights.sum() > 0:
        return None
    tight = np.flatnonzero(weights > _ACTIVE * weights.sum())
    equalities, values, signs = _equalities(problem, box, found)
    equalities = equalities * unit
    rows, offsets = problem.chords(box)
    forms = [np.vstack([f * unit, r * unit]) for f, r in zip(problem.factors, rows, strict=True)]
    signals = problem.signals * unit
    shares, mixed = np.flatnonzero(free), weights[tight] / weights[tight].sum()
    prices, m = np.zeros(len(equalities)), level
    sizes = np.cumsum([len(shares), len(tight), len(prices)])
    for _ in range(_STEPS):
        images = [forms[t] @ x + np.r_[np.zeros(len(forms[t]) - 1), offsets[t]] for t in tight]
        lengths = np.asarray([np.linalg.norm(y) for y in images])
        if not (lengths > 0).all():
            return None
        slopes = np.stack([forms[t].T @ y for t, y in zip(tight, images, strict=True)]) / lengths[:, None]
        bends = [
            (forms[t].T @ forms[t] - np.outer(g, g)) / length
            for t, g, length in zip(tight, slopes, lengths, strict=True)
        ]
        push = signals[tight] - m * slopes
        hessian = -m * sum(w * bend for w, bend in zip(mixed, bends, strict=True))
        residual = np.r_[
            (mixed @ push - prices @ equalities)[shares],
            signals[tight] @ x - m * lengths,
            equalities @ x - values,
            mixed.sum() - 1,
        ]
        matrix = np.zeros((sizes[2] + 1, sizes[2] + 1))
        matrix[: sizes[0], : sizes[0]] = np.asarray(hessian)[np.ix_(shares, shares)]
        matrix[: sizes[0], sizes[0] : sizes[1]] = push[:, shares].T
        matrix[: sizes[0], sizes[1] : sizes[2]] = -equalities[:, shares].T
        matrix[: sizes[0], -1] = -(mixed @ slopes)[shares]
        matrix[sizes[0] : sizes[1], : sizes[0]] = push[:, shares]
        matrix[sizes[0] : sizes[1], -1] = -lengths
        matrix[sizes[1] : sizes[2], : sizes[0]] = equalities[:, shares]
        matrix[-1, sizes[0] : sizes[1]] = 1
        step = np.linalg.lstsq(matrix, -residual, rcond=1e-14)[0]
        if not np.isfinite(step).all():
            return None
        x[shares] += step[: sizes[0]]
        mixed, prices = mixed + step[sizes[0] : sizes[1]], prices + step[sizes[1] : sizes[2]]
        m += float(step[-1])
        if np.abs(step).max() <= 1e-15 * max(1.0, np.abs(x).max()):
            break
    lambdas = np.zeros(len(problem.signals))
    lambdas[tight] = mixed
    up, down = np.zeros(len(problem.shapes)), np.zeros(len(problem.shapes))
    for (group, sign), price in zip(signs, prices, strict=True):
        if group >= 0:
            (up if sign > 0 else down)[group] = max(sign * price, 0.0)
    return InnerSolution(np.clip(x * unit, 0, None), lambdas, up, down)


def _equalities(
    problem: MixtureProblem, box: Float[np.ndarray, "k 2"], found: InnerSolution
) -> tuple[Float[np.ndarray, "e s"], Float[np.ndarray, " e"], list[tuple[int, int]]]:
    """Rows, values and (group, which end) of the total and the intervals that are reached; group -1 is the total."""
    rows: list[np.ndarray] = []
    values: list[float] = []
    signs: list[tuple[int, int]] = []
    used = float(found.point.sum())
    for end in dict.fromkeys(problem.total):
        if abs(used - end) <= _ACTIVE * end:
            rows.append(np.ones_like(found.point))
            values.append(end)
            signs.append((-1, 1))
    for k, shape in enumerate(problem.shapes):
        noise = float(shape @ found.point)
        for sign, end in ((1, box[k, 1]), (-1, box[k, 0])):
            if abs(noise - end) <= _ACTIVE * box[k, 1]:
                rows.append(shape)
                values.append(float(end))
                signs.append((k, sign))
                break
    return (
        np.asarray(rows).reshape(len(rows), -1 if rows else found.point.shape[0]),
        np.asarray(values),
        signs,
    )

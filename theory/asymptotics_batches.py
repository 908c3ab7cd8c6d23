"""Solve many settings of `theory.asymptotics` in batches of few different sizes, with as fine a quadrature as each needs."""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import tree_map

from theory.arrays import is_concrete
from theory.asymptotics_solver import Solution, solve_batch
from theory.loss_moments import Learner, largest_length
from theory.source_law import Law

_FEWEST_NODES, _MOST_NODES, _TRACED_NODES = 128, 8192, 512
#: Settings that are solved together; fewer are filled up: few sizes, few compilations.
_BATCH_SIZES = (1, 16, 256)


def solve_settings(
    learner: Learner, law: Law, stacked: bool, shares: Array, inverse_n: Array, penalty: Array
) -> Solution:
    """m, q, V, F, k, x, shape (B, S), and residuals (B,), by a quadrature that is fine enough for each setting.

    Args:
        learner: see `theory.loss_moments.Learner`.
        law: the sources, stacked along a leading axis B if `stacked`.
        stacked: whether each setting has a law of its own.
        shares: (B, S).
        inverse_n: 1/n, (B,); 0 is the population.
        penalty: λ, (B,).
    """
    if not is_concrete(law, shares, inverse_n, penalty):
        return solve_batch(learner, law, shares, inverse_n, penalty, _TRACED_NODES, stacked)
    count = shares.shape[0]
    results = [*(np.zeros(shares.shape) for _ in range(6)), np.full(count, np.inf)]
    todo, nodes = np.arange(count), _FEWEST_NODES
    while len(todo):
        for start in range(0, len(todo), _BATCH_SIZES[-1]):
            chosen = todo[start : start + _BATCH_SIZES[-1]]
            size = min(size for size in _BATCH_SIZES if size >= len(chosen))
            rows = np.concatenate([chosen, np.full(size - len(chosen), chosen[0])])
            own = tree_map(lambda x, rows=rows: x[rows], law) if stacked else law
            found = solve_batch(learner, own, shares[rows], inverse_n[rows], penalty[rows], nodes, stacked)
            for result, values in zip(results, found, strict=True):
                result[chosen] = np.asarray(values)[: len(chosen)]
        if learner != "logistic" or nodes >= _MOST_NODES:
            break
        # The longer w, the sharper the loss as a function of Z: those settings are solved again with finer nodes.
        longest = np.where(np.isfinite(results[1]), results[1], 0).max(-1)
        todo = np.flatnonzero(longest > largest_length(nodes))
        nodes = nodes * 2 if len(todo) else nodes
    if learner == "logistic":
        results[6] = np.where(results[1].max(-1) <= largest_length(nodes), results[6], np.nan)
    m, q, v, mean, curvature, square, residual = (jnp.asarray(x, shares.dtype) for x in results)
    return m, q, v, mean, curvature, square, residual

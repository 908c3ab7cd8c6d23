"""Solve many settings of `theory.asymptotics` in batches of few different sizes, with as fine a quadrature as each needs."""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import tree_map

from theory.arrays import is_concrete
from theory.asymptotics_solver import solve_batch
from theory.loss_moments import Learner, largest_length
from theory.source_geometry import Geometry

_FEWEST_NODES, _MOST_NODES, _TRACED_NODES = 128, 8192, 512
_LARGEST_BATCH = 256


def solve_settings(
    learner: Learner, geometry: Geometry, stacked: bool, shares: Array, inverse_n: Array, penalty: Array
) -> tuple[Array, Array, Array, Array, int]:
    """m, q, V (B, S), residuals (B,) and the number of nodes that is fine enough for all of them.

    Args:
        learner: see `theory.loss_moments.Learner`.
        geometry: the sources, stacked along a leading axis B if `stacked`.
        stacked: whether each setting has a geometry of its own.
        shares: (B, S).
        inverse_n: 1/n, (B,); 0 is the population.
        penalty: λ, (B,).
    """
    if not is_concrete(geometry, shares, inverse_n, penalty):
        traced = solve_batch(learner, geometry, shares, inverse_n, penalty, _TRACED_NODES, stacked)
        return *traced, _TRACED_NODES
    count = shares.shape[0]
    results = [np.zeros(shares.shape), np.ones(shares.shape), np.zeros(shares.shape), np.full(count, np.inf)]
    todo, nodes = np.arange(count), _FEWEST_NODES
    while len(todo):
        for start in range(0, len(todo), _LARGEST_BATCH):
            chosen = todo[start : start + _LARGEST_BATCH]
            # A batch is filled up with copies of its first setting to a power of two: few sizes, few compilations.
            size = 1 << (len(chosen) - 1).bit_length()
            rows = np.concatenate([chosen, np.full(size - len(chosen), chosen[0])])
            own = tree_map(lambda x, rows=rows: x[rows], geometry) if stacked else geometry
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
        results[3] = np.where(results[1].max(-1) <= largest_length(nodes), results[3], np.nan)
    m, q, v, residual = (jnp.asarray(x, shares.dtype) for x in results)
    return m, q, v, residual, nodes

"""Solve many settings of `theory.asymptotics` in batches of few different sizes, with as fine a quadrature as each needs."""

import jax.numpy as jnp
import numpy as np
from jax.tree_util import tree_map

from theory.arrays import is_concrete
from theory.asymptotics_solver import solve_batch, tolerance
from theory.loss_moments import Learner, largest_length
from theory.losses import LOSSES
from theory.source_geometry import Batched
from theory.source_law import Law

_FEWEST_NODES, _MOST_NODES, _TRACED_NODES = 128, 8192, 512
#: Settings that are solved together; fewer are filled up: few sizes, few compilations.
_BATCH_SIZES = (16, 256)
#: Factors of λ along the path to a setting that was not solved at once.
_PATH = tuple(10.0 ** (k / 2) for k in range(14, -1, -1))


def solve_settings(
    learner: Learner, law: Law, stacked: bool, shares: Batched, inverse_n: Batched, penalty: Batched
) -> tuple[Batched, Batched, Batched, Batched, Batched, Batched, Batched]:
    """m, q, V, F, k, x, shape (B, S), and residuals (B,), by a quadrature that is fine enough for each setting.

    NumPy arrays in, NumPy arrays out (JAX arrays inside `jit`).

    Args:
        learner: see `theory.loss_moments.Learner`.
        law: the sources, stacked along a leading axis B if `stacked`.
        stacked: whether each setting has a law of its own.
        shares: (B, S).
        inverse_n: 1/n, (B,); 0 is the population.
        penalty: λ, (B,).
    """
    if not is_concrete(law, shares, inverse_n, penalty):
        unknown = jnp.full((shares.shape[0], 3 * shares.shape[1]), jnp.nan, shares.dtype)
        return solve_batch(learner, law, shares, inverse_n, penalty, _TRACED_NODES, stacked, unknown)
    batches = _Batches(learner, law, stacked, shares, inverse_n, penalty)
    todo, nodes = np.arange(shares.shape[0]), _FEWEST_NODES
    while len(todo):
        batches.solve(todo, nodes)
        if learner in LOSSES:
            batches.follow_path(batches.unsolved(todo), nodes)
        if learner != "logistic" or nodes >= _MOST_NODES:
            break
        # The longer w, the sharper the loss as a function of Z: those settings are solved again with finer nodes.
        todo = todo[batches.longest(todo) > largest_length(nodes)]
        nodes = nodes * 2 if len(todo) else nodes
    m, q, v, mean, curvature, square, residual = batches.results
    if learner == "logistic":
        residual = np.where(
            batches.longest(np.arange(len(residual))) <= largest_length(nodes), residual, np.nan
        )
    return m, q, v, mean, curvature, square, residual


class _Batches:
    """Settings and what is known of their solutions."""

    def __init__(
        self, learner: Learner, law: Law, stacked: bool, shares: Batched, inverse_n: Batched, penalty: Batched
    ):
        self._learner, self._law, self._stacked = learner, law, stacked
        self._inputs = shares, inverse_n, penalty
        self.results = [*(np.zeros_like(shares) for _ in range(6)), np.full_like(inverse_n, np.inf)]

    def solve(self, todo: Batched, nodes: int, factor: float = 1.0, start: Batched | None = None) -> None:
        """Solve the settings `todo` with λ times `factor`."""
        shares, inverse_n, penalty = self._inputs
        if start is None:
            start = np.full((len(todo), 3 * shares.shape[1]), np.nan, shares.dtype)
        for first in range(0, len(todo), _BATCH_SIZES[-1]):
            chosen = todo[first : first + _BATCH_SIZES[-1]]
            size = min(size for size in _BATCH_SIZES if size >= len(chosen))
            filled = np.concatenate([np.arange(len(chosen)), np.zeros(size - len(chosen), int)])
            rows = chosen[filled]
            law = (
                tree_map(lambda x, rows=rows: jnp.asarray(np.asarray(x)[rows]), self._law)
                if self._stacked
                else self._law
            )
            found = solve_batch(
                self._learner,
                law,
                shares[rows],
                inverse_n[rows],
                penalty[rows] * np.asarray(factor, penalty.dtype),
                nodes,
                self._stacked,
                start[first : first + _BATCH_SIZES[-1]][filled],
            )
            for result, values in zip(self.results, found, strict=True):
                result[chosen] = np.asarray(values)[: len(chosen)]

    def follow_path(self, todo: Batched, nodes: int) -> None:
        """Solve again from λ so strong that learning is averaging, down to the λ wanted, each from its predecessor."""
        start = None
        for factor in _PATH if len(todo) else ():
            self.solve(todo, nodes, factor, start)
            start = np.concatenate([x[todo] for x in self.results[:3]], axis=1)

    def unsolved(self, todo: Batched) -> Batched:
        """Those of the settings whose residual is too large."""
        residual = self.results[6][todo]
        return todo[~(residual <= tolerance(residual.dtype))]

    def longest(self, todo: Batched) -> Batched:
        """The largest q of each setting."""
        q = self.results[1][todo]
        return np.where(np.isfinite(q), q, np.inf).max(-1)

r"""The exact sampler of the minimum-norm interpolator: n <= d samples, noise levels that may differ between sources.

Use `sample_minimum_norm` where training data can be fitted without error: it is the limit λ → 0 of ridge regression and
where gradient descent on the square loss from 0 ends. Cost per classifier O((r+S)³), independent of n and d.

Derivation (notation of `theory.exact_geometry`). The interpolation conditions u_i·w = 1 may each be divided by γ_s: rows
with unit noise, labels 1/γ_s. After the rotation of the rows they read Bw = t and Zw = 0 with $t_s=\sqrt{n_s}/\gamma_s$. Write
w = v + x with v in the span of B (S dimensions) and x orthogonal to it. Then Bv = t alone decides v, and x is the shortest
solution of $Z_\perp x=-Zv$, where $Zv\sim\mathcal N(0,\|v\|^2I_{n-S})$ is independent of the (n−S) x (d−S) Gaussian matrix
$Z_\perp$. So $\|x\|^2=g^\top(Z_\perp Z_\perp^\top)^{-1}g$ with g = Zv, which is $\|v\|^2\chi^2_{n-S}/\chi^2_{d-n+1}$
because $1/(\hat g^\top W^{-1}\hat g)\sim\chi^2_{d-S-(n-S)+1}$ for any unit vector ĝ and W ~ Wishart_{n−S}(I, d−S). No Wishart
matrix is left to draw.
"""

import numpy as np
from jax import Array
from jaxtyping import Key

from theory.arrays import ArrayLike
from theory.exact_geometry import check_rows, chi_squared, draw_margins
from theory.monte_carlo import MarginDraws
from theory.reduced_problem import ReducedProblem


def sample_minimum_norm(
    key: Key[Array, ""],
    problem: ReducedProblem,
    counts: ArrayLike,
    num_trials: int,
    chunk_size: int = 1 << 13,
) -> MarginDraws:
    r"""The shortest w with $u_i\cdot w=1$ for all i, $w=U^\top(UU^\top)^{-1}1$, drawn exactly in O((r+S)³).

    $$Cv=t,\quad t_s=\sqrt{n_s}/\gamma_s,\qquad\|w-v\|^2=\|v\|^2\,\chi^2_{n-S}/\chi^2_{d-n+1}.$$

    Args:
        key: random key.
        problem: from `reduce_problem`; the γ_s² may differ.
        counts: n_s, shape (S,), whole numbers with n <= d (Section 10 asks for n <= d − r; that is not needed).
        num_trials: classifiers to draw.
        chunk_size: classifiers drawn at once; bounds the memory.

    Returns:
        `MarginDraws` with arrays (num_trials, T).

    Raises:
        ValueError: counts of the wrong shape, not whole, negative or all 0; n > d; a source without noise; no trial.

    Source: Section 10.
    """
    rows = check_rows(problem, counts)
    n, d = rows.num_samples, rows.num_features
    if n > d:
        raise ValueError(
            f"interpolation needs at most d = {d} samples, got {n}: use sample_least_squares or sample_ridge"
        )
    labels = np.sqrt(rows.counts / rows.variances)

    def solve(generator: np.random.Generator, factor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        inside = np.linalg.solve(
            factor, np.broadcast_to(labels[:, None], (len(factor), rows.num_sources, 1))
        )[..., 0]
        above = chi_squared(generator, n - rows.num_sources, len(inside))
        return inside, np.sum(inside**2, axis=-1) * above / chi_squared(generator, d - n + 1, len(inside))

    return draw_margins(key, problem, rows, solve, 1.0, num_trials, chunk_size)

r"""The exact sampler of ridge regression, λ > 0, at O(min(n, d)) per classifier by block bidiagonalisation.

Use `sample_ridge` for $w=\arg\min\frac1{2n}\sum_i(1-u_i\cdot w)^2+\frac\lambda2\|w\|^2$ where n or d is moderate (n = 10⁹ at
d = 100 costs what n = 100 costs); sources with isotropic noise of one common level γ². For λ = 0 use
`theory.exact_least_squares` or `theory.exact_minimum_norm`, whose cost does not depend on n and d at all.

What is sampled (notation of `theory.exact_geometry`): nothing but the joint law of (v, ρ) given B, which needs the compression
of $A=Z^\top Z+\alpha I$, α = nλ/γ², to the s = min(S, d) dimensions of the span of B: $P^{-1}=E^\top A^{-1}E$ and
$\rho^2=v^\top Kv$. Householder reflections from either side, which leave a Gaussian Z Gaussian (Golub and Kahan, s columns at
a time), make it block bidiagonal,

$$Z\sim\begin{pmatrix}R_1&L_1&&\\&R_2&L_2&\\&&\ddots&\ddots\end{pmatrix},$$

with independent blocks: R_j upper triangular with normals above a diagonal of $\chi_{n-S-(j-1)s},\chi_{n-S-(j-1)s-1},\dots$,
L_j lower triangular with normals below a diagonal of $\chi_{d-js},\chi_{d-js-1},\dots$, rows and columns ending where n − S or
d ends. Eliminating blocks from the end is a matrix continued fraction without subtractions:

$$P_j=\alpha+R_j^\top M_j^{-1}R_j,\quad M_j=I+L_jP_{j+1}^{-1}L_j^\top,\quad N_j=L_j^\top M_j^{-1}R_j,\quad
  K_j=N_j^\top P_{j+1}^{-1}(I+K_{j+1})P_{j+1}^{-1}N_j,$$

and $v=(C^\top C+P_1)^{-1}C^\top t$. For one source all blocks are numbers: the tridiagonal model of the Laguerre ensemble.
"""

import numpy as np
from jax import Array
from jaxtyping import Float, Key

from theory.arrays import ArrayLike, Scalar
from theory.exact_geometry import Rows, check_rows, draw_margins
from theory.monte_carlo import MarginDraws
from theory.reduced_problem import ReducedProblem


def _block(
    generator: np.random.Generator, batch: int, size: int, num_rows: int, num_columns: int
) -> np.ndarray:
    """Bartlett's lower triangular factor (b, s, s) of a Gaussian block, `num_columns` wide, with zeros beyond what there is.

    Its Gram matrix is that of min(size, num_rows) Gaussian rows of length `num_columns`.
    """
    lower = np.tril(generator.standard_normal((batch, size, size)), -1)
    lower[:, max(num_rows, 0) :, :] = 0
    lower[:, :, max(num_columns, 0) :] = 0
    diagonal = np.arange(max(0, min(size, num_rows, num_columns)))
    lower[:, diagonal, diagonal] = np.sqrt(
        generator.chisquare(num_columns - diagonal, (batch, len(diagonal)))
    )
    return lower


def _transposed(matrices: np.ndarray) -> np.ndarray:
    return matrices.swapaxes(1, 2)


def compressed_inverse(
    generator: np.random.Generator, rows: Rows, alpha: float, batch: int
) -> tuple[Float[np.ndarray, "batch s s"], Float[np.ndarray, "batch s s"]]:
    """(P, K) of a Gaussian Z with n − S rows: P⁻¹ is the s x s corner of (ZᵀZ + αI)⁻¹, vᵀKv the squared length of the rest.

    Args:
        generator: source of randomness.
        rows: n, S, d and s.
        alpha: what is added to the diagonal, > 0.
        batch: draws.
    """
    size = rows.span
    num_rows, identity = rows.num_samples - rows.num_sources, np.eye(size)
    precision = np.broadcast_to(alpha * identity, (batch, size, size))
    spread = np.zeros((batch, size, size))
    num_steps = -(-min(num_rows, rows.num_features) // size)
    for step in reversed(range(num_steps)):
        rows_left, columns_left = num_rows - step * size, rows.num_features - step * size
        upper = _transposed(_block(generator, batch, size, columns_left, rows_left))
        lower = _block(generator, batch, size, rows_left, columns_left - size)
        pulled = np.linalg.solve(precision, _transposed(lower))  # P⁻¹Lᵀ of the blocks after this one
        whitened = np.linalg.solve(identity + lower @ pulled, upper)  # M⁻¹R
        pulled = pulled @ whitened  # P⁻¹N
        spread = _transposed(pulled) @ (pulled + spread @ pulled)
        precision = alpha * identity + _transposed(upper) @ whitened
    return precision, spread


def sample_ridge(
    key: Key[Array, ""],
    problem: ReducedProblem,
    counts: ArrayLike,
    penalty: Scalar,
    num_trials: int,
    chunk_size: int = 1 << 11,
) -> MarginDraws:
    r"""Ridge regression on labels ±1 without intercept, drawn exactly in O(min(n, d) S²).

    $$w=\Bigl(\sum_iu_iu_i^\top+n\lambda I\Bigr)^{-1}\sum_iu_i$$

    Args:
        key: random key.
        problem: from `reduce_problem`, sources with one common γ².
        counts: n_s, shape (S,), whole numbers.
        penalty: λ > 0, in the square of the features' unit.
        num_trials: classifiers to draw.
        chunk_size: classifiers drawn at once; bounds the memory, which does not grow with n or d.

    Returns:
        `MarginDraws` with arrays (num_trials, T).

    Raises:
        ValueError: λ that is not a finite number > 0; counts of the wrong shape, not whole, negative or all 0; different
            variances; no trial.

    Source: Section 10 (the step beyond λ = 0).
    """
    if not (np.isfinite(penalty) and penalty > 0):
        raise ValueError(
            f"penalty must be a finite number > 0, got {penalty}: for 0 use sample_least_squares or sample_minimum_norm"
        )
    rows = check_rows(problem, counts)
    variance = rows.common_variance("ridge regression")
    alpha, labels = rows.num_samples * float(penalty) / variance, np.sqrt(rows.counts)

    def solve(generator: np.random.Generator, factor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        precision, spread = compressed_inverse(generator, rows, alpha, len(factor))
        right = np.einsum("bsk,s->bk", factor, labels)[..., None]
        inside = np.linalg.solve(_transposed(factor) @ factor + precision, right)[..., 0]
        return inside, np.einsum("bi,bij,bj->b", inside, spread, inside, optimize=True)

    return draw_margins(key, problem, rows, solve, variance**-0.5, num_trials, chunk_size)

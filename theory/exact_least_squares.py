r"""Exact samplers of least squares (λ = 0) and pooled LDA: cost independent of n and d.

Use `sample_least_squares` for $w=\arg\min\sum_i(1-u_i\cdot w)^2$ with n >= d samples (for n <= d see
`theory.exact_minimum_norm`, for λ > 0 `theory.exact_ridge`), `sample_pooled_lda` for Fisher's discriminant with the
covariance pooled within sources, and `whiten_problem` first where the common noise covariance Γ is not γ²I. Both learners
are invariant under linear maps of the features, so any common Γ is as good as the identity. There is no intercept and
u_i = y_ix_i ~ N(ν_s, Γ) whatever the labels. LDA that is not told the sources pools the scatter about the overall mean of
u; its direction is that of least squares, so its margins are those of `sample_least_squares`.

The law (notation of `theory.exact_geometry`): with A = ZᵀZ the scatter within sources, Wishart_d(I, n−S), the Schur
complement of A on the span of B (s = min(S, d) dimensions) is W ~ Wishart_s(I, n−S−d+s), and given the part v of w in that
span the rest has squared length ‖v‖² χ²_{d−s}/χ²_{n−S−d+s+1}, all independent.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Key

from theory import covariance as cov
from theory.arrays import ArrayLike
from theory.exact_geometry import Rows, bartlett_rows, check_rows, chi_squared, draw_margins
from theory.gaussian import Source, Target, check_dimensions
from theory.monte_carlo import MarginDraws
from theory.reduced_problem import ReducedProblem, reduce_problem


def whiten_problem(
    sources: Sequence[Source], targets: Sequence[Target], num_features: int | None = None
) -> ReducedProblem:
    r"""Rotate and scale the features so that the common noise of the sources is the identity, then reduce.

    With $\Gamma=RR^\top$ every mean becomes $R^{-1}\nu$ and every $\Sigma_t$ becomes $R^{-1}\Sigma_tR^{-\top}$; margins of
    learners that are invariant under linear maps are unchanged. (Ridge, logistic regression and minimum norm are not.)

    Args:
        sources: S training distributions with one common covariance Γ of any form, positive definite.
        targets: T test distributions whose Σ_t is c_t²Γ, up to a few directions.
        num_features: d, if larger than the length of the means (see `reduce_problem`).

    Returns:
        A `ReducedProblem` with source variances 1.

    Raises:
        ValueError: covariances of sources that differ (beyond rounding) or are singular, or what `reduce_problem` refuses.

    Source: Section 10.
    """
    d = check_dimensions(*sources, *targets)
    widest = max(source.covariance.ndim for source in sources)
    shape = (d,) * max(widest, 1)
    forms = [cov.as_matrix(s.covariance, d) if widest == 2 else s.covariance for s in sources]
    matrices = [np.broadcast_to(np.asarray(form, np.float64), shape) for form in forms]
    first = matrices[0]
    for source, matrix in zip(sources, matrices, strict=True):
        if not np.allclose(matrix, first, rtol=1e-6, atol=1e-9 * np.abs(first).max()):
            raise ValueError(
                f"whitening needs one covariance common to all sources, that of {source.name!r} differs from that "
                f"of {sources[0].name!r} by up to {np.abs(matrix - first).max():.3g}"
            )
    smallest = float(np.linalg.eigvalsh(first)[0] if first.ndim == 2 else first.min())
    if smallest <= 0:
        raise ValueError(f"whitening needs a common covariance with eigenvalues > 0, got {smallest:.3g}")
    root = np.linalg.cholesky(first) if first.ndim == 2 else np.sqrt(first)

    def whiten(values: np.ndarray) -> np.ndarray:
        return np.linalg.solve(root, values) if root.ndim == 2 else (values.T / root).T

    def whitened_covariance(target: Target) -> Any:
        ratio = cov.proportionality(sources[0].covariance, target.covariance, d)
        if ratio is not None:
            return ratio  # exactly isotropic, whatever the rounding of the root
        matrix = whiten(whiten(np.asarray(cov.as_matrix(target.covariance, d), np.float64)).T)
        return (matrix + matrix.T) / 2

    dtype = sources[0].mean.dtype
    white_sources = [
        Source(jnp.asarray(whiten(np.asarray(s.mean, np.float64)), dtype), 1.0, s.name) for s in sources
    ]
    white_targets = [
        Target(
            jnp.asarray(whiten(np.asarray(t.mean, np.float64)), dtype),
            jnp.asarray(whitened_covariance(t), dtype),
            t.name,
        )
        for t in targets
    ]
    return reduce_problem(white_sources, white_targets, num_features)


def _rest(generator: np.random.Generator, rows: Rows, inside: np.ndarray) -> np.ndarray:
    """Squared length off the span given the part v in it: ‖v‖² χ²/χ²."""
    batch = len(inside)
    above = chi_squared(generator, rows.num_features - rows.span, batch)
    return np.sum(inside**2, axis=-1) * above / chi_squared(generator, _wishart_degrees(rows) + 1, batch)


def _wishart_degrees(rows: Rows) -> int:
    return rows.num_samples - rows.num_sources - rows.num_features + rows.span


def sample_least_squares(
    key: Key[Array, ""],
    problem: ReducedProblem,
    counts: ArrayLike,
    num_trials: int,
    chunk_size: int = 1 << 13,
) -> MarginDraws:
    r"""Least squares on labels ±1, $w=(U^\top U)^{-1}U^\top 1$ without intercept, drawn exactly in O((r+S)³).

    $$v=\arg\min_v\|t-Cv\|^2+v^\top Wv,\qquad W\sim\mathrm{Wishart}_s(I,\,n-S-d+s),$$
    $$\|w-v\|^2=\|v\|^2\,\chi^2_{d-s}/\chi^2_{n-S-d+s+1}.$$

    W may be singular: n >= d is all that is needed (Section 10 asks for n − S >= d).

    Args:
        key: random key.
        problem: from `reduce_problem` (sources with one γ²) or `whiten_problem` (one Γ).
        counts: n_s, shape (S,), whole numbers of any size, with n >= d.
        num_trials: classifiers to draw.
        chunk_size: classifiers drawn at once; bounds the memory.

    Returns:
        `MarginDraws` with arrays (num_trials, T).

    Raises:
        ValueError: counts of the wrong shape, not whole, negative or all 0; n < d; different variances; no trial.

    Source: Section 10.
    """
    rows = check_rows(problem, counts)
    variance = rows.common_variance("least squares")
    if rows.num_samples < rows.num_features:
        raise ValueError(
            f"least squares without a penalty needs n >= d = {rows.num_features} samples, got {rows.num_samples}: use "
            "sample_minimum_norm or sample_ridge"
        )

    def solve(generator: np.random.Generator, factor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # By QR of (C; Lᵀ), because W = LLᵀ is singular when n − S < d.
        root = bartlett_rows(generator, len(factor), rows.span, _wishart_degrees(rows))
        basis, upper = np.linalg.qr(np.concatenate([factor, root.swapaxes(1, 2)], axis=1))
        right = np.einsum("bsk,s->bk", basis[:, : rows.num_sources], np.sqrt(rows.counts))
        inside = np.linalg.solve(upper, right[..., None])[..., 0]
        return inside, _rest(generator, rows, inside)

    return draw_margins(key, problem, rows, solve, variance**-0.5, num_trials, chunk_size)


def sample_pooled_lda(
    key: Key[Array, ""],
    problem: ReducedProblem,
    counts: ArrayLike,
    num_trials: int,
    chunk_size: int = 1 << 13,
) -> MarginDraws:
    r"""Fisher's discriminant $w=\hat\Gamma^{-1}\hat w$ with the averaging classifier ŵ and Γ̂ pooled within sources.

    $$\hat\Gamma=\frac1{n-S}\sum_s\sum_{i\in s}(u_i-\bar u_s)(u_i-\bar u_s)^\top,\qquad \hat w=\sum_sp_s\bar u_s .$$

    Drawn exactly in O((r+S)³): $v=(n-S)W^{-1}\hat w$ on the span, the rest as for least squares.

    Args:
        key: random key.
        problem: from `reduce_problem` (sources with one γ²) or `whiten_problem` (one Γ).
        counts: n_s, shape (S,), whole numbers of any size, with n − S >= d.
        num_trials: classifiers to draw.
        chunk_size: classifiers drawn at once.

    Returns:
        `MarginDraws` with arrays (num_trials, T).

    Raises:
        ValueError: as `sample_least_squares`, with n − S >= d in place of n >= d.

    Source: Section 10.
    """
    rows = check_rows(problem, counts)
    variance = rows.common_variance("pooled LDA")
    left = rows.num_samples - rows.num_sources
    if left < rows.num_features:
        raise ValueError(
            f"pooled LDA inverts a covariance with n − S degrees of freedom: n − S >= d = {rows.num_features} is "
            f"needed, got {left}"
        )

    def solve(generator: np.random.Generator, factor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        root = bartlett_rows(generator, len(factor), rows.span, _wishart_degrees(rows))
        labels = left * np.sqrt(rows.counts) / rows.num_samples
        right = np.einsum("bsk,s->bk", factor, labels)[..., None]
        inside = np.linalg.solve(root.swapaxes(1, 2), np.linalg.solve(root, right))[..., 0]
        return inside, _rest(generator, rows, inside)

    return draw_margins(key, problem, rows, solve, variance**-0.5, num_trials, chunk_size)

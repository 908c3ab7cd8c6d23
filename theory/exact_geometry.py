r"""What the exact samplers of least squares, minimum norm and ridge share: the geometry of a rotation-invariant learner.

Use the samplers themselves (`theory.exact_least_squares`, `theory.exact_minimum_norm`, `theory.exact_ridge`); this module
is their common core. Rows are u_i = y_ix_i ~ N(ν_s, γ_s²I), scaled to unit noise. Rotating the n rows so that the first S
point along the sources' indicators gives

$$\begin{pmatrix}B\\Z\end{pmatrix},\qquad B_s=\sqrt{n_s}\,\nu_s/\gamma_s+z_s,\qquad Z\in\mathbb R^{(n-S)\times d}$$

with Z pure noise and labels $t_s=\sqrt{n_s}$ on the first S rows, 0 on the others. The learners here commute with rotations
of the features, and the law of Z is unchanged by those that fix the span of B. So $w=v+\rho\theta$ with v in that span (at
most S dimensions) and θ uniform on the unit sphere of its orthogonal complement: the law of (v, ρ) given B is all that a
learner has to supply. Nothing of size n or d is drawn.

Random numbers and the small linear algebra are NumPy's, in float64 and seeded by the JAX key: gamma variates with up to 10¹²
degrees of freedom, and no compilation for every new number of sources.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, Key, UInt32

from theory.arrays import ArrayLike
from theory.monte_carlo import MarginDraws
from theory.reduced_problem import ReducedProblem

#: (generator, C) -> (v, ρ²): with B = CQ, C (b, S, s) lower triangular and Q having s orthonormal rows, v (b, s) holds the
#: classifier's coordinates along Q and ρ² (b,) the squared length of the rest.
SpanSolver: TypeAlias = Callable[[np.random.Generator, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Rows:
    """A problem with whole counts, without the sources that give no sample.

    Attributes:
        counts: n_s >= 1, shape (S,).
        means: ν_s in the coordinates of the problem, shape (S, r).
        variances: γ_s² > 0, shape (S,).
        num_features: d.
    """

    counts: Int[np.ndarray, " s"]
    means: Float[np.ndarray, "s r"]
    variances: Float[np.ndarray, " s"]
    num_features: int

    @property
    def num_samples(self) -> int:
        """The number of samples n."""
        return int(self.counts.sum())

    @property
    def num_sources(self) -> int:
        """The number of sources S that give samples."""
        return len(self.counts)

    @property
    def span(self) -> int:
        """The dimension s of the span of the sources' sample means, almost surely min(S, d)."""
        return min(self.num_sources, self.num_features)

    def common_variance(self, learner: str) -> float:
        """γ², the same for every source.

        Raises:
            ValueError: the variances differ.
        """
        first = float(self.variances[0])
        if not np.allclose(self.variances, first, rtol=1e-6, atol=0):
            raise ValueError(
                f"the exact sampler of {learner} needs one noise level for all sources, got variances "
                f"{self.variances.tolist()}: use theory.brute_force_learners"
            )
        return first


def check_rows(problem: ReducedProblem, counts: ArrayLike) -> Rows:
    """The rows behind whole counts n_s >= 0; sources without samples are left out.

    Args:
        problem: from `reduce_problem` or `whiten_problem`.
        counts: n_s, shape (S,), whole numbers of any size up to 2⁵³.

    Raises:
        ValueError: counts that are not one whole number >= 0 for each source, or all 0; a source with samples but no noise.
    """
    numbers = np.atleast_1d(np.asarray(counts, np.float64))
    if numbers.shape != (problem.num_sources,):
        raise ValueError(
            f"counts must hold one number for each of the {problem.num_sources} sources, got shape {numbers.shape}"
        )
    fine = np.isfinite(numbers) & (numbers >= 0) & (numbers == np.rint(numbers)) & (numbers <= 2.0**53)
    if not fine.all():
        raise ValueError(f"every count must be a whole number between 0 and 2^53, got {numbers[~fine][0]:g}")
    if numbers.sum() < 1:
        raise ValueError("the counts must sum to more than 0, got 0")
    used = numbers > 0
    variances = np.asarray(problem.source_variances, np.float64)[used]
    if (variances <= 0).any():
        raise ValueError(f"every source with samples needs a variance > 0, got {variances.min():g}")
    means = np.asarray(problem.source_means, np.float64)
    return Rows(
        counts=numbers[used].astype(np.int64),
        means=means[used],
        variances=variances,
        num_features=problem.num_orthogonal + means.shape[1],
    )


def generator_of(key: Key[Array, ""] | UInt32[Array, "2"]) -> np.random.Generator:
    """NumPy's generator seeded by a JAX key: the same key gives the same draws."""
    data = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
    return np.random.default_rng(np.asarray(data).ravel().tolist())


def bartlett_rows(
    generator: np.random.Generator, batch: int, num_rows: int, degrees: int
) -> Float[np.ndarray, "batch rows width"]:
    """L, lower triangular, with the Gram matrix LLᵀ ~ Wishart_rows(I, degrees) of Gaussian rows in `degrees` dimensions.

    It has min(rows, degrees) columns: normals below a diagonal of χ_degrees, χ_{degrees−1}, ... (Bartlett).
    """
    width = min(num_rows, degrees)
    lower = np.tril(generator.standard_normal((batch, num_rows, width)), -1)
    diagonal = np.arange(width)
    lower[:, diagonal, diagonal] = np.sqrt(generator.chisquare(degrees - diagonal, (batch, width)))
    return lower


def chi_squared(generator: np.random.Generator, degrees: int, batch: int) -> Float[np.ndarray, " batch"]:
    """χ² draws with any number of degrees of freedom >= 0 (0 gives 0)."""
    return generator.chisquare(degrees, batch) if degrees > 0 else np.zeros(batch)


def draw_margins(
    key: Array,
    problem: ReducedProblem,
    rows: Rows,
    solve: SpanSolver,
    weight_scale: float,
    num_trials: int,
    chunk_size: int,
) -> MarginDraws:
    """Draw `num_trials` classifiers of a rotation-invariant learner and judge them on the targets.

    Args:
        key: random key.
        problem: targets, in the coordinates in which `rows` lives.
        rows: from `check_rows`.
        solve: the learner.
        weight_scale: factor from the weights for unit noise to those in the features' unit.
        num_trials: classifiers to draw.
        chunk_size: classifiers drawn at once; bounds the memory.

    Returns:
        `MarginDraws` with arrays (num_trials, T) in the problem's precision.

    Raises:
        ValueError: fewer than one trial or an empty chunk.
    """
    if num_trials < 1 or chunk_size < 1:
        raise ValueError(f"num_trials and chunk_size must be at least 1, got {num_trials} and {chunk_size}")
    generator = generator_of(key)
    reduced = (problem.target_means, problem.target_blocks, problem.target_variances)
    targets = tuple(np.asarray(values, np.float64) for values in reduced)
    parts = [
        _draw_chunk(
            generator, rows, problem.num_orthogonal, targets, solve, min(chunk_size, num_trials - start)
        )
        for start in range(0, num_trials, chunk_size)
    ]
    projections, lengths = (np.concatenate(part) for part in zip(*parts, strict=True))
    dtype = problem.source_means.dtype
    return MarginDraws(
        jnp.asarray(weight_scale * projections, dtype), jnp.asarray(weight_scale**2 * lengths, dtype)
    )


def _draw_chunk(
    generator: np.random.Generator,
    rows: Rows,
    num_orthogonal: int,
    targets: tuple[np.ndarray, ...],
    solve: SpanSolver,
    batch: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Projections and squared lengths (batch, T) of weights for rows with unit noise."""
    target_means, blocks, off_span = targets
    shape = batch, *rows.means.shape
    rank = shape[-1]
    signal = np.sqrt(rows.counts / rows.variances)[:, None] * rows.means
    # B in r coordinates of the means' span and the few that its noise off that span needs (as for several averaging heads).
    off = bartlett_rows(generator, batch, rows.num_sources, num_orthogonal)
    mean_rows = np.concatenate([signal + generator.standard_normal(shape), off], axis=-1)
    basis, upper = np.linalg.qr(mean_rows.swapaxes(1, 2))
    inside, outside = solve(generator, upper.swapaxes(1, 2))
    # A uniform direction orthogonal to B: a Gaussian vector with its part along B removed, of which only the first coordinates
    # and the length of the rest are needed. Where B fills all dimensions both its length and ρ² are 0 (up to rounding).
    direction = generator.standard_normal((batch, basis.shape[1]))
    direction -= np.einsum("bks,bls,bl->bk", basis, basis, direction, optimize=True)
    rest = chi_squared(generator, num_orthogonal - off.shape[-1], batch)
    squared = np.sum(direction**2, axis=-1) + rest
    scale = np.sqrt(outside / np.where(squared > 0, squared, 1))
    weights = np.einsum("bks,bs->bk", basis, inside) + scale[:, None] * direction
    span = weights[:, :rank]
    beyond = np.sum(weights[:, rank:] ** 2, axis=-1) + scale**2 * rest
    lengths = np.einsum("br,trq,bq->bt", span, blocks, span, optimize=True) + off_span * beyond[:, None]
    return span @ target_means.T, lengths

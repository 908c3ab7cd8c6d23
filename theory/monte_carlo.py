"""The exact reduced Monte-Carlo sampler for averaging classifiers: cost independent of n and d.

Sources with isotropic Γ_s = γ_s²I and targets whose Σ_t is isotropic off the r-dimensional span of all means need r Gaussian
coordinates per classifier plus the Gram matrix of the parts orthogonal to the span (one χ²_{d−r} for one classifier, a
Wishart matrix for several). Nothing of size n or d is drawn, so n = 10¹² costs what n = 10 costs, and no approximation is made.

Use `theory.reduced_problem.reduce_problem` once, then `sample_averaging` (input mixing), `sample_multinomial` (random
counts) or `sample_ensemble` (output mixing, raw or normalised heads). All return `MarginDraws`. For filtered data and any
other covariance use `theory.brute_force`, the slow reference with the same output.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Key

from theory.arrays import ArrayLike, as_float_array, check_shares, require
from theory.reduced_problem import ReducedProblem


@dataclass(frozen=True, eq=False)
class MarginDraws:
    """Draws of a linear classifier as seen by T targets.

    Attributes:
        projections: w·μ_t, shape (..., T).
        squared_lengths: wᵀΣ_tw, shape (..., T).
    """

    projections: Float[Array, "... t"]
    squared_lengths: Float[Array, "... t"]

    @property
    def margins(self) -> Float[Array, "... t"]:
        """w·μ_t / sqrt(wᵀΣ_tw), the probit accuracies (not a number for a classifier of length 0)."""
        return self.projections / jnp.sqrt(self.squared_lengths)


def _bartlett(
    key: Array, batch: int, num_heads: int, num_dimensions: Array, width: int, dtype: jnp.dtype
) -> Array:
    """Rows (batch, H, width) with the Gram matrix of H standard normal vectors in `num_dimensions` dimensions.

    Rotating the orthogonal space so that head i lies in the first i + 1 axes leaves normals below the diagonal and a χ with
    D − i degrees of freedom on it (Bartlett's decomposition).
    """
    normal_key, chi_key = jax.random.split(key)
    rows, columns = jnp.arange(num_heads)[:, None], jnp.arange(width)
    normals = jax.random.normal(normal_key, (batch, num_heads, width), dtype)
    degrees = (num_dimensions - jnp.arange(width)).astype(dtype)
    chi = jnp.sqrt(2 * jax.random.gamma(chi_key, degrees / 2, (batch, width), dtype))
    return jnp.where(rows > columns, normals, 0) + jnp.where(rows == columns, chi[:, None, :], 0)


@partial(jax.jit, static_argnames=("width", "chunk_size"))
def _draw(
    keys: Array,
    means: Array,
    variances: Array,
    weights: Array,
    targets: tuple[Array, Array, Array],
    num_orthogonal: Array,
    normalise_on: Array,
    width: int,
    chunk_size: int,
) -> tuple[Array, Array]:
    """Weighted sums of independent heads N(means_h, variances_h I), chunk by chunk (chunks x chunk_size x T)."""
    target_means, blocks, off_span = targets

    def one_chunk(inputs: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        key, mean, variance = inputs
        span_key, orthogonal_key = jax.random.split(key)
        _, num_heads, rank = means.shape[-3:]
        std = jnp.sqrt(variance)[..., None]
        span = mean + std * jax.random.normal(span_key, (chunk_size, num_heads, rank), means.dtype)
        off = std * _bartlett(orthogonal_key, chunk_size, num_heads, num_orthogonal, width, means.dtype)
        norm_block, norm_variance = blocks[normalise_on], off_span[normalise_on]
        lengths = jnp.einsum("bhr,rq,bhq->bh", span, norm_block, span) + norm_variance * jnp.sum(off**2, -1)
        scale = weights / jnp.where(normalise_on >= 0, jnp.sqrt(lengths), 1)
        span = jnp.sum(scale[..., None] * span, axis=1)
        off = jnp.sum(scale[..., None] * off, axis=1)
        lengths = jnp.einsum("br,trq,bq->bt", span, blocks, span) + off_span * jnp.sum(
            off**2, -1, keepdims=True
        )
        return span @ target_means.T, lengths

    return jax.lax.map(one_chunk, (keys, means, variances))


def _sample(
    key: Array,
    problem: ReducedProblem,
    means: Array,
    variances: Array,
    weights: Array,
    num_trials: int,
    chunk_size: int,
    normalise_on: int | None = None,
) -> MarginDraws:
    """Draw `num_trials` classifiers; means (trials or 1, H, r) and variances (trials or 1, H)."""
    if num_trials < 1 or chunk_size < 1:
        raise ValueError(f"num_trials and chunk_size must be at least 1, got {num_trials} and {chunk_size}")
    num_heads = weights.shape[0]
    # Powers of two, so that calls with a few more or fewer trials share one compilation; what is too many is dropped.
    size = min(chunk_size, max(256, 1 << (num_trials - 1).bit_length()))
    num_chunks = -(-num_trials // size)

    def chunked(values: Array) -> Array:
        if values.shape[0] == 1:
            return jnp.broadcast_to(values, (num_chunks, *values.shape))
        padding = [(0, num_chunks * size - num_trials), *[(0, 0)] * (values.ndim - 1)]
        return jnp.pad(values, padding, mode="edge").reshape(num_chunks, size, *values.shape[1:])

    projections, lengths = _draw(
        jax.random.split(key, num_chunks),
        chunked(means),
        chunked(variances),
        weights,
        (problem.target_means, problem.target_blocks, problem.target_variances),
        jnp.asarray(problem.num_orthogonal, means.dtype),
        jnp.asarray(
            -1 if normalise_on is None else normalise_on
        ),  # traced: raw and normalised heads share one program
        width=min(num_heads, problem.num_orthogonal),
        chunk_size=size,
    )
    flat = (-1, projections.shape[-1])
    return MarginDraws(projections.reshape(flat)[:num_trials], lengths.reshape(flat)[:num_trials])


def sample_averaging(
    key: Key[Array, ""],
    problem: ReducedProblem,
    counts: ArrayLike,
    num_trials: int,
    chunk_size: int = 1 << 13,
) -> MarginDraws:
    """Averaging classifiers on fixed counts n_s: ŵ ~ N(Σp_sν_s, Σp_sγ_s²/n I), drawn exactly in O(r) per trial.

    Args:
        key: random key.
        problem: from `reduce_problem`.
        counts: n_s, shape (S,), any size.
        num_trials: classifiers to draw.
        chunk_size: classifiers drawn at once; bounds the memory.

    Returns:
        `MarginDraws` with arrays (num_trials, T).

    Raises:
        ValueError: counts of the wrong shape, negative, or all 0; fewer than one trial.

    Source: Theorem 2 (fixed counts) and the reduced sampler.
    """
    numbers = _checked_counts(counts, problem)
    shares = numbers / numbers.sum()
    mean = (shares @ problem.source_means)[None, None]
    variance = (shares @ problem.source_variances / numbers.sum())[None, None]
    return _sample(key, problem, mean, variance, jnp.ones((1,), mean.dtype), num_trials, chunk_size)


def sample_multinomial(
    key: Key[Array, ""],
    problem: ReducedProblem,
    shares: ArrayLike,
    num_samples: int,
    num_trials: int,
    chunk_size: int = 1 << 13,
) -> MarginDraws:
    """Averaging classifiers whose n samples pick their source at random: counts drawn per trial, then as `sample_averaging`.

    Args:
        key: random key.
        problem: from `reduce_problem`.
        shares: p_s, shape (S,).
        num_samples: n >= 1, up to 10¹⁵.
        num_trials: classifiers to draw.
        chunk_size: classifiers drawn at once.

    Returns:
        `MarginDraws` with arrays (num_trials, T).

    Raises:
        ValueError: shares that are negative or do not sum to 1; n or num_trials below 1.

    Source: Theorem 2 (random counts).
    """
    weights = check_shares(shares, problem.num_sources)
    if num_samples < 1 or num_trials < 1:
        raise ValueError(f"num_samples and num_trials must be at least 1, got {num_samples} and {num_trials}")
    count_key, draw_key = jax.random.split(key)
    # Counts up to 10¹² need 64-bit integers whatever JAX's precision: NumPy draws them, seeded by the key.
    generator = np.random.default_rng(np.asarray(jax.random.key_data(count_key)).ravel().tolist())
    probabilities = np.asarray(weights, np.float64)
    counts = generator.multinomial(int(num_samples), probabilities / probabilities.sum(), size=num_trials)
    realised = counts / num_samples
    means = realised @ np.asarray(problem.source_means, np.float64)
    variances = realised @ np.asarray(problem.source_variances, np.float64) / num_samples
    dtype = problem.source_means.dtype
    return _sample(
        draw_key,
        problem,
        jnp.asarray(means[:, None, :], dtype),
        jnp.asarray(variances[:, None], dtype),
        jnp.ones((1,), dtype),
        num_trials,
        chunk_size,
    )


def sample_ensemble(
    key: Key[Array, ""],
    problem: ReducedProblem,
    weights: ArrayLike,
    head_counts: ArrayLike,
    num_trials: int,
    normalise_on: int | None = None,
    chunk_size: int = 1 << 13,
) -> MarginDraws:
    """Output mixing w = Σ α_sŵ_s of heads trained on independent samples, one head per source.

    Args:
        key: random key.
        problem: from `reduce_problem`.
        weights: α_s, shape (S,), non-negative with sum 1.
        head_counts: samples behind each head, a number (heads on n samples each) or shape (S,) (heads on p_sn each).
        num_trials: ensembles to draw.
        normalise_on: index of the target whose Σ scales every head to length 1 first (the reference); None leaves them raw.
        chunk_size: ensembles drawn at once.

    Returns:
        `MarginDraws` with arrays (num_trials, T).

    Raises:
        ValueError: weights that are negative or do not sum to 1, a head with weight but without samples, an unknown target.

    Source: Theorem 2b.
    """
    alpha = check_shares(weights, problem.num_sources, "weights")
    numbers = jnp.broadcast_to(as_float_array(head_counts), alpha.shape)
    used = alpha > 0  # a head without weight need not have samples
    require(~used | (numbers > 0), numbers, "every head with weight needs a number of samples > 0")
    if normalise_on is not None and not 0 <= normalise_on < problem.target_means.shape[0]:
        raise ValueError(f"normalise_on must be the index of a target, got {normalise_on}")
    # Heads without weight stay in the program (as constants of length > 0), so that it compiles once for all weights.
    means = jnp.where(used[:, None], problem.source_means, 1)[None]
    variances = jnp.where(used, problem.source_variances / jnp.where(used, numbers, 1), 0)[None]
    return _sample(key, problem, means, variances, alpha, num_trials, chunk_size, normalise_on)


def _checked_counts(counts: ArrayLike, problem: ReducedProblem) -> Float[Array, " s"]:
    numbers = jnp.atleast_1d(as_float_array(counts))
    if numbers.shape != (problem.num_sources,):
        raise ValueError(
            f"counts must hold one number for each of the {problem.num_sources} sources, got {numbers.shape}"
        )
    require(jnp.isfinite(numbers) & (numbers >= 0), numbers, "every count must be a finite number >= 0")
    require(numbers.sum() > 0, numbers.sum(), "the counts must sum to more than 0")
    return numbers

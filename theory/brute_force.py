"""The brute-force sampler: draws every training sample, averages, evaluates. Slow, general, and the judge of all else.

`brute_force_averaging` is the twin of `theory.monte_carlo.sample_averaging` (any covariance), `brute_force_filtered` of
Theorem 3: it draws a pool, scores every pair, keeps those above each threshold and averages what is left. Both draw in
chunks of rows, so memory stays bounded whatever n.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, Key

from theory import covariance as cov
from theory.arrays import ArrayLike, as_float_array, check_whole_counts
from theory.filtering import Pool
from theory.gaussian import Source, Target, check_dimensions
from theory.monte_carlo import MarginDraws

_CHUNK_ELEMENTS = 1 << 20


def _noise_factors(sources: Sequence[Source]) -> Array:
    """Square roots of the covariances: (S, 1) or (S, d) standard deviations, or (S, d, d) matrices if one is full."""
    d = sources[0].dimension
    covariances = [source.covariance for source in sources]
    widest = max(c.ndim for c in covariances)
    if widest < 2:
        return jnp.stack([jnp.broadcast_to(jnp.sqrt(c), (d if widest else 1,)) for c in covariances])
    roots = []
    for c in covariances:
        eigenvalues, vectors = jnp.linalg.eigh(cov.as_matrix(c, d))
        roots.append((vectors * jnp.sqrt(jnp.clip(eigenvalues, 0))) @ vectors.T)
    return jnp.stack(roots)


def _labelled_samples(key: Array, index: Array, means: Array, factors: Array) -> tuple[Array, Array]:
    """Features (n, d) and labels (n,) of samples from the sources named by `index` (n,)."""
    label_key, noise_key = jax.random.split(key)
    labels = jax.random.rademacher(label_key, index.shape, means.dtype)
    noise = jax.random.normal(noise_key, (*index.shape, means.shape[-1]), means.dtype)
    if factors.ndim == 2:
        noise = factors[index] * noise
    else:
        noise = sum(jnp.where((index == s)[:, None], noise @ factors[s], 0) for s in range(factors.shape[0]))
    return labels[:, None] * means[index] + noise, labels


def _evaluate(weights: Array, targets: Sequence[Target]) -> MarginDraws:
    projections = jnp.stack([weights @ target.mean for target in targets], axis=-1)
    lengths = jnp.stack([cov.quadratic_form(target.covariance, weights) for target in targets], axis=-1)
    return MarginDraws(projections, lengths)


def _row_chunks(num_rows: int, dimension: int, num_trials: int) -> tuple[int, int, int]:
    """Chunks per trial, rows per chunk and trials drawn at once, so that about _CHUNK_ELEMENTS numbers live at a time."""
    size = min(num_rows, max(1, _CHUNK_ELEMENTS // dimension))
    return -(-num_rows // size), size, max(1, min(num_trials, _CHUNK_ELEMENTS // (size * dimension)))


def _map_in_batches(one_trial: Callable[[Array], Any], key: Array, num_trials: int, batch: int) -> Any:
    """Results of all trials stacked; batches of equal size (a few trials too many are drawn and dropped)."""
    num_batches = -(-num_trials // batch)
    keys = jax.random.split(key, (num_batches, -(-num_trials // num_batches)))
    results = jax.lax.map(jax.vmap(one_trial), keys)
    return jax.tree.map(lambda values: values.reshape(-1, *values.shape[2:])[:num_trials], results)


@partial(jax.jit, static_argnames=("num_trials", "chunks", "size", "batch"))
def _averages(
    key: Array,
    index: Array,
    means: Array,
    factors: Array,
    num_trials: int,
    chunks: int,
    size: int,
    batch: int,
) -> Array:
    valid = (index >= 0).reshape(chunks, size)
    rows = jnp.maximum(index, 0).reshape(chunks, size)

    def one_trial(trial_key: Array) -> Array:
        def add_chunk(total: Array, inputs: tuple[Array, Array, Array]) -> tuple[Array, None]:
            chunk_key, chunk, mask = inputs
            features, labels = _labelled_samples(chunk_key, chunk, means, factors)
            return total + (labels * mask) @ features, None

        keys = jax.random.split(trial_key, chunks)
        total, _ = jax.lax.scan(add_chunk, jnp.zeros_like(means[0]), (keys, rows, valid))
        return total / valid.sum()

    return _map_in_batches(one_trial, key, num_trials, batch)


def brute_force_classifiers(
    key: Key[Array, ""], sources: Sequence[Source], counts: ArrayLike, num_trials: int
) -> Float[Array, "trials d"]:
    """Averaging classifiers ŵ = (1/n) Σ y_ix_i, each from its own n_s fresh samples of every source.

    Args:
        key: random key.
        sources: S training distributions, any covariance.
        counts: n_s, whole numbers, shape (S,).
        num_trials: classifiers to train.

    Returns:
        Weights, shape (num_trials, d).

    Raises:
        ValueError: counts that are not one whole number >= 0 for each source, or all 0; fewer than one trial.
    """
    d = check_dimensions(*sources)
    whole = check_whole_counts(counts, len(sources))
    if num_trials < 1:
        raise ValueError(f"num_trials must be at least 1, got {num_trials}")
    chunks, size, batch = _row_chunks(int(whole.sum()), d, num_trials)
    index = np.full(chunks * size, -1)
    index[: whole.sum()] = np.repeat(np.arange(len(sources)), whole)
    means = jnp.stack([source.mean for source in sources])
    return _averages(key, jnp.asarray(index), means, _noise_factors(sources), num_trials, chunks, size, batch)


def brute_force_averaging(
    key: Key[Array, ""],
    sources: Sequence[Source],
    counts: ArrayLike,
    targets: Sequence[Target],
    num_trials: int,
) -> MarginDraws:
    """Margins of brute-force averaging classifiers on T targets; the slow twin of `sample_averaging`.

    Args:
        key: random key.
        sources: S training distributions, any covariance.
        counts: n_s, whole numbers, shape (S,).
        targets: T test distributions.
        num_trials: classifiers to train, each on fresh data.

    Returns:
        `MarginDraws` with arrays (num_trials, T).

    Raises:
        ValueError: as `brute_force_classifiers`.
    """
    check_dimensions(*sources, *targets)
    return _evaluate(brute_force_classifiers(key, sources, counts, num_trials), targets)


@dataclass(frozen=True, eq=False)
class FilteredDraws:
    """Classifiers trained on filtered pools.

    Attributes:
        num_kept: pairs that passed, shape (trials, K).
        weights: averaging classifiers of the kept pairs, shape (trials, K, d); not a number where nothing passed.
        draws: their projections, lengths and margins, arrays (trials, K, T).
    """

    num_kept: Int[Array, "trials k"]
    weights: Float[Array, "trials k d"]
    draws: MarginDraws


@partial(jax.jit, static_argnames=("num_trials", "num_pool", "chunks", "size", "batch"))
def _filtered_averages(
    key: Array,
    log_weights: Array,
    means: Array,
    factors: Array,
    direction: Array,
    thresholds: Array,
    num_trials: int,
    num_pool: int,
    chunks: int,
    size: int,
    batch: int,
) -> tuple[Array, Array]:
    valid = (jnp.arange(chunks * size) < num_pool).reshape(chunks, size)

    def one_trial(trial_key: Array) -> tuple[Array, Array]:
        def add_chunk(
            carry: tuple[Array, Array], inputs: tuple[Array, Array]
        ) -> tuple[tuple[Array, Array], None]:
            chunk_key, mask = inputs
            index_key, sample_key = jax.random.split(chunk_key)
            index = jax.random.categorical(index_key, log_weights, shape=(size,))
            features, labels = _labelled_samples(sample_key, index, means, factors)
            scores = labels * (features @ direction)
            kept = (scores >= thresholds[:, None]) & mask
            count, total = carry
            return (count + kept.sum(-1, dtype=count.dtype), total + (kept * labels) @ features), None

        start = (
            jnp.zeros(thresholds.shape, jnp.int32),
            jnp.zeros((*thresholds.shape, means.shape[-1]), means.dtype),
        )
        keys = jax.random.split(trial_key, chunks)
        (count, total), _ = jax.lax.scan(add_chunk, start, (keys, valid))
        return count, total / count[:, None]

    return _map_in_batches(one_trial, key, num_trials, batch)


def brute_force_filtered(
    key: Key[Array, ""],
    pool: Pool,
    direction: ArrayLike,
    thresholds: ArrayLike,
    targets: Sequence[Target],
    num_pool: int,
    num_trials: int,
) -> FilteredDraws:
    """Draw pools of n pairs, keep those with y f·x >= τ, train on what is left: the sampled twin of Theorem 3.

    Each trial draws one pool and applies every threshold to it, so results at different thresholds are dependent.

    Args:
        key: random key.
        pool: the unfiltered data; the component of every pair is drawn.
        direction: f, shape (d,).
        thresholds: τ, shape (K,); −inf keeps everything.
        targets: T test distributions.
        num_pool: n, pairs in each pool.
        num_trials: pools to draw.

    Returns:
        `FilteredDraws`.

    Raises:
        ValueError: thresholds that are not a vector; shapes that do not match; fewer than one pair or trial.
    """
    d = check_dimensions(*pool.sources, *targets)
    f, tau = as_float_array(direction), jnp.atleast_1d(as_float_array(thresholds))
    if f.shape != (d,) or tau.ndim != 1:
        raise ValueError(
            f"a filter ({d},) and a vector of thresholds are needed, got shapes {f.shape} and {tau.shape}"
        )
    if num_pool < 1 or num_trials < 1:
        raise ValueError(f"num_pool and num_trials must be at least 1, got {num_pool} and {num_trials}")
    chunks, size, batch = _row_chunks(num_pool, d, num_trials)
    count, weights = _filtered_averages(
        key,
        jnp.log(pool.weights),
        pool.means,
        _noise_factors(pool.sources),
        f,
        tau,
        num_trials,
        num_pool,
        chunks,
        size,
        batch,
    )
    return FilteredDraws(count, weights, _evaluate(weights, targets))

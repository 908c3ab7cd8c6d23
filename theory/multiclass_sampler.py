"""The exact reduced sampler for averaging prototypes of K classes: cost independent of n and d.

Given the counts, prototypes are independent Gaussians with isotropic noise. Targets see them through their coordinates in the
r-dimensional span of all class means (r Gaussians per prototype) and through the Gram matrix of what is orthogonal to it, a
K x K Wishart matrix with d − r degrees of freedom whose rows and columns carry the prototypes' standard deviations. Nothing
of size n or d is drawn.

Use `reduce_multiclass` once, then `sample_prototypes` for the prototypes themselves or `sample_accuracies` for their K-way
accuracies on every target; `draw_class_counts` gives random class counts. Sources must have isotropic covariances γ_s²I,
targets isotropic ones off a small span; `theory.multiclass_brute_force` is the slow twin for everything else.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, Key

from theory.arrays import ArrayLike, check_shares
from theory.gaussian import Source, Target
from theory.multiclass import MulticlassSource, MulticlassTarget, check_shapes
from theory.multiclass_scores import Prototypes, share_right, symmetric_root
from theory.reduced_problem import reduce_problem

_CHUNK_ELEMENTS = 1 << 20


@dataclass(frozen=True, eq=False)
class ReducedMulticlass:
    """Sources and targets in r coordinates of the span of their class means, and what is left of the other d − r dimensions.

    Attributes:
        source_means: coordinates of ν_sk, shape (S, K, r).
        source_variances: γ_s², shape (S,).
        target_means: coordinates of μ_tk, shape (T, K, r).
        target_blocks: Σ_t on the span, shape (T, r, r).
        target_variances: Σ_t off the span is this times I, shape (T,).
        num_orthogonal: d − r, as many dimensions as one likes.
    """

    source_means: Float[Array, "s k r"]
    source_variances: Float[Array, " s"]
    target_means: Float[Array, "t k r"]
    target_blocks: Float[Array, "t r r"]
    target_variances: Float[Array, " t"]
    num_orthogonal: int

    @property
    def num_sources(self) -> int:
        """The number of sources S."""
        return self.source_means.shape[0]

    @property
    def num_classes(self) -> int:
        """The number of classes K."""
        return self.source_means.shape[1]


@dataclass(frozen=True, eq=False)
class PrototypeDraws:
    """Draws of K prototypes in rotated coordinates: r in the span of the means, at most K off it.

    Attributes:
        span: coordinates in the span, shape (trials, K, r).
        off: coordinates off it, shape (trials, K, min(K, d − r)); their Gram matrix is what has a meaning.
        problem: the reduced problem they were drawn for.
    """

    span: Float[Array, "b k r"]
    off: Float[Array, "b k q"]
    problem: ReducedMulticlass

    def score_means(self, target: int) -> Float[Array, "b k k"]:
        """[j, k] the mean score of class k on images of class j of a target, μ_tj·w_k."""
        return jnp.einsum("jr,bkr->bjk", self.problem.target_means[target], self.span)

    def score_covariances(self, target: int) -> Float[Array, "b k k"]:
        """The covariance w_kᵀΣ_tw_l of the scores given the class."""
        block, variance = self.problem.target_blocks[target], self.problem.target_variances[target]
        inside = jnp.einsum("bkr,rq,blq->bkl", self.span, block, self.span)
        return inside + variance * jnp.einsum("bkq,blq->bkl", self.off, self.off)


def reduce_multiclass(
    sources: Sequence[MulticlassSource],
    targets: Sequence[MulticlassTarget],
    num_features: int | None = None,
) -> ReducedMulticlass:
    """Rotate sources and targets into the span of all class means.

    Args:
        sources: S training distributions with isotropic covariances.
        targets: T test distributions, isotropic off a small span.
        num_features: d, if larger than the length of the means, which are then padded with zeros without being written out.

    Returns:
        A `ReducedMulticlass` with r at most (S + T)K plus the directions in which some Σ_t is not isotropic.

    Raises:
        ValueError: as `theory.reduced_problem.reduce_problem`, or shapes that differ.
    """
    num_classes, _ = check_shapes(*sources, *targets)
    # Every class mean of sources and targets enters as a source: it is then a direction of the span, with coordinates.
    rows = [Source(mean, s.covariance, s.name) for s in sources for mean in np.asarray(s.means)]
    rows += [Source(mean, 1.0, t.name) for t in targets for mean in np.asarray(t.means)]
    reduced = reduce_problem(
        rows, [Target(np.asarray(t.means)[0], t.covariance, t.name) for t in targets], num_features
    )
    split = len(sources) * num_classes
    rank = reduced.source_means.shape[1]
    return ReducedMulticlass(
        source_means=reduced.source_means[:split].reshape(len(sources), num_classes, rank),
        source_variances=reduced.source_variances[:split:num_classes],
        target_means=reduced.source_means[split:].reshape(len(targets), num_classes, rank),
        target_blocks=reduced.target_blocks,
        target_variances=reduced.target_variances,
        num_orthogonal=reduced.num_orthogonal,
    )


def draw_class_counts(
    key: Key[Array, ""],
    shares: ArrayLike,
    num_samples: int,
    num_classes: int,
    num_trials: int,
    random: Literal["classes", "sources and classes"] = "classes",
) -> Int[np.ndarray, "b s k"]:
    """Random class counts n_sk: every sample picks its class at random, and with "sources and classes" its source too.

    Args:
        key: random key.
        shares: p_s, shape (S,).
        num_samples: n >= 1; for random classes alone p_sn must be whole.
        num_classes: K >= 2.
        num_trials: training sets.
        random: what is drawn.

    Returns:
        Whole numbers, shape (num_trials, S, K).

    Raises:
        ValueError: shares that are no shares, n, K or num_trials too small, p_sn not whole, an unknown `random`.
    """
    p = np.asarray(check_shares(shares, int(np.size(shares))), np.float64)
    if num_samples < 1 or num_trials < 1 or num_classes < 2:
        raise ValueError(
            "num_samples >= 1, num_trials >= 1 and num_classes >= 2 are needed, "
            f"got {num_samples}, {num_trials} and {num_classes}"
        )
    if random not in ("classes", "sources and classes"):
        raise ValueError(f"random must be 'classes' or 'sources and classes', got {random!r}")
    # Counts up to 10¹² need 64-bit integers whatever JAX's precision: NumPy draws them, seeded by the key.
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel().tolist())
    if random == "sources and classes":
        flat = np.repeat(p / p.sum() / num_classes, num_classes)
        drawn = generator.multinomial(num_samples, flat, size=num_trials)
        return drawn.reshape(num_trials, len(p), num_classes)
    per_source = np.rint(p * num_samples).astype(np.int64)
    if np.abs(per_source - p * num_samples).max() > 1e-6 * max(1.0, num_samples * 1e-6):
        raise ValueError(
            f"fixed source counts p_s n must be whole, got {(p * num_samples).tolist()}: draw the sources too"
        )
    even = np.full(num_classes, 1 / num_classes)
    return np.stack([generator.multinomial(m, even, size=num_trials) for m in per_source], axis=1)


def checked_class_counts(
    counts: ArrayLike, num_sources: int, num_classes: int, num_trials: int
) -> np.ndarray:
    """Class counts as float64 of shape (1 or num_trials, S, K).

    Raises:
        ValueError: another shape, a negative count, or a training set without samples.
    """
    numbers = np.asarray(counts, np.float64)
    if numbers.ndim == 2:
        numbers = numbers[None]
    if numbers.shape not in ((1, num_sources, num_classes), (num_trials, num_sources, num_classes)):
        raise ValueError(
            f"counts must have shape ({num_sources}, {num_classes}), with or without {num_trials} trials in front, "
            f"got {np.shape(counts)}"
        )
    bad = ~(np.isfinite(numbers) & (numbers >= 0))
    if bad.any():
        raise ValueError(f"every class count must be a finite number >= 0, got {numbers[bad][0]}")
    if (numbers.sum((1, 2)) == 0).any():
        raise ValueError("the class counts of a training set must sum to more than 0, got 0")
    return numbers


def _moments(counts: np.ndarray, problem: ReducedMulticlass, prototypes: Prototypes) -> tuple[Array, Array]:
    """Means (trials, K, r) and standard deviations (trials, K) of the prototypes given the counts."""
    if prototypes not in ("mean", "sum"):
        raise ValueError(f"prototypes must be 'mean' or 'sum', got {prototypes!r}")
    if prototypes == "mean":
        scale = 1 / np.maximum(counts.sum(1, keepdims=True), 1e-300)
        weights = np.where(counts > 0, counts * scale, 0)  # a class without samples has the prototype 0
        noise = np.where(counts > 0, weights * scale, 0)
    else:
        scale = counts.shape[2] / counts.sum((1, 2), keepdims=True)
        weights, noise = counts * scale, counts * scale**2
    means = np.einsum("bsk,skr->bkr", weights, np.asarray(problem.source_means, np.float64))
    variances = np.einsum("bsk,s->bk", noise, np.asarray(problem.source_variances, np.float64))
    dtype = problem.source_means.dtype
    return jnp.asarray(means, dtype), jnp.asarray(np.sqrt(variances), dtype)


def _prototypes(normals: Array, chi: Array, mean: Array, deviation: Array) -> tuple[Array, Array]:
    """Span coordinates (trials, K, r) and Bartlett's rows (trials, K, q) from normals (trials, K, r + q) and chi (trials, q).

    Rotating the orthogonal space so that prototype k lies in its first k + 1 axes leaves normals below the diagonal and a χ
    with D − k degrees of freedom on it: rows whose Gram matrix is Wishart with D degrees of freedom.
    """
    rank = mean.shape[-1]
    off = jnp.tril(normals[..., rank:], -1)
    off = off + jnp.eye(*off.shape[1:], dtype=off.dtype) * chi[:, None, :]
    return mean + deviation[..., None] * normals[..., :rank], deviation[..., None] * off


@jax.jit
def _prototype_chunk(key: Array, chi: Array, mean: Array, deviation: Array) -> tuple[Array, Array]:
    shape = (chi.shape[0], mean.shape[1], mean.shape[2] + chi.shape[1])
    return _prototypes(jax.random.normal(key, shape, mean.dtype), chi, mean, deviation)


@partial(jax.jit, static_argnames="num_draws")
def _accuracy_chunk(
    key: Array,
    chi: Array,
    mean: Array,
    deviation: Array,
    targets: tuple[Array, Array, Array],
    num_draws: int,
) -> Array:
    target_means, roots, off_deviations = targets
    _, k, rank = mean.shape
    # One call for all normals of the chunk: compiling the generator takes longer than anything else here.
    normals = jax.random.normal(key, (chi.shape[0], k + num_draws, rank + chi.shape[1]), mean.dtype)
    span, off = _prototypes(normals[:, :k], chi, mean, deviation)
    outside = jnp.einsum("bmq,bkq->bmk", normals[:, k:, rank:], off)

    def on_target(target: tuple[Array, Array, Array]) -> Array:
        mu, root, off_deviation = target
        inside = jnp.einsum("bmr,rq,bkq->bmk", normals[:, k:, :rank], root, span)
        return jax.vmap(share_right)(jnp.einsum("jr,bkr->bjk", mu, span), inside + off_deviation * outside)

    return jax.lax.map(on_target, (target_means, roots, off_deviations)).T


def _in_chunks(
    function: Callable[[Array, Array, Array, Array], Any],
    key: Array,
    problem: ReducedMulticlass,
    counts: ArrayLike,
    num_trials: int,
    prototypes: Prototypes,
    per_trial: int,
) -> Any:
    """What `function(key, chi, means, deviations)` returns for all trials, with bounded memory and one compilation."""
    if num_trials < 1:
        raise ValueError(f"num_trials must be at least 1, got {num_trials}")
    numbers = checked_class_counts(counts, problem.num_sources, problem.num_classes, num_trials)
    # Powers of two, so that calls with a few more or fewer trials share one compilation; what is too many is dropped.
    size = min(1 << (num_trials - 1).bit_length(), max(1, _CHUNK_ELEMENTS // per_trial))
    num_chunks = -(-num_trials // size)
    chi_key, *keys = jax.random.split(key, num_chunks + 1)
    generator = np.random.default_rng(np.asarray(jax.random.key_data(chi_key)).ravel().tolist())
    width = min(problem.num_classes, problem.num_orthogonal)
    degrees = problem.num_orthogonal - np.arange(width, dtype=np.float64)
    results = []
    for chunk, chunk_key in enumerate(keys):
        start = chunk * size
        rows = numbers if len(numbers) == 1 else numbers[np.arange(start, start + size) % num_trials]
        chi = jnp.asarray(np.sqrt(generator.chisquare(degrees, (size, width))), problem.source_means.dtype)
        results.append(function(chunk_key, chi, *_moments(rows, problem, prototypes)))
    return jax.tree.map(lambda *parts: jnp.concatenate(parts)[:num_trials], *results)


def sample_prototypes(
    key: Key[Array, ""],
    problem: ReducedMulticlass,
    counts: ArrayLike,
    num_trials: int,
    prototypes: Prototypes = "mean",
) -> PrototypeDraws:
    """Averaging prototypes of K classes for fixed counts, drawn exactly in O(K(r + K)) per trial.

    Args:
        key: random key.
        problem: from `reduce_multiclass`.
        counts: n_sk, shape (S, K), or (num_trials, S, K) with the counts of every trial.
        num_trials: training sets.
        prototypes: "mean" of a class's images or their "sum" times K/n; a class without images has the prototype 0.

    Returns:
        `PrototypeDraws`.

    Raises:
        ValueError: counts of the wrong shape, negative or all 0; fewer than one trial; an unknown kind of prototype.

    Source: Section 10 (K classes).
    """
    k, rank = problem.source_means.shape[1:]
    span, off = _in_chunks(
        _prototype_chunk, key, problem, counts, num_trials, prototypes, per_trial=k * (rank + k)
    )
    return PrototypeDraws(span, off, problem)


def sample_accuracies(
    key: Key[Array, ""],
    problem: ReducedMulticlass,
    counts: ArrayLike,
    num_trials: int,
    num_draws: int = 64,
    prototypes: Prototypes = "mean",
) -> Float[Array, "b t"]:
    """K-way accuracies of averaging prototypes on every target, each trial with its own noise draws.

    An accuracy is the share of right answers over K classes and `num_draws` noise vectors (shared by classes and targets),
    so it is unbiased and its spread over trials contains its own sampling error: the standard error of a mean over trials
    is their standard deviation over sqrt(num_trials).

    Args:
        key: random key.
        problem: from `reduce_multiclass`.
        counts: n_sk, shape (S, K), or (num_trials, S, K).
        num_trials: training sets.
        num_draws: noise vectors per trial.
        prototypes: "mean" or "sum".

    Returns:
        Fractions, shape (num_trials, T).

    Raises:
        ValueError: as `sample_prototypes`, or fewer than one noise vector.

    Source: Section 10 (K classes).
    """
    if num_draws < 1:
        raise ValueError(f"num_draws must be at least 1, got {num_draws}")
    targets = (
        problem.target_means,
        symmetric_root(problem.target_blocks),
        jnp.sqrt(problem.target_variances),
    )
    k, rank = problem.source_means.shape[1:]

    def function(key: Array, chi: Array, mean: Array, deviation: Array) -> Array:
        return _accuracy_chunk(key, chi, mean, deviation, targets, num_draws)

    per_trial = (k + num_draws) * (rank + k)
    return _in_chunks(function, key, problem, counts, num_trials, prototypes, per_trial)

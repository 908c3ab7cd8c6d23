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
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, Key

from theory.arrays import ArrayLike, check_shares
from theory.gaussian import Source, Target
from theory.multiclass import MulticlassSource, MulticlassTarget, check_shapes
from theory.multiclass_scores import Prototypes, generator_of, right_answers, symmetric_root
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
    generator = generator_of(key)
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


def _moments(
    counts: np.ndarray, problem: ReducedMulticlass, prototypes: Prototypes
) -> tuple[np.ndarray, np.ndarray]:
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
    return means.astype(dtype), np.sqrt(variances).astype(dtype)


def _draw(
    generator: np.random.Generator,
    size: int,
    problem: ReducedMulticlass,
    mean: np.ndarray,
    deviation: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Span coordinates (size, K, r) and Bartlett's rows (size, K, q) of prototypes with these moments.

    Rotating the orthogonal space so that prototype k lies in its first k + 1 axes leaves normals below the diagonal and a χ
    with D − k degrees of freedom on it: rows whose Gram matrix is Wishart with D degrees of freedom.
    """
    k, rank = mean.shape[1:]
    axes = np.arange(min(k, problem.num_orthogonal))
    span = generator.standard_normal((size, k, rank), mean.dtype)
    off = np.tril(generator.standard_normal((size, k, len(axes)), mean.dtype), -1)
    off[:, axes, axes] = np.sqrt(generator.chisquare(problem.num_orthogonal - 1.0 * axes, (size, len(axes))))
    return mean + deviation[..., None] * span, deviation[..., None] * off


def _in_chunks(
    function: Callable[[np.random.Generator, int, np.ndarray, np.ndarray], tuple[np.ndarray, ...]],
    key: Array,
    problem: ReducedMulticlass,
    counts: ArrayLike,
    num_trials: int,
    prototypes: Prototypes,
    per_trial: int,
) -> tuple[np.ndarray, ...]:
    """What `function(generator, size, means, deviations)` returns for all trials, with bounded memory."""
    if num_trials < 1:
        raise ValueError(f"num_trials must be at least 1, got {num_trials}")
    numbers = checked_class_counts(counts, problem.num_sources, problem.num_classes, num_trials)
    generator, size = generator_of(key), max(1, _CHUNK_ELEMENTS // per_trial)
    results = []
    for start in range(0, num_trials, size):
        stop = min(start + size, num_trials)
        rows = numbers if len(numbers) == 1 else numbers[start:stop]
        results.append(function(generator, stop - start, *_moments(rows, problem, prototypes)))
    return tuple(np.concatenate(parts) for parts in zip(*results, strict=True))


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

    def function(
        generator: Any, size: int, mean: np.ndarray, deviation: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        return _draw(generator, size, problem, mean, deviation)

    span, off = _in_chunks(function, key, problem, counts, num_trials, prototypes, k * (rank + k))
    return PrototypeDraws(jnp.asarray(span), jnp.asarray(off), problem)


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
    k, rank = problem.source_means.shape[1:]
    target_means, roots = np.asarray(problem.target_means), symmetric_root(problem.target_blocks)
    off_deviations = np.sqrt(np.asarray(problem.target_variances))

    def function(generator: Any, size: int, mean: np.ndarray, deviation: np.ndarray) -> tuple[np.ndarray]:
        span, off = (np.swapaxes(x, 1, 2) for x in _draw(generator, size, problem, mean, deviation))
        inside = generator.standard_normal((size, num_draws, rank), mean.dtype)
        outside = generator.standard_normal((size, num_draws, off.shape[1]), mean.dtype) @ off
        shares = []
        for mu, root, off_deviation in zip(target_means, roots, off_deviations, strict=True):
            noise = inside @ (root @ span) + off_deviation * outside
            shares.append(right_answers(mu @ span, noise).mean((-1, -2), dtype=mean.dtype))
        return (np.stack(shares, axis=-1),)

    per_trial = (k + num_draws) * (rank + k)
    (found,) = _in_chunks(function, key, problem, counts, num_trials, prototypes, per_trial)
    return jnp.asarray(found)

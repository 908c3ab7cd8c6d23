"""Brute force for K classes: draws every training image, averages per class. The slow twin of `theory.multiclass_sampler`.

Any covariance, whole counts, memory bounded whatever n (images are drawn in chunks). Judge the result with
`theory.multiclass_scores.prototype_scores` and `score_accuracy`.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Key

from theory.arrays import ArrayLike
from theory.multiclass import MulticlassSource, check_shapes
from theory.multiclass_sampler import checked_class_counts
from theory.multiclass_scores import Prototypes, generator_of, symmetric_root

_CHUNK_ELEMENTS = 1 << 20


def _class_sums(
    generator: np.random.Generator, means: np.ndarray, roots: list[np.ndarray], counts: np.ndarray
) -> np.ndarray:
    """Sums (K, d) of counts (S, K) images."""
    total = np.zeros(means.shape[1:], means.dtype)
    rows = max(1, _CHUNK_ELEMENTS // means.shape[2])
    for source, root in enumerate(roots):
        labels = np.repeat(np.arange(means.shape[1]), counts[source])
        for start in range(0, len(labels), rows):
            part = labels[start : start + rows]
            noise = generator.standard_normal((len(part), means.shape[2]), means.dtype)
            images = means[source, part] + (noise @ root if root.ndim == 2 else noise * root)
            total += (part == np.arange(means.shape[1])[:, None]).astype(means.dtype) @ images
    return total


def brute_force_prototypes(
    key: Key[Array, ""],
    sources: Sequence[MulticlassSource],
    counts: ArrayLike,
    num_trials: int,
    prototypes: Prototypes = "mean",
) -> Float[Array, "b k d"]:
    """Averaging prototypes of K classes, each trial from its own fresh images.

    Args:
        key: random key.
        sources: S training distributions, any covariance.
        counts: n_sk, whole numbers, shape (S, K) or (num_trials, S, K).
        num_trials: training sets.
        prototypes: "mean" of a class's images or their "sum" times K/n; a class without images has the prototype 0.

    Returns:
        Prototypes, shape (num_trials, K, d).

    Raises:
        ValueError: counts that are not whole numbers >= 0 of the right shape; fewer than one trial; an unknown kind.
    """
    num_classes, _ = check_shapes(*sources)
    if num_trials < 1:
        raise ValueError(f"num_trials must be at least 1, got {num_trials}")
    if prototypes not in ("mean", "sum"):
        raise ValueError(f"prototypes must be 'mean' or 'sum', got {prototypes!r}")
    numbers = checked_class_counts(counts, len(sources), num_classes, num_trials)
    whole = np.rint(numbers).astype(np.int64)
    if (whole != numbers).any():
        raise ValueError(f"class counts must be whole numbers, got {numbers[whole != numbers][0]}")
    generator = generator_of(key)
    means = np.stack([np.asarray(source.means) for source in sources])
    covariances = [np.asarray(source.covariance, means.dtype) for source in sources]
    roots = [symmetric_root(c) if c.ndim == 2 else np.asarray(np.sqrt(c)) for c in covariances]
    found = []
    for trial in range(num_trials):
        count = whole[trial if len(whole) > 1 else 0]
        divisor = np.maximum(count.sum(0), 1)[:, None] if prototypes == "mean" else count.sum() / num_classes
        found.append((_class_sums(generator, means, roots, count) / divisor).astype(means.dtype))
    return jnp.asarray(np.stack(found))

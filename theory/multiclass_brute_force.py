"""Brute force for K classes: draws every training image, averages per class. The slow twin of `theory.multiclass_sampler`.

Any covariance, whole counts, memory bounded whatever n (rows are drawn in chunks). Judge the result with
`theory.multiclass_scores.prototype_scores` and `score_accuracy`.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Key

from theory.arrays import ArrayLike
from theory.brute_force import _noise_factors, _row_chunks
from theory.gaussian import Source
from theory.multiclass import MulticlassSource, check_shapes
from theory.multiclass_sampler import checked_class_counts
from theory.multiclass_scores import Prototypes


@partial(jax.jit, static_argnames=("chunks", "size", "batch", "divide"))
def _class_sums(
    keys: Array, counts: Array, means: Array, factors: Array, chunks: int, size: int, batch: int, divide: bool
) -> Array:
    num_sources, num_classes, d = means.shape
    flat_means = means.reshape(-1, d)

    def one_trial(inputs: tuple[Array, Array]) -> Array:
        key, count = inputs
        ends = jnp.cumsum(count.ravel())

        def add_chunk(total: Array, inputs: tuple[Array, Array]) -> tuple[Array, None]:
            chunk_key, start = inputs
            rows = start + jnp.arange(size)
            cell = jnp.minimum(jnp.searchsorted(ends, rows, side="right"), flat_means.shape[0] - 1)
            source, label = cell // num_classes, cell % num_classes
            noise = jax.random.normal(chunk_key, (size, d), means.dtype)
            if factors.ndim == 2:
                noise = factors[source] * noise
            else:
                noise = sum(
                    jnp.where((source == s)[:, None], noise @ factors[s], 0) for s in range(num_sources)
                )
            one_hot = (label[:, None] == jnp.arange(num_classes)) & (rows < ends[-1])[:, None]
            return total + one_hot.astype(means.dtype).T @ (flat_means[cell] + noise), None

        starts = size * jnp.arange(chunks)
        start = jnp.zeros((num_classes, d), means.dtype)
        total, _ = jax.lax.scan(add_chunk, start, (jax.random.split(key, chunks), starts))
        number = count.sum(0)[:, None] if divide else count.sum() / num_classes
        return total / jnp.maximum(number, 1 if divide else 0)

    return jax.lax.map(one_trial, (keys, counts), batch_size=batch)


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
    num_classes, d = check_shapes(*sources)
    if num_trials < 1:
        raise ValueError(f"num_trials must be at least 1, got {num_trials}")
    if prototypes not in ("mean", "sum"):
        raise ValueError(f"prototypes must be 'mean' or 'sum', got {prototypes!r}")
    numbers = checked_class_counts(counts, len(sources), num_classes, num_trials)
    whole = np.rint(numbers).astype(np.int64)
    if (whole != numbers).any():
        raise ValueError(f"class counts must be whole numbers, got {numbers[whole != numbers][0]}")
    # At most _CHUNK_ELEMENTS numbers at a time, of features and of the one-hot classes alike.
    chunks, size, batch = _row_chunks(int(whole.sum((1, 2)).max()), max(d, num_classes), num_trials)
    return _class_sums(
        jax.random.split(key, num_trials),
        jnp.broadcast_to(jnp.asarray(whole), (num_trials, *whole.shape[1:])),
        jnp.stack([source.means for source in sources]),
        _noise_factors([Source(source.means[0], source.covariance) for source in sources]),
        chunks,
        size,
        batch,
        prototypes == "mean",
    )

r"""Filtering image-caption pairs by a linear CLIP model: keep $x_i^\top G_fz_i\ge\tau$, train on what is left.

Use `train_filter_train` on pairs in memory (`theory.linear_clip_rates` streams instead), and `filter_captions` for what a
filter keeps of a captioned K-class source, in closed form: Theorem 3 for every pair of true class y and named class c, with

$$w_c=G_ft_c,\quad\lVert w_c\rVert=\sqrt{w_c^\top\Gamma w_c},\quad t_{yc}=\frac{\tau-\nu_y\cdot w_c}{\lVert w_c\rVert},\qquad
  \pi'_{yc}\propto\pi_{yc}(1-\Phi(t_{yc})),\quad\text{kept mean }\nu_y+h(t_{yc})\frac{\Gamma w_c}{\lVert w_c\rVert}.$$

So a filter removes wrong captions (their score mean is lower) and pulls the images of every class towards its own prototype of
the class: for Γ = γ²I the model trained on what is kept is a combination of class means and filter prototypes and inherits the
filter's robustness. The filter must be independent of the pairs for the closed form to hold.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import log_ndtr
from jaxtyping import Bool, Float

from theory import covariance as cov
from theory.arrays import ArrayLike, Scalar, as_float_array, require
from theory.linear_clip import LinearClip, cross_covariance, solve_linear_clip
from theory.linear_clip_captions import Captions
from theory.multiclass import MulticlassSource
from theory.truncation import hazard


def keep_pairs(
    model: LinearClip, images: ArrayLike, captions: ArrayLike, threshold: Scalar
) -> Bool[Array, " n"]:
    r"""Which pairs pass the filter, $x_i^\top Gz_i\ge\tau$.

    Args:
        model: the filter.
        images: x, shape (n, d).
        captions: z, shape (n, q).
        threshold: τ in units of the score; −inf keeps everything.

    Raises:
        ValueError: the threshold is not a number or +inf.
    """
    if not threshold < jnp.inf:
        raise ValueError(f"a threshold must be a number, or -inf to keep everything, got {threshold}")
    return model.pair_scores(images, captions) >= threshold


@dataclass(frozen=True, eq=False)
class FilteredTraining:
    """Models trained by `train_filter_train`, in order.

    Attributes:
        models: the first teacher, then the model of each pass.
        kept: which pairs each pass kept, shape (passes, n).
    """

    models: tuple[LinearClip, ...]
    kept: Bool[Array, "t n"]

    @property
    def final(self) -> LinearClip:
        """The last model."""
        return self.models[-1]


def train_filter_train(
    images: ArrayLike,
    captions: ArrayLike,
    rank: int,
    threshold: Scalar = 0.0,
    num_filters: int = 1,
    regularisation: Scalar = 1.0,
    teacher: LinearClip | None = None,
) -> FilteredTraining:
    """Train linear CLIP, filter all pairs by it, train on what is kept, and again.

    Every pass filters all the pairs (not what the last pass kept) by the model of the pass before.

    Args:
        images: x, shape (n, d).
        captions: z, shape (n, q).
        rank: r of every model.
        threshold: τ in units of the score.
        num_filters: passes T >= 1.
        regularisation: λ > 0 of every model.
        teacher: who filters first; the model of all pairs if left out.

    Returns:
        `FilteredTraining`.

    Raises:
        ValueError: fewer than one pass, fewer than two pairs kept, or as `solve_linear_clip`.

    Source: Section 8 (train, filter, train).
    """
    if num_filters < 1:
        raise ValueError(f"num_filters must be at least 1, got {num_filters}")
    x, z = as_float_array(images), as_float_array(captions)
    models = [teacher or solve_linear_clip(cross_covariance(x, z), rank, regularisation)]
    kept: list[Any] = []
    for number in range(1, num_filters + 1):
        passed = keep_pairs(models[-1], x, z, threshold)
        if int(passed.sum()) < 2:
            raise ValueError(
                f"pass {number} kept {int(passed.sum())} of {len(passed)} pairs, too few to train on: lower the threshold"
            )
        kept.append(passed)
        models.append(solve_linear_clip(cross_covariance(x[passed], z[passed]), rank, regularisation))
    return FilteredTraining(tuple(models), jnp.stack(kept))


@dataclass(frozen=True, eq=False)
class FilteredCaptions:
    """What a filter keeps of a captioned source; named class K stands for missing captions.

    Attributes:
        kept_share: κ, share of the pairs that pass.
        shares: share of each (true class, named class) among the kept pairs, shape (K, K + 1).
        image_means: mean image of each (true class, named class) among the kept pairs, shape (K, K + 1, d).
        captions: the captions.
    """

    kept_share: Float[Array, ""]
    shares: Float[Array, "k c"]
    image_means: Float[Array, "k c d"]
    captions: Captions

    @property
    def right_share(self) -> Float[Array, ""]:
        """Share of the kept pairs whose caption names the image's class."""
        return jnp.trace(self.shares)

    @property
    def cross_covariance(self) -> Float[Array, "d q"]:
        """The cross-covariance of the kept pairs, which a model trained on many of them learns."""
        prompts = self.captions.prompts
        named = jnp.concatenate([prompts, jnp.zeros_like(prompts[:1])])
        images = jnp.einsum("yc,ycd->d", self.shares, self.image_means)
        return jnp.einsum("yc,ycd,cq->dq", self.shares, self.image_means - images, named)

    def prototypes(self) -> Float[Array, "k d"]:
        """Zero-shot prototypes of a full-rank model trained on many kept pairs."""
        return self.captions.prompts @ self.cross_covariance.T


def filter_captions(
    source: MulticlassSource, captions: Captions, matrix: ArrayLike, threshold: Scalar
) -> FilteredCaptions:
    r"""Keep the pairs of a captioned source with $x^\top G_fz\ge\tau$, classes equally frequent.

    Args:
        source: the images' distribution.
        captions: how they are captioned, without Gaussian noise (whose scores are not normal).
        matrix: G_f, shape (d, q), of a filter that is independent of the pairs.
        threshold: τ in units of the score; −inf keeps everything.

    Returns:
        A `FilteredCaptions`.

    Raises:
        ValueError: captions with Gaussian noise, shapes that do not match, a filter without variance on a class, a threshold
            that is not a number or +inf, or one that nothing passes.

    Source: Theorem 3 and Section 8.
    """
    g = as_float_array(matrix)
    if captions.noise:
        raise ValueError(
            f"the closed form needs captions without Gaussian noise, got a variance of {captions.noise}: draw pairs instead"
        )
    if captions.num_classes != source.num_classes or g.shape != (source.dimension, captions.prompts.shape[1]):
        raise ValueError(
            f"a filter ({source.dimension}, {captions.prompts.shape[1]}) and {source.num_classes} prompts are needed, "
            f"got {g.shape} and {captions.num_classes}"
        )
    if not threshold < jnp.inf:
        raise ValueError(f"a threshold must be a number, or -inf to keep everything, got {threshold}")
    prototypes = captions.prompts @ g.T
    lengths = jnp.sqrt(cov.quadratic_form(source.covariance, prototypes))
    require(lengths > 0, lengths, "the filter's prototype of every class needs a variance > 0")
    channel = jnp.asarray(captions.channel(), g.dtype) / source.num_classes
    kept, shares, means = _filter(
        source.means,
        prototypes,
        cov.apply(source.covariance, prototypes) / lengths[:, None],
        lengths,
        channel,
        jnp.asarray(threshold, g.dtype),
    )
    require(kept > 0, threshold, "nothing passes this threshold")
    return FilteredCaptions(kept, shares, means, captions)


@jax.jit
def _filter(
    means: Array, prototypes: Array, pulls: Array, lengths: Array, channel: Array, threshold: Array
) -> tuple[Array, Array, Array]:
    cut = (threshold - means @ prototypes.T) / lengths  # (y, c)
    passing = jnp.exp(log_ndtr(-cut))
    # A missing caption has the score 0 and says nothing about the image.
    empty = jnp.broadcast_to(jnp.where(threshold <= 0, 1.0, 0.0).astype(cut.dtype), (cut.shape[0], 1))
    mass = channel * jnp.concatenate([passing, empty], axis=1)
    truncated = means[:, None] + hazard(cut)[..., None] * pulls
    return mass.sum(), mass / mass.sum(), jnp.concatenate([truncated, means[:, None]], axis=1)

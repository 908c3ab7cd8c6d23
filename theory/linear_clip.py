r"""Linear CLIP: the closed form of contrastive learning with a bilinear score $x^\top Gz$ of image x and caption z.

Use `cross_covariance` on pairs, `solve_linear_clip` for the rank-r optimum, and the `LinearClip` it returns to score pairs,
to turn prompts into zero-shot prototypes and to classify. What captions with noise, wrong classes or holes do is in
`theory.linear_clip_captions`, filtering in `theory.linear_clip_filter`, the rates of filtered training in
`theory.linear_clip_rates`.

The linear contrastive loss pushes the scores of true pairs above those of all others,

$$\ell(G)=\frac1{n(n-1)}\sum_{i\ne j}s_{ij}-\frac1n\sum_is_{ii}=-\operatorname{tr}(G^\top\hat C),\qquad s_{ij}=x_i^\top Gz_j,$$

with the centred cross-covariance $\hat C=\frac1{n-1}\sum_i(x_i-\bar x)(z_i-\bar z)^\top$; it is the same from images
to captions and back. With the ridge $\frac\lambda2\lVert G\rVert_F^2$ it is $\frac\lambda2\lVert G-\hat C/\lambda\rVert_F^2$
plus a constant, so that over rank at most r (encoders $A$, $B$ with $G=A^\top B$) the top-r part of $\hat C/\lambda$ is
optimal (Eckart and Young). It is the only optimum iff $\sigma_r>\sigma_{r+1}$ or $\sigma_r=0$.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Key

from theory.arrays import ArrayLike, Scalar, as_float_array, is_concrete
from theory.multiclass import MulticlassTarget
from theory.multiclass_scores import prototype_accuracy


def cross_covariance(images: ArrayLike, captions: ArrayLike) -> Float[Array, "... d q"]:
    r"""$\hat C=\frac1{n-1}\sum_i(x_i-\bar x)(z_i-\bar z)^\top$ of pairs.

    Args:
        images: x, shape (..., n, d).
        captions: z, shape (..., n, q), row by row the image's own caption.

    Raises:
        ValueError: fewer than two pairs, or the numbers of images and captions differ.
    """
    x, z = as_float_array(images), as_float_array(captions)
    if x.ndim < 2 or x.shape[:-1] != z.shape[:-1] or x.shape[-2] < 2:
        raise ValueError(
            f"images (..., n, d) and captions (..., n, q) with n >= 2 are needed, got {x.shape} and {z.shape}"
        )
    x, z = (values - values.mean(-2, keepdims=True) for values in (x, z))
    return jnp.einsum("...nd,...nq->...dq", x, z) / (x.shape[-2] - 1)


def linear_contrastive_loss(scores: ArrayLike) -> Float[Array, "..."]:
    r"""$\frac1{n(n-1)}\sum_{i\ne j}s_{ij}-\frac1n\sum_is_{ii}$ from the scores of all images with all captions.

    Args:
        scores: (..., n, n), [i, j] the score of image i with caption j.

    Raises:
        ValueError: not a square matrix of at least two pairs.
    """
    s = as_float_array(scores)
    if s.ndim < 2 or s.shape[-1] != s.shape[-2] or s.shape[-1] < 2:
        raise ValueError(f"scores must have shape (..., n, n) with n >= 2, got {s.shape}")
    n, own = s.shape[-1], jnp.trace(s, axis1=-2, axis2=-1)
    return (s.sum((-2, -1)) - own) / (n * (n - 1)) - own / n


def linear_clip_objective(
    matrix: ArrayLike, covariance: ArrayLike, regularisation: Scalar = 1.0
) -> Float[Array, "..."]:
    r"""$-\operatorname{tr}(G^\top\hat C)+\frac\lambda2\lVert G\rVert_F^2$, what `solve_linear_clip` minimises.

    Args:
        matrix: G, shape (..., d, q).
        covariance: Ĉ, shape (d, q).
        regularisation: λ > 0, in units of score per squared entry of G.
    """
    g = as_float_array(matrix)
    return jnp.sum(g * (0.5 * regularisation * g - as_float_array(covariance)), (-2, -1))


@dataclass(frozen=True, eq=False)
class LinearClip:
    r"""A trained linear CLIP model $G=\sum_{i\le r}g_iu_iv_i^\top$.

    Attributes:
        left: u_i, the image directions, shape (d, r), orthonormal columns.
        strengths: g_i = σ_i/λ, shape (r,), falling.
        right: v_i, the caption directions, shape (q, r).
        gap: σ_r − σ_{r+1} of the cross-covariance; its distance to a tie.
        is_unique: whether no other matrix of this rank is optimal.
    """

    left: Float[Array, "d r"]
    strengths: Float[Array, " r"]
    right: Float[Array, "q r"]
    gap: float
    is_unique: bool

    @property
    def rank(self) -> int:
        """The number of directions r."""
        return self.strengths.shape[0]

    @property
    def matrix(self) -> Float[Array, "d q"]:
        """G."""
        return (self.left * self.strengths) @ self.right.T

    @property
    def encoders(self) -> tuple[Float[Array, "r d"], Float[Array, "r q"]]:
        """A balanced pair A, B with G = AᵀB: embeddings A x and B z, whose inner product is the score."""
        root = jnp.sqrt(self.strengths)[:, None]
        return root * self.left.T, root * self.right.T

    def pair_scores(self, images: ArrayLike, captions: ArrayLike) -> Float[Array, "..."]:
        """x_iᵀGz_i of pairs, images (..., d) and captions (..., q)."""
        x, z = as_float_array(images) @ self.left, as_float_array(captions) @ self.right
        return jnp.sum(x * self.strengths * z, -1)

    def prototypes(self, prompts: ArrayLike) -> Float[Array, "k d"]:
        """w_k = Gt_k, the linear classifier that prompts (K, q) make of the model."""
        return (as_float_array(prompts) @ self.right * self.strengths) @ self.left.T

    def zero_shot_scores(self, images: ArrayLike, prompts: ArrayLike) -> Float[Array, "... k"]:
        """xᵀGt_k for images (..., d) and prompts (K, q)."""
        return as_float_array(images) @ self.prototypes(prompts).T

    def classify(self, images: ArrayLike, prompts: ArrayLike) -> Array:
        """The class with the largest zero-shot score for each image (...)."""
        return self.zero_shot_scores(images, prompts).argmax(-1)

    def zero_shot_accuracy(
        self, key: Key[Array, ""], prompts: ArrayLike, target: MulticlassTarget, num_draws: int = 1 << 12
    ) -> Float[Array, ""]:
        """K-way accuracy on a target, by `theory.multiclass_scores.prototype_accuracy` (see there for its error)."""
        return prototype_accuracy(key, self.prototypes(prompts), target, num_draws)


def solve_linear_clip(
    covariance: ArrayLike,
    rank: int | None = None,
    regularisation: Scalar = 1.0,
    on_tie: Literal["raise", "flag"] = "raise",
) -> LinearClip:
    r"""The minimiser of $-\operatorname{tr}(G^\top\hat C)+\frac\lambda2\lVert G\rVert_F^2$ over matrices of rank at most r.

    $$G=\frac1\lambda\sum_{i\le r}\sigma_iu_iv_i^\top,\qquad\hat C=\sum_i\sigma_iu_iv_i^\top$$

    Args:
        covariance: Ĉ from `cross_covariance`, shape (d, q).
        rank: r >= 1, the width of the embedding; all of min(d, q) if left out.
        regularisation: λ > 0; it scales the scores and nothing else.
        on_tie: what to do if σ_r = σ_{r+1} > 0 (within rounding), so that the optimum is not unique: "raise", or "flag" it in
            `is_unique` and return one of the optima.

    Returns:
        A `LinearClip`.

    Raises:
        ValueError: not a matrix of finite numbers, a rank out of range, λ <= 0, or a tie.

    Source: Section 8.
    """
    c = as_float_array(covariance)
    if c.ndim != 2 or not is_concrete(c) or not bool(jnp.all(jnp.isfinite(c))):
        raise ValueError(
            f"covariance must be a concrete (d, q) matrix of finite numbers, got shape {c.shape}"
        )
    full = min(c.shape)
    r = full if rank is None else int(rank)
    if not 1 <= r <= full:
        raise ValueError(f"rank must lie between 1 and min(d, q) = {full}, got {r}")
    if not regularisation > 0:
        raise ValueError(f"regularisation must be > 0, got {regularisation}")
    left, singular, right = jnp.linalg.svd(c, full_matrices=False)
    last = float(singular[r - 1])
    gap = last - (float(singular[r]) if r < full else 0.0)
    rounding = 16 * max(c.shape) * float(jnp.finfo(c.dtype).eps) * float(singular[0])
    unique = gap > rounding or last <= rounding or r == full
    if not unique and on_tie == "raise":
        raise ValueError(
            f"rank {r} cuts through equal singular values (σ_{r} = {last:.6g}, gap {gap:.2g}), so the optimum is not unique: "
            "choose another rank, or on_tie='flag' for one of the optima"
        )
    return LinearClip(left[:, :r], singular[:r] / regularisation, right[:r].T, gap, unique)


def truncated_prototypes(
    covariances: Float[Array, "*b d q"], prompts: Float[Array, "k q"], ranks: Sequence[int]
) -> Float[Array, "r *b k d"]:
    """Prototypes of the rank-r optima for several ranks at once (λ = 1), batched: one decomposition for all ranks.

    Args:
        covariances: Ĉ, shape (..., d, q).
        prompts: t_k, shape (K, q).
        ranks: R whole numbers >= 1; a tie is cut as the decomposition happens to order it.

    Returns:
        Prototypes, shape (R, ..., K, d).
    """
    left, singular, right = np.linalg.svd(np.asarray(covariances), full_matrices=False)
    seen = np.einsum("...iq,kq->...ki", right, np.asarray(prompts)) * singular[..., None, :]
    turned = np.swapaxes(left, -1, -2)
    return jnp.stack([jnp.asarray(seen[..., :r] @ turned[..., :r, :]) for r in ranks])

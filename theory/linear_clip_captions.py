r"""Captions of K classes as linear CLIP sees them: prompts with noise, wrong classes and holes, and what they do to accuracy.

Describe captions with `Captions`, draw pairs with `Captions.sample`; `zero_shot_score_law` predicts the scores of zero-shot
prototypes at full rank for n pairs (its `dprime` and `accuracy()` are the closed forms), `population_cross_covariance` is
the limit of many pairs for any rank.

At full rank the prototypes are $\hat w_k=\frac1{n-1}\sum_j n_j\,(t_j\cdot t_k)(\bar x_j-\bar x)$: with orthonormal prompts and
balanced classes the averaging classifier itself (a common vector is subtracted, which no comparison of scores sees), in
general smoothed by the prompts' Gram matrix and weighted by how frequent a class is. Damaged captions:

* Gaussian noise of variance σ_z² in every coordinate adds the covariance $\sigma_z^2(t_k\cdot t_l)\Sigma_x/n$ to that of
  $\hat w_k,\hat w_l$, with Σ_x the covariance of all images (within and between classes), and takes no signal;
* a share ε of captions that name a uniformly drawn wrong class scales the signal by $1-\varepsilon K/(K-1)$;
* a share ε of missing captions (z = 0) scales it by $1-\varepsilon$.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, Key

from theory import covariance as cov
from theory.arrays import ArrayLike, Scalar, as_float_array, check_counts, require
from theory.multiclass import MulticlassSource, MulticlassTarget, check_shapes
from theory.multiclass_scores import ScoreLaw, generator_of, symmetric_root

#: "fixed": every class has n/K images; "random": every image draws its class.
ClassCounts = Literal["fixed", "random"]


@dataclass(frozen=True, init=False, eq=False)
class Captions:
    """How an image of class k is captioned.

    Args:
        prompts: t_k, the clean caption of each class, also the prompts at test time, shape (K, q).
        noise: σ_z² >= 0, variance of Gaussian noise in every coordinate of a caption that is not missing.
        wrong: share of captions that name a wrong class, all wrong ones equally likely, in [0, 1].
        missing: share of captions that are missing (z = 0), whether right or wrong, in [0, 1].

    Raises:
        ValueError: prompts that are not K >= 2 vectors of finite numbers, or a number out of range.
    """

    prompts: Float[Array, "k q"]
    noise: float
    wrong: float
    missing: float

    def __init__(self, prompts: ArrayLike, noise: Scalar = 0.0, wrong: Scalar = 0.0, missing: Scalar = 0.0):
        t = as_float_array(prompts)
        if t.ndim != 2 or t.shape[0] < 2:
            raise ValueError(f"prompts must have shape (K >= 2, q), got {t.shape}")
        require(jnp.isfinite(t), t, "every entry of the prompts must be finite")
        if not 0 <= noise < np.inf:
            raise ValueError(f"the variance of caption noise must be a finite number >= 0, got {noise}")
        for name, share in (("wrong", wrong), ("missing", missing)):
            if not 0 <= share <= 1:
                raise ValueError(f"the share of {name} captions must lie in [0, 1], got {share}")
        object.__setattr__(self, "prompts", t)
        for name, value in (("noise", noise), ("wrong", wrong), ("missing", missing)):
            object.__setattr__(self, name, float(value))

    @property
    def num_classes(self) -> int:
        """The number of classes K."""
        return self.prompts.shape[0]

    @property
    def signal(self) -> float:
        """What is left of the signal, (1 − εK/(K − 1)) of wrong captions times (1 − ε) of missing ones; it may be negative."""
        k = self.num_classes
        return (1 - self.wrong * k / (k - 1)) * (1 - self.missing)

    def channel(self) -> Float[np.ndarray, "k c"]:
        """Probability of each caption given the image's class, shape (K, K + 1); the last column is a missing caption."""
        k = self.num_classes
        named = np.full((k, k), self.wrong / (k - 1))
        np.fill_diagonal(named, 1 - self.wrong)
        return np.concatenate([(1 - self.missing) * named, np.full((k, 1), self.missing)], axis=1)

    def sample(
        self, generator: np.random.Generator, labels: Int[np.ndarray, " n"]
    ) -> tuple[Float[np.ndarray, "n q"], Int[np.ndarray, " n"]]:
        """Captions (n, q) for images of classes `labels` (n,), and the classes that they name (K for a missing one)."""
        prompts, k, n = np.asarray(self.prompts), self.num_classes, len(labels)
        steps = generator.integers(1, k, n)  # to one of the K − 1 other classes
        named = (labels + np.where(generator.random(n) < self.wrong, steps, 0)) % k
        named = np.where(generator.random(n) < self.missing, k, named)
        z = np.concatenate([prompts, np.zeros_like(prompts[:1])])[named]
        if self.noise:
            noise = np.sqrt(self.noise) * generator.standard_normal(z.shape, z.dtype)
            z = z + np.where(named[:, None] < k, noise, 0).astype(z.dtype)
        return z, named


def _check(captions: Captions, *distributions: MulticlassSource | MulticlassTarget) -> int:
    num_classes, _ = check_shapes(*distributions)
    if captions.num_classes != num_classes:
        raise ValueError(
            f"one prompt for each of the {num_classes} classes is needed, got {captions.num_classes}"
        )
    return num_classes


def _check_size(num_samples: int, num_classes: int, class_counts: ClassCounts) -> None:
    if num_samples < 2 or (class_counts == "fixed" and num_samples % num_classes):
        raise ValueError(
            f"num_samples must be at least 2, and a multiple of K = {num_classes} for fixed class counts, got {num_samples}"
        )


def population_cross_covariance(source: MulticlassSource, captions: Captions) -> Float[Array, "d q"]:
    r"""$C=\frac{\text{signal}}K\sum_k\tilde\nu_kt_k^\top$, the cross-covariance of images and captions, classes equally frequent.

    Raises:
        ValueError: the numbers of classes differ.

    Source: Section 8.
    """
    k = _check(captions, source)
    return captions.signal / k * source.centred_means.T @ captions.prompts


def zero_shot_score_law(
    source: MulticlassSource,
    captions: Captions,
    target: MulticlassTarget,
    num_samples: Scalar,
    class_counts: ClassCounts = "fixed",
) -> ScoreLaw:
    r"""The law of zero-shot scores $x^\top\hat Ct_k$ at full rank, exact in mean and covariance up to relative O(1/n).

    $\hat Ct_k$ is the mean of n independent vectors $(x_i-\bar x)\,\tilde a_{ik}$ with $\tilde a_{ik}=(z_i-\bar z)\cdot t_k$.
    With $W_k=Ct_k$ and $\operatorname{Cov}(\hat w_k,\hat w_l)=V_{kl}/n$,

    $$E\,z_k=\mu_j\cdot W_k,\qquad\operatorname{Cov}(z_k,z_l)=W_k^\top\Sigma W_l
      +\tfrac1n\bigl(\operatorname{tr}V_{kl}\Sigma+\mu_j^\top V_{kl}\mu_j\bigr),$$
    $$V_{kl}=\frac1K\sum_yE[\tilde a_k\tilde a_l\mid y](\tilde\nu_y\tilde\nu_y^\top+\Gamma)-S_{kl}
      +\sigma_z^2(1-\varepsilon_\text{missing})(t_k\cdot t_l)\Sigma_x,$$

    where $S_{kl}$ is $\frac1K\sum_yE[\tilde a_k|y]E[\tilde a_l|y]\tilde\nu_y\tilde\nu_y^\top$ for fixed class counts and
    $W_kW_l^\top$ for random ones.

    Args:
        source: the images' distribution, classes equally frequent.
        captions: how they are captioned; its prompts are used at test time.
        target: the test distribution.
        num_samples: n > 0 pairs.
        class_counts: whether every class has n/K images ("fixed") or every image draws its class ("random").

    Returns:
        A `ScoreLaw`: `dprime` and `accuracy()` are the predictions.

    Raises:
        ValueError: n is not > 0, or the numbers of classes or features differ.

    Source: Section 8 (soft captions, class noise, missing classes).
    """
    _check(captions, source, target)
    dtype = captions.prompts.dtype
    means, covariances = _score_law(
        source.centred_means,
        cov.apply(target.covariance, source.centred_means),
        target.means,
        cov.trace_product(source.covariance, target.covariance, source.dimension),
        cov.quadratic_form(source.covariance, target.means),
        captions.prompts,
        jnp.asarray(captions.channel(), dtype),
        jnp.asarray(captions.noise * (1 - captions.missing), dtype),
        check_counts(num_samples),
        fixed=class_counts == "fixed",
    )
    return ScoreLaw(means, covariances)


@partial(jax.jit, static_argnames="fixed")
def _score_law(
    means: Array,
    turned: Array,
    target_means: Array,
    trace: Array,
    along: Array,
    prompts: Array,
    channel: Array,
    noise: Array,
    n: Array,
    fixed: bool,
) -> tuple[Array, Array]:
    k = means.shape[0]
    gram = prompts @ prompts.T
    named = jnp.concatenate([gram, jnp.zeros_like(gram[:1])])  # a missing caption is 0
    named = named - channel.mean(0) @ named
    first = channel @ named  # E[ã_k | y]
    second = jnp.einsum("yc,ck,cl->ykl", channel, named, named)
    # Every V is a sum over y of coefficients times ν_yν_yᵀ, plus coefficients times Γ.
    spread = (second - jnp.einsum("yk,yl->ykl", first, first) if fixed else second) / k
    spread = spread + noise * gram / k
    within = second.mean(0) + noise * gram
    weights = first.T @ means / k
    turned_weights = first.T @ turned / k
    own = jnp.sum(means * turned, -1)
    facing = means @ target_means.T  # (y, j)
    in_trace = jnp.einsum("ykl,y->kl", spread, own) + within * trace
    in_mean = jnp.einsum("ykl,yj->jkl", spread, facing**2) + within * along[:, None, None]
    score_means = target_means @ weights.T
    shared = weights @ turned_weights.T
    if not fixed:
        in_trace = in_trace - shared
        in_mean = in_mean - score_means[:, :, None] * score_means[:, None, :]
    return score_means, shared + (in_trace + in_mean) / n


def sample_pairs(
    key: Key[Array, ""],
    source: MulticlassSource,
    captions: Captions,
    num_samples: int,
    class_counts: ClassCounts = "fixed",
) -> tuple[Float[Array, "n d"], Float[Array, "n q"], Int[Array, " n"]]:
    """Draw n image-caption pairs.

    Args:
        key: random key.
        source: the images' distribution.
        captions: how they are captioned.
        num_samples: n >= 2; a multiple of K for fixed class counts.
        class_counts: "fixed" or "random".

    Returns:
        Images (n, d), captions (n, q) and the images' classes (n,).

    Raises:
        ValueError: too few pairs, not a multiple of K, or the numbers of classes differ.
    """
    _check_size(num_samples, _check(captions, source), class_counts)
    x, z, labels = _pairs(generator_of(key), source, _root(source), captions, num_samples, class_counts)
    return jnp.asarray(x), jnp.asarray(z), jnp.asarray(labels)


def _root(source: MulticlassSource) -> np.ndarray:
    """The symmetric square root of the covariance in its own form."""
    covariance = np.asarray(source.covariance)
    return np.asarray(np.sqrt(covariance)) if covariance.ndim < 2 else symmetric_root(covariance)


def _pairs(
    generator: np.random.Generator,
    source: MulticlassSource,
    root: np.ndarray,
    captions: Captions,
    num_samples: int,
    class_counts: ClassCounts,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    labels = np.arange(num_samples) % source.num_classes
    if class_counts == "random":
        labels = generator.integers(0, source.num_classes, num_samples)
    means = np.asarray(source.means)
    noise = generator.standard_normal((num_samples, source.dimension), means.dtype)
    noise = noise @ root if root.ndim == 2 else noise * root
    z, _ = captions.sample(generator, labels)
    return (means[labels] + noise).astype(means.dtype), z, labels


def sample_cross_covariances(
    key: Key[Array, ""],
    source: MulticlassSource,
    captions: Captions,
    num_samples: int,
    num_trials: int,
    class_counts: ClassCounts = "fixed",
) -> Float[Array, "b d q"]:
    """Ĉ of `num_trials` sets of n pairs, each drawn in full, one set in memory at a time.

    Raises:
        ValueError: as `sample_pairs`, or fewer than one trial.
    """
    _check_size(num_samples, _check(captions, source), class_counts)
    if num_trials < 1:
        raise ValueError(f"num_trials must be at least 1, got {num_trials}")
    generator, root = generator_of(key), _root(source)
    found = []
    for _ in range(num_trials):
        x, z, _ = _pairs(generator, source, root, captions, num_samples, class_counts)
        found.append(x.T @ (z - z.mean(0)) / (num_samples - 1))  # centring one side is enough
    return jnp.asarray(np.stack(found))

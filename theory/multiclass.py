r"""K classes: sources and targets with a mean for every class, and the d′ of prototypes made by averaging.

Features of class k are $\mathcal N(\nu_{s,k},\Gamma_s)$ in source s and $\mathcal N(\mu_{t,k},\Sigma_t)$ on target t, classes
are equally frequent, and a test image goes to the class with the largest score $x\cdot\hat w_k$, where the prototype
$\hat w_k$ is the mean of the class's training images. Use `multiclass_dprime` for the place of a mixture of sources,
`multiclass_slope` for its slope and `binary_equivalent` to hand a K-class problem to everything written for two classes.
Unequal class difficulty and random class counts are in `theory.multiclass_scores`, draws in `theory.multiclass_sampler`.

Only score differences count. Averaged over ordered pairs of classes their mean and half their variance are

$$a_t=\frac1{K-1}\sum_k\tilde\nu_k\cdot\tilde\mu_{t,k},\qquad
  q_t=\frac1{K-1}\sum_k\tilde\nu_k^\top\Sigma_t\tilde\nu_k+\frac Kn\Bigl(\operatorname{tr}\Gamma\Sigma_t
  +\frac1K\sum_k\mu_{t,k}^\top\Gamma\mu_{t,k}\Bigr)$$

with means $\tilde\nu_k=\nu_k-\bar\nu$ centred over classes and n/K samples of each class, and $d'\approx a_t/\sqrt{q_t}$.
For simplex means of norm s and $\Gamma=\Sigma=I$ this is $[s^2K/(K-1)]/\sqrt{s^2K/(K-1)+dK/n+s^2K/n}$. It is exact in the
limit of many features if all pairs of classes are alike; the accuracy is then $A_K(d')$ (`theory.links.dprime_inverse`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from theory import covariance as cov
from theory.arrays import ArrayLike, as_float_array, check_counts, check_shares, is_concrete, require
from theory.gaussian import Source, Target, register_pytree
from theory.mixing import MixtureSlope, mixture_slope


@dataclass(frozen=True, init=False, eq=False)
class MulticlassGaussian:
    """Features given the class: x | k ~ N(means_k, covariance); the base of `MulticlassSource` and `MulticlassTarget`.

    Args:
        means: (K, d) the means of the K >= 2 classes.
        covariance: within-class covariance as a scalar variance, (d,) variances or a (d, d) matrix, common to all classes.
        name: shown in messages and tables.

    Raises:
        ValueError: the means are not K >= 2 vectors of finite numbers, or the covariance is not one (see
            `theory.covariance.validate_covariance`).
    """

    means: Float[Array, "k d"]
    covariance: Float[Array, "..."]
    name: str

    def __init__(self, means: ArrayLike, covariance: ArrayLike = 1.0, name: str = ""):
        kind = type(self).__name__
        label = f"{kind} {name!r}" if name else kind
        array = as_float_array(means)
        if array.ndim != 2 or array.shape[0] < 2 or array.shape[1] == 0:
            raise ValueError(f"the means of {label} must have shape (K >= 2, d), got shape {array.shape}")
        if is_concrete(array):
            require(np.isfinite(array), array, f"every entry of the means of {label} must be finite")
        matrix = cov.validate_covariance(covariance, array.shape[1], f"the covariance of {label}")
        object.__setattr__(self, "means", array)
        object.__setattr__(self, "covariance", matrix)
        object.__setattr__(self, "name", name)

    @property
    def num_classes(self) -> int:
        """The number of classes K."""
        return self.means.shape[-2]

    @property
    def dimension(self) -> int:
        """The number of features d."""
        return self.means.shape[-1]

    @property
    def centred_means(self) -> Float[Array, "k d"]:
        """The class means less their average."""
        return self.means - self.means.mean(-2, keepdims=True)


class MulticlassSource(MulticlassGaussian):
    r"""A training distribution s: x given class k ~ N($\nu_{s,k}$, $\Gamma_s$)."""


class MulticlassTarget(MulticlassGaussian):
    r"""A test distribution t: x given class k ~ N($\mu_{t,k}$, $\Sigma_t$)."""


register_pytree(MulticlassSource, ("means", "covariance"))
register_pytree(MulticlassTarget, ("means", "covariance"))

_Sided = TypeVar("_Sided", Source, Target)


def two_class_source(source: Source) -> MulticlassSource:
    """The two classes ±ν of a binary source as K = 2 (class 0 is the positive one); its d′ is √2 times the margin."""
    return MulticlassSource(jnp.stack([source.mean, -source.mean]), source.covariance, source.name)


def two_class_target(target: Target) -> MulticlassTarget:
    """The two classes ±μ of a binary target as K = 2 (class 0 is the positive one)."""
    return MulticlassTarget(jnp.stack([target.mean, -target.mean]), target.covariance, target.name)


def check_shapes(*distributions: MulticlassGaussian) -> tuple[int, int]:
    """The common numbers of classes K and features d.

    Raises:
        ValueError: no distribution was given, or two of them differ in K or d.
    """
    if not distributions:
        raise ValueError("at least one source is needed, got none")
    shapes = {tuple(item.means.shape) for item in distributions}
    if len(shapes) > 1:
        listed = ", ".join(f"{type(x).__name__} {x.name!r}: {tuple(x.means.shape)}" for x in distributions)
        raise ValueError(f"sources and targets must have the same classes and features (K, d), got {listed}")
    num_classes, dimension = shapes.pop()
    return num_classes, dimension


def simplex_means(
    num_classes: int, norm: ArrayLike = 1.0, num_features: int | None = None
) -> Float[np.ndarray, "k d"]:
    r"""Class means on the corners of regular simplexes, $\mu_j\cdot\mu_k=-\lVert\mu\rVert^2/(K-1)$ for $j\ne k$.

    Block b is a simplex of its own K − 1 features, the same corner for the same class, so that two sets of means with norms
    $\alpha_b$ and $\beta_b$ have $\nu_k\cdot\mu_k=\sum_b\alpha_b\beta_b$: blocks play the part of the axes of a binary problem.

    Args:
        num_classes: K >= 2.
        norm: the norm s of every mean, or one number for each block (B,); their signs are kept.
        num_features: d >= B(K − 1), the rest filled with zeros; B(K − 1) if left out.

    Returns:
        Means of shape (K, d).

    Raises:
        ValueError: fewer than 2 classes, or too few features.

    Source: Section 8.
    """
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, got {num_classes}")
    norms = np.atleast_1d(np.asarray(norm, np.float64))
    width = num_classes - 1
    d = norms.size * width if num_features is None else int(num_features)
    if norms.ndim != 1 or d < norms.size * width:
        raise ValueError(
            f"{num_classes} simplex means in {norms.size} blocks need at least {norms.size * width} features, got {d}"
        )
    # Helmert's orthonormal contrasts: row i compares class i + 1 with the classes before it.
    steps = np.arange(1.0, num_classes)
    corners = np.where(np.arange(num_classes)[:, None] < steps, 1.0, 0.0) / np.sqrt(steps * (steps + 1))
    corners -= np.where(np.arange(num_classes)[:, None] == steps, np.sqrt(steps / (steps + 1)), 0.0)
    corners *= np.sqrt(num_classes / width)
    means = np.zeros((num_classes, d))
    for block, length in enumerate(norms):
        means[:, block * width : (block + 1) * width] = length * corners
    return means


def class_alignments(sources: Sequence[MulticlassSource], target: MulticlassTarget) -> Float[Array, " s"]:
    r"""$a_{s,t}=\frac1{K-1}\sum_k\tilde\nu_{s,k}\cdot\tilde\mu_{t,k}$: what each source knows about the target's classes.

    It is the mean score difference $(\nu_j-\nu_k)\cdot\mu_j$ over ordered pairs of classes.

    Raises:
        ValueError: the numbers of classes or features differ, or there is no source.
    """
    check_shapes(*sources, target)
    return _averages(tuple(sources), target)[0]


@jax.jit
def _averages(
    sources: tuple[MulticlassSource, ...], target: MulticlassTarget
) -> tuple[Array, Array, Array, Array]:
    """Alignments (S,), the Gram matrix (S, S), tr(ΓΣ) and the mean of μᵀΓμ (S,): one compilation for all of them."""
    num_classes, d = target.means.shape
    means = jnp.stack([source.centred_means for source in sources])
    aligned = jnp.einsum("skd,kd->s", means, target.centred_means) / (num_classes - 1)
    gram = jnp.einsum("skd,ukd->su", means, cov.apply(target.covariance, means)) / (num_classes - 1)
    traces = jnp.stack([cov.trace_product(s.covariance, target.covariance, d) for s in sources])
    along = jnp.stack([cov.quadratic_form(s.covariance, target.means).mean() for s in sources])
    return aligned, gram, traces, along


def class_gram(sources: Sequence[MulticlassSource], target: MulticlassTarget) -> Float[Array, "s s"]:
    r"""$\frac1{K-1}\sum_k\tilde\nu_{s,k}^\top\Sigma_t\tilde\nu_{s',k}$, half the mean squared difference of class means.

    Raises:
        ValueError: the numbers of classes or features differ, or there is no source.
    """
    check_shapes(*sources, target)
    return _averages(tuple(sources), target)[1]


def class_noise(
    sources: Sequence[MulticlassSource], target: MulticlassTarget, signal_noise: bool = True
) -> Float[Array, " s"]:
    r"""$\operatorname{tr}(\Gamma_s\Sigma_t)+\frac1K\sum_k\mu_{t,k}^\top\Gamma_s\mu_{t,k}$, one sample's noise in the scores.

    Args:
        sources: S training distributions.
        target: the test distribution.
        signal_noise: False leaves the second part out (see `multiclass_dprime`).
    """
    check_shapes(*sources, target)
    _, _, traces, along = _averages(tuple(sources), target)
    return traces + along if signal_noise else traces


def multiclass_dprime(
    sources: Sequence[MulticlassSource],
    shares: ArrayLike,
    target: MulticlassTarget,
    num_samples: ArrayLike,
    signal_noise: bool = True,
) -> Float[Array, "..."]:
    r"""The d′ of prototypes averaged from n samples of a mixture of sources, equal fixed counts for every class.

    $$d'\approx\frac{\sum_sp_sa_{s,t}}{\sqrt{\sum_{ss'}p_sp_{s'}Q_{ss'}+\frac Kn\sum_sp_s\bigl(\operatorname{tr}
      \Gamma_s\Sigma_t+\frac1K\sum_k\mu_k^\top\Gamma_s\mu_k\bigr)}}$$

    with $a$ from `class_alignments` and $Q$ from `class_gram`. The last part is what the noise of the prototypes does to the
    mean scores: it is there in the accuracy averaged over training sets, and without it (`signal_noise=False`) d′ is √2 times
    the leading-order margin for K = 2 and its ratio between targets the mediant at every n. The remainder is of relative order
    1/d if all pairs of classes are alike.

    Args:
        sources: S training distributions.
        shares: (..., S) fractions that sum to one.
        target: the reference or a shift.
        num_samples: n > 0, samples of all classes and sources together; broadcasts with the shares' leading axes.
        signal_noise: whether to count the noise of the mean scores.

    Returns:
        d′ without unit; the accuracy is `dprime_inverse(d′, K)`.

    Raises:
        ValueError: shares are negative or do not sum to 1, n is not > 0, or the numbers of classes or features differ.

    Source: Section 8.
    """
    num_classes, _ = check_shapes(*sources, target)
    p, n = check_shares(shares, len(sources)), check_counts(num_samples)
    length = jnp.einsum("...s,su,...u->...", p, class_gram(sources, target), p)
    noise = p @ class_noise(sources, target, signal_noise)
    return p @ class_alignments(sources, target) / jnp.sqrt(length + num_classes * noise / n)


def multiclass_growth_exponent(
    sources: Sequence[MulticlassSource], shares: ArrayLike, target: MulticlassTarget, num_samples: ArrayLike
) -> Float[Array, "..."]:
    """dlog d′/dlog n of `multiclass_dprime`, between 0 and 1/2 whatever K (Theorem 1's growth bound).

    Raises:
        ValueError: as `multiclass_dprime`.
    """
    num_classes, _ = check_shapes(*sources, target)
    p, n = check_shares(shares, len(sources)), check_counts(num_samples)
    length = jnp.einsum("...s,su,...u->...", p, class_gram(sources, target), p)
    noise = num_classes * (p @ class_noise(sources, target)) / n
    return 0.5 * noise / (length + noise)


def binary_equivalent(
    sources: Sequence[MulticlassSource], targets: Sequence[MulticlassTarget]
) -> tuple[list[Source], list[Target]]:
    r"""A two-class problem in at most S + T features with the same alignments $a_{s,t}$ and lengths $Q^{(t)}_{ss'}$.

    The centred class means, stacked into one vector of Kd entries and divided by $\sqrt{K-1}$, are the means; covariances
    act on every class alike; everything is rotated into the span of the means. A place or slope in the limit of many samples
    is then the K-class d′ or slope. Noise is not carried over: at finite n use `multiclass_dprime`.

    Args:
        sources: S training distributions.
        targets: T test distributions.

    Returns:
        Sources and targets in the same order, with their names.

    Raises:
        ValueError: the numbers of classes or features differ, or there is no source.

    Source: Section 8 (K-class Theorems 1 and 2).
    """
    num_classes, d = check_shapes(*sources, *targets)
    items = (*sources, *targets)
    rows = np.stack([np.asarray(x.centred_means, np.float64).ravel() for x in items]) / np.sqrt(
        num_classes - 1
    )
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    _, singular, basis = np.linalg.svd(rows / np.where(lengths > 0, lengths, 1), full_matrices=False)
    basis = basis[singular > 1e-10 * max(float(singular.max()), 1e-300)]
    if not len(basis):
        raise ValueError(
            "no class of any source or target differs from the others: all class means are equal"
        )
    blocks = jnp.asarray(basis.reshape(len(basis), num_classes, d))
    dtype = sources[0].means.dtype

    def turned(kind: type[_Sided], item: MulticlassGaussian, row: np.ndarray) -> _Sided:
        small = jnp.einsum("rkd,qkd->rq", blocks, cov.apply(item.covariance.astype(blocks.dtype), blocks))
        return kind(
            jnp.asarray(basis @ row, dtype), jnp.asarray((small + small.T) / 2).astype(dtype), item.name
        )

    return (
        [turned(Source, s, row) for s, row in zip(sources, rows, strict=False)],
        [turned(Target, t, row) for t, row in zip(targets, rows[len(sources) :], strict=True)],
    )


def multiclass_slope(
    sources: Sequence[MulticlassSource], shares: ArrayLike, ref: MulticlassTarget, shift: MulticlassTarget
) -> MixtureSlope:
    r"""The slope d′_shift/d′_ref of a mixture as n → ∞: the mediant of Theorem 2 with class alignments.

    $$\rho_p=\frac{\sum_sp_sa_s}{c\sum_sp_sb_s}\quad\text{if }\Sigma_\text{shift}=c^2\Sigma_\text{ref},\qquad
      a_s=a_{s,\text{shift}},\ b_s=a_{s,\text{ref}}$$

    Without proportional covariances it is the ratio of the limits of `multiclass_dprime`, and not a mediant.

    Args:
        sources: S training distributions.
        shares: (S,) fractions that sum to one.
        ref: the reference target.
        shift: the shifted target.

    Returns:
        A `MixtureSlope`, with the sources' own slopes and what can go wrong.

    Raises:
        ValueError: as `theory.mixing.mixture_slope`, or the numbers of classes differ.

    Source: Section 8 and Theorem 2.
    """
    binary_sources, (binary_ref, binary_shift) = binary_equivalent(sources, [ref, shift])
    return mixture_slope(binary_sources, shares, binary_ref, binary_shift)

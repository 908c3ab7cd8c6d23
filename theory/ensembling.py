r"""Theorem 2b: output mixing (averaged logits) follows the mixture's line.

An ensemble of single-source classifiers is $w=\sum_s\alpha_s\hat w_s$. Use `ensemble_slope` for its slope (the
mediant with α in place of the shares), `ensemble_law` and `ensemble_place` for its noise and place, `ensemble`
to combine measured heads, and the `normalised_*` functions when each head is scaled to unit length first: then
the slope is the mediant of the heads' *measured* margins, exactly, at every n.

Always say how the heads were trained:

* heads="share": head s on $\alpha_sn$ samples, n in all. On the same samples the ensemble **is** the input-mixed
  averaging classifier; on independent ones it is equal in law.
* heads="each": every head on n samples. The same ray, with noise $\sum_s\alpha_s^2\Gamma_s/n$ instead of
  $\sum_s\alpha_s\Gamma_s/n$: further up the line.
"""

from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from theory import covariance as cov
from theory.arrays import ArrayLike, as_float_array, check_counts, check_shares, require
from theory.classifiers import AveragingLaw
from theory.gaussian import Source, Target, check_dimensions
from theory.mixing import MixtureSlope, alignments, mediant, mixture_slope
from theory.single_source import place

Heads = Literal["each", "share"]


def ensemble(heads: ArrayLike, weights: ArrayLike) -> Float[Array, "... d"]:
    r"""$w=\sum_s\alpha_sw_s$, the classifier whose logits are the weighted average of the heads' logits.

    Args:
        heads: (..., S, d) linear classifiers.
        weights: (S,) α, fractions that sum to one.

    Raises:
        ValueError: weights are negative or do not sum to 1, or there is not one for each head.

    Source: Theorem 2b.
    """
    array = as_float_array(heads)
    if array.ndim < 2:
        raise ValueError(f"heads must have shape (..., S, d), got {array.shape}")
    return jnp.einsum("s,...sd->...d", check_shares(weights, array.shape[-2], "weights"), array)


def ensemble_law(sources: Sequence[Source], weights: ArrayLike, samples_per_head: ArrayLike) -> AveragingLaw:
    r"""The exact law of an ensemble of independent averaging classifiers.

    $$w\sim\mathcal N\Bigl(\sum_s\alpha_s\nu_s,\ \sum_s\alpha_s^2\Gamma_s/n_s\Bigr)$$

    Args:
        sources: S training distributions, one for each head.
        weights: (S,) α, fractions that sum to one.
        samples_per_head: n_s, a number for all heads or (S,); it may be 0 where α_s = 0.

    Raises:
        ValueError: weights are negative or do not sum to 1, a head with weight has no sample, or the numbers
            of features differ.

    Source: Theorem 2b.
    """
    dimension = check_dimensions(*sources)
    alpha = check_shares(weights, len(sources), "weights")
    numbers = as_float_array(samples_per_head)
    if numbers.shape not in ((), (len(sources),)):
        raise ValueError(
            f"samples_per_head must be a number or have shape ({len(sources)},), got {numbers.shape}"
        )
    trained = (alpha == 0) | ((numbers > 0) & jnp.isfinite(numbers))
    require(trained, numbers, "every head with a positive weight needs a finite number of samples > 0")
    noise = jnp.where(alpha == 0, 0, alpha**2 / jnp.where(alpha == 0, 1, numbers))
    mean = alpha @ jnp.stack([source.mean for source in sources])
    return AveragingLaw(mean, cov.weighted_sum(noise, tuple(s.covariance for s in sources), dimension))


def ensemble_slope(sources: Sequence[Source], weights: ArrayLike, ref: Target, shift: Target) -> MixtureSlope:
    r"""The limiting slope of an ensemble: that of the input mixture with shares α, however the heads were sized.

    $$\rho_\alpha=\frac{\sum_s\alpha_sb_s\rho_s}{\sum_s\alpha_sb_s}\quad\text{if }\Sigma_\text{shift}=c^2\Sigma_\text{ref}$$

    Args:
        sources: S training distributions, one for each head.
        weights: (S,) α, fractions that sum to one.
        ref: the reference target.
        shift: the shifted target.

    Raises:
        ValueError: see `theory.mixing.mixture_slope`.

    Source: Theorem 2b.
    """
    return mixture_slope(sources, check_shares(weights, len(sources), "weights"), ref, shift)


def ensemble_place(
    sources: Sequence[Source],
    weights: ArrayLike,
    target: Target,
    num_samples: ArrayLike,
    heads: Heads,
) -> Float[Array, "..."]:
    r"""The leading-order margin of an ensemble on a target.

    $$m_t\approx\frac{\sum_s\alpha_sa_{s,t}}{\sqrt{\nu_\alpha^\top\Sigma_t\nu_\alpha
      +\frac1n\sum_sk_s\operatorname{tr}\Gamma_s\Sigma_t}},\qquad
      k_s=\begin{cases}\alpha_s^2&\text{heads on }n\text{ each}\\\alpha_s&\text{heads on }\alpha_sn\end{cases}$$

    Args:
        sources: S training distributions, one for each head.
        weights: (S,) α, fractions that sum to one.
        target: the reference or a shift.
        num_samples: n > 0, any shape: samples of each head ("each") or of all heads together ("share").
        heads: "each" or "share".

    Raises:
        ValueError: weights are negative or do not sum to 1, n is not > 0, `heads` is unknown, or the numbers
            of features differ.

    Source: Theorem 2b.
    """
    if heads not in ("each", "share"):
        raise ValueError(f"heads must be 'each' or 'share', got {heads!r}")
    dimension = check_dimensions(*sources, target)
    alpha, n = check_shares(weights, len(sources), "weights"), check_counts(num_samples)
    if alpha.ndim != 1:
        raise ValueError(f"ensemble_place takes one ensemble, weights of shape (S,), got {alpha.shape}")
    traces = jnp.stack([cov.trace_product(s.covariance, target.covariance, dimension) for s in sources])
    noise = (alpha**2 if heads == "each" else alpha) @ traces
    mean = alpha @ jnp.stack([source.mean for source in sources])
    signal = cov.quadratic_form(target.covariance, mean)
    return alpha @ alignments(sources, target) / jnp.sqrt(signal + noise / n)


def normalised_ensemble(heads: ArrayLike, weights: ArrayLike, ref: Target) -> Float[Array, "... d"]:
    r"""$w=\sum_s\alpha_s\,w_s/\sqrt{w_s^\top\Sigma_\text{ref}w_s}$: every head scaled to unit length first.

    Normalising gives the shorter head more say (shorter, not less noisy).

    Args:
        heads: (..., S, d) linear classifiers, none of them 0.
        weights: (S,) α, fractions that sum to one.
        ref: the reference target, whose covariance measures lengths.

    Raises:
        ValueError: weights are negative or do not sum to 1, a head has length 0, or the shapes do not match.

    Source: Theorem 2b (normalised heads).
    """
    array = as_float_array(heads)
    if array.ndim < 2 or array.shape[-1] != ref.dimension:
        raise ValueError(f"heads must have shape (..., S, {ref.dimension}), got {array.shape}")
    lengths = jnp.sqrt(cov.quadratic_form(ref.covariance, array))
    require(lengths > 0, lengths, "a head cannot be normalised: its length must be > 0")
    return ensemble(array / lengths[..., None], weights)


def normalised_ensemble_slope(
    margins_shift: ArrayLike, margins_ref: ArrayLike, weights: ArrayLike
) -> Float[Array, "..."]:
    r"""The slope of a normalised ensemble from its heads' margins, exact at every n for proportional covariances.

    $$\frac{m_\text{shift}}{m_\text{ref}}=\frac{\sum_s\alpha_sm_{s,\text{shift}}}{\sum_s\alpha_sm_{s,\text{ref}}}$$

    Args:
        margins_shift: (..., S) measured margins (probits) of the heads on the shift.
        margins_ref: (..., S) measured margins of the heads on the reference.
        weights: (S,) α, fractions that sum to one.

    Raises:
        ValueError: weights are negative or do not sum to 1, or the numbers of heads differ.

    Source: Theorem 2b (mediant of measured margins).
    """
    reference = as_float_array(margins_ref)
    num_heads = reference.shape[-1] if reference.ndim else 0
    return mediant(margins_shift, reference, check_shares(weights, num_heads, "weights"))


def normalised_ensemble_slope_at(
    sources: Sequence[Source], weights: ArrayLike, ref: Target, shift: Target, num_samples: ArrayLike
) -> Float[Array, "..."]:
    r"""The leading-order slope of a normalised ensemble with heads on n samples each.

    It is `normalised_ensemble_slope` with every head at its `place`; it moves with n, because the lengths of the
    heads do.

    Args:
        sources: S training distributions, one for each head.
        weights: (S,) α, fractions that sum to one.
        ref: the reference target.
        shift: the shifted target, with a covariance proportional to the reference's.
        num_samples: n > 0, any shape.

    Raises:
        ValueError: weights are negative or do not sum to 1, n is not > 0, the covariances of the targets are
            not proportional, or the numbers of features differ.

    Source: Theorem 2b (normalised heads).
    """
    dimension = check_dimensions(*sources, ref, shift)
    if cov.proportionality(ref.covariance, shift.covariance, dimension) is None:
        raise ValueError(
            "the mediant of margins does not apply: the covariances of reference and shift are not proportional"
        )
    on_shift, on_ref = (
        jnp.stack([place(source, target, num_samples) for source in sources], axis=-1)
        for target in (shift, ref)
    )
    return normalised_ensemble_slope(on_shift, on_ref, weights)

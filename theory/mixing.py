r"""Theorem 2: mixing training data dilutes robustness, because the mixture's slope is a weighted mediant.

Use `mixture_slope` for one mixture with everything worth knowing about it (is the mediant valid, can the slope
leave the sources' interval, where is it unbounded), `limiting_slope` and `mixture_place` for whole curves over
shares and n (vectorised, differentiable), `theory.shares` to choose shares for a wanted slope, and
`mixture_source` to treat a mixture as one source in `theory.single_source`.

Counts may be fixed (source s gives exactly p_s n samples) or random (every sample picks its source with
probability p_s, "multinomial"): random counts add the spread of the means to the noise, which changes the place
and not the limiting slope.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from theory import covariance as cov
from theory.arrays import ArrayLike, as_float_array, check_counts, check_shares, is_concrete
from theory.gaussian import Source, Target, check_dimensions
from theory.single_source import slope as source_slope

Counts = Literal["fixed", "multinomial"]


def mediant(numerators: ArrayLike, denominators: ArrayLike, weights: ArrayLike) -> Float[Array, "..."]:
    r"""The weighted mediant $\sum_sw_sx_s\,/\,\sum_sw_sy_s$ over the last axis.

    It lies between the smallest and the largest $x_s/y_s$ whenever all $w_s\ge0$ and $y_s>0$.

    Args:
        numerators: (..., S) values $x_s$.
        denominators: (..., S) values $y_s$ in the same unit; they may be 0 or negative.
        weights: (..., S) numbers; their scale does not matter.

    Returns:
        (...) ratios; ±inf or not a number where the denominator vanishes.

    Raises:
        ValueError: the last axes differ in length.

    Source: Theorem 2.
    """
    x, y, w = (as_float_array(values) for values in (numerators, denominators, weights))
    lengths = {array.shape[-1] if array.ndim else 0 for array in (x, y, w)}
    if len(lengths) > 1 or 0 in lengths:
        raise ValueError(
            f"numerators, denominators and weights need one entry for each source, got shapes {x.shape}, "
            f"{y.shape} and {w.shape}"
        )
    return jnp.sum(w * x, axis=-1) / jnp.sum(w * y, axis=-1)


def mixture_source(sources: Sequence[Source], shares: ArrayLike) -> Source:
    r"""The mixture as one source (fixed counts): $\nu_p=\sum_sp_s\nu_s$, $\Gamma_p=\sum_sp_s\Gamma_s$.

    The averaging classifier of n samples is exactly $\mathcal N(\nu_p,\Gamma_p/n)$, as for a single source, so
    that everything in `theory.single_source` applies to the result.

    Args:
        sources: S training distributions.
        shares: (S,) fractions that sum to one.

    Raises:
        ValueError: shares are negative or do not sum to 1, or the numbers of features differ.

    Source: Theorem 2.
    """
    dimension = check_dimensions(*sources)
    weights = check_shares(shares, len(sources))
    mean = weights @ jnp.stack([source.mean for source in sources])
    noise = cov.weighted_sum(weights, tuple(source.covariance for source in sources), dimension)
    if not is_concrete(weights):
        return Source(mean, noise, "mixture")
    named = [source.name or f"source {index + 1}" for index, source in enumerate(sources)]
    label = "+".join(f"{name}:{float(p):.4g}" for name, p in zip(named, weights, strict=True))
    return Source(mean, noise, label)


def alignments(sources: Sequence[Source], target: Target) -> Float[Array, " s"]:
    r"""$a_{s,t}=\nu_s\cdot\mu_t$ for every source; with the reference as target these are the $b_s$.

    Raises:
        ValueError: the numbers of features differ, or there is no source.
    """
    check_dimensions(*sources, target)
    return jnp.stack([source.mean for source in sources]) @ target.mean


def limiting_slope(
    sources: Sequence[Source], shares: ArrayLike, ref: Target, shift: Target
) -> Float[Array, "..."]:
    r"""The slope of mixtures as n → ∞, for any covariances.

    $$\rho_p=\frac{\sum_sp_sa_s}{\sum_sp_sb_s}
      \sqrt{\frac{\nu_p^\top\Sigma_\text{ref}\nu_p}{\nu_p^\top\Sigma_\text{shift}\nu_p}}$$

    Args:
        sources: S training distributions.
        shares: (..., S) fractions that sum to one.
        ref: the reference target.
        shift: the shifted target.

    Returns:
        (...) slopes; ±inf or not a number where $\sum_sp_sb_s=0$ (`mixture_slope` reports where that is).

    Raises:
        ValueError: shares are negative or do not sum to 1, or the numbers of features differ.

    Source: Theorem 2.
    """
    weights = check_shares(shares, len(sources))
    ratio = mediant(alignments(sources, shift), alignments(sources, ref), weights)
    lengths = [_pooled(weights, _gram(sources, target)) for target in (ref, shift)]
    return ratio * jnp.sqrt(lengths[0] / lengths[1])


def mixture_place(
    sources: Sequence[Source],
    shares: ArrayLike,
    target: Target,
    num_samples: ArrayLike,
    counts: Counts = "fixed",
) -> Float[Array, "..."]:
    r"""The leading-order margin of the averaging classifier of a mixture of n samples.

    $$m_t\approx\frac{\sum_sp_sa_{s,t}}{\sqrt{\nu_p^\top\Sigma_t\nu_p+\frac1n\bigl(\operatorname{tr}\Gamma_p\Sigma_t
      +\Delta\bigr)}},\qquad\Delta=\begin{cases}0&\text{fixed counts}\\
      \sum_sp_s\nu_s^\top\Sigma_t\nu_s-\nu_p^\top\Sigma_t\nu_p&\text{random counts}\end{cases}$$

    The order of its bias is that of `theory.single_source.place`.

    Args:
        sources: S training distributions.
        shares: (..., S) fractions that sum to one.
        target: the reference or a shift.
        num_samples: n > 0; broadcasts with the leading axes of `shares`.
        counts: "fixed" or "multinomial" (every sample picks its source at random).

    Raises:
        ValueError: shares are negative or do not sum to 1, n is not > 0, `counts` is unknown, or the numbers
            of features differ.

    Source: Theorem 2.
    """
    if counts not in ("fixed", "multinomial"):
        raise ValueError(f"counts must be 'fixed' or 'multinomial', got {counts!r}")
    weights, n = check_shares(shares, len(sources)), check_counts(num_samples)
    dimension = check_dimensions(*sources, target)
    gram = _gram(sources, target)
    traces = jnp.stack([cov.trace_product(s.covariance, target.covariance, dimension) for s in sources])
    signal = _pooled(weights, gram)
    noise = weights @ traces
    if counts == "multinomial":
        noise = noise + weights @ jnp.diagonal(gram) - signal
    return (weights @ alignments(sources, target)) / jnp.sqrt(signal + noise / n)


@dataclass(frozen=True)
class VanishingSignal:
    """A mixture of two sources whose reference signal Σ p_s b_s is 0: the slope is unbounded around it.

    Attributes:
        first: index of the source with `share`.
        second: index of the source with 1 - share.
        share: share of the first source at which the signal vanishes, in (0, 1).
    """

    first: int
    second: int
    share: float


@dataclass(frozen=True)
class MixtureSlope:
    """The slope of a mixture and what the mediant says about it.

    Attributes:
        slope: the limiting slope (±inf if the reference signal vanishes).
        is_mediant: whether the targets' covariances are proportional, so that the slope is the mediant.
        low: the smallest slope among the sources.
        high: the largest slope among the sources.
        source_slopes: (S,) slope of each source alone.
        reference_signals: (S,) b_s, the sources' alignments with the reference.
        weights: (S,) mediant weights p_s b_s / Σ p b (not numbers if the signal vanishes).
        guarantee: "inside" (a mediant of sources with b_s >= 0: the slope lies in [low, high]), "may leave"
            (a mediant, but a source in the mixture has b_s < 0), "vertical" (Σ p_s b_s = 0) or
            "not a mediant" (the targets' covariances are not proportional: nothing keeps the slope inside).
        vanishing: the mixtures of two of the sources at which the reference signal is 0.
    """

    slope: float
    is_mediant: bool
    low: float
    high: float
    source_slopes: tuple[float, ...]
    reference_signals: tuple[float, ...]
    weights: tuple[float, ...]
    guarantee: Literal["inside", "may leave", "vertical", "not a mediant"]
    vanishing: tuple[VanishingSignal, ...]

    @property
    def inside(self) -> bool:
        """Whether the slope does lie between the sources' slopes (up to rounding)."""
        slack = 1e-6 * max(abs(x) for x in (*self.source_slopes, 0.0) if np.isfinite(x))
        return bool(self.low - slack <= self.slope <= self.high + slack)

    def describe(self) -> str:
        """The finding in words."""
        span = f"the sources' interval [{self.low:.4g}, {self.high:.4g}]"
        where = "inside" if self.inside else "outside"
        text = {
            "inside": f"slope {self.slope:.4g}, a mediant and therefore inside {span}",
            "may leave": f"slope {self.slope:.4g}, {where} {span}: a source has negative reference signal",
            "vertical": f"slope unbounded: the reference signal of this mixture vanishes, {span} is no bound",
            "not a mediant": (
                f"slope {self.slope:.4g}, {where} {span}: the mediant does not apply because the covariances "
                "of reference and shift are not proportional"
            ),
        }[self.guarantee]
        for point in self.vanishing:
            text += f"; unbounded at share {point.share:.4g} of source {point.first + 1} in source {point.second + 1}"
        return text


def mixture_slope(sources: Sequence[Source], shares: ArrayLike, ref: Target, shift: Target) -> MixtureSlope:
    r"""The slope of one mixture (n → ∞): a weighted mediant if $\Sigma_\text{shift}=c^2\Sigma_\text{ref}$.

    $$\rho_p=\frac{\sum_sp_sb_s\rho_s}{\sum_sp_sb_s}=\frac{\sum_sp_sa_s}{c\sum_sp_sb_s}$$

    If all b_s > 0, no mixture beats the best source's slope or falls under the worst's. The weight is share
    times reference signal. With some b_s < 0 the slope can leave the interval and is unbounded where
    $\sum_sp_sb_s=0$; without proportional covariances it is the exact limit of `limiting_slope` and no mediant.
    With proportional covariances the same slope holds at every n and for fixed and random counts alike.

    Args:
        sources: S training distributions.
        shares: (S,) fractions that sum to one.
        ref: the reference target.
        shift: the shifted target.

    Raises:
        ValueError: shares are negative or do not sum to 1, the numbers of features differ, or the call is
            inside `jit` (use `limiting_slope` there).

    Source: Theorem 2 (weighted mediant).
    """
    if not is_concrete(list(sources), shares, ref, shift):
        raise ValueError("mixture_slope reports numbers and cannot be called inside jit: use limiting_slope")
    dimension = check_dimensions(*sources, ref, shift)
    p = np.asarray(check_shares(shares, len(sources)), dtype=np.float64)
    if p.ndim != 1:
        raise ValueError(f"mixture_slope takes one mixture, shares of shape (S,), got {p.shape}")
    a, b = (np.asarray(alignments(sources, target), dtype=np.float64) for target in (shift, ref))
    rounding = 64 * float(jnp.finfo(ref.mean.dtype).eps)
    signal = float(p @ b)
    lone = np.array([float(source_slope(source, ref, shift)) for source in sources])
    known = lone[~np.isnan(lone)]
    vertical = abs(signal) <= rounding * float(p @ np.abs(b))
    proportional = cov.proportionality(ref.covariance, shift.covariance, dimension) is not None
    if vertical:
        numerator = float(p @ a)
        silent = abs(numerator) <= rounding * float(p @ np.abs(a))
        value = np.nan if silent else np.copysign(np.inf, numerator)
        guarantee = "vertical"
    else:
        value = float(limiting_slope(sources, p, ref, shift))
        negative = bool(np.any(b[p > 0] < 0))
        guarantee = "not a mediant" if not proportional else "may leave" if negative else "inside"
    return MixtureSlope(
        slope=float(value),
        is_mediant=proportional,
        low=float(known.min()) if known.size else np.nan,
        high=float(known.max()) if known.size else np.nan,
        source_slopes=tuple(lone.tolist()),
        reference_signals=tuple(b.tolist()),
        weights=tuple((p * b / signal).tolist()) if not vertical else (np.nan,) * len(sources),
        guarantee=guarantee,
        vanishing=_vanishing(b),
    )


def _vanishing(signals: np.ndarray) -> tuple[VanishingSignal, ...]:
    return tuple(
        VanishingSignal(i, j, float(signals[j] / (signals[j] - signals[i])))
        for i in range(len(signals))
        for j in range(i + 1, len(signals))
        if signals[i] * signals[j] < 0
    )


def _gram(sources: Sequence[Source], target: Target) -> Float[Array, "s s"]:
    means = jnp.stack([source.mean for source in sources])
    return means @ cov.apply(target.covariance, means).T


def _pooled(weights: Float[Array, "... s"], gram: Float[Array, "s s"]) -> Float[Array, "..."]:
    return jnp.einsum("...s,st,...t->...", weights, gram, weights)

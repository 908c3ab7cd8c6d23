r"""Theorem 1: models trained on more and more data of one source move along a line through the origin.

In the plane (margin on the reference, margin on the shift) the averaging classifier of n samples lies near
$\rho_s(n)$ times its reference margin. Use `slope` and `place_limit` for n → ∞, `slope_at` and `place` for
finite n, `bending` to see whether the line is straight, `slope_distribution` for the exact law of the ratio of
margins (it has no mean: use its median, quantiles and Fieller set, see `theory.ratio_law`), `growth_exponent` for the speed along
the line. A mixture is a `Source` too: pass `theory.mixing.mixture_source(...)`.

Finite-d bias. `place` is a ratio of expectations, $a/\sqrt{E\,q}$. The expectation of the margin differs from
it by a relative O(1/d_eff), uniformly in n, with d_eff = tr(ΓΣ)²/tr((ΓΣ)²), which is d for isotropic Γ and Σ
(`AveragingLaw.expected_margin` gives the term). In $E\,m_\text{shift}/E\,m_\text{ref}$ the common part of that
bias cancels: for isotropic Γ and Σ the ratio of expectations is $\rho_s$ **exactly at every n** (the law of ŵ
is symmetric around ν), otherwise it differs by a relative O(1/(n q + tr ΓΣ)). The expectation of the ratio
$E[m_\text{shift}/m_\text{ref}]$ does not exist: the denominator has a density at 0.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from theory import covariance as cov
from theory.arrays import ArrayLike, Scalar, check_counts, is_concrete
from theory.classifiers import averaging_law
from theory.gaussian import Source, Target, alignment, check_dimensions
from theory.ratio_law import RatioLaw


def signal_length(source: Source, target: Target) -> Float[Array, ""]:
    r"""$\nu^\top\Sigma_t\nu$, the squared length of a source's mean as the target measures it."""
    check_dimensions(source, target)
    return cov.quadratic_form(target.covariance, source.mean)


def noise_length(source: Source, target: Target) -> Float[Array, ""]:
    r"""$\operatorname{tr}(\Gamma\Sigma_t)$, the squared length of one sample's noise as the target measures it."""
    dimension = check_dimensions(source, target)
    return cov.trace_product(source.covariance, target.covariance, dimension)


def slope(source: Source, ref: Target, shift: Target) -> Float[Array, ""]:
    r"""The slope of a source's line as n → ∞.

    $$\rho_s=\frac{a_\text{shift}}{a_\text{ref}}
      \sqrt{\frac{\nu^\top\Sigma_\text{ref}\nu}{\nu^\top\Sigma_\text{shift}\nu}}
      \;=\;\frac{a_\text{shift}}{c\,a_\text{ref}}\ \text{ if }\Sigma_\text{shift}=c^2\Sigma_\text{ref}.$$

    Returns:
        A number without unit; ±inf if the source knows nothing of the reference ($a_\text{ref}=0$), not a
        number if of neither.

    Raises:
        ValueError: source and targets differ in the number of features.

    Source: Theorem 1.
    """
    check_dimensions(source, ref, shift)
    bend = jnp.sqrt(signal_length(source, ref) / signal_length(source, shift))
    return alignment(source, shift) / alignment(source, ref) * bend


def slope_at(source: Source, ref: Target, shift: Target, num_samples: ArrayLike) -> Float[Array, "..."]:
    r"""The leading-order slope at n samples, monotone in n.

    $$\rho_s(n)=\frac{a_\text{shift}}{a_\text{ref}}\sqrt{\frac{q_\text{ref}(n)}{q_\text{shift}(n)}},\qquad
      q_t(n)=\nu^\top\Sigma_t\nu+\operatorname{tr}(\Gamma\Sigma_t)/n.$$

    Args:
        source: the training distribution.
        ref: the reference target.
        shift: the shifted target.
        num_samples: n > 0, any shape.

    Raises:
        ValueError: n is not > 0, or the numbers of features differ.

    Source: Theorem 1.
    """
    n = check_counts(num_samples)
    lengths = [signal_length(source, t) * n + noise_length(source, t) for t in (ref, shift)]
    return alignment(source, shift) / alignment(source, ref) * jnp.sqrt(lengths[0] / lengths[1])


def place(source: Source, target: Target, num_samples: ArrayLike) -> Float[Array, "..."]:
    r"""Where on its line a model of n samples stands: its leading-order margin on a target.

    $$m_t(n)\approx\frac{a_t}{\sqrt{\nu^\top\Sigma_t\nu+\operatorname{tr}(\Gamma\Sigma_t)/n}}$$

    See the module's docstring for the order of its bias.

    Args:
        source: the training distribution.
        target: the reference or a shift.
        num_samples: n > 0, any shape.

    Raises:
        ValueError: n is not > 0, or the numbers of features differ.

    Source: Theorem 1.
    """
    n = check_counts(num_samples)
    return alignment(source, target) / jnp.sqrt(
        signal_length(source, target) + noise_length(source, target) / n
    )


def place_limit(source: Source, target: Target) -> Float[Array, ""]:
    r"""The margin at which more data of this source stops helping, $a_t/\sqrt{\nu^\top\Sigma_t\nu}$ (Theorem 1)."""
    return alignment(source, target) / jnp.sqrt(signal_length(source, target))


def growth_exponent(source: Source, target: Target, num_samples: ArrayLike) -> Float[Array, "..."]:
    r"""How fast the margin grows with data: it lies in [0, 1/2] and falls with n.

    $$\frac{d\log m_t}{d\log n}=\frac12\,\frac{\operatorname{tr}(\Gamma\Sigma_t)/n}
      {\nu^\top\Sigma_t\nu+\operatorname{tr}(\Gamma\Sigma_t)/n}\le\frac12$$

    A shift on which real models grow faster is outside this theory.

    Args:
        source: the training distribution.
        target: the reference or a shift.
        num_samples: n > 0, any shape.

    Raises:
        ValueError: n is not > 0, or the numbers of features differ.

    Source: Theorem 1 (growth bound).
    """
    noise = noise_length(source, target) / check_counts(num_samples)
    return 0.5 * noise / (signal_length(source, target) + noise)


@dataclass(frozen=True)
class Bending:
    """The two ends of a source's line.

    Attributes:
        scarce: the slope for n → 0 (noise decides the lengths).
        plentiful: the slope for n → ∞ (the mean decides the lengths).
        straight: whether they agree, so that the slope is the same at every n.
    """

    scarce: float
    plentiful: float
    straight: bool

    def describe(self) -> str:
        """The finding in words."""
        if self.straight:
            return f"a straight line through the origin of slope {self.plentiful:.4g}"
        return (
            f"a line that bends from slope {self.scarce:.4g} (scarce data) to {self.plentiful:.4g} (plenty)"
        )


def bending(source: Source, ref: Target, shift: Target) -> Bending:
    r"""How the slope moves with n, from n → 0 to n → ∞.

    $$\frac{a_\text{shift}}{a_\text{ref}}\sqrt{\frac{\operatorname{tr}\Gamma\Sigma_\text{ref}}
      {\operatorname{tr}\Gamma\Sigma_\text{shift}}}\ \longrightarrow\ \frac{a_\text{shift}}{a_\text{ref}}
      \sqrt{\frac{\nu^\top\Sigma_\text{ref}\nu}{\nu^\top\Sigma_\text{shift}\nu}}$$

    The line is straight iff the two agree; proportional covariances of the targets suffice, they are not
    necessary.

    Raises:
        ValueError: called inside `jit`, or the numbers of features differ.

    Source: Theorem 1 (bending).
    """
    if not is_concrete(source, ref, shift):
        raise ValueError(
            "bending reports numbers and cannot be called inside jit: use slope and slope_at there"
        )
    ratio = alignment(source, shift) / alignment(source, ref)
    noise = [float(noise_length(source, t)) for t in (ref, shift)]
    signal = [float(signal_length(source, t)) for t in (ref, shift)]
    rounding = 1024 * float(jnp.finfo(source.mean.dtype).eps)
    # Compared as products, so that a source without noise (which has no scarce end) counts as straight.
    difference = abs(noise[0] * signal[1] - noise[1] * signal[0])
    straight = difference <= rounding * max(abs(noise[0] * signal[1]), abs(noise[1] * signal[0]))
    plentiful = float(slope(source, ref, shift))
    scarce = float(ratio * jnp.sqrt(jnp.asarray(noise[0]) / noise[1])) if max(noise) > 0 else plentiful
    return Bending(scarce, plentiful, straight or max(noise) == 0)


def slope_distribution(source: Source, ref: Target, shift: Target, num_samples: Scalar) -> RatioLaw:
    r"""The exact law of $m_\text{shift}/m_\text{ref}$ of one averaging classifier of n samples.

    With $\Sigma_\text{shift}=c^2\Sigma_\text{ref}$ the lengths cancel exactly at every n and the ratio is
    $(\hat w\cdot\mu_\text{shift})/(c\,\hat w\cdot\mu_\text{ref})$, a ratio of two correlated Gaussians with means
    $a_t$ and covariance $\mu_t^\top\Gamma\mu_{t'}/n$.

    Args:
        source: the training distribution.
        ref: the reference target.
        shift: the shifted target.
        num_samples: n > 0.

    Returns:
        The law of the numerator and denominator, with median, quantiles and Fieller set.

    Raises:
        ValueError: the targets' covariances are not proportional (the lengths then do not cancel: sample the
            classifiers), n is not > 0, or the numbers of features differ.

    Source: Theorem 1.
    """
    dimension = check_dimensions(source, ref, shift)
    squared = cov.proportionality(ref.covariance, shift.covariance, dimension)
    if squared is None or squared == 0:
        raise ValueError(
            "the law of the slope is exact only if the shift's covariance is a positive multiple of the "
            "reference's; use slope_at, or sample the classifiers"
        )
    law = averaging_law([source], check_counts(num_samples))
    c = squared**0.5
    return RatioLaw(
        numerator_mean=float(law.projection_mean(shift)) / c,
        denominator_mean=float(law.projection_mean(ref)),
        numerator_variance=float(law.projection_covariance(shift)) / squared,
        denominator_variance=float(law.projection_covariance(ref)),
        covariance=float(law.projection_covariance(shift, ref)) / c,
    )

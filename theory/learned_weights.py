r"""Theorem 4: learners that whiten follow a mediant too, with weights that they learn.

For isotropic noise $\Gamma_s=\gamma_s^2I$ (the γ_s may differ) Stein's identity turns the stationarity of
$\sum_sp_sE\,\ell(u\cdot w)+\frac\lambda2\|w\|^2$ into

$$w\Bigl(\lambda+\sum_sp_s\gamma_s^2\kappa_s\Bigr)=\sum_sp_sF_s\nu_s,\qquad F_s=-E\,\ell',\quad\kappa_s=E\,\ell'',$$

in the population and, for the mean of w, at n/d → δ. The slope is therefore the mediant of the sources' slopes with weights
$p_sF_sb_s$ in place of averaging's $p_sb_s$. Decreasing losses (logistic, hinge, hard margin) have F_s > 0: dilution holds. The
square loss has $F_s=1-m_s$ up to a positive factor, negative for a source that is fitted beyond its label. Noise Γ of one
shape and λ = 0 are the same after whitening. Noise of different shapes is no mediant for any learner that whitens.

Use `learned_weights` on a solution of `theory.asymptotics` to get the weights, the slope and what is guaranteed, in words.
`theory.escape` looks for the settings in which the guarantee is lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from theory import covariance as cov
from theory.asymptotics import Asymptotics
from theory.gaussian import Source, Target, check_dimensions
from theory.mixing import mediant

#: Losses that decrease everywhere, so that every source pulls towards its own mean.
DECREASING: tuple[str, ...] = ("logistic", "hinge", "hard_margin")

Noise = Literal["isotropic", "common, unregularised", "different shapes"]
Guarantee = Literal["inside", "may leave", "not a mediant"]


@dataclass(frozen=True, eq=False)
class LearnedWeights:
    """What Theorem 4 says about one learner on one mixture.

    Attributes:
        learner: as `Asymptotics.learner`.
        noise: the shape of the sources' noise, which decides whether there is a mediant.
        pulls: F_s, shape (S,); the positive common factor has no meaning.
        reference_signals: b_s (after whitening, where noise is common), shape (S,).
        weights: p_sF_sb_s scaled to sum 1, shape (S,); not numbers without a mediant.
        source_slopes: each source's slope under the same learner, shape (S,); not numbers without a mediant.
        slope: the mediant with these weights, or the learner's own slope where there is no mediant.
        guarantee: "inside" (all weights are >= 0 and all b_s > 0), "may leave" or "not a mediant".
    """

    learner: str
    noise: Noise
    pulls: Float[np.ndarray, " s"]
    reference_signals: Float[np.ndarray, " s"]
    weights: Float[np.ndarray, " s"]
    source_slopes: Float[np.ndarray, " s"]
    slope: float
    guarantee: Guarantee

    @property
    def inside(self) -> bool:
        """Whether the slope lies between the sources' slopes, up to rounding."""
        slack = 1e-6 * float(np.abs(self.source_slopes).max())
        return bool(self.source_slopes.min() - slack <= self.slope <= self.source_slopes.max() + slack)

    def describe(self) -> str:
        """The finding in words, with the reason."""
        if self.guarantee == "not a mediant":
            return (
                f"{self.learner}: slope {self.slope:.4g}; the sources' noise differs in shape, so mixing changes what is "
                "whitened and no mediant holds"
            )
        span = f"the sources' interval [{self.source_slopes.min():.4g}, {self.source_slopes.max():.4g}]"
        told = f"{self.learner}: slope {self.slope:.4g}, "
        if self.guarantee == "inside":
            why = (
                "its loss decreases" if self.learner in DECREASING else "no source is fitted beyond its label"
            )
            return f"{told}a mediant with learned weights and therefore inside {span}: {why}, so every source pulls its own way"
        where = "inside" if self.inside else "outside"
        subtracted = np.flatnonzero(self.pulls < 0)
        why = (
            f"source {subtracted[0] + 1} is fitted beyond its label and subtracted"
            if len(subtracted)
            else "a source has no positive reference signal"
        )
        return f"{told}{where} {span}: {why}"


def noise_of(solution: Asymptotics, sources: Sequence[Source]) -> Noise:
    """Which case of Theorem 4 a solution falls under: what the sources' noise looks like.

    "isotropic" allows a level for each source and any λ; noise of another shape must be the same for all (up to rounding) and
    λ must be 0.
    """
    d = check_dimensions(*sources)
    identity = jnp.ones((), sources[0].covariance.dtype)
    if all(cov.proportionality(identity, s.covariance, d) is not None for s in sources):
        return "isotropic"
    ratios = [cov.proportionality(sources[0].covariance, s.covariance, d) for s in sources]
    common = all(ratio is not None and abs(ratio - 1) < 1e-6 for ratio in ratios)
    free = bool(np.all(np.asarray(solution.penalty) == 0))
    return "common, unregularised" if common and free else "different shapes"


def learned_weights(
    solution: Asymptotics, sources: Sequence[Source], ref: Target, shift: Target
) -> LearnedWeights:
    r"""The weights $p_sF_sb_s$ a learner gives its sources, the mediant slope, and whether dilution is guaranteed.

    $$\rho=\frac{\sum_sp_sF_sa_s}{c\sum_sp_sF_sb_s},\qquad\Sigma_\text{shift}=c^2\Sigma_\text{ref}$$

    With common noise Γ and λ = 0, $a_s=\nu_s^\top\Gamma^{-1}\mu_\text{shift}$ and $b_s=\nu_s^\top\Gamma^{-1}\mu_\text{ref}$.

    Args:
        solution: one setting (no batch) of `asymptotics`, `population_solution`, `minimum_norm_asymptotics` or
            `hard_margin_asymptotics`.
        sources: the sources it was computed for.
        ref: the reference target.
        shift: the shifted target; its covariance must be proportional to the reference's.

    Raises:
        ValueError: a batch of solutions, sources that do not fit it, or covariances that are not proportional.

    Source: Theorem 4.
    """
    if solution.num_samples.ndim:
        raise ValueError(
            f"learned_weights takes one setting, got a batch of shape {solution.num_samples.shape}"
        )
    if len(sources) != solution.shares.shape[-1]:
        raise ValueError(f"the solution has {solution.shares.shape[-1]} sources, got {len(sources)}")
    d = check_dimensions(*sources, ref, shift)
    ratio = cov.proportionality(ref.covariance, shift.covariance, d)
    if ratio is None:
        raise ValueError("the covariances of reference and shift must be proportional for a mediant")
    noise = noise_of(solution, sources)
    if noise == "common, unregularised":
        whitened = [jnp.linalg.solve(cov.as_matrix(sources[0].covariance, d), t.mean) for t in (ref, shift)]
    else:
        whitened = [ref.mean, shift.mean]
    means = jnp.stack([source.mean for source in sources])
    b, a = (np.asarray(means @ direction, np.float64) for direction in whitened)
    pulls, shares = (np.asarray(x, np.float64) for x in (solution.pulls, solution.shares))
    if noise == "different shapes":
        unknown = np.full(len(sources), np.nan)
        own = float(solution.slope(ref, shift))
        return LearnedWeights(solution.learner, noise, pulls, b, unknown, unknown, own, "not a mediant")
    slope = float(mediant(a, b, shares * pulls)) / np.sqrt(ratio)
    products = shares * pulls * b
    with np.errstate(divide="ignore", invalid="ignore"):
        source_slopes = a / (b * np.sqrt(ratio))
    used = shares > 0
    sure = bool((b[used] > 0).all() and (products[used] >= 0).all())
    return LearnedWeights(
        solution.learner,
        noise,
        pulls,
        b,
        products / products.sum(),
        source_slopes,
        slope,
        "inside" if sure else "may leave",
    )

"""Finite-size corrections for filtered data: covariances in factors, and the mean margin to second order.

The closed forms for the place on the line (Theorems 1-3) replace the squared length q = ŵᵀΣŵ by its mean. What that leaves
out is O(1/n) with d fixed, and O(1/d) at a fixed ratio n/d. For unfiltered data use `AveragingLaw.expected_margin`; this
module does the same for covariances of low rank plus something simple, and for a random number of samples.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from theory import covariance as cov
from theory.gaussian import Target


@dataclass(frozen=True, eq=False)
class LowRankCovariance:
    """A covariance B + U diag(s) Uᵀ kept in factors, so that nothing of size d x d is formed.

    Args:
        base: B, a scalar variance, a diagonal (d,) or a matrix (d, d).
        factors: U, shape (d, k).
        scales: s, shape (k,), any sign.
    """

    base: Float[Array, "..."]
    factors: Float[Array, "d k"]
    scales: Float[Array, " k"]

    @property
    def dimension(self) -> int:
        """The number of features d."""
        return self.factors.shape[0]

    def __truediv__(self, number: Float[Array, ""] | float) -> "LowRankCovariance":
        """The covariance of a mean of `number` samples."""
        return LowRankCovariance(self.base / number, self.factors, self.scales / number)

    def quadratic_form(self, u: Float[Array, " d"], v: Float[Array, " d"]) -> Float[Array, ""]:
        """uᵀ(B + U diag(s) Uᵀ)v."""
        low_rank = jnp.sum(self.scales * (u @ self.factors) * (v @ self.factors))
        return cov.quadratic_form(self.base, u, v) + low_rank

    def trace_product(self, other: Float[Array, "..."]) -> Float[Array, ""]:
        """tr((B + U diag(s) Uᵀ)Σ) for a second covariance Σ in any of the three forms."""
        low_rank = jnp.sum(self.scales * cov.quadratic_form(other, self.factors.T))
        return cov.trace_product(self.base, other, self.dimension) + low_rank

    def trace_squared_product(self, other: Float[Array, "..."]) -> Float[Array, ""]:
        """tr(((B + U diag(s) Uᵀ)Σ)²)."""
        turned = cov.apply(other, self.factors.T)
        cross = jnp.sum(self.scales * cov.quadratic_form(self.base, turned))
        gram = turned @ self.factors
        low_rank = jnp.sum(self.scales[:, None] * self.scales * gram**2)
        return cov.trace_squared_product(self.base, other, self.dimension) + 2 * cross + low_rank

    def dense(self) -> Float[Array, "d d"]:
        """The full matrix."""
        return cov.as_matrix(self.base, self.dimension) + (self.factors * self.scales) @ self.factors.T


def expected_margin(
    mean: Float[Array, " d"],
    covariance: LowRankCovariance,
    target: Target,
    second_order: bool = True,
    length_bias: Float[Array, ""] | float = 0.0,
    length_variance: Float[Array, ""] | float = 0.0,
) -> Float[Array, ""]:
    """Mean margin on a target of a classifier with nearly Gaussian weights.

    With a = mean·μ, Q = meanᵀΣmean + tr(CΣ), V = 4 meanᵀΣCΣmean + 2tr((CΣ)²), K = 2 μᵀCΣmean:

        E m = a/√Q                                               + O(1/n)     (leading order)
        E m = a/√Q − K/(2Q^{3/2}) + 3aV/(8Q^{5/2})               + O(1/n²)    (second order)

    Args:
        mean: E ŵ, shape (d,).
        covariance: C = Cov ŵ in factors; already divided by the sample size.
        target: the test distribution.
        second_order: False gives the leading order, Theorem 1's place on the line.
        length_bias: added to Q at second order, for a sample size that is itself random (Theorem 3).
        length_variance: added to V, for the same reason.

    Returns:
        E m, a scalar without unit (a probit accuracy).

    Source: Theorem 1 (the moments of ŵ·μ and ŵᵀΣŵ) and the delta method.
    """
    stretched = cov.apply(target.covariance, mean)
    a = mean @ target.mean
    q = mean @ stretched + covariance.trace_product(target.covariance)
    leading = a / jnp.sqrt(q)
    if not second_order:
        return leading
    k = 2 * covariance.quadratic_form(target.mean, stretched)
    v = 4 * covariance.quadratic_form(stretched, stretched)
    v = v + 2 * covariance.trace_squared_product(target.covariance) + length_variance
    return leading - 0.5 * (k + a * length_bias) / q**1.5 + 0.375 * a * v / q**2.5

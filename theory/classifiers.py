r"""The averaging classifier $\hat w = \frac1n\sum_i y_ix_i$ and its law, exact for fixed counts.

Use `averaging_classifier` on samples, `averaging_law` for the law when each source gives a fixed number of
samples (exactly Gaussian), `multinomial_law` for its first two moments when counts are drawn (not Gaussian).
`AveragingLaw` answers what the theorems need: projections $\hat w\cdot\mu_t$, squared lengths
$q_t=\hat w^\top\Sigma_t\hat w$, their covariances, and the mean margin to second order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key, UInt32

from theory import covariance as cov
from theory.arrays import ArrayLike, as_float_array, check_counts, check_shares, require
from theory.gaussian import Source, Target, check_dimensions


def averaging_classifier(features: ArrayLike, labels: ArrayLike) -> Float[Array, "... d"]:
    r"""$\hat w = \frac1n\sum_i y_ix_i$ from features (..., n, d) and labels ±1 (..., n).

    Raises:
        ValueError: the shapes do not match, there is no sample, or a label is not ±1.
    """
    x, y = as_float_array(features), as_float_array(labels)
    if x.ndim < 2 or x.shape[:-1] != y.shape or y.shape[-1] == 0:
        raise ValueError(
            f"features (..., n, d) and labels (..., n) with n >= 1 are needed, got {x.shape} and {y.shape}"
        )
    require(jnp.abs(y) == 1, y, "every label must be -1 or 1")
    return jnp.einsum("...n,...nd->...d", y, x) / y.shape[-1]


@dataclass(frozen=True, eq=False)
class AveragingLaw:
    r"""Mean and covariance of a linear classifier made by averaging; Gaussian if `is_gaussian`.

    For fixed counts $\hat w\sim\mathcal N(\nu_p, C)$ with $C=\Gamma_p/n$ exactly, so that

    $$E\,\hat w\cdot\mu_t=a_t,\quad \operatorname{Cov}(\hat w\cdot\mu_t,\hat w\cdot\mu_{t'})=\mu_t^\top C\mu_{t'},$$
    $$E\,q_t=\nu^\top\Sigma_t\nu+\operatorname{tr}(C\Sigma_t),\quad
      \operatorname{Var}q_t=4\nu^\top\Sigma_tC\Sigma_t\nu+2\operatorname{tr}((C\Sigma_t)^2),\quad
      \operatorname{Cov}(\hat w\cdot\mu_t,q_{t'})=2\mu_t^\top C\Sigma_{t'}\nu.$$

    The means of projections and $E\,q_t$ need two moments only and hold for random counts too; the other
    moments of $q_t$ use normality. Source: Theorem 1.

    Attributes:
        mean: (d,) E ŵ.
        covariance: (), (d,) or (d, d) covariance of ŵ.
        is_gaussian: True for fixed counts.
    """

    mean: Float[Array, " d"]
    covariance: Float[Array, "..."]
    is_gaussian: bool = True

    @property
    def dimension(self) -> int:
        """The number of features d."""
        return self.mean.shape[-1]

    def projection_mean(self, target: Target) -> Float[Array, ""]:
        r"""$E\,\hat w\cdot\mu_t = a_t$."""
        return self.mean @ target.mean

    def projection_covariance(self, first: Target, second: Target | None = None) -> Float[Array, ""]:
        r"""$\mu_t^\top C\mu_{t'}$; with one target the variance of $\hat w\cdot\mu_t$."""
        return cov.quadratic_form(self.covariance, first.mean, (second or first).mean)

    def squared_length_mean(self, target: Target) -> Float[Array, ""]:
        r"""$E\,q_t$."""
        noise = cov.trace_product(self.covariance, target.covariance, self.dimension)
        return cov.quadratic_form(target.covariance, self.mean) + noise

    def squared_length_variance(self, target: Target) -> Float[Array, ""]:
        r"""$\operatorname{Var}q_t$ for a Gaussian law.

        Raises:
            ValueError: the law is not Gaussian.
        """
        self._require_gaussian("the variance of a squared length")
        turned = cov.apply(target.covariance, self.mean)
        noise = cov.trace_squared_product(self.covariance, target.covariance, self.dimension)
        return 4 * cov.quadratic_form(self.covariance, turned) + 2 * noise

    def projection_length_covariance(self, projected: Target, measured: Target) -> Float[Array, ""]:
        r"""$\operatorname{Cov}(\hat w\cdot\mu_t, q_{t'})$ for a Gaussian law (t projected, t' measured).

        Raises:
            ValueError: the law is not Gaussian.
        """
        self._require_gaussian("the covariance of a projection with a squared length")
        turned = cov.apply(measured.covariance, self.mean)
        return 2 * cov.quadratic_form(self.covariance, projected.mean, turned)

    def place(self, target: Target) -> Float[Array, ""]:
        r"""The leading-order margin $a_t/\sqrt{E\,q_t}$ (see `expected_margin` for its bias)."""
        return self.projection_mean(target) / jnp.sqrt(self.squared_length_mean(target))

    def expected_margin(self, target: Target) -> Float[Array, ""]:
        r"""$E\,m_t(\hat w)$ to second order in the noise, for a Gaussian law.

        $$E\,m_t\approx\frac{a_t}{\sqrt{\bar q}}\Bigl(1+\frac{3\operatorname{Var}q_t}{8\bar q^2}\Bigr)
          -\frac{\operatorname{Cov}(\hat w\cdot\mu_t,q_t)}{2\bar q^{3/2}},\qquad\bar q=E\,q_t.$$

        Relative to `place` both corrections are O(1/d_eff), d_eff = tr(CΣ)²/tr((CΣ)²) (= d if isotropic),
        whatever n; the remainder is of the next order. For isotropic C and Σ the first is at most 15/(8 d).

        Raises:
            ValueError: the law is not Gaussian.
        """
        length = self.squared_length_mean(target)
        spread = self.squared_length_variance(target)
        shared = self.projection_length_covariance(target, target)
        lifted = self.place(target) * (1 + 3 * spread / (8 * length**2))
        return lifted - shared / (2 * length**1.5)

    def margin_variance(self, target: Target) -> Float[Array, ""]:
        r"""The variance of $m_t(\hat w)$ over training sets, to first order, for a Gaussian law.

        $$\operatorname{Var}m_t\approx\frac{\operatorname{Var}(\hat w\cdot\mu_t)}{\bar q}
          -\frac{a_t\operatorname{Cov}(\hat w\cdot\mu_t,q_t)}{\bar q^2}+\frac{a_t^2\operatorname{Var}q_t}{4\bar q^3}.$$

        Raises:
            ValueError: the law is not Gaussian.
        """
        length, signal = self.squared_length_mean(target), self.projection_mean(target)
        shared = self.projection_length_covariance(target, target)
        spread = self.squared_length_variance(target)
        variance = self.projection_covariance(target)
        return variance / length - signal * shared / length**2 + signal**2 * spread / (4 * length**3)

    def sample(
        self, key: Key[Array, ""] | UInt32[Array, "2"], shape: tuple[int, ...] = ()
    ) -> Float[Array, "... d"]:
        """Draw classifiers of shape (*shape, d) from a Gaussian law.

        Raises:
            ValueError: the law is not Gaussian (draw the counts, then use `averaging_law`).
        """
        self._require_gaussian("a direct draw of classifiers")
        return self.mean + cov.sample(key, self.covariance, (*shape, self.dimension))

    def _require_gaussian(self, what: str) -> None:
        if not self.is_gaussian:
            raise ValueError(f"{what} needs fixed counts: draw the counts and use averaging_law on each draw")


def averaging_law(sources: Sequence[Source], counts: ArrayLike) -> AveragingLaw:
    r"""The exact law of ŵ for fixed counts: $\hat w\sim\mathcal N(\sum_sp_s\nu_s,\ \sum_sp_s\Gamma_s/n)$.

    Args:
        sources: S training distributions.
        counts: (S,) samples of each, n = Σ counts, p_s = n_s/n (a number for a single source).

    Raises:
        ValueError: one count for each source is missing, a count is negative, or all are 0.
    """
    dimension = check_dimensions(*sources)
    numbers = jnp.atleast_1d(as_float_array(counts))
    if numbers.shape != (len(sources),):
        raise ValueError(f"counts must have shape ({len(sources)},), got {numbers.shape}")
    require(jnp.isfinite(numbers) & (numbers >= 0), numbers, "every count must be a finite number >= 0")
    total = numbers.sum()
    require(total > 0, total, "at least one sample is needed: the counts must sum to more than 0")
    shares = numbers / total
    mean = shares @ jnp.stack([source.mean for source in sources])
    noise = cov.weighted_sum(shares, tuple(source.covariance for source in sources), dimension)
    return AveragingLaw(mean, noise / total)


def multinomial_law(sources: Sequence[Source], shares: ArrayLike, num_samples: ArrayLike) -> AveragingLaw:
    r"""Mean and covariance of ŵ when each of n samples picks its source at random with probability p_s.

    $$E\,\hat w=\nu_p,\qquad \operatorname{Cov}\hat w=\tfrac1n\Bigl(\Gamma_p+\sum_sp_s\nu_s\nu_s^\top-\nu_p\nu_p^\top\Bigr).$$

    The law is a mixture of Gaussians over the counts, not Gaussian; the covariance is a d x d matrix.
    Source: Theorem 2 (random counts).

    Raises:
        ValueError: shares are negative or do not sum to 1, or num_samples is not > 0.
    """
    dimension = check_dimensions(*sources)
    weights = check_shares(shares, len(sources))
    number = check_counts(num_samples)
    means = jnp.stack([source.mean for source in sources])
    mean = weights @ means
    noise = cov.weighted_sum(weights, tuple(source.covariance for source in sources), dimension)
    centred = means - mean
    spread = jnp.einsum("s,si,sj->ij", weights, centred, centred)
    return AveragingLaw(mean, cov.add(noise, spread, dimension) / number, is_gaussian=False)

r"""Ridge, averaging and interpolation on flipped labels in closed form: what label noise and many weak features do to a line.

Use `noisy_ridge_law` for one source whose training labels are flipped with probability ε. It is the fixed point of
`theory.asymptotics` for the square loss, solved: with the implicit penalty κ from

$$\operatorname{tr}\Gamma(\kappa I+\Gamma)^{-1}=n\,(1-\lambda/\kappa)$$

a trained classifier points, up to its scale, along $r+\mathcal N(0,C)$ with

$$r=(\kappa I+\Gamma)^{-1}\nu,\qquad C=\frac{T}{n(1-D)}\,\Gamma(\kappa I+\Gamma)^{-2},\qquad
D=\tfrac1n\operatorname{tr}\Gamma^2(\kappa I+\Gamma)^{-2},$$
$$T=1+r^\top\Gamma r+\frac{4\varepsilon(1-\varepsilon)}{(1-2\varepsilon)^2}(1+\nu\cdot r)^2.$$

So **label noise enters T alone**: it multiplies the noise of the weights and changes neither what is learned (r) nor how the
noise is spread over the features. λ = 0 with n < d is the minimum-norm interpolator, λ → ∞ the averaging classifier. Exact as
n, d → ∞ at fixed n/d; at finite size the error of a margin is O(1/n). Label noise is two components ±ν with shares 1 − ε
and ε (`theory.with_shuffled_captions(source, 2ε)`), fixed counts.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from theory import covariance as cov
from theory.arrays import ArrayLike, as_float_array, check_counts, require
from theory.classifiers import AveragingLaw
from theory.gaussian import Source, Target, check_dimensions

_BISECTIONS = 80


@dataclass(frozen=True, eq=False)
class NoisyRidgeLaw:
    r"""Where a ridge classifier trained on noisy labels lies, in the limit of many samples and features.

    $$\frac1{m_t^2}=\underbrace{\frac{r^\top\Sigma_tr}{(r\cdot\mu_t)^2}}_{\text{what is learned}}
      +\underbrace{\frac{T}{n(1-D)}\frac{\operatorname{tr}\Sigma_t\Gamma(\kappa I+\Gamma)^{-2}}{(r\cdot\mu_t)^2}}
      _{\text{what is memorised}}$$

    Attributes:
        weights: r and C as an `AveragingLaw` (Gaussian in the limit only): `place(target)` is the margin.
        implicit_penalty: κ.
        noise: T, how much the weights' noise is worth: 1 for the labels, the overlap of the classes, and the flips.
    """

    weights: AveragingLaw
    implicit_penalty: Float[Array, ""]
    noise: Float[Array, ""]

    def margin(self, target: Target) -> Float[Array, ""]:
        """The margin on a target, whose Φ is the accuracy."""
        check_dimensions(target, Source(self.weights.mean))
        return self.weights.place(target)

    def inverse_square(self, target: Target, covariance: ArrayLike | None = None) -> Float[Array, ""]:
        r"""$w^\top\Pi w/(w\cdot\mu_t)^2$: 1/m_t² for Π = Σ_t (the default), or the part of it that Π contributes.

        Args:
            target: whose mean counts.
            covariance: Π as a variance, (d,) or (d, d).

        Raises:
            ValueError: a covariance that is none.
        """
        pi = target.covariance
        if covariance is not None:
            pi = cov.validate_covariance(covariance, target.dimension)
        length = self.weights.squared_length_mean(Target(target.mean, pi))
        return length / self.weights.projection_mean(target) ** 2


def noisy_ridge_law(
    source: Source, num_samples: ArrayLike, penalty: ArrayLike = 0.0, label_noise: ArrayLike = 0.0
) -> NoisyRidgeLaw:
    r"""The limit of ridge regression on n samples of a source whose labels are flipped with probability ε.

    It minimises $\frac1{2n}\sum_i(1-\tilde y_iw\cdot x_i)^2+\frac\lambda2\|w\|^2$; see the module for the formulas.

    Args:
        source: the training distribution, every variance > 0.
        num_samples: n > 0.
        penalty: λ >= 0; 0 is the minimum-norm interpolator for n < d and least squares for n > d.
        label_noise: ε in [0, 1/2), the probability that a training label is flipped.

    Returns:
        A `NoisyRidgeLaw`.

    Raises:
        ValueError: an argument outside its range, a source with a variance of 0, or λ = 0 at n = d, where the weights
            are unbounded.

    Source: Section 9 (fixed point for the square loss), Wrong line (steps of the derivation).
    """
    d = source.dimension
    n, lam, eps = (as_float_array(x) for x in (num_samples, penalty, label_noise))
    check_models(n, lam, eps, d)
    gamma, basis = source.covariance, None
    if gamma.ndim == 2:
        gamma, basis = jnp.linalg.eigh(gamma)
    require(gamma > 0, gamma, "every variance of the source must be > 0")
    variances = jnp.broadcast_to(gamma, (d,))
    nu = source.mean if basis is None else source.mean @ basis
    mean, noise, kappa, level = solve_blocks(variances, jnp.ones_like(variances), nu, n, lam, eps)
    if basis is not None:
        mean, noise = basis @ mean, (basis * noise) @ basis.T
    return NoisyRidgeLaw(AveragingLaw(mean, noise, is_gaussian=False), kappa, level)


def check_models(num_samples: Array, penalty: Array, label_noise: Array, num_features: int) -> None:
    """Refuse what no ridge classifier can be trained with.

    Raises:
        ValueError: naming the argument, its value and what is allowed.
    """
    check_counts(num_samples)
    require(jnp.isfinite(penalty) & (penalty >= 0), penalty, "penalty must be a finite number >= 0")
    require((label_noise >= 0) & (label_noise < 0.5), label_noise, "label_noise must lie in [0, 1/2)")
    fine = (penalty > 0) | (num_samples != num_features)
    require(
        fine, num_samples, f"at penalty 0 the number of samples must differ from the {num_features} features"
    )


@jax.jit
def solve_blocks(
    variances: Float[Array, " b"],
    multiplicities: Float[Array, " b"],
    nu: Float[Array, " b"],
    n: Float[Array, ""],
    penalty: Float[Array, ""],
    label_noise: Float[Array, ""],
) -> tuple[Float[Array, " b"], Float[Array, " b"], Float[Array, ""], Float[Array, ""]]:
    """r, the diagonal of C, κ and T for features that repeat: the cost does not depend on how often.

    Args:
        variances: of one feature of each kind.
        multiplicities: how many features are of this kind; those with a mean other than 0 count once.
        nu: their means.
        n: samples.
        penalty: λ.
        label_noise: ε.

    Returns:
        r and C per feature of each kind, κ, T.
    """
    kappa = _implicit_penalty(variances, multiplicities, n, penalty)
    shrunk = 1 / (kappa + variances)
    mean = shrunk * nu
    flips = 4 * label_noise * (1 - label_noise) / (1 - 2 * label_noise) ** 2
    level = 1 + jnp.sum(variances * mean**2) + flips * (1 + nu @ mean) ** 2
    spread = jnp.sum(multiplicities * (variances * shrunk) ** 2) / n
    return mean, level / (n * (1 - spread)) * variances * shrunk**2, kappa, level


def _implicit_penalty(variances: Array, multiplicities: Array, n: Array, penalty: Array) -> Array:
    """κ by bisection in its logarithm: tr Γ(κ+Γ)⁻¹/n + λ/κ falls from above 1 to below 1 between the two ends."""
    d = multiplicities.sum()
    tiny = jnp.finfo(variances.dtype).tiny
    low = jnp.log(jnp.maximum(jnp.maximum(penalty, variances.min() * (d / n - 1)), tiny))
    high = jnp.log(penalty + multiplicities @ variances / n)

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        bottom, top = ends
        middle = 0.5 * (bottom + top)
        kappa = jnp.exp(middle)
        above = multiplicities @ (variances / (kappa + variances)) / n + penalty / kappa > 1
        return jnp.where(above, middle, bottom), jnp.where(above, top, middle)

    low, high = jax.lax.fori_loop(0, _BISECTIONS, halve, (low, jnp.maximum(low, high)))
    # Least squares with n > d has no implicit penalty.
    return jnp.where((penalty == 0) & (n > d), 0.0, jnp.exp(0.5 * (low + high)))

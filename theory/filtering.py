"""Theorem 3: what a pool of image-text pairs becomes after filtering with a pre-trained model.

Describe the unfiltered data as a `Pool` (use `with_shuffled_captions` for captions that belong to other images), then
`filter_pool` gives what is kept (shares, truncated means and covariances), `filtered_slope` the robustness of a model
trained on it, and `filtered_place` how far up its line that model gets. Thresholds for a wanted share of kept pairs and
the best threshold for a target are in `theory.thresholds`; the scalar truncation functions in `theory.truncation`.

The filter must be independent of the pool. It scores a pair by s = y f·x and keeps s >= τ.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import log_ndtr, logsumexp
from jaxtyping import Bool, Float

from theory import covariance as cov
from theory.arrays import ArrayLike, as_float_array, check_shares, require
from theory.finite_size import LowRankCovariance, expected_margin
from theory.gaussian import Source, Target, check_dimensions
from theory.truncation import hazard, variance_reduction


@dataclass(frozen=True, init=False, eq=False)
class Pool:
    """Unfiltered training data: components j with weight π_j, x given y ~ N(y ν_j, Γ_j).

    Args:
        sources: the J components.
        weights: π_j, one per component, non-negative with sum 1.

    Raises:
        ValueError: no component, different numbers of features, a negative weight, or weights that do not sum to 1.
    """

    sources: tuple[Source, ...]
    weights: Float[Array, " j"]

    def __init__(self, sources: Sequence[Source], weights: ArrayLike):
        check_dimensions(*sources)
        object.__setattr__(self, "sources", tuple(sources))
        object.__setattr__(self, "weights", check_shares(weights, len(sources), "the weights of a pool"))

    @property
    def dimension(self) -> int:
        """The number of features d."""
        return self.sources[0].dimension

    @property
    def means(self) -> Float[Array, "j d"]:
        """The components' means ν_j."""
        return jnp.stack([source.mean for source in self.sources])

    def within_covariance(self, weights: Float[Array, " j"]) -> Float[Array, "..."]:
        """Σ_j w_jΓ_j in the simplest form (scalar, diagonal, full) that holds it."""
        return cov.weighted_sum(weights, tuple(source.covariance for source in self.sources), self.dimension)


def with_shuffled_captions(
    source: Source, share: float | int, num_classes: int = 2
) -> tuple[tuple[Source, float], ...]:
    """A source part of whose captions were shuffled over its images, as weighted components for a `Pool`.

    A shuffled caption is right by chance with probability 1/K. Clean and accidentally right pairs keep the mean ν; the wrong
    ones have the mean −ν/(K − 1), so that shuffled pairs as a whole carry no signal (for K = 2: ±ν with share/2 each; for
    more classes the class means form a simplex). They are not pairs of mean 0: filtering tells the two kinds apart.

    Args:
        source: the clean source.
        share: share of shuffled captions, in [0, 1].
        num_classes: K >= 2, classes among which captions were shuffled.

    Returns:
        (source, 1 − share + share/K) and (wrong captions, share (K − 1)/K). Weights sum to 1: multiply them by the source's own.

    Raises:
        ValueError: a share outside [0, 1] or fewer than 2 classes.

    Source: Theorem 3 (shuffled captions).
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"The share of shuffled captions must lie in [0, 1], got {share}.")
    if num_classes < 2:
        raise ValueError(f"Captions can be shuffled among 2 or more classes, got num_classes={num_classes}.")
    wrong = share * (num_classes - 1) / num_classes
    name = f"{source.name} (wrong caption)" if source.name else "wrong caption"
    mismatched = Source(-source.mean / (num_classes - 1), source.covariance, name)
    return (source, 1.0 - wrong), (mismatched, wrong)


@dataclass(frozen=True, eq=False)
class FilteredPool:
    """What a filter keeps of a pool, for one threshold or for an array of them (leading axes `*batch`).

    Attributes:
        pool: the pool.
        threshold: τ, shape (*batch).
        kept_share: κ = Σ_j π_j(1 − Φ(t_j)), shape (*batch).
        component_kept_shares: 1 − Φ(t_j), shape (*batch, J).
        weights: π′_j, the components' shares of the kept data, shape (*batch, J).
        hazards: h(t_j), shape (*batch, J).
        variance_reductions: h(t_j)(h(t_j) − t_j), shape (*batch, J).
        pulls: g_j = Γ_jf/‖f‖_j, the direction in which the filter pulls component j's mean, shape (J, d).
    """

    pool: Pool
    threshold: Float[Array, "*batch"]
    kept_share: Float[Array, "*batch"]
    component_kept_shares: Float[Array, "*batch j"]
    weights: Float[Array, "*batch j"]
    hazards: Float[Array, "*batch j"]
    variance_reductions: Float[Array, "*batch j"]
    pulls: Float[Array, "j d"]

    @property
    def component_means(self) -> Float[Array, "*batch j d"]:
        """Truncated means ν_j + h(t_j) g_j."""
        return self.pool.means + self.hazards[..., None] * self.pulls

    @property
    def mean(self) -> Float[Array, "*batch d"]:
        """Mean of the kept data, Σ_j π′_j(ν_j + h(t_j) g_j): where the averaging classifier points."""
        return jnp.einsum("...j,...jd->...d", self.weights, self.component_means)

    def component_covariance(self, component: int) -> Float[Array, "d d"]:
        """Truncated covariance of one component, Γ_j − h(t_j)(h(t_j) − t_j) g_j g_jᵀ (one threshold)."""
        self._need_one_threshold()
        pull = self.pulls[component]
        base = cov.as_matrix(self.pool.sources[component].covariance, self.pool.dimension)
        return base - self.variance_reductions[component] * jnp.outer(pull, pull)

    def factored_covariance(self) -> LowRankCovariance:
        """Covariance of the kept data in factors: truncated components plus the spread between them (one threshold)."""
        self._need_one_threshold()
        spread = self.component_means - self.mean
        factors = jnp.concatenate([self.pulls, spread]).T
        scales = jnp.concatenate([-self.weights * self.variance_reductions, self.weights])
        return LowRankCovariance(self.pool.within_covariance(self.weights), factors, scales)

    @property
    def covariance(self) -> Float[Array, "d d"]:
        """Covariance of the kept data as a matrix (one threshold)."""
        return self.factored_covariance().dense()

    def _need_one_threshold(self) -> None:
        if self.threshold.ndim:
            raise ValueError(
                f"Covariances are given for one threshold at a time, this object holds {self.threshold.shape}: "
                "call filter_pool with a single threshold."
            )


def checked_direction(pool: Pool, direction: ArrayLike) -> Float[Array, " d"]:
    """The filter f as an array, checked to be one that scores the pool's pairs.

    Raises:
        ValueError: a shape other than (d,), an entry that is not finite, or no entry other than 0.
    """
    return _checked_direction(direction, pool.dimension)


def _checked_direction(direction: ArrayLike, d: int) -> Array:
    f = as_float_array(direction)
    if f.shape != (d,) or not bool(jnp.all(jnp.isfinite(f))) or not bool(jnp.any(f != 0)):
        raise ValueError(f"A filter needs {d} finite weights, not all zero, got shape {f.shape}.")
    return f


def filter_pool(pool: Pool, direction: ArrayLike, threshold: ArrayLike) -> FilteredPool:
    """Keep the pairs of a pool whose score s = y f·x is at least τ.

    With ‖f‖_j = sqrt(fᵀΓ_jf), t_j = (τ − f·ν_j)/‖f‖_j and h(t) = φ(t)/(1 − Φ(t)):

        κ = Σ_j π_j(1 − Φ(t_j)),    π′_j = π_j(1 − Φ(t_j))/κ
        mean        ν_j + h(t_j) Γ_jf/‖f‖_j
        covariance  Γ_j − h(t_j)(h(t_j) − t_j) Γ_jffᵀΓ_j/‖f‖_j²

    Args:
        pool: the unfiltered data.
        direction: f, shape (d,): the filter's linear classifier, trained on other data. Its length only sets the unit of τ.
        threshold: τ in units of the score; one or an array; −inf keeps everything.

    Returns:
        A `FilteredPool`.

    Raises:
        ValueError: a zero, non-finite or ill-shaped filter, a filter without variance on a component, or a threshold
            that is NaN or +inf.

    Source: Theorem 3.
    """
    f = _checked_direction(direction, pool.dimension)
    tau = as_float_array(threshold)
    require(tau < jnp.inf, tau, "a threshold must be a number, or -inf to keep everything")
    applied = jnp.stack([cov.apply(source.covariance, f) for source in pool.sources])
    norms = jnp.sqrt(applied @ f)
    if not bool(jnp.all(norms > 0)):
        raise ValueError(
            "The filter has no variance on at least one component: all its pairs have the same score."
        )
    log_kept, log_survival, weights, hazards, reductions = _truncate(tau, pool.means @ f, norms, pool.weights)
    return FilteredPool(
        pool=pool,
        threshold=tau,
        kept_share=jnp.exp(log_kept),
        component_kept_shares=jnp.exp(log_survival),
        weights=weights,
        hazards=hazards,
        variance_reductions=reductions,
        pulls=applied / norms[:, None],
    )


@jax.jit
def _truncate(tau: Array, score_means: Array, score_stds: Array, weights: Array) -> tuple[Array, ...]:
    """log κ, log(1 − Φ(t_j)), π′_j, h(t_j) and h(t_j)(h(t_j) − t_j) for thresholds of any shape."""
    t = (tau[..., None] - score_means) / score_stds
    log_survival = log_ndtr(-t)
    log_mass = jnp.log(weights) + log_survival
    log_kept = logsumexp(log_mass, axis=-1)
    # Shares in logs: exact even where κ underflows.
    return log_kept, log_survival, jnp.exp(log_mass - log_kept[..., None]), hazard(t), variance_reduction(t)


def direction_slope(direction: ArrayLike, reference: Target, shift: Target) -> Float[Array, ""]:
    """Slope of the line on which a fixed classifier lies, m_shift(f)/m_ref(f); ρ_f when f is the filter.

    Raises:
        ValueError: the direction knows nothing about the reference (f·μ_ref = 0).
    """
    f = _checked_direction(direction, int(np.shape(reference.mean)[-1]))
    b = f @ jnp.asarray(reference.mean)
    if not bool(b != 0):
        raise ValueError("The direction has no reference signal (f·μ_ref = 0), so its slope is not defined.")
    scale = jnp.sqrt(cov.quadratic_form(reference.covariance, f) / cov.quadratic_form(shift.covariance, f))
    return f @ shift.mean / b * scale


@dataclass(frozen=True, eq=False)
class FilteredSlope:
    """Slope of models trained on filtered data, with the weights of the mediant.

    Attributes:
        slope: ρ(τ), shape (*batch).
        component_slopes: ρ_j of each component's mean, shape (J,); NaN where b_j = 0.
        pull_slopes: slope of each component's pull Γ_jf; for Γ_j = γ_j²I all equal the filter's own slope ρ_f. Shape (J,).
        component_weights: π′_jb_j, normalised to sum 1 together with `pull_weights`, shape (*batch, J).
        pull_weights: π′_jh_j(Γ_jf·μ_ref)/‖f‖_j, the weight of the filter's slope, shape (*batch, J).
        filter_weight: total weight of the pulls, shape (*batch): how far the data inherit the filter's robustness.
        is_mediant: whether all weights are non-negative and Σ is proportional, so that ρ(τ) lies in [low, high]. Shape (*batch).
        low: smallest slope among components and pulls that have weight among what is kept, at any of the thresholds.
        high: largest of them.
    """

    slope: Float[Array, "*batch"]
    component_slopes: Float[Array, " j"]
    pull_slopes: Float[Array, " j"]
    component_weights: Float[Array, "*batch j"]
    pull_weights: Float[Array, "*batch j"]
    filter_weight: Float[Array, "*batch"]
    is_mediant: Bool[np.ndarray, "*batch"]
    low: Float[Array, ""]
    high: Float[Array, ""]


def filtered_slope(
    pool: Pool, direction: ArrayLike, threshold: ArrayLike, reference: Target, shift: Target
) -> FilteredSlope:
    """Slope of averaging classifiers trained on what the filter keeps (limit of many kept pairs).

    With Σ_shift = c²Σ_ref, g_j = Γ_jf/‖f‖_j and b(v) = v·μ_ref it is the weighted mediant

        ρ(τ) = Σ_j π′_j(ν_j + h_jg_j)·μ_shift / (c Σ_j π′_j(ν_j + h_jg_j)·μ_ref)

    of the components' slopes (weights π′_jb(ν_j)) and the pulls' slopes (weights π′_jh_jb(g_j)), which for Γ_j = γ_j²I are all
    the filter's own slope. Without proportional Σ the ratio of limiting margins is returned and `is_mediant` is False.

    Args:
        pool: the unfiltered data.
        direction: f, shape (d,).
        threshold: τ in units of the score, one or an array; −inf gives the pool's own slope.
        reference: the reference test distribution.
        shift: the shifted one.

    Returns:
        A `FilteredSlope`; unbounded where the kept data carry no reference signal.

    Raises:
        ValueError: as `filter_pool`.

    Source: Theorem 3 (filtering turns the line).
    """
    kept = filter_pool(pool, direction, threshold)
    d = pool.dimension
    mu_ref, mu_shift = reference.mean, shift.mean
    c2 = cov.proportionality(reference.covariance, shift.covariance, d)
    mean = kept.mean
    if c2 is None:
        lengths = cov.quadratic_form(reference.covariance, mean) / cov.quadratic_form(shift.covariance, mean)
        scale = jnp.sqrt(lengths)
        component_scale = jnp.sqrt(
            cov.quadratic_form(reference.covariance, pool.means)
            / cov.quadratic_form(shift.covariance, pool.means)
        )
        pull_scale = jnp.sqrt(
            cov.quadratic_form(reference.covariance, kept.pulls)
            / cov.quadratic_form(shift.covariance, kept.pulls)
        )
    else:
        scale = component_scale = pull_scale = 1.0 / jnp.sqrt(jnp.asarray(c2))
    b, g = pool.means @ mu_ref, kept.pulls @ mu_ref
    component_slopes = component_scale * (pool.means @ mu_shift) / jnp.where(b == 0, jnp.nan, b)
    pull_slopes = pull_scale * (kept.pulls @ mu_shift) / jnp.where(g == 0, jnp.nan, g)
    component_weights, pull_weights = kept.weights * b, kept.weights * kept.hazards * g
    total = mean @ mu_ref
    slope = scale * (mean @ mu_shift) / total
    weights = jnp.concatenate([component_weights, pull_weights], axis=-1)
    # A vector without reference signal but with shift signal has zero weight and still moves the slope.
    silent = jnp.concatenate(
        [(b == 0) & (pool.means @ mu_shift != 0), (g == 0) & (kept.pulls @ mu_shift != 0)]
    )
    is_mediant = jnp.all(weights >= 0, axis=-1) & (total > 0) & ~jnp.any(silent) & (c2 is not None)
    batch = tuple(range(kept.weights.ndim - 1))
    kept_weights = jnp.concatenate([kept.weights, kept.weights * kept.hazards], axis=-1)
    everything = jnp.where(
        jnp.any(kept_weights > 0, axis=batch), jnp.concatenate([component_slopes, pull_slopes]), jnp.nan
    )
    return FilteredSlope(
        slope=slope,
        component_slopes=component_slopes,
        pull_slopes=pull_slopes,
        component_weights=component_weights / total[..., None],
        pull_weights=pull_weights / total[..., None],
        filter_weight=jnp.sum(pull_weights, axis=-1) / total,
        is_mediant=np.asarray(is_mediant),
        low=jnp.nanmin(everything),
        high=jnp.nanmax(everything),
    )


def filtered_place(
    pool: Pool,
    direction: ArrayLike,
    threshold: ArrayLike,
    target: Target,
    num_pool: float | int,
    second_order: bool = False,
) -> Float[Array, "*batch"]:
    """Mean margin (probit accuracy) of the averaging classifier trained on the nκ pairs that pass.

    m(τ) ≈ ν′·μ / sqrt(ν′ᵀΣν′ + tr(Γ′Σ)/(nκ)), with ν′, Γ′ the mean and covariance of the kept data: junk removed raises it, kept
    pairs lost lower it. The law of the weights is Gaussian only asymptotically (the number kept is binomial).

    Args:
        pool: the unfiltered data.
        direction: f, shape (d,).
        threshold: τ in units of the score, one or an array.
        target: the test distribution.
        num_pool: n, pairs in the pool before filtering.
        second_order: add the O(1/n) terms (delta method), including the spread of the number kept.

    Returns:
        Margins, the shape of `threshold`.

    Raises:
        ValueError: fewer than one pair expected to pass, or as `filter_pool`.

    Source: Theorem 3 (the price is nκ samples).
    """
    kept = filter_pool(pool, direction, threshold)
    if not bool(jnp.all(num_pool * kept.kept_share >= 1.0)):
        raise ValueError(
            f"Of {num_pool:g} pairs fewer than one is expected to pass (kept share {float(jnp.min(kept.kept_share)):.3g}): "
            "lower the threshold or enlarge the pool."
        )
    margins = []
    for tau in np.asarray(kept.threshold).ravel():
        one = filter_pool(pool, direction, tau)
        expected = num_pool * one.kept_share
        per_sample = one.factored_covariance() / expected
        # The number kept N is binomial: E 1/N = (1 + (1−κ)/(nκ))/(nκ) + ..., Var 1/N = (1−κ)/(nκ)³ + ...
        noise = per_sample.trace_product(target.covariance)
        relative = (1.0 - one.kept_share) / expected
        margins.append(
            expected_margin(one.mean, per_sample, target, second_order, noise * relative, noise**2 * relative)
        )
    return jnp.stack(margins).reshape(kept.threshold.shape)

r"""The exact law of a ratio of two correlated Gaussians, and Fieller's confidence set for a ratio of means.

A ratio of Gaussians has no mean and no variance, so it is reported by its median and quantiles (`RatioLaw`).
From one observed pair (the margins of one trained model) `fieller_set` gives the set of true ratios that the
pair does not exclude. That set may be an interval, the complement of an interval, or everything: the result
says which in words, and is never clipped.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from jaxtyping import Float

from theory.arrays import ArrayLike, Scalar


@dataclass(frozen=True)
class FiellerSet:
    """A confidence set for a ratio.

    Attributes:
        kind: "interval" is [low, high] (an end may be infinite), "complement" is everything except the open
            interval (low, high), "everything" is the whole line.
        low: lower end (-inf for "everything").
        high: upper end (inf for "everything").
        level: confidence level.
    """

    kind: Literal["interval", "complement", "everything"]
    low: float
    high: float
    level: float

    @property
    def bounded(self) -> bool:
        """Whether the set excludes arbitrarily large ratios."""
        return self.kind == "interval" and math.isfinite(self.low) and math.isfinite(self.high)

    def contains(self, ratio: ArrayLike) -> np.ndarray:
        """Whether ratios (any shape) lie in the set."""
        t = np.asarray(ratio, dtype=np.float64)
        if self.kind == "everything":
            return np.ones(t.shape, dtype=bool)
        if self.kind == "complement":
            return np.asarray((t <= self.low) | (t >= self.high))
        return np.asarray((t >= self.low) & (t <= self.high))

    def describe(self) -> str:
        """The set in words."""
        if self.kind == "everything":
            return f"every slope is possible at level {self.level:g}: neither margin differs from noise"
        if self.kind == "complement":
            return (
                f"all slopes except those between {self.low:.4g} and {self.high:.4g} at level {self.level:g} "
                "(unbounded: the reference margin does not differ from noise)"
            )
        if not self.bounded:
            return f"slopes from {self.low:.4g} to {self.high:.4g} at level {self.level:g} (unbounded on one side)"
        return f"slopes from {self.low:.4g} to {self.high:.4g} at level {self.level:g}"


def fieller_set(
    numerator: Scalar,
    denominator: Scalar,
    numerator_variance: Scalar,
    denominator_variance: Scalar,
    covariance: Scalar,
    level: float = 0.95,
) -> FiellerSet:
    r"""Fieller's set: the ratios t of means that an observed pair (x, y) of known covariance does not exclude.

    $$\{t:\ (x-ty)^2\le z^2(v_x-2tc+t^2v_y)\},\qquad z=\Phi^{-1}\bigl(\tfrac{1+\text{level}}2\bigr)$$

    Its coverage is exactly `level`, whatever the true means.

    Args:
        numerator: x, observed.
        denominator: y, observed, in the same unit.
        numerator_variance: v_x >= 0.
        denominator_variance: v_y >= 0.
        covariance: c with c² <= v_x v_y.
        level: confidence level, strictly between 0 and 1.

    Raises:
        ValueError: the variances and the covariance are not a covariance matrix, a value is not finite, or the
            level lies outside (0, 1).

    Source: Theorem 1 (Fieller's set, exact for a known Γ).
    """
    _check_moments(numerator, denominator, numerator_variance, denominator_variance, covariance)
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level}")
    squared = NormalDist().inv_cdf((1 + level) / 2) ** 2
    # a t² - 2 b t + c <= 0
    a = denominator**2 - squared * denominator_variance
    b = numerator * denominator - squared * covariance
    c = numerator**2 - squared * numerator_variance
    if a == 0:
        if b == 0:
            return FiellerSet("everything", -math.inf, math.inf, level)
        end = c / (2 * b)
        return FiellerSet("interval", *((end, math.inf) if b > 0 else (-math.inf, end)), level)
    discriminant = b * b - a * c
    if discriminant <= 0 and a < 0:
        return FiellerSet("everything", -math.inf, math.inf, level)
    # x/y itself always lies in the set, so for a > 0 a negative discriminant is rounding.
    root = math.sqrt(max(discriminant, 0.0))
    larger = b + math.copysign(root, b)
    roots = sorted((larger / a, c / larger)) if larger != 0 else (0.0, 0.0)
    return FiellerSet("interval" if a > 0 else "complement", roots[0], roots[1], level)


@dataclass(frozen=True)
class RatioLaw:
    r"""The law of X/Y for jointly Gaussian X and Y.

    With $U_t=X-tY$ the distribution function is $P(X/Y\le t)=P(U_t\le0<Y)+P(Y<0\le U_t)$, two bivariate normal
    probabilities, computed by Owen's T function.

    Attributes:
        numerator_mean: E X.
        denominator_mean: E Y.
        numerator_variance: Var X.
        denominator_variance: Var Y.
        covariance: Cov(X, Y).

    Raises:
        ValueError: the moments are not those of two Gaussians.

    Source: Theorem 1 (exact ratio law).
    """

    numerator_mean: Scalar
    denominator_mean: Scalar
    numerator_variance: Scalar
    denominator_variance: Scalar
    covariance: Scalar

    def __post_init__(self):
        _check_moments(
            self.numerator_mean,
            self.denominator_mean,
            self.numerator_variance,
            self.denominator_variance,
            self.covariance,
        )

    def cdf(self, ratio: ArrayLike) -> Float[np.ndarray, "..."]:
        """P(X/Y <= ratio) for ratios of any shape."""
        from scipy.special import ndtr, owens_t  # a slow import, so it waits for the first use

        t = np.asarray(ratio, dtype=np.float64)
        mean = self.numerator_mean - t * self.denominator_mean
        variance = self.numerator_variance - 2 * t * self.covariance + t**2 * self.denominator_variance
        scale = self.numerator_variance + t**2 * self.denominator_variance
        constant = variance <= 1e-14 * scale  # X - tY is a constant (X and Y are proportional in their noise)
        deviation = np.sqrt(np.where(constant, 1.0, variance))
        spread = math.sqrt(self.denominator_variance)
        if spread == 0:
            sign = math.copysign(1.0, self.denominator_mean)
            step = np.where(sign * mean <= 0, 1.0, 0.0)
            return np.where(constant, step, ndtr(-sign * mean / deviation))
        # Adding 0.0 turns -0.0 into 0.0: below, zero stands for the limit from above.
        h, k = -mean / deviation + 0.0, np.asarray(-self.denominator_mean / spread + 0.0)
        correlation = (self.covariance - t * self.denominator_variance) / (deviation * spread)
        away = np.sqrt(np.clip(1 - correlation**2, 0, None))
        both_zero = np.sqrt(np.clip(1 - correlation, 0, None) / np.maximum(1 + correlation, 1e-300))
        at_origin = (h == 0) & (k == 0)
        first = np.where(at_origin, both_zero, _quotient(k - correlation * h, h * away))
        second = np.where(at_origin, both_zero, _quotient(h - correlation * k, k * away))
        total = 2 * owens_t(h, first) + 2 * owens_t(k, second)
        sides = np.sign(h) * np.sign(k)  # the product of h and k could underflow
        same_side = (sides > 0) | ((sides == 0) & (h + k >= 0))
        inside = np.clip(np.where(same_side, total, total + 1), 0, 1)
        # X = βY altogether: the law is the single ratio β, and t >= β where mean and E Y differ in sign.
        single = np.abs(mean) <= 1e-6 * np.sqrt(scale)
        step = np.where(mean * self.denominator_mean <= 0, 1.0, 0.0)
        at_constant = np.where(single, step, np.where(mean < 0, ndtr(-k), ndtr(k)))
        return np.where(constant, at_constant, inside)

    def quantile(self, probability: ArrayLike) -> Float[np.ndarray, "..."]:
        """The ratio t with P(X/Y <= t) = probability, by bisection on arctan t (probabilities in (0, 1)).

        Raises:
            ValueError: a probability outside (0, 1).
        """
        p = np.asarray(probability, dtype=np.float64)
        if not np.all((p > 0) & (p < 1)):
            raise ValueError(f"probabilities must lie strictly between 0 and 1, got {p}")
        unit = self._unit()
        low, high = np.full(p.shape, -np.pi / 2), np.full(p.shape, np.pi / 2)
        for _ in range(100):
            middle = (low + high) / 2
            below = self.cdf(unit * np.tan(middle)) < p
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return np.asarray(unit * np.tan((low + high) / 2))

    def median(self) -> float:
        """The median of the ratio: what to report, since there is no mean."""
        return float(self.quantile(0.5))

    def fieller_set(
        self, numerator: Scalar | None = None, denominator: Scalar | None = None, level: float = 0.95
    ) -> FiellerSet:
        """Fieller's set of an observed pair under this law's covariance; without a pair, of a typical one.

        The typical pair is the pair of means: it shows how well one model of this size determines the slope.

        Args:
            numerator: observed X.
            denominator: observed Y.
            level: confidence level.

        Raises:
            ValueError: see `fieller_set`.
        """
        return fieller_set(
            self.numerator_mean if numerator is None else numerator,
            self.denominator_mean if denominator is None else denominator,
            self.numerator_variance,
            self.denominator_variance,
            self.covariance,
            level,
        )

    def _unit(self) -> float:
        top = math.hypot(self.numerator_mean, math.sqrt(self.numerator_variance))
        bottom = math.hypot(self.denominator_mean, math.sqrt(self.denominator_variance))
        return (top / bottom) or 1.0


def _quotient(top: ArrayLike, bottom: ArrayLike) -> np.ndarray:
    """top/bottom with the limits that Owen's T needs: ±inf over a signed zero, and 0 for 0/0."""
    safe = np.where(bottom == 0, 1.0, bottom)
    limit = np.where(top == 0, 0.0, np.copysign(np.inf, top) * np.copysign(1.0, bottom))
    with np.errstate(over="ignore"):  # an infinite quotient is the right limit
        return np.where(bottom == 0, limit, top / safe)


def _check_moments(x: Scalar, y: Scalar, var_x: Scalar, var_y: Scalar, covariance: Scalar) -> None:
    values = (x, y, var_x, var_y, covariance)
    if not all(math.isfinite(value) for value in values):
        raise ValueError(f"means, variances and covariance must be finite, got {values}")
    if var_x < 0 or var_y < 0:
        raise ValueError(f"variances must be >= 0, got {min(var_x, var_y):g}")
    if covariance**2 > var_x * var_y * (1 + 1e-6):
        raise ValueError(f"the squared covariance {covariance**2:g} exceeds the variances' {var_x * var_y:g}")
    if y == 0 and var_y == 0:
        raise ValueError("the denominator is always 0: the ratio is undefined")

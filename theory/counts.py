r"""Intervals from counts: Clopper-Pearson limits of an accuracy, mapped through the links.

Use these wherever an accuracy was measured on a finite test set: they are exact (coverage at least `level`
whatever the true accuracy) and stay meaningful at 0 or all correct, where the link itself is infinite: one end
of the interval is then -inf or inf and the other is finite. The links are monotone, so mapping the ends keeps
the coverage.
"""

import numpy as np
from jaxtyping import Float

from theory.arrays import ArrayLike, require
from theory.links import dprime, probit


def clopper_pearson(
    num_correct: ArrayLike, num_images: ArrayLike, level: float = 0.95
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    r"""The exact (Clopper-Pearson) confidence interval of an accuracy.

    $$\text{low}=B^{-1}_{k,\,n-k+1}\bigl(\tfrac{1-\text{level}}2\bigr),\qquad
      \text{high}=B^{-1}_{k+1,\,n-k}\bigl(\tfrac{1+\text{level}}2\bigr)$$

    with B the regularised incomplete beta function; low = 0 if k = 0 and high = 1 if k = n.

    Args:
        num_correct: k, whole numbers of correctly classified images, any shape.
        num_images: n >= 1, broadcasts with `num_correct`.
        level: confidence level, strictly between 0 and 1.

    Returns:
        low, high: fractions of the broadcast shape, float64.

    Raises:
        ValueError: counts that are not whole numbers, n < 1, k outside [0, n], or a level outside (0, 1).
    """
    from scipy.special import betaincinv  # a slow import, so it waits for the first use

    correct, images = np.broadcast_arrays(
        np.asarray(num_correct, dtype=np.float64), np.asarray(num_images, dtype=np.float64)
    )
    require((images >= 1) & (images == np.floor(images)), images, "num_images must be a whole number >= 1")
    whole = (correct >= 0) & (correct <= images) & (correct == np.floor(correct))
    require(whole, correct, "num_correct must be a whole number from 0 to num_images")
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level}")
    # The beta parameters are kept positive where the limit is 0 or 1 by definition.
    low = betaincinv(np.maximum(correct, 1), images - correct + 1, (1 - level) / 2)
    high = betaincinv(correct + 1, np.maximum(images - correct, 1), (1 + level) / 2)
    return np.where(correct == 0, 0.0, low), np.where(correct == images, 1.0, high)


def probit_interval(
    num_correct: ArrayLike, num_images: ArrayLike, level: float = 0.95
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    r"""The Clopper-Pearson interval on the probit scale; the ends may be -inf or inf.

    Args:
        num_correct: k, any shape.
        num_images: n >= 1.
        level: confidence level.

    Raises:
        ValueError: see `clopper_pearson`.
    """
    low, high = clopper_pearson(num_correct, num_images, level)
    return np.asarray(probit(low)), np.asarray(probit(high))


def dprime_interval(
    num_correct: ArrayLike, num_images: ArrayLike, num_classes: ArrayLike, level: float = 0.95
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    r"""The Clopper-Pearson interval on the d′ scale for K classes; the ends may be -inf or inf.

    Args:
        num_correct: k, any shape.
        num_images: n >= 1.
        num_classes: K >= 2; all three broadcast.
        level: confidence level.

    Raises:
        ValueError: see `clopper_pearson` and `theory.links.dprime`.
    """
    low, high = clopper_pearson(num_correct, num_images, level)
    return np.asarray(dprime(low, num_classes)), np.asarray(dprime(high, num_classes))

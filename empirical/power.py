r"""How many seeds it takes to tell two means apart: the number to state beside a comparison that is inconclusive.

The difference of two means over S seeds each has variance $2\sigma^2/S+V$: $\sigma^2$ from seeds (pooled, so known well enough)
and V from test images, which more seeds do not reduce. Use `seeds_needed`; `seeds_for_verdict` answers it for a mixture and its
sources. The answer takes the measured difference for the true one: it plans the next study, it does not judge this one.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.special import nctdtr, ndtr, stdtrit

from empirical.group_means import (
    GroupMean,
    SeedCovariance,
    common_share,
    image_contributions,
    image_variance,
    seed_variance,
)

POWER = 0.8
MOST_SEEDS = 1000


def power_of(
    difference: float, seed_variance: float, image_variance: float, num_seeds: int, level: float = 0.95
) -> float:
    r"""Probability that a two-sided t test tells a difference from 0 with S seeds in each of two groups.

    Args:
        difference: the true difference.
        seed_variance: $\sigma^2$, the sum over both groups of the variance of one seed.
        image_variance: V, the part of the variance of the difference that seeds do not reduce.
        num_seeds: S >= 2.
        level: of the test.

    The statistic is non-central t with 2(S - 1) degrees of freedom and non-centrality difference / sqrt(sigma^2/S + V).
    """
    degrees = 2 * (num_seeds - 1)
    stderr = math.sqrt(seed_variance / num_seeds + image_variance)
    if stderr == 0:
        return 1.0 if difference else 1 - level
    limit, shift = float(stdtrit(degrees, 0.5 + level / 2)), abs(difference) / stderr
    exact = float(1 - nctdtr(degrees, shift, limit) + nctdtr(degrees, shift, -limit))
    # The non-central law is not computed for large arguments; there the normal one agrees with it.
    return exact if math.isfinite(exact) else float(ndtr(shift - limit) + ndtr(-shift - limit))


def seeds_needed(
    difference: float,
    seed_variance: float,
    image_variance: float = 0.0,
    power: float = POWER,
    level: float = 0.95,
) -> float:
    """Smallest number of seeds per group, at least 2, with which a difference is told from 0 with this power.

    Arguments as `power_of`. inf where no number of seeds up to 1000 is enough: the difference is 0, or so small that the test
    images blur it, and more images are needed first. nan where the variances are not known.
    """
    if not np.all(np.isfinite([difference, seed_variance, image_variance])):
        return math.nan

    def enough(num_seeds: int) -> bool:
        return power_of(difference, seed_variance, image_variance, num_seeds, level) >= power

    if not enough(MOST_SEEDS):
        return math.inf
    low, high = 1, MOST_SEEDS  # not enough, enough: power grows with the number of seeds
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return float(high)


def seeds_for_verdict(
    mixture: GroupMean, parts: Sequence[GroupMean], ref: int, at: int, seeds: SeedCovariance
) -> float:
    """Seeds per group after which `empirical.prediction.inside_range` would decide, were the measured ratios the true ones.

    A mixture whose ratio lies between those of its sources has to be told from one source below and one above (the easiest of
    each; at the level of `inside_range`, which picks them); one that lies outside has to be told from every source. inf: more
    test images are needed, or the ratios are equal; nan where seeds give no error.
    """
    if not seeds.degrees:
        return math.nan
    count = max(len(parts), 2)
    x, y = mixture.mean[[ref, at]]
    below, above = [], []
    for part in parts:
        u, v = part.mean[[ref, at]]
        gradients = np.zeros((2, len(mixture.mean)))
        gradients[0, [ref, at]] = -y / x**2, 1 / x
        gradients[1, [ref, at]] = v / u**2, -1 / u
        difference = y / x - v / u
        one_seed = [replace(g, num_seeds=1) for g in (mixture, part)]
        variance = seed_variance(one_seed, gradients, seeds)
        images = image_variance(
            image_contributions([mixture, part], gradients), common_share([mixture, part])
        )
        (below if difference > 0 else above).append((difference, variance, images))
    if below and above:
        level = 1 - 2 * 0.05 / count
        return max(min(seeds_needed(*each, level=level) for each in side) for side in (below, above))
    return max(seeds_needed(*each) for each in below + above)


def seeds_text(needed: float) -> str:
    """In words: `12 seeds`, `more test images` or nothing where it cannot be said."""
    if math.isnan(needed):
        return ""
    return "more test images" if math.isinf(needed) else f"{needed:.0f} seeds"

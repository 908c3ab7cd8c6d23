r"""Shares of two sources that reach a wanted slope (Theorem 2 solved for the share).

Use `share_for_slope` for any slope between the two sources' slopes and `halfway_share` for the middle. Both need
the mediant, that is, covariances of reference and shift that are proportional; otherwise scan
`theory.mixing.limiting_slope`.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from theory import covariance as cov
from theory.arrays import Scalar
from theory.gaussian import Source, Target, check_dimensions
from theory.mixing import alignments


def share_for_slope(sources: Sequence[Source], ref: Target, shift: Target, slope: Scalar) -> float:
    r"""The share p of the first of two sources at which their mixture has a given slope ρ.

    $$p=\frac{c\rho b_2-a_2}{(a_1-c\rho b_1)+(c\rho b_2-a_2)}$$

    Args:
        sources: two training distributions.
        ref: the reference target.
        shift: the shifted target, with a covariance proportional to the reference's.
        slope: the wanted slope ρ.

    Returns:
        A share in [0, 1].

    Raises:
        ValueError: not two sources, covariances that are not proportional, no single mixture with this slope
            (the message gives the sources' slopes), or the numbers of features differ.

    Source: Theorem 2.
    """
    a, b, c = _two_sources(sources, ref, shift)
    above, below = a[0] - c * slope * b[0], c * slope * b[1] - a[1]
    total = above + below
    share = below / total if total != 0 else np.nan
    slack = 64 * float(jnp.finfo(ref.mean.dtype).eps)
    if not -slack <= share <= 1 + slack or abs(share * b[0] + (1 - share) * b[1]) == 0:
        with np.errstate(divide="ignore", invalid="ignore"):
            lone = a / (c * b)
        raise ValueError(
            f"no single mixture of these sources has slope {slope:g}: alone they have slopes {lone[0]:g} and "
            f"{lone[1]:g} (reference signals {b[0]:g} and {b[1]:g})"
        )
    return float(min(max(share, 0.0), 1.0))


def halfway_share(sources: Sequence[Source], ref: Target, shift: Target) -> float:
    r"""The share of the first of two sources at which the slope is half-way, $p_1=b_2/(b_1+b_2)$.

    Raises:
        ValueError: not two sources, a reference signal that is not > 0, covariances that are not
            proportional, or the numbers of features differ.

    Source: Theorem 2.
    """
    _, b, _ = _two_sources(sources, ref, shift)
    if not np.all(b > 0):
        raise ValueError(f"the half-way share needs reference signals > 0, got {b[0]:g} and {b[1]:g}")
    return float(b[1] / (b[0] + b[1]))


def _two_sources(
    sources: Sequence[Source], ref: Target, shift: Target
) -> tuple[np.ndarray, np.ndarray, float]:
    if len(sources) != 2:
        raise ValueError(f"two sources are needed, got {len(sources)}")
    dimension = check_dimensions(*sources, ref, shift)
    squared = cov.proportionality(ref.covariance, shift.covariance, dimension)
    if not squared:
        raise ValueError(
            "the mediant does not apply: the covariances of reference and shift are not proportional; "
            "scan limiting_slope over shares instead"
        )
    a, b = (np.asarray(alignments(sources, target), dtype=np.float64) for target in (shift, ref))
    return a, b, squared**0.5

r"""The trade-off between two targets: mixtures that no other mixture beats on both (the Pareto frontier of section 5).

Use `mixture_frontier` for reference against shift, or shift against shift. Every point solves $\max_p\min_t m_t(p)/l_t$ for
one direction $(l_1,l_2)$ of the plane of margins and carries its own certificate (`theory.portfolio`). The frontier is about
margins; in *slope*, margin on the one over margin on the other, the extreme is always a single source.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from theory.arrays import ArrayLike, Scalar
from theory.gaussian import Source, Target
from theory.portfolio import BestMixture, best_mixture_from_statistics
from theory.source_statistics import SourceStatistics, source_statistics

#: Angles of the plane closer to an axis than this are not searched (a margin there is a thousandth of the other).
_SMALLEST_ANGLE = 1e-3


@dataclass(frozen=True, eq=False)
class MixtureFrontier:
    """Mixtures from the best one for the first target to the best one for the second.

    Attributes:
        points: the certified optima, in order.
        shares: (P, S).
        margins: (P, 2) margins on the first and the second target.
    """

    points: tuple[BestMixture, ...]
    shares: Float[np.ndarray, "p s"]
    margins: Float[np.ndarray, "p 2"]

    @property
    def largest_gap(self) -> float:
        """The largest relative gap of a point."""
        return max(point.gap for point in self.points)

    def describe(self) -> str:
        """The finding in words."""
        first, second = self.points[0].target_names
        ends = [", ".join(f"{x:.4g}" for x in self.margins[i]) for i in (0, -1)]
        return (
            f"from margins ({ends[0]}) on ({first}, {second}), the best for {first}, to ({ends[1]}), the best for {second}; "
            f"{len(self.points)} mixtures, none beaten on both by more than {max(self.largest_gap, 0):.1e}"
        )


def mixture_frontier(
    sources: Sequence[Source],
    first: Target,
    second: Target,
    num_samples: Scalar,
    budgets: ArrayLike | None = None,
    num_points: int = 21,
    tolerance: float = 1e-6,
) -> MixtureFrontier:
    r"""The Pareto frontier of two targets' margins at a fixed total.

    Args:
        sources: S training distributions.
        first: a test distribution, for example the reference.
        second: another one, for example a shift.
        num_samples: n > 0.
        budgets: N_s, shape (S,), as in `theory.portfolio.best_mixture`.
        num_points: mixtures, at least 2; in between the ends they are even in the angle of the plane of margins.
        tolerance: largest relative gap of each.

    Raises:
        ValueError: fewer than 2 points, or as `theory.portfolio.best_mixture` (a mixture must be positive on both targets).

    Source: Section 5.
    """
    if num_points < 2:
        raise ValueError(f"num_points must be at least 2, got {num_points}")
    both = source_statistics(sources, [first, second])
    ends = [_best_on(both, t, num_samples, budgets, tolerance) for t in (0, 1)]
    reach = np.stack([both.margins(end.counts) for end in ends])
    low, high = np.clip(np.arctan2(reach[:, 1], reach[:, 0]), _SMALLEST_ANGLE, np.pi / 2 - _SMALLEST_ANGLE)
    found = []
    for angle in np.linspace(low, high, num_points):
        levels = np.asarray([np.cos(angle), np.sin(angle)])
        found.append(
            best_mixture_from_statistics(both, num_samples, budgets, levels=levels, tolerance=tolerance)
        )
    return MixtureFrontier(
        tuple(found),
        np.stack([point.shares for point in found]),
        np.stack([point.margins for point in found]),
    )


def _best_on(
    both: SourceStatistics, target: int, num_samples: Scalar, budgets: ArrayLike | None, tolerance: float
) -> BestMixture:
    alone = SourceStatistics(both.signals[target], both.grams[target], both.noises[target], both.source_names)
    return best_mixture_from_statistics(alone, num_samples, budgets, tolerance=tolerance)

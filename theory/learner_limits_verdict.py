r"""What trained learners say about their exact limits: agreement at the largest d, and how the gap of finite d falls.

Use `verdict` on the table of `theory.learner_limits.with_predictions`; `z_scores` for the cells one by one.
"""

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Gap:
    """How far finite d is from the limit, over all cells at one d.

    Attributes:
        num_features: d.
        rms: root mean square of (simulated − predicted) beyond what standard errors explain; 0 if they explain it all.
        low: lower end of its 95% interval (jackknife over independent data draws).
        high: upper end.
    """

    num_features: int
    rms: float
    low: float
    high: float


@dataclass(frozen=True)
class Shrinkage:
    """How the gap of one d compares with the gap of a smaller d, cell by cell.

    Attributes:
        small: the smaller d.
        large: the larger d.
        ratio: the slope of the larger d's gaps on the smaller d's, their noise taken off; small/large if the gap is O(1/d).
        stderr: its standard error (jackknife over independent data draws).
    """

    small: int
    large: int
    ratio: float
    stderr: float


@dataclass(frozen=True)
class Verdict:
    """What the cells say about the limits.

    Attributes:
        num_features: the largest d, at which agreement is judged.
        num_cells: cells there.
        beyond_3: cells further than 3 standard errors from the limit.
        beyond_5: further than 5.
        largest_stderr: of any cell.
        gaps: at every d.
        shrinkages: from each d to the next.
    """

    num_features: int
    num_cells: int
    beyond_3: int
    beyond_5: int
    largest_stderr: float
    gaps: tuple[Gap, ...]
    shrinkages: tuple[Shrinkage, ...]

    @property
    def agrees(self) -> bool:
        """At most 1% of the cells beyond 3 standard errors and none beyond 5."""
        return self.beyond_3 <= 0.01 * self.num_cells and self.beyond_5 == 0

    @property
    def falls(self) -> bool:
        """Whether the gap at the largest d is smaller than at the d before, by two standard errors."""
        if not self.shrinkages:
            return False
        last = self.shrinkages[-1]
        return self.gaps[-1].rms < self.gaps[-2].rms and last.ratio + 2 * last.stderr < 1


def z_scores(table: "pd.DataFrame") -> np.ndarray:
    """(simulated − predicted) / standard error of every cell."""
    gap = table["accuracy_simulated"] - table["accuracy_predicted"]
    return (gap / table["accuracy_stderr"]).to_numpy()


def verdict(table: "pd.DataFrame") -> Verdict:
    """The finding over all cells of all d."""
    table = table.assign(gap=table["accuracy_simulated"] - table["accuracy_predicted"])
    sizes = sorted(int(d) for d in table["d"].unique())
    main = table[table["d"] == sizes[-1]]
    z = np.abs(z_scores(main))
    gaps = []
    for d in sizes:
        cells = table[table["d"] == d]
        excess = (cells["gap"] ** 2 - cells["accuracy_stderr"] ** 2).to_numpy()
        mean, error = _jackknife(excess, np.ones_like(excess), _groups(cells))
        low, high = (math.sqrt(max(mean + side * 1.96 * error, 0)) for side in (-1, 1))
        gaps.append(Gap(d, math.sqrt(max(mean, 0)), low, high))
    return Verdict(
        num_features=sizes[-1],
        num_cells=len(main),
        beyond_3=int((z > 3).sum()),
        beyond_5=int((z > 5).sum()),
        largest_stderr=float(main["accuracy_stderr"].max()),
        gaps=tuple(gaps),
        shrinkages=tuple(_shrinkage(table, *pair) for pair in itertools.pairwise(sizes)),
    )


def _shrinkage(table: "pd.DataFrame", small: int, large: int) -> Shrinkage:
    both = table[table["d"] == large].merge(table[table["d"] == small], on=_CELL, suffixes=("", "_small"))
    weight = 1 / both["accuracy_stderr"] ** 2
    top = (weight * both["gap"] * both["gap_small"]).to_numpy()
    # The noise of the smaller d's gap would flatten the fit: its known variance is taken off.
    bottom = (weight * (both["gap_small"] ** 2 - both["accuracy_stderr_small"] ** 2)).to_numpy()
    return Shrinkage(small, large, *_jackknife(top, bottom, _groups(both)))


_CELL = ["mixture", "learner", "samples_per_feature", "penalty", "target"]


def _groups(table: "pd.DataFrame") -> np.ndarray:
    """A number for every set of cells that shares its data."""
    return table.groupby(["mixture", "learner", "samples_per_feature"]).ngroup().to_numpy()


def _jackknife(top: np.ndarray, bottom: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """Σ top / Σ bottom and its standard error, leaving out one group at a time."""
    names = np.unique(groups)
    value = top.sum() / bottom.sum()
    left = np.asarray([top[groups != g].sum() / bottom[groups != g].sum() for g in names])
    spread = math.sqrt((len(names) - 1) * np.mean((left - left.mean()) ** 2)) if len(names) > 1 else math.nan
    return float(value), spread

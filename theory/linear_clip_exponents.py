"""Exponents of power laws from simulated errors, with intervals over independent replicates.

Use `fit_exponents` on a table of errors (one row for each replicate and cell), for example those of
`theory.linear_clip_rates.training_errors`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from theory.arrays import Scalar

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Exponent:
    """A fitted exponent.

    Attributes:
        name: of the variable.
        value: the exponent.
        low: lower end of the confidence interval.
        high: upper end.
        stderr: standard error over replicates.
    """

    name: str
    value: float
    low: float
    high: float
    stderr: float

    def describe(self) -> str:
        """The exponent with its interval."""
        return f"{self.name}^{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def fit_exponents(
    table: "pd.DataFrame",
    variables: Sequence[str],
    response: str = "error",
    replicate: str = "replicate",
    level: Scalar = 0.95,
) -> dict[str, Exponent]:
    r"""Exponents of power laws $y=c\prod_jx_j^{\beta_j}$, fitted within each replicate, with an interval over replicates.

    Each replicate gives one least-squares fit of log y on the log x_j over its cells; the exponent is the mean over
    replicates and the interval Student's t. Cells of one replicate may be dependent (they may share draws); replicates must
    not be. The interval is for the exponent of this design of cells: it does not judge whether a power law holds.

    Args:
        table: one row for each replicate and cell, all replicates with the same cells.
        variables: columns x_j.
        response: column y > 0.
        replicate: column that names the replicate.
        level: confidence level.

    Returns:
        One `Exponent` for each variable.

    Raises:
        ValueError: fewer than two replicates, values that are not > 0, or cells that do not tell the variables apart.
    """
    from scipy.special import stdtrit  # a slow import, so it waits for the first use

    groups = [rows for _, rows in table.groupby(replicate, sort=False)]
    if len(groups) < 2:
        raise ValueError(f"an interval needs at least two replicates, got {len(groups)}")
    values = table[[response, *variables]].to_numpy(np.float64)
    if not np.all(values > 0) or not np.all(np.isfinite(values)):
        raise ValueError(
            f"{response} and {', '.join(variables)} must be finite numbers > 0 to have exponents"
        )
    fits = []
    for rows in groups:
        logs = np.log(rows[list(variables)].to_numpy(np.float64))
        design = np.column_stack([np.ones(len(rows)), logs - logs.mean(0)])
        if np.linalg.matrix_rank(design) < design.shape[1]:
            raise ValueError(
                f"the cells of a replicate do not tell {', '.join(variables)} apart: vary them separately"
            )
        fits.append(np.linalg.lstsq(design, np.log(rows[response].to_numpy(np.float64)), rcond=None)[0][1:])
    fitted = np.asarray(fits)
    mean, stderr = fitted.mean(0), fitted.std(0, ddof=1) / np.sqrt(len(fits))
    reach = float(stdtrit(len(fits) - 1, (1 + level) / 2)) * stderr
    return {
        name: Exponent(name, float(m), float(m - w), float(m + w), float(s))
        for name, m, w, s in zip(variables, mean, reach, stderr, strict=True)
    }

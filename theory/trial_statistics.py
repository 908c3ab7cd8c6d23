"""Statistics of simulated margins: means, slopes with delta-method errors, and agreement of a table with its predictions.

Use `summarise` on margins (trials, T) and `agreement` on a table with columns X_predicted, X_simulated, X_stderr.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from theory.arrays import ArrayLike

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Summary:
    """Mean margins over trials with standard errors, and the ratio of the means by the delta method."""

    mean: Float[np.ndarray, " t"]
    stderr: Float[np.ndarray, " t"]
    slope: Float[np.ndarray, " t"]
    slope_stderr: Float[np.ndarray, " t"]


def summarise(margins: ArrayLike, reference: int = 0) -> Summary:
    """Means of margins (trials, T) and slopes mean(m_t)/mean(m_ref) with first-order standard errors.

    Var(slope) = Var(m_t − slope·m_ref)/(trials · mean(m_ref)²): the two margins of one classifier are correlated, and that
    correlation is kept.
    """
    values = np.asarray(margins, np.float64)
    trials = len(values)
    mean = values.mean(0)
    slope = mean / mean[reference]
    residual = values - slope * values[:, [reference]]
    return Summary(
        mean=mean,
        stderr=values.std(0, ddof=1) / np.sqrt(trials),
        slope=slope,
        slope_stderr=residual.std(0, ddof=1) / np.sqrt(trials) / abs(mean[reference]),
    )


def _judged_names(table: "pd.DataFrame") -> list[str]:
    names = [str(column).removesuffix("_predicted") for column in table.columns]
    return [name for name in names if f"{name}_predicted" in table and f"{name}_simulated" in table]


def is_judged(table: "pd.DataFrame") -> bool:
    """Whether a table holds predictions beside simulations, so that `agreement` says something."""
    return bool(_judged_names(table))


def agreement(table: "pd.DataFrame", num_stderr: float | int = 4.0) -> "pd.Series[bool]":
    """For each row that was simulated, whether every simulated quantity lies within k standard errors of its prediction.

    Quantities are the columns X_predicted with X_simulated and X_stderr; rows without any simulated number are left out. A
    quantity without spread (everything kept) must agree to 1e-9.
    """
    import pandas as pd

    simulated = [f"{name}_simulated" for name in _judged_names(table)]
    if simulated:
        table = table[table[simulated].notna().any(axis=1)]
    agrees = pd.Series(True, index=table.index)
    for name in _judged_names(table):
        error = (table[f"{name}_simulated"] - table[f"{name}_predicted"]).abs()
        agrees &= error <= num_stderr * table[f"{name}_stderr"] + 1e-9
    return agrees

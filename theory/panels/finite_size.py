"""The finite-d bias of the closed form for the place on the line, measured: O(1/d) at a fixed number of samples per feature.

`finite_size_bias_table` returns one pandas row per d with the leading order, the second order and the simulation.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np
from jax import Array
from jaxtyping import Key

from theory.classifiers import AveragingLaw, averaging_law
from theory.gaussian import Target
from theory.monte_carlo import sample_averaging
from theory.panels.mixing import Setting
from theory.reduced_problem import reduce_problem

if TYPE_CHECKING:
    import pandas as pd


def finite_size_bias_table(
    key: Key[Array, ""],
    setting_of: Callable[[int], Setting],
    dimensions: Sequence[int],
    samples_per_feature: float | int,
    share: float | int,
    num_trials: int,
) -> "pd.DataFrame":
    """What the closed form for the place on the line leaves out, at a fixed n/d: O(1/d), and O(1/d²) at second order.

    The bias is far below the spread of one classifier, so it is estimated against a control: the terms of m that are linear in
    (ŵ·μ, ŵᵀΣŵ), whose means are known exactly, are subtracted from each draw.

    Args:
        key: random key.
        setting_of: number of features -> setting.
        dimensions: values of d.
        samples_per_feature: n/d.
        share: share of the first source.
        num_trials: trials of the reduced sampler per d.

    Returns:
        One row per d: d, n, trials, probit_ref_leading, probit_ref_second_order, probit_ref_simulated, probit_ref_stderr,
        bias_leading and bias_second_order (simulated minus predicted).
    """
    import pandas as pd

    rows = []
    for number, d in enumerate(dimensions):
        setting = setting_of(d)
        counts = np.asarray([share, 1.0 - share]) * samples_per_feature * d
        law = averaging_law(setting.sources, counts)
        problem = reduce_problem(setting.sources, setting.targets)
        draws = sample_averaging(jax.random.fold_in(key, number), problem, counts, num_trials)
        a, q, leading, second = (float(v) for v in _moments(law.mean, law.covariance, setting.reference))
        projections = np.asarray(draws.projections[:, 0], np.float64)
        lengths = np.asarray(draws.squared_lengths[:, 0], np.float64)
        linear = (projections - a) / np.sqrt(q) - a * (lengths - q) / (2 * q**1.5)
        controlled = np.asarray(draws.margins[:, 0], np.float64) - linear
        rows.append(
            {
                "d": d,
                "n": counts.sum(),
                "trials": num_trials,
                "probit_ref_leading": leading,
                "probit_ref_second_order": second,
                "probit_ref_simulated": controlled.mean(),
                "probit_ref_stderr": controlled.std(ddof=1) / np.sqrt(num_trials),
                "bias_leading": controlled.mean() - leading,
                "bias_second_order": controlled.mean() - second,
            }
        )
    return pd.DataFrame(rows)


@jax.jit
def _moments(mean: Array, covariance: Array, target: Target) -> tuple[Array, ...]:
    """E ŵ·μ, E ŵᵀΣŵ and the margin at leading and second order; one compilation per d instead of dozens."""
    law = AveragingLaw(mean, covariance)
    return (
        law.projection_mean(target),
        law.squared_length_mean(target),
        law.place(target),
        law.expected_margin(target),
    )

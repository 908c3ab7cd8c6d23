"""Errors of simulated slopes against repeated simulations, and which rows agree with their prediction."""

import numpy as np
import pandas as pd
import pytest

from theory.trial_statistics import agreement, is_judged, summarise


@pytest.mark.parametrize("reference", [0, 2])
def test_standard_errors_are_the_spread_over_repeated_simulations(reference):
    """Margins of one classifier on three targets are correlated: a slope knows itself better than its two means."""
    rng = np.random.default_rng(reference)
    studies, trials = 600, 150
    truth, spread = np.array([1.0, 0.7, -0.4]), np.array([0.2, 0.15, 0.1])
    correlation = np.array([[1.0, 0.95, -0.5], [0.95, 1.0, -0.4], [-0.5, -0.4, 1.0]])
    root = np.linalg.cholesky(correlation) * spread[:, None]
    found = [summarise(truth + rng.standard_normal((trials, 3)) @ root.T, reference) for _ in range(studies)]
    # a standard deviation of that many draws has this relative error, a stated one far less
    tolerance = 4 / np.sqrt(2 * (studies - 1))
    means, slopes = (np.array([getattr(each, name) for each in found]) for name in ("mean", "slope"))
    stated, stated_slope = (
        np.mean([getattr(each, name) for each in found], axis=0) for name in ("stderr", "slope_stderr")
    )
    assert stated == pytest.approx(means.std(axis=0), rel=tolerance)
    others = [t for t in range(3) if t != reference]
    assert stated_slope[others] == pytest.approx(slopes.std(axis=0)[others], rel=tolerance)
    assert stated_slope[reference] == pytest.approx(0, abs=1e-12)
    assert slopes.mean(axis=0) == pytest.approx(truth / truth[reference], rel=0.01)
    if reference == 0:
        independent = np.hypot(spread[1], 0.7 * spread[0]) / np.sqrt(trials)
        assert stated_slope[1] < 0.5 * independent, "the test would not notice that correlation is lost"


def test_rows_agree_within_so_many_standard_errors():
    table = pd.DataFrame(
        {
            "a_predicted": [1.0, 1.0, 1.0, 1.0, 1.0],
            "a_simulated": [1.39, 0.59, np.nan, 1.0, 1.0 + 1e-8],
            "a_stderr": [0.1, 0.1, np.nan, 0.1, 0.0],
            "b_predicted": 2.0,
            "b_simulated": [2.0, 2.0, np.nan, 2.5, 2.0],
            "b_stderr": 0.1,
        }
    )
    assert agreement(table).to_dict() == {0: True, 1: False, 3: False, 4: False}
    assert agreement(table, 5.5).to_dict() == {0: True, 1: True, 3: True, 4: False}
    assert is_judged(table)
    assert not is_judged(table.drop(columns=["a_simulated", "b_simulated"]))

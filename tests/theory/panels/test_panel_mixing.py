import jax
import numpy as np
import pandas as pd
import pytest

from theory.brute_force import brute_force_classifiers
from theory.gaussian import margin
from theory.monte_carlo import sample_averaging, sample_ensemble
from theory.panels.filtering import default_filtering_setting, filtering_curves, filtering_table
from theory.panels.finite_size import finite_size_bias_table
from theory.panels.mixing import (
    CLASSIFIERS,
    default_setting,
    mixing_table,
    num_mixing_jobs,
    place_curves,
    predicted_margins,
    predicted_slopes,
)
from theory.reduced_problem import reduce_problem
from theory.trial_statistics import agreement, summarise

KEY = jax.random.key(77)
SETTING = default_setting(20)
MIXING_COLUMNS = [
    *("classifier", "sampler", "share", "n", "d", "shift", "trials"),
    *("slope_predicted", "slope_simulated", "slope_stderr"),
    *("probit_ref_predicted", "probit_ref_simulated", "probit_ref_stderr"),
]
FILTERING_COLUMNS = [
    *("filter_slope", "shift", "d", "pool_size", "threshold"),
    *("kept_predicted", "kept_simulated", "kept_stderr"),
    *("slope_predicted", "slope_simulated", "slope_stderr"),
    *("probit_shift_predicted", "probit_shift_simulated", "probit_shift_stderr"),
]


@pytest.fixture(scope="module")
def mixing():
    calls = []
    table = mixing_table(KEY, SETTING, [0.0, 0.5, 1.0], [40, 10**9], [40], 6000, 1500, progress=calls.append)
    assert len(calls) == num_mixing_jobs(3, 2, 1)
    return table


def test_mixing_table_is_tidy_and_agrees(mixing):
    assert list(mixing.columns) == MIXING_COLUMNS
    assert not mixing.isna().any().any()
    assert set(mixing["classifier"]) == set(CLASSIFIERS)
    assert len(mixing) == (4 * 2 * 3 + 3) * 2
    assert agreement(mixing).all()


def test_mixtures_stay_between_their_sources(mixing):
    for _, rows in mixing[mixing["n"] == 10**9].groupby(["classifier", "shift"]):
        ends = rows[rows["share"].isin([0.0, 1.0])]["slope_predicted"]
        middle = rows[rows["share"] == 0.5]["slope_predicted"]
        assert middle.between(ends.min(), ends.max()).all()
        assert middle.between(ends.min() + 1e-3, ends.max() - 1e-3).all()


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_second_order_removes_the_bias_of_the_leading_order(classifier):
    """At d = 20 the leading order is visibly off and the second order is not."""
    problem, share, n, trials = reduce_problem(SETTING.sources, SETTING.targets), 0.5, 30, 200_000
    alpha = np.asarray([share, 1 - share])
    counts = alpha * n if classifier == "ensemble_heads_share" else np.full(2, n)
    if classifier == "averaging":
        draws = sample_averaging(KEY, problem, alpha * n, trials)
    else:
        draws = sample_ensemble(
            KEY, problem, alpha, counts, trials, 0 if classifier == "normalised_ensemble" else None
        )
    simulated = summarise(draws.margins)
    leading = np.abs(simulated.mean - predicted_margins(SETTING, classifier, share, n, second_order=False))
    second = np.abs(simulated.mean - predicted_margins(SETTING, classifier, share, n))
    assert (leading > 4.5 * simulated.stderr).any()
    assert (second < 4.5 * simulated.stderr + 0.15 * leading).all()  # what is left is O(1/d²)


def test_normalised_heads_against_heads_that_were_trained():
    alpha, counts = np.asarray([0.4, 0.6]), [25, 40]
    heads = [
        np.asarray(brute_force_classifiers(jax.random.fold_in(KEY, i), [source], [count], 6000))
        for i, (source, count) in enumerate(zip(SETTING.sources, counts, strict=True))
    ]
    combined = sum(
        a * h / np.linalg.norm(h, axis=1, keepdims=True) for a, h in zip(alpha, heads, strict=True)
    )
    problem = reduce_problem(SETTING.sources, SETTING.targets)
    draws = sample_ensemble(KEY, problem, alpha, counts, 6000, normalise_on=0)
    for t, target in enumerate(SETTING.targets):
        naive, reduced = np.asarray(margin(combined, target)), np.asarray(draws.margins)[:, t]
        error = np.hypot(naive.std(), reduced.std()) / np.sqrt(6000)
        assert abs(naive.mean() - reduced.mean()) < 4.5 * error


def test_predicted_slope_is_the_weighted_mediant():
    margins = predicted_margins(SETTING, "averaging", 0.3, 100)
    slopes = predicted_slopes(SETTING, "averaging", 0.3, margins)
    b = [float(s.mean @ SETTING.reference.mean) for s in SETTING.sources]
    for t, shift in enumerate(SETTING.shifts, start=1):
        scale = np.sqrt(float(shift.covariance))
        rho = [float(s.mean @ shift.mean) / (scale * bs) for s, bs in zip(SETTING.sources, b, strict=True)]
        weights = np.asarray([0.3 * b[0], 0.7 * b[1]])
        np.testing.assert_allclose(slopes[t], weights @ rho / weights.sum(), rtol=1e-12)


def test_place_curves_are_the_predictions():
    curves = place_curves(SETTING, 0.5, [10, 100])
    assert len(curves) == 8
    row = curves[(curves["classifier"] == "averaging") & (curves["n"] == 100)]
    expected = predicted_margins(SETTING, "averaging", 0.5, 100)[0]
    np.testing.assert_allclose(row["probit_ref_predicted"], expected)


def test_delta_method_error_is_the_spread_of_the_ratio():
    generator = np.random.default_rng(0)
    noise = generator.standard_normal((2000, 50, 2))
    margins = np.stack([1 + 0.2 * noise[..., 0], 0.6 + 0.2 * noise[..., 0] + 0.1 * noise[..., 1]], -1)
    slopes = margins[..., 1].mean(1) / margins[..., 0].mean(1)
    errors = np.asarray([summarise(m).slope_stderr[1] for m in margins[:200]])
    np.testing.assert_allclose(errors.mean(), slopes.std(), rtol=0.1)
    assert summarise(margins[0]).slope[0] == 1


def test_agreement_finds_the_row_that_is_off():
    table = pd.DataFrame(
        {
            "x_predicted": [1.0, 1.0, 1.0],
            "x_simulated": [1.03, 1.05, 1.0],
            "x_stderr": [0.01, 0.01, 0.0],
            "other": [0, 0, 0],
        }
    )
    assert agreement(table).tolist() == [True, False, True]
    assert agreement(table, num_stderr=6).all()


def test_filtering_table_is_tidy_agrees_and_turns_the_line():
    setting = default_filtering_setting(20)
    table = filtering_table(KEY, setting, [1.0, 0.5, 0.1], 500, 1500)
    assert list(table.columns) == FILTERING_COLUMNS
    assert len(table) == 2 * 3 * 2
    assert agreement(table).all()
    assert np.isneginf(table["threshold"]).sum() == 4
    for (own, _), rows in table.groupby(["filter_slope", "shift"]):
        pool, kept = rows["slope_simulated"].iloc[0], rows["slope_simulated"].iloc[-1]
        assert (own > pool) == (
            kept > pool
        )  # one filter is better than the pool and one worse, on either shift
    assert (table.groupby("shift")["filter_slope"].nunique() == 2).all()


def test_filtering_curves_pass_through_the_predictions():
    setting = default_filtering_setting(20)
    curves = filtering_curves(setting, 500, 0.1, points=8)
    assert curves["kept"].min() == pytest.approx(0.1)
    assert curves["kept"].max() == 1.0
    assert set(curves["filter"]) == set(setting.filters)


def test_finite_size_bias_falls_as_one_over_d_and_is_predicted():
    table = finite_size_bias_table(KEY, default_setting, [8, 32, 128], 2.0, 0.5, 20_000)
    scaled = table["bias_leading"] * table["d"]
    assert scaled.max() / scaled.min() < 1.1
    correction = table["probit_ref_second_order"] - table["probit_ref_leading"]
    error = (table["bias_leading"] - correction).abs()
    assert (error < 4.5 * table["probit_ref_stderr"] + 4 / table["d"] ** 2 * 0.01).all()
    assert (table["bias_leading"].abs() > 10 * table["probit_ref_stderr"]).all()


def test_out_of_domain_is_refused():
    with pytest.raises(ValueError, match="at least 8 features"):
        default_setting(4)
    with pytest.raises(ValueError, match="at least 8 features"):
        default_filtering_setting(4)
    with pytest.raises(ValueError, match="classifier must be one of"):
        predicted_margins(SETTING, "ridge", 0.5, 10)

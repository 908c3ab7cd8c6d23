"""Scores of the rules against hand-made predictions, the clusters of the bootstrap, and the summary in words."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom
from synthetic_accuracies import synthetic_study

from empirical.prediction import PREDICTION_COLUMNS, RULES, predict_mixtures
from empirical.robustness import TREND_COLUMNS, fit_trends
from empirical.scoring import (
    ALL_SHIFTS,
    SCORE_COLUMNS,
    mixture_verdicts,
    score_rules,
    summarise_lines,
    summarise_mixtures,
)
from empirical.summary import format_summary


def hand_made(errors: dict[str, list[float]], shifts: tuple[str, ...] = ("v2",)) -> pd.DataFrame:
    """Predictions whose rule r is off by errors[r][i] on mixture i."""
    rows = []
    for shift in shifts:
        for i in range(len(errors["lines"])):
            for rule in RULES:
                row = dict.fromkeys(PREDICTION_COLUMNS, np.nan)
                row |= {
                    "sources": f"a{i}:0.5+b:0.5",
                    "shift": shift,
                    "n_train": 512,
                    "num_seeds": 2,
                    "rule": rule,
                }
                row |= {
                    "ratio_measured": 0.5,
                    "ratio_predicted": 0.5 + errors[rule][i],
                    "inside_range": "yes",
                }
                row |= {
                    "ratio_measured_stderr": 0.03,
                    "ratio_predicted_stderr": 0.04,
                    "difference_stderr": 0.05,
                }
                rows.append(row)
    return pd.DataFrame(rows)


ERRORS = {
    "mediant": [0.1, -0.1, 0.1, -0.1, 0.1, -0.1],
    "quadrature": [0.0, 0.0, 0.3, 0.0, 0.0, 0.0],
    "lines": [0.01, 0.02, -0.01, 0.02, 0.01, -0.02],
    "interpolated": [0.11, 0.12, 0.1, 0.12, 0.1, 0.11],
    "best_source": [0.3, 0.2, 0.3, 0.2, 0.3, 0.2],
}


def test_rms_bias_noise_floor_and_differences_are_their_formulas():
    scores = score_rules(hand_made(ERRORS))
    assert tuple(scores.columns) == SCORE_COLUMNS
    scores = scores[scores["shift"] == "v2"].set_index("rule")
    for rule, errors in ERRORS.items():
        assert scores.loc[rule, "rms"] == pytest.approx(np.sqrt(np.mean(np.square(errors))))
        assert scores.loc[rule, "bias"] == pytest.approx(np.mean(errors))
        assert scores.loc[rule, "noise_floor"] == pytest.approx(0.05)
        expected = scores.loc[rule, "rms"] - scores.loc["interpolated", "rms"]
        assert scores.loc[rule, "difference_to_interpolated"] == pytest.approx(expected, abs=1e-12)
    assert scores.loc["lines", "difference_to_best_source_high"] < 0
    assert scores.loc["lines", "difference_to_interpolated_high"] < 0


def test_the_bootstrap_is_paired():
    # The mediant is .01 worse than the baseline on every mixture: paired resampling sees it, unpaired would not.
    errors = dict(ERRORS)
    errors["interpolated"] = [0.05, 0.5, 0.1, 0.3, 0.02, 0.2]
    errors["mediant"] = [1.02 * e for e in errors["interpolated"]]
    row = score_rules(hand_made(errors)).query("shift == 'v2'").set_index("rule").loc["mediant"]
    assert 0 < row["difference_to_interpolated_low"] <= row["difference_to_interpolated_high"]
    assert row["rms_low"] < 0.2 < 0.3 < row["rms_high"]


def test_mixtures_of_the_same_sources_are_one_cluster():
    predictions = hand_made(ERRORS)
    predictions["sources"] = [
        f"a:{s}+b:{round(1 - s, 2)}" for s in np.repeat(np.arange(0.2, 0.79, 0.1).round(1), len(RULES))
    ]
    scores = score_rules(predictions)
    assert set(scores["num_mixtures"]) == {1}
    assert set(scores["num_predictions"]) == {6}
    assert scores["rms_low"].isna().all()


def test_empty_predictions_are_left_out_of_both_sides_of_a_comparison():
    predictions = hand_made(ERRORS)
    gone = (predictions["rule"] == "lines") & predictions["sources"].isin(["a0:0.5+b:0.5", "a3:0.5+b:0.5"])
    predictions.loc[gone, "ratio_predicted"] = np.nan
    row = score_rules(predictions).query("shift == 'v2'").set_index("rule").loc["lines"]
    rest = [1, 2, 4, 5]
    lines, baseline = (
        np.sqrt(np.mean(np.square(np.array(ERRORS[r])[rest]))) for r in ("lines", "interpolated")
    )
    assert row["num_predictions"] == 4
    assert row["difference_to_interpolated"] == pytest.approx(lines - baseline)


def test_noise_floor_is_the_root_of_the_mean_variance():
    predictions = hand_made(ERRORS)
    stderr = dict(zip(predictions["sources"].unique(), [0.01, 0.02, 0.03, 0.05, 0.08, 0.13], strict=True))
    predictions["difference_stderr"] = predictions["sources"].map(stderr)
    gone = (predictions["rule"] == "lines") & (predictions["sources"] == "a5:0.5+b:0.5")
    predictions.loc[gone, "ratio_predicted"] = np.nan
    scores = score_rules(predictions).query("shift == 'v2'").set_index("rule")
    assert scores.loc["mediant", "noise_floor"] == pytest.approx(
        np.sqrt(np.mean(np.square([*stderr.values()])))
    )
    assert scores.loc["lines", "noise_floor"] == pytest.approx(
        np.sqrt(np.mean(np.square([*stderr.values()][:5])))
    )


def test_what_a_baseline_lacks_is_left_out_of_the_rule_too():
    predictions = hand_made(ERRORS)
    gone = (predictions["rule"] == "best_source") & predictions["sources"].isin(
        ["a2:0.5+b:0.5", "a4:0.5+b:0.5"]
    )
    predictions.loc[gone, "ratio_predicted"] = np.nan
    row = score_rules(predictions).query("shift == 'v2'").set_index("rule").loc["quadrature"]
    both = [0, 1, 3, 5]
    quadrature, baseline = (
        np.sqrt(np.mean(np.square(np.array(ERRORS[r])[both]))) for r in ("quadrature", "best_source")
    )
    assert quadrature == 0, "its only error is on a mixture that the baseline lacks"
    assert row["rms"] == pytest.approx(np.sqrt(0.09 / 6))
    assert row["difference_to_best_source"] == pytest.approx(quadrature - baseline)


def test_intervals_end_at_the_central_95_percent():
    """Three clusters of which one is off by e: the root mean square of a resample is e sqrt(k / 3), k binomial(3, 1/3)."""
    one_off, one_right = [0.3, 0.0, 0.0], [0.0, 0.3, 0.3]
    scores = score_rules(hand_made(dict.fromkeys(RULES, one_off) | {"quadrature": one_right}))
    rows = scores.query("shift == 'v2'").set_index("rule")
    for k, rule, end in (
        (binom.ppf(0.975, 3, 1 / 3), "lines", "high"),
        (binom.ppf(0.025, 3, 2 / 3), "quadrature", "low"),
    ):
        assert rows.loc[rule, f"rms_{end}"] == pytest.approx(0.3 * np.sqrt(k / 3))
    # 4 standard errors of 4000 resamples: neither end lies on a step of the law, and a 90% interval would end elsewhere.
    step = binom.cdf(2, 3, 1 / 3)
    assert min(0.975 - step, step - 0.95) > 4 * np.sqrt(step * (1 - step) / 4000)


def test_all_shifts_pool_the_shifts():
    scores = score_rules(hand_made(ERRORS, shifts=("v2", "sketch")))
    pooled = scores[scores["shift"] == ALL_SHIFTS]
    assert set(pooled["num_predictions"]) == {12}
    assert set(pooled["num_mixtures"]) == {6}


def test_the_same_seed_gives_the_same_scores():
    pd.testing.assert_frame_equal(
        score_rules(hand_made(ERRORS), seed=3), score_rules(hand_made(ERRORS), seed=3)
    )


def test_counts_of_mixtures_take_each_size_once():
    counts = summarise_mixtures(hand_made(ERRORS, shifts=("v2", "sketch"))).set_index("shift")
    assert counts.loc["v2"].tolist() == [6, 0, 0, 6]
    assert counts.loc[ALL_SHIFTS].tolist() == [12, 0, 0, 12]


def test_every_mixture_and_size_has_its_verdict_on_every_shift():
    predictions = hand_made(ERRORS, shifts=("v2", "sketch"))
    small = predictions.assign(n_train=256)
    chosen = (predictions["sources"] == "a1:0.5+b:0.5") & (predictions["shift"] == "sketch")
    predictions.loc[chosen, "inside_range"] = "no"
    small.loc[small["shift"] == "v2", "inside_range"] = "inconclusive"
    small = small[~((small["sources"] == "a0:0.5+b:0.5") & (small["shift"] == "v2"))]
    both = pd.concat([predictions, small])
    table = mixture_verdicts(both)
    assert table.columns.tolist() == ["sources", "n_train", "v2", "sketch"]
    rows = table.set_index(["sources", "n_train"])
    assert len(rows) == 12
    assert rows.loc[("a1:0.5+b:0.5", 512)].tolist() == ["yes", "no"]
    assert rows.loc[("a1:0.5+b:0.5", 256)].tolist() == ["inconclusive", "yes"]
    assert rows.loc[("a0:0.5+b:0.5", 256)].tolist() == ["", "yes"]
    text = format_summary(
        synthetic_study().iloc[:0], pd.DataFrame(columns=list(TREND_COLUMNS)), both, score_rules(both)
    )
    lines = [line.split() for line in text.splitlines()]
    assert ["a1", "50%", "+", "b", "50%", "512", "inside", "outside"] in lines
    assert ["a1", "50%", "+", "b", "50%", "256", "?", "inside"] in lines
    assert ["a0", "50%", "+", "b", "50%", "256", "-", "inside"] in lines
    assert ["sketch", "11", "1", "0", "12"] in lines


def test_the_summary_tells_lines_growth_range_and_rules():
    accuracies = synthetic_study()
    trends, predictions = fit_trends(accuracies), predict_mixtures(accuracies)
    text = format_summary(accuracies, trends, predictions, score_rules(predictions))
    assert len(summarise_lines(trends)) == 6
    for words in (
        "R2",
        "models",
        "Growth dlog",
        "inside",
        "lines *",
        "minus interpolated",
        "Over all shifts lines is",
    ):
        assert words in text
    assert max(map(len, text.splitlines())) < 200


def test_a_study_of_one_source_has_nothing_to_mix():
    accuracies = synthetic_study(sources=("stock",), mixtures=())
    trends, predictions = fit_trends(accuracies), predict_mixtures(accuracies)
    text = format_summary(accuracies, trends, predictions, score_rules(predictions))
    assert "One source (stock): nothing to mix." in text


@pytest.mark.parametrize("kinds", [[], ["single"]])
def test_a_partial_study_has_a_summary_too(kinds):
    accuracies = synthetic_study()
    accuracies = accuracies[accuracies["kind"].isin(kinds)]
    trends, predictions = fit_trends(accuracies), predict_mixtures(accuracies)
    scores = score_rules(predictions)
    assert scores.empty
    assert "No mixture has been measured" in format_summary(accuracies, trends, predictions, scores)

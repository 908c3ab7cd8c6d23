"""Places of mixtures: the formula, the linear world, and what the table may look at."""

import numpy as np
import pandas as pd
import pytest
from linear_study import linear_study

from empirical.errors import DataError
from empirical.group_means import GroupMean, Means, SeedCovariance
from empirical.measured_sources import nearest_gram
from empirical.overlap import measure_overlaps
from empirical.places import PLACE_COLUMNS, bracket_errors, predict_places, score_places
from empirical.prediction import mixture_place_bracket


@pytest.fixture(scope="module")
def study():
    mixtures = ("first:0.5+second:0.5", "first:0.25+third:0.75", "first:0.25+second:0.25+third:0.5")
    return linear_study(seeds=(0, 1, 2, 3), sizes=(128, 256, 512), mixtures=mixtures)


@pytest.fixture(scope="module")
def overlaps(study):
    return measure_overlaps(study.accuracies, study.load, study.labels)


@pytest.fixture(scope="module")
def places(study, overlaps):
    return predict_places(study.accuracies, overlaps)


def test_the_place_is_its_formula(study, overlaps, places):
    row = places.query("sources == 'first:0.25+third:0.75' and test_set == 'odd'").iloc[0]
    p, names = np.array([0.25, 0.0, 0.75]), ["first", "second", "third"]
    single = study.accuracies.query("kind == 'single' and n_train == 512 and test_set == 'odd'")
    d = single.groupby("sources")["dprime"].mean()[names].to_numpy()
    here = (
        overlaps.query("n_train == 512 and test_set == 'odd'")
        .groupby(["first", "second"])["correlation"]
        .mean()
    )
    r = nearest_gram(np.array([[here[tuple(sorted([a, b]))] for a in names] for b in names]))
    expected = p @ d / np.sqrt(p @ r @ p + p @ (1 - np.diagonal(r)))
    assert row["dprime_predicted"] == pytest.approx(expected, rel=1e-9)


def test_the_linear_world_lands_where_it_is_predicted(places):
    assert tuple(places.columns) == PLACE_COLUMNS
    assert len(places) == 3 * 3
    z = (places["dprime_predicted"] - places["dprime_measured"]) / places["difference_stderr"]
    assert z.abs().max() < 3.5
    score = score_places(places).set_index("test_set")
    # Mixing sources that disagree gains place: the weighted mean falls short by far more than the prediction.
    assert (score["rms_place"] < 0.6 * score["rms_of_low_end"]).all()
    assert score.loc["reference", ["rms_ratio", "noise_ratio"]].isna().all()
    assert set(places["inside_bracket"]) <= {"yes", "inconclusive"}
    shifted = places[places["test_set"] != "reference"]
    z = (shifted["ratio_predicted"] - shifted["ratio_measured"]) / shifted["ratio_difference_stderr"]
    assert z.abs().max() < 3.5


def test_predictions_look_at_no_mixture(study, overlaps, places):
    corrupted = study.accuracies.copy()
    corrupted.loc[corrupted["kind"] == "input_mixing", "dprime"] -= 0.5
    again = predict_places(corrupted, overlaps)
    columns = [
        "dprime_predicted",
        "dprime_predicted_stderr",
        "ratio_predicted",
        "bracket_low",
        "bracket_high",
    ]
    pd.testing.assert_frame_equal(places[columns], again[columns])


def test_what_has_no_place_has_no_row(study, overlaps):
    one_seed = study.accuracies[study.accuracies["seed"] == 0]
    table = measure_overlaps(one_seed, study.load, study.labels)
    found = predict_places(one_seed, table)
    assert found.empty
    assert tuple(found.columns) == PLACE_COLUMNS
    assert predict_places(study.accuracies.iloc[:0], overlaps).empty
    with pytest.raises(DataError, match="no mixture"):
        score_places(found)
    infinite = study.accuracies.copy()
    moved = (
        (infinite["sources"] == "second") & (infinite["n_train"] == 512) & (infinite["test_set"] == "even")
    )
    infinite.loc[moved, "dprime"] = np.inf
    infinite.loc[moved, "num_correct"] = infinite.loc[moved, "num_images"]
    assert predict_places(infinite, overlaps).empty


def hand_made(d: dict[tuple[str, int], float], mixture: float, seeds: int = 4, spread: float = 0.0) -> Means:
    """Means on one test set: single sources by (name, n), and one mixture of 1,000 samples."""
    groups = {("single", s, "", n): GroupMean(np.array([v]), np.zeros(1), seeds) for (s, n), v in d.items()}
    groups["input_mixing", "a:0.5+b:0.5", "", 1000] = GroupMean(np.array([mixture]), np.zeros(1), seeds)
    covariance = SeedCovariance(np.array([[spread**2]]), 20)
    return Means(("reference",), groups, {"single": covariance, "all": covariance}, {})


def power_law(growth: float) -> dict[tuple[str, int], float]:
    return {
        (s, n): c * (n / 1000) ** growth for s, c in (("a", 2.0), ("b", 1.6)) for n in (250, 500, 1000, 2000)
    }


@pytest.mark.parametrize("growth", [0.3, 0.45, 0.7])
def test_the_bracket_is_empty_where_sources_grow_too_fast(growth):
    low, high = mixture_place_bracket(hand_made(power_law(growth), 2.0), {"a": 0.5, "b": 0.5}, 1000, 0)
    assert low == pytest.approx(1.8)
    assert high == pytest.approx(0.5**growth * np.hypot(2.0, 1.6))
    assert (low > high) == (growth == 0.7)


def test_the_brackets_errors_are_those_of_repeated_seeds():
    """Of the distance of a mixture's d' from either end, over studies that differ in their seeds."""
    rng, spread, shares = np.random.default_rng(0), 0.05, {"a": 0.35, "b": 0.65}
    truth = power_law(0.4)
    found = []
    for _ in range(2000):
        noise = rng.normal(0, spread / 2, len(truth) + 1)  # four seeds
        means = hand_made(
            {k: v + e for (k, v), e in zip(truth.items(), noise, strict=False)}, 2.1 + noise[-1]
        )
        low, high = mixture_place_bracket(means, shares, 1000, 0)
        value = means.groups["input_mixing", "a:0.5+b:0.5", "", 1000].mean[0]
        found.append((value - low, high - value))
    means = hand_made(truth, 2.1, spread=spread)
    mixture = means.groups["input_mixing", "a:0.5+b:0.5", "", 1000]
    stated = bracket_errors(means, mixture, shares, 1000, 0)
    # A standard deviation over 2,000 draws is known to 1.6%.
    assert np.std(found, axis=0, ddof=1) == pytest.approx(stated, rel=5 * 0.016)

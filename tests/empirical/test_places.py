"""Places of mixtures: the formula, the linear world, and what the table may look at."""

import numpy as np
import pandas as pd
import pytest
from linear_study import linear_study

from empirical.errors import DataError
from empirical.measured_sources import nearest_gram
from empirical.overlap import measure_overlaps
from empirical.places import PLACE_COLUMNS, predict_places, score_places


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

"""Diagnostics: class by class, weights per target, and the table, against worlds whose answer is known."""

import numpy as np
import pytest
from linear_study import linear_study
from synthetic_accuracies import synthetic_study

from empirical.class_errors import CLASS_COLUMNS, class_counts, classwise_ratios
from empirical.diagnosis import DIAGNOSIS_COLUMNS, diagnose
from empirical.errors import DataError
from empirical.figures.diagnosis import draw_diagnosis
from empirical.measured_sources import measure_sources
from empirical.overlap import measure_overlaps
from empirical.prediction import mixture_shares, predict_mixtures
from empirical.target_weights import fit_target_weights, fitted_places, weights_table, weights_test
from theory.links import dprime, dprime_inverse

MIXTURES = (
    "first:0.5+second:0.5", "first:0.25+second:0.75", "first:0.75+second:0.25", "first:0.5+third:0.5", "second:0.5+third:0.5",
)  # fmt: skip


@pytest.fixture(scope="module")
def study():
    return linear_study(seeds=(0, 1, 2), sizes=(128, 256, 512), mixtures=MIXTURES)


@pytest.fixture(scope="module")
def overlaps(study):
    return measure_overlaps(study.accuracies, study.load, study.labels)


@pytest.fixture(scope="module")
def counts(study):
    return class_counts(study.accuracies, study.load, study.labels)


def test_class_counts_add_up_to_the_accuracies(study, counts):
    assert tuple(counts.columns) == CLASS_COLUMNS
    assert set(counts["n_train"]) == {512}
    both = study.accuracies.query("n_train == 512 and kind in ('single', 'input_mixing')")
    keys = ["kind", "sources", "test_set"]
    assert (
        counts.groupby(keys)["num_correct"].sum().sort_index().to_numpy()
        == both.groupby(keys)["num_correct"].sum().sort_index().to_numpy()
    ).all()
    run = "single-first-n512-seed0"
    one = class_counts(study.accuracies[study.accuracies["run"] == run], study.load, study.labels, (512,))
    right = study.load(run, "odd").argmax(axis=1) == study.labels["odd"]
    for _, row in one[one["test_set"] == "odd"].iterrows():
        assert row["num_correct"] == right[study.labels["odd"] == row["label"]].sum()


def test_the_mediant_of_classes_is_its_formula(counts):
    row = classwise_ratios(counts).query("sources == 'first:0.25+second:0.75' and shift == 'odd'").iloc[0]
    single = counts[counts["kind"] == "single"].groupby(["test_set", "sources"])["accuracy"]
    place = {}
    for test_set in ("reference", "odd"):
        by_class = [single.get_group((test_set, source)).to_numpy() for source in ("first", "second")]
        d = 0.25 * np.asarray(dprime(by_class[0], 6)) + 0.75 * np.asarray(dprime(by_class[1], 6))
        place[test_set] = float(dprime(float(np.mean(np.asarray(dprime_inverse(d, 6)))), 6))
    assert row["ratio_classwise"] == pytest.approx(place["odd"] / place["reference"], rel=1e-9)
    assert row["num_classes"] == 6


def test_equal_weights_are_found_where_the_world_has_them(study, overlaps):
    measured = measure_sources(study.accuracies, overlaps, 512, num_draws=60)
    weights = fit_target_weights(study.accuracies, measured, 60)
    table = weights_table(weights)
    assert np.allclose(np.prod(np.exp(weights.log_weights), axis=1), 1)
    inside = (table["weight_low"] <= 1) & (table["weight_high"] >= 1)
    assert inside.mean() >= 7 / 9
    assert (weights_test(weights)["p_value"] > 0.001).all()
    assert (weights.rms_fitted <= weights.rms_equal + 1e-6).all()


def test_a_target_that_weights_its_sources_is_found(study, overlaps):
    # Mixtures whose d' on one test set follows the first source three times as strongly.
    measured = measure_sources(study.accuracies, overlaps, 512, num_draws=60)
    t = measured.test_sets.index("odd")
    changed = study.accuracies.copy()
    v = np.array([3.0, 1.0, 1.0])
    for mixture in MIXTURES:
        shares = mixture_shares(mixture)
        q = v * np.array([shares.get(name, 0.0) for name in measured.sources])
        r = measured.statistics(["odd"]).grams[0]
        noise = (q * v) @ (1 - np.diagonal(r))
        value = q @ measured.signals[t] / np.sqrt(q @ r @ q + noise)
        rows = (
            (changed["kind"] == "input_mixing")
            & (changed["sources"] == mixture)
            & (changed["test_set"] == "odd")
        )
        shift = value - changed.loc[rows, "dprime"].mean()
        changed.loc[rows, "dprime"] += shift
    weights = fit_target_weights(changed, measured, 60)
    table = weights_table(weights).set_index(["test_set", "source"])
    expected = v / np.prod(v) ** (1 / 3)
    for name, true in zip(measured.sources, expected, strict=True):
        row = table.loc[("odd", name)]
        assert row["weight"] == pytest.approx(true, rel=0.15)
        assert row["weight_low"] < true < row["weight_high"]
    left = fitted_places(changed, weights)
    assert set(left["shift"]) == {"even", "odd"}
    assert weights.rms_fitted[t] < 0.2 * weights.rms_equal[t]


def test_too_few_mixtures_are_refused(study, overlaps):
    measured = measure_sources(study.accuracies, overlaps, 512, num_draws=5)
    few = study.accuracies[study.accuracies["sources"].isin(["first", "second", "third", MIXTURES[0]])]
    with pytest.raises(DataError, match="1 mixtures of n_train 512 and 3 sources"):
        fit_target_weights(few, measured)


def test_the_table_holds_every_diagnostic(study, overlaps, counts, tmp_path):
    table = diagnose(study.accuracies, overlaps, counts, num_draws=30)
    assert tuple(table.columns) == DIAGNOSIS_COLUMNS
    assert set(table["diagnostic"]) == {
        "growth", "growth where judged", "growth from overlap", "intercept", "own overlap", "overlap", "weight per target",
        "weights differ (p-value)",
        "bias of mediant", "bias of quadrature", "bias of lines", "bias of interpolated", "bias of best_source",
        "bias of place from overlap", "bias, weights per target, in sample", "bias, class by class",
        "bias of mediant on the same classes",
    }  # fmt: skip
    predictions = predict_mixtures(study.accuracies).query("rule == 'mediant' and shift == 'odd'")
    bias = table.query("diagnostic == 'bias of mediant' and test_set == 'odd'").iloc[0]
    assert bias["value"] == pytest.approx(
        (predictions["ratio_predicted"] - predictions["ratio_measured"]).mean()
    )
    finite = table.dropna(subset=["low"])
    assert ((finite["low"] <= finite["value"]) & (finite["value"] <= finite["high"])).all()
    # The linear world obeys the theory: growth is what the noise allows.
    growth = table[table["diagnostic"] == "growth from overlap"]
    assert (growth["verdict"] == "as measured").mean() >= 7 / 9
    png, pdf = draw_diagnosis(table, tmp_path / "diagnosis")
    assert png.stat().st_size > 20_000
    assert pdf.exists()


def test_growth_above_the_bound_is_said():
    study = synthetic_study(sizes=(256, 512, 1024, 2048), scatter=0.01, num_images=10**6)
    steep = study.copy()
    moved = steep["test_set"] == "sketch"
    steep.loc[moved, "dprime"] *= np.sqrt(steep.loc[moved, "n_train"] / 1024.0)
    table = diagnose(steep, measure_overlaps(study.iloc[:0], lambda run, test_set: np.empty((0, 1)), {}))
    verdicts = table[table["diagnostic"] == "growth"].groupby("test_set")["verdict"].agg(set)
    assert verdicts["sketch"] == {"outside the theory: above 1/2"}
    assert "outside the theory: above 1/2" not in verdicts["reference"]
    assert not (table["diagnostic"] == "overlap").any()

"""The bridge: every rule against its formula, its errors against repeated studies, and what it may look at."""

import numpy as np
import pandas as pd
import pytest
from synthetic_accuracies import synthetic_study

from empirical.errors import DataError
from empirical.group_means import group_means
from empirical.prediction import PREDICTION_COLUMNS, RULES, mixture_shares, predict_mixtures
from empirical.robustness import fit_trends

PREDICTED = ["ratio_predicted", "ratio_predicted_stderr", "dprime_ref_predicted", "dprime_shift_predicted"]


@pytest.fixture(scope="module")
def accuracies() -> pd.DataFrame:
    return synthetic_study()


@pytest.fixture(scope="module")
def predictions(accuracies) -> pd.DataFrame:
    return predict_mixtures(accuracies)


def mean_dprime(
    accuracies: pd.DataFrame, kind: str, sources: str, n: int, test_set: str, heads: str = ""
) -> float:
    rows = accuracies.query(
        "kind == @kind and sources == @sources and n_train == @n and test_set == @test_set and heads_n_train == @heads"
    )
    return float(rows["dprime"].mean())


def test_one_row_per_mixture_shift_size_and_rule(predictions):
    assert tuple(predictions.columns) == PREDICTION_COLUMNS
    assert len(predictions) == 2 * 2 * 2 * len(RULES)
    assert not predictions.duplicated(["sources", "shift", "n_train", "rule"]).any()
    assert set(predictions["num_seeds"]) == {2}
    assert np.isfinite(predictions[PREDICTED].to_numpy()).all()


def test_every_rule_is_its_formula(accuracies, predictions):
    mixture, n, shift = "forum:0.2+stock:0.8", 2048, "sketch"
    p = np.array([0.2, 0.8])
    x = np.array([mean_dprime(accuracies, "single", s, n, "reference") for s in ("forum", "stock")])
    y = np.array([mean_dprime(accuracies, "single", s, n, shift) for s in ("forum", "stock")])
    place = mean_dprime(accuracies, "output_mixing", mixture, n, "reference", "each")
    trends = fit_trends(accuracies).query(
        "kind == 'single' and link == 'dprime' and fit == 'line' and shift == @shift"
    )
    fits = trends.set_index("sources").loc[["forum", "stock"]]
    expected = {
        "mediant": ((p @ y) / (p @ x), p @ x),
        "quadrature": (np.sqrt(p @ y**2) / np.sqrt(p @ x**2), np.sqrt(p @ x**2)),
        "lines": (p @ (fits["intercept"] + fits["slope"] * place) / place, place),
        "interpolated": (p @ (y / x), p @ x),
        "best_source": ((y / x).max(), x[np.argmax(y / x)]),
    }
    rows = predictions.query("sources == @mixture and n_train == @n and shift == @shift").set_index("rule")
    for rule, (ratio, at) in expected.items():
        row = rows.loc[rule]
        assert row["ratio_predicted"] == pytest.approx(ratio, rel=1e-9)
        assert row["dprime_ref_predicted"] == pytest.approx(at, rel=1e-9)
        assert row["dprime_shift_predicted"] == pytest.approx(ratio * at, rel=1e-9)
    measured = [mean_dprime(accuracies, "input_mixing", mixture, n, t) for t in ("reference", shift)]
    assert rows["dprime_ref_measured"].iloc[0] == pytest.approx(measured[0])
    assert rows["ratio_measured"].iloc[0] == pytest.approx(measured[1] / measured[0])


def test_predictions_look_at_no_mixture(accuracies, predictions):
    corrupted = accuracies.copy()
    touched = (corrupted["kind"] == "input_mixing") | (corrupted["heads_n_train"] == "share")
    corrupted.loc[touched, ["dprime", "probit"]] += np.random.default_rng(0).normal(size=(touched.sum(), 2))
    corrupted.loc[touched, "num_correct"] = 700
    again = predict_mixtures(corrupted)
    pd.testing.assert_frame_equal(again[PREDICTED], predictions[PREDICTED], rtol=1e-12)
    assert not np.allclose(again["ratio_measured"], predictions["ratio_measured"])


def test_without_the_ensemble_lines_are_read_at_the_weighted_place(accuracies):
    rows = predict_mixtures(accuracies[accuracies["kind"] != "output_mixing"])
    places = rows.pivot(index=["sources", "shift", "n_train"], columns="rule", values="dprime_ref_predicted")
    assert np.allclose(places["lines"], places["mediant"])


def test_standard_errors_are_the_spread_over_repeated_studies():
    # Independent test images in every study, so the binomial part that the studies' images share is over-counted:
    # stated errors may exceed the spread, never fall short of it.
    tables = [
        predict_mixtures(synthetic_study(seed, sizes=(512, 1024), mixture_sizes=(1024,), seeds=(0, 1, 2)))
        for seed in range(40)
    ]
    stacked = pd.concat(tables, keys=range(len(tables)), names=["study", None]).reset_index("study")
    grouped = stacked.groupby(["sources", "shift", "rule"])
    for value in ("ratio_predicted", "ratio_measured"):
        spread = grouped[value].std()
        stated = np.sqrt(grouped[f"{value}_stderr"].apply(lambda e: np.mean(e**2)))
        ratio = (spread / stated).to_numpy()
        # a standard deviation of 40 draws has relative error 1/sqrt(2 * 39) = .113
        assert np.all(ratio <= 1 + 4 * 0.113)
        assert np.median(ratio) > 0.5
    # The measured d' alone: seed scatter .05 and binomial error, both known here.
    z = (stacked["ratio_measured"] - grouped["ratio_measured"].transform("mean")) / stacked[
        "ratio_measured_stderr"
    ]
    assert z.std() < 1.1


def test_pooled_seed_covariance_is_the_generating_one():
    study = synthetic_study(
        sizes=tuple(256 + 16 * i for i in range(40)), mixture_sizes=(256,), scatter=0.3, num_images=10**6
    )
    pooled = group_means(study).pooled["single"]
    covariance, degrees = pooled.matrix, pooled.degrees
    assert degrees == 3 * 40
    # sd of a sample variance: sigma^2 sqrt(2 / degrees)
    assert np.all(np.abs(np.diag(covariance) - 0.09) < 4 * 0.09 * np.sqrt(2 / degrees) + 0.001)
    off = covariance[~np.eye(3, dtype=bool)]
    assert np.all(np.abs(off) < 4 * 0.09 / np.sqrt(degrees))


def test_inside_range_says_yes_no_and_inconclusive():
    study = synthetic_study(num_images=10**6, scatter=0.003, mixtures=("stock:0.5+snapshots:0.5",))
    assert set(predict_mixtures(study)["inside_range"]) == {"yes"}
    beyond = study.copy()
    moved = (beyond["kind"] == "input_mixing") & (beyond["test_set"] == "v2")
    beyond.loc[moved, "dprime"] *= 3
    verdict = predict_mixtures(beyond).groupby("shift")["inside_range"].agg(set).to_dict()
    assert verdict == {"v2": {"no"}, "sketch": {"yes"}}
    assert set(predict_mixtures(synthetic_study(scatter=1.5, sizes=(1024, 2048)))["inside_range"]) == {
        "inconclusive"
    }


def test_one_seed_gives_predictions_without_errors():
    rows = predict_mixtures(synthetic_study(seeds=(0,)))
    assert np.isfinite(rows["ratio_predicted"]).all()
    assert rows["ratio_measured_stderr"].isna().all()
    assert set(rows["inside_range"]) == {"inconclusive"}


def test_a_partial_study_predicts_what_it_can(accuracies):
    without = accuracies[~((accuracies["sources"] == "forum") & (accuracies["kind"] == "single"))]
    assert set(predict_mixtures(without)["sources"]) == {"stock:0.5+snapshots:0.5"}
    singles = predict_mixtures(accuracies[accuracies["kind"] == "single"])
    assert singles.empty
    assert tuple(singles.columns) == PREDICTION_COLUMNS
    assert predict_mixtures(accuracies.iloc[:0]).empty
    two_models = accuracies[accuracies["n_train"] == 2048]
    rows = predict_mixtures(two_models).set_index("rule")
    assert rows.loc["lines", "ratio_predicted"].isna().all()
    assert rows.loc["mediant", "ratio_predicted"].notna().all()


def test_bracket_of_the_place_on_square_root_growth_is_exact():
    # d_s(n) = c_s sqrt(n): the upper side is sqrt(sum c_s^2 p_s n), also at p_s n under the smallest size.
    study = synthetic_study(
        scatter=0.0, num_images=10**7, mixtures=("forum:0.2+stock:0.8",), sizes=(256, 512, 1024)
    )
    row = predict_mixtures(study).query("n_train == 1024").iloc[0]
    forum, stock = 0.08, 0.06
    assert row["dprime_ref_bracket_low"] == pytest.approx(32 * (0.2 * forum + 0.8 * stock), abs=0.005)
    high = np.sqrt(1024 * (0.2 * forum**2 + 0.8 * stock**2))
    assert row["dprime_ref_bracket_high"] == pytest.approx(high, abs=0.01)


def test_an_infinite_dprime_drops_its_shift_only(accuracies):
    broken = accuracies.copy()
    row = broken.query(
        "kind == 'single' and sources == 'stock' and n_train == 2048 and test_set == 'v2'"
    ).index[0]
    broken.loc[row, ["num_correct", "accuracy", "probit", "dprime"]] = [1500, 1.0, np.inf, np.inf]
    rows = predict_mixtures(broken)
    assert set(rows.query("n_train == 2048")["shift"]) == {"sketch"}
    assert set(rows.query("n_train == 1024")["shift"]) == {"v2", "sketch"}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["single", "input_mixing"])
def test_a_reference_at_chance_exactly_has_no_ratio_and_no_warning(accuracies, kind):
    """d'_ref = 0 for every seed of stock, or of the mixtures, at one size: an empty ratio, not a division."""
    flat, images = accuracies.copy(), 1500
    chosen = flat["kind"].eq(kind) & flat["n_train"].eq(1024) & flat["test_set"].eq("reference")
    chosen &= flat["sources"].eq("stock") | (kind == "input_mixing")
    flat.loc[chosen, ["num_images", "num_correct", "accuracy", "dprime"]] = [images, images // 20, 0.05, 0.0]
    rows, ratio = predict_mixtures(flat), "ratio_predicted" if kind == "single" else "ratio_measured"
    empty = rows[ratio].isna()
    assert set(rows.loc[empty, "n_train"]) == {1024}
    assert set(rows.loc[empty, "inside_range"]) == {"inconclusive"}
    assert rows.loc[~rows["n_train"].eq(1024), ratio].notna().all()
    if kind == "single":
        of_place = rows[empty & ~rows["rule"].eq("best_source")]
        assert np.isfinite(of_place["dprime_ref_predicted"]).all()
    else:
        assert rows.loc[empty, "ratio_measured_stderr"].isna().all()
        assert (rows.loc[empty, "dprime_ref_measured"] == 0).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stock:0.5+forum:0.6", "sum to 1.1"),
        ("stock+forum:1", "cannot read 'stock'"),
        ("stock:0.5+stock:0.5", "cannot read 'stock:0.5'"),
        ("stock:-0.5+forum:1.5", "cannot read 'stock:-0.5'"),
    ],
)
def test_shares_that_make_no_mixture_are_refused(text, message):
    with pytest.raises(DataError, match=message):
        mixture_shares(text)


def test_rounded_shares_of_six_sources_are_a_mixture():
    shares = mixture_shares("+".join(f"s{i}:0.166667" for i in range(6)))
    assert sum(shares.values()) == pytest.approx(1, abs=1e-12)

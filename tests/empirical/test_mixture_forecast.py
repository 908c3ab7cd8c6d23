"""Forecasts against the bridge's own predictions, laws of mixtures, simulation, and the theory's exact portfolio."""

import numpy as np
import pandas as pd
import pytest
from synthetic_accuracies import accuracies_from_dprime, synthetic_study

from empirical.errors import DataError
from empirical.forecast_report import forecast_report
from empirical.mixture_choice import (
    WORST,
    best_mixtures,
    describe_best,
    mixture_statistics,
    most_robust_source,
    noise_shares,
)
from empirical.mixture_forecast import (
    FORECAST_COLUMNS,
    common_sizes,
    forecast_mixtures,
    listed_mixtures,
    single_sources,
)
from empirical.prediction import RULES, mixture_shares, predict_mixtures
from theory.gaussian import Source, Target
from theory.links import dprime_inverse
from theory.portfolio import best_mixture
from theory.source_statistics import source_statistics


def growing(
    exponents: dict[str, float], sizes: tuple[int, ...] = (100, 400, 1600), images: int = 10**7
) -> pd.DataFrame:
    """Sources on d'_ref = strength (n / 100)^e and a fixed ratio, nearly without noise."""
    rows = [
        {"run": f"{source}{n}", "kind": "single", "sources": source, "n_train": n, "seed": 0, "test_set": name,
         "true_dprime": ratio * (0.8 + 0.2 * i) * (n / 100) ** exponent}
        for i, (source, exponent) in enumerate(exponents.items())
        for n in sizes
        for name, ratio in (("reference", 1.0), ("sketch", 0.5 + 0.2 * i))
    ]  # fmt: skip
    return accuracies_from_dprime(rows, images, 50, np.random.default_rng(0))


def test_forecasts_are_the_bridges_predictions_where_mixtures_were_trained():
    study = synthetic_study()
    trained = predict_mixtures(study[study["kind"] != "output_mixing"])
    single = study[study["kind"] == "single"]
    mixtures = [mixture_shares(str(sources)) for sources in pd.unique(trained["sources"])]
    forecast = forecast_mixtures(single, mixtures, sizes=sorted(set(trained["n_train"])))
    assert tuple(forecast.columns) == FORECAST_COLUMNS
    keys = ["sources", "n_train", "shift", "rule"]
    both = trained.merge(forecast, on=keys, validate="one_to_one")
    assert len(both) == len(trained) == len(forecast)
    assert both["ratio"].to_numpy() == pytest.approx(both["ratio_predicted"].to_numpy(), abs=1e-9)
    assert both["dprime_ref"].to_numpy() == pytest.approx(both["dprime_ref_predicted"].to_numpy(), abs=1e-9)
    assert both["dprime_ref_bracket_high_x"].to_numpy() == pytest.approx(
        both["dprime_ref_bracket_high_y"].to_numpy()
    )
    by_lines = both["rule"] == "lines"
    half = (both["ratio_high"] - both["ratio_low"])[~by_lines] / 2
    # The study's seed covariance at a mixture's own size and the one pooled over sizes differ in their draws alone.
    assert half.mean() == pytest.approx(1.96 * both["ratio_predicted_stderr"][~by_lines].mean(), rel=0.25)


def test_a_mixture_of_one_source_is_that_source_and_shares_lead_from_one_to_the_other():
    table = growing({"a": 0.3, "b": 0.4})
    alone = forecast_mixtures(table, [{"a": 1.0}, {"b": 1.0}], [400])
    for source, ratio in (("a", 0.5), ("b", 0.7)):
        rows = alone[alone["sources"] == f"{source}:1"].set_index("rule")
        assert rows["ratio"].to_numpy() == pytest.approx(np.full(len(RULES), ratio), abs=2e-3)
    path = forecast_mixtures(table, [{"a": p, "b": 1 - p} for p in (0.9, 0.6, 0.3)], [400])
    for rule in ("mediant", "quadrature", "interpolated", "lines"):
        ratios = path.loc[path["rule"] == rule, "ratio"].to_numpy()
        assert np.all(np.diff(ratios) > 0)
        assert np.all((ratios > 0.5) & (ratios < 0.7))


def test_accuracies_are_those_of_the_forecast_dprime():
    forecast = forecast_mixtures(growing({"a": 0.3, "b": 0.4}), [{"a": 0.5, "b": 0.5}])
    for _, row in forecast.iterrows():
        assert row["dprime_shift"] == pytest.approx(row["ratio"] * row["dprime_ref"])
        assert row["accuracy_shift"] == pytest.approx(float(dprime_inverse(row["dprime_shift"], 50)))
        assert row["accuracy_shift_low"] <= row["accuracy_shift"] <= row["accuracy_shift_high"]
    assert set(forecast["n_train"]) == {100, 400, 1600}


def test_sizes_between_are_interpolated_as_power_laws_and_none_beyond():
    table = growing({"a": 0.3, "b": 0.4})
    table = table[~((table["sources"] == "b") & (table["n_train"] == 400))]
    single = single_sources(table, "reference")
    found = single.at("b", 400)
    assert found is not None
    group, interpolated = found
    assert interpolated
    assert group.mean[single.ref] == pytest.approx(1.0 * 4**0.4, rel=2e-3)
    assert single.at("b", 50) is None
    assert single.at("b", 3000) is None
    assert common_sizes(single) == [100, 400, 1600]
    forecast = forecast_mixtures(table, [{"a": 0.5, "b": 0.5}])
    marked = forecast.groupby("n_train")["interpolated"].any()
    assert marked.to_dict() == {100: False, 400: True, 1600: False}
    with pytest.raises(
        DataError,
        match=r"forecast at n = 3,000: a: left out, for it has no model of .*\(n = 100, 400, 1,600\); b: ",
    ):
        forecast_mixtures(table, [{"a": 0.5, "b": 0.5}], [3000])


def test_intervals_cover_what_redrawn_models_give():
    """Without seed scatter, ratios of redrawn test images fall into a forecast's interval as often as it says, or more."""
    truth = forecast_mixtures(growing({"a": 0.3, "b": 0.4}), [{"a": 0.5, "b": 0.5}], [400])
    wanted = truth.set_index("rule")["ratio"]
    held = {rule: [] for rule in RULES}
    for seed in range(60):
        rows = growing({"a": 0.3, "b": 0.4})
        rng = np.random.default_rng(seed)
        parts = rows.assign(true_dprime=rows["dprime"])[
            ["run", "kind", "sources", "n_train", "seed", "test_set", "true_dprime"]
        ]
        drawn = accuracies_from_dprime(parts.to_dict(orient="records"), 4000, 50, rng)
        for _, row in forecast_mixtures(drawn, [{"a": 0.5, "b": 0.5}], [400]).iterrows():
            held[row["rule"]].append(row["ratio_low"] <= wanted[row["rule"]] <= row["ratio_high"])
    for rule in ("mediant", "quadrature", "interpolated"):
        assert np.mean(held[rule]) > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 60)


def test_lists_of_mixtures():
    found = listed_mixtures(["a", "b", "c"], [0.3])
    assert found == [
        {"a": 0.3, "b": 0.7}, {"a": 0.3, "c": 0.7}, {"b": 0.3, "c": 0.7}, dict.fromkeys("abc", 1 / 3),
    ]  # fmt: skip
    assert len(listed_mixtures(list("abcd"))) == 6 * 3 + 4 + 1
    assert len(listed_mixtures([f"s{i}" for i in range(9)], [0.5])) == 36 + 1
    with pytest.raises(DataError, match="got 1"):
        listed_mixtures(["a", "b"], [1.0])


# ---------------------------------------------------------------- the best mixture

SOURCES = [Source([2.0, 1.0, 0.0], 9.0, name="a"), Source([1.0, 2.0, 0.0], 25.0, name="b")]
TARGETS = [Target([1.0, 1.0, 0.0], name="reference"), Target([1.0, 0.2, 0.0], name="sketch"),
           Target([0.2, 1.0, 0.0], name="v2")]  # fmt: skip
SIZES = (20, 40, 80)


def exact_table() -> pd.DataFrame:
    """The linear setting's own margins as d' of models, without sampling noise."""
    rows = []
    for i, source in enumerate(SOURCES):
        statistics = source_statistics([source], TARGETS)
        for n in SIZES:
            for name, value in zip(
                ("reference", "sketch", "v2"), statistics.margins([float(n)]), strict=True
            ):
                rows.append(
                    {"run": f"{i}{n}", "kind": "single", "sources": source.name, "n_train": n, "seed": 0, "test_set": name,
                     "true_dprime": float(value)}
                )  # fmt: skip
    return accuracies_from_dprime(rows, 10**9, 2, np.random.default_rng(0))


def test_growth_tells_the_share_of_noise():
    single = single_sources(exact_table(), "reference")
    found = noise_shares(single, 40)
    for i, source in enumerate(SOURCES):
        statistics = source_statistics([source], TARGETS)
        noise = statistics.noises[0, 0]
        low, high = (noise / n / (statistics.grams[0, 0, 0] + noise / n) for n in (40, 20))
        assert np.all((found[i] > low) & (found[i] < high))  # the exponent is that between two sizes
    assert np.all(
        noise_shares(single_sources(growing({"a": 0.9, "b": -0.3}), "reference"), 400)
        == [[1.0] * 2, [0.0] * 2]
    )
    one = growing({"a": 0.3, "b": 0.3}, sizes=(100,))
    assert np.all(noise_shares(single_sources(one, "reference"), 100) == 0)


def test_the_best_mixture_is_the_theorys_where_the_overlap_is_the_true_one():
    """Both sources have equal lengths here, as the portfolio assumes, so true overlap and noise give the true optimum."""
    single = single_sources(exact_table(), "reference")
    cosine = 4.0 / 5.0
    found = best_mixtures(single, 40, ["sketch", "v2"], [cosine]).set_index("objective")
    statistics = mixture_statistics(single, 40, cosine, ["reference"], ["a", "b"])
    assert statistics.margins([40.0, 0.0])[0] == pytest.approx(
        single.means.groups[("single", "a", "", 40)].mean[0]
    )
    for objective, target in (("reference", TARGETS[0]), ("sketch", TARGETS[1]), ("v2", TARGETS[2])):
        exact = best_mixture(SOURCES, target, 40.0)
        row = found.loc[objective]
        assert row["dprime"] == pytest.approx(
            exact.margin, rel=0.04
        )  # lengths differ through the noise: 5% apart
        assert row["certified_gap"] < 1e-4
        assert row["dprime_low"] <= row["dprime"] <= row["dprime_high"]


def test_no_shares_on_a_grid_beat_the_best_mixture():
    single = single_sources(exact_table(), "reference")
    for overlap in (1.0, 0.3, 0.0):
        found = best_mixtures(single, 40, ["sketch", "v2"], [overlap]).set_index("objective")
        statistics = mixture_statistics(single, 40, overlap, ["sketch", "v2"], ["a", "b"])
        p = np.linspace(0, 1, 201)
        grid = statistics.margins(40 * np.stack([p, 1 - p], axis=1))
        levels = np.array([grid[[0, -1], t].max() for t in range(2)])
        assert found.loc["sketch", "dprime"] >= grid[:, 0].max() * (1 - 1e-6)
        assert found.loc[WORST, "dprime"] >= (grid / levels).min(1).max() * (1 - 1e-6)
        assert found.loc[WORST, "best_single_dprime"] == pytest.approx((grid[[0, -1]] / levels).min(1).max())


def test_less_overlap_never_hurts_and_budgets_bind():
    single = single_sources(growing({"a": 0.2, "b": 0.2, "c": 0.3}), "reference")
    values = best_mixtures(single, 400, ["sketch"], [1.0, 0.7, 0.3, 0.0])
    for _, part in values.groupby("objective"):
        assert np.all(np.diff(part["dprime"]) >= -1e-9)
    bound = best_mixtures(single, 400, ["sketch"], [1.0], {"c": 100.0, "b": 0.0})
    shares = mixture_shares(bound.set_index("objective").loc["sketch", "sources"])
    assert shares == pytest.approx({"a": 0.75, "c": 0.25}, abs=1e-4)
    with pytest.raises(DataError, match="the budgets hold 30 samples, fewer than n = 400"):
        best_mixtures(single, 400, ["sketch"], budgets={"a": 10.0, "b": 10.0, "c": 10.0})
    with pytest.raises(DataError, match="no source 'd'"):
        best_mixtures(single, 400, ["sketch"], budgets={"d": 10.0})
    with pytest.raises(DataError, match="between 0"):
        best_mixtures(single, 400, ["sketch"], [1.5])


def test_the_most_robust_source():
    table = growing({"a": 0.3, "b": 0.4})
    robust = most_robust_source(single_sources(table, "reference"), 400, ["sketch"]).iloc[0]
    assert (robust["source"], robust["runner_up"]) == ("b", "a")
    assert robust["ratio"] == pytest.approx(0.7, abs=2e-3)
    assert robust["probability"] > 0.999
    best = best_mixtures(single_sources(table, "reference"), 400, ["sketch"])
    words = "\n".join(describe_best(best, pd.DataFrame([robust])))
    assert "b alone, 0.70" in words
    assert "overlap 0.5" in words


def test_the_report_holds_every_pair_and_what_was_asked_for():
    table = synthetic_study()
    report = forecast_report(table[table["kind"] == "single"], "reference", ["stock:0.9+forum:0.1"])
    mixtures = set(report.tables["predictions.csv"]["sources"])
    assert len(mixtures) == 1 + 3 * 3 + 1
    assert "stock:0.9+forum:0.1" in mixtures
    assert "2 to 2 seeds per source and size" in report.summary
    one_seed = table[(table["kind"] == "single") & (table["seed"] == 0)]
    assert "One seed per source and size" in forecast_report(one_seed, "reference").summary
    with pytest.raises(DataError, match=r"one source only \(stock\)"):
        forecast_report(table[table["sources"] == "stock"], "reference")
    with pytest.raises(DataError, match="no source 'coffee'"):
        forecast_report(one_seed, "reference", ["stock:0.5+coffee:0.5"])

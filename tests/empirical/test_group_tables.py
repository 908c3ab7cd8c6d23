"""Means and ratios of groups: the values of a naive average, intervals that hold the truth as often as they say."""

import numpy as np
import pandas as pd
import pytest
from synthetic_accuracies import synthetic_study

from empirical.errors import DataError
from empirical.group_tables import dprime_table, ratio_table
from empirical.prediction import RULES, predict_mixtures, predict_ratio


def test_means_and_ratios_are_those_of_a_plain_average():
    accuracies = synthetic_study()
    table = dprime_table(accuracies).set_index(["kind", "sources", "heads", "n_train", "test_set"])
    ratios = ratio_table(accuracies).set_index(["kind", "sources", "heads", "n_train", "shift"])
    heads = accuracies["heads_n_train"].fillna("")
    for (kind, sources, head, n), rows in accuracies.groupby(["kind", "sources", heads, "n_train"]):
        means = rows.groupby("test_set")["dprime"].mean()
        for name, value in means.items():
            assert table.loc[(kind, sources, head, n, name), "dprime"] == pytest.approx(value)
        if (kind, sources, head, n, "v2") in ratios.index:
            expected = means["v2"] / means["reference"]
            assert ratios.loc[(kind, sources, head, n, "v2"), "ratio"] == pytest.approx(expected)
    assert (table["accuracy_low"] < table["accuracy"]).all()
    assert (table["accuracy"] < table["accuracy_high"]).all()


def test_intervals_of_ratios_cover_the_truth():
    # On rays d'_shift / d'_ref is the source's ratio at every n, which 95% of the intervals should hold.
    inside = []
    for seed in range(8):
        accuracies = synthetic_study(seed, mixtures=(), seeds=(0, 1, 2, 3), sizes=(1024, 2048))
        rows = ratio_table(accuracies)
        truth = {"stock": (0.35, 0.6), "snapshots": (0.6, 0.85), "forum": (0.85, 0.35)}
        for _, row in rows.iterrows():
            value = truth[row["sources"]][("v2", "sketch").index(row["shift"])]
            inside.append(row["ratio_low"] <= value <= row["ratio_high"])
    # 96 intervals, which share images and seeds within a study: far under 95% would be a fault of the errors.
    assert np.mean(inside) > 0.85


def test_filtered_pools_and_weak_references_are_left_out():
    accuracies = synthetic_study()
    accuracies.loc[accuracies["sources"] == "forum", "kind"] = "filtered"
    assert "forum" not in set(dprime_table(accuracies)["sources"])
    weak = accuracies["sources"] == "stock"
    accuracies.loc[weak & (accuracies["test_set"] == "reference"), "dprime"] = 1e-3
    assert "stock" not in set(ratio_table(accuracies)["sources"])
    assert ratio_table(accuracies[accuracies["kind"] == "filtered"]).empty
    with pytest.raises(DataError, match="reference test set 'moon'"):
        dprime_table(accuracies, "moon")


def test_a_rule_at_any_share_is_the_rule_at_the_shares_there_are():
    accuracies = synthetic_study()
    predictions = predict_mixtures(accuracies)
    singles = dprime_table(accuracies).query("kind == 'single'")
    means = singles.set_index(["kind", "sources", "n_train", "test_set"])["dprime"]
    for rule in (r for r in RULES if r != "lines"):
        own = (predictions["rule"] == rule) & (predictions["sources"] == "forum:0.2+stock:0.8")
        assert own.any()
        for _, row in predictions[own].iterrows():
            at = "single", ("forum", "stock"), row["n_train"]
            pairs = [
                (
                    float(means[at[0], name, at[2], "reference"]),
                    float(means[at[0], name, at[2], row["shift"]]),
                )
                for name in at[1]
            ]
            ratio, place = predict_ratio(rule, [0.2, 0.8], pairs)
            assert (ratio, place) == pytest.approx((row["ratio_predicted"], row["dprime_ref_predicted"]))
    with pytest.raises(ValueError, match="as many d' pairs"):
        predict_ratio("mediant", [0.5, 0.5], [(1.0, 1.0)])
    with pytest.raises(ValueError, match="lines"):
        predict_ratio("lines", [1.0], [(1.0, 1.0)])
    assert predict_ratio("lines", [1.0], [(2.0, 9.0)], [(0.1, 0.5)]) == pytest.approx((1.1 / 2, 2.0))


def test_an_empty_table_gives_empty_tables():
    empty: pd.DataFrame = synthetic_study().iloc[:0]
    assert ratio_table(empty).empty
    assert dprime_table(empty).empty

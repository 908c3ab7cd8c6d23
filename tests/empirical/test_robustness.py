"""Trend fits of accuracy tables: their columns, their groups, their coverage, and what they refuse."""

import numpy as np
import pandas as pd
import pytest
from synthetic_accuracies import SHIFTS, accuracies_from_dprime, synthetic_study

from empirical.errors import DataError
from empirical.robustness import (
    TREND_COLUMNS,
    fit_trends,
    group_labels,
    growth_exponents,
    left_out,
    models_of_shift,
    with_link_errors,
)
from theory.links import dprime, probit


def test_every_group_is_fitted_in_both_links_as_line_and_ray():
    accuracies = synthetic_study()
    trends = fit_trends(accuracies)
    assert tuple(trends.columns) == TREND_COLUMNS
    single = trends[trends["kind"] == "single"]
    # 3 sources x 2 shifts x 2 links x 2 fits; 4 sizes x 2 seeds each
    assert len(single) == 24
    assert set(single["num_models"]) == {8}
    assert not single.duplicated(["sources", "shift", "link", "fit"]).any()
    assert np.all(trends["slope_low"] <= trends["slope"])
    assert np.all(trends["slope"] <= trends["slope_high"])
    rays = trends[trends["fit"] == "ray"]
    assert (rays[["intercept", "intercept_low", "intercept_high"]] == 0).all(axis=None)


def test_dprime_rays_recover_the_slopes_of_the_generating_model():
    trends = fit_trends(synthetic_study(num_images=20000, scatter=0.02))
    rays = trends[(trends["kind"] == "single") & (trends["link"] == "dprime") & (trends["fit"] == "ray")]
    for _, row in rays.iterrows():
        i, j = ("stock", "snapshots", "forum").index(row["sources"]), SHIFTS.index(row["shift"])
        assert row["slope"] == pytest.approx(0.35 + 0.25 * ((i + j) % 3), abs=0.02)
        assert row["r2"] > 0.9


def ray_table(seed: int) -> pd.DataFrame:
    """One source of eight models on the ray 0.6 with scatter .1 in d' on both sets."""
    rng = np.random.default_rng(seed)
    rows = []
    for i, strength in enumerate(np.linspace(0.8, 2.6, 8)):
        for name, slope in (("reference", 1.0), ("sketch", 0.6)):
            rows.append(
                {"run": f"r{i}", "kind": "single", "sources": "stock", "n_train": 256, "seed": i, "test_set": name,
                 "true_dprime": slope * strength + (0.1 * rng.standard_normal() if name == "sketch" else 0.0)}
            )  # fmt: skip
    return accuracies_from_dprime(rows, 1500, 20, rng)


def test_intervals_from_counts_cover_the_true_slope():
    draws, hits = 150, 0
    for seed in range(draws):
        trends = fit_trends(ray_table(seed))
        row = trends[(trends["link"] == "dprime") & (trends["fit"] == "line")].iloc[0]
        hits += row["slope_low"] <= 0.6 <= row["slope_high"]
    assert hits / draws >= 0.95 - 4 * np.sqrt(0.95 * 0.05 / draws)


def test_groups_of_fewer_than_three_models_have_no_row():
    accuracies = synthetic_study(sizes=(512,), mixture_sizes=(512,))
    assert fit_trends(accuracies).empty
    assert tuple(fit_trends(accuracies).columns) == TREND_COLUMNS


def test_ensembles_and_filtered_pools_keep_to_their_own_groups():
    accuracies = synthetic_study()
    filtered = accuracies[(accuracies["kind"] == "single") & (accuracies["sources"] == "stock")].copy()
    filtered["run"] = "f-" + filtered["run"]
    filtered["kind"], filtered["sources"], filtered["kept_share"] = "filtered", "pool+junk:0.35", 0.5
    filtered["filter"] = np.where(filtered["seed"] == 0, "forum", "none")
    labels = set(group_labels(filtered))
    assert labels == {"pool+junk:0.35 [filter=forum]", "pool+junk:0.35 [filter=none]"}
    filtered["kept_share"] = np.where(filtered["n_train"] > 600, 0.25, 0.5)
    assert "pool+junk:0.35 [filter=forum, kept=0.25]" in set(group_labels(filtered))
    ensembles = fit_trends(accuracies).query("kind == 'output_mixing'")["sources"]
    assert {name.split(" ", 1)[1] for name in ensembles} == {"[heads each]", "[heads share]"}


def test_perfect_and_zero_accuracies_are_left_out_and_named():
    accuracies = synthetic_study()
    row = accuracies.index[(accuracies["sources"] == "stock") & (accuracies["test_set"] == "sketch")][0]
    accuracies.loc[row, ["num_correct", "accuracy", "probit", "dprime"]] = [0, 0.0, -np.inf, -np.inf]
    trends = fit_trends(accuracies)
    counts = (
        trends[(trends["kind"] == "single") & (trends["sources"] == "stock")]
        .groupby("shift")["num_models"]
        .max()
    )
    assert counts.to_dict() == {"sketch": 7, "v2": 8}
    assert [accuracies.loc[row, "run"] in sentence for sentence in left_out(accuracies)] == [True]


def test_errors_of_the_links_are_the_spread_of_resampled_counts():
    rng = np.random.default_rng(0)
    accuracies = synthetic_study()
    table = with_link_errors(accuracies)
    row = table[(table["accuracy"] > 0.3) & (table["accuracy"] < 0.8)].iloc[0]
    resampled = rng.binomial(row["num_images"], row["accuracy"], size=4000) / row["num_images"]
    for link, values in (
        ("probit", probit(resampled)),
        ("dprime", dprime(resampled, int(row["num_classes"]))),
    ):
        # relative standard error of a standard deviation is 1/sqrt(2 n)
        assert row[f"{link}_stderr"] == pytest.approx(np.std(np.asarray(values)), rel=5 / np.sqrt(8000))


def test_models_of_a_shift_pair_reference_and_shift_of_the_same_run():
    accuracies = synthetic_study()
    models = models_of_shift(with_link_errors(accuracies), "sketch")
    assert len(models) == accuracies["run"].nunique()
    one = models.iloc[5]
    for axis, name in (("x", "reference"), ("y", "sketch")):
        row = accuracies[(accuracies["run"] == one["run"]) & (accuracies["test_set"] == name)].iloc[0]
        assert one[f"{axis}_dprime"] == row["dprime"]


def test_growth_exponent_of_square_root_growth_is_one_half():
    growth = growth_exponents(synthetic_study(num_images=50000, scatter=0.01))
    assert len(growth) == 9
    assert np.allclose(growth["exponent"], 0.5, atol=0.03)
    covered = (growth["exponent_low"] <= 0.5) & (growth["exponent_high"] >= 0.5)
    assert covered.mean() > 0.6


def test_tables_that_cannot_be_read_say_why():
    accuracies = synthetic_study()
    with pytest.raises(DataError, match="lacks the column 'num_classes'"):
        fit_trends(accuracies.drop(columns="num_classes"))
    with pytest.raises(DataError, match="reference test set 'imagenet'; the table has reference, sketch, v2"):
        fit_trends(accuracies, reference="imagenet")
    doubled = accuracies.iloc[[0, 0, 1, 2]]
    with pytest.raises(DataError, match="two rows for test set"):
        fit_trends(doubled)


def test_an_empty_table_gives_an_empty_table():
    accuracies = synthetic_study().iloc[:0]
    assert fit_trends(accuracies).empty
    assert growth_exponents(accuracies).empty

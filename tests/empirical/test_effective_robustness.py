"""Effective robustness on tables whose baseline line and excess are known."""

import numpy as np
import pandas as pd
import pytest
from synthetic_accuracies import accuracies_from_dprime

from empirical.effective_robustness import (
    BASELINE_LINKS,
    EFFECTIVE_COLUMNS,
    baseline_table,
    effective_robustness,
    fit_baselines,
    mean_effective_robustness,
    runs_of_groups,
)
from empirical.errors import DataError
from empirical.robustness import fit_trends
from theory.links import dprime_inverse

CLASSES, IMAGES = 20, 200_000


def table(excess: float = 0.4, num_baseline: int = 12, images: int = IMAGES, seed: int = 0) -> pd.DataFrame:
    """Baseline on d'_shift = .6 d'_ref + .3 d'_other, robust models `excess` above that plane; own distribution `other`."""
    rng = np.random.default_rng(seed)
    rows = []
    for group, above, count in (("baseline", 0.0, num_baseline), ("robust", excess, 4)):
        for i in range(count):
            ref = 0.6 + 2.0 * i / count
            # The robust models saw data like `other`: at equal reference accuracy they are better there.
            other = 0.5 + 1.5 * ((5 * i) % count) / count + (0.8 if group == "robust" else 0.0)
            for name, value in (
                ("reference", ref),
                ("other", other),
                ("sketch", 0.6 * ref + 0.3 * other + above),
            ):
                rows.append(
                    {"run": f"{group}{i}", "kind": "single", "sources": group, "n_train": 100, "seed": i,
                     "test_set": name, "true_dprime": value}
                )  # fmt: skip
    return accuracies_from_dprime(rows, images, CLASSES, rng)


def test_the_excess_is_found_in_the_baselines_own_link():
    accuracies = table(0.4)
    found = effective_robustness(
        accuracies, runs_of_groups(accuracies, ["baseline"]), ["reference", "other"], "dprime"
    )
    assert tuple(found.columns) == EFFECTIVE_COLUMNS
    assert set(found["shift"]) == {"sketch"}
    robust = found[found["group"] == "robust"]
    assert robust["link_difference"].to_numpy() == pytest.approx(np.full(4, 0.4), abs=0.03)
    assert (robust["link_difference_low"] > 0).all()
    assert (robust["effective_robustness_low"] > 0).all()
    own = found[found["in_baseline"]]
    assert len(own) == 12
    assert ((own["link_difference_low"] <= 0) & (own["link_difference_high"] >= 0)).mean() >= 0.9
    row = robust.iloc[0]
    wanted = float(dprime_inverse(0.6 * 0.6 + 0.3 * 1.3 + 0.4, CLASSES)) - float(
        dprime_inverse(0.36 + 0.39, CLASSES)
    )
    assert row["effective_robustness"] == pytest.approx(wanted, abs=0.01)
    assert row["accuracy"] - row["accuracy_of_baseline"] == pytest.approx(row["effective_robustness"])


def test_a_second_reference_takes_away_what_training_data_alone_explain():
    """Without excess, models that are merely better on `other` look robust against one reference, not against two."""
    accuracies = table(0.0)
    baseline = runs_of_groups(accuracies, ["baseline"])
    one = effective_robustness(accuracies, baseline, ["reference"], "dprime").query(
        "group == 'robust' and shift == 'sketch'"
    )
    two = effective_robustness(accuracies, baseline, ["reference", "other"], "dprime").query(
        "group == 'robust'"
    )
    assert one["link_difference"].mean() == pytest.approx(0.3 * 0.8, abs=0.12)
    assert two["link_difference"].mean() == pytest.approx(0.0, abs=0.03)


def test_one_reference_is_the_groups_own_line():
    accuracies = table()
    fit = fit_baselines(accuracies, runs_of_groups(accuracies, ["baseline"]), ["reference"], "probit")[
        "sketch"
    ]
    trend = fit_trends(accuracies).query(
        "sources == 'baseline' and shift == 'sketch' and link == 'probit' and fit == 'line'"
    )
    assert fit.parameters == pytest.approx(trend[["intercept", "slope"]].to_numpy()[0], abs=1e-8)
    assert fit.interval(1) == pytest.approx(trend[["slope_low", "slope_high"]].to_numpy()[0], abs=1e-8)


@pytest.mark.parametrize("link", BASELINE_LINKS)
def test_intervals_exclude_zero_on_both_scales_together(link):
    accuracies = table(0.1, images=2000)
    found = effective_robustness(accuracies, runs_of_groups(accuracies, ["baseline"]), ["reference"], link)
    for end in ("low", "high"):
        assert (
            np.sign(found[f"effective_robustness_{end}"]) == np.sign(found[f"link_difference_{end}"])
        ).all()
    assert (found["effective_robustness_low"] <= found["effective_robustness"] + 1e-12).all()
    assert (found["effective_robustness"] <= found["effective_robustness_high"] + 1e-12).all()


def test_the_interval_covers_a_true_zero():
    inside = []
    for seed in range(60):
        accuracies = table(0.0, images=3000, seed=seed)
        found = effective_robustness(
            accuracies, runs_of_groups(accuracies, ["baseline"]), ["reference", "other"], "dprime"
        )
        robust = found[found["group"] == "robust"]
        inside.append(((robust["link_difference_low"] <= 0) & (robust["link_difference_high"] >= 0)).mean())
    error = np.std(inside, ddof=1) / np.sqrt(60)
    assert np.mean(inside) > 0.95 - 3 * error


def test_models_beyond_the_baseline_are_marked():
    accuracies = table()
    found = effective_robustness(accuracies, [f"baseline{i}" for i in range(5)], ["reference"])
    far = found[(found["shift"] == "sketch") & found["run"].isin([f"baseline{i}" for i in range(9, 12)])]
    assert far["extrapolated"].all()
    assert not found.loc[found["in_baseline"], "extrapolated"].any()


def test_an_accuracy_of_zero_or_one_leaves_its_model_out():
    accuracies = table()
    rows = (accuracies["run"] == "robust0") & (accuracies["test_set"] == "sketch")
    accuracies.loc[rows, ["num_correct", "accuracy", "probit", "dprime"]] = [0, 0.0, -np.inf, -np.inf]
    found = effective_robustness(accuracies, runs_of_groups(accuracies, ["baseline"]), ["reference"])
    assert "robust0" not in set(found.loc[found["shift"] == "sketch", "run"])
    assert "robust0" in set(found.loc[found["shift"] == "other", "run"])


def test_tables_of_baselines_and_groups():
    accuracies = table()
    baseline = runs_of_groups(accuracies, ["baseline"])
    terms = baseline_table(accuracies, baseline, ["reference", "other"], "dprime").set_index("term")
    assert terms["value"].to_dict() == pytest.approx(
        {"intercept": 0.0, "reference": 0.6, "other": 0.3}, abs=0.02
    )
    assert (terms["num_models"] == 12).all()
    means = mean_effective_robustness(
        effective_robustness(accuracies, baseline, ["reference", "other"], "dprime")
    )
    row = means.set_index("group").loc["robust"]
    assert (row["num_models"], row["num_above"], row["num_below"]) == (4, 4, 0)
    assert row["effective_robustness"] > 0.03


def test_too_few_baseline_models_give_an_empty_table():
    accuracies = table(num_baseline=2)
    found = effective_robustness(accuracies, runs_of_groups(accuracies, ["baseline"]), ["reference"])
    assert found.empty
    assert tuple(found.columns) == EFFECTIVE_COLUMNS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["nobody"], ["reference"], "probit"), "none of the baseline's models"),
        ((["baseline0"], ["reference", "reference"], "probit"), "each may be named once"),
        ((["baseline0"], ["absent"], "probit"), "no accuracy on the reference test set 'absent'"),
        ((["baseline0"], [], "probit"), "one test set or more"),
        ((["baseline0"], ["reference"], "cloglog"), "the links are probit, dprime, logit"),
    ],
)
def test_what_cannot_be_asked_is_said(arguments, message):
    with pytest.raises(DataError, match=message):
        effective_robustness(table(), *arguments)


def test_groups_that_are_not_there_are_named():
    with pytest.raises(
        DataError, match="no group 'absent' in the accuracies; the groups are baseline, robust"
    ):
        runs_of_groups(table(), ["absent"])

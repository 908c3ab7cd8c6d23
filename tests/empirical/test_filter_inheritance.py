"""Verdicts on filtered pools against groups whose place between pool and filter is known."""

import numpy as np
import pandas as pd
import pytest
from synthetic_accuracies import accuracies_from_dprime

from empirical.filter_inheritance import HEIGHT, SLOPE, compare_with_filter, describe, matched_offsets

LENGTHS = ("_s13m_b4k", "_s128m_b4k", "_s1b_b8k", "_s13b_b90k")


def published(
    filtered_slope: float, scatter: float = 0.003, own_slope: float = 0.9, model_scatter: float = 0.0
) -> pd.DataFrame:
    """Pool on the ray .5, filter on the ray own_slope, filtered models .3 further up on theirs; scatter by model shared."""
    rng = np.random.default_rng(0)
    rows = []
    for i, length in enumerate(LENGTHS):
        shared = model_scatter * rng.standard_normal()
        for group, slope, extra in (
            ("pool", 0.5, 0.0),
            ("kept", filtered_slope, 0.3),
            ("filter", own_slope, 0.5),
        ):
            x = 0.8 + 0.7 * i + extra
            for name, value in (
                ("imagenet", x),
                ("sketch", slope * x + shared + scatter * rng.standard_normal()),
            ):
                tag = f"{group}{length}"
                rows.append(
                    {"run": tag, "kind": "published", "sources": group, "n_train": 0, "seed": 0, "test_set": name,
                     "true_dprime": value, "model": f"ViT-{i}", "pretrained": tag}
                )  # fmt: skip
    return accuracies_from_dprime(rows, 10**6, 100, rng)


def verdicts(table: pd.DataFrame) -> dict[str, str]:
    comparison = compare_with_filter(table, "pool", ["kept"], "filter", "imagenet")
    return dict(zip(comparison["quantity"], comparison["verdict"], strict=True))


@pytest.mark.parametrize(
    ("slope", "verdict"),
    [
        (0.7, "between"),
        (0.4, "outside, beyond the pool"),
        (1.0, "outside, beyond the filter"),
        (0.5, "at the pool"),
        (0.9, "at the filter"),
    ],
)
def test_a_filtered_line_is_placed_where_it_was_made(slope, verdict):
    assert verdicts(published(slope)) == {HEIGHT: verdict, SLOPE: verdict}


def test_a_filter_below_its_pool_is_judged_in_its_own_direction():
    assert verdicts(published(0.4, own_slope=0.3)) == {HEIGHT: "between", SLOPE: "between"}
    assert verdicts(published(0.6, own_slope=0.3))[HEIGHT] == "outside, beyond the pool"


def test_noise_says_that_nothing_can_be_told():
    assert set(verdicts(published(0.7, scatter=0.5)).values()) <= {"no contrast", "inconclusive"}
    assert verdicts(published(0.5, own_slope=0.5))[SLOPE] == "no contrast"


def test_matched_pairs_see_through_the_scatter_of_architectures():
    table = published(0.52, model_scatter=0.15, scatter=0.001)
    comparison = compare_with_filter(table, "pool", ["kept"], "filter", "imagenet")
    row = matched_offsets(table, comparison, "imagenet").iloc[0]
    assert row["num_pairs"] == 4
    assert row["gain"] == pytest.approx(0.3, abs=0.02)
    assert row["offset_low"] <= 0.02 * 2.15 <= row["offset_high"]
    lines = comparison[comparison["quantity"] == HEIGHT].iloc[0]
    assert row["offset_high"] - row["offset_low"] < lines["of_filtered_high"] - lines["of_filtered_low"]


@pytest.mark.parametrize(("slope", "direction"), [(0.7, "toward the filter"), (0.4, "away from the filter")])
def test_the_direction_of_matched_pairs(slope, direction):
    table = published(slope)
    comparison = compare_with_filter(table, "pool", ["kept"], "filter", "imagenet")
    offsets = matched_offsets(table, comparison, "imagenet")
    assert offsets["direction"].tolist() == [direction]
    text = "\n".join(describe(comparison, offsets, {"sketch": "ImageNet-Sketch"}))
    assert "ImageNet-Sketch" in text
    assert direction in text


def test_groups_that_are_absent_or_small_give_no_rows():
    table = published(0.7)
    small = table[
        ~((table["sources"] == "filter") & table["run"].isin([f"filter{length}" for length in LENGTHS[:2]]))
    ]
    for part in (small, table[table["sources"] != "kept"], table):
        name = "absent" if part is table else "kept"
        comparison = compare_with_filter(part, "pool", [name], "filter", "imagenet")
        assert comparison.empty
        assert matched_offsets(part, comparison, "imagenet").empty
        assert describe(comparison, matched_offsets(part, comparison, "imagenet"), {}) == []

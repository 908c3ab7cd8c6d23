import math

import pandas as pd
import pytest
from scipy.stats import binomtest, norm

from empirical.tables import ACCURACY_COLUMNS, accuracies_table, write_table


def record(correct: int, run: str = "r", **other: object) -> dict:
    counts = {"num_classes": 20, "num_images": 200, "num_correct": correct}
    fields = {
        "kind": "single",
        "sources": "stock",
        "n_train": 64,
        "seed": 0,
        "heads_n_train": "",
        "filter": "",
        "kept_share": 1.0,
    }
    return {"run": run, **fields, **other, "results": {"reference": counts, "v2": counts}}


def test_columns_order_and_values_against_scipy() -> None:
    table = accuracies_table([record(50)])
    assert tuple(table.columns) == ACCURACY_COLUMNS
    assert list(table["test_set"]) == ["reference", "v2"]
    row = table.iloc[0]
    interval = binomtest(50, 200).proportion_ci(0.95, "exact")
    assert row["accuracy"] == 0.25
    assert (row["accuracy_low"], row["accuracy_high"]) == pytest.approx(
        (interval.low, interval.high), abs=1e-9
    )
    assert row["probit"] == pytest.approx(norm.ppf(0.25), abs=1e-9)


def test_nothing_and_everything_right_are_infinite_with_finite_intervals() -> None:
    table = accuracies_table([record(0, "none"), record(200, "all")]).groupby("run").first()
    assert table.loc["none", "dprime"] == -math.inf
    assert table.loc["all", "probit"] == math.inf
    assert 0 < table.loc["none", "accuracy_high"] < 0.05
    assert 0.95 < table.loc["all", "accuracy_low"] < 1


def test_tables_do_not_depend_on_the_order_of_records(tmp_path) -> None:
    records = [record(10 + i, f"r{i}", seed=i, n_train=64 * (1 + i % 2)) for i in range(4)]
    write_table(accuracies_table(records), tmp_path / "a.csv")
    write_table(accuracies_table(records[::-1]), tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert pd.read_csv(tmp_path / "a.csv").shape == (8, len(ACCURACY_COLUMNS))


def test_no_records_give_an_empty_table_with_its_columns() -> None:
    assert tuple(accuracies_table([]).columns) == ACCURACY_COLUMNS

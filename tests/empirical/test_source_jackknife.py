"""Rules scored with one source left out, against a loop over rows."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from empirical.prediction import mixture_shares, predict_mixtures
from empirical.source_jackknife import NOTHING, leave_sources_out
from tests.empirical.synthetic_accuracies import synthetic_study


def naive(predictions: pd.DataFrame, rule: str, left_out: str) -> tuple[int, float, float]:
    squares: dict[str, list[float]] = {rule: [], "interpolated": []}
    for (sources, _, _), part in predictions.groupby(["sources", "n_train", "shift"]):
        rows = part.set_index("rule")
        errors = [rows.loc[r, "ratio_predicted"] - rows.loc[r, "ratio_measured"] for r in squares]
        if left_out in mixture_shares(str(sources)) or not np.all(np.isfinite(errors)):
            continue
        for r, error in zip(squares, errors, strict=True):
            squares[r].append(error**2)
    rms = [float(np.sqrt(np.mean(v))) for v in squares.values()]
    return len(squares[rule]), rms[0], rms[0] - rms[-1]


def four_sources() -> pd.DataFrame:
    pair = predict_mixtures(synthetic_study(seed=3))
    rng, tables = np.random.default_rng(0), []
    for names in (("one", "two"), ("one", "three"), ("two", "four"), ("three", "four")):
        table = pair.assign(sources=f"{names[0]}:0.5+{names[1]}:0.5").drop_duplicates(
            ["n_train", "shift", "rule"]
        )
        noise = rng.normal(0, 0.05, len(table))
        tables.append(table.assign(ratio_predicted=table["ratio_predicted"] + noise))
    return pd.concat(tables, ignore_index=True)


def test_each_source_left_out_is_that_table_without_it() -> None:
    predictions = four_sources()
    found = leave_sources_out(predictions)
    rules = set(found["rule"])
    assert {"mediant", "quadrature", "interpolated"} <= rules
    for row in found.itertuples():
        expected = naive(predictions, str(row.rule), str(row.left_out))
        assert (row.num_predictions, row.rms, row.difference_to_interpolated) == pytest.approx(expected)
    for rule in rules - {"interpolated"}:
        part = found[found["rule"] == rule].set_index("left_out")
        theta = part.drop(index=NOTHING)["difference_to_interpolated"].to_numpy()
        assert len(theta) == 4
        stderr = np.sqrt(3 / 4 * ((theta - theta.mean()) ** 2).sum())
        half = t.ppf(0.975, 3) * stderr
        whole = part.loc[NOTHING]
        ends = whole[["difference_to_interpolated_low", "difference_to_interpolated_high"]].to_list()
        assert ends == pytest.approx(
            [whole["difference_to_interpolated"] - half, whole["difference_to_interpolated"] + half]
        )


def test_two_sources_have_no_interval_and_no_mixture_no_rows() -> None:
    pair = predict_mixtures(synthetic_study(seed=3))
    pair = pair[pair["sources"] == pair["sources"].iloc[0]]
    found = leave_sources_out(pair)
    assert set(found["left_out"]) == {NOTHING}  # without either source nothing is left
    assert found["difference_to_interpolated_low"].isna().all()
    assert leave_sources_out(pair.iloc[:0]).empty

"""A user's table of single-source accuracies: what is read, and what each bad file is told."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic_accuracies import synthetic_study

from empirical.errors import DataError
from empirical.robustness import check_accuracies
from empirical.single_source_table import COLUMNS, default_reference, read_single_source
from empirical.tables import write_table
from theory.links import dprime

HEADER = ",".join(COLUMNS)
GOOD = f"""{HEADER}
yfcc,1000000,imagenet,1000,50000,0.1712
yfcc,1000000,sketch,1000,50889,0.0433
laion,1000000,imagenet,1000,50000,0.1901
laion,1000000,sketch,1000,50889,0.1002
"""


def put(folder: Path, text: str) -> Path:
    path = folder / "a.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_become_tidy_accuracies(tmp_path):
    table = read_single_source(put(tmp_path, GOOD))
    check_accuracies(table, "imagenet")
    assert default_reference(table) == "imagenet"
    row = table.iloc[0]
    assert (row["run"], row["kind"], row["num_correct"]) == ("single-yfcc-n1000000-s0", "single", 8560)
    assert row["dprime"] == pytest.approx(float(dprime(0.1712, 1000)))
    assert row["accuracy_low"] < 0.1712 < row["accuracy_high"]


def test_repeated_rows_are_seeds_and_percent_is_said(tmp_path):
    rows = GOOD.splitlines()
    again = read_single_source(put(tmp_path, "\n".join([*rows, *rows[1:]])))
    assert again.groupby(["sources", "test_set"])["seed"].apply(list).tolist() == 4 * [[0, 1]]
    percent = read_single_source(put(tmp_path, f"{HEADER}\na,10,r,5,100,40\na,10,s,5,100,20\n"), percent=True)
    assert percent["accuracy"].tolist() == [0.4, 0.2]


def test_a_studys_own_table_gives_its_single_source_rows(tmp_path):
    study = synthetic_study()
    write_table(study, tmp_path / "accuracies.csv")
    table = read_single_source(tmp_path / "accuracies.csv")
    single = study[study["kind"] == "single"]
    assert len(table) == len(single)
    assert np.allclose(table["dprime"], single["dprime"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("source,", "origin,", "no column 'source'; it needs source, n, test_set"),
        (
            "0.1712",
            "17.12",
            r"row 2, column 'accuracy': 17.12 lies outside \[0, 1\]; if accuracies are in percent",
        ),
        ("0.1712", "x", "row 2, column 'accuracy': 'x' is not a number"),
        ("0.1712", "nan", "lies outside"),
        ("yfcc,1000000,imagenet", "yfcc,0,imagenet", "column 'n': 0 lies outside"),
        ("yfcc,1000000,imagenet", "yfcc,1.5,imagenet", "1.5 is not a whole number"),
        ("imagenet,1000,50000,0.1712", "imagenet,1,50000,0.1712", "column 'classes': 1 lies outside"),
        (
            "imagenet,1000,50000,0.1712",
            "imagenet,20,50000,0.1712",
            "imagenet has 20 classes in one row and 1000 in another",
        ),
        ("laion,1000000,imagenet", "la:ion,1000000,imagenet", "row 4, column 'source': 'la:ion' is no name"),
        ("sketch", "imagenet", "one test set only"),
    ],
)
def test_bad_rows_name_file_row_and_value(tmp_path, old, new, message):
    count = 2 if old == "sketch" else 1
    with pytest.raises(DataError, match=message):
        read_single_source(put(tmp_path, GOOD.replace(old, new, count)))


def test_a_model_that_is_there_twice(tmp_path):
    text = f"{HEADER},seed\na,10,r,5,100,0.4,0\na,10,r,5,100,0.5,0\na,10,s,5,100,0.5,0\n"
    with pytest.raises(DataError, match="a with n = 10 and seed 0 is there twice on r"):
        read_single_source(put(tmp_path, text))
    with pytest.raises(DataError, match="no row"):
        read_single_source(put(tmp_path, HEADER + "\n"))


CELLS = st.one_of(
    st.sampled_from(["a", "b", "10", "0.5", "-1", "1e999", "nan", "inf", "", '"']), st.text(max_size=5)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def survive(folder: Path, rows: list[list[str]]) -> None:
    path = folder / "a.csv"
    path.write_bytes("\n".join([HEADER, *map(",".join, rows)]).encode("utf-8", "surrogatepass"))
    try:
        table = read_single_source(path)
    except DataError:
        return
    assert ((table["accuracy"] >= 0) & (table["accuracy"] <= 1)).all()


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(rows=st.lists(st.lists(CELLS, min_size=5, max_size=7), max_size=4))
def test_no_table_ends_in_anything_but_a_data_error(folder, rows):
    survive(folder, rows)


@pytest.mark.slow
@settings(max_examples=10_000, suppress_health_check=[HealthCheck.too_slow])
@given(rows=st.lists(st.lists(CELLS, min_size=5, max_size=7), max_size=4))
def test_no_table_ends_in_anything_but_a_data_error_10000_times(folder, rows):
    survive(folder, rows)

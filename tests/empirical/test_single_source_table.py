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
    seeds = [row[:-1] + "5" for row in rows[1:]]
    again = read_single_source(put(tmp_path, "\n".join([*rows, *seeds])))
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


@pytest.mark.parametrize(
    ("further", "message"),
    [
        (
            ["yfcc,1000000,sketch,1000,50889,0.0433"],
            r"yfcc, n = 1,000,000: 2 rows on sketch \(rows 3, 6\), 1 on imagenet: a row twice, or one missing\?",
        ),
        (
            [
                "yfcc,1000000,sketch,1000,50889,0.0433",
                "yfcc,1000000,imagenet,1000,50000,0.1712",
            ],
            "rows 6, 7 repeat rows 2, 3 with equal accuracies: pasted twice",
        ),
    ],
)
def test_rows_that_are_no_seeds_are_refused(tmp_path, further, message):
    """Numbered as seeds, they would take the source out of every forecast, or make its interval too short."""
    with pytest.raises(DataError, match=message):
        read_single_source(put(tmp_path, GOOD + "\n".join(further)))


def test_a_seed_without_one_of_the_test_sets_is_named(tmp_path):
    rows = [f"{HEADER},seed", *(f"{row},0" for row in GOOD.splitlines()[1:])]
    with pytest.raises(DataError, match="yfcc, n = 1,000,000, seed 1: no row on imagenet, which seed 0 has"):
        read_single_source(put(tmp_path, "\n".join([*rows, "yfcc,1000000,sketch,1000,50889,0.05,1"])))


def test_fractions_called_percent(tmp_path):
    with pytest.raises(DataError, match="are these fractions"):
        read_single_source(put(tmp_path, GOOD), percent=True)


def test_capitals_and_spaces_in_the_header_and_blank_lines(tmp_path):
    rows = [line.replace(",", " , ") for line in GOOD.splitlines()]
    text = "\n" + "\n\n".join([rows[0].title(), *rows[1:]])
    assert read_single_source(put(tmp_path, text)).equals(read_single_source(put(tmp_path / "..", GOOD)))
    with pytest.raises(DataError, match="row 6, column 'accuracy'"):
        read_single_source(put(tmp_path, text.replace("0.0433", "x")))


@pytest.mark.parametrize(("separator", "words"), [(";", "';'"), ("\t", "tabs")])
def test_other_separators_are_recognised(tmp_path, separator, words):
    with pytest.raises(DataError, match=f"separated by {words}; save it with commas"):
        read_single_source(put(tmp_path, GOOD.replace(",", separator)))


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(DataError, match="is a folder"):
        read_single_source(tmp_path)
    with pytest.raises(DataError, match="no such file"):
        read_single_source(tmp_path / "absent.csv")


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

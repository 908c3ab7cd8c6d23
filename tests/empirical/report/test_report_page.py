"""The page is one file that needs nothing else, and says what is missing where it cannot be made."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from printed_commands import next_line, parsed
from report_pages import STUDY, write_study
from synthetic_accuracies import synthetic_study

from empirical.errors import StudyError
from empirical.report.packing import pack, unpack
from empirical.report.page import LARGEST, part, render_page, write_report
from empirical.report.payload import clean, report_payload

ROOT = Path(__file__).resolve().parents[3]


def payload_in(page: str) -> dict:
    (text,) = re.findall(r'<script id="payload" type="application/json">(.*?)</script>', page, re.S)
    return unpack(json.loads(text))


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    command = [sys.executable, str(ROOT / "experiments" / "report.py"), str(STUDY), "--out", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "works offline" in done.stdout
    script, then = parsed(next_line(done.stdout))
    assert (script, then.records) == ("make_all", (f"clip_mixtures={STUDY}",))
    assert path.stat().st_size < LARGEST
    return path.read_text(encoding="utf-8")


def test_the_page_fetches_nothing(page: str) -> None:
    markup = re.sub(r"<script[^>]*>.*?</script>", "", page, flags=re.S)
    assert not re.search(r"\bsrc=|@import|url\(|<link[^>]+href=\"(?!data:)", markup)
    own = part("view.js") + part("plots.js") + part("theory.js")
    assert not re.search(r"fetch\(|XMLHttpRequest|https?://", own)


def test_every_run_and_prediction_is_in_the_page(page: str) -> None:
    payload, accuracies = payload_in(page), pd.read_csv(STUDY / "accuracies.csv")
    assert {model["run"] for model in payload["models"]} == set(accuracies["run"])
    assert len(payload["predictions"]) == len(pd.read_csv(STUDY / "predictions.csv"))
    row = accuracies.iloc[17]
    (model,) = [m for m in payload["models"] if m["run"] == row["run"]]
    assert model["sets"][row["test_set"]][:2] == [row["num_correct"], row["num_images"]]
    assert payload["provenance"]["seeds"] == [0, 1]
    # Where overlaps were measured, nothing is assumed.
    assert payload["filters"] == []
    assert {pool["filter"] for pool in payload["pools"]} == {"snapshots", "stock"}


def test_a_study_without_filters_and_with_odd_names_has_a_page(tmp_path: Path) -> None:
    """Between them, the names would end the script, and make the rest of the page a part of it."""
    names = ("a", "b</script>", "c<!--<script>")
    write_study(tmp_path, synthetic_study(sources=names, mixtures=(f"a:0.5+{names[1]}:0.5",)))
    page = write_report(tmp_path, tmp_path / "report.html").read_text(encoding="utf-8")
    payload = payload_in(page)
    assert payload["filters"] == []
    assert {source["name"] for source in payload["sources"]} == set(names)
    assert "<" not in page.split('id="payload" type="application/json">')[1].split("</script>")[0]


def test_accuracies_of_one_leave_no_infinity_in_the_page(tmp_path: Path) -> None:
    accuracies = synthetic_study()
    row = accuracies.index[0]
    accuracies.loc[row, ["num_correct", "accuracy", "probit", "dprime"]] = [1500, 1.0, np.inf, np.inf]
    write_study(tmp_path, accuracies)
    text = render_page(report_payload(tmp_path), "")
    assert "Infinity" not in text.split('id="payload"')[1].split("</script>")[0]
    assert clean({"a": [np.float64("nan"), np.int64(3), {"b": np.inf}]}) == {"a": [None, 3, {"b": None}]}


def test_a_missing_table_never_costs_what_is_there(tmp_path: Path) -> None:
    """The way out of a folder that holds anything is no command that writes into it."""
    write_study(tmp_path, synthetic_study(), scores=False)
    with pytest.raises(StudyError, match=r"scores\.csv: no such table; .*copy scores\.csv from") as copied:
        report_payload(tmp_path)
    (tmp_path / "study.json").write_text("{}")
    with pytest.raises(StudyError, match=r"not finished.*python experiments/study_status\.py") as unfinished:
        report_payload(tmp_path)
    for error in (copied, unfinished):
        assert "--out" not in str(error.value)
    with pytest.raises(StudyError, match=r"python experiments/clip_mixtures\.py --out .*new"):
        report_payload(tmp_path / "new")


def test_a_study_without_mixtures_has_a_page(tmp_path: Path) -> None:
    """The committed record of the filters preset has neither predictions nor scores of mixtures."""
    folder = STUDY.with_name("filter_rule")
    assert not (folder / "predictions.csv").exists()
    payload = payload_in(write_report(folder, tmp_path / "report.html").read_text(encoding="utf-8"))
    assert payload["predictions"] == payload["scores"] == []
    assert len(payload["models"]) == json.loads((folder / "provenance.json").read_text())["runs"]
    assert len(payload["pools"]) == 12


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3)
    | st.lists(st.fixed_dictionaries({"a": inner, "b": inner}), max_size=3),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(JSON)
def test_packed_values_come_back(value: object) -> None:
    assert unpack(pack(value)) == value
    assert unpack(json.loads(json.dumps(pack(value)))) == value


def test_the_larger_study_fits_on_a_page(tmp_path: Path) -> None:
    """4,068 runs: rows are written as columns."""
    folder = STUDY.with_name("gpu_study")
    path = write_report(folder, tmp_path / "report.html")
    assert path.stat().st_size < LARGEST
    models = payload_in(path.read_text(encoding="utf-8"))["models"]
    assert len(models) == json.loads((folder / "provenance.json").read_text())["runs"]

import json

import numpy as np
import pandas as pd
import pytest

from empirical.benchmarks.fresh_process import COLUMNS
from empirical.errors import StudyError
from empirical.figures.ratios import draw_ratios
from empirical.reader_benchmark import reader_rows, write_benchmark_shards
from experiments.benchmark_training import Arguments, run


def test_the_reader_is_held_against_its_peers_on_the_same_bytes(tmp_path, capsys):
    assert run(Arguments(out=tmp_path, quick=True, only=("reader",))) == 0
    table = pd.read_csv(tmp_path / "benchmark.csv")
    assert tuple(table.columns) == COLUMNS
    assert table["peer"].tolist() == ["webdataset", "wids"] * 3
    np.testing.assert_allclose(table["ratio"], table["peer_seconds"] / table["ours_seconds"], rtol=1e-6)
    assert (table["ours_seconds"] > 0).all()
    assert json.loads((tmp_path / "provenance.json").read_text())["not_measured"] == {}
    assert (tmp_path / "benchmark.png").stat().st_size > 5000
    printed = capsys.readouterr().out
    assert "Next: python experiments/" in printed
    assert "read 200 samples in order" in printed


def test_readers_that_disagree_are_an_error_not_a_ratio(tmp_path, monkeypatch):
    paths = write_benchmark_shards(tmp_path, 20, 8, 0)
    monkeypatch.setattr("empirical.reader_benchmark._bytes", lambda sample: id(sample))
    with pytest.raises(StudyError, match=r"read in order: .* by webdataset"):
        list(reader_rows(paths, 8, 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"repeats": 0}, "--repeats"), ({"seeds": 0}, "--seeds"), ({"only": ()}, "--only")],
)
def test_impossible_arguments_are_refused(tmp_path, options, message):
    with pytest.raises(StudyError, match=message):
        run(Arguments(out=tmp_path, **options))


def test_a_part_that_cannot_be_measured_says_why_and_leaves_the_others_alone(tmp_path, capsys):
    chosen = Arguments(out=tmp_path, quick=True, only=("reader", "training"), device="abacus")
    assert run(chosen) == 1
    assert "training: not measured: empirical.benchmarks.our_driver failed" in capsys.readouterr().err
    not_measured = json.loads((tmp_path / "provenance.json").read_text())["not_measured"]
    assert "abacus" in not_measured["training"]
    assert len(pd.read_csv(tmp_path / "benchmark.csv")) == 6


def test_ratios_lost_in_noise_are_named_not_drawn(tmp_path):
    rows = [("fast", 30.0), ("slow", 0.2), ("a difference of times", -1.0)]
    table = pd.DataFrame([{"name": name, "peer": "peer", "ratio": ratio} for name, ratio in rows])
    png, pdf = draw_ratios(table, tmp_path / "ratios")
    assert png.stat().st_size > 5000
    assert pdf.is_file()

import numpy as np
import pandas as pd
import pytest

from empirical.errors import StudyError
from empirical.reader_benchmark import COLUMNS, reader_rows, write_benchmark_shards
from experiments.benchmark_training import Arguments, run


def test_the_reader_is_held_against_its_peers_on_the_same_bytes(tmp_path, capsys):
    run(Arguments(out=tmp_path, quick=True, only=("reader",)))
    table = pd.read_csv(tmp_path / "benchmark.csv")
    assert tuple(table.columns) == COLUMNS
    assert table["peer"].tolist() == ["webdataset", "wids"] * 3
    np.testing.assert_allclose(table["ratio"], table["peer_seconds"] / table["ours_seconds"], rtol=1e-6)
    assert (table["ours_seconds"] > 0).all()
    assert (tmp_path / "provenance.json").is_file()
    printed = capsys.readouterr().out
    assert "Next: python experiments/" in printed
    assert "read 200 samples in order" in printed


def test_readers_that_disagree_are_an_error_not_a_ratio(tmp_path, monkeypatch):
    paths = write_benchmark_shards(tmp_path, 20, 8, 0)
    monkeypatch.setattr("empirical.reader_benchmark._bytes", lambda sample: id(sample))
    with pytest.raises(StudyError, match=r"read in order: .* by webdataset"):
        list(reader_rows(paths, 8, 1))


@pytest.mark.parametrize(("options", "message"), [({"repeats": 0}, "--repeats"), ({"only": ()}, "--only")])
def test_impossible_arguments_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        run(Arguments(out=tmp_path, **options))

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments import benchmark_theory
from experiments.benchmark_theory import COLUMNS, PARTS, Arguments, run, seconds_text
from theory.benchmarks.pairs import PAIRS
from theory.benchmarks.tables import flatness, memory_table
from theory.benchmarks.timing import compare, first_call, median_seconds, peak_memory

CHEAP = ("sampler", "training", "dprime", "scaling")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("benchmark")
    run(Arguments(out=out, quick=True, only=CHEAP))
    return out


def test_writes_every_file_it_promises(folder):
    names = [
        "benchmark.csv",
        "compile.csv",
        "scaling.csv",
        "benchmark.png",
        "benchmark.pdf",
        "provenance.json",
    ]
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_the_table_of_ratios_has_exactly_its_columns_and_peers(folder):
    table = pd.read_csv(folder / "benchmark.csv")
    assert list(table.columns) == COLUMNS
    assert (table[["ours_seconds", "peer_seconds", "ratio"]] > 0).all().all()
    np.testing.assert_allclose(table["ratio"], table["peer_seconds"] / table["ours_seconds"])
    peers = " ".join(table["peer"])
    for peer in (
        "NumPy",
        "Ridge,",
        "RidgeClassifier",
        "lbfgs",
        "newton-cholesky",
        "brentq over quad",
        "trapezoid",
    ):
        assert peer in peers


def test_ours_and_peers_give_the_same_answers(folder):
    table = pd.read_csv(folder / "benchmark.csv").set_index("name")["max_difference"]
    limits = {"averaging": 4.5, "ridge": 1e-4, "logistic": 2e-4, "d′": 1e-9}
    for name, difference in table.items():
        assert difference < limits[str(name).split()[0].rstrip(",")]


def test_scaling_covers_twelve_decades_of_samples_and_compile_times_every_function(folder):
    scaling = pd.read_csv(folder / "scaling.csv")
    assert (scaling["n"].min(), scaling["n"].max()) == (10**3, 10**12)
    assert (scaling["d"].min(), scaling["d"].max()) == (10**2, 10**6)
    compiling = pd.read_csv(folder / "compile.csv")
    assert set(compiling["name"]) == {"sample_averaging", "train_ridge", "train_logistic", "dprime"}
    assert (compiling["first_call_seconds"] > 0).all()


def test_provenance_names_config_versions_cores_and_time(folder):
    record = json.loads((folder / "provenance.json").read_text())
    assert record["config"]["only"] == list(CHEAP)
    assert record["versions"]["scikit-learn"]
    assert record["cores_used"] >= 1
    assert record["seconds"] > 0


@pytest.mark.slow
def test_asymptotics_and_memory(tmp_path):
    tables = run(Arguments(out=tmp_path, quick=True, only=("asymptotics", "memory")))
    assert (tables["benchmark"]["max_difference"] < 0.1).all()
    assert (tables["memory"]["peak_mib"] > 50).all()
    assert (tmp_path / "memory.csv").exists()


@pytest.mark.slow
def test_memory_of_the_sampler_does_not_grow_with_n_or_d():
    peaks = memory_table(quick=True).set_index("name")["peak_mib"]
    assert peaks["sampler, n = 1e12, d = 1e6"] < 1.1 * peaks["sampler, n = 1e3, d = 1e2"]
    assert peaks["sampler, 50 settings up to there"] < 1.15 * peaks["sampler, n = 1e3, d = 1e2"]


def test_parts_with_peers_are_parts_of_the_script():
    assert set(PAIRS) == set(PARTS) - {"scaling", "memory"}


def test_interleaved_medians():
    turns = []

    def slow():
        turns.append("peer")
        time.sleep(0.02)
        return 2

    result = compare(lambda: turns.append("ours") or 1, slow, repeats=3)
    assert turns == ["ours", "peer"] * 4
    assert result.peer_seconds >= 0.02 > result.seconds
    assert result.ratio > 1
    assert result.peer_result == 2
    first, later = first_call(lambda: time.sleep(0.001))
    assert min(first, later) >= 0.001
    assert len(median_seconds([lambda: 1, lambda: 2], 2)) == 2
    assert flatness(pd.DataFrame({"seconds": [1.0, 3.0]})) == 3
    for call in (lambda: compare(slow, slow, 0), lambda: median_seconds([], 0), lambda: first_call(slow, 0)):
        with pytest.raises(ValueError, match="at least 1, got 0"):
            call()


def test_peak_memory_is_that_of_the_code_alone():
    small = peak_memory("")
    large = peak_memory("x = bytearray(200 * 2**20)")
    assert 190 < large - small < 230
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        peak_memory("1 / 0")


@pytest.mark.parametrize(
    ("seconds", "text"), [(2.0, "2 s"), (0.0123, "12.3 ms"), (4.5e-6, "4.5 µs"), (3e-9, "3 ns")]
)
def test_seconds_have_a_unit(seconds, text):
    assert seconds_text(seconds) == text


def test_help_explains_every_argument_and_errors_are_one_line(capsys, monkeypatch, tmp_path):
    script = Path(benchmark_theory.__file__)
    shown = subprocess.run(
        [sys.executable, str(script), "--help"], capture_output=True, text=True, check=True
    )
    for field in ("--out", "--only", "--repeats", "--seed", "--quick", "benchmark.csv", "scikit-learn"):
        assert field in shown.stdout
    monkeypatch.setattr(
        sys, "argv", ["benchmark_theory.py", "--repeats", "0", "--out", str(tmp_path / "none")]
    )
    assert benchmark_theory.main() == 2
    assert capsys.readouterr().err.startswith("error: --repeats must be at least 1, got 0")
    assert not (tmp_path / "none").exists()

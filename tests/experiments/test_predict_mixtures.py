"""The command `python experiments/predict_mixtures.py`: its files, its words, its errors."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from empirical.errors import DataError
from empirical.forecast_report import forecast_report
from empirical.single_source_table import read_single_source
from experiments.predict_mixtures import Arguments, _worth_training, main

ROOT = Path(__file__).parents[2]
TABLE = """source,n,test_set,classes,images,accuracy
yfcc,1000000,imagenet,1000,50000,0.1712
yfcc,1000000,sketch,1000,50889,0.0433
yfcc,4000000,imagenet,1000,50000,0.2712
yfcc,4000000,sketch,1000,50889,0.0633
laion,1000000,imagenet,1000,50000,0.1601
laion,1000000,sketch,1000,50889,0.1002
laion,4000000,imagenet,1000,50000,0.2501
laion,4000000,sketch,1000,50889,0.1702
"""


def run(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "experiments" / "predict_mixtures.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300, check=False)


def test_a_table_becomes_predictions_a_best_mixture_and_a_figure(tmp_path):
    (tmp_path / "a.csv").write_text(TABLE)
    done = run(
        "a.csv", "--mixture", "yfcc:0.3+laion:0.7", "--budget", "laion=3000000", "--out", "out", "--overlap", "0.5",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    predictions = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert set(predictions["n_train"]) == {1_000_000, 4_000_000}
    assert "yfcc:0.3+laion:0.7" in set(predictions["sources"])
    assert set(predictions["rule"]) == {
        "mediant",
        "quadrature",
        "interpolated",
        "best_source",
    }  # 2 models draw no line
    best = pd.read_csv(tmp_path / "out" / "best_mixtures.csv")
    assert set(best["objective"]) == {"imagenet", "sketch"}
    assert "laion:0.75" in best.set_index("objective").loc["sketch", "sources"]
    for name in (
        "predict_mixtures.png",
        "predict_mixtures.pdf",
        "most_robust.csv",
        "summary.txt",
    ):
        assert (tmp_path / "out" / name).stat().st_size > 50
    assert "laion alone" in done.stdout
    assert not (tmp_path / "out" / "trends.csv").exists()
    assert "No trends.csv: no source has the three models that a line needs." in done.stdout
    assert done.stdout.rstrip().splitlines()[-1].startswith("Next: ")


@pytest.mark.parametrize(
    ("sources", "mixture", "why"),
    [
        (["laion", "yfcc:0.2+laion:0.8", "yfcc:0.4+laion:0.6"], "yfcc:0.2+laion:0.8", "train the best"),
        (["laion", "laion", "laion"], "yfcc:0.5+laion:0.5", "tells how much two sources overlap"),
    ],
)
def test_the_next_command_trains_a_mixture(sources, mixture, why):
    """Of the overlaps that are possible the largest at which mixing pays at all: what is promised least."""
    best = pd.DataFrame(
        {"objective": ["imagenet", *["sketch"] * 3], "sources": ["yfcc:0.9+laion:0.1", *sources]}
    )
    chosen, words = _worth_training(best, ["yfcc", "laion"])
    assert chosen == mixture
    assert why in words


def test_a_source_without_a_model_on_a_test_set_is_said_to_be_left_out(tmp_path):
    """It might have been the most robust one: the words claim no more than was measured."""
    third = ["wit,1000000,imagenet,1000,50000,0.15", "wit,1000000,rendition,1000,50000,0.09"]
    rest = [f"{name},1000000,rendition,1000,50000,0.08" for name in ("yfcc", "laion")]
    (tmp_path / "a.csv").write_text("\n".join([TABLE.strip(), *third, *rest]))
    report = forecast_report(read_single_source(tmp_path / "a.csv"), "imagenet", sizes=[1_000_000])
    assert "n = 1,000,000, wit: left out on sketch, for it has no model on sketch." in report.summary
    assert "no mixture of the sources measured there exceeds the most robust of them" in report.summary
    best = report.tables["best_mixtures.csv"].set_index("objective")["sources"]
    assert not best["sketch"].str.contains("wit").any()
    assert best["rendition"].str.contains("wit").any()
    (tmp_path / "a.csv").write_text(TABLE.replace("0.1002", "1.0"))
    with pytest.raises(
        DataError, match=r"laion: left out on sketch, for it has accuracy 1 \(an infinite d'\)"
    ):
        forecast_report(read_single_source(tmp_path / "a.csv"), "imagenet", sizes=[1_000_000])


def test_a_folder_that_cannot_be_written_to_is_one_clear_line(tmp_path, capsys):
    (tmp_path / "a.csv").write_text(TABLE)
    assert main(Arguments(tmp_path / "a.csv", out=tmp_path / "a.csv" / "out")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"error: {tmp_path / 'a.csv' / 'out'}: Not a directory"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.csv"], "absent.csv: no such file"),
        (
            ["a.csv", "--reference", "cifar"],
            "no accuracy on the reference test set 'cifar'; the table has imagenet, sketch",
        ),
        (["a.csv", "--budget", "yfcc"], "write --budget SOURCE=SAMPLES"),
        (["a.csv", "--n", "9000000"], "n = 9,000,000: yfcc: left out, for it has no model of"),
        (["a.csv", "--n", "0"], "n = 0: a mixture has at least 1 sample"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, arguments, message):
    (tmp_path / "a.csv").write_text(TABLE)
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()

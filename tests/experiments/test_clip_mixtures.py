"""The command as a user runs it: embedded world, own shards, stop and start again, bad input."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from experiments.clip_mixtures import main

ROOT = Path(__file__).resolve().parents[2]
TINY = ("--preset", "smoke", "--sizes", "32", "64", "--epochs", "1", "--test-images", "60", "--jobs", "1")

ACCURACIES = (
    "run,kind,sources,n_train,seed,test_set,num_classes,num_images,num_correct,accuracy,accuracy_low,accuracy_high,"
    "probit,dprime,heads_n_train,filter,kept_share"
)
TRENDS = "kind,sources,shift,link,fit,slope,slope_low,slope_high,intercept,intercept_low,intercept_high,r2,num_models"
PREDICTIONS = (
    "sources,shift,n_train,num_seeds,rule,ratio_predicted,ratio_predicted_stderr,ratio_measured,ratio_measured_stderr,"
    "dprime_ref_predicted,dprime_ref_measured,dprime_ref_measured_stderr,dprime_shift_predicted,dprime_shift_measured,"
    "dprime_shift_measured_stderr,inside_range"
)


def command(*arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "experiments" / "clip_mixtures.py"), *arguments]


def study(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == code, result.stdout[-3000:] + result.stderr[-3000:]
    return result


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("smoke") / "study"
    return out, study("--preset", "smoke", "--out", str(out)).stdout


def test_smoke_writes_everything_it_promises(smoke: tuple[Path, str]) -> None:
    out, printed = smoke
    assert (out / "accuracies.csv").read_text().splitlines()[0] == ACCURACIES
    assert (out / "trends.csv").read_text().splitlines()[0] == TRENDS
    assert (out / "predictions.csv").read_text().splitlines()[0].startswith(PREDICTIONS)
    for name in ("predictions_vs_measurements", "world", "filtering"):
        assert (out / f"{name}.png").stat().st_size > 20_000
        assert (out / f"{name}.pdf").exists()
    assert "Next: python experiments/clip_mixtures.py" in printed
    assert str(out / "predictions.csv") in printed.replace("\n", "")


def test_smoke_tables_hold_every_run_and_rule(smoke: tuple[Path, str]) -> None:
    out, _ = smoke
    accuracies = pd.read_csv(out / "accuracies.csv")
    records = {path.stem for path in (out / "records").glob("*.json")}
    assert set(accuracies["run"]) == records
    assert set(accuracies["kind"]) == {"single", "input_mixing", "output_mixing", "filtered"}
    assert set(accuracies["test_set"]) == {"reference", "v2", "sketch", "rendition", "odd_view"}
    assert (accuracies["accuracy_low"] <= accuracies["accuracy"]).all()
    assert (accuracies["accuracy"] <= accuracies["accuracy_high"]).all()
    predictions = pd.read_csv(out / "predictions.csv")
    assert set(predictions["rule"]) == {"mediant", "quadrature", "lines", "interpolated", "best_source"}
    assert len(predictions) == 4 * 5


def test_a_finished_study_repeats_nothing(smoke: tuple[Path, str]) -> None:
    out, _ = smoke
    before = {path: path.stat().st_mtime_ns for path in (out / "records").glob("*.json")}
    tables = {name: (out / name).read_bytes() for name in ("accuracies.csv", "trends.csv", "predictions.csv")}
    assert "11 of 11 runs are already finished" in study("--preset", "smoke", "--out", str(out)).stdout
    assert {path: path.stat().st_mtime_ns for path in (out / "records").glob("*.json")} == before
    assert {name: (out / name).read_bytes() for name in tables} == tables


def test_other_settings_in_the_same_folder_are_refused(smoke: tuple[Path, str]) -> None:
    out, _ = smoke
    message = study("--preset", "smoke", "--epochs", "3", "--out", str(out), code=2).stderr
    assert "other settings (recipe)" in message


def test_own_shards_and_test_sets_take_the_same_path(smoke: tuple[Path, str], tmp_path: Path) -> None:
    shards = smoke[0] / "shards"
    out = tmp_path / "own"
    arguments = [f"--source={name}={shards / name}-seed0" for name in ("snapshots", "stock")]
    arguments += [f"--test-set={name}={shards / f'test-{name}'}" for name in ("reference", "sketch")]
    printed = study(*arguments, *TINY[2:], "--vocabulary", "captions:100", "--out", str(out)).stdout
    accuracies = pd.read_csv(out / "accuracies.csv")
    assert set(accuracies["test_set"]) == {"reference", "sketch"}
    assert set(accuracies["num_classes"]) == {20}
    assert set(accuracies.loc[accuracies["kind"] == "single", "sources"]) == {"snapshots", "stock"}
    assert "Next:" in printed


def test_killed_and_started_again_gives_the_same_tables(tmp_path: Path) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    study(*TINY, "--out", str(undisturbed))
    for _ in range(2):
        process = subprocess.Popen(
            command(*TINY, "--out", str(killed)), cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL
        )
        known = len(list((killed / "records").glob("[!.]*.json")))
        deadline = time.monotonic() + 120
        while len(list((killed / "records").glob("[!.]*.json"))) < known + 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    finished = {path: path.stat().st_mtime_ns for path in (killed / "records").glob("[!.]*.json")}
    assert len(finished) >= 4
    study(*TINY, "--out", str(killed))
    for path, time_ns in finished.items():
        assert path.stat().st_mtime_ns == time_ns, f"{path.name} was repeated"
    for name in ("accuracies.csv", "trends.csv", "predictions.csv"):
        assert (killed / name).read_bytes() == (undisturbed / name).read_bytes()


@pytest.mark.slow
def test_a_study_goes_on_when_the_reader_of_its_progress_leaves(
    smoke: tuple[Path, str], tmp_path: Path
) -> None:
    """`clip_mixtures.py ... | head -1` loses the log, and nothing else."""
    out = tmp_path / "study"
    process = subprocess.Popen(
        command("--preset", "smoke", "--out", str(out)),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    process.stdout.close()
    assert process.communicate()[1] == b""
    assert process.returncode == 0
    for name in ("accuracies.csv", "trends.csv", "predictions.csv", "summary.txt"):
        assert (out / name).read_bytes() == (smoke[0] / name).read_bytes()


@pytest.mark.parametrize("moment", ["while its workers start", "while they train"])
def test_ctrl_c_is_one_line_whatever_the_workers_are_at(tmp_path: Path, moment: str) -> None:
    """As a terminal sends it: to the whole process group."""
    process = subprocess.Popen(
        command(*TINY, "--epochs", "200", "--jobs", "2", "--out", str(tmp_path)),
        cwd=ROOT, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        workers = [pid for pid in children.read_text().split() if is_worker(pid)]
        if workers if moment == "while its workers start" else list((tmp_path / "running").glob("*.json")):
            break
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert told == f"\nstopped; finished runs are kept: run the same command to continue in {tmp_path}\n"


def is_worker(process: str) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:  # it has ended
        return False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--source", "a=nowhere/*.tar", "--test-set", "x=y", "--test-set", "z=y"), "nowhere"),
        (("--source", "a=b"), "--test-set"),
        (("--source", "a=b", "--source", "a=c"), "the name 'a' is given twice"),
        (("--test-set", "test-a=b"), "names that start with test-"),
        (("--source", "no-path"), "write --source NAME=PATH"),
        (("--sizes", "1"), "at least 2 training samples"),
        (("--reference", "moon"), "'moon' is not a test set"),
        (("--mixture", "stock:0.5+snapshots:0.4"), "sum to 0.9"),
        (("--mixture", "stock:-0.5+snapshots:1.5"), "every share must be positive"),
        (("--mixture", "stock+snapshots"), "expected SOURCE:SHARE"),
        (("--jobs", "-1"), "--jobs -1"),
        (("--threads", "0"), "--threads 0"),
        (("--seed", "-1"), "--seed -1"),
        (("--device", "abacus"), "--device abacus: not usable here"),
        (("--vocabulary", "runes"), "'runes'"),
        (("--test-set", "a=nowhere/", "--test-set", "b=nowhere"), "test set a"),
        (("--model", "nothing.json"), "nothing.json"),
    ],
)
def test_bad_input_is_one_clear_message(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(
        sys, "argv", ["clip_mixtures.py", "--preset", "smoke", "--out", str(tmp_path), *arguments]
    )
    assert main() == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert len(error.splitlines()) == 1


def test_an_output_path_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = study("--preset", "smoke", "--out", str(tmp_path / "file"), code=2)
    assert str(tmp_path / "file") in result.stderr
    assert "Traceback" not in result.stderr


def test_dry_run_trains_nothing(tmp_path: Path) -> None:
    printed = study("--preset", "full", "--dry-run", "--out", str(tmp_path / "x")).stdout
    assert "input_mixing" in printed
    assert "samples/s each" in printed
    assert not (tmp_path / "x").exists()

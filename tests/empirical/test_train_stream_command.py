"""The command `python experiments/train_stream.py`: killed and resumed, alone and under torchrun, its tables and errors."""

import contextlib
import io
import json
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from printed_commands import next_line, parsed
from stream_commands import TORCHRUN, command, make_data, run, same_results, start

from empirical.model import load_model
from empirical.single_source_table import read_single_source
from empirical.tokenizer import WordTokenizer
from experiments.train_stream import Arguments, main


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert main(arguments(data, out)) == 0
    for words in (
        "60 samples an epoch, in 7 batches of 8 (4 left over, other ones each epoch); 2 epochs: 14 steps",
        "images/s",
        "epoch 2 of 2: loss",
        "a: share 0.2",
    ):
        assert words in said.getvalue()
    script, then = parsed(next_line(said.getvalue()))
    assert (script, then.checkpoint) == ("evaluate", out / "model.safetensors")
    return out


def test_what_a_training_leaves(undisturbed: Path) -> None:
    assert not (undisturbed / "checkpoint.pt").exists()
    model, tokenizer = load_model(undisturbed / "model.safetensors")
    assert isinstance(tokenizer, WordTokenizer)
    assert {"a", "photo", "of"} <= set(tokenizer.words)
    assert model.vocab_size == tokenizer.vocab_size == 44
    loss = pd.read_csv(undisturbed / "loss.csv")
    assert loss["step"].tolist() == list(range(1, 15))
    assert loss["epoch"].tolist() == [1] * 7 + [2] * 7
    assert loss["loss"].between(0, 10).all()
    assert loss["learning_rate"].max() == pytest.approx(1e-3)
    account = pd.read_csv(undisturbed / "account.csv").set_index("source")
    assert account["samples"].to_dict() == {"a": 15, "b": 45}
    assert account["requested"].to_dict() == {"a": 0.25, "b": 0.75}
    assert account["seen"].sum() == 14 * 8
    assert account["realised"].to_numpy() == pytest.approx(account["seen"].to_numpy() / 112)
    assert account.loc["b", "skipped"] == 1
    assert str(account.loc["b", "reasons"]).startswith("1 x ")
    provenance = json.loads((undisturbed / "provenance.json").read_text())
    assert provenance["training"]["steps"] == 14
    assert provenance["settings"]["mixture"] == "a:0.25+b:0.75"
    assert (undisturbed / "loss.png").stat().st_size > 5000


def test_killed_in_mid_epoch_it_ends_with_the_same_bits(
    data: Path, undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    status, said = run(command(data, out), kill_at="renamed out/checkpoint.pt")
    assert status == -signal.SIGKILL, said
    assert sorted(path.name for path in out.iterdir()) == [".lock", "checkpoint.pt"]
    assert main(arguments(data, out)) == 0
    assert "goes on after step 3 of epoch 1" in capsys.readouterr().out
    same_results(out, undisturbed)
    assert not (out / "checkpoint.pt").exists()


@pytest.mark.slow
def test_killed_inside_writes_it_ends_with_the_same_bits(
    data: Path, undisturbed: Path, tmp_path: Path
) -> None:
    """Inside a checkpoint, after one, inside the weights, and before the last file has its name."""
    out = tmp_path / "out"
    for at in (
        "half-written out/checkpoint.pt",
        "renamed out/checkpoint.pt",
        "half-written out/checkpoint.pt",
        "half-written out/model.safetensors",
        "written out/provenance.json",
    ):
        status, said = run(command(data, out), kill_at=at)
        assert status == -signal.SIGKILL, said
        assert not (out / "provenance.json").exists()
    assert "trained to the end" in said
    status, said = run(command(data, out))
    assert status == 0, said
    same_results(out, undisturbed)
    assert [path.name for path in out.iterdir() if ".tmp" in path.name] == []


def arguments(data: Path, out: Path, **changes: Any) -> Arguments:
    given: dict[str, Any] = {
        "source": (f"a={data}/a", f"b={data}/b"), "mixture": "a:0.25+b:0.75", "samples": 60, "epochs": 2, "batch_size": 8,
        "vocabulary": "captions:40", "checkpoint_every": 3, "device": "cpu", "indexes": data / "indexes", "out": out,
    }  # fmt: skip
    return Arguments(**(given | changes))


def test_a_finished_training_is_not_repeated_and_another_one_is_refused(
    data: Path, undisturbed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (undisturbed / "model.safetensors").stat().st_mtime_ns
    tested = (f"reference={data}/reference",)
    assert main(arguments(data, undisturbed, test_set=tested)) == 0
    assert "finished: nothing is trained again" in capsys.readouterr().out
    assert (undisturbed / "model.safetensors").stat().st_mtime_ns == before
    table = pd.read_csv(undisturbed / "accuracies.csv")
    assert table[["kind", "sources", "n_train", "test_set", "num_images"]].to_numpy().tolist() == [
        ["input_mixing", "a:0.25+b:0.75", 60, "reference", 40]
    ]
    assert main(arguments(data, undisturbed, test_set=tested)) == 0
    assert "accuracies.csv holds these test sets already" in capsys.readouterr().out
    assert main(arguments(data, undisturbed, seed=1, batch_size=16)) == 2
    said = capsys.readouterr().err
    assert "provenance.json was made with other settings" in said
    assert "recipe batch_size is 8 there and 16 here; seed is 0 there and 1 here" in said


def test_accuracies_of_one_source_are_what_predictions_read(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = (f"reference={data}/reference", f"sketch={data}/sketch")
    made = arguments(
        data,
        tmp_path,
        source=(f"a={data}/a",),
        mixture="",
        samples=0,
        epochs=1,
        vocabulary="world",
        test_set=sets,
    )
    assert main(made) == 0
    said = capsys.readouterr().out
    assert "48 samples an epoch, in 6 batches of 8; 1 epochs" in said, "all samples, none twice"
    assert "python experiments/predict_mixtures.py" in said.splitlines()[-1]
    table = read_single_source(tmp_path / "accuracies.csv")
    assert set(table["test_set"]) == {"reference", "sketch"}
    assert set(table["n_train"]) == {48}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"source": ("a",)}, "write --source NAME=PATH"),
        ({"mixture": "a:0.5+c:0.5"}, "names the source 'c'"),
        ({"mixture": "a:0.9+b:0.1", "samples": 70}, "source a has 48 samples; a draw ends at 63"),
        ({"batch_size": 128}, "fewer than one batch of 128"),
        ({"test_set": ("x=nowhere/at/all",)}, "test set x: "),
        ({"model": "RN500"}, "model 'RN500' is unknown"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_trained(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], words: str
) -> None:
    assert main(arguments(data, tmp_path / "out", **changes)) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out" / "checkpoint.pt").exists()


def test_a_short_source_is_repeated_if_that_is_wanted(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(data, tmp_path, mixture="a:0.9+b:0.1", samples=70, repeat=True, epochs=1)) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("a  ")]
    assert line.split() == ["a", "0.9", "63", "48", "15"]
    account = pd.read_csv(tmp_path / "account.csv").set_index("source")
    assert account.loc["a", "distinct"] == 48
    assert 7 <= account.loc["a", "repeats"] <= 15  # 6 of 70 samples are left over


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_bits(
    data: Path, undisturbed: Path, tmp_path: Path
) -> None:
    """By the clock, wherever that is: while it imports, indexes, trains or writes. With decoding processes."""
    out, generator, killed = tmp_path / "out", np.random.default_rng(0), 0
    for _ in range(8):
        process = start(command(data, out, "--worker-kind", "processes"))
        time.sleep(float(generator.uniform(2, 12)))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
    assert killed
    status, said = run(command(data, out, "--worker-kind", "processes"))
    assert status == 0, said
    same_results(out, undisturbed)


@pytest.mark.slow
def test_two_processes_equal_one_and_either_goes_on_where_the_other_stopped(
    data: Path, tmp_path: Path
) -> None:
    """Losses to 1e-5. A low rate, as rounding grows with every step by a factor that the rate decides."""
    slowly = ("--learning-rate", "1e-4")
    for name, launcher in (("one", ()), ("two", TORCHRUN)):
        status, said = run(command(data, tmp_path / name, *slowly), launcher)
        assert status == 0, said
    one, two = (pd.read_csv(tmp_path / name / "loss.csv")["loss"] for name in ("one", "two"))
    np.testing.assert_allclose(two, one, rtol=0, atol=1e-5)
    assert (tmp_path / "one/account.csv").read_text() == (tmp_path / "two/account.csv").read_text()
    assert json.loads((tmp_path / "two/provenance.json").read_text())["processes"] == 2

    mixed = command(data, tmp_path / "mixed", *slowly)
    status, said = run(mixed, TORCHRUN, kill_at="renamed mixed/checkpoint.pt")
    assert status != 0
    status, said = run(mixed)
    assert status == 0, said
    assert "goes on after step 3 of epoch 1" in said
    losses = pd.read_csv(tmp_path / "mixed/loss.csv")["loss"]
    np.testing.assert_allclose(losses, one, rtol=0, atol=1e-5)
    assert (tmp_path / "one/account.csv").read_text() == (tmp_path / "mixed/account.csv").read_text()

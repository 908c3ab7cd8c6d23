"""The command `python experiments/evaluate.py`: its files, its words, its errors."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from imagenet_folders import labelled_shards, objectnet, picture, v2_folders, wnid_folders
from printed_commands import next_line, parsed
from small_open_clip import small_open_clip

from empirical.model import save_weights
from empirical.zero_shot import zero_shot_classifier
from experiments.evaluate import Arguments, main

ROOT = Path(__file__).parents[2]


def run(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "experiments" / "evaluate.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=600, check=False)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> tuple[Path, Path]:
    """A config and its weights."""
    folder = tmp_path_factory.mktemp("checkpoint")
    config, model, _ = small_open_clip(folder)
    return config, save_weights(model, folder / "mine.safetensors")


def test_a_checkpoint_on_objectnet_and_a_set_of_ones_own(tmp_path, checkpoint):
    config, weights = checkpoint
    objectnet(tmp_path / "objectnet", {"chair": 3, "banana": 2})
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(3):
            (tmp_path / "pets" / name / f"{i}.png").write_bytes(picture(i))
    done = run(
        "--checkpoint", weights, "--model", config, "--test-set", "objectnet=objectnet", "--test-set", "pets=pets",
        "--out", "out", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "out" / "accuracies.csv").set_index("test_set")
    assert table["num_images"].to_dict() == {"objectnet": 5, "objectnet_imagenet_prompts": 5, "pets": 6}
    assert table["num_classes"].to_dict() == {"objectnet": 3, "objectnet_imagenet_prompts": 3, "pets": 2}
    assert set(table["sources"]) == {"mine"}
    logits = np.load(tmp_path / "out" / "logits" / "pets.npy")
    labels = np.load(tmp_path / "out" / "logits" / "pets.labels.npy")
    assert (logits.argmax(1) == labels).sum() == table.loc["pets", "num_correct"]
    assert "warning: objectnet: 5 images, the published set has 18,574" in done.stderr
    for name in ("evaluation.png", "clip_benchmark.jsonl", "logits/objectnet.ids.json"):
        assert (tmp_path / "out" / name).stat().st_size > 50
    script, then = parsed(next_line(done.stdout))
    assert (script, then.test_set) == ("evaluate", ("objectnet=objectnet", "pets=pets", "imagenet=PATH"))


def test_objectnet_shards_without_mapping_files_are_judged_by_their_own_names(tmp_path, checkpoint, capsys):
    config, weights = checkpoint
    root = labelled_shards(tmp_path / "wds", [(1, picture(1)), (0, picture(2))], ["banana", "chair"])
    assert main(Arguments(weights, (f"objectnet={root}",), str(config), out=tmp_path / "out")) == 0
    assert "objectnet_imagenet_prompts left out: " in capsys.readouterr().err
    assert pd.read_csv(tmp_path / "out" / "accuracies.csv")["test_set"].tolist() == ["objectnet"]
    only = Arguments(weights, (f"objectnet={root}",), str(config), "imagenet", out=tmp_path / "other")
    assert main(only) == 2
    assert "ObjectNet's mapping files are not there" in capsys.readouterr().err


@pytest.mark.slow
def test_the_reference_is_given_on_each_shifts_classes(tmp_path, checkpoint):
    config, weights = checkpoint
    wnid_folders(tmp_path / "val", "imagenet", {1: 2, 2: 1, 3: 2, 4: 1})
    wnid_folders(tmp_path / "r", "imagenet_r", {0: 2, 1: 1})
    done = run(
        "--checkpoint", weights, "--model", config, "--test-set", "imagenet=val", "--test-set", "imagenet_r=r", cwd=tmp_path
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "runs" / "evaluate" / "accuracies.csv").set_index("test_set")
    assert table["num_images"].to_dict() == {
        "imagenet": 6,
        "imagenet_r": 3,
        "imagenet_on_r": 4,
    }  # label 3 is not in R
    assert table.loc["imagenet_on_r", "num_classes"] == 200
    lines = (tmp_path / "runs" / "evaluate" / "clip_benchmark.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["dataset"] == "imagenet1k"


@pytest.mark.parametrize(
    ("test_sets", "model", "message"),
    [
        (("pets=absent",), "", "absent"),
        (("pets",), "", "write --test-set NAME=PATH"),
        ((), "", "give at least one --test-set"),
        (("a=b", "a=c"), "", "the name 'a' is given twice"),
        (("imagenet-r=b", "imagenet_r=c"), "", "the name 'imagenet_r' is given twice"),
        (("a=b",), "no-such-model", "model 'no-such-model' is unknown"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, checkpoint, capsys, test_sets, model, message):
    config, weights = checkpoint
    assert main(Arguments(weights, test_sets, model or str(config), out=tmp_path / "out")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cuda:99"}, "--device cuda:99: not usable here"),
        ({"device": "abacus"}, "--device abacus: not usable here"),
        ({"batch_size": 0}, "--batch-size must be at least 1, got 0"),
        ({"workers": -1}, "--workers must be at least 0, got -1"),
    ],
)
def test_settings_that_cannot_work_are_said_before_anything_is_read(tmp_path, capsys, options, message):
    assert main(Arguments(tmp_path / "no-checkpoint", ("a=b",), **options)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {message}")


def test_a_wrong_path_is_said_before_the_first_set_is_evaluated(tmp_path, checkpoint, capsys):
    config, weights = checkpoint
    v2_folders(tmp_path / "v2", {3: 1})
    for wrong in ("imagenet_r", "mine"):
        sets = (f"imagenet_v2={tmp_path / 'v2'}", f"{wrong}={tmp_path / 'absent'}")
        assert main(Arguments(weights, sets, str(config), out=tmp_path / "out")) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line == f"error: {tmp_path / 'absent'}: no such file or folder; check the path, or download it"
    assert not (tmp_path / "out").exists()


def test_sets_of_the_same_classes_share_a_classifier(tmp_path, checkpoint, capsys, monkeypatch):
    """And a folder that cannot be written to is one clear line."""
    config, weights = checkpoint
    v2_folders(tmp_path / "v2", {3: 1, 30: 1})
    wnid_folders(tmp_path / "sketch", "imagenet_sketch", {3: 1})
    built = []

    def counted(model, tokenizer, names, *rest):
        built.append(len(names))
        return zero_shot_classifier(model, tokenizer, names, [rest[0][0]], *rest[1:])

    monkeypatch.setattr("empirical.evaluation.zero_shot_classifier", counted)
    sets = (f"imagenetv2={tmp_path / 'v2'}", f"imagenet-sketch={tmp_path / 'sketch'}")  # as others write them
    assert main(Arguments(weights, sets, str(config), out=tmp_path / "out")) == 0
    assert built == [1000]
    script, then = parsed(next_line(capsys.readouterr().out))
    assert (script, then.model) == ("evaluate", str(config))
    assert then.test_set == (
        f"imagenet_v2={tmp_path / 'v2'}",
        f"imagenet_sketch={tmp_path / 'sketch'}",
        "imagenet=PATH",
    )
    entry = json.loads((tmp_path / "out" / "clip_benchmark.jsonl").read_text().splitlines()[0])
    assert entry["model"] == config.stem
    (tmp_path / "file").write_text("")
    assert main(Arguments(weights, sets[1:], str(config), out=tmp_path / "file")) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {tmp_path / 'file'}")

"""A user's own data end to end: webdataset sources of .jpg and .txt, an ImageFolder reference, a webdataset shift."""

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from empirical.errors import DataError
from empirical.index_building import build_index
from empirical.shards import write_test_set
from empirical.study_plan import StudyOptions, plan_study
from empirical.world import class_names, render_source, render_test_set

ROOT = Path(__file__).resolve().parents[2]


def jpeg(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def write_source(path: Path, name: str, num_pairs: int) -> None:
    """One shard as img2dataset leaves it: a .jpg and a .txt for every pair; every fiftieth caption is missing."""
    pairs = render_source(name, 7, 0, num_pairs)
    with tarfile.open(path, "w") as tar:
        for i, (image, caption) in enumerate(zip(pairs.images, pairs.captions, strict=True)):
            members = [("jpg", jpeg(image))] + [("txt", caption.encode())] * (i % 50 != 49)
            for suffix, data in members:
                info = tarfile.TarInfo(f"{i:09d}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def write_image_folder(root: Path, num_images: int) -> None:
    """Folders named after WordNet numbers, as ImageNet's are, with the names of the classes in classnames.txt."""
    test_set = render_test_set("reference", num_images)
    for i, (image, label) in enumerate(zip(test_set.images, test_set.labels, strict=True)):
        folder = root / f"n{10_000_000 + 7 * int(label)}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.jpg").write_bytes(jpeg(image))
    (root / "classnames.txt").write_text("\n".join(test_set.class_names))


def test_own_sources_and_test_sets_run_with_the_default_tokenizer(tmp_path: Path) -> None:
    for name in ("snapshots", "stock"):
        write_source(tmp_path / f"{name}.tar", name, 320)
    write_image_folder(tmp_path / "imagenet", 60)
    shift = render_test_set("sketch", 60)
    shift.templates = None
    write_test_set(shift, tmp_path / "shift")
    out = tmp_path / "study"
    command = [sys.executable, str(ROOT / "experiments" / "clip_mixtures.py"), "--out", str(out)]
    build_index(str(tmp_path / "stock.tar"), tmp_path / "index")  # a source may be given as its index, too
    command += ["--source", f"a={tmp_path / 'snapshots.tar'}", "--source", f"b={tmp_path / 'index'}"]
    command += [
        "--test-set",
        f"imagenet={tmp_path / 'imagenet'}",
        "--test-set",
        f"shift={tmp_path / 'shift'}",
    ]
    command += ["--reference", "imagenet", "--sizes", "32", "64", "--num-seeds", "1", "--epochs", "1"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]

    accuracies = pd.read_csv(out / "accuracies.csv")
    assert set(accuracies["test_set"]) == {"imagenet", "shift"}
    assert set(accuracies["num_images"]) == {60}
    assert set(accuracies["num_classes"]) == {len(class_names())}
    assert set(accuracies["kind"]) == {"single", "input_mixing", "output_mixing"}
    assert len(pd.read_csv(out / "predictions.csv"))
    records = [json.loads(path.read_text()) for path in (out / "records").glob("*.json")]
    assert {record["run"] for record in records} == set(accuracies["run"])
    assert json.loads((out / "tokenizer.json").read_text())["kind"] == "open_clip"
    # What could not be read is on record, beside the run that did not see it.
    for record in records:
        for source, reasons in record["skipped"].items():
            assert source in ("a", "b")
            assert set(reasons) == {"no caption (.txt)"}
            assert 1 <= reasons["no caption (.txt)"] <= 6


def test_an_index_whose_shards_are_gone_is_said_before_anything_is_trained(tmp_path: Path) -> None:
    write_source(tmp_path / "stock.tar", "stock", 10)
    build_index(str(tmp_path / "stock.tar"), tmp_path / "index")
    (tmp_path / "stock.tar").rename(tmp_path / "elsewhere.tar")
    sources = {"a": str(tmp_path / "elsewhere.tar"), "b": str(tmp_path / "index")}
    with pytest.raises(DataError, match=r"source b: .*index: 1 of its shards are missing or changed"):
        plan_study(StudyOptions(out=tmp_path / "study", sources=sources, test_sets={"x": "y"}))

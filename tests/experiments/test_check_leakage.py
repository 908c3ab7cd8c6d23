"""The leakage check as a user runs it: planted copies in shards and folders, told apart, drawn and written."""

import io

import numpy as np
import pandas as pd
import pytest
import tyro
from PIL import Image
from printed_commands import next_line, parsed

from empirical.arrays import Pairs
from empirical.errors import StudyError
from empirical.shards import write_pairs
from empirical.world import render_source
from experiments.check_leakage import Arguments, run


def jpeg(image, share=1.0, side=96):
    picture = Image.fromarray(image.transpose(1, 2, 0))
    width = int(share * picture.width)
    buffer = io.BytesIO()
    picture.crop((3, 5, 3 + width, 5 + width)).resize((side, side)).save(buffer, "JPEG", quality=70)
    return buffer.getvalue()


def test_planted_leaks_are_reported_with_pictures(tmp_path, capsys):
    images = render_source("stock", 5, 0, 40, image_size=128).images
    keys = [f"{i:03d}" for i in range(40)]
    write_pairs(Pairs(images[:20], ["a picture"] * 20, keys[:20]), tmp_path / "a")
    second = np.concatenate([images[20:30], images[2:4]])
    write_pairs(Pairs(second, ["a picture"] * 12, [*keys[20:30], "copy2", "copy3"]), tmp_path / "b")
    for i in range(30, 40):
        (tmp_path / "test" / "class").mkdir(parents=True, exist_ok=True)
        (tmp_path / "test" / "class" / f"{i:03d}.jpg").write_bytes(jpeg(images[i], 0.9))
    (tmp_path / "test" / "class" / "leak7.jpg").write_bytes(jpeg(images[7], 0.9))
    (tmp_path / "test" / "class" / "leak22.jpg").write_bytes(jpeg(images[22], 0.95, 60))
    (tmp_path / "test" / "class" / "broken.jpg").write_bytes(b"broken")
    sources = (f"a={tmp_path / 'a'}", f"b={tmp_path / 'b'}")
    run(Arguments(out=tmp_path / "out", source=sources, test_set=(f"test={tmp_path / 'test'}",)))
    pairs = pd.read_csv(tmp_path / "out" / "pairs.csv", dtype={"first_key": str, "second_key": str})
    found = pairs[["leak", "first", "first_key", "second", "second_key", "kind"]].to_numpy().tolist()
    assert sorted(found) == [
        [False, "a", "002", "b", "copy2", "exact"],
        [False, "a", "003", "b", "copy3", "exact"],
        [True, "a", "007", "test", "class/leak7.jpg", "near"],
        [True, "b", "022", "test", "class/leak22.jpg", "near"],
    ]
    assert pairs["leak"].tolist() == [True, True, False, False]
    summary = pd.read_csv(tmp_path / "out" / "summary.csv").set_index(["first", "second"])
    assert summary.loc[("a", "test"), "second_share"] == pytest.approx(1 / 12)
    assert summary["leak"].to_dict() == {("a", "b"): False, ("a", "test"): True, ("b", "test"): True}
    captured = capsys.readouterr()
    script, then = parsed(next_line(captured.out))
    assert (script, then.source) == ("clip_mixtures", sources)
    assert then.test_set == (f"test={tmp_path / 'test'}", "reference=PATH")
    assert "4 pairs of duplicates, 2 of them between a source and a test set" in captured.out
    assert "1 x image is damaged" in captured.err
    assert (tmp_path / "out" / "leakage.png").is_file()


def test_sources_and_test_sets_are_given_one_by_one():
    words = ["--source", "a=A/", "--source", "b=B/", "--test-set", "c=C/", "--test-set", "d=D/"]
    arguments = tyro.cli(Arguments, args=words)
    assert (arguments.source, arguments.test_set) == (("a=A/", "b=B/"), ("c=C/", "d=D/"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0.5}, "--threshold is 0.5"),
        ({"smallest_crop": 0.1}, "--smallest-crop is 0.1"),
        ({"seed": -1, "limit": 20}, "--seed must be at least 0"),
        ({"limit": -1}, "--limit must be at least 0"),
        ({"test_set": ("a=b",)}, "--test-set needs a --source"),
        ({"source": ("a=b",), "test_set": ("a=b",)}, "choose two names"),
    ],
)
def test_impossible_arguments_are_refused(tmp_path, options, message):
    with pytest.raises(StudyError, match=message):
        run(Arguments(out=tmp_path, **options))

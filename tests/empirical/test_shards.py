"""Shards written and read: round trips, patterns and users' layouts."""

import io
import json
import warnings

import numpy as np
import pytest
import webdataset
from PIL import Image
from shard_cases import RNG, good, image_file, write_tar

from empirical.arrays import Pairs
from empirical.errors import DataError
from empirical.shards import (
    encode_png,
    expand_shards,
    read_pairs,
    to_square,
    write_pairs,
)
from empirical.world import render_source


@pytest.fixture(scope="module")
def rendered() -> Pairs:
    return render_source("stock", 1000, 0, 250)


def test_rendered_pairs_come_back_bit_for_bit(tmp_path, rendered):
    paths = write_pairs(rendered, tmp_path, samples_per_shard=100)
    assert [p.name for p in paths] == ["00000.tar", "00001.tar", "00002.tar"]
    back = read_pairs(str(tmp_path / "{00000..00002}.tar"), 32)
    assert np.array_equal(back.images, rendered.images)
    assert back.captions == rendered.captions
    assert back.keys == rendered.keys
    assert (back.account.shards, back.account.samples_read, back.account.skipped) == (3, 250, {})
    assert back.metadata is not None
    assert rendered.metadata is not None
    for got, made in zip(back.metadata, rendered.metadata, strict=True):
        assert {"class", "style", "view", "seed", "index", "source"} <= set(got)
        assert {k: got[k] for k in made} == made


def test_writing_is_deterministic(tmp_path, rendered):
    one, two = (write_pairs(rendered, tmp_path / name) for name in "ab")
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in two]


def test_webdataset_itself_reads_the_shards(tmp_path, rendered):
    write_pairs(rendered, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # webdataset leaves its files open
        data = (
            webdataset.WebDataset(str(tmp_path / "00000.tar"), shardshuffle=False)
            .decode("rgb8")
            .to_tuple("png", "txt")
        )
        images, captions = zip(*data, strict=True)
    assert list(captions) == rendered.captions
    assert np.array_equal(np.stack(images).transpose(0, 3, 1, 2), rendered.images)


def test_a_shorter_write_leaves_no_old_tail(tmp_path, rendered):
    write_pairs(rendered, tmp_path, samples_per_shard=50)
    write_pairs(rendered, tmp_path, samples_per_shard=125)
    assert read_pairs(str(tmp_path), 32).keys == rendered.keys


def test_other_shards_in_the_folder_are_never_touched(tmp_path, rendered):
    write_tar(tmp_path / "mine.tar", good("a"))
    with pytest.raises(DataError, match=r"already holds other shards \(mine.tar\)"):
        write_pairs(rendered, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.tar"]


def test_an_interrupted_write_leaves_no_shard(tmp_path, rendered):
    broken = Pairs(rendered.images[:4], ["a", "b", "c", "\ud800"], rendered.keys[:4])
    with pytest.raises(UnicodeEncodeError):
        write_pairs(broken, tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_to_write_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no samples to write"):
        write_pairs(Pairs(np.empty((0, 3, 8, 8), np.uint8), [], []), tmp_path)


def test_encoded_png_is_read_by_pil_as_given():
    image = RNG.integers(0, 256, (3, 5, 7), np.uint8)
    file = Image.open(io.BytesIO(encode_png(image)))
    assert file.mode == "RGB"
    assert np.array_equal(np.asarray(file).transpose(2, 0, 1), image)


# ---------------------------------------------------------------- patterns


def test_patterns_name_shards_in_order(tmp_path):
    paths = [str(write_tar(tmp_path / f"{i:02d}.tar", good("a"))) for i in (8, 9, 10, 11)]
    assert expand_shards(str(tmp_path / "{08..11}.tar")) == paths
    assert expand_shards(str(tmp_path)) == paths
    assert expand_shards(str(tmp_path / "*.tar")) == paths
    assert expand_shards(str(tmp_path / "{08..09}*")) == paths[:2]
    assert expand_shards(f"{paths[3]}::{paths[0]}") == [paths[3], paths[0]]


def test_relative_globs_work(tmp_path, monkeypatch):
    write_tar(tmp_path / "0.tar", good("a"))
    monkeypatch.chdir(tmp_path)
    assert expand_shards("*.tar") == ["0.tar"]


def test_a_file_whose_name_has_braces_is_taken_literally(tmp_path):
    path = str(write_tar(tmp_path / "odd{1..2}.tar", good("a")))
    assert expand_shards(path) == [path]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{folder}/{{00..12}}.tar", "01.tar: no such file or folder"),
        ("{folder}/{{00..99999999}}.tar", "names 100,000,000 shards"),
        ("{folder}/{{-1..99999999}}.tar", "names 100,000,001 shards"),
        ("{folder}/none*.tar", "no shard matches"),
        ("{folder}/empty", "holds no .tar shards"),
        ("{folder}/zero.tar", r"zero.tar: the shard is empty \(0 bytes\)"),
        ("{folder}/{{00..01.tar", "Unbalanced braces"),
        ("pipe:touch {folder}/owned", "download remote ones first"),
        ("https://example.org/{{0..9}}.tar", "download remote ones first"),
        ("", "local .tar files"),
    ],
)
def test_patterns_that_name_nothing_say_so(tmp_path, pattern, message):
    write_tar(tmp_path / "00.tar", good("a"))
    (tmp_path / "zero.tar").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=message):
        expand_shards(pattern.format(folder=tmp_path))
    assert not (tmp_path / "owned").exists()


# ---------------------------------------------------------------- users' shards


def test_users_layouts_are_read(tmp_path):
    write_tar(
        tmp_path / "0.tar",
        [
            ("d/0.jpg", image_file("JPEG")), ("d/0.txt", b"one"), ("d/0.json", b'{"width": 8}'),
            ("d/1.JPEG", image_file("JPEG")), ("d/1.TXT", "zw\u00f6lf \u2603".encode()),
            ("d/2.webp", image_file("WEBP")), ("d/2.json", json.dumps({"caption": " three "}).encode()),
            ("d/3.png", image_file(mode="RGBA")), ("d/3.txt", b"\xef\xbb\xbffour\n"),
            ("d/4.png", image_file(mode="P")), ("d/4.txt", b"five"), ("d/4.json", b"not json"),
            ("d/5.png", image_file(mode="L")), ("d/5.txt", b"six\nlines"),
            ("d/6.jpg", image_file("JPEG", mode="CMYK")), ("d/6.txt", b"seven"),
            ("d/7.png", image_file(mode="P", transparency=bytes(range(200)))), ("d/7.txt", b"eight"),
        ],
    )  # fmt: skip
    pairs = read_pairs(str(tmp_path), 8)
    assert pairs.account.skipped == {}
    assert pairs.captions == [
        "one",
        "zw\u00f6lf \u2603",
        "three",
        "four",
        "five",
        "six\nlines",
        "seven",
        "eight",
    ]
    assert pairs.keys[:2] == ["d/0", "d/1"]
    assert pairs.metadata is not None
    assert pairs.metadata[0] == {"width": 8}
    assert pairs.images.shape == (8, 3, 8, 8)


def test_compressed_shards_are_read(tmp_path):
    write_tar(tmp_path / "0.tar.gz", good("a") + good("b"), "w:gz")
    assert read_pairs(str(tmp_path), 8).captions == ["a photo of a", "a photo of b"]


def test_the_limit_stops_reading(tmp_path):
    paths = [str(write_tar(tmp_path / f"{i}.tar", good(f"{i}a") + good(f"{i}b"))) for i in range(3)]
    pairs = read_pairs(paths, 8, limit=3)
    assert pairs.keys == ["0a", "0b", "1a"]
    assert pairs.account.shards == 2
    assert len(read_pairs(paths, 8, limit=99)) == 6


def test_progress_reports_pairs(tmp_path):
    paths = [str(write_tar(tmp_path / f"{i}.tar", good(f"{i}a") + good(f"{i}b"))) for i in range(3)]
    seen = []
    read_pairs(paths, 8, progress=seen.append)
    assert seen == [2, 4, 6]


@pytest.mark.parametrize("size", [(8, 8), (40, 30), (30, 41), (5, 9), (33, 64)])
def test_images_are_resized_and_cropped_as_torchvision_does(size):
    from torchvision.transforms import CenterCrop, InterpolationMode, Resize

    image = Image.open(io.BytesIO(image_file(size=size))).convert("RGB")
    expected = CenterCrop(16)(Resize(16, InterpolationMode.BICUBIC)(image))
    assert np.array_equal(to_square(image, 16), np.asarray(expected).transpose(2, 0, 1))


@pytest.mark.parametrize("size", [(40, 1000), (1000, 40), (3, 977)])
def test_the_centre_of_a_long_image_is_resized_as_if_all_of_it_were(size):
    """Up to rounding between the two passes of PIL's resampling."""
    from torchvision.transforms import CenterCrop, InterpolationMode, Resize

    noise = Image.fromarray(RNG.integers(0, 256, (size[1] // 3 + 1, size[0] // 3 + 1, 3), np.uint8))
    image = noise.resize(size, Image.Resampling.BILINEAR)
    expected = np.asarray(CenterCrop(32)(Resize(32, InterpolationMode.BICUBIC)(image))).transpose(2, 0, 1)
    assert np.abs(to_square(image, 32).astype(int) - expected).max() <= 2


def test_a_line_of_millions_of_pixels_costs_at_most_one_sample(tmp_path):
    """Its 19 KB would be 500 GB once the shorter side is 224 pixels long."""
    buffer = io.BytesIO()
    Image.new("RGB", (1, 5_000_000), (7, 8, 9)).save(buffer, "PNG")
    line = [("line.png", buffer.getvalue()), ("line.txt", b"a line")]
    path = write_tar(tmp_path / "0.tar", [*good("a"), *line, *good("b")])
    pairs = read_pairs(str(path), 224)
    assert pairs.keys == ["a", "line", "b"]
    assert (pairs.images[1] == np.array([7, 8, 9])[:, None, None]).all()

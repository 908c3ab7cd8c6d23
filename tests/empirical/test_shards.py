"""Shards written and read: round trips, users' layouts, and everything that can be wrong with a file."""

import io
import json
import struct
import tarfile
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image

from empirical.arrays import Pairs
from empirical.errors import DataError
from empirical.shards import (
    UnreadableSample,
    decode_image,
    encode_png,
    expand_shards,
    read_pairs,
    to_square,
    write_pairs,
)
from empirical.world import render_source

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (3, 8, 8), np.uint8)


def image_file(kind: str = "PNG", size: tuple[int, int] = (8, 8), mode: str = "RGB", **options) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 256, (*size[::-1], 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def write_tar(path: Path, members: list[tuple[str, bytes]], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def good(key: str) -> list[tuple[str, bytes]]:
    return [(f"{key}.png", image_file()), (f"{key}.txt", f"a photo of {key}".encode())]


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
        ("{folder}/{{00..12}}.tar", "01.tar: no such shard"),
        ("{folder}/{{00..99999999}}.tar", "names 100,000,000 shards"),
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


# ---------------------------------------------------------------- bad samples


BAD_SAMPLES = {
    "image is damaged or of an unknown format": [
        ("x.png", image_file(size=(64, 64))[:-2000]),
        ("x.txt", b"a"),
    ],
    "no image (.jpg, .jpeg, .png, .webp)": [("x.gif", b"GIF89a"), ("x.txt", b"a")],
    "no caption (.txt)": [("x.png", image_file())],
    "caption is empty": [("x.png", image_file()), ("x.txt", b" \n\t ")],
    "caption holds binary data": [("x.png", image_file()), ("x.txt", b"a\x00photo")],
    "caption is not UTF-8 text": [("x.png", image_file()), ("x.txt", b"caf\xe9 \xff")],
    "caption is not text": [("x.png", image_file()), ("x.json", b'{"caption": 12}')],
}


@pytest.mark.parametrize("reason", BAD_SAMPLES)
def test_bad_samples_are_skipped_counted_and_named(tmp_path, reason):
    path = write_tar(tmp_path / "0.tar", good("a") + BAD_SAMPLES[reason] + good("b"))
    pairs = read_pairs(str(path), 8)
    assert pairs.captions == ["a photo of a", "a photo of b"]
    assert len(pairs.images) == len(pairs.keys) == 2
    assert pairs.account.skipped == {reason: 1}
    assert pairs.account.examples == [f"{reason}: {path}: x"]


def test_an_image_that_is_empty_or_text_is_skipped(tmp_path):
    path = write_tar(
        tmp_path / "0.tar",
        [("x.jpg", b""), ("x.txt", b"a"), ("y.jpg", b"<html>"), ("y.txt", b"b"), *good("z")],
    )
    assert read_pairs(str(path), 8).account.skipped == {"image is damaged or of an unknown format": 2}


def bomb(side: int) -> bytes:
    """A PNG of a few kilobytes that claims side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(9)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [10_000, 30_000])  # above PIL's warning, above its error
def test_decompression_bombs_are_skipped(tmp_path, side):
    path = write_tar(tmp_path / "0.tar", [("x.png", bomb(side)), ("x.txt", b"a"), *good("b")])
    pairs = read_pairs(str(path), 8)
    assert pairs.keys == ["b"]
    assert pairs.account.skipped == {"image has too many pixels": 1}


def test_only_image_files_are_decoded_as_images():
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n"
    with pytest.raises(UnreadableSample, match="damaged or of an unknown format"):
        decode_image(postscript, 8)


def test_pickles_and_paths_in_shards_are_harmless(tmp_path):
    evil = b"cos\nsystem\n(S'touch " + str(tmp_path / "owned").encode() + b"'\ntR."
    path = write_tar(
        tmp_path / "0.tar",
        [
            ("a.pyd", evil),
            ("a.pickle", evil),
            ("a.cls", evil),
            *good("a"),
            *good("../../up"),
            *good("/tmp/absolute"),
        ],
    )
    before = sorted(p.name for p in tmp_path.iterdir())
    assert read_pairs(str(path), 8).keys == ["a", "../../up", "/tmp/absolute"]
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_links_and_folders_in_shards_are_ignored(tmp_path):
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for name, kind in (("a.txt", tarfile.SYMTYPE), ("d", tarfile.DIRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        for name, data in good("b"):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    assert read_pairs(str(tmp_path), 8).captions == ["a photo of b"]


def test_a_member_that_occurs_twice_is_counted(tmp_path):
    path = write_tar(tmp_path / "0.tar", [*good("a"), ("a.txt", b"again"), *good("b")])
    pairs = read_pairs(str(path), 8)
    assert pairs.captions == ["a photo of a", "a photo of b"]
    assert pairs.account.skipped == {"member occurs twice": 1}


def test_members_that_belong_to_no_sample_are_counted(tmp_path):
    """webdataset drops them without a word; `._b.png` is what macOS adds to a tar."""
    path = write_tar(
        tmp_path / "0.tar", [*good("a"), ("000017", image_file()), ("._b.png", b"x"), *good("d.1/b")]
    )
    pairs = read_pairs(str(path), 8)
    assert pairs.keys == ["a", "d.1/b"]
    assert pairs.account.skipped == {"member without key and suffix": 2}
    assert pairs.account.examples == [
        f"member without key and suffix: {path}: {name}" for name in ("000017", "._b.png")
    ]


def test_an_empty_shard_beside_good_ones_is_counted(tmp_path):
    empty = write_tar(tmp_path / "0.tar", [])
    write_tar(tmp_path / "1.tar", good("a"))
    pairs = read_pairs(str(tmp_path), 8)
    assert pairs.keys == ["a"]
    assert pairs.account.skipped == {"shard without a file": 1}
    assert pairs.account.examples == [f"shard without a file: {empty}"]


# ---------------------------------------------------------------- damaged shards

LOST = "rest of a damaged shard lost"


@pytest.mark.parametrize("cut", [700, 1536, 3072, 3584])
def test_a_truncated_shard_keeps_the_samples_before_the_cut(tmp_path, cut):
    """Cuts inside a member's data, inside a header and between members (four samples of 512-byte blocks each)."""
    members = [m for key in "abcd" for m in good(key)]
    whole = write_tar(tmp_path / "0.tar", members).read_bytes()
    ends = []
    with tarfile.open(tmp_path / "0.tar") as tar:
        ends = [m.offset_data + m.size for m in tar if m.name.endswith(".txt")]
    (tmp_path / "0.tar").write_bytes(whole[:cut])
    write_tar(tmp_path / "1.tar", good("e"))
    pairs = read_pairs(str(tmp_path), 8)
    assert pairs.keys == ["abcd"[i] for i, end in enumerate(ends) if end <= cut] + ["e"]
    assert pairs.account.skipped[LOST] == 1
    assert any(str(tmp_path / "0.tar") in e for e in pairs.account.examples)


def test_a_corrupt_header_keeps_the_samples_before_it(tmp_path):
    path = write_tar(tmp_path / "0.tar", [m for key in "abcd" for m in good(key)])
    with tarfile.open(path) as tar:
        offset = tar.getmember("c.png").offset
    data = bytearray(path.read_bytes())
    data[offset : offset + 512] = b"\xff" * 512
    path.write_bytes(data)
    pairs = read_pairs(str(path), 8)
    assert pairs.keys == ["a", "b"]
    assert pairs.account.skipped == {LOST: 1}


def test_a_truncated_gzip_keeps_the_samples_before_the_cut(tmp_path):
    path = write_tar(tmp_path / "0.tar.gz", [m for i in range(200) for m in good(f"{i:03d}")], "w:gz")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    pairs = read_pairs(str(path), 8)
    assert 20 < len(pairs) < 200
    assert pairs.account.skipped[LOST] == 1


def test_a_file_that_is_no_tar_is_counted_beside_good_shards(tmp_path):
    (tmp_path / "0.tar").write_bytes(b"<html>404 Not Found</html>" * 50)
    write_tar(tmp_path / "1.tar", good("a"))
    pairs = read_pairs(str(tmp_path), 8)
    assert pairs.keys == ["a"]
    assert pairs.account.skipped == {LOST: 1}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], r"1 x shard without a file \(such as .*0.tar\)"),
        ([("x.png", image_file())], r"1 x no caption \(.txt\) \(such as .*0.tar: x\)"),
    ],
)
def test_shards_without_a_single_pair_are_an_error(tmp_path, members, message):
    path = write_tar(tmp_path / "0.tar", members)
    with pytest.raises(DataError, match=message) as error:
        read_pairs(str(path), 8)
    assert str(path) in str(error.value)

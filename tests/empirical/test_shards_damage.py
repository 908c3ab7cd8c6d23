"""Everything that can be wrong with a shard: bad samples are skipped and counted, good ones beside them kept."""

import io
import struct
import tarfile
import zlib

import pytest
from shard_cases import good, image_file, write_tar

from empirical.errors import DataError
from empirical.shards import (
    UnreadableSample,
    decode_image,
    read_pairs,
)

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

"""Everything that can be wrong with a shard: bad samples are skipped and counted, good ones beside them kept."""

import errno
import io
import struct
import tarfile
import zlib

import pytest
from shard_cases import good, image_file, write_tar

from empirical.arrays import ReadAccount
from empirical.errors import DataError
from empirical.shards import (
    UnreadableSample,
    decode_image,
    read_pairs,
)
from empirical.tar_members import LOST, SKIPPED, read_members

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
    pairs = read_pairs(str(path), 8)
    assert pairs.keys == ["a"]
    assert pairs.account.skipped == {"member path leads upwards (..)": 2, "member has an absolute path": 2}
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_links_and_devices_are_refused_and_folders_ignored(tmp_path):
    special = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for kind in (*special, tarfile.DIRTYPE):
            info = tarfile.TarInfo("a.txt")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        for name, data in good("b"):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    pairs = read_pairs(str(tmp_path), 8)
    assert pairs.captions == ["a photo of b"]
    assert pairs.account.skipped == {"member is a link": 2, "member is a device or another special file": 3}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a/../../b", "member path leads upwards (..)"),
        ("..\\b", "member path leads upwards (..)"),
        ("/b", "member has an absolute path"),
        ("\\\\host\\b", "member has an absolute path"),
        ("C:\\b", "member has an absolute path"),
        ("a\nb", "member name is too long or holds control characters"),
        ("b" * 5000, "member name is too long or holds control characters"),
    ],
)
def test_names_that_would_harm_who_extracts_are_refused(tmp_path, name, reason):
    hostile = [(f"{name}.png", image_file()), (f"{name}.txt", b"hostile")]
    pairs = read_pairs(str(write_tar(tmp_path / "0.tar", [*good("a"), *hostile, *good("b")])), 8)
    assert pairs.keys == ["a", "b"]
    assert pairs.account.skipped == {reason: 2}


def test_odd_but_harmless_names_are_read(tmp_path):
    names = ["./a", "d/e", "..f/g", "h..i/j", "ü", "x" * 300, "C:d"]
    pairs = read_pairs(str(write_tar(tmp_path / "0.tar", [m for name in names for m in good(name)])), 8)
    assert pairs.keys == names
    assert not pairs.account.skipped


def test_a_name_that_is_not_utf8_becomes_readable_text(tmp_path):
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    path = write_tar(tmp_path / "0.tar", [(f"{name}.png", image_file()), (f"{name}.txt", b"a cup")])
    assert read_pairs(str(path), 8).keys == ["caf\\xe9"]


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


@pytest.mark.parametrize("block", [b"\xff" * 512, bytes(512)])
def test_a_corrupt_header_costs_the_member_behind_it(tmp_path, block):
    path = write_tar(tmp_path / "0.tar", [m for key in "abcd" for m in good(key)])
    with tarfile.open(path) as tar:
        offset = tar.getmember("c.png").offset
    data = bytearray(path.read_bytes())
    data[offset : offset + 512] = block
    path.write_bytes(data)
    pairs = read_pairs(str(path), 8)
    assert pairs.keys == ["a", "b", "d"]
    assert pairs.account.skipped == {SKIPPED: 1, "no image (.jpg, .jpeg, .png, .webp)": 1}


def test_a_sector_that_the_disk_cannot_read_costs_one_member(tmp_path):
    class Disk(io.FileIO):
        """A file with one bad byte."""

        def readinto(self, buffer):
            if self.tell() <= bad < self.tell() + len(memoryview(buffer)):
                raise OSError(errno.EIO, "Input/output error")
            return super().readinto(buffer)

    path = write_tar(tmp_path / "0.tar", [m for key in "abc" for m in good(key)])
    with tarfile.open(path) as tar:
        bad = tar.getmember("b.txt").offset_data
    account = ReadAccount()
    with io.BufferedReader(Disk(path), 64) as file:
        names = [member.name for member in read_members(path, file, account)]
    assert names == ["a.png", "a.txt", "b.png", "c.png", "c.txt"]
    assert account.skipped == {SKIPPED: 1}


def with_size(name: str, size: bytes, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A valid header whose size field holds these 12 bytes."""
    header = bytearray(tarfile.TarInfo(name).tobuf())
    header[124:136], header[156:157] = size, kind
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return bytes(header)


@pytest.mark.parametrize(
    "kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE]
)
@pytest.mark.parametrize("size", [b"\xff" * 12, b"\x80" + b"\xff" * 11, b"77777777777\0"])
def test_a_header_with_an_impossible_size_neither_hangs_nor_crashes(tmp_path, kind, size):
    """Negative sizes send tarfile backwards for ever, huge ones into reading all there is."""
    whole = write_tar(tmp_path / "0.tar", [*good("a"), *good("b")]).read_bytes()
    with tarfile.open(tmp_path / "0.tar") as tar:
        at = tar.getmember("b.png").offset
    (tmp_path / "0.tar").write_bytes(whole[:at] + with_size("evil.png", size, kind) + whole[at:])
    pairs = read_pairs(str(tmp_path), 8)
    assert pairs.keys[0] == "a"
    assert pairs.keys[-1] == "b"
    assert sum(pairs.account.skipped.values()) >= 1


def test_tars_joined_end_to_end_are_read_whole(tmp_path):
    first = write_tar(tmp_path / "0.tar", good("a")).read_bytes()
    second = write_tar(tmp_path / "1.tar", good("b")).read_bytes()
    (tmp_path / "0.tar").write_bytes(first + second)
    pairs = read_pairs(str(tmp_path / "0.tar"), 8)
    assert pairs.keys == ["a", "b"]
    assert pairs.account.skipped == {SKIPPED: 1}


def test_a_truncated_gzip_keeps_the_samples_before_the_cut(tmp_path):
    path = write_tar(tmp_path / "0.tar.gz", [m for i in range(200) for m in good(f"{i:03d}")], "w:gz")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    pairs = read_pairs(str(path), 8)
    assert 20 < len(pairs) < 200
    assert pairs.account.skipped[LOST] == 1


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_tar_that_unpacks_without_end_is_given_up(tmp_path, monkeypatch, mode):
    """Only unpacking leads past a member, and bzip2 packs a terabyte of zeros into a megabyte."""
    monkeypatch.setattr("empirical.tar_members._MOST_UNPACKED", 1 << 20)
    small, large = bytes(1 << 19), bytes(3 << 20)
    path = write_tar(
        tmp_path / "0.tar", [*good("a"), ("x.bin", small), *good("b"), ("y.bin", large), *good("c")], mode
    )
    pairs = read_pairs(str(path), 8)
    assert pairs.keys == ["a", "b"]
    assert pairs.account.skipped[LOST] == 1
    assert any("unpacks to more than" in example for example in pairs.account.examples)


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

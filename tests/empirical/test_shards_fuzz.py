"""Whatever the bytes of a shard or of an index are, reading ends in samples, counts or the project's own error."""

import contextlib
import functools
import gzip
import json
import shutil
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from shard_cases import good, image_file, write_tar

from empirical.errors import DataError
from empirical.index_building import build_index
from empirical.indexed_reader import SampleReader, read_indexed_pairs
from empirical.shard_index import load_index
from empirical.shards import UnreadableSample, read_pairs

FEW = settings(max_examples=120)
MANY = settings(max_examples=10_000, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
KINDS = b"".join([tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE,
                  tarfile.CONTTYPE, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
                  tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.GNUTYPE_SPARSE])  # fmt: skip
NAMES = [b"a.png", b"a.txt", b"../a.png", b"/a.png", b"a", b"\xff.png", b""]
PAX = [b"size=-512", b"size=9" * 9, b"path=../up.png", b"path=x.png", b"GNU.sparse.map=0,9", b"GNU.sparse.size=7",
       b"GNU.sparse.major=1\n14 GNU.sparse.minor=0", b"hdrcharset=BINARY", b"=", b"mtime=nan"]  # fmt: skip


def with_checksum(header: bytearray) -> bytes:
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return bytes(header)


@functools.cache
def whole_shard() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = write_tar(Path(folder) / "x.tar", [m for key in "abc" for m in good(key)])
        return path.read_bytes()[: 12 * 512 + 1024]  # without most of the padding


@st.composite
def hostile_members(draw) -> bytes:
    """Headers whose checksums hold and whose fields are anything."""
    out = b""
    for _ in range(draw(st.integers(1, 5))):
        name = draw(
            st.sampled_from([b"a.png", b"a.txt", b"../a.png", b"/a.png", b"a", b"\xff.png", b""])
            | st.binary(max_size=100)
        )
        header = bytearray(tarfile.TarInfo("x").tobuf(tarfile.GNU_FORMAT))
        header[0:100] = name.ljust(100, b"\0")[:100]
        data = draw(st.binary(max_size=600) | st.just(image_file()))
        kind = draw(st.sampled_from(list(KINDS)) | st.integers(0, 255))
        if kind in tarfile.XHDTYPE + tarfile.XGLTYPE:
            records = draw(st.lists(st.sampled_from(PAX) | st.binary(max_size=20), max_size=3))
            data = b"".join(b"%d %s\n" % (len(r) + len(b"%d" % len(r)) + 2, r) for r in records)
        header[156] = kind
        header[124:136] = draw(st.just(b"%011o\0" % len(data)) | st.binary(min_size=12, max_size=12))
        if draw(st.booleans()):  # the fields that sparse members and long names read
            start = draw(st.integers(345, 500))
            header[start : start + 12] = draw(st.binary(min_size=12, max_size=12))
        out += with_checksum(header) + data.ljust(-(-len(data) // 512) * 512, b"\0")
    return out


@st.composite
def hostile_shards(draw) -> bytes:
    """Noise, damaged and truncated tars, hostile members among good ones, and all that compressed."""
    data = draw(st.binary(min_size=1, max_size=2000) | st.just(whole_shard()))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        if draw(st.booleans()):
            at -= at % 512
        change = draw(st.sampled_from(["members", "noise", "zeros", "cut", "repeat", "flip"]))
        if change == "members":
            data = data[:at] + draw(hostile_members()) + data[at:]
        elif change == "noise":
            data = data[:at] + draw(st.binary(max_size=600)) + data[at:]
        elif change == "zeros":
            data = data[:at] + bytes(512) + data[at + 512 :]
        elif change == "cut":
            data = data[:at]
        elif change == "repeat":
            data = data[:at] + data[max(0, at - 1024) :]
        elif at < len(data):
            data = data[:at] + bytes([data[at] ^ (1 << draw(st.integers(0, 7)))]) + data[at + 1 :]
    if draw(st.integers(0, 4)) == 0:
        data = gzip.compress(data, mtime=0)
        if draw(st.booleans()):
            data = data[: draw(st.integers(0, len(data)))]
    return data or b"\0"


def check_shard(folder: Path, data: bytes) -> None:
    path = folder / "0.tar"
    path.write_bytes(data)
    in_order = None
    with contextlib.suppress(DataError):
        in_order = read_pairs(str(path), 8)
        assert len(in_order.images) == len(in_order.captions) == len(in_order.keys)
        assert not any(key.startswith("/") or ".." in key.split("/") for key in in_order.keys)
    with contextlib.suppress(DataError):
        index = build_index(str(path), workers=1)
        index.check()
        json.dumps(index.account.__dict__)
        index.save(folder / "index")
        by_index = read_indexed_pairs(load_index(folder / "index"), 8)
        assert in_order is not None
        assert (by_index.keys, by_index.captions) == (in_order.keys, in_order.captions)
        np.testing.assert_array_equal(by_index.images, in_order.images)
    assert sorted(p.name for p in folder.iterdir()) in (
        ["0.tar"],
        ["0.tar", "index"],
    )  # nothing was extracted


def check_index(folder: Path, name: str, at: float, noise: bytes, cut: bool) -> None:
    """An index of three samples with one of its files spoiled."""
    template = folder.parent / "template"
    if not template.exists():
        template.mkdir()
        write_tar(template / "0.tar", [m for key in "abc" for m in good(key)])
        build_index(str(template / "0.tar"), template / "index")
    shutil.copytree(template, folder, dirs_exist_ok=True)
    (path,) = (folder / "index").glob(f"{name}*")
    data = path.read_bytes()
    start = int(at * len(data))
    path.write_bytes(data[:start] + noise + (b"" if cut else data[start + len(noise) :]))
    try:
        index = load_index(folder / "index")
    except DataError:
        return
    reader = SampleReader()
    for row in range(min(len(index), 50)):
        with contextlib.suppress(DataError, UnreadableSample):
            reader.sample(index.locate(row))
    for attempt in (
        index.check,
        index.changed_shards,
        lambda: index.save(folder / "again"),
        lambda: index.account,
    ):
        with contextlib.suppress(DataError):
            attempt()
    with contextlib.suppress(DataError):
        read_indexed_pairs(index, 8, limit=50)
    with contextlib.suppress(DataError):
        build_index(str(folder / "0.tar"), folder / "index", workers=1)


def in_a_fresh_folder(check):
    def run(tmp_path_factory, **arguments):
        folder = tmp_path_factory.getbasetemp() / "fuzz" / "case"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        check(folder, **arguments)

    return run


PLACES = {
    "name": st.sampled_from(["index.json", "samples", "members", "keys"]),
    "at": st.floats(0, 1),
    "noise": st.binary(max_size=40)
    | st.sampled_from([b"1e999", b"null", b"-1", b'"x"', b"[]", b"\xff" * 8, b"\x00" * 8]),
    "cut": st.booleans(),
}
LINK_LOOP = with_checksum(bytearray(tarfile.TarInfo("a").tobuf())) * 3


@FEW
@given(data=hostile_shards())
@example(data=LINK_LOOP)
def test_hostile_shards_end_in_samples_counts_or_our_own_error(tmp_path_factory, data):
    in_a_fresh_folder(check_shard)(tmp_path_factory, data=data)


@FEW
@given(**PLACES)
def test_damaged_indexes_end_in_samples_or_our_own_error(tmp_path_factory, name, at, noise, cut):
    in_a_fresh_folder(check_index)(tmp_path_factory, name=name, at=at, noise=noise, cut=cut)


@pytest.mark.slow
@MANY
@given(data=hostile_shards())
def test_ten_thousand_hostile_shards(tmp_path_factory, data):
    in_a_fresh_folder(check_shard)(tmp_path_factory, data=data)


@pytest.mark.slow
@MANY
@given(**PLACES)
def test_ten_thousand_damaged_indexes(tmp_path_factory, name, at, noise, cut):
    in_a_fresh_folder(check_index)(tmp_path_factory, name=name, at=at, noise=noise, cut=cut)

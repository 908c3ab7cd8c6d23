"""The index of shards: it gives what reading from front to back gives, and damage costs only what it hits."""

import contextlib
import json
import os
import shutil
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shard_cases import good, image_file, write_tar

from empirical.arrays import ReadAccount
from empirical.errors import DataError
from empirical.index_building import build_index
from empirical.indexed_reader import CHECKSUM, SampleReader, read_indexed_pairs
from empirical.shard_index import SAMPLE, file_sha256, is_index, load_index, ranges
from empirical.shards import UnreadableSample, read_pairs, read_samples


def folder_of_shards(folder, sizes=(3, 1, 4)):
    folder.mkdir(parents=True)
    for number, size in enumerate(sizes):
        members = [m for i in range(size) for m in good(f"{number}-{i}")]
        write_tar(folder / f"{number:05d}.tar", [*members, (f"{number}-{size - 1}.json", b'{"w": 8}')])
    return folder


def samples_of(index):
    reader = SampleReader()
    return [reader.sample(index.locate(row)) for row in range(len(index))]


def test_it_gives_every_sample_that_sequential_reading_gives(tmp_path):
    shards = folder_of_shards(tmp_path / "shards")
    index = build_index(str(shards))
    expected = [s for path in sorted(shards.iterdir()) for s in read_samples(str(path), ReadAccount())]
    assert samples_of(index) == expected
    assert [index.key(row) for row in range(len(index))] == [s["__key__"] for s in expected]
    assert [s.sha256 for s in index.shards] == [file_sha256(p) for p in sorted(shards.iterdir())]


def test_pairs_through_the_index_equal_pairs_read_in_order(tmp_path):
    shards = str(folder_of_shards(tmp_path / "shards"))
    ours, theirs = read_indexed_pairs(build_index(shards), 8), read_pairs(shards, 8)
    assert (ours.keys, ours.captions, ours.metadata) == (theirs.keys, theirs.captions, theirs.metadata)
    np.testing.assert_array_equal(ours.images, theirs.images)
    some = read_indexed_pairs(build_index(shards), 8, rows=np.array([6, 0, 6]))
    assert some.keys == [theirs.keys[i] for i in (6, 0, 6)]


def test_a_saved_index_comes_back_and_moves_with_its_shards(tmp_path):
    folder_of_shards(tmp_path / "a" / "shards")
    index = build_index(str(tmp_path / "a" / "shards"), tmp_path / "a" / "index")
    before = samples_of(index)
    shutil.move(tmp_path / "a", tmp_path / "b")
    loaded = load_index(tmp_path / "b" / "index")
    assert is_index(tmp_path / "b" / "index")
    assert not is_index(tmp_path)
    after = samples_of(loaded)
    assert [{**s, "__url__": ""} for s in after] == [{**s, "__url__": ""} for s in before]
    assert not loaded.samples.flags.writeable


def test_a_subset_keeps_only_its_rows_on_disk_and_its_note(tmp_path):
    index = build_index(str(folder_of_shards(tmp_path / "shards")), tmp_path / "index")
    chosen = index.subset(np.array([5, 2]), {"kept": "by hand"})
    loaded = load_index(chosen.save(tmp_path / "subset"))
    assert samples_of(loaded) == [samples_of(index)[i] for i in (5, 2)]
    assert loaded.note == {"kept": "by hand"}
    assert len(loaded.members) < len(index.members)
    assert not [p for p in (tmp_path / "subset").iterdir() if p.suffix == ".tar"]
    with pytest.raises(DataError, match=r"row 8 .* 8 samples"):
        index.subset(np.array([8]))
    with pytest.raises(DataError, match="filtered index"):
        build_index(str(tmp_path / "shards"), tmp_path / "subset")


def test_saving_again_leaves_no_old_arrays(tmp_path):
    index = build_index(str(folder_of_shards(tmp_path / "shards")))
    for rows in ([0, 1], [2], [0, 1]):
        index.subset(np.array(rows)).save(tmp_path / "index")
    assert len(list((tmp_path / "index").iterdir())) == 4
    assert len(load_index(tmp_path / "index")) == 2


def test_unchanged_shards_are_not_read_again(tmp_path):
    shards = folder_of_shards(tmp_path / "shards")
    first = build_index(str(shards), tmp_path / "index")
    # Same size and time, other bytes: only who reads it again would notice.
    path, status = shards / "00000.tar", os.stat(shards / "00000.tar")
    path.write_bytes(bytes(path.stat().st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    write_tar(shards / "00003.tar", good("new"))
    seen = []
    second = build_index(
        str(shards), tmp_path / "index", progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(4, 4)]
    assert [second.key(i) for i in range(len(second))] == [first.key(i) for i in range(len(first))] + ["new"]
    os.utime(path)
    assert (
        len(build_index(str(shards), tmp_path / "index")) == len(second) - 3
    )  # now it is read, and has nothing
    # A part of the shards, in another order.
    part = build_index([str(shards / "00002.tar"), str(shards / "00001.tar")], tmp_path / "index")
    assert [part.key(i) for i in range(len(part))] == ["2-0", "2-1", "2-2", "2-3", "1-0"]
    assert samples_of(part)[-1]["json"] == b'{"w": 8}'


# ---------------------------------------------------------------- damage


@pytest.mark.parametrize("kind", ["noise", "zeros"])
def test_one_corrupt_block_costs_one_sample_wherever_it_falls(tmp_path, kind):
    keys = "abcdef"
    path = write_tar(tmp_path / "0.tar", [m for key in keys for m in good(key)])
    whole = path.read_bytes()
    with tarfile.open(path) as tar:
        end = tar.getmembers()[-1].offset_data + 512
    clean = samples_of(build_index(str(path)))
    for offset in range(0, end, 512):
        block = bytes(512) if kind == "zeros" else np.random.default_rng(offset).bytes(512)
        path.write_bytes(whole[:offset] + block + whole[offset + 512 :])
        samples = samples_of(build_index(str(path)))
        intact = [sample for sample in samples if sample in clean]
        assert len(intact) >= len(keys) - 1, offset


def test_damage_after_indexing_is_noticed_and_costs_one_sample(tmp_path):
    shards = folder_of_shards(tmp_path / "shards", (6,))
    index = build_index(str(shards))
    _, offset, size, _ = index.locate(3).members[0]
    path = shards / "00000.tar"
    data = bytearray(path.read_bytes())
    data[offset + size // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(UnreadableSample, match="checksum"):
        SampleReader().sample(index.locate(3))
    pairs = read_indexed_pairs(index, 8)
    assert pairs.keys == [f"0-{i}" for i in (0, 1, 2, 4, 5)]
    assert pairs.account.skipped == {CHECKSUM: 1}
    assert index.changed_shards() == []
    assert index.changed_shards(contents=True) == [str(path)]


def test_a_missing_shard_is_an_error_that_names_it(tmp_path):
    index = build_index(str(folder_of_shards(tmp_path / "shards")))
    os.rename(tmp_path / "shards" / "00001.tar", tmp_path / "away.tar")
    with pytest.raises(DataError, match=r"00001.tar: cannot be opened"):
        read_indexed_pairs(index, 8)
    assert index.changed_shards() == [str(tmp_path / "shards" / "00001.tar")]


def test_what_the_build_skips_is_counted(tmp_path):
    members = [*good("a"), ("../up.png", image_file()), ("000017", b"x"), *good("b"), ("b.txt", b"again")]
    write_tar(tmp_path / "0.tar", members)
    write_tar(tmp_path / "1.tar", [])
    index = build_index(str(tmp_path))
    assert index.account.skipped == {
        "member path leads upwards (..)": 1,
        "member without key and suffix": 1,
        "member occurs twice": 1,
        "shard without a file": 1,
    }
    assert index.account.samples_read == 2
    assert load_index(index.save(tmp_path / "index")).account == index.account


def test_shards_that_cannot_be_indexed_are_errors(tmp_path):
    write_tar(tmp_path / "0.tar.gz", good("a"), "w:gz")
    with pytest.raises(DataError, match=r"0.tar.gz: compressed shards .*gunzip"):
        build_index(str(tmp_path))
    empty = write_tar(tmp_path / "1.tar", [])
    with pytest.raises(DataError, match=r"no sample in .*1.tar.*shard without a file"):
        build_index(str(empty))
    with pytest.raises(DataError, match="named twice"):
        build_index([str(empty), str(empty)])


def test_a_damaged_index_is_an_error_that_names_it(tmp_path):
    with pytest.raises(DataError, match="holds no shard index"):
        load_index(tmp_path)
    folder = build_index(str(folder_of_shards(tmp_path / "shards"))).save(tmp_path / "index")
    header = json.loads((folder / "index.json").read_text())
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    spoiled = {
        "index.json": [b"", b"[]", b"\xff", json.dumps(header | {"format": 2}).encode()],
        header["arrays"]["samples"]: [
            b"",
            whole[header["arrays"]["keys"]],
            whole[header["arrays"]["samples"]][:-9],
        ],
    }
    for evil in ("../keys.npy", 3, None):
        spoiled["index.json"].append(
            json.dumps(header | {"arrays": header["arrays"] | {"keys": evil}}).encode()
        )
    for name, versions in spoiled.items():
        for data in versions:
            (folder / name).write_bytes(data)
            with pytest.raises(DataError, match="index: not a readable shard index"):
                load_index(folder)
        (folder / name).write_bytes(whole[name])
    load_index(folder).check()


@pytest.mark.parametrize("size", [1 << 62, 1 << 40, 1 << 24])
def test_sizes_that_an_index_makes_up_set_no_memory_aside(tmp_path, size):
    """The index says how large the shard and its members are; the file on disk says how much there is to read."""
    index = build_index(str(folder_of_shards(tmp_path / "shards", (2,))))
    members = np.array(index.members)
    members["size"][0] = size - 10_000
    shards = tuple(replace(shard, size=size) for shard in index.shards)
    replace(index, members=members, shards=shards).save(tmp_path / "index")
    spoiled = load_index(tmp_path / "index")
    with pytest.raises((UnreadableSample, DataError), match=r"checksum|damaged"):
        SampleReader(check=False).sample(spoiled.locate(0))
    assert SampleReader().sample(spoiled.locate(1))["__key__"] == "0-1"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_place_of_a_shard_is_not_waited_for(tmp_path):
    index = build_index(str(folder_of_shards(tmp_path / "shards", (2,))))
    shard = tmp_path / "shards" / "00000.tar"
    shard.unlink()
    os.mkfifo(shard)
    with pytest.raises(UnreadableSample, match="checksum"):
        SampleReader().sample(index.locate(0))


@given(data=st.data())
def test_rows_that_contradict_the_index_are_errors(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("index")
    index = build_index(str(folder_of_shards(folder / "shards", (2,))))
    samples = np.array(index.samples)
    field = data.draw(st.sampled_from(SAMPLE.names or ()))
    value = data.draw(st.integers(-(2**31), 2**31 - 1))
    samples[field][1] = value
    broken = type(index)(index.shards, index.suffixes, samples, index.members, index.keys)
    for attempt in (lambda: broken.locate(1), broken.check, lambda: broken.save(folder / "out")):
        with contextlib.suppress(DataError):  # no other error
            attempt()


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), max_size=8))
def test_ranges_are_the_naive_ones(pairs):
    starts, lengths = (np.array([p[i] for p in pairs], np.int64) for i in (0, 1))
    assert ranges(starts, lengths).tolist() == [
        k for start, length in pairs for k in range(start, start + length)
    ]

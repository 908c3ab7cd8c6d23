"""Build the index of webdataset shards: `build_index(shards, folder)` reads each shard once and carries on after a kill."""

import os
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from webdataset.tariterators import base_plus_ext, group_by_keys

from empirical.arrays import ReadAccount
from empirical.errors import DataError
from empirical.shard_index import MEMBER, SAMPLE, Shard, ShardIndex, file_sha256, is_index, load_index, ranges
from empirical.shards import expand_shards
from empirical.tar_members import read_members

_SAVE_EVERY = 60.0  # seconds; a killed build loses at most what it has read since
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")
_GROUPING_WORDS = ("__key__", "__url__")


class _Part(NamedTuple):
    """One shard's rows: samples count their keys and members from 0, members name their suffixes by their own list."""

    shard: Shard
    suffixes: list[str]
    samples: np.ndarray
    members: np.ndarray
    keys: np.ndarray


def _index_shard(path: str) -> _Part:
    status = os.stat(path)
    account, suffixes = ReadAccount(), {}
    try:
        digest = file_sha256(path)  # also brings the file into the page cache for the walk
    except OSError as error:  # a bad sector: the walk finds out what it costs
        digest = f"unreadable: {error.strerror}"
    samples, members, keys = [], [], bytearray()

    def entries(file: Any) -> Iterator[dict[str, Any]]:
        for member in read_members(path, file, account):
            if base_plus_ext(member.name)[0] is None:
                account.skip("member without key and suffix", f"{path}: {member.name}")
                continue
            place = member.offset, len(member.data), zlib.crc32(member.data)
            yield {"fname": member.name, "data": place, "__url__": path}

    def duplicate(error: Exception) -> bool:
        account.skip("member occurs twice", f"{path}: {error.args[0]}")
        return True

    with open(path, "rb") as file:
        if file.read(6).startswith(_COMPRESSED):
            raise DataError(
                f"{path}: compressed shards have no random access; unpack it (gunzip) and index the .tar"
            )
        for sample in group_by_keys(entries(file), handler=duplicate):
            key = sample["__key__"].encode()
            places = {name: place for name, place in sample.items() if name not in _GROUPING_WORDS}
            samples.append((0, len(keys), len(key), len(members), len(places)))
            keys += key
            for suffix, (offset, size, crc) in places.items():
                members.append((suffixes.setdefault(suffix, len(suffixes)), offset, size, crc))
    shard = Shard(path, digest, status.st_size, status.st_mtime_ns, account.skipped, account.examples)
    return _Part(
        shard,
        list(suffixes),
        np.array(samples, SAMPLE),
        np.array(members, MEMBER),
        np.frombuffer(bytes(keys), np.uint8),
    )


def _parts_of(index: ShardIndex) -> dict[str, _Part]:
    """An index taken apart again, by path of the shard."""
    index.check()
    if (np.diff(index.samples["shard"]) < 0).any():
        raise DataError("the shard index is not in the order of its shards; delete it and build it again")
    parts, at = {}, 0
    counts = np.bincount(index.samples["shard"], minlength=len(index.shards)).tolist()
    for shard, count in zip(index.shards, counts, strict=True):
        samples = np.array(index.samples[at : at + count])
        members = np.array(index.members[ranges(samples["first"], samples["members"])])
        keys = np.array(index.keys[ranges(samples["key"], samples["key_bytes"])])
        for start, length in (("first", "members"), ("key", "key_bytes")):
            samples[start] = np.cumsum(samples[length], dtype=np.int64) - samples[length]
        parts[shard.path] = _Part(shard, list(index.suffixes), samples, members, keys)
        at += count
    return parts


def _joined(parts: Sequence[_Part]) -> ShardIndex:
    suffixes: dict[str, int] = {}
    samples, members, first, key = [], [], 0, 0
    for number, part in enumerate(parts):
        moved, renamed = np.array(part.samples), np.array(part.members)
        moved["shard"] = number
        moved["first"] += first
        moved["key"] += key
        names = np.array([suffixes.setdefault(name, len(suffixes)) for name in part.suffixes], np.int32)
        if len(renamed):
            renamed["suffix"] = names[renamed["suffix"]]
        first, key = first + len(renamed), key + len(part.keys)
        samples.append(moved)
        members.append(renamed)
    return ShardIndex(
        tuple(part.shard for part in parts),
        tuple(suffixes),
        np.concatenate([np.empty(0, SAMPLE), *samples]),
        np.concatenate([np.empty(0, MEMBER), *members]),
        np.concatenate([np.empty(0, np.uint8), *(part.keys for part in parts)]),
    )


def build_index(
    shards: str | Sequence[str],
    folder: str | Path | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ShardIndex:
    """Index all samples of plain .tar shards, in the order of the shards and of the members in each.

    Args:
        shards: a pattern for `expand_shards` or a list of them.
        folder: where the index is saved, about every minute while it is built. An index that is already there is
            used for each of these shards that has kept its size and its time; so a killed build goes on, and added
            shards cost only their own reading. Give None to save nothing.
        workers: threads that read shards (hashing runs beside Python); default: the CPU's cores, at most 8.
        progress: called with the number of shards done and of all.

    Refused members, damaged blocks and incomplete shards are counted per shard: see `ShardIndex.account`.

    Raises: DataError when a shard is missing, empty or compressed, or when no sample is found at all.
    """
    patterns = [shards] if isinstance(shards, str) else list(shards)
    paths = [os.path.normpath(path) for pattern in patterns for path in expand_shards(pattern)]
    twice = {path for path in paths if paths.count(path) > 1} if len(set(paths)) < len(paths) else ()
    if twice:
        raise DataError(f"{min(twice)}: the shard is named twice")
    known: dict[str, _Part] = {}
    if folder is not None and is_index(folder):
        old = load_index(folder)
        if old.note:
            raise DataError(
                f"{folder}: holds a filtered index ({old.note}); choose another folder for the whole one"
            )
        known = {os.path.abspath(path): part for path, part in _parts_of(old).items()}

    done: dict[str, _Part] = {}
    for path in paths:
        part = known.get(os.path.abspath(path))
        status = os.stat(path)
        if part is not None and (part.shard.size, part.shard.mtime_ns) == (
            status.st_size,
            status.st_mtime_ns,
        ):
            done[path] = part._replace(shard=replace(part.shard, path=path))
    saved = time.monotonic()
    missing = [path for path in paths if path not in done]
    with ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1)) as pool:
        for path, part in zip(missing, pool.map(_index_shard, missing), strict=True):
            done[path] = part
            if progress is not None:
                progress(len(done), len(paths))
            if folder is not None and time.monotonic() - saved > _SAVE_EVERY:
                _joined([done[p] for p in paths if p in done]).save(folder)
                saved = time.monotonic()
    index = _joined([done[path] for path in paths])
    if not len(index):
        raise DataError(f"no sample in {paths[0]} ... ({len(paths)} shards): {index.account.summary()}")
    if folder is not None:
        index.save(folder)
    return index

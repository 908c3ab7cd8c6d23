"""An index of webdataset shards: where every member of every sample lies, so that any sample is one read away.

`empirical.index_building.build_index` makes one; `index.save(folder)` and `load_index(folder)` keep it as a small JSON
file and plain .npy arrays that are memory-mapped, so that an index of many millions of samples costs a process next to
nothing. `index.subset(rows)` is a filtered data set that copies no image. Shards themselves are never changed.
"""

import dataclasses
import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer

from empirical.arrays import ReadAccount
from empirical.errors import DataError
from empirical.records import write_atomically, write_json
from empirical.tar_members import LARGEST_MEMBER

FORMAT = 1
HEADER = "index.json"
SAMPLE = np.dtype(
    [("shard", "<i4"), ("key", "<i8"), ("key_bytes", "<i4"), ("first", "<i8"), ("members", "<i4")]
)
MEMBER = np.dtype([("suffix", "<i4"), ("offset", "<i8"), ("size", "<i8"), ("crc32", "<u4")])
_ARRAYS = {"samples": SAMPLE, "members": MEMBER, "keys": np.dtype("u1")}


@dataclass(frozen=True)
class Shard:
    """One indexed .tar file as it was when it was read, with what was skipped in it, by reason."""

    path: str
    sha256: str
    size: int
    mtime_ns: int
    skipped: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Location:
    """Where one sample lies: its shard, and its members as (suffix, offset, size in bytes, CRC-32)."""

    path: str
    key: str
    members: tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class ShardIndex:
    """Samples of a list of shards, in order; `len(index)` of them, addressed by row.

    samples (n,) of dtype SAMPLE, members (m,) of dtype MEMBER, keys uint8: the keys' UTF-8 bytes.
    `note` says how a filtered index was made (empty for all samples of its shards).
    """

    shards: tuple[Shard, ...]
    suffixes: tuple[str, ...]
    samples: np.ndarray
    members: np.ndarray
    keys: np.ndarray
    note: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.samples)

    def key(self, row: int) -> str:
        """The sample's key, as in the names of its members."""
        start, length = (int(self.samples[row][name]) for name in ("key", "key_bytes"))
        if not 0 <= length <= len(self.keys) - start <= len(self.keys):
            raise _damaged(row)
        return bytes(self.keys[start : start + length]).decode("utf-8", "replace")

    def locate(self, row: int) -> Location:
        """Where the sample in this row lies. Raises: DataError when the index contradicts itself."""
        shard, _, _, first, count = self.samples[row].item()
        if not (0 <= shard < len(self.shards) and first >= 0 and 0 < count <= len(self.members) - first):
            raise _damaged(row)
        found, size = [], self.shards[shard].size
        for suffix, offset, length, crc in self.members[first : first + count].tolist():
            largest = min(size - offset, LARGEST_MEMBER)
            if not (0 <= suffix < len(self.suffixes) and offset >= 0 and 0 <= length <= largest):
                raise _damaged(row)
            found.append((self.suffixes[suffix], offset, length, crc))
        return Location(self.shards[shard].path, self.key(row), tuple(found))

    def subset(self, rows: Integer[np.ndarray, " n"], note: dict[str, Any] | None = None) -> "ShardIndex":
        """The index of these samples only, in this order; `note` is kept with it (what it was filtered by).

        Raises: DataError for a row that the index does not have.
        """
        outside = np.flatnonzero((rows < 0) | (rows >= len(self)))
        if len(outside):
            raise DataError(f"row {int(rows[outside[0]])} was asked of an index with {len(self)} samples")
        return dataclasses.replace(self, samples=np.asarray(self.samples[rows]), note=note or {})

    @property
    def account(self) -> ReadAccount:
        """Shards and samples read, and what was skipped while the index was built, by reason."""
        account = ReadAccount(shards=len(self.shards), samples_read=len(self))
        for shard in self.shards:
            for reason, count in shard.skipped.items():
                where = [e[len(reason) + 2 :] for e in shard.examples if e.startswith(reason + ": ")]
                account.skip(reason, where[0] if where else shard.path, count)
        return account

    def changed_shards(self, contents: bool = False) -> list[str]:
        """Paths of shards that are missing or no longer of the indexed size; with `contents`, of the indexed sha256."""
        return [
            shard.path
            for shard in self.shards
            if not os.path.isfile(shard.path)
            or os.path.getsize(shard.path) != shard.size
            or (contents and file_sha256(shard.path) != shard.sha256)
        ]

    def check(self) -> None:
        """Look at every row at once. Raises: DataError when the index contradicts itself."""
        samples, members = self.samples, self.members
        wrong = (samples["shard"] < 0) | (samples["shard"] >= len(self.shards))
        for start, length, total in (
            ("key", "key_bytes", len(self.keys)),
            ("first", "members", len(members)),
        ):
            wrong |= (samples[start] < 0) | (samples[length] < 1) | (samples[start] > total - samples[length])
        if wrong.any():
            raise _damaged(int(np.argmax(wrong)))
        if ((members["suffix"] < 0) | (members["suffix"] >= len(self.suffixes))).any():
            raise DataError("the shard index names a suffix that it does not list; build it again")

    def compacted(self) -> "ShardIndex":
        """The same samples without the members and keys that belong to none of them."""
        self.check()
        if int(self.samples["members"].sum()) == len(self.members):
            return self
        members = self.members[ranges(self.samples["first"], self.samples["members"])]
        keys = self.keys[ranges(self.samples["key"], self.samples["key_bytes"])]
        samples = np.array(self.samples)
        for start, length in (("first", "members"), ("key", "key_bytes")):
            samples[start] = np.cumsum(samples[length], dtype=np.int64) - samples[length]
        return dataclasses.replace(self, samples=samples, members=members, keys=keys)

    def save(self, folder: str | Path) -> Path:
        """Write the index into a folder, atomically: a reader sees the old index or the whole new one.

        Shard paths are kept relative to the folder, so that both can be moved together. Returns the folder.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        index, files = self.compacted(), {}
        for name, dtype in _ARRAYS.items():
            array = np.ascontiguousarray(getattr(index, name), dtype)
            files[name] = f"{name}-{hashlib.sha256(array.view(np.uint8).data).hexdigest()[:16]}.npy"
            if not (folder / files[name]).exists():
                write_atomically(folder / files[name], lambda path, array=array: _save_array(path, array))
        shards = [
            dataclasses.asdict(shard) | {"path": _relative(shard.path, folder)} for shard in index.shards
        ]
        header = {"format": FORMAT, "kind": "shard index", "arrays": files, "suffixes": list(index.suffixes)}
        write_json(folder / HEADER, header | {"note": index.note, "shards": shards})
        for old in folder.glob("*-*.npy"):
            if old.name not in files.values() and re.fullmatch(r"[a-z]+-[0-9a-f]{16}\.npy", old.name):
                old.unlink(missing_ok=True)
        return folder


def load_index(folder: str | Path) -> ShardIndex:
    """The index that `ShardIndex.save` wrote into a folder, memory-mapped.

    Raises: DataError when there is none, or when it is damaged.
    """
    folder = Path(folder)
    if not (folder / HEADER).is_file():
        raise DataError(f"{folder}: holds no shard index ({HEADER}); build one from the shards first")
    try:
        header = json.loads((folder / HEADER).read_text(encoding="utf-8"))
        if header["format"] != FORMAT or header["kind"] != "shard index":
            raise ValueError(f"not an index of format {FORMAT}")
        arrays = {name: _load_array(folder, header["arrays"][name], dtype) for name, dtype in _ARRAYS.items()}
        shards = tuple(
            dataclasses.replace(_checked_shard(shard), path=os.path.normpath(folder / shard["path"]))
            for shard in header["shards"]
        )
        suffixes, note = header["suffixes"], header["note"]
        if not (
            isinstance(suffixes, list)
            and all(isinstance(s, str) for s in suffixes)
            and isinstance(note, dict)
        ):
            raise ValueError("suffixes or note are of the wrong kind")
        return ShardIndex(shards, tuple(suffixes), **arrays, note=note)
    except Exception as error:  # numpy's reader raises SyntaxError, TokenError, ... on damaged headers
        raise DataError(
            f"{folder}: not a readable shard index ({error}); delete it and build it again"
        ) from error


def is_index(path: str | Path) -> bool:
    """Whether a path is a folder that holds a shard index."""
    return (Path(path) / HEADER).is_file()


def file_sha256(path: str | Path) -> str:
    """Hex digest of a file's contents."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def ranges(starts: Integer[np.ndarray, " n"], lengths: Integer[np.ndarray, " n"]) -> np.ndarray:
    """starts[0], starts[0]+1, ... lengths[0] numbers, then the same of the next, int64 (sum of lengths,)."""
    ends = np.cumsum(lengths, dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(starts.astype(np.int64) - (ends - lengths), lengths)


def _damaged(row: int) -> DataError:
    return DataError(f"row {row} of the shard index is damaged; delete the index and build it again")


def _relative(path: str, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive
        return os.path.abspath(path)


def _save_array(path: Path, array: np.ndarray) -> None:
    with open(path, "wb") as file:
        np.save(file, array, allow_pickle=False)


def _load_array(folder: Path, name: Any, dtype: np.dtype) -> np.ndarray:
    if not isinstance(name, str) or Path(name).name != name:
        raise ValueError("an array file is not named by a bare file name")
    array = np.load(folder / name, mmap_mode="r", allow_pickle=False)
    if array.dtype != dtype or array.ndim != 1:
        raise ValueError(f"{name} is {array.dtype} {array.shape}")
    return np.asarray(array)  # memmap as a class of its own is slow to index


def _checked_shard(fields: Any) -> Shard:
    shard = Shard(**fields)
    numbers = [shard.size, shard.mtime_ns, *shard.skipped.values()]
    texts = [shard.path, shard.sha256, *shard.skipped, *shard.examples]
    if not (
        all(type(n) is int for n in numbers)
        and all(isinstance(t, str) for t in texts)
        and "\0" not in shard.path
    ):
        raise ValueError("a shard's entry is of the wrong kind")
    return shard

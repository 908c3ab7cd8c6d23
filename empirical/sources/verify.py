"""Checks of downloaded shards. Use `check_shard` for one shard, `drop_placeholders` to take known images out of it.

A shard is three files of img2dataset's: 00000.tar with the pairs, 00000.parquet with a row for every row that was asked for
and what became of it, and 00000_stats.json, written last. Whole means: all three can be read, they agree with each other
and with the rows that were asked for, and every image in the tar opens and has the size that the table says.
"""

import io
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from empirical.arrays import ReadAccount
from empirical.errors import DataError, StudyError
from empirical.records import read_json, write_atomically
from empirical.sources.reasons import PLACEHOLDER

TABLE_COLUMNS = ("key", "status", "error_message", "sha256", "caption", "width", "height", "row", "url")


class DamagedShard(DataError):
    """A shard is not whole; it has to be downloaded again."""


@dataclass(frozen=True)
class ShardFiles:
    """The files of shard `number` in `folder`."""

    folder: Path
    number: int
    digits: int = 5

    @property
    def name(self) -> str:
        """The shard's name, 00000 and so on."""
        return f"{self.number:0{self.digits}d}"

    @property
    def tar(self) -> Path:
        """The pairs."""
        return self.folder / f"{self.name}.tar"

    @property
    def table(self) -> Path:
        """A row for every row asked for."""
        return self.folder / f"{self.name}.parquet"

    @property
    def stats(self) -> Path:
        """img2dataset's own counts, written last."""
        return self.folder / f"{self.name}_stats.json"

    def remove(self) -> bool:
        """Remove what there is of it; whether there was anything."""
        there = [path for path in (self.stats, self.table, self.tar) if path.exists()]
        for path in there:
            path.unlink()
        return bool(there)


@dataclass(frozen=True)
class ShardCheck:
    """A whole shard: pairs in it, and rows that were asked for but are missing from its table."""

    fetched: int
    lost: int


def read_outcomes(path: Path, columns: Sequence[str] = TABLE_COLUMNS) -> Any:
    """The table of a shard as a pandas frame with these columns; raises DamagedShard when it cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path, columns=list(columns)).to_pandas()
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise DamagedShard(f"{path}: the table of the shard cannot be read ({error})") from error


def check_shard(files: ShardFiles, rows: Sequence[int], *, allow_lost: bool = False) -> ShardCheck:
    """Check a shard that img2dataset has finished; `rows` are the numbers of the rows it was asked for.

    A shard of which nothing could be fetched keeps its table and loses its empty tar, which readers would stumble over.
    `allow_lost`: accept a table that lacks some of the rows. Raises: DamagedShard with the reason.
    """
    try:
        stats = read_json(files.stats)
        counted = {name: int(stats[name]) for name in ("count", "successes")}
    except (OSError, StudyError, KeyError, TypeError, ValueError) as error:
        raise DamagedShard(f"{files.stats}: the shard was not finished ({error})") from error
    table = read_outcomes(files.table)
    found = set(table["row"])
    lost = set(rows) - found
    if found - set(rows) or len(table) != len(found) or counted["count"] != len(rows):
        raise DamagedShard(f"{files.table}: these are not the rows that were asked for")
    if lost and not allow_lost:
        raise DamagedShard(f"{files.table}: {len(lost)} of {len(rows)} rows are missing")
    good = table[table["status"] == "success"]
    if not len(good) and (not files.tar.exists() or not _keys_in(files.tar, {})):
        files.tar.unlink(missing_ok=True)
        return ShardCheck(0, len(lost))
    expected = {
        key: (caption, (int(width), int(height)))
        for key, caption, width, height in zip(
            good["key"], good["caption"], good["width"], good["height"], strict=True
        )
    }
    keys = _keys_in(files.tar, expected)
    if keys != set(expected):
        raise DamagedShard(f"{files.tar}: {len(keys)} pairs, the table says {len(expected)}")
    return ShardCheck(len(keys), len(lost))


def _keys_in(path: Path, expected: dict[str, tuple[str, tuple[int, int]]]) -> set[str]:
    """Keys of the pairs in a tar, each checked against its caption and size; raises DamagedShard."""
    from empirical.shards import UnreadableSample, decode_text, read_samples

    account, keys = ReadAccount(), set()
    try:
        for sample in read_samples(str(path), account):
            key = sample["__key__"]
            caption, size = expected.get(key, ("", (0, 0)))
            if key in keys or "jpg" not in sample or "txt" not in sample:
                raise DamagedShard(f"{path}: {key} is not one pair of .jpg and .txt")
            with Image.open(io.BytesIO(sample["jpg"]), formats=("JPEG",)) as image:
                if image.size != size:
                    raise DamagedShard(f"{path}: {key}.jpg has {image.size} pixels, the table says {size}")
            if decode_text(sample["txt"], "caption") != caption:
                raise DamagedShard(f"{path}: {key}.txt is not the caption of the table")
            keys.add(key)
    except (OSError, UnreadableSample) as error:
        raise DamagedShard(f"{path}: {error}") from error
    account.skipped.pop("shard without a file", None)
    if account.skipped:
        raise DamagedShard(f"{path}: {account.examples[0]}")
    return keys


def drop_placeholders(files: ShardFiles, sha256s: Collection[str]) -> int:
    """Take every image with one of these sha256 sums out of a whole shard; returns how many there were.

    Its table keeps the row, with status "dropped" and the reason. Killed halfway, the shard no longer agrees with its table
    and is downloaded again.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    from webdataset.writer import TarWriter

    from empirical.shards import read_samples

    if not sha256s or not files.tar.exists():
        return 0
    outcomes = read_outcomes(files.table)
    hit = (outcomes["status"] == "success") & outcomes["sha256"].isin(sorted(sha256s))
    if not hit.any():
        return 0
    table = pq.read_table(files.table)
    for name, value in (("status", "dropped"), ("error_message", PLACEHOLDER)):
        column = [value if drop else old for drop, old in zip(hit, table[name].to_pylist(), strict=True)]
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(at), pa.array(column, table.schema.field(at).type))
    dropped = set(outcomes.loc[hit, "key"])

    def write(path: Path) -> None:
        with path.open("wb") as file, TarWriter(file, encoder=False) as writer:
            for sample in read_samples(str(files.tar), ReadAccount()):
                if sample["__key__"] not in dropped:
                    writer.write({k: v for k, v in sample.items() if k != "__url__"})

    write_atomically(files.table, lambda path: pq.write_table(table, path))
    if len(dropped) == int((outcomes["status"] == "success").sum()):
        os.unlink(files.tar)
    else:
        write_atomically(files.tar, write)
    return int(hit.sum())

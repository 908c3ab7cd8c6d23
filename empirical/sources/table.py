"""The clean table of a source: every row that is to be downloaded, in parquet files in the order of the download.

Use `write_table`. Columns: url, caption, row (number among the rows that passed every filter, from 0), file and file_row
(where the row stands in the metadata), and the source's own extra columns.

Row i has the priority U_i, a uniform 64-bit number drawn from the seed. A subset of N is the N rows of lowest priority, so
subsets of one seed are nested and each is a uniform sample; a shuffle is the order of the priorities, over all files at
once. Memory holds a part of the table at a time, whatever its length.
"""

import shutil
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from empirical.arrays import ReadAccount
from empirical.errors import DataError
from empirical.sources.cleaning import CaptionRules, UnusableRow, clean_url
from empirical.sources.metadata import ReadOptions
from empirical.sources.specs import SourceSpec

ROWS_PER_PART = 500_000
_MOST_PARTS = 200  # as many files are open at once
_BATCH = 20_000


@dataclass
class TableAccount:
    """What became of the metadata's rows: read = dropped (by reason, in `reading`) + clean; asked is clean or the subset.

    `repeated_urls` counts clean rows whose URL stands in an earlier clean row; they stay.
    """

    files: list[str] = field(default_factory=list)
    rows_read: int = 0
    reading: ReadAccount = field(default_factory=ReadAccount)
    clean: int = 0
    asked: int = 0
    repeated_urls: int = 0


def clean_rows(
    source: SourceSpec,
    files: Sequence[Path],
    options: ReadOptions,
    rules: CaptionRules,
    account: TableAccount,
    progress: Callable[[int], None] = lambda rows: None,
) -> Iterator[tuple[Any, ...]]:
    """(url, caption, file, file_row, *extra) of every usable row; what is not usable is counted by reason."""
    for path in files:
        account.files.append(path.name)
        for raw in source.read(path, options, account.reading):
            try:
                url, caption = clean_url(raw.url), rules.clean(raw.caption)
            except UnusableRow as reason:
                account.reading.skip(str(reason), f"{path}: row {raw.number}")
                continue
            account.clean += 1
            if account.clean % _BATCH == 0:
                progress(account.clean)
            yield (url, caption, path.name, raw.number, *raw.extra)
    account.rows_read = account.clean + sum(account.reading.skipped.values())
    if not account.clean:
        raise DataError(
            f"{files[0]}{f' and {len(files) - 1} more' if len(files) > 1 else ''}: no usable row for {source.name}, whose "
            f"metadata is {source.layout}: {account.reading.summary()}"
        )


def write_table(
    source: SourceSpec,
    files: Sequence[Path],
    folder: Path,
    *,
    options: ReadOptions | None = None,
    rules: CaptionRules | None = None,
    shuffle: bool | None = None,
    subset: int | None = None,
    seed: int = 0,
    samples_per_shard: int = 1000,
    rows_per_part: int = ROWS_PER_PART,
    progress: Callable[[int], None] = lambda rows: None,
) -> tuple[list[Path], TableAccount]:
    """Write the clean table of `files` as `folder`/00000.parquet, ...; returns the parts in order and the account.

    Args: shuffle, None for the source's default; subset, how many rows to ask for (all where there are fewer); rows_per_part
    is rounded up to whole shards. `folder` must not hold an earlier table.
    Raises: DataError when the metadata cannot be read or no row is usable.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    options, rules = options or ReadOptions(), rules or CaptionRules()
    if subset is not None and subset < 1:
        raise DataError(f"--subset {subset}: ask for at least one row")
    schema = pa.schema(
        [("url", pa.string()), ("caption", pa.string()), ("row", pa.int64()), ("file", pa.string()), ("file_row", pa.int64())]
        + [(name, getattr(pa, kind)()) for name, kind in source.extra]
    )  # fmt: skip
    account = TableAccount()
    spool = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(spool, ignore_errors=True)
    spool.mkdir(parents=True)
    digests = array("q")
    try:
        with pq.ParquetWriter(spool / "all.parquet", schema) as writer:
            batch: list[tuple[Any, ...]] = []
            rows = clean_rows(source, files, options, rules, account, progress)
            for i, (url, caption, *rest) in enumerate(rows):
                digests.append(hash(url))
                batch.append((url, caption, i, *rest))
                if len(batch) == _BATCH:
                    writer.write_table(_as_table(batch, schema))
                    batch = []
            if batch:
                writer.write_table(_as_table(batch, schema))
        account.repeated_urls = len(digests) - len(np.unique(np.frombuffer(digests, np.int64)))
        places = places_of_rows(account.clean, subset, source.shuffle if shuffle is None else shuffle, seed)
        account.asked = int((places >= 0).sum())
        per_part = max(rows_per_part, -(-account.asked // _MOST_PARTS))
        per_part = -(-per_part // samples_per_shard) * samples_per_shard
        parts = _deal(spool, schema, places, per_part, -(-account.asked // per_part))
        (spool / "all.parquet").unlink()
        spool.rename(folder)
    finally:
        shutil.rmtree(spool, ignore_errors=True)
    return [folder / name for name in parts], account


def places_of_rows(count: int, subset: int | None, shuffle: bool, seed: int) -> np.ndarray:
    """Where each of `count` rows stands in the download, int64 (count,), -1 where it is not asked for.

    The subset holds the rows of lowest priority; shuffled rows stand in the order of their priorities.
    """
    priorities = np.random.Generator(np.random.Philox(seed)).integers(0, 2**64, count, np.uint64)
    order = np.argsort(priorities, kind="stable")[: count if subset is None else subset]
    if not shuffle:
        order.sort()
    places = np.full(count, -1, np.int64)
    places[order] = np.arange(len(order))
    return places


def _as_table(rows: list[tuple[Any, ...]], schema: Any) -> Any:
    import pyarrow as pa

    columns = zip(*rows, strict=True)
    return pa.table([pa.array(list(c), f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)


def _deal(spool: Path, schema: Any, places: np.ndarray, per_part: int, num_parts: int) -> list[str]:
    """Deal the rows of all.parquet to the parts they belong to, then sort each part by place."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    placed = schema.append(pa.field("place", pa.int64()))
    names = [f"{part:05d}.parquet" for part in range(num_parts)]
    writers = [pq.ParquetWriter(spool / f"{name}.unsorted", placed) for name in names]
    try:
        with pq.ParquetFile(spool / "all.parquet") as file:
            start = 0
            for batch in file.iter_batches(_BATCH * 10):
                there = places[start : start + batch.num_rows]
                start += batch.num_rows
                table = pa.Table.from_batches([batch]).append_column("place", pa.array(there))
                for part in np.unique(there[there >= 0] // per_part):
                    writers[part].write_table(
                        table.filter(pa.array((there >= 0) & (there // per_part == part)))
                    )
    finally:
        for writer in writers:
            writer.close()
    for name in names:
        table = pq.read_table(spool / f"{name}.unsorted").sort_by("place").drop_columns(["place"])
        pq.write_table(table, spool / name)
        (spool / f"{name}.unsorted").unlink()
    return names

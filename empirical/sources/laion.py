"""LAION: folders of parquet with `URL`, `TEXT`, `NSFW` and `similarity`. Use `read_laion`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from empirical.arrays import ReadAccount
from empirical.errors import DataError
from empirical.sources.metadata import RawRow, ReadOptions

EXTRA_COLUMNS = ("NSFW", "similarity")
_BATCH = 10_000


def read_laion(path: Path, options: ReadOptions, account: ReadAccount) -> Iterator[RawRow]:
    """Rows whose `NSFW` is one of `options.nsfw` (the paper: UNLIKELY alone; an empty tuple keeps all).

    Columns are found by name, whatever their case where that is unambiguous. NSFW and similarity are kept (None where the
    file lacks them). Raises: DataError for a file that is no parquet, is damaged, or lacks a column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = 0
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            url = _find(names, options.url_column or "URL", path, "--url-column")
            caption = _find(names, options.caption_column or "TEXT", path, "--caption-column")
            assert url is not None
            assert caption is not None
            nsfw, similarity = (_find(names, name, path, None) for name in EXTRA_COLUMNS)
            if options.nsfw and nsfw is None:
                raise DataError(
                    f"{path}: no column NSFW to keep {', '.join(options.nsfw)} by; the columns are {', '.join(names)}. "
                    "Give --nsfw without a value to keep every row"
                )
            wanted = [name for name in (url, caption, nsfw, similarity) if name is not None]
            for batch in file.iter_batches(_BATCH, columns=wanted):
                at = {name: _values(batch.column(name)) for name in wanted}
                for i in range(batch.num_rows):
                    row += 1
                    rating = at[nsfw][i] if nsfw is not None else None
                    if options.nsfw and rating not in options.nsfw:
                        account.skip("NSFW rating not kept", f"{path}: row {row}")
                        continue
                    score = at[similarity][i] if similarity is not None else None
                    extra = (rating if isinstance(rating, str) else None, _number(score))
                    yield RawRow(row, at[url][i], at[caption][i], extra)
    except DataError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, NotImplementedError) as error:
        raise DataError(
            f"{path}: cannot be read as parquet beyond row {row} ({error}); fetch the file again"
        ) from error


def _find(names: list[str], name: str, path: Path, flag: str | None) -> str | None:
    """The file's own spelling of a column; None, or DataError where a flag could name another one."""
    same = [n for n in names if n == name] or [n for n in names if n.lower() == name.lower()]
    if len(same) == 1:
        return same[0]
    if flag is None:
        return None
    problem = f"{len(same)} columns {name!r}" if same else f"no column {name!r}"
    raise DataError(f"{path}: {problem}; the columns are {', '.join(names)}. Name it with {flag}")


def _values(column: Any) -> list[object]:
    """A column's values; bytes that are no UTF-8 where text was promised become None for their row alone."""
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        return [_value(column, i) for i in range(len(column))]


def _value(column: Any, i: int) -> object:
    try:
        return column[i].as_py()
    except UnicodeDecodeError:
        return None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and value == value and abs(value) < 1e30 else None

"""Headerless TSV: YFCC (the 15M subset of the CLIP paper), CC12M and Shutterstock. Use `read_headerless_tsv`.

URL in column 0, caption in column 1. Quotation marks are letters like any other: readers that take them for CSV quoting
merge rows (a caption that starts with a quotation mark swallows everything up to the next one).
"""

from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

from empirical.arrays import ReadAccount
from empirical.errors import DataError
from empirical.sources.metadata import RawRow, ReadOptions, as_text, read_lines

_LOOKED_AT = 1000  # rows from which the number of columns is read


def column_number(name: str | None, default: int, flag: str) -> int:
    """A column given by its number from 0; raises DataError for anything else."""
    if name is None:
        return default
    if not (name.isascii() and name.isdigit() and len(name) < 4):
        raise DataError(f"{flag} {name!r}: a headerless TSV's columns are numbered from 0")
    return int(name)


def read_headerless_tsv(path: Path, options: ReadOptions, account: ReadAccount) -> Iterator[RawRow]:
    """Rows of a headerless TSV file.

    The file has as many columns as most of its first 1000 rows. Where the caption is the last of them, further tabs are
    part of the caption; other rows with another number of columns are counted and left out.
    Raises: DataError when the file cannot be read or has too few columns.
    """
    url_column = column_number(options.url_column, 0, "--url-column")
    caption_column = column_number(options.caption_column, 1, "--caption-column")
    lines = read_lines(path, account)
    first = list(islice(lines, _LOOKED_AT))
    if not first:
        raise DataError(f"{path}: the file is empty")
    columns = Counter(line.count(b"\t") + 1 for _, line in first).most_common(1)[0][0]
    if max(url_column, caption_column) >= columns:
        raise DataError(
            f"{path}: rows have {columns} tab-separated columns, the URL is looked for in column {url_column} and the caption "
            f"in column {caption_column} (numbered from 0); name them with --url-column and --caption-column"
        )
    most_splits = columns - 1 if caption_column == columns - 1 else -1
    for number, line in chain(first, lines):
        where = f"{path}: row {number}"
        text = as_text(line, account, where)
        if text is None:
            continue
        fields = text.split("\t", most_splits)
        if len(fields) != columns:
            account.skip(f"row does not have {columns} columns", where)
            continue
        yield RawRow(number, fields[url_column], fields[caption_column])

"""WIT: TSV files with a header. Use `read_wit`.

WIT's own files quote a field where it holds a quotation mark or a line break, while cut-down copies often do not quote at
all. So quoting is undone only where that gives a whole row, and a line that is a row by itself is never swallowed by
another row's quotation mark: a stray mark costs nothing but itself.
"""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

from empirical.arrays import ReadAccount
from empirical.errors import DataError
from empirical.sources.metadata import RawRow, ReadOptions, as_text, read_lines

EXTRA_COLUMNS = ("page_title",)
_MOST_LINES = 200  # of one row


def read_wit(path: Path, options: ReadOptions, account: ReadAccount) -> Iterator[RawRow]:
    """Rows in `options.language` (the paper: en; an empty text keeps all), with their image_url and caption.

    The caption is `caption_reference_description` unless another column is named.
    Raises: DataError when the file cannot be read or its header lacks a column.
    """
    rows = _rows(path, account)
    header = next(rows, None)
    if header is None:
        raise DataError(f"{path}: the file is empty")
    names = header[1]
    url = _column(names, options.url_column or "image_url", path, "--url-column")
    caption = _column(
        names, options.caption_column or "caption_reference_description", path, "--caption-column"
    )
    language = _column(names, "language", path, None) if options.language else None
    title = names.index("page_title") if "page_title" in names else None
    for number, fields in rows:
        if language is not None and fields[language] != options.language:
            account.skip(f"language is not {options.language}", f"{path}: row {number}")
            continue
        kept = "".join(c for c in fields[title] if c.isprintable()) if title is not None else None
        yield RawRow(number, fields[url], fields[caption], (kept,))


def _column(names: list[str], name: str, path: Path, flag: str | None) -> int:
    if names.count(name) == 1:
        return names.index(name)
    way_out = f"name it with {flag}" if flag else "give --language '' to keep every language"
    raise DataError(
        f"{path}: no column {name!r} in the header; there are {', '.join(names)[:500]}: {way_out}"
    )


def _rows(path: Path, account: ReadAccount) -> Iterator[tuple[int, list[str]]]:
    """The header, then every row that has as many fields as the header, with its first line's number."""
    lines = read_lines(path, account)
    waiting: list[
        tuple[int, bytes]
    ] = []  # lines that were looked at and do not belong to the row before them
    columns = 0

    def next_line() -> tuple[int, bytes] | None:
        return waiting.pop(0) if waiting else next(lines, None)

    while (line := next_line()) is not None:
        number, data = line
        where = f"{path}: row {number}"
        text = as_text(data, account, where)
        if text is None:
            continue
        plain = text.split("\t")
        if not columns:
            columns = len(plain)
            yield number, _unquoted(text) or plain
            continue
        if '"' not in text:
            fields = plain if len(plain) == columns else None
        else:
            fields = _unquoted(text)
            if fields is None or len(fields) != columns:
                fields = None
                taken = _continuation(text, columns, next_line, waiting)
                if taken is not None:
                    fields = taken
                elif len(plain) == columns:
                    fields = plain
        if fields is None:
            account.skip(f"row does not have {columns} columns", where)
            continue
        yield number, fields


def _unquoted(text: str) -> list[str] | None:
    """The fields of one whole row with CSV quoting undone; None if its quotation marks do not add up."""
    try:
        rows = list(csv.reader((line + "\n" for line in text.split("\n")), delimiter="\t", strict=True))
    except csv.Error:
        return None
    return rows[0] if len(rows) == 1 else None


def _continuation(
    text: str,
    columns: int,
    next_line: Callable[[], tuple[int, bytes] | None],
    waiting: list[tuple[int, bytes]],
) -> list[str] | None:
    """The row that begins with an open quotation mark and goes on over further lines; else all lines are given back."""
    taken: list[tuple[int, bytes]] = []
    parts = [text]
    while len(taken) < _MOST_LINES and (line := next_line()) is not None:
        taken.append(line)
        try:
            more = line[1].decode("utf-8")
        except UnicodeDecodeError:
            break
        if more.count("\t") + 1 == columns:
            break  # a row by itself
        parts.append(more)
        if '"' in more and (fields := _unquoted("\n".join(parts))) is not None:
            if len(fields) == columns:
                return fields
            break
    waiting[:0] = taken
    return None

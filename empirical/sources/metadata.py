"""What the adapters share: the form of a row, the options they heed, and finding and opening metadata files.

An adapter is a function `read(path, options, account)` that yields a `RawRow` for every row of one metadata file that its
filters keep, and counts the others in the account. It raises DataError where the file itself cannot be read.
"""

import gzip
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import NamedTuple, TypeAlias

from empirical.arrays import ReadAccount
from empirical.errors import DataError

_LONGEST_LINE = 4 << 20
"""Bytes of the longest line of text that is still taken for a row."""


class RawRow(NamedTuple):
    """One row as the metadata holds it: its number in the file (from 1), URL, caption, and the columns that are kept."""

    number: int
    url: object
    caption: object
    extra: tuple[object, ...] = ()


@dataclass(frozen=True)
class ReadOptions:
    """Which columns are read and which rows are kept; None stands for the source's own default."""

    url_column: str | None = None
    caption_column: str | None = None
    nsfw: tuple[str, ...] = ("UNLIKELY",)
    language: str = "en"


Adapter: TypeAlias = Callable[[Path, ReadOptions, ReadAccount], Iterator[RawRow]]


def metadata_files(paths: Sequence[str | Path], suffixes: Sequence[str]) -> list[Path]:
    """The files that the paths name, folders replaced by their files with one of the suffixes, sorted by name.

    Raises: DataError naming what is missing, or a folder without such files.
    """
    if not paths:
        raise DataError("no metadata given: name the source's metadata files or the folder that holds them")
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.name.endswith(tuple(suffixes)) and p.is_file())
            if not inside:
                raise DataError(f"{path}: the folder holds no {' or '.join('*' + s for s in suffixes)} file")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise DataError(f"{path}: no such file; give the metadata files or the folder that holds them")
    repeated = [str(p) for i, p in enumerate(found) if p.resolve() in {q.resolve() for q in found[:i]}]
    if repeated:
        raise DataError(f"{repeated[0]}: named twice; its rows would be asked for twice")
    return found


def open_bytes(path: Path) -> BufferedIOBase:
    """Open a file to read bytes, through gzip where its first bytes say so, whatever its name."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return gzip.GzipFile(path, "rb") if zipped else path.open("rb")


def read_lines(path: Path, account: ReadAccount) -> Iterator[tuple[int, bytes]]:
    """Lines of a file without their line ends (`\\n` or `\\r\\n`, nothing else ends a line), numbered from 1.

    Raises: DataError when the file cannot be read to its end.
    """
    number = 0
    try:
        with open_bytes(path) as file:
            while line := file.readline(_LONGEST_LINE):
                number += 1
                if len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
                    while (rest := file.readline(_LONGEST_LINE)) and not rest.endswith(b"\n"):
                        pass
                    account.skip(f"row longer than {_LONGEST_LINE >> 20} MiB", f"{path}: row {number}")
                    continue
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                line = line.removesuffix(b"\n").removesuffix(b"\r")
                if line:
                    yield number, line
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path}: cannot be read beyond row {number} ({error}); fetch the file again"
        ) from error


def as_text(line: bytes, account: ReadAccount, where: str) -> str | None:
    """The line as UTF-8 text; None, and counted, where it is not."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        account.skip("row is not UTF-8 text", where)
        return None

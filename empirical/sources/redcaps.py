"""RedCaps: JSON files of `annotations`, each with `url` and `caption`. Use `read_redcaps`."""

import json
import zlib
from collections.abc import Iterator
from pathlib import Path

from empirical.arrays import ReadAccount
from empirical.errors import DataError
from empirical.sources.metadata import RawRow, ReadOptions, open_bytes

EXTRA_COLUMNS = ("subreddit",)
_LARGEST = 2 << 30
"""Bytes of the largest file that is read, unpacked: it is held in memory as a whole."""


def read_redcaps(path: Path, options: ReadOptions, account: ReadAccount) -> Iterator[RawRow]:
    """Annotations of one file, which is an object with a list `annotations`, or such a list alone.

    Raises: DataError for a file that is not JSON or holds no list of annotations.
    """
    url_column, caption_column = options.url_column or "url", options.caption_column or "caption"
    try:
        with open_bytes(path) as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise DataError(
                f"{path}: larger than {_LARGEST >> 20} MiB when unpacked, which no file of RedCaps is; split it"
            )
        value = json.loads(data)
    except DataError:
        raise
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}); fetch the file again") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON ({error}); fetch the file again") from error
    annotations = value.get("annotations") if isinstance(value, dict) else value
    if not isinstance(annotations, list):
        raise DataError(
            f"{path}: no list of annotations; a RedCaps file is an object with a list `annotations`"
        )
    for number, annotation in enumerate(annotations, 1):
        if not isinstance(annotation, dict):
            account.skip("annotation is not an object", f"{path}: annotation {number}")
            continue
        subreddit = annotation.get("subreddit")
        extra = (subreddit if isinstance(subreddit, str) and subreddit.isprintable() else None,)
        yield RawRow(number, annotation.get(url_column), annotation.get(caption_column), extra)

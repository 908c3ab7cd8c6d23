"""CSV files of users as text cells, with the line of each row: `read_csv_cells`."""

import io
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from empirical.errors import DataError

_OTHER_SEPARATORS = {";": "';'", "\t": "tabs"}


def read_csv_cells(path: Path) -> pd.DataFrame:
    """A CSV file as text cells; the index is each row's line in the file (the header is line 1), blank lines have no row.

    Raises DataError for a file that is missing or no such thing, is separated by other characters than commas, or has rows longer
    than its header.
    """
    if path.is_dir():
        raise DataError(f"{path}: is a folder; give a CSV file")
    if not path.exists():
        raise DataError(f"{path}: no such file")
    try:
        content = path.read_bytes()
        blank = _leading_blank_lines(content)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            # index_col: pandas would otherwise take the first cell of longer rows for an index and shift the others.
            table = pd.read_csv(
                io.BytesIO(content), dtype=str, keep_default_na=False, index_col=False, skip_blank_lines=False, header=blank
            )  # fmt: skip
    except pd.errors.ParserWarning as error:
        raise DataError(
            f"{path}: a row has more cells than the header; quote cells that hold a comma"
        ) from error
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{path}: the file is empty") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, pd.errors.ParserError) as error:
        raise DataError(f"{path}: cannot be read as a CSV file ({error})") from error
    header = ",".join(map(str, table.columns))
    for character, words in _OTHER_SEPARATORS.items():
        if header.count(character) > header.count(","):
            raise DataError(f"{path}: its columns are separated by {words}; save it with commas")
    table.index = pd.RangeIndex(blank + 2, blank + 2 + len(table), name="line")
    filled = [any(cell.strip() for cell in row) for row in table.itertuples(index=False, name=None)]
    return table[np.array(filled, dtype=bool)]


def _leading_blank_lines(content: bytes) -> int:
    lines = content.removeprefix(b"\xef\xbb\xbf").splitlines()
    return next((i for i, line in enumerate(lines) if line.strip()), 0)

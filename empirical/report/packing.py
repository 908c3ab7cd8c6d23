"""Rows as columns: a page of a large study would otherwise repeat every column's name in every row; `pack`, `unpack`.

`view.js` has the same `unpack`.
"""

from collections.abc import Mapping
from typing import Any

_COLUMNS, _ROWS = "§columns", "§rows"


def pack(value: Any) -> Any:
    """The same JSON value with every list of two or more objects of equal keys written as columns and rows."""
    if isinstance(value, Mapping):
        return {key: pack(item) for key, item in value.items()}
    if not isinstance(value, (list, tuple)):
        return value
    first = value[0] if value else None
    if len(value) > 1 and isinstance(first, Mapping):
        keys = list(first)
        if all(isinstance(item, Mapping) and list(item) == keys for item in value):
            return {_COLUMNS: keys, _ROWS: [[pack(item[key]) for key in keys] for item in value]}
    return [pack(item) for item in value]


def unpack(value: Any) -> Any:
    """The inverse of `pack`."""
    if isinstance(value, Mapping):
        if set(value) == {_COLUMNS, _ROWS}:
            keys = value[_COLUMNS]
            return [dict(zip(keys, map(unpack, row), strict=True)) for row in value[_ROWS]]
        return {key: unpack(item) for key, item in value.items()}
    return [unpack(item) for item in value] if isinstance(value, list) else value

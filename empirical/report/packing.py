"""Tables by column: a page of a large study would otherwise repeat every key in every row; `pack`, `unpack`.

`view.js` has the same `unpack`.
"""

from collections.abc import Mapping
from typing import Any

_COLUMNS, _VALUES = "§columns", "§values"


def pack(value: Any) -> Any:
    """The same JSON value with every list of two or more objects of equal keys written column by column, at every depth."""
    if isinstance(value, Mapping):
        return {key: pack(item) for key, item in value.items()}
    if not isinstance(value, (list, tuple)):
        return value
    first = value[0] if value else None
    if len(value) > 1 and isinstance(first, Mapping) and first:
        keys = list(first)
        if all(isinstance(item, Mapping) and list(item) == keys for item in value):
            return {_COLUMNS: keys, _VALUES: [pack([item[key] for item in value]) for key in keys]}
    return [pack(item) for item in value]


def unpack(value: Any) -> Any:
    """The inverse of `pack`."""
    if isinstance(value, Mapping):
        if set(value) == {_COLUMNS, _VALUES}:
            columns = [unpack(column) for column in value[_VALUES]]
            return [dict(zip(value[_COLUMNS], row, strict=True)) for row in zip(*columns, strict=True)]
        return {key: unpack(item) for key, item in value.items()}
    return [unpack(item) for item in value] if isinstance(value, list) else value

"""`NAME=VALUE` arguments of the command line, as a table: `named_values`, and `named_paths` for those of files."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from empirical.errors import DataError

T = TypeVar("T")


def named_values(flag: str, values: Sequence[str], form: str, read: Callable[[str], T] = str) -> dict[str, T]:
    """Values by name, in the order given.

    Args:
        flag: the option, such as --budget.
        values: what was given to it.
        form: how each is written, such as SOURCE=SAMPLES.
        read: makes a value of its text, or raises ValueError.

    Raises: DataError for what has another form, or a name that is given twice; names the flag and the value.
    """
    named: dict[str, T] = {}
    for value in values:
        name, _, text = value.partition("=")
        if not (name and text):
            raise DataError(f"{flag} {value!r}: write {flag} {form}")
        if name in named:
            raise DataError(f"{flag}: the name {name!r} is given twice")
        try:
            named[name] = read(text)
        except ValueError as error:
            raise DataError(f"{flag} {value!r}: write {flag} {form}") from error
    return named


def named_paths(
    flag: str,
    values: Sequence[str],
    rename: Callable[[str], str] = lambda name: name,
    reserved: str = "",
) -> dict[str, str]:
    """Paths by name, in the order given; files are named after them.

    Args:
        flag: the option, such as --source.
        values: what was given to it, NAME=PATH.
        rename: brings other spellings of a name to one.
        reserved: no name begins with this.

    Raises: DataError for what is not NAME=PATH, or a name that is reserved or given twice; names the flag and the value.
    """
    named: dict[str, str] = {}
    for name, path in named_values(flag, values, "NAME=PATH").items():
        if not name.replace("_", "").replace("-", "").isalnum():
            raise DataError(
                f"{flag} {f'{name}={path}'!r}: write {flag} NAME=PATH, the name of letters, digits, '-' and '_'"
            )
        if reserved and name.startswith(reserved):
            raise DataError(
                f"{flag} {f'{name}={path}'!r}: names that start with {reserved} are kept for other folders"
            )
        name = rename(name)
        if name in named:
            raise DataError(f"{flag}: the name {name!r} is given twice")
        named[name] = path
    return named

"""`NAME=PATH` arguments of the command line, as a table: `named_paths`."""

from collections.abc import Callable, Sequence

from empirical.errors import DataError


def named_paths(
    flag: str, values: Sequence[str], rename: Callable[[str], str] = lambda name: name
) -> dict[str, str]:
    """Paths by name, in the order given; `rename` brings other spellings of a name to one.

    Raises: DataError for what is not NAME=PATH, or a name that is given twice; names the flag and the value.
    """
    named: dict[str, str] = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not (equals and path and name.replace("_", "").replace("-", "").isalnum()):
            raise DataError(
                f"{flag} {value!r}: write {flag} NAME=PATH, the name of letters, digits, '-' and '_'"
            )
        name = rename(name)
        if name in named:
            raise DataError(f"{flag}: the name {name!r} is given twice")
        named[name] = path
    return named

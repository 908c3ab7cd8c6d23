"""The project's own error types: whatever a user's files can do wrong ends in one of these."""

import errno
from pathlib import Path

DISK = frozenset({errno.ENOSPC, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC)})
"""What only a write meets: no space, no quota, no writing there at all."""


class DataError(ValueError):
    """Something in the data (a file, a row, a key) cannot be used; the message names it and the way out."""


class StudyError(RuntimeError):
    """A study cannot be planned or carried out as asked."""


class TrainingError(RuntimeError):
    """A training run failed (for example the loss became NaN); its reason goes into the run's record."""


def in_one_line(error: Exception, out: Path | None = None) -> str:
    """What a command tells its user of an error: its message, or for the system's own errors the file and what is wrong.

    out: where the command writes, named where the disk is full and the system does not say which file it was.
    """
    if not (isinstance(error, OSError) and error.strerror):
        return str(error)
    place = error.filename if error.filename is not None else out if error.errno in DISK else None
    return f"{place}: {error.strerror}" if place is not None else error.strerror

"""The project's own error types: whatever a user's files can do wrong ends in one of these."""


class DataError(ValueError):
    """Something in the data (a file, a row, a key) cannot be used; the message names it and the way out."""


class StudyError(RuntimeError):
    """A study cannot be planned or carried out as asked."""


class TrainingError(RuntimeError):
    """A training run failed (for example the loss became NaN); its reason goes into the run's record."""


def in_one_line(error: Exception) -> str:
    """What a command tells its user of an error: its message, or for the system's own errors the file and what is wrong."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    return str(error)

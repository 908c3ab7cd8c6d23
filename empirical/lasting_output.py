"""Standard output and error that outlive their reader: `lasting_output`, for commands whose work is worth more than its log."""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

GONE = frozenset({errno.EPIPE, errno.ESHUTDOWN, errno.ECONNRESET, errno.EIO})
"""What a write says whose reader has closed a pipe or a socket, or whose terminal has hung up."""


class ReaderGone(BaseException):
    """Nobody reads standard output any more; raised by what is written there inside `lasting_output(end=True)`."""


class _Descriptor(io.FileIO):
    """A file descriptor that leads to nowhere from the first write on that finds no reader."""

    def __init__(self, descriptor: int, name: str, end: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._name, self._end = name, end

    def write(self, data, /) -> int | None:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in GONE:
                raise OSError(error.errno, error.strerror, f"standard {self._name}") from error
        # The descriptor itself, not this object: processes that are started from now on inherit it.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        if self._end:
            raise ReaderGone
        return memoryview(data).nbytes


@contextmanager
def lasting_output(end: bool = False) -> Iterator[None]:
    """Let what happens inside go on where the readers of its output have left (`| head -1`, a terminal that is closed).

    What is written after that is lost, in silence. end: a reader of standard output that leaves raises `ReaderGone` instead,
    for work that has no other fruit than what it writes there. Streams that are not the process's own (those of pytest or
    a notebook) stay as they are.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _lasting(sys.stdout, "output", end), _lasting(sys.stderr, "error", False)
    try:
        yield
    finally:
        # Here and not when Python ends, which would say `Exception ignored` of what cannot be written.
        for stream in filter(None, (sys.stdout, sys.stderr)):  # None: closed since before the start
            with suppress(OSError):
                try:
                    stream.flush()
                except ReaderGone:
                    stream.flush()
        sys.stdout, sys.stderr = before


def _lasting(stream, name: str, end: bool):
    """The stream anew, with the same encoding and buffering, on a descriptor that lasts."""
    if type(stream) is not io.TextIOWrapper:
        return stream
    with suppress(OSError):  # without a reader already, as the next write finds out
        stream.flush()
    unbuffered = not isinstance(stream.buffer, io.BufferedWriter)  # python -u
    raw = _Descriptor(stream.fileno(), name, end)
    return io.TextIOWrapper(
        raw if unbuffered else io.BufferedWriter(raw),  # pyright: ignore[reportArgumentType]
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )

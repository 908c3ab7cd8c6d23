"""Lets a test kill this process at a named moment of a file write, to show that nothing is lost there.

`QNQ_KILL_AT="half-written records/*.json"` kills the process (SIGKILL, as the out-of-memory killer does) whenever it
comes to that moment for a file whose path ends so; several are separated by `;`. Unset, it costs one look into the
environment per written file. `SIGTERM@renamed checkpoint.pt` sends that signal instead, to this process alone.
"""

import os
import signal
from fnmatch import fnmatch
from pathlib import Path

VARIABLE = "QNQ_KILL_AT"
MOMENTS = ("half-written", "written", "renamed")
"""In this order: half of the temporary file is there; all of it, not yet under its name; the file is in place."""


def moment(name: str, path: Path, temporary: Path | None = None) -> None:
    """The process has come to the moment `name` of writing `path`; it ends here if `QNQ_KILL_AT` says so."""
    for wanted in os.environ.get(VARIABLE, "").split(";"):
        when, _, pattern = wanted.strip().partition(" ")
        sent, _, when = when.rpartition("@")
        if when == name and fnmatch(path.as_posix(), f"*{pattern}"):
            if not sent and name == "half-written" and temporary is not None:
                os.truncate(temporary, temporary.stat().st_size // 2)
            os.kill(os.getpid(), getattr(signal, sent) if sent else signal.SIGKILL)

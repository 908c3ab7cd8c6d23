"""What is being worked on right now: a worker marks its task in the study's folder, and the mark dies with the worker.

`announced(task, folder)` makes a task that marks itself; `running_tasks(folder)` reads the marks, from any process and,
where the file system has locks, from any machine.
"""

import errno
import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from empirical.records import fingerprint
from empirical.task_graph import Task

try:
    import fcntl
except ImportError:  # Windows has no such locks: there, a mark is believed until it is removed
    fcntl = None


@dataclass(frozen=True)
class RunningTask:
    """A task under way: where it runs and since when (seconds since the epoch); `job` is its SLURM job, if any."""

    name: str
    host: str
    process: int
    started: float
    job: str = ""


def announced(task: Task, folder: Path) -> Task:
    """The same task, which marks itself in `folder`/running while it runs."""
    arguments = (folder, task.name, task.function, task.arguments)
    return replace(task, function=_run_announced, arguments=arguments)


def _run_announced(folder: Path, name: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    mark = Mark(folder, name)
    try:
        return function(*arguments)
    finally:
        mark.remove()


class Mark:
    """Says that this process works on a task, until it is removed or the process ends.

    It never fails: a disk too full for a mark is the task's to report.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / "running" / f"{fingerprint(name)}.json"
        self._file: Any = None
        about = {"task": name, "host": socket.gethostname(), "process": os.getpid(), "started": time.time()}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Kept open: the lock says that this process lives.
            self._file = open(self.path, "a+", encoding="utf-8")  # noqa: SIM115
            if fcntl is not None:
                # Shared: after a requeue, a copy of the same task on a lost node must not keep this one waiting.
                fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            self._file.truncate(0)
            json.dump(about | {"job": _slurm_job()}, self._file)
            self._file.flush()
        except OSError:
            pass

    def remove(self) -> None:
        """The task is over."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
        if self._file is not None:
            with suppress(OSError):
                self._file.close()


def _slurm_job() -> str:
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{index}" if array and index else os.environ.get("SLURM_JOB_ID", "")


def running_tasks(folder: Path) -> dict[str, RunningTask]:
    """The tasks under way in a study's folder, by name; marks of workers that were killed are passed over."""
    found = {}
    for path in sorted((folder / "running").glob("*.json")):
        try:
            with _opened(path) as file:
                if not _is_held(file, exclusively=True):
                    continue
                mark = json.loads(file.read())
            task = RunningTask(mark["task"], mark["host"], mark["process"], mark["started"], mark["job"])
        except (OSError, ValueError, KeyError, TypeError):  # ended, or is being written, this very moment
            continue
        found[task.name] = task
    return found


def _opened(path: Path) -> TextIO:
    """For reading; for writing as well where that is allowed, without which NFS gives no exclusive lock."""
    try:
        return open(path, "r+", encoding="utf-8")
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return open(path, encoding="utf-8")


def _is_held(file: TextIO, *, exclusively: bool) -> bool:
    """Whether another process holds a lock that ours, exclusive or shared, would disturb."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, (fcntl.LOCK_EX if exclusively else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks cannot tell
        return True
    fcntl.flock(file, fcntl.LOCK_UN)
    return False


def is_running(folder: Path) -> bool:
    """Whether a study is running in `folder` right now (or, without file locks, whether one may be)."""
    try:
        with open(folder / ".lock", encoding="utf-8") as file:
            return _is_held(file, exclusively=False)  # a study holds its folder exclusively
    except FileNotFoundError:
        return False
    except PermissionError:  # somebody else's study, readable only
        return False

"""Progress of a command's work: `CountedWork`, a bar where somebody watches, and `TimedLines`, a log with the seconds."""

import threading
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class TimedLines:
    """Lines that begin with the seconds since the work began: `[  12 s] half of it`.

    Args:
        seconds_between: lines of `now_and_then` come at most this often.
    """

    def __init__(self, seconds_between: float = 2.0) -> None:
        self._started = self._said = time.monotonic()
        self._between = seconds_between

    @property
    def seconds(self) -> float:
        """Since the work began."""
        return time.monotonic() - self._started

    def say(self, text: str) -> None:
        """A line, at once."""
        self._said = time.monotonic()
        print(f"[{self.seconds:4.0f} s] {text}", flush=True)

    def now_and_then(self, text: str, last: bool = False) -> None:
        """A line if the one before is old enough, or if it is the last."""
        if last or time.monotonic() - self._said >= self._between:
            self.say(text)


class CountedWork:
    """A bar with the time remaining on a terminal, a plain line now and then elsewhere, silence when asked.

    A context manager, from whose entry on the bar stands; threads may report to it.

    Args:
        total: pieces of work; None as long as nobody knows.
        unit: what the pieces are.
        first: what is said of the work before the first report.
        quiet: say nothing at all.
        seconds_between_lines: plain lines come at most this often; the last piece always has one.
    """

    def __init__(
        self,
        total: int | None,
        *,
        unit: str = "",
        first: str = "",
        quiet: bool = False,
        seconds_between_lines: float = 5.0,
        console: Console | None = None,
    ) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self._quiet, self._unit, self._total, self._done = quiet, unit, total, 0
        columns = (
            *([TextColumn(unit)] if unit else []),
            BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"),
        )  # fmt: skip
        self._bar = (
            Progress(*columns, console=self.console) if self.console.is_terminal and not quiet else None
        )
        if self._bar:
            self._bar.add_task(first, total=total)
        self._started = self._said = time.monotonic()
        self._between, self._lock = seconds_between_lines, threading.Lock()

    def __enter__(self) -> "CountedWork":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def say(self, text: str) -> None:
        """A sentence, at once."""
        if not self._quiet:
            self.console.print(text, markup=False)

    def advance(self, text: str) -> None:
        """One more piece is done."""
        with self._lock:
            self._report(text, self._done + 1, self._total)

    def report(self, text: str, done: int = 0, total: int | None = None) -> None:
        """So many pieces are done of so many (None: not known yet)."""
        with self._lock:
            self._report(text, done, total)

    def _report(self, text: str, done: int, total: int | None) -> None:
        self._done, self._total = done, total
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, total=total, description=text)
            return
        now = time.monotonic()
        if not self._quiet and (now - self._said >= self._between or done == total):
            self._said = now
            count = "" if total is None else f"[{done}/{total}{self._unit and f' {self._unit}'}] "
            print(f"{count}{now - self._started:.0f} s: {text}", flush=True)

"""Signals that ask a run to stop, obeyed where nothing is lost: `with StopSignals() as stop:` ... `with stop.noted():`.

SIGTERM (a supervisor, a preempted or cancelled job), SIGUSR1 and SIGUSR2 (the notice before a time limit), SIGHUP (a lost
terminal) and SIGINT (Ctrl-C) all mean the same: finish the step, write a checkpoint, go. A run that did so raises
`Interrupted`, and its command ends with 128 + the signal's number, as shells report it: 143, 138, 140, 129, 130.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGUSR1", "SIGUSR2", "SIGHUP", "SIGINT")
    if hasattr(signal, name)  # Windows has two of them
)

SAME_KEYSTROKE = 2.0
"""Seconds within which a second SIGINT is the same Ctrl-C, told by the terminal and by a launcher such as torchrun."""


class Interrupted(KeyboardInterrupt):
    """A signal asked the run to stop, and it did: the same command goes on from `place`, where everything is on disk.

    A KeyboardInterrupt, because a handler may raise it anywhere: code that skips what it cannot read must not catch it.
    """

    def __init__(self, number: int, place: str) -> None:
        self.number, self.place = number, place
        super().__init__(f"stopped by {signal_name(number)} {place}")

    @property
    def exit_status(self) -> int:
        """128 + the signal's number, such as 143 for SIGTERM."""
        return 128 + self.number


def signal_name(number: int) -> str:
    """`SIGTERM` for 15."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class StopSignals:
    """Notes the signals that ask this process to stop, while inside `noted`; elsewhere they do what they did before.

    `asked` is the first one's number, 0 until there is one. Once asked, signals are only noted until the `with` block ends: one
    that comes late (to the other processes of a group, say) must not cut the goodbye short. Signals that are ignored, as
    nohup ignores SIGHUP, stay ignored. A second Ctrl-C stops at once, as KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._asked_at = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Inside, a signal changes `asked` and nothing else. Handlers belong to the main thread: in others this does nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        for number in SIGNALS:
            before = signal.getsignal(number)
            if before is not signal.SIG_IGN and before is not None and number not in self._before:
                self._before[number] = before
                signal.signal(number, self._note)
        try:
            yield
        finally:
            if not self.asked:
                self._restore()

    def let_act(self) -> None:
        """Nothing is left to stop for a signal that was noted: handlers come back, and it does now what it would have done."""
        self._restore()
        if self.asked:
            signal.raise_signal(self.asked)

    def _note(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if not self.asked:
            self.asked, self._asked_at = number, now
            if number == signal.SIGINT:
                # Not print: its buffer may be what this signal interrupted.
                os.write(2, b"\nstopping after this step; Ctrl-C again stops at once\n")
        elif number == signal.SIGINT and now - self._asked_at > SAME_KEYSTROKE:
            raise KeyboardInterrupt

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()


def leave_stopping_to_parent(patience: float = 60.0) -> None:
    """Make a worker process outlive a signal to its whole group: its parent finishes the step, and ends it afterwards.

    One that is still there after `patience` seconds was meant itself (a broken pool ends its workers by SIGTERM).
    """

    def wait(number: int, _: FrameType | None) -> None:
        timer = threading.Timer(patience, os._exit, (128 + number,))
        timer.daemon = True
        timer.start()

    for number in SIGNALS:
        if number == signal.SIGINT:
            signal.signal(number, signal.SIG_IGN)
        elif signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, wait)

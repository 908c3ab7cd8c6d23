"""A way out when a GPU never answers: `Watchdog`."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Watchdog:
    """Ends the process when a call inside `watching` takes longer than `patience` seconds, with a message on standard error.

    Kernels of several streams can wait for one another inside a GPU for ever, and the host then waits with them in a call
    that no exception reaches. Finished runs are on disk by then, so ending the process loses only what was in training.
    The exit status is `EXIT_STATUS`.
    """

    EXIT_STATUS = 75  # EX_TEMPFAIL: another try may well succeed

    def __init__(self, patience: float, message: str) -> None:
        self.patience, self.message = patience, message
        self._since: float | None = None
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """What happens inside is timed; what happens between two such calls is not."""
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._since = None

    def _watch(self) -> None:
        while True:
            time.sleep(min(1.0, self.patience / 4))
            since = self._since
            if since is not None and time.monotonic() - since > self.patience:
                print(
                    f"error: no answer for {self.patience:g} s: {self.message}", file=sys.stderr, flush=True
                )
                os._exit(self.EXIT_STATUS)

"""Processes that work for this one: `WorkerPool`, and how many cores and threads there are for them.

Workers are spawned, never forked: JAX and PyTorch keep threads that do not survive a fork. Importing this module loads neither.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any, ParamSpec, TypeVar

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

P = ParamSpec("P")
T = TypeVar("T")


def usable_cores() -> int:
    """Processor cores that this process may use: those it is bound to, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def thread_environment(threads: int) -> Iterator[None]:
    """Thread limits that processes started inside inherit."""
    # OpenMP reads its thread count when it loads, before any code of ours runs in a worker: children inherit it.
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class WorkerPool(ProcessPoolExecutor):
    """An executor of spawned processes that end with their parent, however it ends, and leave Ctrl-C to it.

    As a context manager it waits for its work, but ends the processes at once when an exception comes out of the block: Ctrl-C
    takes as long as the parent needs to say so.

    Args:
        number: of processes; they start as work comes.
        start: called in each process before its first piece of work.
        arguments: of `start`.
    """

    def __init__(
        self, number: int, start: Callable[..., object] = int, arguments: tuple[Any, ...] = ()
    ) -> None:
        super().__init__(number, multiprocessing.get_context("spawn"), _begin, (start, arguments))

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Schedule a call; a process may start for it."""
        with _interrupts_later():
            return super().submit(fn, *args, **kwargs)

    def stop(self) -> None:
        """End the processes now, whatever they are at; the pool is of no use afterwards."""
        for process in list((self._processes or {}).values()):
            process.terminate()
        self.shutdown(wait=True, cancel_futures=True)

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self.shutdown(wait=True)
        else:
            self.stop()


def limit_threads(threads: int) -> None:
    """What a worker that computes with PyTorch starts with."""
    import torch

    torch.set_num_threads(threads)


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Ctrl-C waits until the block is over; processes that start inside inherit that, and are deaf to it while they load."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(start: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    """What every worker does first."""
    # A killed parent cannot end its workers, and one that went on would write into the folder of the next start.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Ctrl-C reaches the whole process group; the parent alone decides what happens then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):  # for what the work may start itself
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    start(*arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)

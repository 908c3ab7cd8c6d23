"""Runs a graph of tasks on worker processes that start once.

Workers are spawned, never forked (JAX and PyTorch keep threads that do not survive a fork), each with a fixed number
of threads: two models side by side with one thread each train faster than one model on two threads.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait as wait_for
from typing import Any

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

QUEUED = 2
"""Tasks handed out beyond the number of workers, so that none waits while the caller draws a figure."""


@dataclass(frozen=True)
class Task:
    """One call on a worker: `function(*arguments)` once every task named in `needs` is done."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of a task: its value, or the reason it failed."""

    task: Task
    value: Any = None
    failure: str | None = None


@contextmanager
def _thread_environment(threads: int) -> Iterator[None]:
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


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait_for([parent.sentinel])
    os._exit(1)


def _start_worker(threads: int) -> None:
    import signal

    import torch

    # A killed parent cannot end its workers, and one that went on would write into the folder of the next start.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Ctrl-C reaches the whole process group; the parent alone decides what happens then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)


def run_tasks(
    tasks: Sequence[Task], *, jobs: int, threads: int = 1, done: Sequence[str] = ()
) -> Iterator[Outcome]:
    """Yield an `Outcome` for each task as it finishes; earlier tasks in the list are started first.

    A task that raises fails alone; tasks that need it fail with it, by name. When a worker dies (killed, out of
    memory) nobody can tell which task it was working on: the ones in flight are tried again one at a time, so that
    only the one that kills its worker fails.
    """
    waiting = list(tasks)
    known = {task.name for task in tasks} | set(done)
    for task in tasks:
        missing = [name for name in task.needs if name not in known]
        if missing:
            raise ValueError(f"task {task.name} needs {missing[0]}, which is neither planned nor done")
    finished, failed = set(done), set[str]()
    suspects: list[Task] = []
    with _thread_environment(threads):
        pool = _pool(jobs, threads)
        running: dict[Future[Any], Task] = {}
        alone = False
        try:
            while waiting or running or suspects:
                for task in [task for task in waiting if any(name in failed for name in task.needs)]:
                    waiting.remove(task)
                    failed.add(task.name)
                    cause = next(name for name in task.needs if name in failed)
                    yield Outcome(task, failure=f"needs {cause}, which failed")
                if suspects and not running:
                    task, alone = suspects.pop(0), True
                    running[pool.submit(task.function, *task.arguments)] = task
                elif not suspects and not (alone and running):
                    alone = False
                    ready = [task for task in waiting if finished.issuperset(task.needs)]
                    # A short queue: workers never wait for the caller, and a dead worker takes little with it.
                    for task in ready[: max(0, jobs + QUEUED - len(running))]:
                        waiting.remove(task)
                        running[pool.submit(task.function, *task.arguments)] = task
                if not running:
                    continue
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    task = running.pop(future)
                    error = future.exception()
                    if isinstance(error, BrokenProcessPool):
                        in_flight = [task, *running.values()]
                        running.clear()
                        pool.shutdown(wait=True, cancel_futures=True)
                        pool = _pool(jobs, threads)
                        if alone:
                            failed.add(task.name)
                            yield Outcome(task, failure="its worker process died (killed, or out of memory)")
                        else:
                            suspects += in_flight
                        break
                    if error is not None:
                        failed.add(task.name)
                        yield Outcome(task, failure=f"{type(error).__name__}: {error}")
                    else:
                        finished.add(task.name)
                        yield Outcome(task, value=future.result())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _pool(jobs: int, threads: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker, initargs=(threads,))

"""Runs a graph of tasks on worker processes that start once.

Workers are spawned, never forked (JAX and PyTorch keep threads that do not survive a fork), each with a fixed number
of threads: two models side by side with one thread each train faster than one model on two threads.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
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
    """What became of a task: its value, or the reason it failed (`blocked_by` names the failed task it needed)."""

    task: Task
    value: Any = None
    failure: str | None = None
    blocked_by: str = ""


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
) -> Generator[Outcome, None, None]:
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
    with thread_environment(threads):
        pool = worker_pool(jobs, threads)
        running: dict[Future[Any], Task] = {}
        alone = False
        try:
            while waiting or running or suspects:
                for task in [task for task in waiting if any(name in failed for name in task.needs)]:
                    waiting.remove(task)
                    failed.add(task.name)
                    cause = next(name for name in task.needs if name in failed)
                    yield Outcome(task, failure=f"needs {cause}, which failed", blocked_by=cause)
                queue, count = waiting, 0
                if suspects and not running:
                    queue, count, alone = suspects, 1, True
                elif not suspects and not (alone and running):
                    # A short queue: workers never wait for the caller, and a dead worker takes little with it.
                    count, alone = jobs + QUEUED - len(running), False
                broken = False
                for task in [task for task in queue if finished.issuperset(task.needs)][: max(0, count)]:
                    try:
                        running[pool.submit(task.function, *task.arguments)] = task
                    except BrokenProcessPool:  # a worker died while nobody looked
                        broken = True
                        break
                    queue.remove(task)
                if running and not broken:
                    wait(running, return_when=FIRST_COMPLETED)
                for future in [future for future in running if future.done()]:
                    error = future.exception()
                    if isinstance(error, BrokenProcessPool):
                        broken = True
                        continue
                    task = running.pop(future)
                    if error is not None:
                        failed.add(task.name)
                        yield Outcome(task, failure=f"{type(error).__name__}: {error}")
                    else:
                        finished.add(task.name)
                        yield Outcome(task, value=future.result())
                if broken:
                    lost = list(running.values())
                    running.clear()
                    pool.shutdown(wait=True, cancel_futures=True)
                    pool = worker_pool(jobs, threads)
                    if alone:
                        failed.update(task.name for task in lost)
                        for task in lost:
                            yield Outcome(task, failure="its worker process died (killed, or out of memory)")
                    else:
                        suspects += lost
        except BaseException:
            # Stopped (Ctrl-C, or the caller gave up): what runs now runs again at the next start.
            for process in list((pool._processes or {}).values()):
                process.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def worker_pool(jobs: int, threads: int) -> ProcessPoolExecutor:
    """Spawned workers with a fixed number of threads each."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker, initargs=(threads,))

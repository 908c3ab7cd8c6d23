"""Runs a graph of tasks on worker processes that start once.

Workers are spawned, never forked (JAX and PyTorch keep threads that do not survive a fork), each with a fixed number
of threads: two models side by side with one thread each train faster than one model on two threads.
"""

from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from empirical.task_graph import Outcome, Task, TaskGraph
from empirical.workers import WorkerPool, limit_threads, thread_environment

__all__ = ["Outcome", "Task", "run_tasks"]

DEAD_WORKER = "its worker process died (killed, or out of memory)"

QUEUED = 2
"""Tasks handed out beyond the number of workers, so that none waits while the caller draws a figure."""


def run_tasks(
    tasks: Sequence[Task], *, jobs: int, threads: int = 1, done: Sequence[str] = ()
) -> Generator[Outcome, None, None]:
    """Yield an `Outcome` for each task as it finishes; earlier tasks in the list are started first.

    A task that raises fails alone; tasks that need it fail with it, by name. When a worker dies (killed, out of
    memory) nobody can tell which task it was working on: the ones in flight are tried again one at a time, so that
    only the one that kills its worker fails.
    """
    graph = TaskGraph(tasks, done)
    suspects: list[Task] = []
    with thread_environment(threads):
        pool = WorkerPool(jobs, limit_threads, (threads,))
        running: dict[Future[Any], Task] = {}
        alone = False
        try:
            while not graph.over:
                yield from graph.blocked()
                chosen: list[Task] = []
                if suspects and not running:
                    chosen, alone = [suspects.pop(0)], True
                elif not suspects and not (alone and running):
                    # A short queue: workers never wait for the caller, and a dead worker takes little with it.
                    chosen, alone = graph.ready(max(0, jobs + QUEUED - len(running))), False
                broken = False
                for task in chosen:
                    try:
                        running[pool.submit(task.function, *task.arguments)] = task
                    except BrokenProcessPool:  # a worker died while nobody looked
                        broken = True
                        suspects.append(task) if alone else graph.give_back(task)
                if running and not broken:
                    wait(running, return_when=FIRST_COMPLETED)
                for future in [future for future in running if future.done()]:
                    error = future.exception()
                    if isinstance(error, BrokenProcessPool):
                        broken = True
                        continue
                    task = running.pop(future)
                    yield graph.failed(task, error) if error else graph.finished(task, future.result())
                if broken:
                    lost = list(running.values())
                    running.clear()
                    pool.shutdown(wait=True, cancel_futures=True)
                    pool = WorkerPool(jobs, limit_threads, (threads,))
                    if alone:
                        for task in lost:
                            yield graph.failed(task, DEAD_WORKER)
                    else:
                        suspects += lost
        except BaseException:
            # Stopped (Ctrl-C, or the caller gave up): what runs now runs again at the next start.
            pool.stop()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

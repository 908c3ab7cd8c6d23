"""Runs a graph of tasks with one GPU: `run_tasks_on_device`.

The runs that train share the GPU, many at once (`empirical.training_lanes`), served by this process; data, ensembles
and everything else go to worker processes as in `empirical.scheduler`. Samples are gathered ahead of time and records
written behind, by threads: the GPU waits for neither.
"""

import time
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from empirical.errors import StudyError
from empirical.execution import StudyContext, execute_run, load_test_sets, prepare_run, write_run
from empirical.plan import RunSpec
from empirical.running import Mark
from empirical.scheduler import DEAD_WORKER, QUEUED, Outcome, Task
from empirical.task_graph import TaskGraph
from empirical.tokenizer import from_json
from empirical.watchdog import Watchdog
from empirical.workers import WorkerPool, limit_threads, thread_environment

GATHERING_THREADS, WRITING_THREADS = 2, 4
IDLE_SECONDS = 2e-4

PATIENCE = 180.0
"""Seconds without an answer from a GPU after which the study ends itself."""


def trains_on_device(task: Task) -> bool:
    """Whether a task is a run that trains (an ensemble only averages)."""
    return task.function is execute_run and bool(task.arguments[1].draws)


def run_tasks_on_device(
    tasks: Sequence[Task], *, lanes: int, jobs: int, threads: int = 1, done: Sequence[str] = ()
) -> Generator[Outcome, None, None]:
    """Yield an `Outcome` for each task as it finishes, like `empirical.scheduler.run_tasks`.

    A task that raises fails alone, and tasks that need it fail with it. A worker process that dies takes the tasks in
    flight on the workers with it: they are reported, and the next start of the study does them again.
    """
    graph = TaskGraph(tasks, done)
    runs = [task for task in tasks if trains_on_device(task)]
    capacity = max((sum(draw.count for draw in task.arguments[1].draws) for task in runs), default=0)
    with thread_environment(threads):
        pool = WorkerPool(jobs, limit_threads, (threads,))
        gathering = ThreadPoolExecutor(GATHERING_THREADS, "gather")
        writing = ThreadPoolExecutor(WRITING_THREADS, "write")
        on_pool: dict[Future[Any], Task] = {}
        gathered: dict[Future[Any], Task] = {}
        written: dict[Future[Any], Task] = {}
        prepared: deque[Any] = deque()
        marks: dict[str, Mark] = {}
        task_of: dict[str, Task] = {task.name: task for task in runs}
        training: Any = None
        ready_here: deque[Task] = deque()
        ready_there: deque[Task] = deque()
        silence = f"the GPU does not answer; finished runs are kept, start again with fewer than --lanes {lanes} models at once"
        watchdog, silent = Watchdog(PATIENCE, silence), 0.0
        try:
            while not graph.over:
                yield from graph.blocked()
                for task in graph.ready():
                    (ready_here if trains_on_device(task) else ready_there).append(task)
                broken = False
                while ready_there and not broken and len(on_pool) < jobs + QUEUED:
                    try:
                        task = ready_there[0]
                        on_pool[pool.submit(task.function, *task.arguments)] = task
                        ready_there.popleft()
                    except BrokenProcessPool:  # a worker died while nobody looked
                        broken = True
                while ready_here and len(gathered) + len(prepared) < lanes + GATHERING_THREADS:
                    task = ready_here.popleft()
                    if training is None:
                        training = _lanes(task.arguments[0], capacity, lanes)
                    context, spec = task.arguments
                    gathered[gathering.submit(prepare_run, context, spec)] = task
                for future in [future for future in gathered if future.done()]:
                    task = gathered.pop(future)
                    error = future.exception()
                    if error is not None:
                        yield graph.failed(task, error)
                    else:
                        prepared.append(future.result())
                served = False
                if training is not None:
                    while prepared and training.free:
                        run = prepared.popleft()
                        marks[run.spec.name] = Mark(task_of[run.spec.name].arguments[0].folder, run.spec.name)
                        training.start(run)
                    with watchdog.watching():
                        finished, served = training.advance()
                    silent = 0.0 if served or not training.busy else silent
                    if silent > PATIENCE:
                        raise StudyError(silence)
                    for run in finished:
                        task = task_of[run.prepared.spec.name]
                        marks.pop(task.name).remove()
                        if run.error is not None:
                            yield graph.failed(task, run.error)
                        else:
                            context, spec = task.arguments
                            written[writing.submit(_write, context, spec, run)] = task
                for futures in (on_pool, written):
                    for future in [future for future in futures if future.done()]:
                        broken |= isinstance(future.exception(), BrokenProcessPool)
                        served = True
                        yield _outcome(graph, futures.pop(future), future)
                if broken:
                    pool.shutdown(wait=True, cancel_futures=True)
                    for future in list(
                        on_pool
                    ):  # all are over now; left for later, they would count against the new pool
                        yield _outcome(graph, on_pool.pop(future), future)
                    pool = WorkerPool(jobs, limit_threads, (threads,))
                if not served:
                    time.sleep(IDLE_SECONDS)
                    silent += IDLE_SECONDS
        except BaseException:
            pool.stop()
            raise
        finally:
            for mark in marks.values():
                mark.remove()
            for each in (gathering, writing, pool):
                each.shutdown(wait=True, cancel_futures=True)


def _outcome(graph: TaskGraph, task: Task, future: Future[Any]) -> Outcome:
    """What became of a task whose future is done."""
    error = future.exception()
    if isinstance(error, BrokenProcessPool):
        return graph.failed(task, DEAD_WORKER)
    return graph.failed(task, error) if error else graph.finished(task, future.result())


def _lanes(context: StudyContext, capacity: int, num_lanes: int) -> Any:
    from empirical.training_lanes import TrainingLanes

    tokenizer = from_json((context.folder / "tokenizer.json").read_text(encoding="utf-8"))
    test_sets = load_test_sets(context)
    return TrainingLanes(context, tokenizer, test_sets, capacity=capacity, num_lanes=num_lanes)


def _write(context: StudyContext, spec: RunSpec, run: Any) -> dict[str, Any]:
    trained = (run.weights, run.prepared)
    return write_run(context, spec, run.logits, run.details, run.seconds, trained=trained)

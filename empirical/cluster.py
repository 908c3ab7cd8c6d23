"""Runs a graph of tasks as SLURM jobs: `run_tasks_on_slurm`, the cluster's twin of `empirical.scheduler.run_tasks`.

Tasks that are ready together are one job array (submitit writes and submits it). A task's outcome is a JSON file that
its job writes; the queue only says which jobs still live, and accounting why one died. So a preempted or requeued job
starts its task again, a lost connection costs nothing (the next start finds the jobs that are still in the queue), and
a job whose node went away is submitted again where SLURM did not do so itself.
"""

import contextlib
import shutil
import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from empirical.errors import StudyError
from empirical.slurm_jobs import (
    Job,
    Journal,
    ask,
    carry_out,
    identity,
    job_name,
    outcome_path,
    outcomes_there,
    queue,
    read_outcome,
    why_it_ended,
)
from empirical.task_graph import Outcome, Task, TaskGraph
from empirical.workers import THREAD_VARIABLES

EXECUTORS = ("local", "slurm")

LARGEST_ARRAY = 1000
"""Jobs per array; SLURM's default MaxArraySize of 1001 allows no more."""

PATIENCE = 180.0
"""Seconds for cancelled jobs to end."""


@dataclass(frozen=True)
class SlurmOptions:
    """How the tasks of a study become SLURM jobs."""

    partition: str = ""
    """Partition, or several with commas. Default: the cluster's."""
    account: str = ""
    """Account that is charged. Default: yours."""
    qos: str = ""
    """Quality of service."""
    constraint: str = ""
    """Node features, such as `a100`."""
    gpus_per_run: int = 0
    """GPUs of each job; one is enough, 0 trains on CPU cores."""
    cpus_per_run: int = 0
    """CPU cores of each job. Default: --threads."""
    memory_gb: float = 0.0
    """Memory of each job in GB. Default: the cluster's."""
    timeout_min: int = 120
    """Minutes after which SLURM ends a job."""
    max_parallel: int = 256
    """Jobs of one array that run at the same time."""
    runs_per_job: int = 1
    """Runs that one job carries out one after the other; more when runs are short beside the time a job waits."""
    setup: tuple[str, ...] = ()
    """Shell lines before Python starts, such as "module load cuda"."""
    sbatch: tuple[str, ...] = ()
    """Further sbatch options as KEY=VALUE, such as "exclude=node7"."""
    lost_retries: int = 10
    """How often a run is submitted again whose job was preempted or lost its node without being requeued by SLURM."""
    poll_seconds: float = 10.0
    """Time between two looks at the queue."""
    lag_seconds: float = 60.0
    """How long a file may take to appear on this machine after a node wrote it (shared file systems cache)."""

    def check(self, *, needs_gpu: bool = False) -> None:
        """Raise `StudyError` when this machine cannot submit, or for values that cannot be meant."""
        if shutil.which("sbatch") is None:
            raise StudyError(
                "--executor slurm: no sbatch here; start the study on a login node of the cluster"
            )
        try:
            import submitit  # noqa: F401
        except ImportError:
            raise StudyError('--executor slurm needs submitit: pip install ".[cluster]"') from None
        least = {"gpus_per_run": 0, "cpus_per_run": 0, "memory_gb": 0, "timeout_min": 1, "max_parallel": 1}
        least |= {"runs_per_job": 1, "lost_retries": 0, "poll_seconds": 0.1, "lag_seconds": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise StudyError(
                    f"--slurm.{name.replace('_', '-')} {getattr(self, name)}: must be at least {low}"
                )
        for entry in self.sbatch:
            if not all(entry.partition("=")):
                raise StudyError(f"--slurm.sbatch {entry!r}: expected KEY=VALUE")
        if needs_gpu and not self.gpus_per_run:
            raise StudyError(
                "--device cuda on a cluster: say how many GPUs a run gets, --slurm.gpus-per-run 1"
            )

    def device(self, asked: str) -> str:
        """What `auto` means on a cluster: the GPUs are the nodes', not this machine's."""
        return ("cuda" if self.gpus_per_run else "cpu") if asked == "auto" else asked

    def parameters(self, name: str, threads: int) -> dict[str, object]:
        """The same for submitit."""
        given: dict[str, object] = {
            "job_name": name,
            "time": self.timeout_min,
            "cpus_per_task": self.cpus_per_run or threads,
            "array_parallelism": self.max_parallel,
            # Threads are counted when OpenMP loads; the exports stand before Python starts.
            "setup": [*self.setup, *(f"export {variable}={threads}" for variable in THREAD_VARIABLES)],
            # submitit asks for this signal to write checkpoints; ours are the records, and it is ignored.
            "signal_delay_s": 1,
        }
        optional = {"partition": self.partition, "account": self.account, "qos": self.qos}
        optional |= {"constraint": self.constraint}
        given |= {key: value for key, value in optional.items() if value}
        if self.gpus_per_run:
            given["gpus_per_node"] = self.gpus_per_run
        if self.memory_gb:
            given["mem"] = f"{round(self.memory_gb * 1024)}M"
        further = dict(entry.split("=", 1) for entry in self.sbatch)
        given["additional_parameters"] = {"requeue": True, **further}
        return given


def run_tasks_on_slurm(
    tasks: Sequence[Task],
    *,
    slurm: SlurmOptions,
    folder: Path,
    threads: int = 1,
    done: Sequence[str] = (),
    say: Callable[[str], None] = lambda message: None,
    on_look: Callable[[Collection[str]], None] = lambda numbers: None,
) -> Generator[Outcome, None, None]:
    """Yield an `Outcome` for each task as it finishes, like `run_tasks`; `folder` must be one that every node sees.

    Values come back as JSON. Ending the generator (Ctrl-C) cancels the study's jobs; killing the process leaves them
    in the queue, where the next start in this folder finds them. `on_look` is called with the numbers of the jobs that have
    not ended, before each look at the queue.

    Raises:
        StudyError: SLURM does not answer at the start, or refuses the jobs.
    """
    slurm.check()
    graph = TaskGraph(tasks, done)
    cluster = _Cluster(slurm, folder.resolve() / "slurm", threads, say)
    cluster.adopt(tasks)
    for task in cluster.tasks():
        graph.take(task.name)
    try:
        while not graph.over:
            yield from graph.blocked()
            cluster.submit(graph.ready())
            on_look(cluster.jobs)
            waited = True
            for outcome in cluster.finished():
                waited = False
                yield graph.settle(outcome)
            for task in cluster.take_back():
                waited = False
                graph.give_back(task)
            if waited and not graph.over:
                time.sleep(slurm.poll_seconds)
    except BaseException:
        cluster.cancel()
        raise


class _Cluster:
    """The jobs of one study on one cluster."""

    def __init__(self, slurm: SlurmOptions, folder: Path, threads: int, say: Callable[[str], None]) -> None:
        self.slurm, self.folder, self.threads, self.say = slurm, folder, threads, say
        self.name = job_name(folder)
        self.journal = Journal(folder / "jobs.json")
        self.jobs: dict[str, Job] = {}
        self._lost: list[Task] = []
        self._times_lost: dict[str, int] = {}
        self._gone_since: dict[str, float] = {}
        self._said_silent = False

    def tasks(self) -> list[Task]:
        """Tasks under way."""
        return [task for job in self.jobs.values() for task in job.tasks]

    def adopt(self, tasks: Sequence[Task]) -> None:
        """Take over the jobs of an earlier start that live and do what is wanted now; cancel the others."""
        live = queue(self.name)
        wanted = {task.name: task for task in tasks}
        for name, entry in self.journal.entries.items():
            task = wanted.get(name)
            if task is not None and entry["job"] in live and entry["identity"] == identity(task):
                self.jobs.setdefault(entry["job"], Job(entry["job"], [])).tasks.append(task)
        strangers = live.keys() - self.jobs.keys()
        if strangers:
            self._cancel_and_wait(strangers)
        kept = {outcome_path(self.folder, task.name) for task in self.tasks()}
        for path in (self.folder / "outcomes").glob("*.json"):
            if path not in kept:  # of an earlier start: what failed then is tried again now
                path.unlink(missing_ok=True)
        if self.jobs:
            self.say(
                f"{len(self.tasks())} tasks of an earlier start are still in the queue, in {len(self.jobs)} jobs: "
                "waiting for them"
            )

    def submit(self, tasks: Sequence[Task]) -> None:
        """Submit tasks as job arrays."""
        if not tasks:
            return
        size = self.slurm.runs_per_job
        bundles = [list(tasks[i : i + size]) for i in range(0, len(tasks), size)]
        for task in tasks:
            outcome_path(self.folder, task.name).unlink(missing_ok=True)
        for start in range(0, len(bundles), LARGEST_ARRAY):
            array = bundles[start : start + LARGEST_ARRAY]
            numbers = self._submit_array(array)
            new = {number: Job(number, bundle) for number, bundle in zip(numbers, array, strict=True)}
            self.journal.add(new.values())
            self.jobs |= new
            self.say(f"{sum(map(len, array))} tasks submitted to SLURM as job {numbers[0].split('_')[0]}")

    def _submit_array(self, bundles: Sequence[list[Task]]) -> list[str]:
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        # Jobs start in this folder as this process did, so that relative paths mean the same.
        executor = submitit.SlurmExecutor(folder=self.folder / "jobs")
        executor.update_parameters(**self.slurm.parameters(self.name, self.threads))
        try:
            with executor.batch():
                jobs = [executor.submit(carry_out, self.folder, bundle, self.threads) for bundle in bundles]
            return [job.job_id for job in jobs]
        except (FailedJobError, FailedSubmissionError) as error:
            raise StudyError(
                f"SLURM refused the jobs: {' '.join(str(error).split())}; see `sinfo` and `scontrol show partition` for "
                "what it accepts, and --slurm.partition, --slurm.account, --slurm.timeout-min, --slurm.memory-gb"
            ) from error

    def finished(self) -> Generator[Outcome, None, None]:
        """Outcomes that are there by now; jobs that are over are forgotten."""
        live = self._queue()
        there = outcomes_there(self.folder)
        for number, job in list(self.jobs.items()):
            yield from self._take_outcomes(job, there)
            if not job.tasks:
                del self.jobs[number]
            elif live is None or number in live:
                self._gone_since.pop(number, None)
            else:
                since = self._gone_since.setdefault(number, time.monotonic())
                if time.monotonic() - since >= self.slurm.lag_seconds:
                    # What it wrote before it ended has had the time to come here.
                    yield from self._take_outcomes(job, outcomes_there(self.folder))
                    del self.jobs[number]
                    yield from self._bury(job)

    def _take_outcomes(self, job: Job, there: Collection[str]) -> Generator[Outcome, None, None]:
        for task in list(job.tasks):
            if outcome_path(self.folder, task.name).name not in there:
                continue
            outcome = read_outcome(self.folder, task)
            if outcome is not None:
                job.tasks.remove(task)
                yield outcome

    def _bury(self, job: Job) -> Generator[Outcome, None, None]:
        """A job that ended without all its outcomes: its current task failed or is tried again, the rest goes back."""
        if not job.tasks:
            return
        culprit, *rest = job.tasks
        self._lost += rest
        end = why_it_ended(job.number, self.folder)
        times = self._times_lost.get(culprit.name, 0) + 1
        if end.is_lost and times <= self.slurm.lost_retries:
            self._times_lost[culprit.name] = times
            self._lost.append(culprit)
            self.say(
                f"job {job.number} was lost ({end.state} on {end.node}): {culprit.name} is submitted again"
            )
        else:
            yield Outcome(culprit, failure=end.reason(job.number, timeout_min=self.slurm.timeout_min))

    def take_back(self) -> list[Task]:
        """Tasks to submit again."""
        lost, self._lost = self._lost, []
        return lost

    def _queue(self) -> Mapping[str, tuple[str, str]] | None:
        """The queue, or None while SLURM does not answer: its controller may be restarting, and jobs go on without it."""
        try:
            found = queue(self.name)
        except StudyError as error:
            if not self._said_silent:
                self.say(f"{error}; waiting for it (jobs go on)")
            self._said_silent = True
            return None
        self._said_silent = False
        return found

    def _cancel_and_wait(self, numbers: Collection[str]) -> None:
        ordered = sorted(numbers)
        for start in range(0, len(ordered), 200):  # command lines have an end
            ask("scancel", *ordered[start : start + 200])
        deadline = time.monotonic() + PATIENCE
        while not queue(self.name).keys().isdisjoint(numbers):
            if time.monotonic() > deadline:
                raise StudyError(
                    f"jobs of an earlier start do not end: see `squeue -n {self.name}`; start again when they are gone"
                )
            time.sleep(min(1.0, self.slurm.poll_seconds))

    def cancel(self) -> None:
        """Cancel what is under way, and what was being submitted this very moment."""
        with contextlib.suppress(StudyError):
            ask("scancel", f"--name={self.name}")

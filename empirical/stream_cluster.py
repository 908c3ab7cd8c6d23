"""A training from a stream as one SLURM job: `train_on_slurm(run, slurm)`, from a login node.

The job has a process for each GPU, on one node or several. Preempted, it is queued again by SLURM; before its time limit it
writes a checkpoint and queues itself again; either way it goes on from where it stood. The job needs nobody to watch it:
a driver that lost its connection finds the job again, as those of a study do.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from empirical.cluster import SlurmOptions, run_tasks_on_slurm
from empirical.errors import StudyError
from empirical.interruption import Interrupted, StopSignals
from empirical.records import exclusive
from empirical.slurm_jobs import ask, printed_by
from empirical.task_graph import Task

if TYPE_CHECKING:  # options are needed for --help, PyTorch is not
    import pandas as pd

    from empirical.stream_process import StreamRun

TASK = "training"


@dataclass(frozen=True)
class StreamSlurmOptions(SlurmOptions):
    """How a training from a stream becomes a SLURM job."""

    gpus_per_run: int = 0
    """GPUs of each job; each trains with a process of its own, 0 trains on CPU cores."""
    cpus_per_run: int = 0
    """CPU cores of each job, dealt to its processes evenly. Default: what --threads and --workers of each of them need."""
    nodes_per_run: int = 1
    """Nodes of each job; its processes, GPUs, cores and memory are dealt to them evenly."""
    processes_per_run: int = 0
    """Processes of each job, which share every batch. Default: one for each GPU, or one."""
    notice_seconds: int = 120
    """So long before its time limit a job writes a checkpoint and queues again (SLURM may ask up to a minute earlier)."""

    @property
    def processes(self) -> int:
        """Processes of the job, on all nodes."""
        return self.processes_per_run or self.gpus_per_run or 1

    def check(self, *, needs_gpu: bool = False) -> None:
        """As for a study, and processes, GPUs and nodes must fit. Raises: StudyError."""
        super().check(needs_gpu=needs_gpu)
        for name, low in {"nodes_per_run": 1, "processes_per_run": 0, "notice_seconds": 1}.items():
            if getattr(self, name) < low:
                raise StudyError(
                    f"--slurm.{name.replace('_', '-')} {getattr(self, name)}: must be at least {low}"
                )
        if self.gpus_per_run and self.processes != self.gpus_per_run:
            raise StudyError(
                f"--slurm.processes-per-run {self.processes}: a process trains on one GPU, and there are {self.gpus_per_run}"
            )
        for count, what, parts, among in (
            (self.processes, "processes", self.nodes_per_run, "nodes"),
            (self.cpus_per_run, "cores", self.processes, "processes"),
        ):
            if count % parts:
                raise StudyError(f"--slurm: {count} {what} cannot be dealt evenly to {parts} {among}")
        if self.notice_seconds >= 60 * self.timeout_min:
            raise StudyError(
                f"--slurm.notice-seconds {self.notice_seconds}: must be less than the {self.timeout_min} minutes of a job"
            )

    def parameters(self, name: str, threads: int) -> dict[str, object]:
        """The same for submitit."""
        given = super().parameters(name, threads)
        given |= {
            "nodes": self.nodes_per_run,
            "ntasks_per_node": self.processes // self.nodes_per_run,
            "signal_delay_s": self.notice_seconds,
            # A process that fails must not leave the others waiting for it until the time limit.
            "srun_args": ["--kill-on-bad-exit=1"],
        }
        if self.cpus_per_run:
            given["cpus_per_task"] = self.cpus_per_run // self.processes
        if self.gpus_per_run:
            given["gpus_per_node"] = self.gpus_per_run // self.nodes_per_run
        if self.memory_gb:
            given["mem"] = f"{round(self.memory_gb * 1024 / self.nodes_per_run)}M"
        return given


def train_on_slurm(
    run: StreamRun, slurm: StreamSlurmOptions, *, say: Callable[[str], None] = print
) -> pd.DataFrame | None:
    """Submit the training (or find its job again) and wait for it, telling what it tells; accuracies of its test sets.

    Ctrl-C cancels the job, which writes a checkpoint.

    Raises:
        StudyError: SLURM refuses the job or does not answer, or the job failed; says why.
    """
    import pandas as pd

    slurm.check(needs_gpu=run.options.device == "cuda")
    if run.options.recipe.batch_size % slurm.processes:
        raise StudyError(
            f"a batch of {run.options.recipe.batch_size} cannot be dealt to {slurm.processes} processes: choose a multiple"
        )
    cores = slurm.cpus_per_run or slurm.processes * (max(1, run.threads) + run.options.workers)
    slurm = replace(slurm, cpus_per_run=cores)
    with exclusive(run.out / "slurm"):
        logs = _Logs(run.out / "slurm", say)
        outcomes = run_tasks_on_slurm(
            [Task(TASK, train_in_job, (run, slurm.timeout_min))],
            slurm=slurm, folder=run.out, threads=max(1, run.threads), say=say, on_look=logs.tell,
        )  # fmt: skip
        (outcome,) = outcomes  # to its end: a generator that is dropped cancels the job
        logs.tell_rest()
    if outcome.failure is not None:
        raise StudyError(f"{outcome.failure}; what it printed: {run.out / 'slurm' / 'jobs'}")
    table = (outcome.value or {}).get("accuracies")
    return None if table is None else pd.DataFrame(table)


class _Logs:
    """What the first process of each job prints, line by line as it comes."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder, self.say = folder, say
        self._read: dict[str, int] = {}

    def tell(self, numbers: Collection[str]) -> None:
        """Say what these jobs have printed since the last time."""
        for number in numbers:
            start = self._read.get(number, 0)
            lines, self._read[number] = printed_by(self.folder, number, start)
            for line in lines:
                self.say(line)

    def tell_rest(self) -> None:
        """Say what jobs that have ended had still to say."""
        self.tell(list(self._read))


# ---------------------------------------------------------------- on the node


def train_in_job(run: StreamRun, minutes: int) -> dict[str, Any] | None:
    """What each process of the job does; the first one's value is the job's.

    Raises:
        StudyError: the time limit comes without anything done since the job started, or it cannot be queued again.
    """
    from empirical.command import prepare_libraries
    from empirical.process_group import join_slurm_group
    from empirical.stream_process import run_stream

    prepare_libraries()  # a job is an entry point, like the command
    first = join_slurm_group() == 0
    before = _traces(run)

    def goodbye(stopped: Interrupted) -> None:
        print(stopped, flush=True)
        if (
            stopped.number == signal.SIGUSR2
        ):  # the notice; whoever sends SIGTERM decides what becomes of the job
            if _traces(run) == before:
                raise StudyError(
                    f"{minutes} minutes are too short for a single step: raise --slurm.timeout-min"
                )
            _queue_again()

    def outside_of_steps(number: int, _: FrameType | None) -> None:
        if first and _traces(run) != before:
            print("the time limit is near", flush=True)
            _queue_again()
            raise SystemExit(128 + number)

    # Read and written in the meantime: indexes, or accuracies. Ignored, where there is nothing to go on from.
    signal.signal(signal.SIGUSR2, outside_of_steps)
    with StopSignals() as stop:
        try:
            accuracies = run_stream(run, say=lambda line: print(line, flush=True), stop=stop, goodbye=goodbye)
        except Interrupted as stopped:
            raise SystemExit(stopped.exit_status) from None
    if not first:
        return None
    table = (
        None if accuracies is None else json.loads(accuracies.to_json(orient="records", double_precision=15))
    )
    return {"accuracies": table}


def _queue_again() -> None:
    number = os.environ["SLURM_JOB_ID"]
    try:
        ask("scontrol", "requeue", number)
    except StudyError as error:
        raise StudyError(
            f"job {number} cannot be queued again ({error}): the same command goes on"
        ) from error
    print("queued again: it goes on from there", flush=True)


def _traces(run: StreamRun) -> dict[str, int]:
    """Files from which the training goes on, with their times: whether a job came any further shows in them."""
    from empirical.stream_plan import index_folders
    from empirical.stream_run import CHECKPOINT, WEIGHTS

    folders = index_folders(run.options, run.indexes or run.out / "indexes").values()
    files = [run.out / CHECKPOINT, run.out / WEIGHTS, *(path for each in folders for path in each.glob("*"))]
    return {str(path): path.stat().st_mtime_ns for path in files if path.is_file()}

"""SLURM jobs one by one: what a job does on its node, what it leaves behind, and what the queue knows of it.

`empirical.cluster` plans with these; nothing here is submitted or waited for.
"""

import dataclasses
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from empirical.errors import StudyError
from empirical.records import fingerprint, read_json, write_json
from empirical.task_graph import Outcome, Task, reason_of

LOST = ("NODE_FAIL", "BOOT_FAIL", "PREEMPTED", "REVOKED", "REQUEUED")
"""States in which the job is not to blame."""


_STOPPED = ("143:0", "15:0", "0:15", "140:0", "12:0", "0:12")
"""Exit codes of a job that SIGTERM ended before SLURM did, as in the grace time of a preemption, or SIGUSR2, the notice before
the time limit, while it was still importing. scancel leaves another state."""

_KILLED = ("0:9", "9:0", "137:0")
"""Exit codes of a step that got SIGKILL: its own, srun's, and a shell's that waits for srun."""


@dataclass
class Job:
    """A job (`12`, or `12_3` of an array) and its tasks that have no outcome yet, in the order it carries them out."""

    number: str
    tasks: list[Task]


@dataclass(frozen=True)
class JobEnd:
    """How a job that left the queue ended: SLURM's state (empty when nobody knows), exit code and node, last words."""

    state: str = ""
    exit_code: str = ""
    node: str = ""
    last_words: str = ""

    @property
    def is_lost(self) -> bool:
        """Whether the same job might well succeed elsewhere."""
        return self.state in LOST or (self.state == "FAILED" and self.exit_code in _STOPPED)

    def reason(self, number: str, *, timeout_min: int) -> str:
        """Why it has no result, and the way out."""
        where = f"SLURM job {number}" + (f" on {self.node}" if self.node not in ("", "None assigned") else "")
        words = f": {self.last_words}" if self.last_words else ""
        if self.state == "OUT_OF_MEMORY" or self.exit_code in _KILLED:
            return f"{where} was killed, most likely out of memory: raise --slurm.memory-gb{words}"
        if self.state in ("TIMEOUT", "DEADLINE"):
            return f"{where} did not finish in {timeout_min} minutes: raise --slurm.timeout-min"
        if self.state == "CANCELLED":
            return f"{where} was cancelled"
        if self.is_lost:
            return f"{where} was lost again and again ({self.state}): raise --slurm.lost-retries, or use another partition"
        if self.state:
            return f"{where} ended as {self.state} (exit code {self.exit_code}) without a result{words}"
        return f"{where} left the queue without a result, and SLURM's accounting does not say why{words}"


class Journal:
    """Which job carries out which task, on disk: a start after a lost connection finds its jobs by it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.entries: dict[str, dict[str, str]] = read_json(path)
        except (
            FileNotFoundError,
            StudyError,
        ):  # without it, jobs in the queue are cancelled and submitted anew
            self.entries = {}

    def add(self, jobs: Iterable[Job]) -> None:
        """Remember these jobs' tasks."""
        for job in jobs:
            for task in job.tasks:
                self.entries[task.name] = {"job": job.number, "identity": identity(task)}
        write_json(self.path, self.entries)


def job_name(folder: Path) -> str:
    """The name that all jobs of the study in `folder` bear, and no others."""
    return f"qnq-{fingerprint(str(folder.resolve()))[:12]}"


def identity(task: Task) -> str:
    """Says whether two starts mean the same by a task: a digest of what is called and with what."""
    return fingerprint([_plain(task.function), _plain(task.arguments)])


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [
            type(value).__name__,
            {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)},
        ]
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if callable(value):
        return f"{value.__module__}.{value.__qualname__}"
    return repr(value)


def outcome_path(folder: Path, name: str) -> Path:
    """Where a task's outcome is written."""
    return folder / "outcomes" / f"{fingerprint(name)}.json"


def outcomes_there(folder: Path) -> set[str]:
    """Names of the outcome files; one look at the folder, for a shared file system is slow to say what is not there."""
    try:
        return set(os.listdir(folder / "outcomes"))
    except FileNotFoundError:
        return set()


def carry_out(folder: Path, tasks: Sequence[Task], threads: int) -> None:
    """What a job does: carry out its tasks, each with an outcome on disk; those that have one are not repeated.

    In a job of several processes each of them does this: the value is the first one's, a failure anybody's, who then ends with
    status 1 so that the others are not left waiting.
    """
    import signal

    import torch

    # submitit shrugs SIGTERM off and answers SIGUSR2 with a checkpoint; a job that is told to go should go at once.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    torch.set_num_threads(threads)
    first = os.environ.get("SLURM_PROCID", "0") == "0"
    alone = os.environ.get("SLURM_NTASKS", "1") == "1"
    for task in tasks:
        path = outcome_path(folder, task.name)
        if path.exists():
            continue
        try:
            outcome: dict[str, Any] = {"value": task.function(*task.arguments)}
        except Exception as error:
            outcome = {"failure": reason_of(error)}
        failed = "failure" in outcome
        # The first failure is the reason; what the others see of it is that one of them has gone.
        if (first and not failed) or (failed and not path.exists()):
            write_json(path, {"task": task.name, "identity": identity(task), **outcome})
        if failed and not alone:
            raise SystemExit(1)


def read_outcome(folder: Path, task: Task) -> Outcome | None:
    """The outcome that a job wrote for this very task, or None when there is none (yet)."""
    try:
        found = read_json(outcome_path(folder, task.name))
    except FileNotFoundError:
        return None
    if found["identity"] != identity(task):
        return None
    return Outcome(task, value=found.get("value"), failure=found.get("failure"))


def ask(*words: str) -> str:
    """What one of SLURM's commands prints; `StudyError` with its words when it fails."""
    try:
        answer = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StudyError(f"SLURM does not answer: {words[0]}: {error}") from error
    if answer.returncode:
        raise StudyError(
            f"SLURM does not answer: {words[0]}: {answer.stderr.strip() or answer.stdout.strip()}"
        )
    return answer.stdout


def queue(name: str) -> dict[str, tuple[str, str]]:
    """(state, reason) of every job of that name that has not ended, by its number; elements of arrays one by one.

    Raises `StudyError` when SLURM does not answer.
    """
    rows = [
        line.split("|", 2) for line in ask("squeue", "-h", "-r", "-n", name, "-o", "%i|%T|%r").splitlines()
    ]
    return {number: (state, reason) for number, state, reason in rows}


def why_it_ended(number: str, folder: Path) -> JobEnd:
    """What accounting and the job's own error log say about a job that is no longer in the queue."""
    try:
        rows = ask("sacct", "-n", "-X", "-P", "-j", number, "-o", "State,ExitCode,NodeList").splitlines()
    except StudyError:  # a cluster without accounting
        rows = []
    state, exit_code, node = (rows[-1].split("|") if rows else ["", "", ""])[:3]
    # "CANCELLED by 1000" is one state with a remark.
    return JobEnd(state.split(" ")[0], exit_code, node, _last_words(folder / "jobs" / f"{number}_0_log.err"))


def printed_by(folder: Path, number: str, start: int = 0) -> tuple[list[str], int]:
    """Whole lines that a job's first process has printed since byte `start`, and where to go on reading."""
    try:
        with open(folder / "jobs" / f"{number}_0_log.out", "rb") as file:
            file.seek(start)
            new = file.read()
    except OSError:  # it waits in the queue
        return [], start
    whole = new[: new.rfind(b"\n") + 1]
    lines = whole.decode(errors="replace").splitlines()
    return [line for line in lines if not line.startswith("submitit ")], start + len(whole)


def _last_words(log: Path) -> str:
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    except OSError:
        return ""
    said = [
        line for line in lines if line and not line.startswith(("slurmstepd:", "srun:", "submitit WARNING"))
    ]
    return said[-1][:200] if said else ""

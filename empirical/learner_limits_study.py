r"""Share the trials of `theory.learner_limits` out over processes, on CPUs and GPUs side by side, and keep every finished chunk.

`Ledger` is a file with one line for each finished chunk, `train_jobs` trains what it lacks: a run that is cut off loses at most
the chunks in work, and the same call goes on from there, on any machine. Where there are GPUs, they take the jobs that spend
their time on factorisations, from the most expensive one down; CPU workers take the others first.
"""

import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from empirical.errors import StudyError
from empirical.workers import WorkerPool, thread_environment
from theory.learner_limits import Job
from theory.learner_limits_trials import (
    SMOOTH,
    Moments,
    chunk_size,
    chunks_wanted,
    seconds_per_trial,
    simulate,
    sum_of,
)

_WORTH_A_GPU = 0.5  # seconds per trial on a core above which factorisations gain from a GPU
_DEAD_WORKER = "a worker process died (killed, or out of memory); finished chunks are kept: start again, with fewer workers"
_GPU_MEMORY = "0.06"  # share of its memory that one worker may take


@dataclass(frozen=True)
class Settings:
    """What the moments of a job depend on, besides the job.

    Attributes:
        seed: of all data.
        penalties: λ.
        min_trials: to begin with.
        largest_stderr: standard error of an accuracy up to which trials are added, by d.
        kinked_factor: by which it may be larger for hinge and hard margin.
    """

    seed: int
    penalties: tuple[float, ...]
    min_trials: int
    largest_stderr: dict[int, float]
    kinked_factor: float

    def goal(self, job: Job) -> float:
        """The standard error wanted for a job."""
        return self.largest_stderr[job.num_features] * (1 if job.learner in SMOOTH else self.kinked_factor)


class Ledger:
    """Finished chunks in a file of JSON lines; the first line says what they depend on.

    A line that a killed run left unfinished is cut off.

    Args:
        path: the file; made with its folder if it is not there.
        settings: seed and penalties must be those of the file.

    Raises:
        ValueError: the file holds chunks of another seed or other penalties, or a line that cannot be read.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path = path
        self.chunks: dict[str, dict[int, Moments]] = {}
        self.work: Counter[str] = Counter()
        head = {"seed": settings.seed, "penalties": list(settings.penalties)}
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            with open(path, "r+", encoding="utf-8") as file:
                file.truncate(len(whole.encode()))
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                record = json.loads(line)
                if number > 1:
                    self._add(record)
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{path}, line {number}: not a finished chunk ({error}); delete the line"
                ) from error
            if number == 1 and record != head:
                raise ValueError(f"{path} holds chunks of {record}, not of {head}; choose another folder")
        if not whole:
            self._append(head)

    def _add(self, record: dict[str, Any]) -> None:
        mean = np.asarray(record["mean"], float)
        moments = Moments(
            int(record["count"]), mean, np.asarray(record["squares"], float).reshape(mean.shape)
        )
        self.chunks.setdefault(record["job"], {})[int(record["first"])] = moments
        self.work[record["device"]] += float(record["seconds"])  # pyright: ignore[reportArgumentType]

    def _append(self, record: dict[str, Any]) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def add(self, job: Job, first: int, moments: Moments, device: str, seconds: float) -> None:
        """Write one finished chunk."""
        record = {
            "job": job.name,
            "first": first,
            "count": moments.count,
            "device": device,
            "seconds": round(seconds, 2),
            "mean": moments.mean.tolist(),
            "squares": moments.squares.tolist(),
        }
        self._append(record)
        self._add(record)

    def done(self, job: Job) -> list[Moments]:
        """Moments of the job's chunks 0, 1, ... up to the first that is missing."""
        found, size, parts = self.chunks.get(job.name, {}), chunk_size(job), []
        while (part := found.get(len(parts) * size)) is not None and part.count == size:
            parts.append(part)
        return parts


@dataclass
class _Progress:
    """Where a job stands: chunks wanted by what is known, and those handed out."""

    job: Job
    wanted: int = 0
    given: set[int] = field(default_factory=set)

    def missing(self, ledger: Ledger) -> list[int]:
        found, size = ledger.chunks.get(self.job.name, {}), chunk_size(self.job)
        return [i for i in range(self.wanted) if i * size not in found and i not in self.given]

    @property
    def for_gpu(self) -> bool:
        return self.job.learner not in SMOOTH and seconds_per_trial(self.job) > _WORTH_A_GPU


def standing(job: Job, ledger: Ledger, settings: Settings) -> tuple[int, Moments | None]:
    """How many chunks a job is known to need, and its moments if its standard errors are small enough."""
    done, goal = ledger.done(job), settings.goal(job)
    wanted = chunks_wanted(job, [], settings.min_trials, goal)
    # Round by round, as they were asked for: what a job ends with does not depend on where a run was cut off.
    while wanted <= len(done):
        more = chunks_wanted(job, done[:wanted], settings.min_trials, goal)
        if more == wanted:
            return wanted, sum_of(done[:wanted])
        wanted = more
    return wanted, None


def train_jobs(
    jobs: Sequence[Job],
    ledger: Ledger,
    settings: Settings,
    workers: int,
    gpu_workers: int = 0,
    report: Callable[[str], None] = print,
) -> None:
    """Train what the ledger lacks until every job's standard errors are small enough.

    Args:
        jobs: what to train.
        ledger: where finished chunks are.
        settings: goals and seeds.
        workers: spawned processes on CPUs, one thread each.
        gpu_workers: spawned processes on the GPU.
        report: told of every finished job.

    Raises:
        ValueError: no worker at all.
        RuntimeError: GPU workers where JAX sees no GPU.
        StudyError: a worker process died; finished chunks are in the ledger.
    """
    if workers + gpu_workers < 1:
        raise ValueError("at least one worker is needed, got none")
    started = time.monotonic()
    progress = {job.name: _Progress(job, standing(job, ledger, settings)[0]) for job in jobs}
    left = {name for name, one in progress.items() if standing(one.job, ledger, settings)[1] is None}
    total = len(left)
    with ExitStack() as stack:
        cache = stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(thread_environment(1))
        pools = {
            kind: (stack.enter_context(WorkerPool(number, prepare, (kind, cache))), number)
            for kind, number in (("cuda", gpu_workers), ("cpu", workers))
            if number
        }
        running: dict[Future[Any], tuple[str, str, int]] = {}
        if left and "cuda" in pools:
            _first_device(pools["cuda"][0])
        while left:
            for kind, (pool, number) in pools.items():
                busy = sum(1 for other, *_ in running.values() if other == kind)
                for _ in range(number - busy):
                    chosen = _choose([progress[name] for name in left], ledger, kind, "cuda" in pools)
                    if chosen is None:
                        break
                    one, index = chosen
                    one.given.add(index)
                    first = index * chunk_size(one.job)
                    try:
                        future = pool.submit(_work, one.job, settings.penalties, settings.seed, first)
                    except BrokenProcessPool as error:
                        raise StudyError(_DEAD_WORKER) from error
                    running[future] = (kind, one.job.name, index)
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                _, name, index = running.pop(future)
                one = progress[name]
                try:
                    moments, device, seconds = future.result()
                except BrokenProcessPool as error:
                    raise StudyError(_DEAD_WORKER) from error
                ledger.add(one.job, index * chunk_size(one.job), moments, device, seconds)
                one.wanted, result = standing(one.job, ledger, settings)
                if result is not None and name in left:
                    left.discard(name)
                    report(
                        f"[{total - len(left)}/{total}] {time.monotonic() - started:.0f} s: {name}, {result.count} trials, "
                        f"standard error {result.stderr.max():.5f} (last chunk on {device})"
                    )


def _choose(
    candidates: Sequence[_Progress], ledger: Ledger, kind: str, any_gpu: bool
) -> tuple[_Progress, int] | None:
    """The next chunk for a worker of a kind: the most expensive job first, but CPUs leave to GPUs what suits them."""
    open_jobs = [(one, missing) for one in candidates if (missing := one.missing(ledger))]
    if kind == "cuda":
        open_jobs = [(one, missing) for one, missing in open_jobs if one.for_gpu]
    if not open_jobs:
        return None

    def order(entry: tuple[_Progress, list[int]]) -> tuple[bool, float, str]:
        one, missing = entry
        cost = seconds_per_trial(one.job) * chunk_size(one.job) * len(missing)
        left_to_gpu = any_gpu and one.for_gpu
        if kind == "cpu" and left_to_gpu:
            return False, -seconds_per_trial(one.job), one.job.name
        return True, cost, one.job.name

    one, missing = max(open_jobs, key=order)
    return one, missing[0]


def prepare(kind: str, cache: str = "") -> None:
    """Make this process a worker: float64, one thread or the GPU, programs compiled once for all workers.

    Raises:
        RuntimeError: kind "cuda" where JAX sees no GPU.
    """
    os.environ["JAX_PLATFORMS"] = kind
    os.environ["XLA_PYTHON_CLIENT_MEM_FRACTION"] = _GPU_MEMORY
    if kind == "cpu":
        os.environ["XLA_FLAGS"] = (
            f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
        )
    import jax

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_platforms", kind)
    if cache:
        jax.config.update("jax_compilation_cache_dir", str(Path(cache) / kind))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def _work(job: Job, penalties: Sequence[float], seed: int, first: int) -> tuple[Moments, str, float]:
    started = time.monotonic()
    moments = Moments.of(simulate(job, penalties, seed, first, chunk_size(job)))
    return moments, _device(), time.monotonic() - started


def _first_device(pool: WorkerPool) -> str:
    """The device of a pool's workers, asked for before an hour is spent on others."""
    try:
        return pool.submit(_device).result()
    except (RuntimeError, AssertionError) as error:  # JAX without CUDA asserts that it found something
        raise RuntimeError(f"JAX has no backend for a GPU here {error}".strip()) from error


def _device() -> str:
    import jax

    return jax.devices()[0].device_kind

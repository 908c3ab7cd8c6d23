"""Our trainer beside open_clip's own, each in a fresh process, on the same shards, model, batch and number of samples."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from empirical.benchmarks.training_task import Outcome, TrainingTask
from empirical.errors import StudyError

COLUMNS = ("name", "device", "ours_seconds", "peer", "peer_seconds", "ratio")
PEER = "open_clip_train"
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class PeerEnvironment:
    """Where open_clip's trainer runs: an interpreter, and folders that come first on its path.

    Attributes:
        python: the interpreter.
        path: folders, separated as in PYTHONPATH, in front of this repository.
    """

    python: str = sys.executable
    path: str = ""


@dataclass(frozen=True)
class Compared:
    """The outcomes of both trainers on one task, seed by seed.

    Attributes:
        name: what was trained.
        task: as it was asked for, with the peer's best number of workers.
        ours, peer: one outcome per seed, in the same order.
        tried: the peer's images per second by number of workers.
    """

    name: str
    task: TrainingTask
    ours: list[Outcome]
    peer: list[Outcome]
    tried: Mapping[int, float]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Rows of COLUMNS: end to end, and the steady state as seconds for 1,000 images."""
        device = self.task.device
        ours, peer = median(o.seconds for o in self.ours), median(o.seconds for o in self.peer)
        yield row(f"{self.name}, end to end", device, ours, peer)
        ours, peer = (
            1000 / median(o.images_per_second for o in outcomes) for outcomes in (self.ours, self.peer)
        )
        yield row(f"{self.name}, 1,000 images in steady state", device, ours, peer)


def row(name: str, device: str, ours: float, peer: float, peer_name: str = PEER) -> dict[str, Any]:
    """One row of the table of ratios."""
    return dict(zip(COLUMNS, (name, device, ours, peer_name, peer, peer / ours), strict=True))


def make_task(
    folder: Path, model: str, vocabulary: str, shards: str, num_samples: int, **chosen: Any
) -> TrainingTask:
    """The task of training `model` (a name for `load_config`) on these shards; writes its config into `folder`.

    The warm-up is a tenth of all steps, as in `Recipe`; `chosen` are further fields of the task.
    """
    from empirical.model import context_length, image_size, load_config
    from empirical.tokenizer import build_tokenizer

    config = load_config(model)
    tokenizer = build_tokenizer(vocabulary, context_length=context_length(config))
    config["text_cfg"] |= {"vocab_size": tokenizer.vocab_size, "context_length": tokenizer.context_length}
    path = folder / f"benchmarked_{model}.json"
    path.write_text(json.dumps(config, indent=1), encoding="utf-8")
    task = TrainingTask(
        str(path), tokenizer.to_json(), shards, num_samples, image_size(config), **chosen
    )  # fmt: skip
    steps = task.epochs * (num_samples // task.batch_size)
    return replace(task, warmup=max(1, round(0.1 * steps)))


def run_ours(task: TrainingTask, folder: Path) -> Outcome:
    """Our trainer in a fresh process.

    Raises:
        StudyError: it failed; names its log.
    """
    return _run("our_driver", task, folder, sys.executable, os.environ.get("PYTHONPATH", ""))


def run_peer(task: TrainingTask, folder: Path, environment: PeerEnvironment) -> Outcome:
    """open_clip's trainer in a fresh process of its environment.

    Raises:
        StudyError: it failed; names its log.
    """
    inherited = os.environ.get("PYTHONPATH", "")
    path = os.pathsep.join(part for part in (environment.path, inherited) if part)
    return _run("open_clip_driver", task, folder, environment.python, path)


def _run(driver: str, task: TrainingTask, folder: Path, python: str, path: str) -> Outcome:
    folder.mkdir(parents=True)
    task.write(folder / "task.json")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(part for part in (path, str(REPOSITORY)) if part),
        "OMP_NUM_THREADS": str(task.threads),
        "MKL_NUM_THREADS": str(task.threads),
    }
    command = [python, "-m", f"empirical.benchmarks.{driver}", str(folder / "task.json"), str(folder)]
    started = time.perf_counter()
    with (folder / "log.txt").open("wb") as log:
        done = subprocess.run(command, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False)
    seconds = time.perf_counter() - started
    if done.returncode or not (folder / "outcome.json").is_file():
        lines = (folder / "log.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        hint = ""
        if driver == "open_clip_driver":
            hint = (
                "; open_clip's trainer needs webdataset 0.2.86 or older: `pip install --no-deps --target FOLDER "
                "webdataset==0.2.86`, then --peer-path FOLDER"
            )
        raise StudyError(f"{driver} failed: {lines[-1] if lines else 'no output'} ({folder}/log.txt){hint}")
    outcome = Outcome.read(folder / "outcome.json")
    outcome.seconds = seconds
    outcome.write(folder / "outcome.json")
    return outcome


def compare_trainers(
    name: str,
    task: TrainingTask,
    folder: Path,
    environment: PeerEnvironment,
    *,
    seeds: Sequence[int] = (0,),
    workers: Sequence[int] = (1,),
    report: Any = print,
) -> Compared:
    """Train by turns, ours and the peer, once for each seed; the peer first tries each number of workers on seeds[0].

    The peer keeps the number that ended soonest; its trial counts as its run of that seed.
    """
    tried: dict[int, Outcome] = {}
    for number in workers:
        tried[number] = run_peer(
            replace(task, workers=number, seed=seeds[0]),
            folder / f"peer_{number}_workers_{seeds[0]}",
            environment,
        )
        report(_describe(f"{PEER}, {number} workers", tried[number]))
    best = min(tried, key=lambda number: tried[number].seconds)
    task = replace(task, workers=best)
    ours, peer = [], [tried[best]]
    for i, seed in enumerate(seeds):
        ours.append(run_ours(replace(task, seed=seed), folder / f"ours_{seed}"))
        report(_describe("ours", ours[-1]))
        if i:
            peer.append(run_peer(replace(task, seed=seed), folder / f"peer_{seed}", environment))
            report(_describe(PEER, peer[-1]))
    rates = {number: outcome.images_per_second for number, outcome in tried.items()}
    return Compared(name, task, ours, peer, rates)


def _describe(who: str, outcome: Outcome) -> str:
    loss = f"loss {outcome.losses[0]:.3f} to {outcome.losses[-1]:.3f}"
    return f"{who}: {outcome.seconds:.1f} s, {outcome.images_per_second:,.0f} images/s, {loss}"

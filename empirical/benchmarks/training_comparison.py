"""Our trainer beside open_clip's own, each in a fresh process, on the same shards, model, batch and number of samples."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from empirical.benchmarks.fresh_process import HERE, PeerEnvironment, row, run_driver
from empirical.benchmarks.loss_curves import loss_table
from empirical.benchmarks.training_task import Outcome, TrainingTask

if TYPE_CHECKING:
    import pandas as pd

PEER = "open_clip_train"
TRIAL_EPOCHS = 3
WAY_OUT = (
    "; open_clip's trainer needs webdataset 0.2.86 or older on its path: `pip install --no-deps --target FOLDER "
    "webdataset==0.2.86`, then --peer-path FOLDER"
)


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

    def losses(self) -> pd.DataFrame:
        """Tidy loss curves of both trainers."""
        return loss_table(
            {
                name: {self.task.seed + i: outcome.losses for i, outcome in enumerate(outcomes)}
                for name, outcomes in (("ours", self.ours), (PEER, self.peer))
            }
        )

    def rows(self) -> Iterator[dict[str, Any]]:
        """Rows of COLUMNS: end to end by the clock and by the processors, and the steady state as seconds for 1,000 images."""
        device = self.task.device
        ours, peer = median(o.seconds for o in self.ours), median(o.seconds for o in self.peer)
        yield row(f"{self.name}, end to end", device, ours, PEER, peer)
        ours, peer = median(o.cpu_seconds for o in self.ours), median(o.cpu_seconds for o in self.peer)
        yield row(f"{self.name}, end to end, processor seconds", device, ours, PEER, peer)
        ours, peer = (
            1000 / median(o.images_per_second for o in outcomes) for outcomes in (self.ours, self.peer)
        )
        yield row(f"{self.name}, 1,000 images in steady state", device, ours, PEER, peer)


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
    return _run("our_driver", task, folder, HERE, "")


def run_peer(task: TrainingTask, folder: Path, environment: PeerEnvironment) -> Outcome:
    """open_clip's trainer in a fresh process of its environment.

    Raises:
        StudyError: it failed; names its log.
    """
    return _run("open_clip_driver", task, folder, environment, WAY_OUT)


def _run(
    driver: str, task: TrainingTask, folder: Path, environment: PeerEnvironment, way_out: str
) -> Outcome:
    folder.mkdir(parents=True)
    task.write(folder / "task.json")
    spent = run_driver(f"{__package__}.{driver}", folder, task.threads, environment, way_out)
    return replace(Outcome.read(folder / "outcome.json"), **asdict(spent))


def compare_trainers(
    name: str,
    task: TrainingTask,
    folder: Path,
    environment: PeerEnvironment,
    *,
    seeds: Sequence[int] = (0,),
    workers: Sequence[int] = (1,),
    report: Callable[[str], None] = print,
) -> Compared:
    """Train by turns, ours and the peer, once for each seed, with the peer's best number of workers.

    Where there are several numbers to choose from, each is tried for TRIAL_EPOCHS; the highest rate is kept.

    Raises:
        StudyError: a side failed; names its log.
    """
    tried: dict[int, float] = {}
    if len(workers) > 1:
        for number in workers:
            trial = replace(task, workers=number, epochs=TRIAL_EPOCHS, seed=seeds[0])
            outcome = run_peer(trial, folder / f"trial_{number}", environment)
            tried[number] = outcome.images_per_second
            report(f"{PEER}, {number} workers: {tried[number]:,.0f} images/s")
    task = replace(task, workers=max(tried, key=tried.__getitem__) if tried else workers[0])
    ours, peer = [], []
    for seed in seeds:
        ours.append(run_ours(replace(task, seed=seed), folder / f"ours_{seed}"))
        report(_describe("ours", ours[-1]))
        peer.append(run_peer(replace(task, seed=seed), folder / f"peer_{seed}", environment))
        report(_describe(f"{PEER}, {task.workers} workers", peer[-1]))
    return Compared(name, task, ours, peer, tried or {task.workers: peer[0].images_per_second})


def many_models(
    name: str,
    compared: Compared,
    folder: Path,
    environment: PeerEnvironment,
    report: Callable[[str], None],
    *,
    models: int,
    at_once: int = 2,
) -> dict[str, Any]:
    """A row for what a study does: seconds for `models` trainings (a multiple of `at_once`), so many at once.

    One thread for each and no loader process. Ours: `at_once` processes, each trains its part one model after the other,
    as a study's workers do. The peer's command trains one model: a fresh process for each.

    Raises:
        StudyError: a side failed; names its log.
    """
    task = replace(compared.task, threads=1, workers=0)
    part = models // at_once
    jobs = {
        "ours": (run_ours, [replace(task, seed=i * part, models=part) for i in range(at_once)]),
        PEER: (partial(run_peer, environment=environment), [replace(task, seed=i) for i in range(models)]),
    }
    seconds = []
    for who, (run, tasks) in jobs.items():
        started = time.perf_counter()
        with ThreadPoolExecutor(at_once) as pool:
            for done in [pool.submit(run, each, folder / f"{who}_{each.seed}") for each in tasks]:
                done.result()
        seconds.append(time.perf_counter() - started)
        report(f"{models} models, {at_once} at once: {who} {seconds[-1]:.1f} s")
    return row(
        f"{name}, {models} models, {at_once} at once, end to end", task.device, seconds[0], PEER, seconds[1]
    )


def _describe(who: str, outcome: Outcome) -> str:
    loss = f"loss {outcome.losses[0]:.3f} to {outcome.losses[-1]:.3f}"
    return f"{who}: {outcome.seconds:.1f} s, {outcome.images_per_second:,.0f} images/s, {loss}"

"""What is measured of training and of evaluation on a device: `training_parts`, `large_part`, `evaluation_part`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from empirical.benchmarks.evaluation_comparison import compare_evaluators, write_test_sets
from empirical.benchmarks.evaluation_task import EvaluationTask
from empirical.benchmarks.fresh_process import HERE, PeerEnvironment, row
from empirical.benchmarks.loss_curves import difference_table, same_to_noise
from empirical.benchmarks.made_up_shards import write_made_up, write_rendered
from empirical.benchmarks.training_comparison import (
    PEER,
    Compared,
    compare_trainers,
    make_task,
    many_models,
    run_ours,
)
from empirical.workers import usable_cores

if TYPE_CHECKING:
    import pandas as pd

LANES = 8
MODELS = (2, 8)
"""Trainings, two at once, that are measured end to end beside a single one."""
SMALL = "conv_tower 32 px batch 64"


@dataclass(frozen=True)
class Choices:
    """How much is measured, where, and beside which peers.

    Attributes:
        device: "cpu", "cuda", ...
        quick: as little as shows that everything runs.
        trainer, evaluator: the peers' environments.
        workers: numbers of loader processes among which the peer's trainer finds its best; empty: the default ones.
        seeds: one training of each trainer per seed; more than one give loss curves.
        repeats: turns of the evaluators.
        report: takes a line about progress.
    """

    device: str = "cpu"
    quick: bool = False
    trainer: PeerEnvironment = HERE
    evaluator: PeerEnvironment = HERE
    workers: Sequence[int] = ()
    seeds: Sequence[int] = (0, 1, 2)
    repeats: int = 5
    report: Callable[[str], None] = print

    @property
    def on_a_gpu(self) -> bool:
        """Whether the device is one that records steps."""
        return self.device.startswith("cuda")


@dataclass(frozen=True)
class Part:
    """Rows of the table of ratios, further tables by name, and what a record should say besides, ready for JSON."""

    rows: list[dict[str, Any]]
    notes: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)


def training_parts(folder: Path, choices: Choices) -> Iterator[Part]:
    """The small model end to end and in steady state, and several at once.

    Args: folder, an empty one for shards, logs and weights.
    Raises: StudyError when a trainer fails; names its log.
    """
    samples, shards, epochs = (
        (256, 2, 2) if choices.quick else (4096, 16, 12) if choices.on_a_gpu else (2048, 8, 8)
    )
    pattern = write_rendered(folder / "rendered", samples, shards)
    choices.report(f"{samples} rendered pairs of 32 px in {shards} shards")
    # One thread: a second one gives small towers a quarter more on idle cores and makes them ten times slower on busy ones.
    task = make_task(
        folder, "conv_tower", "world", pattern, samples,
        epochs=epochs, threads=4 if choices.on_a_gpu else 1, device=choices.device, recorded=choices.on_a_gpu,
    )  # fmt: skip
    tried = (0,) if choices.quick else (4, 8) if choices.on_a_gpu else (0, 1, 2)
    small = compare_trainers(
        SMALL, task, folder / "small", choices.trainer,
        seeds=choices.seeds, workers=choices.workers or tried, report=choices.report,
    )  # fmt: skip
    yield _part(small)
    if choices.on_a_gpu:
        yield _many_at_once(choices, small)
    elif not choices.quick:
        for models in MODELS:
            place = folder / f"models_{models}"
            yield Part([many_models(SMALL, small, place, choices.trainer, choices.report, models=models)])


def evaluation_part(folder: Path, choices: Choices) -> Part:
    """Zero-shot evaluation of a small model on five test sets beside clip-benchmark's.

    Args: folder, an empty one for shards, logs and weights.
    Raises: StudyError when an evaluator fails, naming its log, or the two find different accuracies.
    """
    samples, images, repeats = (256, 60, 1) if choices.quick else (2048, 1500, choices.repeats)
    pattern = write_rendered(folder / "rendered", samples, 2)
    task = make_task(folder, "conv_tower", "world", pattern, samples, epochs=4)
    run_ours(task, folder / "model")
    test_sets = write_test_sets(folder / "test_sets", images)
    choices.report(f"a model trained, {len(test_sets)} test sets of {images} images written")
    evaluation = EvaluationTask(
        str(folder / "model" / f"model_{task.seed}.safetensors"), task.config, task.tokenizer, test_sets,
        device=choices.device, threads=4 if choices.on_a_gpu else 1,
    )  # fmt: skip
    workers = (0,) if choices.quick else (0, 2, 4)
    compared = compare_evaluators(
        evaluation, images, folder / "turns", choices.evaluator,
        repeats=repeats, workers=workers, report=choices.report,
    )  # fmt: skip
    notes = {
        "accuracy": {"ours": compared.ours[-1].accuracy, "peer": compared.peer[-1].accuracy},
        "peer_workers": compared.task.workers,
        "peer_versions": compared.peer[-1].versions,
    }
    return Part(list(compared.rows()), {"evaluation": notes})


def large_part(folder: Path, choices: Choices) -> Part:
    """RN50 on 224 px images beside open_clip's trainer: in bfloat16 autocast on a GPU, fewer and in float32 on a CPU.

    Args: folder, an empty one for shards, logs and weights.
    Raises: StudyError when a trainer fails; names its log.
    """
    gpu = choices.on_a_gpu
    samples, shards, batch, epochs = (
        (1024, 8, 128, 5) if gpu else (16, 2, 8, 2) if choices.quick else (96, 2, 16, 3)
    )
    model, size = ("modified_resnet", 32) if choices.quick and not gpu else ("RN50", 224)
    pattern = write_made_up(folder / "made_up", samples, shards, image_size=size)
    choices.report(f"{samples} made-up pairs of {size} px in {shards} shards")
    # One thread for each core: large convolutions divide well.
    task = make_task(
        folder, model, "open_clip", pattern, samples,
        epochs=epochs, batch_size=batch, threads=4 if gpu else usable_cores(), device=choices.device, bfloat16=gpu,
    )  # fmt: skip
    compared = compare_trainers(
        f"{model} {size} px batch {batch}{' bf16' if gpu else ''}", task, folder / "large", choices.trainer,
        seeds=choices.seeds, workers=choices.workers or ((8,) if gpu else (0,)), report=choices.report,
    )  # fmt: skip
    return _part(compared)


def _many_at_once(choices: Choices, small: Compared) -> Part:
    """Images per second of all models together, beside the peer's one model."""
    from empirical.benchmarks.training_rate import training_rate

    rate = training_rate(choices.device, lanes=LANES, recorded=True, num_samples=4096, epochs=6)
    choices.report(f"{LANES} models at once: {rate.images_per_second:,.0f} images/s")
    name = f"{SMALL}, 1,000 images, {LANES} of our models at once (noise)"
    rows = [
        row(name, choices.device, 1000 / rate.images_per_second, PEER, 1000 / small.peer[0].images_per_second)
    ]
    return Part(rows, {name: asdict(rate)})


def _part(compared: Compared) -> Part:
    left_out = ("tokenizer", "shards", "config")
    notes: dict[str, Any] = {
        "task": {name: value for name, value in asdict(compared.task).items() if name not in left_out},
        "peer_images_per_second_by_workers": {str(number): rate for number, rate in compared.tried.items()},
        "ours": [asdict(outcome) for outcome in compared.ours],
        "peer": [asdict(outcome) for outcome in compared.peer],
    }
    tables = {}
    if len(compared.ours) > 1 and compared.name == SMALL:
        tables = {"loss_curves": compared.losses()}
        tables["loss_difference"] = difference_table(tables["loss_curves"], "ours", PEER)
        notes["loss_curves"] = same_to_noise(tables["loss_difference"])
    return Part(list(compared.rows()), {compared.name: notes}, tables)

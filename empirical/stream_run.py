"""A whole training from a stream: `train_from_stream(options, out)`, then `evaluate_stream_model(out, test_sets)`.

Everything lies in one folder: the index of each source, the checkpoint while it trains, and at the end the weights, the
account, the loss and provenance.json, which is written last and says that the training is finished. Killed anywhere,
the same call goes on; finished, it does nothing.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from empirical.errors import DataError, StudyError
from empirical.evaluation import evaluate_by_name
from empirical.figures.training_loss import draw_training_loss
from empirical.interruption import Interrupted, StopSignals
from empirical.model import (
    build_model,
    context_length,
    image_size,
    load_config,
    load_model,
    num_parameters,
    save_weights,
)
from empirical.plan import format_shares
from empirical.process_group import ALONE, World, gather_json
from empirical.progress import StepProgress, format_duration, format_rate
from empirical.records import (
    environment,
    exclusive,
    fingerprint,
    read_json,
    remove_leftovers,
    write_json,
)
from empirical.shard_index import file_sha256
from empirical.shards import expand_shards
from empirical.stream_account import merged_states
from empirical.stream_plan import (
    StreamOptions,
    build_indexes,
    count_vocabulary,
    describe_plan,
    load_indexes,
    most_samples,
    stream_settings,
)
from empirical.stream_report import account_table, describe_account, loss_table
from empirical.stream_trainer import StreamTrainer
from empirical.streams import SampleStream
from empirical.tables import accuracies_table, write_table
from empirical.tokenizer import from_json
from empirical.training_checkpoint import TrainingCheckpoint, continue_training, refuse_other_settings
from empirical.zero_shot import num_correct

CHECKPOINT, WEIGHTS, PROVENANCE = "checkpoint.pt", "model.safetensors", "provenance.json"


def train_from_stream(
    options: StreamOptions,
    out: Path,
    *,
    indexes: Path | None = None,
    world: World = ALONE,
    say: Callable[[str], None] = print,
    quiet: bool = False,
    stop: StopSignals | None = None,
) -> bool:
    """Index, plan, train and write; False where this training was finished already. Every process of a group calls it.

    Args:
        out: folder of this training alone.
        indexes: folder for the sources' indexes, which several trainings may share (default: `out`/indexes).
        world: this process's part; the first one indexes, speaks and writes.
        say: receives what the first process has to tell, line by line; quiet: no progress.
        stop: signals noted there end the training after its step, with a checkpoint; without it they act at once.

    Raises:
        DataError: shards, index or checkpoint that cannot be used.
        StudyError: options that make no sense, or a folder that holds a training of other settings; says which.
        TrainingError: the loss became NaN or infinite. Interrupted: a signal asked for it; the same call goes on.
    """
    first, folder = world.rank == 0, indexes or out / "indexes"
    say = say if first else lambda line: None
    config = load_config(options.model)
    with ExitStack() as held:
        text = ""
        if first:
            held.enter_context(exclusive(out))
            remove_leftovers(out)
            build_indexes(options, folder, _telling(say))
            text = count_vocabulary(options, load_indexes(options, folder), context_length(config))
        text = gather_json(world, text)[0]  # the others wait here for the indexes
        indices = load_indexes(options, folder)
        available = {name: len(index) for name, index in indices.items()}
        samples = options.samples or most_samples(options.shares, available)
        settings = stream_settings(options, folder, samples, text)
        if len(set(gather_json(world, fingerprint(settings)))) > 1:
            raise StudyError(
                "the processes do not read the same data: give all of them the same shards and --out"
            )
        if is_finished(out, settings):
            say(f"{out} holds this training, finished: nothing is trained again")
            return False
        tokenizer = from_json(text)
        model = build_model(config, tokenizer, options.seed)
        device = torch.device(options.device)
        stream = held.enter_context(
            SampleStream.mixture(
                indices, options.shares, samples, image_size=image_size(config), batch_size=options.recipe.batch_size,
                seed=options.seed, source_seed=options.source_seed, workers=options.workers,
                worker_kind=options.worker_kind, repeat=options.repeat, chunk=options.chunk,
                share=world.share(options.recipe.batch_size),
            )
        )  # fmt: skip
        say(describe_plan(stream, options.recipe, available))
        say(
            f"{options.model}, {num_parameters(model):,} parameters, {settings['precision']} on {options.device}"
            + (f", {world.size} processes" if world.size > 1 else "")
        )
        trainer = StreamTrainer(
            model,
            options.recipe,
            device,
            stream,
            tokenizer,
            options.seed,
            world=world,
            bfloat16=options.bfloat16,
        )
        try:
            _train(
                trainer,
                TrainingCheckpoint(out / CHECKPOINT, settings),
                options,
                out,
                config,
                say,
                quiet,
                stop,
            )
        except Interrupted:
            gather_json(
                world, None
            )  # nobody leaves before the checkpoint is written: the others would be killed
            raise
        gather_json(world, None)  # nor before the weights are
    return True


def is_finished(out: Path, settings: Mapping[str, Any]) -> bool:
    """Whether `out` holds this training, finished. Raises: StudyError when it holds another one; says how it differs."""
    if not (out / PROVENANCE).is_file():
        return False
    refuse_other_settings(out / PROVENANCE, read_json(out / PROVENANCE).get("settings", {}), settings)
    return (out / WEIGHTS).is_file()


def _train(
    trainer: StreamTrainer,
    checkpoint: TrainingCheckpoint,
    options: StreamOptions,
    out: Path,
    config: Mapping[str, Any],
    say: Callable[[str], None],
    quiet: bool,
    stop: StopSignals | None,
) -> None:
    if checkpoint.restore(trainer):
        epoch, step = trainer.place
        say(
            f"{checkpoint.path}: goes on after step {step:,} of epoch {epoch + 1}"
            if trainer.steps_done < trainer.num_steps
            else f"{checkpoint.path}: trained to the end, its results are written"
        )
    resumed_at, first = trainer.steps_done, trainer.world.rank == 0
    progress = StepProgress(trainer.num_steps, trainer.batch_size, done=resumed_at, quiet=quiet or not first)

    def told(epoch: int, loss: float) -> None:
        progress.say(
            f"epoch {epoch} of {options.recipe.epochs}: loss {loss:.4f}, {progress.rate_text(trainer.steps_done)}"
        )

    try:
        log = continue_training(
            trainer, checkpoint, every=options.checkpoint_every, on_epoch=told,
            on_step=lambda: progress.step(trainer.steps_done), stop=stop,
        )  # fmt: skip
    finally:
        progress.stop()
    counted = merged_states(gather_json(trainer.world, trainer.stream.state()))
    if first:
        trainer.stream.restore(counted)  # what all processes saw
        training = dataclasses.asdict(log) | {"resumed_at_step": resumed_at}
        account = _write_results(trainer, checkpoint.settings, options, out, config, training)
        checkpoint.path.unlink(missing_ok=True)
        say(
            f"trained: {log.samples_seen:,} samples seen, {format_rate(log.samples_per_second)} images/s, "
            f"{format_duration(log.seconds)}{' since it went on' if resumed_at else ''}"
        )
        say(describe_account(account))


def _write_results(
    trainer: StreamTrainer,
    settings: Mapping[str, Any],
    options: StreamOptions,
    out: Path,
    config: Mapping[str, Any],
    training: Mapping[str, Any],
) -> pd.DataFrame:
    """Weights, tables and figure, and provenance.json last; returns the account's table."""
    account = trainer.stream.account()
    tables = {
        "account.csv": account_table(account),
        "loss.csv": loss_table(trainer.losses.tolist(), trainer.steps_per_epoch, options.recipe),
    }
    save_weights(trainer.model, out / WEIGHTS, config, trainer.tokenizer)
    for name, table in tables.items():
        write_table(table, out / name)
    title = f"{options.model}, {format_shares(options.shares)}, {trainer.num_samples:,} samples an epoch"
    draw_training_loss(tables["loss.csv"], trainer.batch_size, out / "loss", title)
    details = {
        "settings": dict(settings),
        "options": dataclasses.asdict(options),
        "training": dict(training),
        "processes": trainer.world.size,
        "account": account,
        "weights_sha256": file_sha256(out / WEIGHTS),
        **environment(options.device),
    }
    write_json(out / PROVENANCE, details)
    return tables["account.csv"]


def _telling(say: Callable[[str], None]) -> Callable[[str, int, int], None]:
    """Progress of indexing, a line at most every few seconds."""
    said = time.monotonic()

    def told(source: str, done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said > 5 or done == total:
            said = time.monotonic()
            say(f"source {source}: {done:,} of {total:,} shards indexed")

    return told


# ---------------------------------------------------------------- afterwards


def check_test_sets(test_sets: Mapping[str, str]) -> None:
    """Raise DataError for a test set that is not there: before the training, not after it."""
    for name, path in test_sets.items():
        if not Path(path).exists():
            try:
                expand_shards(path)
            except DataError as error:
                raise DataError(f"test set {name}: {error}") from error


def evaluate_stream_model(
    out: Path,
    test_sets: Mapping[str, str],
    device: str = "cpu",
    batch_size: int = 64,
    say: Callable[[str], None] = print,
) -> pd.DataFrame:
    """Zero-shot accuracies of the finished training in `out`, as accuracies.csv in a study's columns.

    kind is "single" or "input_mixing" and n_train the samples of an epoch, so that `predict_mixtures.py` and the other
    tools read the table. Sets that were evaluated already are not evaluated again. Raises: DataError, StudyError.
    """
    provenance, table = read_json(out / PROVENANCE), out / "accuracies.csv"
    if table.is_file() and provenance.get("test_sets") == dict(test_sets):
        say(f"{table} holds these test sets already")
        return pd.read_csv(table)
    model, tokenizer = load_model(out / WEIGHTS)
    results = {}
    for name, path in test_sets.items():
        for each in evaluate_by_name(model, tokenizer, name, path, device, batch_size, warn=say):
            for sentence in each.warnings:
                say(f"warning: {sentence}")
            results[each.name] = {
                "num_classes": int(each.logits.shape[1]),
                "num_images": len(each.labels),
                "num_correct": num_correct(each.logits, each.labels),
            }
    settings = provenance["settings"]
    record = {
        "run": f"stream-{settings['mixture']}-n{settings['samples']}-s{settings['seed']}",
        "kind": "input_mixing" if ":" in settings["mixture"] else "single",
        "sources": settings["mixture"],
        "n_train": settings["samples"],
        "seed": settings["seed"],
        "heads_n_train": "",
        "filter": "",
        "kept_share": 1.0,
        "results": results,
    }
    accuracies = accuracies_table([record])
    write_table(accuracies, table)
    write_json(out / PROVENANCE, provenance | {"test_sets": dict(test_sets)})
    return accuracies

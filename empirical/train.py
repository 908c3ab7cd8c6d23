"""One training loop for CLIP: `train(model, images, tokens, Recipe(), seed)` on a CPU core, a GPU or a process group.

Images stay in memory as uint8 and are cropped and normalised batch by batch; captions are embedded once per batch
even when several images share one. The loop is seeded, and bit for bit repeatable on a CPU with the same number of
threads. It changes no global setting: the caller sets torch.set_num_threads (one thread per process is fastest for
the small towers). `training` is the loop itself, as a generator that many models can be trained with at once
(`empirical.training_lanes`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from empirical.model import private_random_stream
from empirical.model_inputs import ClipModel
from empirical.process_group import ALONE, World
from empirical.recipe import Recipe
from empirical.trainer import Trainer

DRAINED = "drained"
"""What the loop yields when it goes on to look at results: whoever shares the device resumes it once they are there."""


@dataclass
class TrainingLog:
    """What a training run did; plain numbers, ready for a record.

    `loss` holds each epoch's mean contrastive loss in nats, `logit_scale` the final inverse temperature (1 to 100).
    Of a resumed run, `seconds` and `samples_per_second` are those since it was resumed.
    """

    loss: list[float] = field(default_factory=list)
    steps: int = 0
    samples_seen: int = 0
    seconds: float = 0.0
    samples_per_second: float = 0.0
    logit_scale: float = math.nan


def train(
    model: ClipModel,
    images: np.ndarray | Tensor,
    tokens: np.ndarray | Tensor,
    recipe: Recipe,
    seed: int,
    device: str | torch.device = "cpu",
    on_epoch: Callable[[int, float], None] | None = None,
    *,
    world: World = ALONE,
    bfloat16: bool | None = None,
) -> TrainingLog:
    """Train an open_clip model in place with open_clip's symmetric contrastive loss; leaves it in evaluation mode.

    Args:
        model: from `empirical.model.build_model`.
        images: uint8 (n, 3, S, S), n >= 2, of the size the model reads.
        tokens: int64 (n, context), row i the caption of image i.
        recipe: see `Recipe`. With n < batch_size the batch is n; otherwise each epoch is a fresh permutation whose
            last, incomplete batch is dropped.
        seed: of the order of the samples, the shifts, and dropout if the model has any.
        device: "cpu" or "cuda" ("cuda:1", ...).
        on_epoch: called as on_epoch(epochs done, that epoch's mean loss).
        world: this process's part where torchrun started several (`current_world()`): all of them call `train` with the
            same data, and each takes its share of every batch of `recipe.batch_size`.
        bfloat16: whether the towers run in bfloat16 autocast; by default on a GPU only.

    Raises:
        StudyError: fewer than two samples, or images and tokens that fit neither each other nor the model.
        TrainingError: the loss became NaN or infinite; names the step.
    """
    device = torch.device(device)
    bfloat16 = device.type == "cuda" if bfloat16 is None else bfloat16
    trainer = Trainer(model, recipe, device, world=world, bfloat16=bfloat16)
    trainer.load(images, tokens, seed)
    with private_random_stream(seed, device):
        loop = training(trainer, on_epoch)
        while True:
            try:
                next(loop)
            except StopIteration as end:
                return end.value


def training(
    trainer: Trainer,
    on_epoch: Callable[[int, float], None] | None = None,
    *,
    pause_every: int = 0,
    watch: bool = True,
) -> Generator[str | None, None, TrainingLog]:
    """The loop: all epochs of the run that `trainer` has loaded, or what is left of a resumed one; its value is the log.

    It pauses (yields) after every `pause_every` steps (0: after every epoch) so that several loops can share a device.
    `watch`: look at the loss after every epoch, which makes a GPU wait; otherwise at the end.
    """
    log = TrainingLog()
    started, resumed_at = time.perf_counter(), trainer.steps_done
    if watch and resumed_at:
        log.loss = trainer.mean_losses()[: resumed_at // trainer.steps_per_epoch]
    trainer.model.train()
    while trainer.steps_done < trainer.num_steps:
        epoch, first_step = divmod(trainer.steps_done, trainer.steps_per_epoch)
        trainer.start_epoch()
        for step in range(first_step, trainer.steps_per_epoch):
            trainer.step()
            if pause_every and (step + 1) % pause_every == 0:
                yield None
        if watch:
            log.loss += trainer.mean_losses(epoch)
            if on_epoch is not None:
                on_epoch(epoch + 1, log.loss[-1])
        yield None
    if not watch:
        yield DRAINED
        log.loss = trainer.mean_losses()
    trainer.model.eval()
    log.steps = trainer.steps_done
    log.seconds = time.perf_counter() - started
    log.samples_seen = log.steps * trainer.batch_size
    log.samples_per_second = (log.steps - resumed_at) * trainer.batch_size / log.seconds
    log.logit_scale = float(trainer.model.logit_scale.detach().exp())
    return log

"""How many images per second train on a device: one model at a time, or many in lanes (`training_rate`)."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from empirical.model import build_model, image_size, load_config
from empirical.recipe import Recipe
from empirical.tokenizer import build_tokenizer
from empirical.train import training
from empirical.trainer import Trainer
from empirical.training_lanes import PAUSE_EVERY


@dataclass(frozen=True)
class Rate:
    """Images per second of all models together, and the seconds spent before the first step (building, recording)."""

    images_per_second: float
    set_up_seconds: float


def training_rate(
    device: str,
    *,
    lanes: int = 1,
    recorded: bool = False,
    bfloat16: bool = False,
    model: str = "conv_tower",
    num_samples: int = 2048,
    batch_size: int = 64,
    epochs: int = 4,
) -> Rate:
    """Train `lanes` models at once on noise, the same samples seen by each, and time it.

    `recorded` replays each step as a CUDA graph, one stream per model; otherwise the models take turns step by step.
    """
    here = torch.device(device)
    config = load_config(model)
    tokenizer = build_tokenizer("world", context_length=config["text_cfg"].get("context_length", 77))
    rng = np.random.default_rng(0)
    side = image_size(config)
    images = rng.integers(0, 256, (num_samples, 3, side, side), dtype=np.uint8)
    tokens = tokenizer([f"a photo of a {word}" for word in rng.choice(["star", "heart", "key"], num_samples)])
    recipe = Recipe(epochs=epochs, batch_size=batch_size)
    started = time.perf_counter()
    streams: list[Any] = [torch.cuda.Stream(here) if recorded else None for _ in range(lanes)]
    loops = []
    for lane, stream in enumerate(streams):
        with torch.cuda.stream(stream) if stream is not None else nullcontext():
            trainer = Trainer(
                build_model(config, tokenizer, lane), recipe, here, bfloat16=bfloat16,
                capacity=num_samples if recorded else None,
            )  # fmt: skip
            trainer.load(images, tokens, lane)
            if recorded:
                trainer.record()
            else:  # the first steps choose algorithms; a recording has done that
                _exhaust(trainer, 1)
                trainer.load(images, tokens, lane)
            loops.append(training(trainer, pause_every=PAUSE_EVERY if recorded else 0, watch=False))
    _wait(here)
    set_up = time.perf_counter() - started
    started = time.perf_counter()
    waiting = list(zip(loops, streams, strict=True))
    while waiting:
        for loop, stream in list(waiting):
            with torch.cuda.stream(stream) if stream is not None else nullcontext():
                try:
                    next(loop)
                except StopIteration:
                    waiting.remove((loop, stream))
    _wait(here)
    seconds = time.perf_counter() - started
    seen = lanes * epochs * (num_samples // batch_size) * batch_size
    return Rate(seen / seconds, set_up)


def _exhaust(trainer: Trainer, epochs: int) -> None:
    trainer.model.train()
    for _ in range(epochs):
        trainer.start_epoch()
        for _ in range(min(trainer.steps_per_epoch, 5)):
            trainer.step()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

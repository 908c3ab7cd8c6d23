"""Our trainer on a `TrainingTask`, in a process of its own: `python -m empirical.benchmarks.our_driver task.json FOLDER`.

From the shards on disk to the weights on disk, as a user's script would do it: `read_pairs`, `Trainer`, `save_weights`. The
pictures are decoded once, before the first epoch of the first model.
"""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path

from empirical.benchmarks.training_task import Outcome, TrainingTask


def main() -> None:
    """Read, train, save the weights, write the outcome."""
    task, folder = TrainingTask.read(Path(sys.argv[1])), Path(sys.argv[2])
    import open_clip
    import torch
    import webdataset

    from empirical import tokenizer as tokenizers
    from empirical.model import build_model, load_config, save_weights
    from empirical.recipe import Recipe
    from empirical.shards import read_pairs
    from empirical.train import training
    from empirical.trainer import Trainer

    torch.set_num_threads(task.threads)
    device = torch.device(task.device)
    tokenizer, config = tokenizers.from_json(task.tokenizer), load_config(task.config)
    pairs = read_pairs(task.shards, task.image_size)
    steps = task.epochs * (len(pairs) // task.batch_size)
    recipe = Recipe(
        epochs=task.epochs,
        batch_size=task.batch_size,
        learning_rate=task.learning_rate,
        weight_decay=task.weight_decay,
        beta2=task.beta2,
        warmup_fraction=task.warmup / steps,
        gradient_clip=task.gradient_clip,
        max_shift=0,  # the peer has no such augmentation
    )
    tokens, capacity = tokenizer(pairs.captions), len(pairs) if task.recorded else None
    epoch_seconds, losses = [], []
    for seed in range(task.seed, task.seed + task.models):
        model = build_model(config, tokenizer, seed)
        trainer = Trainer(model, recipe, device, bfloat16=task.bfloat16, capacity=capacity)
        trainer.load(pairs.images, tokens, seed)
        if task.recorded:
            trainer.record()
        ends = [time.perf_counter()]
        for _ in training(trainer, on_epoch=lambda *_, ends=ends: ends.append(time.perf_counter())):
            pass
        save_weights(model, folder / f"model_{seed}.safetensors", config, tokenizer)
        epoch_seconds += [after - before for before, after in itertools.pairwise(ends)]
        losses += trainer.mean_losses()
    outcome = Outcome(
        epoch_seconds,
        len(pairs) // task.batch_size * task.batch_size,
        losses,
        {
            "torch": torch.__version__,
            "open_clip": open_clip.__version__,
            "webdataset": webdataset.__version__,
        },
    )
    outcome.write(folder / "outcome.json")


if __name__ == "__main__":
    main()

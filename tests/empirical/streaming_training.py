"""Trains a small CLIP from a stream with checkpoints; the tests kill it: `streaming_training.py INDEX OUT WORKER_KIND`.

Every step appends "epoch step loss keys" to OUT/log.txt; OUT/end.json holds the weights' hash and the account.
Started again, it goes on from its last checkpoint, in mid-epoch.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from small_clip import TOKENIZER, small_model

from empirical.recipe import Recipe
from empirical.shard_index import load_index
from empirical.stream_trainer import StreamTrainer
from empirical.streams import SampleStream
from empirical.training_checkpoint import TrainingCheckpoint, continue_training

RECIPE, CHECKPOINT_EVERY = Recipe(epochs=3, batch_size=8), 4


def main(index_folder: Path, out: Path, worker_kind: Literal["threads", "processes"]) -> None:
    torch.set_num_threads(1)
    index = load_index(index_folder)
    half = len(index) // 2
    sources = {"a": index.subset(np.arange(half)), "b": index.subset(np.arange(half, 2 * half))}
    with SampleStream.mixture(
        sources, (("a", 0.25), ("b", 0.75)), half + 10,
        image_size=32, batch_size=RECIPE.batch_size, seed=5, workers=2, worker_kind=worker_kind,
    ) as stream:  # fmt: skip
        trainer = StreamTrainer(small_model(), RECIPE, torch.device("cpu"), stream, TOKENIZER, seed=5)
        checkpoint = TrainingCheckpoint(out / "checkpoint.pt", {"seed": 5})
        lines = []
        if checkpoint.restore(trainer):
            lines = (out / "log.txt").read_text().splitlines()[: trainer.steps_done]
        with open(out / "log.txt", "w") as log:
            log.write("".join(f"{line}\n" for line in lines))

            def note() -> None:
                assert trainer.batch is not None
                epoch, step = divmod(trainer.steps_done - 1, trainer.steps_per_epoch)
                keys = " ".join(stream.key(position) for position in trainer.batch.positions.tolist())
                log.write(f"{epoch} {step} {float(trainer.losses[trainer.steps_done - 1]).hex()} {keys}\n")
                log.flush()

            continue_training(trainer, checkpoint, every=CHECKPOINT_EVERY, on_step=note)
        weights = hashlib.sha256()
        for value in trainer.model.state_dict().values():
            weights.update(value.numpy().tobytes())
        (out / "end.json").write_text(
            json.dumps({"weights": weights.hexdigest(), "account": stream.account()})
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), "processes" if sys.argv[3] == "processes" else "threads")

"""What `torchrun` starts in tests: train a small CLIP, write losses and weights of the first process."""

import argparse
import json
from pathlib import Path

import torch
import torch.distributed as distributed
from small_clip import random_pairs, small_model

from empirical import trainer as trainer_module
from empirical.process_group import current_world
from empirical.recipe import Recipe
from empirical.train import training
from empirical.trainer import Trainer


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="conv_tower")
    parser.add_argument("--plain-batch-norm", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    world = current_world("gloo")
    if arguments.plain_batch_norm:
        trainer_module.use_global_batch_norm = lambda model, device: None
    images, tokens = random_pairs(160, 0)
    model = small_model(name=arguments.model)
    trainer = Trainer(
        model, Recipe(epochs=4, batch_size=32, learning_rate=3e-3), torch.device("cpu"), world=world
    )
    trainer.load(images, tokens, seed=5)
    for _ in training(trainer):
        pass
    if world.rank == 0:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "losses.json").write_text(json.dumps(trainer.losses.tolist()))
        torch.save(model.state_dict(), arguments.out / "weights.pt")
    if world.size > 1:
        distributed.destroy_process_group()


if __name__ == "__main__":
    main()

"""A preset's model for two steps at full resolution on made-up data, its weights read back by open_clip. Use `smoke_run`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip
import torch

from empirical.checkpoints import build_open_clip, side_of
from empirical.cost_estimate import made_up_pairs
from empirical.errors import TrainingError
from empirical.model import save_weights
from empirical.model_inputs import normalise
from empirical.paper_presets import PaperPreset
from empirical.train import train

BATCH_SIZE, STEPS = 8, 2


@dataclass(frozen=True)
class SmokeRun:
    """What the two steps gave: steps, mean loss of the last, seconds, and where the weights lie."""

    steps: int
    loss: float
    seconds: float
    weights: Path


def smoke_run(preset: PaperPreset, folder: Path, device: str = "cpu") -> SmokeRun:
    """Train the preset's open_clip model for two steps at batch 8, save it, and compare features with open_clip's own copy.

    The recipe is the preset's but for its length and batch; made-up images have the model's full resolution.
    Raises TrainingError if the loss is not finite, or open_clip's copy gives other features than the trained model.
    """
    model, tokenizer = build_open_clip(preset.model, seed=0)
    images, tokens = made_up_pairs(BATCH_SIZE, side_of(model), tokenizer)
    recipe = dataclasses.replace(preset.recipe, epochs=STEPS, batch_size=BATCH_SIZE)
    log = train(model, images, tokens, recipe, seed=0, device=device)
    name = Path(preset.model).stem  # open_clip knows a registered JSON file by its stem
    weights = save_weights(model, folder / f"{name}.safetensors")
    theirs = open_clip.create_model_and_transforms(name, pretrained=str(weights))[0].eval()
    ours = model.to("cpu").eval()
    with torch.inference_mode():
        pixels = normalise(torch.from_numpy(images[:2]), ours)
        ours_features, their_features = (
            each.encode_image(pixels, normalize=True).numpy()  # pyright: ignore[reportCallIssue]
            for each in (ours, theirs)
        )
    if not np.allclose(ours_features, their_features, atol=1e-5):
        raise TrainingError(f"open_clip reads {weights}, but its copy gives other image features")
    return SmokeRun(log.steps, log.loss[-1], log.seconds, weights)

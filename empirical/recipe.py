"""How a model is trained, in numbers: `Recipe` and its `learning_rate`. Importing this module loads no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from empirical.errors import StudyError


@dataclass(frozen=True)
class Recipe:
    """How a model is trained: AdamW, linear warm-up then cosine to 0, a fixed number of epochs.

    Attributes:
        epochs: passes over the data; fixed, so that a model's size on the axis is its number of distinct samples.
        batch_size: images per step, and captions each image is contrasted with.
        learning_rate, weight_decay, beta1, beta2: AdamW; only tensors of two or more dimensions decay.
        warmup_fraction: share of all steps with a linearly rising learning rate.
        gradient_clip: largest norm of the gradient.
        max_shift: each image is shifted by a uniform whole number of pixels in [-max_shift, max_shift] per axis.
    """

    epochs: int = 16
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.98
    warmup_fraction: float = 0.1
    gradient_clip: float = 1.0
    max_shift: int = 2

    def __post_init__(self) -> None:
        at_least = {"epochs": 1, "batch_size": 2, "learning_rate": 0, "weight_decay": 0, "gradient_clip": 0}
        at_least |= {"max_shift": 0, "warmup_fraction": 0, "beta1": 0, "beta2": 0}
        at_most = {"warmup_fraction": 1, "beta1": 1, "beta2": 1}
        for name, low in at_least.items():
            value, high = getattr(self, name), at_most.get(name, math.inf)
            if not (math.isfinite(value) and low <= value <= high):
                raise StudyError(f"recipe: {name} is {value}; allowed is {low} to {high}")


def learning_rate(step: int, num_steps: int, recipe: Recipe) -> float:
    """Learning rate of step 0 <= step < num_steps: linear warm-up over w steps, then half a cosine.

    lr · min((step + 1)/w, (1 + cos(π (step - w)/(num_steps - w)))/2), w = max(1, round(warmup_fraction · num_steps)).
    """
    warmup = max(1, round(recipe.warmup_fraction * num_steps))
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / (num_steps - warmup)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))

"""One training loop for CLIP: `train(model, images, tokens, Recipe(), seed)` on a CPU core or a GPU.

Images stay in memory as uint8 and are cropped and normalised batch by batch; captions are embedded once per batch
even when several images share one. The loop is seeded, and bit for bit repeatable on a CPU with the same number of
threads. It changes no global setting: the caller sets torch.set_num_threads (one thread per process is fastest for
the small towers).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from open_clip import CLIP, ClipLoss
from torch import Tensor, nn
from torch.nn import functional

from empirical.errors import StudyError, TrainingError
from empirical.model import place, private_random_stream
from empirical.model_inputs import ClipModel, as_uint8_tensor, check_images, check_tokens, normalise
from empirical.recipe import Recipe, learning_rate
from empirical.text_tower import pooled_text_features, supports_pooling_early

LARGEST_LOGIT_SCALE = math.log(100)


@dataclass
class TrainingLog:
    """What a training run did; plain numbers, ready for a record.

    `loss` holds each epoch's mean contrastive loss in nats, `logit_scale` the final inverse temperature (1 to 100).
    """

    loss: list[float] = field(default_factory=list)
    steps: int = 0
    samples_seen: int = 0
    seconds: float = 0.0
    samples_per_second: float = 0.0
    logit_scale: float = math.nan


class _Images:
    """All images in memory, with a reflected border; a batch is cut out of it with one shift per image."""

    def __init__(self, images: np.ndarray | Tensor, max_shift: int, device: torch.device) -> None:
        pixels = as_uint8_tensor(images)
        height, width = pixels.shape[2:]
        if max_shift >= min(height, width):
            raise StudyError(
                f"recipe: max_shift is {max_shift} for images of {height} x {width} px; it must be smaller"
            )
        rows, columns = (
            torch.from_numpy(np.pad(np.arange(s), max_shift, "reflect")) for s in (height, width)
        )
        padded = pixels.to(device)[:, :, rows.to(device)][:, :, :, columns.to(device)]
        padded = padded.permute(0, 2, 3, 1).contiguous()  # channels last: convolutions are fastest in it
        # windows[i, dy, dx] is image i shifted by (dy, dx): a view, nothing is copied before a batch is asked for
        self.windows = padded.unfold(1, height, 1).unfold(2, width, 1).permute(0, 1, 2, 4, 5, 3)

    def batch(self, indices: Int64[Tensor, " b"], shifts: Int64[Tensor, "b 2"]) -> UInt8[Tensor, "b 3 s s"]:
        return self.windows[indices, shifts[:, 0], shifts[:, 1]].permute(0, 3, 1, 2)


def train(
    model: ClipModel,
    images: np.ndarray | Tensor,
    tokens: np.ndarray | Tensor,
    recipe: Recipe,
    seed: int,
    device: str | torch.device = "cpu",
    on_epoch: Callable[[int, float], None] | None = None,
) -> TrainingLog:
    """Train an open_clip model in place with open_clip's symmetric contrastive loss; leaves it in evaluation mode.

    Args:
        model: from `empirical.model.build_model`.
        images: uint8 (n, 3, S, S), n >= 2, of the size the model reads.
        tokens: int64 (n, context), row i the caption of image i.
        recipe: see `Recipe`. With n < batch_size the batch is n; otherwise each epoch is a fresh permutation whose
            last, incomplete batch is dropped.
        seed: of the order of the samples, the shifts, and dropout if the model has any.
        device: "cpu" or "cuda" ("cuda:1", ...); on a GPU the towers run in bfloat16 autocast.
        on_epoch: called as on_epoch(epochs done, that epoch's mean loss).

    Raises:
        StudyError: fewer than two samples, or images and tokens that fit neither each other nor the model.
        TrainingError: the loss became NaN or infinite; names the step.
    """
    device = torch.device(device)
    tokens = check_tokens(tokens, model)
    check_images(images, model, minimum=2)
    if len(images) != len(tokens):
        raise StudyError(f"{len(images)} images but {len(tokens)} captions: one caption per image")

    captions, caption_of = tokens.unique(dim=0, return_inverse=True)
    place(model, device)
    captions = captions.to(device)
    store = _Images(images, recipe.max_shift, device)
    encode_text = _text_encoder(model, captions)
    optimizer = _adamw(model, recipe)
    contrastive_loss = ClipLoss()

    batch_size = min(recipe.batch_size, len(tokens))
    steps_per_epoch = len(tokens) // batch_size
    num_steps = recipe.epochs * steps_per_epoch
    generator = torch.Generator().manual_seed(seed)
    log = TrainingLog()
    started = time.perf_counter()
    model.train()
    with private_random_stream(seed, device):
        for epoch in range(recipe.epochs):
            order = torch.randperm(len(tokens), generator=generator)[: steps_per_epoch * batch_size]
            shifts = torch.randint(0, 2 * recipe.max_shift + 1, (len(order), 2), generator=generator)
            order_here, shifts_here = order.to(device), shifts.to(device)
            losses = torch.empty(steps_per_epoch, device=device)

            for i in range(steps_per_epoch):
                chosen = slice(i * batch_size, (i + 1) * batch_size)
                distinct, position = caption_of[order[chosen]].unique(return_inverse=True)
                pixels = normalise(store.batch(order_here[chosen], shifts_here[chosen]), model)

                with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                    image_features = model.encode_image(pixels, normalize=True)
                    text_features = encode_text(captions[distinct.to(device)])
                text_features = functional.embedding(position.to(device), text_features.float())
                loss = contrastive_loss(
                    image_features.float(),
                    text_features,
                    model.logit_scale.exp(),
                    getattr(model, "logit_bias", None),
                )

                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), recipe.gradient_clip)
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(log.steps, num_steps, recipe)
                optimizer.step()
                with torch.no_grad():
                    model.logit_scale.clamp_(0, LARGEST_LOGIT_SCALE)
                losses[i] = loss.detach()
                log.steps += 1

            log.loss.append(_mean_loss(losses, epoch, steps_per_epoch, recipe))
            if on_epoch is not None:
                on_epoch(epoch + 1, log.loss[-1])

    model.eval()
    log.seconds = time.perf_counter() - started
    log.samples_seen = log.steps * batch_size
    log.samples_per_second = log.samples_seen / log.seconds
    log.logit_scale = float(model.logit_scale.detach().exp())
    return log


def _adamw(model: ClipModel, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW whose weight decay leaves out biases, normalisation gains and the logit scale."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    fused = all(p.device.type in ("cpu", "cuda") for p in trained)
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(recipe.beta1, recipe.beta2), fused=fused)


def _text_encoder(model: ClipModel, captions: Int64[Tensor, "n context"]) -> Callable[[Tensor], Tensor]:
    """The quick way through the text tower where it gives the same features, otherwise open_clip's own."""
    if isinstance(model, CLIP) and supports_pooling_early(model, captions[:256]):
        return lambda tokens: pooled_text_features(model, tokens)
    return lambda tokens: model.encode_text(tokens, normalize=True)


def _mean_loss(losses: Float[Tensor, " steps"], epoch: int, steps_per_epoch: int, recipe: Recipe) -> float:
    """Mean loss of an epoch; looked at once per epoch, because each look makes a GPU wait."""
    wrong = (~losses.isfinite()).nonzero().flatten()
    if len(wrong):
        first = int(wrong[0])
        raise TrainingError(
            f"the loss became {losses[first].item()} at step {epoch * steps_per_epoch + first} (epoch {epoch + 1} of "
            f"{recipe.epochs}); lower learning_rate ({recipe.learning_rate}) or gradient_clip ({recipe.gradient_clip})"
        )
    return float(losses.mean())

"""What goes into a model: uint8 images and token ids, checked, and pixels normalised (`normalise`)."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int64
from open_clip import CLIP, CustomTextCLIP
from torch import Tensor

from empirical.errors import StudyError

ClipModel = CLIP | CustomTextCLIP
PIXEL_MEAN, PIXEL_STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


def normalise(pixels: Tensor, model: ClipModel) -> Float[Tensor, "n c h w"]:
    """(pixels/255 - mean) / std in float32 with the model's own mean and std; keeps the memory layout of `pixels`."""
    mean = getattr(model.visual, "image_mean", PIXEL_MEAN)
    std = getattr(model.visual, "image_std", PIXEL_STD)
    pixels = pixels.float()
    if len(set(mean)) == len(set(std)) == 1:  # one number for all channels is twice as fast as three
        return pixels.mul_(1 / (255 * std[0])).sub_(mean[0] / std[0])
    gain = torch.tensor([1 / (255 * each) for each in std], device=pixels.device)
    offset = torch.tensor([m / s for m, s in zip(mean, std, strict=True)], device=pixels.device)
    return pixels.mul_(gain.view(-1, 1, 1)).sub_(offset.view(-1, 1, 1))


def check_images(images: np.ndarray | Tensor, model: ClipModel, minimum: int = 1) -> None:
    """Raise StudyError unless `images` is uint8 (n, 3, S, S) of the size the model reads, with n >= minimum."""
    side = getattr(model.visual, "image_size", None)
    side = side[0] if isinstance(side, (tuple, list)) else side
    expected = f"uint8 (n, 3, {side}, {side})"
    if images.ndim != 4 or images.shape[1] != 3 or str(images.dtype).rpartition(".")[2] != "uint8":
        raise StudyError(f"images are {images.dtype} {tuple(images.shape)}; the model reads {expected}")
    if side is not None and tuple(images.shape[2:]) != (side, side):
        raise StudyError(
            f"images are {images.shape[2]} x {images.shape[3]} px; the model reads {expected}: "
            "read the data at vision_cfg.image_size"
        )
    if len(images) < minimum:
        raise StudyError(f"{len(images)} images given; at least {minimum} are needed")


def as_uint8_tensor(images: np.ndarray | Tensor) -> Tensor:
    """The same pixels as a torch tensor on their device; a read-only array (a memory map) is copied first."""
    if isinstance(images, Tensor):
        return images
    return torch.from_numpy(_writeable(images))


def _writeable(array: np.ndarray) -> np.ndarray:
    return array if array.flags.writeable else array.copy()


def check_tokens(tokens: np.ndarray | Tensor, model: ClipModel) -> Int64[Tensor, "n context"]:
    """The same tokens as a CPU tensor; StudyError unless int64 (n, context) with ids that the model knows."""
    tokens = tokens.cpu() if isinstance(tokens, Tensor) else torch.from_numpy(_writeable(tokens))
    context, vocabulary = model.context_length, model.vocab_size
    if tokens.ndim != 2 or tokens.shape[1] != context or tokens.dtype != torch.int64:
        raise StudyError(
            f"tokens are {tokens.dtype} {tuple(tokens.shape)}; the model reads int64 (n, {context}): "
            "use the tokenizer the model was built with"
        )
    if len(tokens) and not 0 <= int(tokens.min()) <= int(tokens.max()) < vocabulary:
        raise StudyError(
            f"token ids run from {int(tokens.min())} to {int(tokens.max())}; the model knows 0 to {vocabulary - 1}: "
            "use the tokenizer the model was built with"
        )
    return tokens

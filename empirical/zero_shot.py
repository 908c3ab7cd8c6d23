"""Zero-shot evaluation: prompts -> classifier -> saved logits -> counts, and ensembles of logits.

`zero_shot_classifier` (open_clip's own builder), `zero_shot_logits`, `num_correct`, `average_logits`,
`save_logits` / `load_logits`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import open_clip
import torch
from jaxtyping import Float, Float32, Num, Shaped
from torch import Tensor
from torch.nn import functional

from empirical.errors import DataError, StudyError
from empirical.model import evaluating, place
from empirical.model_inputs import ClipModel, as_uint8_tensor, check_images, normalise
from empirical.records import write_atomically

PLACEHOLDERS = ("{}", "{c}")  # open_clip's and clip-benchmark's way to mark the class name in a template


def _fill(template: str, placeholder: str, name: str) -> str:
    return template.replace(placeholder, name)


def prompt_builders(templates: Sequence[str]) -> list[Callable[[str], str]]:
    """One function class name -> prompt per template; `{}` or `{c}` stands for the name, other braces are text.

    Raises:
        DataError: there is no template, or one has no place for the class name.
    """
    builders = []
    for number, template in enumerate(templates):
        placeholder = next((mark for mark in PLACEHOLDERS if mark in template), None)
        if placeholder is None:
            raise DataError(
                f"template {number} is {template!r}: it needs {{}} or {{c}} where the class name goes"
            )
        builders.append(partial(_fill, template, placeholder))
    if not builders:
        raise DataError("no prompt template given: at least one, such as 'a photo of a {}'")
    return builders


def zero_shot_classifier(
    model: ClipModel,
    tokenizer: Callable[[list[str]], Tensor],
    class_names: Sequence[str],
    templates: Sequence[str],
    device: str | torch.device = "cpu",
) -> Float32[Tensor, "d classes"]:
    """Classifier weights through open_clip's builder: column k is the renormalised mean over the templates of the
    unit-length embeddings of class k's prompts.

    Labels number the columns, so two classes may share a name (ImageNet has two called 'missile'): equal columns.
    Raises:
        DataError: no class, or a template without a place for the name.
    """
    names = list(class_names)
    if not names:
        raise DataError("no class names given")
    place(model, device)
    with evaluating(model):
        return open_clip.build_zero_shot_classifier(
            model, tokenizer, classnames=names, templates=prompt_builders(templates), device=device
        ).float()


def image_features(
    model: ClipModel, images: np.ndarray | Tensor, device: str | torch.device = "cpu", batch_size: int = 64
) -> Float32[Tensor, "n d"]:
    """Unit-length image features in float32, on the model's device; images are uint8 (n, 3, S, S)."""
    check_images(images, model)
    place(model, device)
    features = []
    with evaluating(model):
        for start in range(0, len(images), batch_size):
            pixels = as_uint8_tensor(images[start : start + batch_size]).to(device)
            pixels = normalise(pixels.contiguous(memory_format=torch.channels_last), model)
            features.append(functional.normalize(model.encode_image(pixels).float(), dim=-1))
        return torch.cat(features)


def zero_shot_logits(
    model: ClipModel,
    classifier: Float[Tensor, "d classes"],
    images: np.ndarray | Tensor,
    device: str | torch.device = "cpu",
    batch_size: int = 64,
) -> Float32[np.ndarray, "n classes"]:
    """Logits exp(logit_scale) · cosine(image, class), float32 (n, K); images are uint8 (n, 3, S, S).

    Raises:
        StudyError: images of another type or size than the model reads.
    """
    return logits_on_device(model, classifier, images, device, batch_size).cpu().numpy()


def logits_on_device(
    model: ClipModel,
    classifier: Float[Tensor, "d classes"],
    images: np.ndarray | Tensor,
    device: str | torch.device,
    batch_size: int = 64,
) -> Float32[Tensor, "n classes"]:
    """`zero_shot_logits` left where they were computed: a GPU is not waited for."""
    features = image_features(model, images, device, batch_size)
    with torch.inference_mode():
        return model.logit_scale.exp().float() * features @ classifier.float()


def num_correct(logits: Num[np.ndarray, "n classes"], labels: Shaped[np.ndarray, " labels"]) -> int:
    """Number of images whose largest logit (the first of equal ones) is their label's.

    Raises:
        DataError: labels that do not fit the logits, or logits that are not numbers.
    """
    labels = np.asarray(labels)
    if len(labels) != len(logits):
        raise DataError(f"{len(logits)} rows of logits but {len(labels)} labels")
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"labels are {labels.dtype}; class numbers are integers")
    outside = np.flatnonzero((labels < 0) | (labels >= logits.shape[1]))
    if len(outside):
        raise DataError(
            f"label of image {outside[0]} is {labels[outside[0]]}; there are classes 0 to {logits.shape[1] - 1}"
        )
    broken = np.flatnonzero(np.isnan(logits).any(axis=1))
    if len(broken):
        raise DataError(f"logits of image {broken[0]} are not numbers: the model that made them has diverged")
    return int((logits.argmax(axis=1) == labels).sum())


def average_logits(
    logits: Sequence[Float[np.ndarray, "n classes"]], weights: Sequence[float] | None = None
) -> Float32[np.ndarray, "n classes"]:
    """Output mixing: Σ_s α_s logits_s with weights α (equal ones by default), float32 (Theorem 2b).

    Raises:
        StudyError: no logits, shapes that differ, or weights that are negative, not finite or do not sum to 1.
    """
    if not len(logits) or len({np.shape(each) for each in logits}) > 1:
        raise StudyError(
            f"logits to average need one common shape, got {[np.shape(each) for each in logits]}"
        )
    alpha = (
        np.full(len(logits), 1 / len(logits)) if weights is None else np.asarray(weights, dtype=np.float64)
    )
    if alpha.shape != (len(logits),) or not np.all(alpha >= 0) or not abs(alpha.sum() - 1) < 1e-6:
        raise StudyError(
            f"weights are {alpha.tolist()}; {len(logits)} non-negative numbers that sum to 1 are needed"
        )
    total = np.zeros(np.shape(logits[0]))
    for share, each in zip(alpha, logits, strict=True):
        total += share * np.asarray(each, dtype=np.float64)
    return total.astype(np.float32)


def save_logits(logits: Float[np.ndarray, "n classes"], path: str | os.PathLike[str]) -> Path:
    """Write logits as a float32 .npy file, atomically."""
    path, numbers = Path(path), np.ascontiguousarray(logits, dtype=np.float32)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as stream:
            np.save(stream, numbers, allow_pickle=False)

    write_atomically(path, write)
    return path


def load_logits(path: str | os.PathLike[str], mmap: bool = False) -> Float32[np.ndarray, "n classes"]:
    """Read logits that `save_logits` wrote; `mmap` leaves them on disk, read-only, until they are looked at.

    Raises:
        DataError: no such file, or not a float32 matrix.
    """
    try:
        logits = np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"logits file {path} cannot be read: {error}; delete it and evaluate again"
        ) from error
    if not isinstance(logits, np.ndarray) or logits.ndim != 2 or logits.dtype != np.float32:
        raise DataError(f"logits file {path} does not hold a float32 matrix; delete it and evaluate again")
    return logits

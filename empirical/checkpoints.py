"""Checkpoints of open_clip models from wherever they come: the project's own files, open_clip's training, or plain weights.

Use `load_checkpoint`. Weights are read as safetensors or with weights_only=True; nothing is unpickled and nothing is downloaded.
"""

from __future__ import annotations

from pathlib import Path

import torch
from open_clip import set_model_preprocess_cfg

from empirical.errors import DataError, StudyError
from empirical.model import build_model, context_length, image_size, load_config, load_model, load_weights
from empirical.model_inputs import ClipModel
from empirical.tokenizer import OpenClipTokenizer, Tokenizer

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
"""Pixel statistics of OpenAI's CLIP, which open_clip's models use unless they say otherwise."""


def load_checkpoint(path: str | Path, model: str = "") -> tuple[ClipModel, Tokenizer]:
    """A model ready for evaluation, and its tokenizer.

    Args:
        path: a safetensors file that this project wrote (it says which model it is), or weights of an open_clip model:
            safetensors, or a checkpoint of open_clip's training (.pt).
        model: open_clip config of such weights: a name from open_clip's list (RN50, ViT-B-32, ViT-B-32-quickgelu, ...) or a JSON
            file. Not needed for the project's own files.

    The model normalises pixels as open_clip does for this config (OpenAI's mean and standard deviation), except for the
    project's own files, which keep theirs.

    Raises DataError for a file that is missing, cannot be read or belongs to another model, and for one that does not say what it
    is while `model` is empty; StudyError for an unknown config.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"checkpoint {path} does not exist")
    if not model:
        if path.suffix != ".safetensors":
            raise DataError(
                f"{path} does not say which model its weights belong to: name its config with --model, such as --model RN50"
            )
        try:
            return load_model(path)
        except DataError as error:
            if "does not say which model" in str(error):
                raise DataError(
                    f"{path} does not say which model its weights belong to: name its open_clip config with --model"
                ) from error
            raise
    built, tokenizer = build_open_clip(model, seed=0)
    return load_weights(built, path).eval(), tokenizer


def build_open_clip(model: str, seed: int) -> tuple[ClipModel, Tokenizer]:
    """A freshly initialised model of an open_clip config with open_clip's own vocabulary and pixel statistics.

    Its weights, saved as safetensors, are read by open_clip.create_model_and_transforms(model, pretrained=FILE).
    Raises StudyError or DataError for a config that is unknown or cannot be built (see `load_config`).
    """
    config = load_config(model)
    tokenizer = OpenClipTokenizer(context_length(config))
    built = build_model(config, tokenizer, seed)
    set_model_preprocess_cfg(
        built, {"size": image_size(config), "mode": "RGB", "mean": OPENAI_MEAN, "std": OPENAI_STD}
    )
    return built, tokenizer


def side_of(model: ClipModel) -> int:
    """Side of the square images a model reads, in pixels."""
    side = model.visual.image_size
    return int(side[0] if isinstance(side, (tuple, list)) else side)


def default_device(device: str) -> str:
    """cpu, cuda, cuda:1, ...; `auto` is a GPU where there is one. Raises StudyError for a device that is not there."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise StudyError(f"--device {device}: not usable here ({reason}); use --device cpu") from error
    return device

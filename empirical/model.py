"""open_clip models from open_clip JSON configs: `load_config`, `build_model`, `save_weights`, `load_model`.

The models are open_clip's own `CLIP` (or `CustomTextCLIP`); two configs ship with the package: "conv_tower", which
trains in seconds on a CPU core, and "modified_resnet", the ResNet of the CLIP paper at 32 px. Any name in
open_clip's own list (read from its package folder) or a path to a JSON file works as well.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from open_clip import CLIP, CustomTextCLIP, set_model_preprocess_cfg

from empirical import conv_tower as conv_tower  # importing it registers the tower with timm
from empirical import tokenizer as tokenizers
from empirical.errors import DataError, StudyError
from empirical.model_inputs import PIXEL_MEAN, PIXEL_STD, ClipModel
from empirical.records import write_atomically
from empirical.tokenizer import Tokenizer

CONFIG_FOLDER = Path(__file__).parent / "configs"
_REQUIRED = ("embed_dim", "vision_cfg", "text_cfg")


def config_names() -> list[str]:
    """Names of the configs that ship with this package."""
    return sorted(path.stem for path in CONFIG_FOLDER.glob("*.json"))


def load_config(name_or_path: str | os.PathLike[str]) -> dict[str, Any]:
    """An open_clip model config: a shipped name, a JSON file, or a name from open_clip's own list.

    A file may hold the config itself or open_clip's hub layout with the config under "model_cfg".

    Raises:
        StudyError: no such name or file.
        DataError: the file is not JSON, lacks embed_dim, vision_cfg or text_cfg, or asks for weights from the network.
    """
    path = _config_path(name_or_path)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path} is not a JSON file: {error}") from error
    if isinstance(config, dict) and "model_cfg" in config:
        config = config["model_cfg"]
    return _checked(config, str(path))


def _checked(config: Any, source: str) -> dict[str, Any]:
    """A config that open_clip may build without asking the network for anything; raises DataError, which names `source`."""
    missing = [key for key in _REQUIRED if not isinstance(config, dict) or key not in config]
    if missing:
        raise DataError(f"{source} is not an open_clip model config: it has no {', '.join(missing)}")
    for key in ("vision_cfg", "text_cfg"):
        if not isinstance(config[key], dict):
            raise DataError(
                f"{source} is not an open_clip model config: {key} is {config[key]!r}, not an object"
            )
    if config["text_cfg"].get("hf_model_name") or "multimodal_cfg" in config:
        raise DataError(
            f"{source} asks for a Hugging Face text tower or a generative decoder; "
            "only models trained from scratch with the contrastive loss are supported: use a config without them"
        )
    tower = config["vision_cfg"].get("timm_model_name")
    if tower is not None:
        if not isinstance(tower, str) or ":" in tower:  # timm would fetch hf-hub:OWNER/NAME
            raise DataError(
                f"{source}: vision_cfg.timm_model_name is {tower!r}: use the name of an architecture of timm"
            )
        config["vision_cfg"]["timm_model_pretrained"] = (
            False  # a study trains from scratch and reads no network
        )
    try:
        image_size(config)
    except DataError as error:
        raise DataError(f"{source}: {error}") from error
    return config


def _config_path(name_or_path: str | os.PathLike[str]) -> Path:
    path = CONFIG_FOLDER / f"{name_or_path}.json"
    if path.is_file():
        return path
    path = Path(name_or_path)
    if path.suffix == ".json" or len(path.parts) > 1:
        if path.is_file():
            return path
        raise StudyError(
            f"model config {path} does not exist: give an open_clip JSON file or one of {config_names()}"
        )
    package = importlib.util.find_spec("open_clip")
    assert package is not None
    assert package.submodule_search_locations is not None
    path = Path(package.submodule_search_locations[0]) / "model_configs" / f"{name_or_path}.json"
    if path.is_file():
        return path
    raise StudyError(
        f"model {str(name_or_path)!r} is unknown: one of {config_names()}, a name in open_clip.list_models(), "
        "or the path of an open_clip JSON file"
    )


def image_size(config: Mapping[str, Any]) -> int:
    """Side of the square images a config's model reads, in pixels (224 where the config does not say, as in open_clip).

    Raises:
        DataError: the config asks for images that are not square.
    """
    size = config["vision_cfg"].get("image_size", 224)
    sides = set(size) if isinstance(size, (list, tuple)) else {size}
    if len(sides) != 1 or not isinstance(size := sides.pop(), int) or size < 1:
        raise DataError(
            f"vision_cfg.image_size is {config['vision_cfg'].get('image_size')!r}: one positive side length"
        )
    return size


def context_length(config: Mapping[str, Any]) -> int:
    """Number of token positions of a config's text tower (77 where the config does not say, as in open_clip)."""
    return int(config["text_cfg"].get("context_length", 77))


@contextmanager
def private_random_stream(seed: int, device: str | torch.device = "cpu") -> Iterator[None]:
    """Draw from torch's generators seeded with `seed`, and leave them afterwards as they were before."""
    device = torch.device(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def build_model(config: Mapping[str, Any], tokenizer: Tokenizer, seed: int) -> ClipModel:
    """A freshly initialised open_clip model whose vocabulary and context are the tokenizer's, on the CPU.

    The initial weights depend on (config, tokenizer sizes, seed) only; torch's global generator is left untouched.
    The pixel normalisation (mean .5, standard deviation .25 of [0, 1]) is attached the way open_clip does it.

    Raises:
        DataError: open_clip does not understand the config.
    """
    arguments = copy.deepcopy(dict(config))
    text = arguments["text_cfg"]
    text["vocab_size"], text["context_length"] = tokenizer.vocab_size, tokenizer.context_length
    if text.get("pool_type") == "eos":
        text["eos_id"] = tokenizer.end_of_text
    model_class = CustomTextCLIP if arguments.pop("custom_text", False) else CLIP
    with private_random_stream(seed):
        try:
            model = model_class(**arguments)
        except (
            TypeError, AssertionError, RuntimeError, ValueError, AttributeError, LookupError, ArithmeticError,
        ) as error:  # fmt: skip
            raise DataError(
                f"open_clip cannot build a model from this config: {error}. Config: {config}"
            ) from error
    set_model_preprocess_cfg(
        model, {"size": image_size(config), "mode": "RGB", "mean": PIXEL_MEAN, "std": PIXEL_STD}
    )
    return model


def place(model: ClipModel, device: str | torch.device) -> None:
    """Move a model to a device, its convolutions in channels-last layout (the fastest one on both kinds)."""
    model.to(device=device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  (torch's stub lacks it)


@contextmanager
def evaluating(model: ClipModel) -> Iterator[None]:
    """Evaluation mode (BatchNorm uses its running statistics) without gradients; the old mode returns afterwards."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)


def num_parameters(model: ClipModel) -> int:
    """Number of trainable numbers."""
    return sum(parameter.numel() for parameter in model.parameters())


def save_weights(
    model: ClipModel,
    path: str | os.PathLike[str],
    config: Mapping[str, Any] | None = None,
    tokenizer: Tokenizer | None = None,
) -> Path:
    """Write the weights as safetensors, atomically; with `config` and `tokenizer` the file describes itself.

    The names are open_clip's own, so that open_clip.load_checkpoint reads the file.
    """
    return save_state(model.state_dict(), path, config, tokenizer)


def save_state(
    state: Mapping[str, torch.Tensor],
    path: str | os.PathLike[str],
    config: Mapping[str, Any] | None = None,
    tokenizer: Tokenizer | None = None,
) -> Path:
    """`save_weights` for the weights alone, on whatever device they lie."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = Path(path)
    metadata = {"format": "pt"}
    if config is not None:
        metadata["config"] = json.dumps(dict(config))
    if tokenizer is not None:
        metadata["tokenizer"] = tokenizer.to_json()
    tensors = {name: value.detach().to("cpu").contiguous() for name, value in state.items()}

    def write(temporary: Path) -> None:
        try:
            save_file(tensors, temporary, metadata=metadata)
        except SafetensorError as error:  # it hides the system's error number in its text
            number = re.search(r"os error (\d+)", str(error))
            if number is None:
                raise OSError(str(error)) from error
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error

    write_atomically(path, write)
    return path


def load_weights(model: ClipModel, path: str | os.PathLike[str]) -> ClipModel:
    """Load weights in place and return the model: safetensors, or a torch file read with weights_only=True.

    open_clip's training checkpoints ("state_dict" inside, names with a "module." prefix) are understood.

    Raises:
        DataError: no such file, not a weights file, or weights of another architecture (names the first keys).
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"weights file {path} does not exist")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
            state = state.get("state_dict", state)
            state = {name.removeprefix("module."): value for name, value in state.items()}
    except Exception as error:  # safetensors, zipfile and the unpickler raise a dozen types
        why = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
        raise DataError(
            f"{path} is not a readable weights file (safetensors, or a torch file of tensors alone){why}"
        ) from error
    expected = model.state_dict()
    problems = [f"{name} is missing" for name in expected if name not in state]
    problems += [f"{name} is not part of the model" for name in state if name not in expected]
    problems += [
        f"{name} is {tuple(state[name].shape)}, the model's is {tuple(value.shape)}"
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape
    ]
    if problems:
        shown = "; ".join(problems[:3])
        raise DataError(f"{path} holds weights of another model ({len(problems)} differences: {shown})")
    model.load_state_dict(state)
    return model


def load_model(path: str | os.PathLike[str]) -> tuple[ClipModel, Tokenizer]:
    """Rebuild model and tokenizer from a file that `save_weights` wrote with config and tokenizer.

    Raises:
        DataError: the file does not describe its model, or cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} is not a readable safetensors file: {error}") from error
    if not {"config", "tokenizer"} <= metadata.keys():
        raise DataError(
            f"{path} does not say which model its weights belong to: build the model with build_model and use load_weights"
        )
    try:
        tokenizer = tokenizers.from_json(metadata["tokenizer"])
        config = _checked(json.loads(metadata["config"]), "the header's config")
        model = build_model(config, tokenizer, seed=0)
    except (ValueError, RecursionError, DataError) as error:
        raise DataError(
            f"{path}: its header does not describe a model that can be built: {error}; copy the file again, or, if it was "
            "made elsewhere, give the config of its model"
        ) from error
    return load_weights(model, path), tokenizer

"""A small open_clip model with open_clip's own vocabulary, as a JSON config that open_clip registers as well."""

import json
from pathlib import Path

import torch

from empirical.checkpoints import build_open_clip
from empirical.model_inputs import ClipModel
from empirical.tokenizer import Tokenizer

CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


def small_open_clip(folder: Path, seed: int = 0) -> tuple[Path, ClipModel, Tokenizer]:
    """The config's path (its stem is its name), an untrained model that tells pictures apart, and its tokenizer.

    Untrained features nearly coincide: normalisation statistics of pictures and a centred output pull them apart.
    """
    path = folder / "small_rn.json"
    path.write_text(json.dumps(CONFIG))
    model, tokenizer = build_open_clip(str(path), seed)
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.nn.functional.interpolate(
        torch.randn(64, 3, 6, 6, generator=generator), 64, mode="bicubic"
    )
    with torch.no_grad():
        for name, value in model.named_parameters():
            if not name.startswith("visual") and value.ndim > 1:
                value.mul_(3.0)
        model.visual.train()
        for _ in range(60):
            model.encode_image(pixels)
        model.eval()
        dict(model.named_parameters())["visual.attnpool.c_proj.bias"].sub_(model.encode_image(pixels).mean(0))
    return path, model, tokenizer

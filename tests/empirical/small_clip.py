"""Small random data and models that the tests of training, evaluation and filtering share."""

import numpy as np
import torch
from open_clip import CLIP

from empirical.model import build_model, load_config
from empirical.tokenizer import WordTokenizer

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 50, 220), "yellow": (225, 215, 40)}
TEMPLATES = ["a photo of a {}", "{} thing"]
TOKENIZER = WordTokenizer(["a", "photo", "of", "thing", *COLOURS], context_length=10)


def small_model(seed: int = 0, name: str = "conv_tower") -> CLIP:
    return small_model_with({}, seed, name)


def small_model_with(text_cfg: dict, seed: int = 0, name: str = "conv_tower") -> CLIP:
    config = load_config(name)
    config["text_cfg"] |= text_cfg
    model = build_model(config, TOKENIZER, seed)
    assert type(model) is CLIP
    return model


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def coloured_squares(n: int, seed: int) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Noisy pictures of one of four colours, captions that name it, labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(len(COLOURS), size=n)
    flat = np.array(list(COLOURS.values()))[labels][:, :, None, None]
    images = np.clip(flat + rng.normal(0, 40, (n, 3, 32, 32)), 0, 255).astype(np.uint8)
    names = list(COLOURS)
    captions = [TEMPLATES[rng.integers(2)].format(names[label]) for label in labels]
    return images, captions, labels


def random_pairs(n: int, seed: int) -> tuple[np.ndarray, torch.Tensor]:
    """Pictures of noise with random captions of varying length."""
    rng = np.random.default_rng(seed)
    captions = [" ".join(rng.choice(TOKENIZER.words, size=rng.integers(0, 12))) for _ in range(n)]
    return rng.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8), TOKENIZER(captions)

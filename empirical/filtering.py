"""Filtering image-text pairs by the scores of a CLIP model, and noisy pools to filter (the experiment of Theorem 3).

`clip_scores` -> `keep_share` or `keep_threshold` -> indices of the kept pairs; `shuffled_captions` makes the junk.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from empirical.errors import DataError, StudyError
from empirical.model import evaluating
from empirical.model_inputs import ClipModel, check_tokens
from empirical.zero_shot import image_features


def clip_scores(
    model: ClipModel,
    images: np.ndarray | Tensor,
    tokens: np.ndarray | Tensor,
    device: str | torch.device = "cpu",
    batch_size: int = 64,
) -> Float32[np.ndarray, " n"]:
    """Cosine of each image with its own caption, in [-1, 1]; images uint8 (n, 3, S, S), tokens int64 (n, context).

    Raises:
        StudyError: images or tokens that fit neither each other nor the model.
    """
    tokens = check_tokens(tokens, model)
    if len(images) != len(tokens):
        raise StudyError(f"{len(images)} images but {len(tokens)} captions: one caption per image")
    pictures = image_features(model, images, device, batch_size)
    captions, caption_of = tokens.unique(dim=0, return_inverse=True)
    with evaluating(model):
        texts = torch.cat(
            [model.encode_text(part.to(device), normalize=True) for part in captions.split(batch_size)]
        )
    return (pictures * texts.float()[caption_of.to(texts.device)]).sum(dim=-1).cpu().numpy()


def _checked_scores(scores: Float[np.ndarray, " n"]) -> None:
    broken = np.flatnonzero(np.isnan(scores))
    if len(broken):
        raise DataError(
            f"the score of pair {broken[0]} is not a number: the filter that made it has diverged"
        )


def keep_share(scores: Float[np.ndarray, " n"], share: float) -> Int64[np.ndarray, " kept"]:
    """Indices, ascending, of the round(share · n) pairs with the highest scores; of equal scores the earlier pair.

    Raises:
        StudyError: a share outside (0, 1], or so small that no pair is kept.
        DataError: a score is NaN.
    """
    _checked_scores(scores)
    kept = round(share * len(scores)) if 0 < share <= 1 else 0
    if not kept:
        raise StudyError(
            f"share to keep is {share} of {len(scores)} pairs; allowed is (0, 1] with at least one pair"
        )
    return np.sort(np.argsort(-scores, kind="stable")[:kept]).astype(np.int64)


def keep_threshold(scores: Float[np.ndarray, " n"], threshold: float) -> Int64[np.ndarray, " kept"]:
    """Indices, ascending, of the pairs with score >= threshold (a cosine).

    Raises:
        StudyError: the threshold is not finite.
        DataError: a score is NaN.
    """
    _checked_scores(scores)
    if not math.isfinite(threshold):
        raise StudyError(f"threshold is {threshold}; a finite cosine is needed")
    return np.flatnonzero(scores >= threshold).astype(np.int64)


def shuffled_captions(num_pairs: int, share: float, seed: int) -> Int64[np.ndarray, " n"]:
    """A noisy pool: entry i is the pair whose caption pair i carries; entry i is i for the pairs left alone.

    Exactly round(share · num_pairs) pairs, drawn without replacement, pass their captions on along one random cycle,
    so that each of them carries another pair's caption. With K equally frequent classes such a caption still names
    the right class with probability about 1/K: "shuffled" is not "wrong" (Theorem 3 treats it as two components).
    `shuffled_captions(...) != arange(num_pairs)` marks the junk.

    Raises:
        StudyError: a share outside [0, 1], or one that chooses a single pair (no other caption to give it).
    """
    chosen = round(share * num_pairs) if 0 <= share <= 1 else -1
    if chosen < 0 or chosen == 1:
        raise StudyError(
            f"junk share is {share} of {num_pairs} pairs; allowed is [0, 1], and not a single pair"
        )
    cycle = np.random.default_rng(seed).permutation(num_pairs)[:chosen]
    donor = np.arange(num_pairs, dtype=np.int64)
    donor[cycle] = np.roll(cycle, 1)
    return donor

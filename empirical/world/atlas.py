"""The silhouettes as signed-distance fields, and the hash that identifies the whole world; use `atlas()` and `world_hash()`."""

import dataclasses
import hashlib
import json
from functools import cache

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from empirical.world.constants import WORLD
from empirical.world.shapes import CANVAS, EXTENT
from empirical.world.silhouettes import NUM_VARIANTS, draw_silhouette

ATLAS_SIZE = 64  # pixels along the side of one distance field


def atlas_names() -> tuple[str, ...]:
    """Names of the atlas's rows: the classes in label order, then the distractors."""
    return tuple(c.name for c in WORLD.classes) + WORLD.distractors


@cache
def silhouette_masks() -> Bool[np.ndarray, "names variants canvas canvas"]:
    """Masks of every silhouette and variant, rows in the order of `atlas_names()`."""
    return np.stack([np.stack([draw_silhouette(n, v) for v in range(NUM_VARIANTS)]) for n in atlas_names()])


@cache
def atlas() -> Float[Tensor, "names variants size size"]:
    """Signed Euclidean distances to each silhouette's outline, negative inside, in units of the object (half its side = 1)."""
    from scipy.ndimage import distance_transform_edt

    masks = silhouette_masks()
    step = CANVAS // ATLAS_SIZE
    fields = np.empty((*masks.shape[:2], ATLAS_SIZE, ATLAS_SIZE), np.float32)
    for index in np.ndindex(*masks.shape[:2]):
        mask = masks[index]
        outside, inside = np.asarray(distance_transform_edt(~mask)), np.asarray(distance_transform_edt(mask))
        # each transform measures to the nearest pixel of the other side; the outline lies half a pixel before it
        signed = np.where(mask, 0.5 - inside, outside - 0.5) * (2 * EXTENT / CANVAS)
        fields[index] = signed.reshape(ATLAS_SIZE, step, ATLAS_SIZE, step).mean((1, 3))
    return torch.from_numpy(fields)


@cache
def world_hash() -> str:
    """SHA-256 (hex) over all constants of the world and the bytes of all silhouettes' masks."""
    constants = json.dumps(dataclasses.asdict(WORLD), sort_keys=True, ensure_ascii=True)
    digest = hashlib.sha256(constants.encode())
    digest.update(f"{ATLAS_SIZE},{CANVAS},{EXTENT}".encode())
    digest.update(np.packbits(silhouette_masks()).tobytes())
    return digest.hexdigest()

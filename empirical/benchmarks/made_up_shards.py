"""Shards to measure trainers on: rendered pairs, or blurred noise with captions of random words at any size."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image
from webdataset.writer import TarWriter

SIDE_OF_NOISE = 14
"""Coloured patches along a made-up image's side before it is blown up: about as many bytes as a photograph."""


def write_rendered(folder: Path, num_samples: int, num_shards: int, seed: int = 0) -> str:
    """Shards of the embedded world's "stock" source, 32 px; returns them as a brace pattern."""
    from empirical.shards import write_pairs
    from empirical.world import render_source

    _check_even(num_samples, num_shards)
    write_pairs(render_source("stock", seed, 0, num_samples), folder, num_samples // num_shards)
    return _pattern(folder, num_shards)


def write_made_up(folder: Path, num_samples: int, num_shards: int, image_size: int, seed: int = 0) -> str:
    """Shards of JPEG files of blurred coloured noise, each with 8 to 16 random words; returns them as a brace pattern."""
    from empirical.world import vocabulary

    _check_even(num_samples, num_shards)
    words = np.array(vocabulary())
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    per_shard = num_samples // num_shards
    for shard in range(num_shards):
        with (folder / f"{shard:05d}.tar").open("wb") as file, TarWriter(file, encoder=False, mtime=0) as tar:
            for i in range(shard * per_shard, (shard + 1) * per_shard):
                patches = rng.integers(0, 256, (SIDE_OF_NOISE, SIDE_OF_NOISE, 3), dtype=np.uint8)
                picture = Image.fromarray(patches).resize((image_size, image_size), Image.Resampling.BICUBIC)
                data = io.BytesIO()
                picture.save(data, "JPEG", quality=90)
                caption = " ".join(rng.choice(words, rng.integers(8, 17)))
                tar.write({"__key__": f"{i:08d}", "jpg": data.getvalue(), "txt": caption.encode()})
    return _pattern(folder, num_shards)


def _check_even(num_samples: int, num_shards: int) -> None:
    if num_shards < 1 or num_samples % num_shards:
        raise ValueError(f"{num_samples} samples do not divide evenly into {num_shards} shards")


def _pattern(folder: Path, num_shards: int) -> str:
    return f"{folder}/{{00000..{num_shards - 1:05d}}}.tar"

"""Training sources and test sets of the world; use `render_source` and `render_test_set`.

Image i of a source is a function of (world hash, source, seed, i) alone: images are rendered in whole blocks, each from a
seed derived from those four, and sliced.
"""

import hashlib
from collections.abc import Callable

import numpy as np
from jaxtyping import Int64, UInt8

from empirical.arrays import Pairs, ReadAccount, TestSet
from empirical.world.atlas import world_hash
from empirical.world.captions import class_names, templates, write_captions
from empirical.world.constants import BLOCK_SIZE, STYLE_NAMES, WORLD
from empirical.world.render import Scenes, render
from empirical.world.silhouettes import HELD_OUT_VARIANTS, TRAINING_VARIANTS
from empirical.world.specs import SourceSpec, TestSetSpec

SOURCE_NAMES = tuple(s.name for s in WORLD.sources)
TEST_SET_NAMES = tuple(t.name for t in WORLD.test_sets)

_Spec = SourceSpec | TestSetSpec


def _named(specs: tuple, name: str, what: str) -> _Spec:
    for spec in specs:
        if spec.name == name:
            return spec
    raise ValueError(f"unknown {what} {name!r}; the world has {', '.join(s.name for s in specs)}")


def _block_seed(kind: str, name: str, seed: int, block: int) -> int:
    text = f"{world_hash()}/{kind}/{name}/{seed}/{block}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def _draw_scenes(
    spec: _Spec, classes: Int64[np.ndarray, " n"], variants: tuple[int, ...], rng: np.random.Generator
) -> Scenes:
    n = len(classes)
    color_index = {c.name: i for i, c in enumerate(WORLD.colors)}
    typical = np.array([color_index[c.typical_color] for c in WORLD.classes])
    return Scenes(
        classes=classes,
        variants=rng.choice(np.array(variants), n),
        styles=rng.choice(len(WORLD.style_names), n, p=spec.styles),
        views=rng.choice(len(WORLD.views), n, p=spec.views),
        colors=np.where(
            rng.random(n) < spec.typical_color,
            typical[classes],
            rng.integers(0, len(typical) and len(WORLD.colors), n),
        ),
        backgrounds=rng.integers(0, len(WORLD.backgrounds), n),
    )


def _metadata(
    scenes: Scenes, name: str, seed: int, start: int, variants_held_out: bool
) -> list[dict[str, str | int | bool]]:
    return [
        {
            "class": WORLD.classes[scenes.classes[i]].name,
            "style": STYLE_NAMES[scenes.styles[i]],
            "view": WORLD.views[scenes.views[i]].name,
            "color": WORLD.colors[scenes.colors[i]].name,
            "background": WORLD.backgrounds[scenes.backgrounds[i]].name,
            "variant": int(scenes.variants[i]),
            "held_out": variants_held_out,
            "source": name,
            "seed": seed,
            "index": start + i,
        }
        for i in range(len(scenes))
    ]


def _check_range(seed: int, start: int, stop: int) -> None:
    if seed < 0 or not 0 <= start <= stop:
        raise ValueError(
            f"need seed >= 0 and 0 <= start <= stop, got seed {seed}, start {start}, stop {stop}"
        )


def render_source(
    name: str,
    seed: int,
    start: int,
    stop: int,
    image_size: int = 32,
    progress: Callable[[int], None] | None = None,
) -> Pairs:
    """Pairs start..stop-1 of a training source: images uint8 (n, 3, image_size, image_size) with captions.

    Pair i depends on (WORLD_HASH, name, seed, i) only, bit for bit, whatever range is asked for. `progress` is called with
    the number of pairs after each block. Labels and metadata describe the picture, not the caption: never train on them.
    Raises: ValueError for an unknown source, a negative seed or an empty-handed range (start > stop).
    """
    spec = _named(WORLD.sources, name, "source")
    assert isinstance(spec, SourceSpec)
    _check_range(seed, start, stop)
    images = np.empty((stop - start, 3, image_size, image_size), np.uint8)
    labels, captions, metadata = np.empty(stop - start, np.int64), [], []
    for block in range(start // BLOCK_SIZE, -(-stop // BLOCK_SIZE) if stop > start else start // BLOCK_SIZE):
        first = block * BLOCK_SIZE
        low, high = max(start, first), min(stop, first + BLOCK_SIZE)
        block_seed = _block_seed("source", name, seed, block)
        rng = np.random.default_rng(block_seed)
        scenes = _draw_scenes(spec, rng.integers(0, len(WORLD.classes), BLOCK_SIZE), TRAINING_VARIANTS, rng)
        block_captions = write_captions(spec, scenes, rng)
        images[low - start : high - start] = render(scenes, block_seed, image_size)[
            low - first : high - first
        ]
        labels[low - start : high - start] = scenes.classes[low - first : high - first]
        captions += block_captions[low - first : high - first]
        metadata += _metadata(scenes.select(np.arange(low - first, high - first)), name, seed, low, False)
        if progress is not None:
            progress(high - low)
    keys = [f"{name}_s{seed}_{i:09d}" for i in range(start, stop)]
    account = ReadAccount(shards=0, samples_read=stop - start)
    return Pairs(
        images=images, captions=captions, keys=keys, labels=labels, account=account, metadata=metadata
    )


def render_test_set(name: str, num_images: int, seed: int = 0, image_size: int = 32) -> TestSet:
    """A test set of any size: classes in equal numbers (up to one), silhouettes all held out of training.

    Image i shows class i mod K and depends on (WORLD_HASH, name, seed, i) only.
    Raises: ValueError for an unknown test set, a negative seed or a negative number of images.
    """
    spec = _named(WORLD.test_sets, name, "test set")
    _check_range(seed, 0, num_images)
    images: UInt8[np.ndarray, "n 3 size size"] = np.empty((num_images, 3, image_size, image_size), np.uint8)
    metadata = []
    for first in range(0, num_images, BLOCK_SIZE):
        last = min(num_images, first + BLOCK_SIZE)
        block_seed = _block_seed("test", name, seed, first // BLOCK_SIZE)
        rng = np.random.default_rng(block_seed)
        classes = np.arange(first, first + BLOCK_SIZE) % len(WORLD.classes)
        scenes = _draw_scenes(spec, classes, HELD_OUT_VARIANTS, rng)
        images[first:last] = render(scenes, block_seed, image_size)[: last - first]
        metadata += _metadata(scenes.select(np.arange(last - first)), name, seed, first, True)
    return TestSet(
        name=name,
        images=images,
        labels=np.arange(num_images, dtype=np.int64) % len(WORLD.classes),
        keys=[f"{name}_s{seed}_{i:09d}" for i in range(num_images)],
        class_names=class_names(),
        templates=templates(),
        account=ReadAccount(shards=0, samples_read=num_images),
        metadata=metadata,
    )

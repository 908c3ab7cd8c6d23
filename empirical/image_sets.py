"""Images alone, without captions or labels, from anything that holds them: `read_image_set`, `embedded_image_sets`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from empirical.arrays import ReadAccount
from empirical.errors import DataError
from empirical.indexed_reader import SampleReader
from empirical.shard_index import is_index, load_index
from empirical.shards import (
    IMAGE_SUFFIXES,
    SHARD_SUFFIXES,
    UnreadableSample,
    decode_image,
    expand_shards,
    read_samples,
    sample_image,
)


@dataclass(frozen=True)
class ImageSet:
    """Named images, uint8 (n, 3, S, S), with their keys and an account of what was skipped; `is_test` marks test sets."""

    name: str
    images: UInt8[np.ndarray, "n 3 size size"]
    keys: Sequence[str]
    is_test: bool = False
    account: ReadAccount = field(default_factory=ReadAccount)

    def __len__(self) -> int:
        return len(self.images)


def read_image_set(
    name: str,
    path: str | Path,
    image_size: int,
    *,
    limit: int = 0,
    seed: int = 0,
    is_test: bool = False,
    progress: Callable[[int], None] | None = None,
) -> ImageSet:
    """The images of webdataset shards, of a shard index, or of a folder of image files (also in folders inside it).

    Args: with a `limit`, that many images of shards (or files) in an order drawn from `seed`; progress is called with the
    number of images read. Unreadable images are skipped and counted. Raises: DataError when there is none.
    """
    account, images, keys = ReadAccount(), [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # refused by decode_image's own check
        for image, key in _images(str(path), image_size, np.random.default_rng(seed), bool(limit), account):
            images.append(image)
            keys.append(key)
            if progress is not None and len(images) % 1000 == 0:
                progress(len(images))
            if limit and len(images) >= limit:
                break
    account.samples_read = len(images)
    if not images:
        raise DataError(f"{path}: no readable image for {name}: {account.summary()}")
    return ImageSet(name, np.stack(images), keys, is_test, account)


def _images(
    path: str, image_size: int, generator: np.random.Generator, shuffled: bool, account: ReadAccount
) -> Iterator[tuple[np.ndarray, str]]:
    def ordered(things: Sequence) -> list:
        return [things[i] for i in generator.permutation(len(things))] if shuffled else list(things)

    folder = Path(path)
    if is_index(folder):
        index, reader = load_index(folder), SampleReader()
        for row in ordered(range(len(index))):
            location = index.locate(row)
            try:
                yield sample_image(reader.sample(location), image_size), location.key
            except UnreadableSample as reason:
                account.skip(str(reason), f"{location.path}: {location.key}")
        return
    places = [p for p in (folder, folder / "test") if p.is_dir() and _holds(p, SHARD_SUFFIXES)]
    if places or not folder.is_dir():
        for shard in ordered(expand_shards(str(places[0]) if places else path)):
            for sample in read_samples(shard, account):
                try:
                    yield sample_image(sample, image_size), sample["__key__"]
                except UnreadableSample as reason:
                    account.skip(str(reason), f"{shard}: {sample['__key__']}")
        return
    suffixes = tuple("." + suffix for suffix in IMAGE_SUFFIXES)
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in suffixes and p.is_file())
    for file in ordered(files):
        try:
            yield decode_image(file.read_bytes(), image_size), str(file.relative_to(folder))
        except UnreadableSample as reason:
            account.skip(str(reason), str(file))
        except OSError as error:
            account.skip("file cannot be opened", f"{file} ({error.strerror})")


def _holds(folder: Path, suffixes: tuple[str, ...]) -> bool:
    return any(file.name.endswith(suffixes) for file in folder.iterdir())


def embedded_image_sets(num_images: int, image_size: int, seed: int) -> Iterator[ImageSet]:
    """All sources, then all test sets of the embedded world, `num_images` of each, rendered at `image_size` as they are
    asked for."""
    from empirical.world import SOURCE_NAMES, TEST_SET_NAMES, render_source, render_test_set

    for name in SOURCE_NAMES:
        pairs = render_source(name, seed, 0, num_images, image_size=image_size)
        yield ImageSet(name, pairs.images, pairs.keys)
    for name in TEST_SET_NAMES:
        test_set = render_test_set(name, num_images, seed=seed, image_size=image_size)
        yield ImageSet(name, test_set.images, test_set.keys, is_test=True)

"""The data of a study: every source and test set as arrays in the study's folder, made once and memory-mapped.

The embedded world's sources are rendered, written as webdataset shards and read back through `read_pairs`, the path
that a user's own shards take; the same holds for test sets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from empirical.arrays import Pairs, load_pairs
from empirical.errors import StudyError
from empirical.plan import Draw
from empirical.records import fingerprint, read_json, write_json

EMBEDDED = "embedded"
"""In place of a path: the source or test set of this name in the embedded world."""

CAPTION_SAMPLE = 20_000
"""Captions per source from which a `captions:N` vocabulary is counted."""


@dataclass(frozen=True)
class SourceData:
    """Where one source's samples lie, and which of them one seed of a study uses.

    `path` is `EMBEDDED` or the user's shards; `needed` is how many samples each of the study's `seeds` draws.
    """

    name: str
    path: str
    seed: int
    seeds: tuple[int, ...]
    needed: int
    image_size: int

    @property
    def num_samples(self) -> int:
        """How many samples are rendered (for this seed) or read (for all seeds, when there are that many)."""
        return self.needed if self.path == EMBEDDED else self.needed * len(self.seeds)

    def folder(self, study: Path) -> Path:
        """The arrays of this source: one folder per seed for the embedded world, one for all seeds of a user's."""
        label = f"{self.name}-seed{self.seed}" if self.path == EMBEDDED else self.name
        return study / "arrays" / label


def prepare_source(study: Path, source: SourceData) -> dict[str, Any]:
    """Read a source into arrays (the embedded ones: render and write their shards first); return its account.

    Raises `DataError` when nothing can be read, `StudyError` when there are fewer samples than the study draws.
    """
    from empirical.arrays import save_pairs
    from empirical.indexed_reader import read_indexed_pairs
    from empirical.shard_index import is_index, load_index
    from empirical.shards import expand_shards, read_pairs, write_pairs

    folder = source.folder(study)
    wanted = {
        "path": source.path,
        "num_samples": source.num_samples,
        "image_size": source.image_size,
        "origin": origin(source.path),
    }
    stamp = folder.parent / f"{folder.name}.json"
    if stamp.exists() and folder.exists():
        made = read_json(stamp)
        if made["wanted"] == wanted:
            return made["account"]
    if source.path == EMBEDDED:
        from empirical.world import render_source

        shards = study / "shards" / folder.name
        rendered = render_source(
            source.name, source.seed, 0, source.num_samples, image_size=source.image_size
        )
        paths = [str(path) for path in write_pairs(rendered, shards)]
        pairs = read_pairs(paths, source.image_size)
    elif is_index(source.path):
        index = load_index(source.path)
        order = np.random.default_rng([2, _digest(source.name)]).permutation(len(index))
        pairs = read_indexed_pairs(index, source.image_size, order, limit=source.num_samples)
    else:
        # Shards in a seeded order: where only some are read, they are a sample of all.
        found = expand_shards(source.path)
        paths = [found[i] for i in np.random.default_rng([2, _digest(source.name)]).permutation(len(found))]
        pairs = read_pairs(paths, source.image_size, limit=source.num_samples)
    if len(pairs.captions) < source.needed:
        skipped = f" ({pairs.account.skipped} skipped)" if pairs.account.skipped else ""
        raise StudyError(
            f"source {source.name} ({source.path}) has {len(pairs.captions)} usable samples{skipped}; the study draws "
            f"{source.needed} per seed, since every run has samples of its own: lower --sizes, or add shards"
        )
    stamp.unlink(missing_ok=True)  # killed here, the new arrays must not be taken for what the old stamp says
    save_pairs(folder, pairs)
    account = {
        "samples": len(load_pairs(folder).captions),
        "skipped": dict(pairs.account.skipped),
        "examples": list(pairs.account.examples),
    }
    if source.path != EMBEDDED and len(pairs.captions) < source.num_samples:
        account["note"] = (
            f"{len(pairs.captions)} samples for {len(source.seeds)} seeds that draw {source.needed} each: seeds share "
            "samples, so the spread over seeds is too small; add shards, or lower --num-seeds or --sizes"
        )
    write_json(stamp, {"wanted": wanted, "account": account})
    return account


def prepare_test_set(
    study: Path,
    name: str,
    path: str,
    image_size: int,
    num_images: int,
    seed: int = 0,
    reference: str | None = None,
) -> dict[str, Any]:
    """Read a test set into arrays (an embedded one: render and write it first); return its account.

    `num_images` and `seed` say which images of the embedded world are rendered. `reference` names the reference test set:
    a user's set, prepared after it, takes the reference's names for numbered classes and keeps its own classes only.
    Raises `DataError` when the set cannot be read or its classes have no usable names.
    """
    from empirical.arrays import save_test_set
    from empirical.evaluation_sets import load_test_set

    folder = study / "arrays" / f"test-{name}"
    class_names = None
    reference_stamp = study / "arrays" / f"test-{reference}.json"
    if path != EMBEDDED and reference not in (None, name) and reference_stamp.exists():
        class_names = read_json(reference_stamp)["account"]["class_names"]
    wanted = {
        "path": path,
        "image_size": image_size,
        "num_images": num_images,
        "seed": seed if path == EMBEDDED else None,
        "origin": origin(path),
        "reference_classes": fingerprint(class_names),
    }
    stamp = folder.parent / f"{folder.name}.json"
    if stamp.exists() and folder.exists():
        made = read_json(stamp)
        if made["wanted"] == wanted:
            return made["account"]
    if path == EMBEDDED:
        from empirical.shards import write_test_set
        from empirical.world import render_test_set

        path = str(study / "shards" / f"test-{name}")
        write_test_set(render_test_set(name, num_images, seed=seed, image_size=image_size), Path(path))
    test_set = load_test_set(name, path, image_size, class_names=class_names)
    stamp.unlink(missing_ok=True)  # it speaks of other arrays from here on
    save_test_set(folder, test_set)
    account = {
        "images": len(test_set.labels),
        "class_names": list(test_set.class_names),
        "skipped": dict(test_set.account.skipped),
        "examples": list(test_set.account.examples),
    }
    if test_set.account.notes:
        account["note"] = "; ".join(test_set.account.notes)
    write_json(stamp, {"wanted": wanted, "account": account})
    return account


def origin(path: str) -> str:
    """What the data depends on beyond its path: the world's constants, or names, sizes and times of the files."""
    if path == EMBEDDED:
        from empirical.world import WORLD_HASH

        return WORLD_HASH
    from empirical.shards import expand_shards

    folder = Path(path)
    if folder.is_dir():
        files = sorted(file for file in folder.rglob("*") if file.is_file())
    else:
        files = [Path(name) for name in expand_shards(path)]
    return fingerprint([[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files])


@lru_cache(maxsize=64)
def sample_order(source: SourceData, available: int) -> np.ndarray:
    """Which sample stands at each of the `needed` positions of one seed, int64 (needed,).

    The embedded world has a stream of its own for every seed: the identity. A user's samples are shuffled once and,
    when there are enough, dealt to the seeds without overlap; otherwise each seed takes its own shuffle of all. The same
    array is returned to everybody who asks: it is not to be written to.
    """
    if source.path == EMBEDDED:
        return np.arange(source.needed)
    if available >= source.needed * len(source.seeds):
        start = source.seeds.index(source.seed) * source.needed
        shuffle = np.random.default_rng([0, source.seeds[0], _digest(source.name)]).permutation(available)
        return shuffle[start : start + source.needed]
    shuffle = np.random.default_rng([1, source.seed, _digest(source.name)]).permutation(available)
    return shuffle[: source.needed]


def _digest(text: str) -> int:
    return int(fingerprint(text), 16)


@lru_cache(maxsize=64)
def _pairs(folder: Path, changed: int) -> Pairs:
    """A source's arrays, kept open: parsing its captions again for every run takes longer than reading its images."""
    del changed  # part of the key: arrays that were made again are read again
    return load_pairs(folder)


def gather(
    study: Path, sources: Mapping[str, SourceData], draws: Sequence[Draw]
) -> tuple[np.ndarray, list[str]]:
    """Images uint8 (n, 3, S, S) and captions of the draws, one after the other."""
    images, captions = [], []
    for draw in draws:
        source = sources[draw.source]
        folder = source.folder(study)
        pairs = _pairs(folder, (folder / "texts.json").stat().st_mtime_ns)
        chosen = sample_order(source, len(pairs.captions))[draw.start : draw.start + draw.count]
        images.append(np.asarray(pairs.images[chosen]))
        captions += [pairs.captions[i] for i in chosen]
    return np.concatenate(images), captions

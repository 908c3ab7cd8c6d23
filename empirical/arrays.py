"""Image-text pairs and test sets in memory and on disk; use `Pairs`, `TestSet` and their save and load functions.

Saved folders hold plain .npy and .json files; images are memory-mapped when loaded, so that many workers share one copy.
"""

import dataclasses
import json
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from empirical.errors import DataError
from empirical.records import flush_to_disk, writer

_NUM_EXAMPLES = 5  # per reason
_FORMAT = 1


@dataclass
class ReadAccount:
    """What a reader saw: shards opened, samples read, and how many were skipped for which reason.

    `examples` names up to five places per reason as "reason: file: key"; `notes` are remarks on what was read.
    """

    shards: int = 0
    samples_read: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def skip(self, reason: str, where: str, count: int = 1) -> None:
        """Count skipped samples, of which one example is named."""
        known = sum(example.startswith(reason + ": ") for example in self.examples)
        self.skipped[reason] = self.skipped.get(reason, 0) + count
        if known < _NUM_EXAMPLES:
            self.examples.append(f"{reason}: {where}")

    def summary(self) -> str:
        """One line: how many samples were read and skipped, why, and the first example of each reason."""
        if not self.skipped:
            return f"{self.samples_read} samples read, none skipped"
        reasons = []
        for reason, count in self.skipped.items():
            example = next(e for e in self.examples if e.startswith(reason + ": "))
            reasons.append(f"{count} x {reason} (such as {example[len(reason) + 2 :]})")
        return f"{self.samples_read} samples read, {sum(self.skipped.values())} skipped: {'; '.join(reasons)}"


@dataclass
class Pairs:
    """Image-text pairs: images uint8 (n, 3, S, S), RGB; n captions and n keys.

    labels (n,) and metadata (one JSON object per pair) describe rendered images and are never used for training.
    """

    images: UInt8[np.ndarray, "n 3 size size"]
    captions: list[str]
    keys: list[str]
    labels: Int64[np.ndarray, " n"] | None = None
    account: ReadAccount = field(default_factory=ReadAccount)
    metadata: list[dict[str, Any]] | None = None

    def __len__(self) -> int:
        return len(self.images)


@dataclass
class TestSet:
    """A labelled test set: images uint8 (n, 3, S, S), RGB; labels (n,) in 0..K-1 index class_names (K,)."""

    __test__ = False  # not a test case, whatever pytest thinks of its name

    name: str
    images: UInt8[np.ndarray, "n 3 size size"]
    labels: Int64[np.ndarray, " n"]
    keys: list[str]
    class_names: list[str]
    templates: list[str] | None = None
    account: ReadAccount = field(default_factory=ReadAccount)
    metadata: list[dict[str, Any]] | None = None

    def __len__(self) -> int:
        return len(self.images)


def _save(folder: str | Path, value: Pairs | TestSet) -> Path:
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    texts = {
        f.name: getattr(value, f.name)
        for f in dataclasses.fields(value)
        if f.name not in ("images", "labels")
    }
    texts["account"] = dataclasses.asdict(value.account)
    texts |= {"format": _FORMAT, "kind": type(value).__name__}
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.{writer()}.tmp.", dir=folder.parent))
    try:
        np.save(unfinished / "images.npy", value.images, allow_pickle=False)
        if value.labels is not None:
            np.save(unfinished / "labels.npy", value.labels, allow_pickle=False)
        (unfinished / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
        for path in (*unfinished.iterdir(), unfinished):
            flush_to_disk(path)
        os.chmod(unfinished, 0o755)  # mkdtemp makes it private
        try:
            os.replace(unfinished, folder)
        except OSError:  # an older save stands there; a folder cannot be replaced in one step
            if not (folder / "texts.json").is_file():
                raise
            # Moved aside whole, then deleted: killed anywhere, no half-deleted folder stands under the name.
            aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.{writer()}.tmp.", dir=folder.parent))
            os.replace(folder, aside / folder.name)
            os.replace(unfinished, folder)
            shutil.rmtree(aside, ignore_errors=True)
        flush_to_disk(folder.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _load(folder: str | Path, kind: type, mmap: bool) -> dict[str, Any]:
    folder = Path(folder)
    try:
        texts = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
        images = np.load(folder / "images.npy", mmap_mode="r" if mmap else None, allow_pickle=False)
        labels_file = folder / "labels.npy"
        labels = np.load(labels_file, allow_pickle=False) if labels_file.exists() else None
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{folder}: not a readable {kind.__name__} folder ({error}); delete it to have it made again"
        ) from error
    if (
        not isinstance(texts, dict)
        or texts.pop("format", None) != _FORMAT
        or texts.pop("kind", None) != kind.__name__
    ):
        raise DataError(
            f"{folder}/texts.json: does not describe a {kind.__name__} of format {_FORMAT}; delete the folder"
        )
    if len(texts["keys"]) != len(images):
        raise DataError(
            f"{folder}: {len(images)} images but {len(texts['keys'])} keys; delete the folder to have it made again"
        )
    texts["account"] = ReadAccount(**texts["account"])
    return {**texts, "images": images, "labels": labels}


def save_pairs(folder: str | Path, pairs: Pairs) -> Path:
    """Save pairs as a folder of .npy and .json files, replacing an older save; atomic: the folder is whole or absent."""
    return _save(folder, pairs)


def load_pairs(folder: str | Path, mmap: bool = True) -> Pairs:
    """Pairs saved by `save_pairs`; images memory-mapped read-only unless `mmap` is False. Raises: DataError."""
    return Pairs(**_load(folder, Pairs, mmap))


def save_test_set(folder: str | Path, test_set: TestSet) -> Path:
    """Save a test set as a folder of .npy and .json files, replacing an older save; atomic."""
    return _save(folder, test_set)


def load_test_set_arrays(folder: str | Path, mmap: bool = True) -> TestSet:
    """Test set saved by `save_test_set`; images memory-mapped read-only unless `mmap` is False. Raises: DataError."""
    return TestSet(**_load(folder, TestSet, mmap))

"""Image-text pairs and test sets as arrays in memory; use `Pairs`, `TestSet` and save/load them for worker processes."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8


@dataclass
class ReadAccount:
    """What a reader saw: shards opened, samples read, and how many were skipped for which reason (with example keys)."""

    shards: int = 0
    samples_read: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)


@dataclass
class Pairs:
    """Image-text pairs: images uint8 (n, 3, S, S), RGB; captions; unique keys.

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
    """A labelled test set: images uint8 (n, 3, S, S), labels in 0..K-1 into class_names."""

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

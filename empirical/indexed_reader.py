"""Samples of indexed shards by row: `SampleReader().sample(location)` for bytes, `read_indexed_pairs` for arrays in memory.

One positioned read fetches a sample, each member is held against its CRC-32, and what cannot be used raises
`UnreadableSample`: one bad block costs one sample. Decoding is that of `empirical.shards`.
"""

import os
import threading
import warnings
import zlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Integer
from PIL import Image

from empirical.arrays import Pairs
from empirical.errors import DataError
from empirical.shard_index import Location, ShardIndex, load_index
from empirical.shards import Sample, UnreadableSample, decode_pair, sample_caption

_OPEN_FILES = 64
_WIDEST_GAP = 1 << 16  # bytes between members that are read along rather than skipped by a second read
CHECKSUM = "sample differs from what was indexed (checksum)"


DecodedBatch = tuple[np.ndarray, list[str], list[tuple[int, str]]]
"""Images uint8 (n, 3, S, S), captions, and what could not be read as (place in the batch, reason): zeros and "" there."""


class _OpenFiles:
    """Descriptors of the files that one thread read last, with their sizes in bytes."""

    def __init__(self) -> None:
        self._files: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def __del__(self) -> None:
        while self._files:
            os.close(self._files.popitem()[1][0])

    def get(self, path: str) -> tuple[int, int]:
        found = self._files.pop(path, None)
        if found is None:
            try:
                # Not waiting: a pipe of this name would be waited for without end.
                file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
                found = file, os.fstat(file).st_size
            except OSError as error:
                raise DataError(
                    f"{path}: cannot be opened ({error.strerror}); put the shard back or build the index again"
                ) from error
            if len(self._files) >= _OPEN_FILES:
                os.close(self._files.popitem(last=False)[1][0])
        self._files[path] = found
        return found


class SampleReader:
    """Reads samples from indexed shards; threads may share it, each has open files of its own.

    `check` holds every member against its CRC-32, at about 2 GB/s: little beside decoding, more than reading from memory.
    """

    def __init__(self, check: bool = True) -> None:
        self.check = check
        self._local = threading.local()

    def _read(self, path: str, offset: int, size: int) -> bytes:
        files = getattr(self._local, "files", None)
        if files is None:
            files = self._local.files = _OpenFiles()
        file, length = files.get(path)
        if offset + size > length:  # room for it would be set aside before anything is read
            raise UnreadableSample(CHECKSUM)
        if hasattr(os, "pread"):
            return os.pread(file, size, offset)
        os.lseek(file, offset, os.SEEK_SET)
        return os.read(file, size)

    def sample(self, location: Location) -> Sample:
        """The sample's members by suffix, with `__key__` and `__url__`, as `shards.read_samples` gives them.

        Raises: UnreadableSample when its bytes cannot be read or are not those that were indexed; DataError when the
        shard is gone.
        """
        members = location.members
        start = min(offset for _, offset, _, _ in members)
        end = max(offset + size for _, offset, size, _ in members)
        together = end - start <= sum(size for _, _, size, _ in members) + _WIDEST_GAP
        sample: Sample = {"__key__": location.key, "__url__": location.path}
        try:
            block = self._read(location.path, start, end - start) if together else b""
            for suffix, offset, size, crc in members:
                at = offset - start
                data = block[at : at + size] if together else self._read(location.path, offset, size)
                if len(data) != size or (self.check and zlib.crc32(data) != crc):
                    raise UnreadableSample(CHECKSUM)
                sample[suffix] = data
        except OSError as error:
            raise UnreadableSample(f"the disk cannot read it ({error.strerror})") from error
        return sample


def read_indexed_pairs(
    index: ShardIndex | str | Path,
    image_size: int,
    rows: Integer[np.ndarray, " n"] | None = None,
    limit: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Pairs:
    """Image-text pairs of an index (or of the folder that holds it) in memory, the twin of `shards.read_pairs`.

    Args: rows, which samples and in which order (default: all); at most `limit` pairs are read; progress is called with
    the number read so far. Samples that cannot be read are skipped and counted in `Pairs.account`, beside what was
    skipped when the index was built.
    Raises: DataError when no pair can be read, a shard is gone or the index is damaged.
    """
    if not isinstance(index, ShardIndex):
        index = load_index(index)
    reader, account = SampleReader(), index.account
    images, captions, keys, metadata = [], [], [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # refused by decode_image's own check
        for row in range(len(index)) if rows is None else rows.tolist():
            if limit is not None and len(images) >= limit:
                break
            location = index.locate(row)
            try:
                image, caption, extra = decode_pair(reader.sample(location), image_size)
            except UnreadableSample as reason:
                account.skip(str(reason), f"{location.path}: {location.key}")
                continue
            images.append(image)
            captions.append(caption)
            keys.append(location.key)
            metadata.append(extra)
            if progress is not None and len(images) % 1000 == 0:
                progress(len(images))
    account.samples_read = len(images)
    if not images and limit != 0:
        raise DataError(f"no readable image-text pair among the indexed samples: {account.summary()}")
    stacked = np.stack(images) if images else np.empty((0, 3, image_size, image_size), np.uint8)
    return Pairs(stacked, captions, keys, None, account, metadata if any(metadata) else None)


def read_captions(index: ShardIndex, rows: Integer[np.ndarray, " n"]) -> list[str]:
    """Captions of these samples, without those that cannot be read; images are fetched but not decoded."""
    reader, captions = SampleReader(), []
    for row in rows.tolist():
        try:
            captions.append(sample_caption(reader.sample(index.locate(row))))
        except UnreadableSample:
            continue
    return captions


_SHARED = SampleReader()  # one per process: its files stay open from batch to batch


def decode_batch(locations: Sequence[Location], image_size: int) -> DecodedBatch:
    """Read and decode samples, one after the other; runs in threads and in worker processes.

    Raises: DataError when a shard is gone.
    """
    images = np.zeros((len(locations), 3, image_size, image_size), np.uint8)
    captions, failures = [""] * len(locations), []
    for at, location in enumerate(locations):
        try:
            images[at], captions[at], _ = decode_pair(_SHARED.sample(location), image_size)
        except UnreadableSample as reason:
            failures.append((at, str(reason)))
    return images, captions, failures

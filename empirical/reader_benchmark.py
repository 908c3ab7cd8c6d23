"""The indexed reader beside what it replaces, on the same shards in one run: `reader_rows`.

Sequential reading is held against webdataset, random access against `wids` with every shard's own index in memory.
Both sides hand over the same bytes (compared after each turn): read only; read, ours against its checksums; and decoded by
`shards.decode_pair`. Files are in the page cache. The indexes of both sides are built before the clock starts.
"""

import contextlib
import io
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from empirical.benchmarks.fresh_process import COLUMNS as COLUMNS
from empirical.errors import StudyError
from empirical.index_building import build_index
from empirical.indexed_reader import SampleReader
from empirical.shard_index import ShardIndex
from empirical.shards import Sample, decode_pair, write_pairs


def write_benchmark_shards(folder: Path, num_samples: int, image_size: int, seed: int) -> list[str]:
    """Rendered pairs as webdataset shards, for readers to be measured on; returns their paths."""
    from empirical.world import render_source

    pairs = render_source("stock", seed, 0, num_samples, image_size=image_size)
    return [str(path) for path in write_pairs(pairs, folder)]


def reader_rows(
    paths: Sequence[str], image_size: int, repeats: int = 5, seed: int = 0
) -> Iterator[dict[str, Any]]:
    """Rows of COLUMNS, one per way of reading: seconds for all samples once, medians of `repeats` turns.

    Raises: DataError for shards that cannot be indexed; StudyError when the two sides do not read the same bytes.
    """
    from theory.benchmarks.timing import compare

    index = build_index(paths)
    order = np.random.default_rng(seed).permutation(len(index)).tolist()
    takers = {
        "read": (_bytes, False),  # as the peers do, who check nothing
        "read and check": (_bytes, True),
        f"check and decode to {image_size} px": (_decoder(image_size), True),
    }
    with _wids_of(paths, index) as dataset:
        for what, (take, check) in takers.items():
            for name, rows, peer in (
                ("in order", range(len(index)), "webdataset"),
                ("in random order", order, "wids"),
            ):
                theirs = _webdataset(paths) if peer == "webdataset" else _wids(dataset, order)
                timing = compare(
                    partial(_total, partial(_ours, index, rows, check), take),
                    partial(_total, theirs, take),
                    repeats,
                )
                if timing.result != timing.peer_result:
                    raise StudyError(
                        f"{what} {name}: {timing.result} (samples, sum) here, {timing.peer_result} by {peer}"
                    )
                yield {
                    "name": f"{what} {len(index)} samples {name}",
                    "device": "cpu",
                    "ours_seconds": timing.seconds,
                    "peer": peer,
                    "peer_seconds": timing.peer_seconds,
                    "ratio": timing.ratio,
                }


def _ours(index: ShardIndex, rows: Iterable[int], check: bool) -> Iterator[Sample]:
    reader = SampleReader(check)
    return (reader.sample(index.locate(row)) for row in rows)


def _webdataset(paths: Sequence[str]) -> Callable[[], Iterator[Sample]]:
    from webdataset import WebDataset

    def samples() -> Iterator[Sample]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # it leaves its files to the garbage collector
            yield from WebDataset(list(paths), shardshuffle=False)

    return samples


@contextlib.contextmanager
def _wids_of(paths: Sequence[str], index: ShardIndex) -> Iterator[Any]:
    from wids import ShardListDataset

    counts = np.bincount(index.samples["shard"], minlength=len(paths)).tolist()
    shards = [{"url": path, "nsamples": count} for path, count in zip(paths, counts, strict=True)]
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):  # it prints what it opens
        warnings.simplefilter("ignore")  # it warns of a large cache, and leaves its files open
        options: dict[str, Any] = {"transformations": [], "localname": str, "lru_size": len(paths)}
        yield ShardListDataset(shards, keep=True, **options)


def _wids(dataset: Any, order: Iterable[int]) -> Callable[[], Iterator[Sample]]:
    def samples() -> Iterator[Sample]:
        for row in order:
            sample = dataset[row]  # members as file objects, by suffix with its dot
            yield {name[1:]: file.getvalue() for name, file in sample.items() if name.startswith(".")}

    return samples


def _bytes(sample: Sample) -> int:
    return sum(len(data) for name, data in sample.items() if not name.startswith("__"))


def _decoder(image_size: int) -> Callable[[Sample], int]:
    def decode(sample: Sample) -> int:
        image, caption, _ = decode_pair(sample, image_size)
        return int(image[0, 0, 0]) + len(caption)

    return decode


def _total(samples: Callable[[], Iterable[Sample]], take: Callable[[Sample], int]) -> tuple[int, int]:
    count = total = 0
    for sample in samples():
        count += 1
        total += take(sample)
    return count, total

"""Which samples a stream sees, and in which order, from seeds alone: see `empirical.streams`."""

import zlib

import numpy as np
from jaxtyping import Bool, Int64, Integer

from empirical.errors import StudyError
from empirical.plan import Draw, Shares, split_counts

_RUNS_PER_WINDOW = 64


def seeded_order(name: str, available: int, seed: int) -> Integer[np.ndarray, " n"]:
    """The order in which draws number the samples of a source: a permutation of 0..available-1."""
    order = np.random.default_rng([seed, zlib.crc32(name.encode())]).permutation(available)
    return order.astype(np.min_scalar_type(max(available, 1)))


def mixture_draws(shares: Shares, total: int) -> tuple[Draw, ...]:
    """Draws of a mixture: whole numbers of samples closest to the shares, from the front of each source's order.

    Raises: StudyError when a share is less than one sample.
    """
    counts = split_counts(shares, total)
    return tuple(Draw(source, 0, count) for (source, _), count in zip(shares, counts, strict=True))


def drawn_rows(draw: Draw, order: Integer[np.ndarray, " available"], repeat: bool) -> Int64[np.ndarray, " n"]:
    """Rows of the samples that a draw takes from its source's order; with `repeat`, from the start again at its end.

    Raises: StudyError for an empty draw, or one beyond the end without `repeat`.
    """
    available = len(order)
    if draw.count < 1 or draw.start < 0:
        raise StudyError(f"a draw of {draw.source} asks for {draw.count} samples from {draw.start} on")
    if draw.start + draw.count > available and not (repeat and available):
        raise StudyError(
            f"source {draw.source} has {available} samples; a draw ends at {draw.start + draw.count}: draw fewer, add "
            "shards, or allow repeats"
        )
    return order[np.arange(draw.start, draw.start + draw.count) % available].astype(np.int64)


def later_occurrences(
    sources: Integer[np.ndarray, " n"], rows: Integer[np.ndarray, " n"]
) -> Bool[np.ndarray, " n"]:
    """Marks the samples (source, row) that have occurred before, by True."""
    order = np.lexsort((rows, sources))  # stable: equal samples stay in their order
    same = (np.diff(sources[order]) == 0) & (np.diff(rows[order]) == 0)
    later = np.zeros(len(rows), bool)
    later[order[1:][same]] = True
    return later


def chunked_shuffle(
    ordered: Integer[np.ndarray, " n"], chunk: int, generator: np.random.Generator
) -> Integer[np.ndarray, " n"]:
    """Shuffle runs of `chunk` neighbours, then the samples within windows of 64 runs."""
    starts = np.arange(0, len(ordered), chunk)
    generator.shuffle(starts)
    order = np.concatenate([ordered[start : start + chunk] for start in starts.tolist()])
    window = _RUNS_PER_WINDOW * chunk
    for start in range(0, len(order), window):
        generator.shuffle(order[start : start + window])
    return order

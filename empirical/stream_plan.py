"""What a training from a stream will read: `StreamOptions`, its indexed sources, and the plan in words before it starts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from empirical.data import CAPTION_SAMPLE
from empirical.errors import StudyError
from empirical.index_building import build_index
from empirical.indexed_reader import read_captions
from empirical.model import load_config
from empirical.plan import Shares, check_shares, format_shares, split_counts
from empirical.recipe import Recipe
from empirical.records import read_json
from empirical.shard_index import HEADER, ShardIndex, is_index, load_index
from empirical.stream_order import seeded_order
from empirical.streams import SampleStream
from empirical.tokenizer import build_tokenizer


@dataclass(frozen=True)
class StreamOptions:
    """A training from a stream.

    Attributes:
        sources: shards (see `expand_shards`) or the folder of a shard index, by name.
        shares: of each source; they sum to 1.
        samples: samples per epoch; 0: as many as the sources hold at these shares, none twice.
        model, vocabulary: see `load_config` and `build_tokenizer`.
        recipe: see `Recipe`.
        seed: of the weights, the order and the shifts. source_seed: of which samples are drawn; the same for trainings whose
            smaller sizes are to be parts of the larger ones.
        repeat, chunk, workers, worker_kind: see `SampleStream`.
        device, bfloat16: see `train`.
        checkpoint_every: steps between checkpoints.
    """

    sources: Mapping[str, str]
    shares: Shares
    samples: int = 0
    model: str = "conv_tower"
    vocabulary: str = "open_clip"
    recipe: Recipe = field(default_factory=Recipe)
    seed: int = 0
    source_seed: int = 0
    repeat: bool = False
    chunk: int = 1
    workers: int = 2
    worker_kind: Literal["threads", "processes"] = "threads"
    device: str = "cpu"
    bfloat16: bool = False
    checkpoint_every: int = 500

    def __post_init__(self) -> None:
        check_shares(self.shares, tuple(self.sources))
        for name, low in {
            "samples": 0,
            "seed": 0,
            "source_seed": 0,
            "workers": 0,
            "checkpoint_every": 0,
        }.items():
            if getattr(self, name) < low:
                raise StudyError(f"{name} is {getattr(self, name)}; it must be at least {low}")
        build_tokenizer(self.vocabulary, captions=["a word"])
        load_config(self.model)


def index_folders(options: StreamOptions, indexes: Path) -> dict[str, Path]:
    """Where the index of each source in the mixture lies: the user's own one, or one to be made in `indexes`."""
    paths = {name: options.sources[name] for name, _ in options.shares}
    return {name: Path(path) if is_index(path) else indexes / name for name, path in paths.items()}


def build_indexes(
    options: StreamOptions, indexes: Path, progress: Callable[[str, int, int], None] | None = None
) -> None:
    """Index the sources that have no index yet; shards that are indexed already are not read again.

    `progress` is called with the source, the shards done and all. Raises DataError for shards that cannot be used.
    """
    for name, folder in index_folders(options, indexes).items():
        if not is_index(options.sources[name]):
            told = None if progress is None else lambda done, total, name=name: progress(name, done, total)
            build_index(options.sources[name], folder, progress=told)


def count_vocabulary(options: StreamOptions, indices: Mapping[str, ShardIndex], context_length: int) -> str:
    """The tokenizer's JSON; `captions:N` counts the words of up to 20,000 captions of each source."""
    captions: list[str] = []
    if options.vocabulary.startswith("captions:"):
        for name, index in indices.items():
            order = seeded_order(name, len(index), options.source_seed)
            captions += read_captions(index, order[:CAPTION_SAMPLE])
    return build_tokenizer(options.vocabulary, captions=captions, context_length=context_length).to_json()


def most_samples(shares: Shares, available: Mapping[str, int]) -> int:
    """The largest epoch at these shares in which no sample occurs twice.

    Raises: StudyError when it is empty.
    """
    total = min(int(available[name] / share) + 1 for name, share in shares)
    while total > 0:
        counts = split_counts(shares, total) if total * min(share for _, share in shares) >= 1 else (0,)
        if min(counts) < 1:
            break
        if all(count <= available[name] for (name, _), count in zip(shares, counts, strict=True)):
            return total
        total -= 1
    raise StudyError(
        f"the sources are too small for the mixture {format_shares(shares)}: they have "
        f"{', '.join(f'{name} {count:,}' for name, count in available.items())} samples"
    )


def stream_settings(options: StreamOptions, indexes: Path, samples: int, tokenizer: str) -> dict[str, Any]:
    """Everything that changes the weights, as plain JSON: a checkpoint of other settings is refused.

    Sources are told apart by their contents, not by their paths; on how many processes or workers a run is done is left open.
    """
    return {
        "sources": {name: _index_digest(folder) for name, folder in index_folders(options, indexes).items()},
        "mixture": format_shares(options.shares),
        "samples": samples,
        "model": load_config(options.model),
        "tokenizer": _digest(tokenizer),
        "recipe": asdict(options.recipe),
        "seed": options.seed,
        "source_seed": options.source_seed,
        "repeat": options.repeat,
        "chunk": options.chunk,
        "precision": "bfloat16" if options.bfloat16 else "float32",
    }


def _index_digest(folder: Path) -> str:
    header = read_json(folder / HEADER)
    return _digest([header["arrays"], [shard["sha256"] for shard in header["shards"]]])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def load_indexes(options: StreamOptions, indexes: Path) -> dict[str, ShardIndex]:
    """The index of each source in the mixture, memory-mapped.

    Raises: DataError when one is missing or damaged, or a shard has gone or changed its size since.
    """
    from empirical.errors import DataError

    found = {name: load_index(folder) for name, folder in index_folders(options, indexes).items()}
    for name, index in found.items():
        if changed := index.changed_shards():
            raise DataError(
                f"source {name}: {len(changed)} shards are gone or have changed since they were indexed, such as {changed[0]}; "
                "put them back, or build the index again"
            )
    return found


def describe_plan(stream: SampleStream, recipe: Recipe, available: Mapping[str, int]) -> str:
    """Samples, repeats and steps in words, before anything is trained."""
    steps = stream.steps_per_epoch
    left_over = len(stream) - steps * stream.batch_size
    lines = [f"{'source':20s} {'share':>8s} {'an epoch':>12s} {'available':>12s} {'repeats':>9s}"]
    for source in stream.account()["sources"]:
        repeats = source["samples"] - source["distinct"]
        lines.append(
            f"{source['source']:20s} {source['requested']:8.4g} {source['samples']:12,} {available[source['source']]:12,} "
            f"{repeats:9,}"
        )
    lines.append(
        f"{len(stream):,} samples an epoch, in {steps:,} batches of {stream.batch_size}"
        + (f" ({left_over} left over, other ones each epoch)" if left_over else "")
        + f"; {recipe.epochs} epochs: {recipe.epochs * steps:,} steps, {recipe.epochs * steps * stream.batch_size:,} samples seen"
    )
    return "\n".join(lines)

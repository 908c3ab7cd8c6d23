"""Score every image-text pair of webdataset shards by a CLIP, and write a filtered index that copies no image.

Stopped, it goes on from the shards that are done. The filtered index is a source like any other:
`clip_mixtures.py --source pool=OUT/index`.

What to look at in scores.png: how the scores spread, and where the kept ones begin.

Examples:
    python experiments/score_shards.py runs/clip_mixtures/shards/alt_text-seed0 --checkpoint clip.safetensors
    python experiments/score_shards.py "pool/{00000..00099}.tar" --checkpoint clip.safetensors --keep-share 0.3 --out runs/pool
    python experiments/score_shards.py pool/index --checkpoint ViT-B-32.safetensors --model ViT-B-32 --keep-threshold 0.28
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from empirical.command import Command, print_next, print_written
from empirical.options import Device, check_at_least


@dataclass(frozen=True)
class Arguments:
    """CLIP scores of shards, and the index of those that are kept."""

    shards: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Plain .tar shards (a folder, a glob, a range {000..099}, or several of these), or the folder of a shard index."""
    checkpoint: Path
    """Weights: safetensors as a study writes into models/, or of an open_clip model (safetensors or .pt; needs --model)."""
    model: str = ""
    """open_clip config of the weights: a name such as ViT-B-32 or RN50, or a JSON file."""
    out: Path = Path("runs/scores")
    """Folder for scores.parquet (or .csv), index/, scores.png, summary.txt and provenance.json."""
    keep_share: float | None = None
    """Share of the scored pairs to keep, those with the highest scores (default .5, unless a threshold is given)."""
    keep_threshold: float | None = None
    """Keep all pairs with this cosine or more, instead of a share."""
    format: Literal["auto", "parquet", "csv"] = "auto"
    """Of the scores: parquet needs pyarrow; auto takes it where it is installed."""
    batch_size: int = 64
    """Pairs per batch."""
    workers: int = 2
    """Threads that decode images."""
    device: Device = "auto"


def run(arguments: Arguments) -> None:
    """Index, score, filter, write.

    Raises:
        StudyError: arguments that make no sense; DataError: shards or weights that cannot be used.
    """
    from empirical.checkpoints import default_device, load_checkpoint
    from empirical.errors import StudyError
    from empirical.figures.scores import draw_scores
    from empirical.index_building import build_index
    from empirical.next_commands import command, own_data
    from empirical.records import fingerprint, write_provenance, write_text
    from empirical.shard_index import file_sha256, is_index, load_index
    from empirical.shard_scores import filter_index, score_index, summarise_skipped, write_scores
    from empirical.work_progress import TimedLines

    if arguments.keep_share is not None and arguments.keep_threshold is not None:
        raise StudyError("give --keep-share or --keep-threshold, not both")
    if arguments.keep_share is not None and not 0 < arguments.keep_share <= 1:
        raise StudyError(f"--keep-share {arguments.keep_share:g}: a share lies between 0 and 1")
    check_at_least(arguments, batch_size=1, workers=1)
    if not arguments.shards:
        raise StudyError(
            "give the shards to score: a folder, a pattern such as 'pool/{000..099}.tar', or an index"
        )
    lines = TimedLines()
    device = default_device(arguments.device)
    model, tokenizer = load_checkpoint(arguments.checkpoint, arguments.model)
    weights = file_sha256(arguments.checkpoint)

    def progress(done: int, total: int, what: str = "pairs scored") -> None:
        lines.now_and_then(f"{done:,} of {total:,} {what}", last=done == total)

    if len(arguments.shards) == 1 and is_index(arguments.shards[0]):
        index = load_index(arguments.shards[0])
    else:
        index = build_index(
            arguments.shards,
            arguments.out / "all",
            progress=lambda done, total: progress(done, total, "shards indexed"),
        )
    scores = score_index(
        index,
        model,
        tokenizer,
        arguments.out / "shards",
        model_name=fingerprint([weights, arguments.model]) if arguments.model else weights,
        device=device,
        batch_size=arguments.batch_size,
        workers=arguments.workers,
        progress=progress,
    )
    share = arguments.keep_share
    if share is None and arguments.keep_threshold is None:
        share = 0.5
    kept = filter_index(
        index, scores, share=share, threshold=arguments.keep_threshold, note=arguments.checkpoint.name
    )
    written = [write_scores(scores, arguments.out, arguments.format), kept.save(arguments.out / "index")]
    written += draw_scores(scores["score"].to_numpy(float), kept.note, arguments.out / "scores")
    in_index = index.account
    found = [
        f"{len(index.shards)} shards; {summarise_skipped(scores)}",
        *([f"when they were indexed: {in_index.summary()}"] if in_index.skipped else []),
        f"kept {len(kept):,} of {kept.note['scored']:,} scored pairs, from {kept.note['lowest_score']:.4f} on",
    ]
    text, summary = "\n".join(found), arguments.out / "summary.txt"
    write_text(summary, text + "\n")
    provenance = write_provenance(arguments.out, arguments, lines.seconds, device, filter=kept.note)
    print(f"\n{text}")
    print_written([*written, summary, provenance])
    whole = arguments.shards[0] if len(arguments.shards) == 1 else arguments.out / "all"
    data = own_data({"kept": arguments.out / "index", "pool": whole}, {})
    print_next(command("clip_mixtures", *data), "train on what was kept, and on all of it")


main = Command(
    Arguments, run, __doc__, stopped="shards that are done are kept: run the same command to go on"
)

if __name__ == "__main__":
    main.exit()

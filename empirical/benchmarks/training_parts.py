"""What is measured of training on a device: `parts`, each with rows of ratios and notes for the record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from empirical.benchmarks.training_comparison import (
    Compared,
    PeerEnvironment,
    compare_trainers,
    make_task,
    row,
)


@dataclass(frozen=True)
class Part:
    """Rows of the table of ratios, and whatever else was seen, ready for JSON."""

    rows: list[dict[str, Any]]
    notes: dict[str, Any]


def parts(
    preset: str,
    folder: Path,
    peer: PeerEnvironment,
    report: Callable[[str], None],
    workers: Sequence[int] = (),
) -> Iterator[Part]:
    """The parts of a preset ("cpu", "gpu" or "quick"), one after the other; `workers` are those the peer tries."""
    if preset == "gpu":
        yield from _on_a_gpu(folder, peer, report, workers)
        return
    from empirical.benchmarks.made_up_shards import write_rendered

    quick = preset == "quick"
    samples, shards = (256, 2) if quick else (2048, 8)
    pattern = write_rendered(folder / "rendered", samples, shards)
    task = make_task(
        folder, "conv_tower", "world", pattern, samples, epochs=2 if quick else 8, threads=1 if quick else 2
    )
    compared = compare_trainers(
        "conv_tower 32 px", task, folder / "small", peer,
        seeds=(0,) if quick else (0, 1, 2), workers=workers or ((0,) if quick else (0, 1, 2)), report=report,
    )  # fmt: skip
    yield _part(compared)


def _on_a_gpu(
    folder: Path, peer: PeerEnvironment, report: Callable[[str], None], workers: Sequence[int]
) -> Iterator[Part]:
    from empirical.benchmarks.made_up_shards import write_made_up, write_rendered

    device = "cuda"
    samples = 4096
    pattern = write_rendered(folder / "rendered", samples, 16)
    report(f"{samples} rendered samples of 32 px written")
    task = make_task(
        folder, "conv_tower", "world", pattern, samples, epochs=12, threads=4, device=device, recorded=True
    )
    small = compare_trainers(
        "conv_tower 32 px", task, folder / "small", peer, workers=workers or (8,), report=report
    )
    yield _part(small)
    yield _many_at_once(device, small, report)

    samples = 1024
    pattern = write_made_up(folder / "made_up", samples, 8, image_size=224)
    report(f"{samples} made-up samples of 224 px written")
    task = make_task(
        folder, "RN50", "open_clip", pattern, samples,
        epochs=5, batch_size=128, threads=4, device=device, bfloat16=True,
    )  # fmt: skip
    yield _part(
        compare_trainers("RN50 224 px bf16", task, folder / "RN50", peer, workers=(8,), report=report)
    )


def _many_at_once(device: str, small: Compared, report: Callable[[str], None]) -> Part:
    """Images per second of all models together, beside the peer's one model."""
    from empirical.benchmarks.training_rate import training_rate

    lanes = 8
    rate = training_rate(device, lanes=lanes, recorded=True, num_samples=4096, epochs=6)
    report(f"{lanes} models at once: {rate.images_per_second:,.0f} images/s")
    peer = small.peer[0].images_per_second
    name = f"conv_tower 32 px, 1,000 images, {lanes} models at once"
    rows = [row(name, device, 1000 / rate.images_per_second, 1000 / peer)]
    return Part(rows, {name: asdict(rate)})


def _part(compared: Compared) -> Part:
    notes = {
        compared.name: {
            "task": {k: v for k, v in asdict(compared.task).items() if k not in ("tokenizer", "shards", "config")},
            "peer_images_per_second_by_workers": {str(k): v for k, v in compared.tried.items()},
            "ours": [asdict(outcome) for outcome in compared.ours],
            "peer": [asdict(outcome) for outcome in compared.peer],
        }
    }  # fmt: skip
    return Part(list(compared.rows()), notes)

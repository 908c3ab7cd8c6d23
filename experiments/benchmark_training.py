"""Time the empirical package's parts beside what they replace, in one run on this machine.

Ours and its peer run by turns on the same shards; medians are written as they are found. Quote times only from a
machine that does nothing else.

What to look at in benchmark.csv: `ratio`, how many times as fast as the peer (1 or more: no slower).

Examples:
    python experiments/benchmark_training.py
    python experiments/benchmark_training.py --shards "my/shards/{00000..00009}.tar" --image-size 224
    python experiments/benchmark_training.py --quick --out runs/benchmark_quick
"""

import dataclasses
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import tyro

NEXT_COMMAND = "python experiments/clip_mixtures.py"
Part: TypeAlias = Literal["reader"]
PARTS: tuple[Part, ...] = ("reader",)


@dataclass(frozen=True)
class Arguments:
    """The indexed reader beside webdataset (in order) and wids (in random order), about a minute on two cores."""

    out: Path = Path("runs/benchmark_training")
    """Folder for benchmark.csv and provenance.json."""
    only: tuple[Part, ...] = PARTS
    """Parts to run."""
    shards: str | None = None
    """Webdataset shards to read; by default the embedded world's stock source is rendered and written."""
    samples: int = 8000
    """Samples to render where no shards are given."""
    image_size: int = 32
    """Side of the rendered and of the decoded images, in pixels."""
    repeats: int = 5
    """Measured turns of ours and peer, after one that is not measured."""
    seed: int = 0
    """Seed of the rendered images and of the random order."""
    quick: bool = False
    """Few samples and one turn: shows that everything runs; the times mean nothing."""


def main() -> int:
    """Parse, run, print."""
    arguments = tyro.cli(Arguments, description=__doc__)
    try:
        run(arguments)
    except (ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; nothing was written", file=sys.stderr)
        return 130
    return 0


def run(arguments: Arguments) -> None:
    """Measure, write, summarise.

    Raises:
        ValueError: fewer than one turn, or no part; shards that cannot be read.
    """
    import pandas as pd

    from empirical.records import environment, write_json
    from empirical.tables import write_table

    if arguments.repeats < 1:
        raise ValueError(f"--repeats must be at least 1, got {arguments.repeats}")
    if not arguments.only:
        raise ValueError(f"--only needs at least one of {', '.join(PARTS)}")
    started, rows = time.monotonic(), []
    for part in PARTS:
        if part in arguments.only:
            for row in ROWS_OF[part](arguments):
                rows.append(row)
                print(f"[{time.monotonic() - started:4.0f} s] {describe(row)}", flush=True)
    table = pd.DataFrame(rows, columns=["name", "device", "ours_seconds", "peer", "peer_seconds", "ratio"])
    write_table(table, arguments.out / "benchmark.csv")
    config = {k: str(v) if isinstance(v, Path) else v for k, v in dataclasses.asdict(arguments).items()}
    record = {"config": config, "seed": arguments.seed, "seconds": round(time.monotonic() - started, 1)}
    if hasattr(os, "getloadavg"):
        record["load_average"] = [round(load, 2) for load in os.getloadavg()]
    write_json(arguments.out / "provenance.json", record | environment())
    print(f"\n{table.to_string(index=False, float_format='%.3g')}")
    print(
        "\nWritten:\n"
        + "\n".join(f"  {arguments.out / name}" for name in ("benchmark.csv", "provenance.json"))
    )
    print(f"\nNext: {NEXT_COMMAND}   (what the speed is for)")


def describe(row: dict[str, Any]) -> str:
    """A row of the table of ratios in words."""
    return (
        f"{row['name']}: {row['ours_seconds']:.3g} s, {row['peer']} {row['peer_seconds']:.3g} s: "
        f"{row['ratio']:.2f} times as fast"
    )


def reader_part(arguments: Arguments) -> Iterator[dict[str, Any]]:
    """The indexed reader's rows, on the given shards or on rendered ones."""
    from empirical.reader_benchmark import reader_rows, write_benchmark_shards
    from empirical.shards import expand_shards

    repeats = 1 if arguments.quick else arguments.repeats
    with tempfile.TemporaryDirectory() as folder:
        if arguments.shards is not None:
            paths = expand_shards(arguments.shards)
        else:
            count = 200 if arguments.quick else arguments.samples
            paths = write_benchmark_shards(Path(folder), count, arguments.image_size, arguments.seed)
        yield from reader_rows(paths, arguments.image_size, repeats, arguments.seed)


ROWS_OF = {"reader": reader_part}

if __name__ == "__main__":
    sys.exit(main())

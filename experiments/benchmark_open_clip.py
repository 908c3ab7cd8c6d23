"""Time our trainer beside open_clip's own on the same shards, model, batch and number of samples.

Each runs in a fresh process, from shards on disk to weights on disk; the peer runs in an environment of its own.

Examples:
    pip install --no-deps --target peer webdataset==0.2.86
    python experiments/benchmark_open_clip.py --peer-path peer
    python experiments/benchmark_open_clip.py --peer-path peer --preset gpu --out runs/benchmark_gpu
"""

import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import tyro


@dataclass(frozen=True)
class Arguments:
    """About four minutes on two CPU cores, one on a GPU."""

    peer_path: str = ""
    """Folders that come first on the peer's PYTHONPATH: they hold webdataset <= 0.2.86, which open_clip's trainer needs."""
    peer_python: str = sys.executable
    """The peer's interpreter."""
    preset: Literal["cpu", "gpu", "quick"] = "cpu"
    """gpu: the small model with recorded steps, many models at once, and RN50 at 224 px."""
    workers: tuple[int, ...] = ()
    """Numbers of loader processes that the peer tries for the small model; it keeps the fastest. By default the preset's."""
    out: Path = Path("runs/benchmark_training")
    """Folder for benchmark.csv, rates.csv and provenance.json."""


def main() -> int:
    """Parse, run, print."""
    arguments = tyro.cli(Arguments, description=__doc__)
    try:
        run(arguments)
    except (ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    return 0


def run(arguments: Arguments) -> None:
    """Measure and write; tables are written anew after each part."""
    import pandas as pd

    from empirical.benchmarks.training_comparison import COLUMNS, PeerEnvironment
    from empirical.benchmarks.training_parts import parts
    from empirical.records import environment, write_json
    from empirical.tables import write_table

    started = time.monotonic()

    def report(text: str) -> None:
        print(f"[{time.monotonic() - started:4.0f} s] {text}", flush=True)

    arguments.out.mkdir(parents=True, exist_ok=True)
    peer = PeerEnvironment(arguments.peer_python, arguments.peer_path)
    rows: list[dict[str, Any]] = []
    notes: dict[str, Any] = {}
    device = "cpu"
    with tempfile.TemporaryDirectory() as folder:
        for found in parts(arguments.preset, Path(folder), peer, report, arguments.workers):
            rows += found.rows
            notes |= found.notes
            device = found.rows[-1]["device"] if found.rows else device
            write_table(pd.DataFrame(rows, columns=list(COLUMNS)), arguments.out / "benchmark.csv")
            config = {name: str(value) for name, value in asdict(arguments).items()}
            seconds = round(time.monotonic() - started, 1)
            write_json(
                arguments.out / "provenance.json",
                {"config": config, "seconds": seconds, "notes": notes} | environment(device),
            )
    print(pd.DataFrame(rows, columns=list(COLUMNS)).to_string(index=False, float_format="%.3g"))


if __name__ == "__main__":
    sys.exit(main())

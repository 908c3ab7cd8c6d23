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
    """About eight minutes on two CPU cores, one and a half on a GPU."""

    only: tuple[Literal["training", "evaluation"], ...] = ("training", "evaluation")
    """Parts to run."""
    preset: Literal["cpu", "gpu", "quick"] = "cpu"
    """gpu: the small model with recorded steps, many models at once, and RN50 at 224 px."""
    peer_path: str = ""
    """Folders that come first on the PYTHONPATH of open_clip's trainer: they hold webdataset <= 0.2.86, which it needs."""
    clip_benchmark_path: str = ""
    """Folders that come first on the PYTHONPATH of clip-benchmark: they hold it and numpy < 2.4, which it needs."""
    workers: tuple[int, ...] = ()
    """Numbers of loader processes among which open_clip's trainer finds its best; by default the preset's."""
    seeds: tuple[int, ...] = ()
    """One training of each trainer per seed; by default four on a CPU, one on a GPU."""
    out: Path = Path("runs/benchmark_training")
    """Folder for benchmark.csv, loss_curves.csv, the figure and provenance.json."""


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

    from empirical.benchmarks.fresh_process import COLUMNS, PeerEnvironment
    from empirical.benchmarks.training_parts import Choices, evaluation_part, training_parts
    from empirical.figures.loss_curves import draw_loss_curves
    from empirical.records import environment, write_json
    from empirical.tables import write_table

    started = time.monotonic()

    def report(text: str) -> None:
        print(f"[{time.monotonic() - started:4.0f} s] {text}", flush=True)

    arguments.out.mkdir(parents=True, exist_ok=True)
    device = "cuda" if arguments.preset == "gpu" else "cpu"
    choices = Choices(
        device,
        arguments.preset == "quick",
        PeerEnvironment(path=arguments.peer_path),
        PeerEnvironment(path=arguments.clip_benchmark_path),
        arguments.workers,
        arguments.seeds or ((0, 1, 2, 3) if arguments.preset == "cpu" else (0,)),
        report,
    )
    rows: list[dict[str, Any]] = []
    notes: dict[str, Any] = {}
    measure = {"training": training_parts, "evaluation": evaluation_part}
    for name in arguments.only:
        with tempfile.TemporaryDirectory() as folder:
            for found in measure[name](Path(folder), choices):
                rows += found.rows
                notes |= found.notes
                for table_name, table in found.tables.items():
                    write_table(table, arguments.out / f"{table_name}.csv")
                if "loss_curves" in found.tables:
                    draw_loss_curves(
                        found.tables["loss_curves"],
                        found.tables["loss_difference"],
                        arguments.out / "loss_curves",
                    )
                write_table(pd.DataFrame(rows, columns=list(COLUMNS)), arguments.out / "benchmark.csv")
                config = {key: str(value) for key, value in asdict(arguments).items()}
                seconds = round(time.monotonic() - started, 1)
                record = {"config": config, "seconds": seconds, "notes": notes}
                write_json(arguments.out / "provenance.json", record | environment(device))
    print(pd.DataFrame(rows, columns=list(COLUMNS)).to_string(index=False, float_format="%.3g"))


if __name__ == "__main__":
    sys.exit(main())

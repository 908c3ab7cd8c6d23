"""Time the empirical package's parts beside what they replace, in one run on this machine.

reader: indexed shards beside webdataset (in order) and wids (in random order). training: our trainer beside open_clip's own,
open_clip_train, on the same shards, model, batch and number of samples, each from shards on disk to weights on disk in a fresh
process, and their loss curves. evaluation: zero-shot accuracy beside clip-benchmark's evaluator. growth: what a run costs as its
study grows. Ours and its peer run by turns; medians are written as they are found. Quote times only from a machine that does
nothing else: provenance.json tells its load.

Two peers need older libraries than this project, each in a folder of its own:
    pip install --no-deps --target peers/open_clip_train webdataset==0.2.86
    pip install --no-deps --target peers/clip_benchmark clip-benchmark "numpy<2.4"

What to look at in benchmark.csv: `ratio`, how many times as fast as the peer (1 or more: no slower).

Examples:
    python experiments/benchmark_training.py
    python experiments/benchmark_training.py --only reader --shards "my/shards/{00000..00009}.tar" --image-size 224
    python experiments/benchmark_training.py --only training large --device cuda
    python experiments/benchmark_training.py --quick --out runs/benchmark_quick
"""

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from empirical.command import Command, print_next, print_written
from empirical.options import check_at_least

if TYPE_CHECKING:
    from empirical.benchmarks.training_parts import Choices, Part

NEXT_COMMAND = "python experiments/clip_mixtures.py"
Name: TypeAlias = Literal["reader", "training", "evaluation", "growth", "large"]
DEFAULT: tuple[Name, ...] = ("reader", "training", "evaluation", "growth")


@dataclass(frozen=True)
class Arguments:
    """Reader, trainer, evaluation and growth beside their peers, about fifteen minutes on two cores."""

    out: Path = Path("runs/benchmark_training")
    """Folder for benchmark.csv, the loss curves, two figures and provenance.json."""
    only: tuple[Name, ...] = DEFAULT
    """Parts to run; large trains RN50 on 224 px images, a few minutes for each seed without a GPU."""
    device: str = "cpu"
    """Where models train and are evaluated: cpu, cuda, cuda:1."""
    open_clip_train_path: Path = Path("peers/open_clip_train")
    """Folder that comes first on open_clip's trainer's path: webdataset 0.2.86 or older."""
    clip_benchmark_path: Path = Path("peers/clip_benchmark")
    """Folder that comes first on clip-benchmark's path: clip-benchmark and a numpy below 2.4."""
    workers: tuple[int, ...] = ()
    """Loader processes among which open_clip's trainer finds its best; by default 0, 1 and 2, on a GPU 4 and 8."""
    seeds: int = 3
    """Trainings of each trainer for the loss curves."""
    shards: str | None = None
    """Webdataset shards for the reader; by default the embedded world's stock source is rendered and written."""
    samples: int = 8000
    """Samples to render for the reader where no shards are given."""
    image_size: int = 32
    """Side of the images that the reader is measured on, in pixels."""
    repeats: int = 5
    """Measured turns of reader and evaluation."""
    seed: int = 0
    """Seed of rendered images, random orders and the first training."""
    quick: bool = False
    """As little as shows that everything runs; the times mean nothing."""


def run(arguments: Arguments) -> int:
    """Measure part by part, write after each; 0, or 1 when a part could not be measured.

    Raises:
        StudyError: fewer than one turn or training, or no part; DataError: shards that cannot be read.
    """
    from empirical.benchmarks.fresh_process import PeerEnvironment
    from empirical.benchmarks.training_parts import Choices
    from empirical.errors import StudyError
    from empirical.work_progress import TimedLines

    check_at_least(arguments, repeats=1, seeds=1)
    if not arguments.only:
        raise StudyError(f"--only needs at least one of {', '.join(PARTS)}")
    lines, found, failed = TimedLines(), [], {}
    choices = Choices(
        device=arguments.device,
        quick=arguments.quick,
        trainer=PeerEnvironment(path=str(arguments.open_clip_train_path.absolute())),
        evaluator=PeerEnvironment(path=str(arguments.clip_benchmark_path.absolute())),
        workers=arguments.workers,
        seeds=tuple(range(arguments.seed, arguments.seed + arguments.seeds)),
        repeats=arguments.repeats,
        report=lines.say,
    )
    for name, part in PARTS.items():
        if name not in arguments.only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                for piece in part(Path(folder), arguments, choices):
                    found.append(piece)
                    for row in piece.rows:
                        lines.say(describe(row))
                    write(arguments, found, failed, lines.seconds)
            except StudyError as error:  # the other parts are worth having
                failed[name] = str(error)
                print(f"{name}: not measured: {error}", file=sys.stderr, flush=True)
    write(arguments, found, failed, lines.seconds, draw=True)
    print_next(NEXT_COMMAND, "what the speed is for")
    return 1 if failed else 0


def write(
    arguments: Arguments, found: "list[Part]", failed: dict[str, str], seconds: float, draw: bool = False
) -> None:
    """All tables and the record, anew; with `draw` the figures too, and the table on the screen."""
    import pandas as pd

    from empirical.benchmarks.fresh_process import COLUMNS
    from empirical.figures.loss_curves import draw_loss_curves
    from empirical.figures.ratios import draw_ratios
    from empirical.records import load_average, write_provenance
    from empirical.tables import write_table

    table = pd.DataFrame([row for part in found for row in part.rows], columns=list(COLUMNS))
    tables = {"benchmark": table} | {name: each for part in found for name, each in part.tables.items()}
    for name, each in tables.items():
        write_table(each, arguments.out / f"{name}.csv")
    notes = {name: note for part in found for name, note in part.notes.items()}
    provenance = write_provenance(
        arguments.out,
        arguments,
        seconds,
        arguments.device,
        **load_average(),
        notes=notes,
        not_measured=failed,
    )
    if not draw:
        return
    written = [arguments.out / f"{name}.csv" for name in tables] + [provenance]
    if len(table):
        written += draw_ratios(table, arguments.out / "benchmark")[:1]
        print(f"\n{table.to_string(index=False, float_format='%.3g')}")
    if "loss_curves" in tables:
        curves, difference = tables["loss_curves"], tables["loss_difference"]
        written += draw_loss_curves(curves, difference, arguments.out / "loss_curves")[:1]
    print_written(written)


def describe(row: dict[str, Any]) -> str:
    """A row of the table of ratios in words."""
    return (
        f"{row['name']}: {row['ours_seconds']:.3g} s, {row['peer']} {row['peer_seconds']:.3g} s: "
        f"{row['ratio']:.2f} times as fast"
    )


def reader_part(folder: Path, arguments: Arguments, choices: "Choices") -> "Iterator[Part]":
    """The indexed reader's rows, on the given shards or on rendered ones."""
    from empirical.benchmarks.training_parts import Part
    from empirical.reader_benchmark import reader_rows, write_benchmark_shards
    from empirical.shards import expand_shards

    if arguments.shards is not None:
        paths = expand_shards(arguments.shards)
    else:
        count = 200 if arguments.quick else arguments.samples
        paths = write_benchmark_shards(folder, count, arguments.image_size, arguments.seed)
    repeats = 1 if arguments.quick else choices.repeats
    for row in reader_rows(paths, arguments.image_size, repeats, arguments.seed):
        yield Part([row])


def growth_part(folder: Path, arguments: Arguments, choices: "Choices") -> "Iterator[Part]":
    """What a run costs in a small study and in a large one."""
    from empirical.benchmarks.study_growth import SEEDS, growth_table
    from empirical.benchmarks.training_parts import Part

    table = growth_table(folder, seeds=(1, 2, 3) if arguments.quick else SEEDS, say=choices.report)
    yield Part([dict(row) for row in table.to_dict("records")])


def training_part(folder: Path, arguments: Arguments, choices: "Choices") -> "Iterator[Part]":
    """Our trainer beside open_clip's own."""
    from empirical.benchmarks.training_parts import training_parts

    yield from training_parts(folder, choices)


def evaluation_part(folder: Path, arguments: Arguments, choices: "Choices") -> "Iterator[Part]":
    """Our zero-shot evaluation beside clip-benchmark's."""
    from empirical.benchmarks.training_parts import evaluation_part

    yield evaluation_part(folder, choices)


def large_part(folder: Path, arguments: Arguments, choices: "Choices") -> "Iterator[Part]":
    """RN50 beside open_clip's trainer."""
    from empirical.benchmarks.training_parts import large_part

    yield large_part(folder, choices)


PARTS = {
    "reader": reader_part,
    "training": training_part,
    "evaluation": evaluation_part,
    "growth": growth_part,
    "large": large_part,
}

main = Command(
    Arguments,
    run,
    __doc__,
    stopped="what was measured before is in the tables",
    expected=(ValueError, RuntimeError),
)

if __name__ == "__main__":
    main.exit()

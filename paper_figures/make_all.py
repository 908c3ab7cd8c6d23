"""Redraw every figure from the committed records, without training anything.

python paper_figures/make_all.py                                    all figures, as PNG and PDF, into paper_figures/
python paper_figures/make_all.py --only pairs data_efficiency       two of them
python paper_figures/make_all.py --venue neurips --format pdf --captions --out figures
python paper_figures/make_all.py --records clip_mixtures=runs/mine  measurements of your own study
"""

import importlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

if __package__ in (None, ""):  # called by its path: the repository's root is what imports start from
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro

from empirical.command import Command, prepare_libraries
from empirical.errors import StudyError
from empirical.named_paths import named_values
from empirical.options import Repeated, check_at_least
from empirical.workers import WorkerPool, thread_environment

if TYPE_CHECKING:
    from paper_figures.captions import Caption
    from paper_figures.committed import Records

#: Figures in the order in which they are told; each is a module of this package.
FIGURES = (
    "testbed", "source_lines", "effective_robustness", "data_efficiency", "first_pair", "pairs", "more_pairs",
    "many_sources", "output_vs_input", "predictions_vs_measurements", "designed", "overlaps", "diagnosis",
    "filtering_measured", "filter_turn", "more_filter_turn", "filter_rule", "published_ladder", "published_mixtures",
    "dilution", "filtering_theory", "break_even", "best_mixture", "linear_clip", "learners", "learner_limits", "escape",
    "wrong_line",
)  # fmt: skip


@dataclass
class Arguments:
    """Redraw figures from committed records."""

    only: tuple[str, ...] = ()
    """Names of the figures to draw; all of them by default."""
    venue: Literal["", "neurips", "icml", "iclr", "arxiv", "slides"] = ""
    """Width, fonts and text sizes of a venue (from tueplots); the screen's by default."""
    format: tuple[Literal["png", "pdf", "svg"], ...] = ("png", "pdf")
    """File formats to write. Text stays text in PDF and SVG."""
    out: Path = Path(__file__).parent
    """Folder for NAME.png and so on."""
    captions: bool = False
    """Also write captions.tex: every caption and measured number as a LaTeX macro."""
    records: Annotated[Repeated, tyro.conf.arg(metavar="NAME=FOLDER")] = ()
    """Draw from a study's folder in place of the committed records of that name; repeat for more."""
    workers: int = 2
    """Processes that draw side by side."""


def module_of(figure: str) -> Any:
    """A figure's module: STUDY (name of its records), draw(records, stem) and caption(records).

    TABLES, where a module has it, are tables that not every study of that name has: without them the figure waits.
    """
    return importlib.import_module(f"paper_figures.{figure}")


def lacking(figure: str, records: "Records") -> list[str]:
    """The tables that a figure waits for: of its `TABLES`, those that the records lack."""
    return records.lacking(getattr(module_of(figure), "TABLES", ()))


def run(arguments: Arguments) -> None:
    """Draw and print the paths."""
    unknown = [name for name in arguments.only if name not in FIGURES]
    if unknown:
        raise StudyError(f"no figure {unknown[0]!r}; there are: {', '.join(FIGURES)}")
    check_at_least(arguments, workers=1)
    draw_figures(arguments)


def draw_figures(arguments: Arguments) -> None:
    """Draw the figures asked for, and write the captions; what records lack is said as a note."""
    from paper_figures.captions import write_captions

    replaced_records(arguments.records)
    arguments.out.mkdir(parents=True, exist_ok=True)
    captions: dict[str, tuple[Caption, str]] = {}
    names = arguments.only or FIGURES
    # Starting a process takes the time of a few figures.
    workers = min(arguments.workers, max(1, len(names) // 4))
    for drawn in _all_drawn(arguments, names, workers):
        for path in drawn.paths:
            print(path, flush=True)
        for note in drawn.notes:
            print(note, file=sys.stderr)
        if drawn.caption is not None:
            captions[drawn.name] = drawn.caption
    if captions:
        print(write_captions(arguments.out / "captions.tex", captions))


def _all_drawn(arguments: Arguments, names: Sequence[str], workers: int) -> "Iterator[Drawn]":
    if workers == 1:
        yield from (draw_figure(arguments, name) for name in names)
        return
    with thread_environment(1), WorkerPool(workers, prepare_libraries) as pool:
        yield from pool.map(draw_figure, repeat(arguments), names)


@dataclass(frozen=True)
class Drawn:
    """A figure that was drawn, or waits: its files, what is to be said of it, and its caption where one was asked for."""

    name: str
    paths: tuple[Path, ...]
    notes: tuple[str, ...]
    caption: "tuple[Caption, str] | None" = None


def draw_figure(arguments: Arguments, name: str) -> Drawn:
    """Draw one figure for the venue and in the formats asked for.

    Raises: StudyError or DataError for records that are missing or older than the figure.
    """
    from paper_figures.committed import Records
    from paper_figures.venues import page_of
    from theory.page import on_page

    module = module_of(name)
    study: str = module.STUDY
    folders: dict[str, str | Path] = dict(replaced_records(arguments.records))
    records = Records(folders.get(study, study))
    missing = lacking(name, records)
    if missing and name not in arguments.only:  # one asked for by name is an error, below
        waits = f"waiting: {name}: {records.folder} has no {missing[0]}.csv; make it with: {records.made_by}"
        return Drawn(name, (), (waits,))
    caption = None
    try:
        with on_page(page_of(arguments.venue, arguments.format)):
            module.draw(records, arguments.out / name)
        if arguments.captions:
            caption = (module.caption(records), f"records {records.folder.name}")
    except (KeyError, IndexError) as error:
        # Tables have every column a figure reads: one that does not was written by an older version.
        raise StudyError(
            f"{records.folder}: no {error} here, which the figure {name} reads: this record is older than the figure; "
            f"make it again with: {records.made_by}"
        ) from error
    paths = tuple(arguments.out / f"{name}.{suffix}" for suffix in arguments.format)
    return Drawn(
        name, paths, tuple(f"note: {name}: {note}" for note in dict.fromkeys(records.notes)), caption
    )


def replaced_records(pairs: tuple[str, ...]) -> dict[str, Path]:
    """`NAME=FOLDER` pairs; raises DataError for one that is not, or a folder that is not there."""
    return named_values(
        "--records", pairs, "NAME=FOLDER, as in clip_mixtures=runs/clip_mixtures", _existing_folder
    )


def _existing_folder(path: str) -> Path:
    if not Path(path).is_dir():
        raise ValueError(path)
    return Path(path)


main = Command(Arguments, run, __doc__, stopped="figures that are drawn are whole")

if __name__ == "__main__":
    main.exit()

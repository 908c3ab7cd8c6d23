"""Simulate the linear dilution setting and hold every simulation against the closed forms.

Each panel asks one question, computes what the theory predicts, simulates it, and writes both side by side: NAME.csv tables
and NAME.png. Lines are predictions, points with error bars are simulations.

What to look at: dilution (mixing turns the line; sources are weighted by share times reference signal, not by share), filtering
(a filter removes junk and hands on its own robustness).

The reduced sampler is exact and costs the same for n = 40 and n = 10^9; brute force draws every sample and is the judge.

Examples:
    python experiments/dilution_sim.py
    python experiments/dilution_sim.py --panel filtering
    python experiments/dilution_sim.py --seed 7 --sizes 100 10000 1000000000000 --num-features 1000
    python experiments/dilution_sim.py --num-trials 100000 --num-pools 2000 --out runs/dilution_sim_long
"""

import dataclasses
import multiprocessing
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from empirical.command import Command, prepare_libraries, print_next, print_written
from empirical.options import check_at_least
from empirical.work_progress import CountedWork
from empirical.workers import WorkerPool, thread_environment
from theory.panels.dilution import DilutionOptions
from theory.panels.filtering import FilteringOptions
from theory.panels.panel import Panel, Progress, silent
from theory.panels.registry import PANEL_NAMES, PanelOptions, build_panels

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue

    import pandas as pd

NEXT_COMMAND = "python experiments/clip_mixtures.py"


@dataclass(frozen=True)
class Arguments(PanelOptions):
    """Predictions of the dilution theory beside simulations, under two minutes on two cores."""

    out: Path = Path("runs/dilution_sim")
    """Folder for the tables, the figures and provenance.json."""
    panel: tuple[str, ...] = ()
    """Panels to run, by name; all of them by default. Their numbers do not depend on which others run."""
    seed: int = 0
    """Seed of all random draws; the same seed gives the same tables."""
    workers: int = 2
    """Processes that work on panels side by side."""
    quiet: bool = False
    """Print only the summary."""
    dilution: Annotated[DilutionOptions, tyro.conf.arg(name="")] = field(default_factory=DilutionOptions)
    filtering: Annotated[FilteringOptions, tyro.conf.arg(name="")] = field(default_factory=FilteringOptions)


def run(arguments: Arguments) -> "dict[str, pd.DataFrame]":
    """Simulate, write, draw, summarise; returns all tables by name.

    Every panel is written and drawn as soon as it is finished.

    Raises:
        ValueError: arguments outside their range.
    """
    started = time.monotonic()
    chosen = check(arguments)
    tables: dict[str, dict[str, pd.DataFrame]] = {}
    paths: dict[str, list[Path]] = {}
    total = sum(panel.num_steps for panel in chosen.values())
    with CountedWork(total, first="compiling", quiet=arguments.quiet) as steps:
        for name, result, written in finished_panels(arguments, chosen, steps.advance):
            tables[name], paths[name] = result, written
    seconds = time.monotonic() - started
    written = [path for name in chosen for path in paths[name]]
    written.append(keep_provenance(arguments, seconds))
    print(summary(chosen, tables, seconds))
    print_written(written)
    print_next(NEXT_COMMAND, "the same predictions against real CLIP models")
    return {name: table for panel in chosen for name, table in tables[panel].items()}


def finished_panels(
    arguments: Arguments, chosen: Mapping[str, Panel], progress: Progress
) -> "Iterator[tuple[str, dict[str, pd.DataFrame], list[Path]]]":
    """Name, tables and files of every panel as soon as it is finished: in this process, or in spawned ones side by side."""
    names = sorted(chosen, key=lambda name: -chosen[name].seconds)
    if min(arguments.workers, len(names)) == 1:
        for name in names:
            yield name, *run_panel(arguments, name, progress)
        return
    context = multiprocessing.get_context("spawn")
    messages = context.SimpleQueue()
    listener = threading.Thread(target=_listen, args=(messages, progress), daemon=True)
    listener.start()
    workers = min(arguments.workers, len(names))
    # Each with one BLAS thread: two pools of threads on the same cores wait for one another (twice as long, seen on 2 cores).
    with thread_environment(1), WorkerPool(workers, _start, (messages,)) as pool:
        jobs = {pool.submit(_work, arguments, name): name for name in names}
        for job in as_completed(jobs):
            yield jobs[job], *job.result()
    messages.put(None)
    listener.join()


def run_panel(
    arguments: Arguments, name: str, progress: Progress
) -> "tuple[dict[str, pd.DataFrame], list[Path]]":
    """Compute, write and draw one panel: its tables and its files."""
    import jax

    key = jax.random.fold_in(jax.random.key(arguments.seed), stream(name))
    panel = build_panels(arguments)[name]
    tables = panel.compute(key, progress)
    return tables, write_panel(panel, tables, arguments.out)


def _listen(messages: "SimpleQueue[str | None]", progress: Progress) -> None:
    while (message := messages.get()) is not None:
        progress(message)


_messages: "SimpleQueue[str | None] | None" = None


def _start(messages: "SimpleQueue[str | None]") -> None:
    """Make a spawned process a worker."""
    global _messages
    _messages = messages
    prepare_libraries()


def _work(arguments: Arguments, name: str) -> "tuple[dict[str, pd.DataFrame], list[Path]]":
    return run_panel(arguments, name, _messages.put if _messages else silent)


def check(arguments: Arguments) -> dict[str, Panel]:
    """The chosen panels; arguments that would fail later are refused before any time is spent.

    Raises:
        ValueError, StudyError: naming the argument, its value and what is allowed.
    """
    unknown = [name for name in arguments.panel if name not in PANEL_NAMES]
    if unknown:
        raise ValueError(f"--panel: no panel {unknown[0]!r}; there are: {', '.join(PANEL_NAMES)}")
    check_at_least(arguments, workers=1)
    for options in dataclasses.fields(PanelOptions):
        getattr(arguments, options.name).check()
    panels = build_panels(arguments)
    return {name: panels[name] for name in PANEL_NAMES if name in (arguments.panel or PANEL_NAMES)}


def stream(name: str) -> int:
    """A number for each panel's random stream that does not depend on which other panels run."""
    return zlib.crc32(name.encode())


def write_panel(panel: Panel, tables: "Mapping[str, pd.DataFrame]", out: Path) -> list[Path]:
    """Write a panel's tables, each atomically, and its figure."""
    from empirical.tables import write_table

    paths = []
    for name, table in tables.items():
        paths.append(out / f"{name}.csv")
        write_table(table, paths[-1], digits=None)
    return paths + panel.draw(tables, out / panel.name)


def keep_provenance(arguments: Arguments, seconds: float) -> Path:
    """Write what the numbers depend on: config, seed, versions, device, and the time they took."""
    import jax

    from empirical.records import write_provenance

    return write_provenance(arguments.out, arguments, seconds, str(jax.devices()[0].platform))


def summary(
    panels: Mapping[str, Panel], tables: "Mapping[str, Mapping[str, pd.DataFrame]]", seconds: float
) -> str:
    """What was found, in a few lines per panel."""
    import pandas as pd

    from theory.trial_statistics import agreement, is_judged

    judged = pd.concat(
        [agreement(t) for of_panel in tables.values() for t in of_panel.values() if is_judged(t)]
    )
    lines = [
        f"\nAgreement with theory within 4 standard errors: {judged.mean():.1%} of {len(judged)} rows in {len(panels)} panels"
    ]
    for panel in panels.values():
        lines += panel.summarise(tables[panel.name])
    return "\n".join([*lines, f"Done in {seconds:.0f} s"])


main = Command(
    Arguments,
    run,
    __doc__,
    stopped=lambda arguments: f"finished panels are in {arguments.out}",
    expected=(ValueError,),
)

if __name__ == "__main__":
    main.exit()

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
import os
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from empirical.scheduler import thread_environment
from theory.panels.best_mixture import BestMixtureOptions
from theory.panels.break_even import BreakEvenOptions
from theory.panels.dilution import DilutionOptions
from theory.panels.escape import EscapeOptions
from theory.panels.filtering import FilteringOptions
from theory.panels.learners import LearnersOptions
from theory.panels.linear_clip import LinearClipOptions
from theory.panels.panel import Panel, Progress, silent
from theory.panels.registry import PANEL_NAMES, PanelOptions, build_panels
from theory.panels.wrong_line import WrongLineOptions

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue

    import pandas as pd

NEXT_COMMAND = "python experiments/clip_mixtures.py"


@dataclass(frozen=True)
class Arguments:
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
    break_even: BreakEvenOptions = field(default_factory=BreakEvenOptions)
    best_mixture: BestMixtureOptions = field(default_factory=BestMixtureOptions)
    linear_clip: LinearClipOptions = field(default_factory=LinearClipOptions)
    learners: LearnersOptions = field(default_factory=LearnersOptions)
    escape: EscapeOptions = field(default_factory=EscapeOptions)
    wrong_line: WrongLineOptions = field(default_factory=WrongLineOptions)

    def options(self) -> PanelOptions:
        """The sizes of all panels."""
        return PanelOptions(**{f.name: getattr(self, f.name) for f in dataclasses.fields(PanelOptions)})


def main() -> int:
    """Parse, run, print."""
    import jax

    jax.config.update("jax_enable_x64", True)
    arguments = tyro.cli(Arguments, description=__doc__)
    os.environ.setdefault("MPLBACKEND", "Agg")
    try:
        run(arguments)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nstopped; finished panels are in {arguments.out}", file=sys.stderr)
        return 130
    return 0


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
    with Steps(sum(panel.num_steps for panel in chosen.values()), arguments.quiet) as steps:
        for name, result, written in finished_panels(arguments, chosen, steps.advance):
            tables[name], paths[name] = result, written
    seconds = time.monotonic() - started
    written = [path for name in chosen for path in paths[name]]
    written.append(write_provenance(arguments, seconds))
    print(summary(chosen, tables, seconds))
    print("\nWritten:")
    for path in written:
        print(f"  {path}")
    print(f"\nNext: {NEXT_COMMAND}   (the same predictions against real CLIP models)")
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
    with thread_environment(1), ProcessPoolExecutor(workers, context, _start, (messages,)) as pool:
        jobs = {pool.submit(_work, arguments, name): name for name in names}
        try:
            for job in as_completed(jobs):
                yield jobs[job], *job.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    messages.put(None)
    listener.join()


def run_panel(
    arguments: Arguments, name: str, progress: Progress
) -> "tuple[dict[str, pd.DataFrame], list[Path]]":
    """Compute, write and draw one panel: its tables and its files."""
    import jax

    key = jax.random.fold_in(jax.random.key(arguments.seed), stream(name))
    panel = build_panels(arguments.options())[name]
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
    os.environ.setdefault("MPLBACKEND", "Agg")
    import jax

    jax.config.update("jax_enable_x64", True)


def _work(arguments: Arguments, name: str) -> "tuple[dict[str, pd.DataFrame], list[Path]]":
    return run_panel(arguments, name, _messages.put if _messages else silent)


def check(arguments: Arguments) -> dict[str, Panel]:
    """The chosen panels; arguments that would fail later are refused before any time is spent.

    Raises:
        ValueError: naming the argument, its value and what is allowed.
    """
    unknown = [name for name in arguments.panel if name not in PANEL_NAMES]
    if unknown:
        raise ValueError(f"--panel: no panel {unknown[0]!r}; there are: {', '.join(PANEL_NAMES)}")
    if arguments.workers < 1:
        raise ValueError(f"--workers must be at least 1, got {arguments.workers}")
    for options in dataclasses.fields(PanelOptions):
        getattr(arguments, options.name).check()
    panels = build_panels(arguments.options())
    return {name: panels[name] for name in PANEL_NAMES if name in (arguments.panel or PANEL_NAMES)}


def stream(name: str) -> int:
    """A number for each panel's random stream that does not depend on which other panels run."""
    return zlib.crc32(name.encode())


class Steps:
    """A progress bar with the time remaining on a terminal, a plain line now and then elsewhere, silence when asked."""

    def __init__(self, total: int, quiet: bool, seconds_between_lines: float = 5.0) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(highlight=False)
        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
        self._bar = Progress(*columns, console=console) if console.is_terminal and not quiet else None
        self._task = self._bar.add_task("compiling", total=total) if self._bar else None
        self._total, self._done, self._quiet = total, 0, quiet
        self._started = self._spoken = time.monotonic()
        self._lock = threading.Lock()
        self._seconds_between_lines = seconds_between_lines

    def __enter__(self) -> "Steps":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def advance(self, message: str) -> None:
        """One configuration is finished."""
        with self._lock:
            self._advance(message)

    def _advance(self, message: str) -> None:
        self._done += 1
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=1, description=message)
            return
        now = time.monotonic()
        if not self._quiet and (
            now - self._spoken >= self._seconds_between_lines or self._done == self._total
        ):
            self._spoken = now
            print(f"[{self._done}/{self._total}] {now - self._started:.0f} s: {message}", flush=True)


def write_panel(panel: Panel, tables: "Mapping[str, pd.DataFrame]", out: Path) -> list[Path]:
    """Write a panel's tables, each atomically, and its figure."""
    from empirical.records import write_atomically

    paths = []
    for name, table in tables.items():
        path = out / f"{name}.csv"
        write_atomically(path, lambda temporary, table=table: table.to_csv(temporary, index=False))
        paths.append(path)
    return paths + panel.draw(tables, out / panel.name)


def write_provenance(arguments: Arguments, seconds: float) -> Path:
    """Write what the numbers depend on: config, seed, versions, device, and the time they took."""
    import jax

    from empirical.records import environment, write_json

    config = {k: str(v) if isinstance(v, Path) else v for k, v in dataclasses.asdict(arguments).items()}
    path = arguments.out / "provenance.json"
    device = str(jax.devices()[0].platform)
    write_json(
        path, {"config": config, "seed": arguments.seed, "seconds": round(seconds, 1), **environment(device)}
    )
    return path


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


if __name__ == "__main__":
    sys.exit(main())

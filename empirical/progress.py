"""Progress of a study: a bar with the time remaining on a terminal, a plain log elsewhere, silence when asked."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
)
from rich.text import Text


def format_duration(seconds: float) -> str:
    """`42 s`, `3 min 05 s` or `2 h 14 min`."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def format_rate(per_second: float) -> str:
    """`1,234`, or `0.67` where whole numbers would say little."""
    return f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:.2g}"


@contextmanager
def counting(description: str, console: Console | None = None) -> Iterator[Callable[[int, int | None], None]]:
    """A bar on a terminal (nothing elsewhere) for work that reports (steps done, steps in all); it goes when it is full."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield lambda done, total: None
        return
    with Progress(
        TextColumn(description), BarColumn(), MofNCompleteColumn(), console=console, transient=True
    ) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class StepProgress:
    """Progress of one long training: steps, images/s and time left; a bar on a terminal, a line now and then elsewhere."""

    line_seconds = 10.0
    """A line is printed at most this often where there is no terminal."""

    def __init__(
        self,
        num_steps: int,
        batch_size: int,
        *,
        done: int = 0,
        quiet: bool = False,
        console: Console | None = None,
    ) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self.num_steps, self.batch_size, self.quiet = num_steps, batch_size, quiet
        self._first: tuple[int, float] | None = None
        self._said = time.monotonic()
        self._bar: Progress | None = None
        if not quiet and self.console.is_terminal:
            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("steps, {task.description}"))
            self._bar = Progress(*columns, console=self.console, transient=True)
            self._bar.add_task("measuring the rate", total=num_steps, completed=done)
            self._bar.start()

    def rate_text(self, done: int) -> str:
        """`1,234 images/s, 3 min 05 s left`, measured since the first step (which warms up) was done."""
        now = time.monotonic()
        if self._first is None:
            self._first = done, now
        steps = done - self._first[0]
        if steps < 1:
            return "measuring the rate"
        per_second = steps / max(now - self._first[1], 1e-9)
        left = format_duration((self.num_steps - done) / per_second)
        return f"{format_rate(per_second * self.batch_size)} images/s, {left} left"

    def step(self, done: int) -> None:
        """So many steps of all are done."""
        text = self.rate_text(done)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, description=text)
        elif not self.quiet and time.monotonic() - self._said >= self.line_seconds:
            self._said = time.monotonic()
            self.say(f"step {done:,} of {self.num_steps:,}: {text}")

    def say(self, message: str) -> None:
        """One line for the reader."""
        if not self.quiet:
            self.console.print(message, markup=False)

    def stop(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class _Remaining(ProgressColumn):
    def __init__(self, owner: "StudyProgress") -> None:
        super().__init__()
        self.owner = owner

    def render(self, task: Task) -> Text:
        return Text(self.owner.remaining_text(), style="cyan")


class StudyProgress:
    """Receives a study's events and shows them; time remaining is measured cost against cost still to come."""

    redraw_seconds = 75.0
    """Figures are redrawn at most this often while runs finish."""

    def __init__(self, *, quiet: bool = False, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self.quiet = quiet
        self._bar: Progress | None = None
        self._costs: dict[str, float] = {}
        self._cost_done = 0.0
        self._cost_total = 0.0
        self._started = 0.0
        self._runs_done = 0
        self._runs_total = 0
        self._skipped: dict[str, int] = {}

    def start(
        self, costs: Mapping[str, float], tasks: Collection[str] = (), *, already: int, total: int
    ) -> None:
        """Begin: what tasks cost, which are to be done (all), how many runs are finished, how many there are."""
        wanted = set(tasks)
        self._costs = {name: cost for name, cost in costs.items() if not wanted or name in wanted}
        self._cost_total = sum(self._costs.values())
        self._started = time.monotonic()
        self._runs_done, self._runs_total = already, total
        if already:
            self.say(f"{already} of {total} runs are already finished and are not repeated")
        if not self.quiet and self.console.is_terminal:
            columns = (
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                _Remaining(self),
            )
            bar = Progress(*columns, console=self.console)
            bar.add_task("runs", total=total, completed=already)
            bar.start()
            self._bar = bar

    def stop(self) -> None:
        """End the bar, and say in one line each what was skipped because of something that failed."""
        for cause, count in self._skipped.items():
            self.warn(f"{count} runs skipped because {cause.removeprefix('data/')} failed")
        self._skipped = {}
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def say(self, message: str) -> None:
        """One line for the reader."""
        if not self.quiet:
            self.console.print(message, markup=False)

    def warn(self, message: str) -> None:
        """A line that is shown even when quiet."""
        self.console.print(f"warning: {message}", style="yellow", markup=False)

    def remaining_text(self) -> str:
        """Time remaining, from the cost done so far."""
        if self._cost_done <= 0:
            return "estimating time"
        elapsed = time.monotonic() - self._started
        return (
            f"about {format_duration(elapsed * (self._cost_total - self._cost_done) / self._cost_done)} left"
        )

    def data_ready(self, name: str, account: Mapping[str, Any] | None) -> None:
        """A source or test set is in place; what was skipped is said, never hidden."""
        self._cost_done += self._costs.get(name, 0.0)
        skipped = dict((account or {}).get("skipped", {}))
        if (account or {}).get("note"):
            self.warn(f"{name.removeprefix('data/')}: {(account or {})['note']}")
        if skipped:
            reasons = ", ".join(f"{count} x {reason}" for reason, count in skipped.items())
            examples = "; ".join((account or {}).get("examples", [])[:3])
            self.warn(
                f"{name.removeprefix('data/')}: {sum(skipped.values())} samples skipped ({reasons}), for example {examples}"
            )

    def finished(self, record: Mapping[str, Any], reference: str) -> None:
        """A run is finished."""
        self._cost_done += self._costs.get(record["run"], 0.0)
        self._runs_done += 1
        if self._bar is not None:
            self._bar.update(
                self._bar.task_ids[0], completed=self._runs_done, description=record["sources"][:40]
            )
        elif not self.quiet:
            counts = record["results"][reference]
            accuracy = counts["num_correct"] / counts["num_images"]
            label = record["kind"].replace("_", " ") + (
                f", filter {record['filter']}" if record["filter"] else ""
            )
            self.console.print(
                f"[{self._runs_done}/{self._runs_total}] {record['sources']} ({label}, n={record['n_train']}, "
                f"seed {record['seed']}): "
                f"{reference} {accuracy:.1%}; {self.remaining_text()}",
                markup=False,
            )

    def failed(self, name: str, reason: str) -> None:
        """A run failed; the others go on."""
        self._cost_done += self._costs.get(name, 0.0)
        self.warn(f"{name} failed: {reason}")

    def skipped(self, name: str, cause: str) -> None:
        """A task could not run because another one failed."""
        self._cost_done += self._costs.get(name, 0.0)
        self._skipped[cause] = self._skipped.get(cause, 0) + 1

    def drawn(self, path: Path, *, first: bool) -> None:
        """The figure has been drawn from what is finished so far."""
        if first:
            self.say(f"the first pair and its mixtures are in: look at {path} (it refreshes as runs finish)")

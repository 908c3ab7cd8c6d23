"""All panels of the dilution experiment in the order in which they are told, bound to their options.

Use `PanelOptions` to change sizes and `build_panels` to get the panels; `draw_panel` finds a panel's figure by its name.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theory.panels.best_mixture import (
    BestMixtureOptions,
    best_mixture_summary,
    best_mixture_tables,
    num_best_mixture_steps,
)
from theory.panels.break_even import (
    BreakEvenOptions,
    break_even_summary,
    break_even_tables,
    num_break_even_steps,
)
from theory.panels.dilution import DilutionOptions, dilution_summary, dilution_tables, num_dilution_steps
from theory.panels.escape import EscapeOptions, escape_summary, escape_tables, num_escape_steps
from theory.panels.filtering import FilteringOptions, filtering_summary, filtering_tables, num_filtering_steps
from theory.panels.learners import LearnersOptions, learners_summary, learners_tables, num_learners_steps
from theory.panels.linear_clip import (
    LinearClipOptions,
    linear_clip_summary,
    linear_clip_tables,
    num_linear_clip_steps,
)
from theory.panels.panel import Panel
from theory.panels.wrong_line import (
    WrongLineOptions,
    num_wrong_line_steps,
    wrong_line_summary,
    wrong_line_tables,
)

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class PanelOptions:
    """Sizes of every panel."""

    dilution: DilutionOptions = field(default_factory=DilutionOptions)
    filtering: FilteringOptions = field(default_factory=FilteringOptions)
    break_even: BreakEvenOptions = field(default_factory=BreakEvenOptions)
    best_mixture: BestMixtureOptions = field(default_factory=BestMixtureOptions)
    linear_clip: LinearClipOptions = field(default_factory=LinearClipOptions)
    learners: LearnersOptions = field(default_factory=LearnersOptions)
    escape: EscapeOptions = field(default_factory=EscapeOptions)
    wrong_line: WrongLineOptions = field(default_factory=WrongLineOptions)


@dataclass(frozen=True)
class _Entry:
    question: str
    num_steps: Callable[[Any], int]
    compute: Callable[..., "dict[str, pd.DataFrame]"]
    summarise: Callable[["Mapping[str, pd.DataFrame]"], list[str]]
    seconds: float


_ENTRIES: dict[str, _Entry] = {
    "dilution": _Entry(
        "What does mixing two sources do to the line, the place on it, and how exact is the closed form?",
        num_dilution_steps,
        dilution_tables,
        dilution_summary,
        40.0,
    ),
    "filtering": _Entry(
        "What does a pre-trained filter do to a noisy pool?",
        num_filtering_steps,
        filtering_tables,
        filtering_summary,
        12.0,
    ),
    "break_even": _Entry(
        "When is more, worse data worth adding?",
        num_break_even_steps,
        break_even_tables,
        break_even_summary,
        8.0,
    ),
    "best_mixture": _Entry(
        "Which mixture is best for a shift, or for the worst of several, and how does it change with the budget?",
        num_best_mixture_steps,
        best_mixture_tables,
        best_mixture_summary,
        8.0,
    ),
    "linear_clip": _Entry(
        "What do K classes, noisy captions, rank and a CLIP filter do to linear CLIP?",
        num_linear_clip_steps,
        linear_clip_tables,
        linear_clip_summary,
        22.0,
    ),
    "learners": _Entry(
        "Do ridge, logistic, hinge and least squares dilute as averaging does?",
        num_learners_steps,
        learners_tables,
        learners_summary,
        50.0,
    ),
    "escape": _Entry(
        "Where does a mixture leave the interval of its sources, and why?",
        num_escape_steps,
        escape_tables,
        escape_summary,
        20.0,
    ),
    "wrong_line": _Entry(
        "When does a line bend, and when does better on the reference mean worse under shift?",
        num_wrong_line_steps,
        wrong_line_tables,
        wrong_line_summary,
        8.0,
    ),
}

PANEL_NAMES: tuple[str, ...] = tuple(_ENTRIES)


def build_panels(options: PanelOptions | None = None) -> dict[str, Panel]:
    """Every panel by name, its sweep bound to its options.

    Args:
        options: sizes; the experiment's defaults if left out.
    """
    options = options or PanelOptions()

    def build(name: str, entry: _Entry) -> Panel:
        chosen = getattr(options, name)

        def compute(key: Any, progress: Callable[[str], None]) -> "dict[str, pd.DataFrame]":
            return entry.compute(key, chosen, progress)

        steps = entry.num_steps(chosen)
        return Panel(
            name, entry.question, steps, compute, partial(draw_panel, name), entry.summarise, entry.seconds
        )

    return {name: build(name, entry) for name, entry in _ENTRIES.items()}


def draw_panel(name: str, tables: "Mapping[str, pd.DataFrame]", stem: Path) -> list[Path]:
    """Draw one panel from its tables (matplotlib loads here); returns the paths of the PNG and the PDF."""
    module = importlib.import_module(f"theory.panels.{name}_figure")
    return getattr(module, f"draw_{name}")(tables, stem)

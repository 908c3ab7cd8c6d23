"""All panels of the dilution experiment in the order in which they are told, bound to their options.

Use `PanelOptions` to change sizes and `build_panels` to get the panels; `draw` finds a panel's figure by its name.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theory.panels.dilution import DilutionOptions, dilution_summary, dilution_tables, num_dilution_steps
from theory.panels.filtering import (
    FilteringOptions,
    filtering_summary,
    filtering_tables,
    num_filtering_steps,
)
from theory.panels.panel import Panel

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class PanelOptions:
    """Sizes of every panel."""

    dilution: DilutionOptions = field(default_factory=DilutionOptions)
    filtering: FilteringOptions = field(default_factory=FilteringOptions)


@dataclass(frozen=True)
class _Entry:
    question: str
    tables: tuple[str, ...]
    num_steps: Callable[[Any], int]
    compute: Callable[..., "dict[str, pd.DataFrame]"]
    summarise: Callable[["Mapping[str, pd.DataFrame]"], list[str]]


_ENTRIES: dict[str, _Entry] = {
    "dilution": _Entry(
        "What does mixing two sources do to the line, the place on it, and how exact is the closed form?",
        ("mixing", "finite_d_bias"),
        num_dilution_steps,
        dilution_tables,
        dilution_summary,
    ),
    "filtering": _Entry(
        "What does a pre-trained filter do to a noisy pool?",
        ("filtering",),
        num_filtering_steps,
        filtering_tables,
        filtering_summary,
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
        drawn = partial(draw, name)
        return Panel(name, entry.question, entry.tables, steps, compute, drawn, entry.summarise)

    return {name: build(name, entry) for name, entry in _ENTRIES.items()}


def draw(name: str, tables: "Mapping[str, pd.DataFrame]", stem: Path) -> list[Path]:
    """Draw one panel from its tables (matplotlib loads here); returns the paths of the PNG and the PDF."""
    module = importlib.import_module(f"theory.panels.{name}_figure")
    return getattr(module, f"draw_{name}")(tables, stem)

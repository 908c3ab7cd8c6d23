"""What a panel of the dilution experiment promises: tables from a key, a figure from the tables, and its finding in words."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import pandas as pd

#: Told once per finished step with a few words about it.
Progress: TypeAlias = Callable[[str], None]
Tables: TypeAlias = "Mapping[str, pd.DataFrame]"


def silent(message: str) -> None:
    """Report progress to nobody."""


def check_at_least(options: object, why: str = "", **lowest: int) -> None:
    """Refuse options of a panel below what it needs: `check_at_least(self, num_trials=2)`; `why` follows the number.

    Raises:
        ValueError: naming the option, its value and what is allowed.
    """
    for name, least in lowest.items():
        value = getattr(options, name)
        if value < least:
            raise ValueError(
                f"--{name.replace('_', '-')} must be at least {least}{why and f' {why}'}, got {value}"
            )


@dataclass(frozen=True)
class Panel:
    """One panel: a question, the sweep that answers it, the figure and the finding.

    Attributes:
        name: as `--panel` takes it; also the stem of the figure.
        question: what the panel answers, one sentence.
        num_steps: how often `compute` reports progress.
        compute: (random key, progress) -> tables by name, which are unique among panels.
        draw: (tables by name, path without suffix) -> paths of PNG and PDF; reads nothing but the tables.
        summarise: tables by name -> the finding in a few lines.
        seconds: about how long one core takes at the default sizes; the longest panel is to be started first.
    """

    name: str
    question: str
    num_steps: int
    compute: Callable[[Any, Progress], "dict[str, pd.DataFrame]"]
    draw: Callable[["Mapping[str, pd.DataFrame]", Path], list[Path]]
    summarise: Callable[["Mapping[str, pd.DataFrame]"], list[str]]
    seconds: float

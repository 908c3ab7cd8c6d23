"""When more, worse data is worth adding: four regions, predicted and simulated."""

from pathlib import Path

from paper_figures.committed import Records
from theory.panels.break_even_figure import draw_break_even


def draw(stem: Path) -> None:
    """Draw from `records/dilution_sim`."""
    draw_break_even(Records("dilution_sim"), stem)

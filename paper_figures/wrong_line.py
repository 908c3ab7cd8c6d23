"""Lines that bend, and accuracy on the wrong line."""

from pathlib import Path

from paper_figures.committed import Records
from theory.panels.wrong_line_figure import draw_wrong_line


def draw(stem: Path) -> None:
    """Draw from `records/dilution_sim`."""
    draw_wrong_line(Records("dilution_sim"), stem)

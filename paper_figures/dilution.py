"""Mixing in the linear setting: predictions as lines, simulations as points."""

from pathlib import Path

from paper_figures.committed import Records
from theory.panels.dilution_figure import draw_dilution


def draw(stem: Path) -> None:
    """Draw from `records/dilution_sim`; the smooth lines are the closed forms again."""
    draw_dilution(Records("dilution_sim"), stem)

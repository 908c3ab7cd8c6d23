"""Filtering in the linear setting (Theorem 3): predictions as lines, simulations as points."""

from pathlib import Path

from paper_figures.committed import Records
from theory.panels.filtering_figure import draw_filtering


def draw(stem: Path) -> None:
    """Draw from `records/dilution_sim`; the smooth lines are the closed forms again."""
    draw_filtering(Records("dilution_sim"), stem)

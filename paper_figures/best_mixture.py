"""The best mixture of three sources for a shift, or for the worst of two."""

from pathlib import Path

from paper_figures.committed import Records
from theory.panels.best_mixture_figure import draw_best_mixture


def draw(stem: Path) -> None:
    """Draw from `records/dilution_sim`."""
    draw_best_mixture(Records("dilution_sim"), stem)

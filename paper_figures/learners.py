"""Averaging, least squares, ridge, logistic and hinge side by side."""

from pathlib import Path

from paper_figures.committed import Records
from theory.panels.learners_figure import draw_learners


def draw(stem: Path) -> None:
    """Draw from `records/dilution_sim`."""
    draw_learners(Records("dilution_sim"), stem)

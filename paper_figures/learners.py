"""Averaging, least squares, ridge, logistic and hinge side by side."""

from pathlib import Path

from paper_figures.captions import Caption, agreement_numbers
from paper_figures.committed import SIMULATED, Records
from theory.panels.learners_figure import draw_learners

STUDY = SIMULATED
TABLES = ("learners",)
CAPTION = (
    "Averaging, least squares, ridge, logistic and hinge trained on mixtures of two sources beside their "
    "exact limits; {rows agreeing} of {rows} trained rows lie within 4 standard errors."
)


def draw(records: Records, stem: Path) -> None:
    """Draw from the tables of `experiments/dilution_sim.py`; smooth lines are the closed forms again."""
    draw_learners(records, stem)


def caption(records: Records) -> Caption:
    """What the figure shows, with its numbers."""
    numbers = agreement_numbers(records, TABLES)
    return Caption(CAPTION, numbers)

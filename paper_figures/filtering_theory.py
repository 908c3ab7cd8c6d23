"""Filtering in the linear setting (Theorem 3): predictions as lines, simulations as points."""

from pathlib import Path

from paper_figures.captions import Caption, agreement_numbers
from paper_figures.committed import SIMULATED, Records
from theory.panels.filtering_figure import draw_filtering

STUDY = SIMULATED
TABLES = ("filtering",)
CAPTION = (
    "Filtering in the linear setting (Theorem 3): a filter hands on its own slope and moves the model "
    "along its line. {rows agreeing} of {rows} simulated rows lie within 4 standard errors of theory."
)


def draw(records: Records, stem: Path) -> None:
    """Draw from the tables of `experiments/dilution_sim.py`; smooth lines are the closed forms again."""
    draw_filtering(records, stem)


def caption(records: Records) -> Caption:
    """What the figure shows, with its numbers."""
    numbers = agreement_numbers(records, TABLES)
    return Caption(CAPTION, numbers)

"""Mixing in the linear setting: predictions as lines, simulations as points."""

from pathlib import Path

from paper_figures.captions import Caption, agreement_numbers
from paper_figures.committed import SIMULATED, Records
from theory.panels.dilution_figure import draw_dilution

STUDY = SIMULATED
TABLES = ("mixing", "finite_d_bias")
CAPTION = (
    "Mixing in the linear setting. Lines are predictions of Theorems 1, 2 and 2b, points simulations; "
    "{rows agreeing} of {rows} simulated rows lie within 4 standard errors of theory."
)


def draw(records: Records, stem: Path) -> None:
    """Draw from the tables of `experiments/dilution_sim.py`; smooth lines are the closed forms again."""
    draw_dilution(records, stem)


def caption(records: Records) -> Caption:
    """What the figure shows, with its numbers."""
    numbers = agreement_numbers(records, TABLES)
    return Caption(CAPTION, numbers)

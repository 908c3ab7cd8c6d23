"""Lines that bend, and accuracy on the wrong line."""

from pathlib import Path

from paper_figures.captions import Caption, agreement_numbers
from paper_figures.committed import SIMULATED, Records
from theory.panels.wrong_line_figure import draw_wrong_line

STUDY = SIMULATED
TABLES = ("wrong_line_models", "wrong_line_bend", "wrong_line_correlation", "wrong_line_turn")
CAPTION = (
    "Nuisance features bend lines; with label noise and interpolation better on the reference means worse "
    "under shift. {rows agreeing} of {rows} simulated rows lie within 4 standard errors of theory."
)


def draw(records: Records, stem: Path) -> None:
    """Draw from the tables of `experiments/dilution_sim.py`; smooth lines are the closed forms again."""
    draw_wrong_line(records, stem)


def caption(records: Records) -> Caption:
    """What the figure shows, with its numbers."""
    numbers = agreement_numbers(records, TABLES)
    return Caption(CAPTION, numbers)

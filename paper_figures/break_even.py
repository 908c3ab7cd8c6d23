"""When more, worse data is worth adding: four regions, predicted and simulated."""

from pathlib import Path

from paper_figures.captions import Caption
from paper_figures.committed import SIMULATED, Records
from theory.panels.break_even_figure import draw_break_even

STUDY = SIMULATED
CAPTION = (
    "When more, worse data is worth adding. Four regions of the first and the last added sample helping; "
    "{regions agreeing} of {regions} simulated settings lie in the predicted region."
)


def draw(records: Records, stem: Path) -> None:
    """Draw from the tables of `experiments/dilution_sim.py`; smooth lines are the closed forms again."""
    draw_break_even(records, stem)


def caption(records: Records) -> Caption:
    """What the figure shows, with its numbers."""
    checks = records["break_even_checks"]
    agreeing = checks["region"] == checks["region_simulated"]
    numbers = {"regions agreeing": str(int(agreeing.sum())), "regions": str(len(checks))}
    return Caption(CAPTION, numbers)

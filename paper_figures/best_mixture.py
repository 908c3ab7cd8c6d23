"""The best mixture of three sources for a shift, or for the worst of two."""

from pathlib import Path

from paper_figures.captions import Caption, agreement_numbers
from paper_figures.committed import SIMULATED, Records
from theory.panels.best_mixture_figure import draw_best_mixture

STUDY = SIMULATED
TABLES = ("best_mixture_margins",)
CAPTION = (
    "The best mixture of three sources for a shift, or for the worst of two, with certified optima. {rows "
    "agreeing} of {rows} simulated rows lie within 4 standard errors of theory."
)


def draw(records: Records, stem: Path) -> None:
    """Draw from the tables of `experiments/dilution_sim.py`; smooth lines are the closed forms again."""
    draw_best_mixture(records, stem)


def caption(records: Records) -> Caption:
    """What the figure shows, with its numbers."""
    numbers = agreement_numbers(records, TABLES)
    return Caption(CAPTION, numbers)

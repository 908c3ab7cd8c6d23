"""Where dilution holds and where a learner escapes it."""

from pathlib import Path

from paper_figures.captions import Caption
from paper_figures.committed import SIMULATED, Records
from theory.panels.escape_figure import draw_escape

STUDY = SIMULATED
CAPTION = (
    "Where dilution holds and where a learner escapes it. Of {settings} trained settings {above} beat "
    "their best source, {below} fall below their worst and {inside} dilute."
)


def draw(records: Records, stem: Path) -> None:
    """Draw from the tables of `experiments/dilution_sim.py`; smooth lines are the closed forms again."""
    draw_escape(records, stem)


def caption(records: Records) -> Caption:
    """What the figure shows, with its numbers."""
    sides = records["escape_settings"]["side_expected"].value_counts()
    numbers = {side: str(int(sides.get(side, 0))) for side in ("above", "below", "inside")}
    numbers["settings"] = str(int(sides.sum()))
    return Caption(CAPTION, numbers)

"""Where dilution holds and where a learner escapes it."""

from pathlib import Path

from paper_figures.committed import Records
from theory.panels.escape_figure import draw_escape


def draw(stem: Path) -> None:
    """Draw from `records/dilution_sim`."""
    draw_escape(Records("dilution_sim"), stem)

"""K classes and linear CLIP: captions, rank and the rates of filtered training."""

from pathlib import Path

from paper_figures.committed import Records
from theory.panels.linear_clip_figure import draw_linear_clip


def draw(stem: Path) -> None:
    """Draw from `records/dilution_sim`."""
    draw_linear_clip(Records("dilution_sim"), stem)

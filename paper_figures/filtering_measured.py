"""A noisy pool, what two CLIPs keep of it, and the filters' own lines."""

from pathlib import Path

from empirical.figures.filtering import draw_filtering
from paper_figures.committed import read_table

STUDY = "clip_mixtures"


def draw(stem: Path) -> None:
    """Draw from `records/clip_mixtures`."""
    draw_filtering(read_table(STUDY, "accuracies"), read_table(STUDY, "trends"), stem)

"""Theory's predictions, told only the single-source runs, beside the measured mixtures."""

from pathlib import Path

from empirical.figures.mixtures import draw_predictions_vs_measurements
from paper_figures.committed import read_table

STUDY = "clip_mixtures"


def draw(stem: Path) -> None:
    """Draw from `records/clip_mixtures`."""
    accuracies, trends, predictions = (
        read_table(STUDY, name) for name in ("accuracies", "trends", "predictions")
    )
    draw_predictions_vs_measurements(accuracies, trends, predictions, stem)

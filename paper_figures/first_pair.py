"""Two sources, their mixtures at three shares and two sizes, and the ensembles: the clearest look at dilution."""

from pathlib import Path

from empirical.figures.mixtures import draw_predictions_vs_measurements
from empirical.results import first_pair, only_sources
from paper_figures.committed import read_table

STUDY = "clip_mixtures"


def draw(stem: Path) -> None:
    """Draw from `records/clip_mixtures`."""
    accuracies, trends, predictions = (
        read_table(STUDY, name) for name in ("accuracies", "trends", "predictions")
    )
    pair = first_pair(predictions)
    draw_predictions_vs_measurements(*only_sources(pair, accuracies, trends, predictions), stem)

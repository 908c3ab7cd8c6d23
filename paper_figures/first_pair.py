"""Two sources, their mixtures at three shares and two sizes, and the ensembles: the clearest look at dilution."""

from pathlib import Path

from empirical.figures.elements import readable
from empirical.figures.mixtures import draw_predictions_vs_measurements
from empirical.results import first_pair, only_sources
from paper_figures.captions import Caption
from paper_figures.committed import MEASURED, Records
from paper_figures.predictions_vs_measurements import rule_errors

STUDY = MEASURED


def draw(records: Records, stem: Path) -> None:
    """Draw from a CLIP study's tables."""
    accuracies, trends, predictions = (records[name] for name in ("accuracies", "trends", "predictions"))
    tables = only_sources(first_pair(predictions), accuracies, trends, predictions)
    draw_predictions_vs_measurements(*tables, stem, records.reference)


def caption(records: Records) -> Caption:
    """The pair, and the rules' errors on its mixtures."""
    accuracies, trends, predictions = (records[name] for name in ("accuracies", "trends", "predictions"))
    pair = first_pair(predictions)
    own = only_sources(pair, accuracies, trends, predictions)[2]
    numbers = rule_errors(own)
    numbers["shares"] = str(own["sources"].nunique())
    text = (
        f"Two sources, {readable(pair[0])} and {readable(pair[1])}, and their mixtures at {{shares}} shares. Top: accuracy under "
        "shift against reference accuracy; lines are single-source models, pies measured mixtures with 95% intervals, dashed "
        "curves predictions made from single-source runs alone, crosses ensembles. Bottom: predicted against measured d′ ratio; "
        "rms error {rms mediant} (mediant), {rms quadrature} (quadrature), {rms lines} (lines by share), {rms interpolated} "
        "(interpolated by share), {rms best source} (best source)."
    )
    return Caption(text, numbers)

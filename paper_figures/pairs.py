"""Pairs of sources: their mixtures at every measured share, between the sources, with predictions as lines."""

from pathlib import Path

from empirical.figures.pairs import MOST_PAIRS, draw_pairs, pairs_of
from paper_figures.captions import Caption
from paper_figures.committed import STUDIED, Records
from paper_figures.predictions_vs_measurements import rule_errors

STUDY = STUDIED


def draw(records: Records, stem: Path) -> None:
    """Draw from a CLIP study's tables."""
    draw_pairs(records["accuracies"], records["trends"], records["predictions"], stem, records.reference)


def caption(records: Records) -> Caption:
    """How many pairs at how many shares, and the rules' errors on them."""
    predictions, pairs = records["predictions"], pairs_of(records["accuracies"])
    names = {name for shares in pairs.values() for name in shares.values()}
    numbers = rule_errors(predictions[predictions["sources"].isin(names)])
    numbers |= {
        "pairs": str(len(pairs)),
        "mixtures": str(len(names)),
        "shown": str(min(len(pairs), MOST_PAIRS)),
    }
    text = (
        "{shown} of {pairs} pairs of sources, those mixed at the most shares ({mixtures} mixtures in all): d′ ratio of shift "
        "to reference against the second source's share. Pies are measured mixtures, discs the sources themselves, with 95% "
        "intervals; curves are predictions made from the sources alone. Rms error over all pairs, shifts and sizes: "
        "{rms mediant} (mediant), {rms quadrature} (quadrature), "
        "{rms lines} (lines by share), {rms interpolated} (interpolated by share), {rms best source} (best source)."
    )
    return Caption(text, numbers)

"""Pairs of sources: their mixtures at every measured share, between the sources, with predictions as lines.

The pairs that one figure has no room for are in `paper_figures.more_pairs`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from empirical.figures.pairs import MOST_PAIRS, draw_pairs, largest_common_size, pairs_of
from paper_figures.captions import Caption
from paper_figures.committed import STUDIED, Records
from paper_figures.predictions_vs_measurements import rule_errors
from theory.page import current_page

STUDY = STUDIED


def draw(records: Records, stem: Path) -> None:
    """Draw from a CLIP study's tables."""
    draw_some(records, stem, list(pairs_of(records["accuracies"]))[:MOST_PAIRS])


def draw_some(records: Records, stem: Path, chosen: Sequence[tuple[str, str]]) -> None:
    """Draw these pairs; on a slide as many of them as its height has room for, which is noted."""
    page = current_page()
    if page.width is not None and page.is_roomy:
        fit = max(1, int((page.height - 1.3 * page.text_scale) / (0.75 * page.text_scale)))
        if fit < len(chosen):
            records.note(
                f"a slide has room for {fit} of these {len(chosen)} pairs",
                "python paper_figures/make_all.py (the screen's pictures hold all)",
            )
        chosen = list(chosen)[:fit]
    accuracies, trends, predictions = (records[name] for name in ("accuracies", "trends", "predictions"))
    draw_pairs(accuracies, trends, predictions, stem, records.reference, chosen, records.optional("overlaps"))


def caption(records: Records) -> Caption:
    """How many pairs at how many shares, and the rules' errors on them."""
    return caption_of(records, list(pairs_of(records["accuracies"]))[:MOST_PAIRS])


def caption_of(records: Records, chosen: Sequence[tuple[str, str]]) -> Caption:
    """The caption of a figure that shows these pairs; errors are those of all."""
    predictions, pairs = records["predictions"], pairs_of(records["accuracies"])
    names = {name for shares in pairs.values() for name in shares.values()}
    numbers = rule_errors(predictions[predictions["sources"].isin(names)])
    sizes = {largest_common_size(records["accuracies"], pair, pairs[pair]) for pair in chosen} - {0}
    numbers |= {
        "pairs": str(len(pairs)),
        "mixtures": str(len(names)),
        "shown": str(len(chosen)),
        "n": " or ".join(f"{n:,}" for n in np.sort(list(sizes))) or "–",
    }
    text = (
        "{shown} of {pairs} pairs of sources ({mixtures} mixtures in all), each at its largest size (n = {n}): d′ ratio of shift "
        "to reference against the second source's share. Pies are measured mixtures, the sources' markers the sources "
        "themselves, with 95% intervals; curves are predictions made from the sources alone. Diamonds, the primary rule read at "
        "the place of the ensemble of both sources, may lie off their own curve, which is read at the mean of the sources' "
        "places. Rms error over all pairs, shifts and sizes: {rms mediant} (mediant), {rms quadrature} (quadrature), "
        "{rms lines} (lines by share), {rms interpolated} (interpolated by share), {rms best source} (best source)."
    )
    return Caption(text, numbers)

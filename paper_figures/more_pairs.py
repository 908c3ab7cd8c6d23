"""The pairs of sources that `paper_figures.pairs` has no room for."""

from pathlib import Path

from empirical.figures.pairs import MOST_PAIRS, pairs_of
from paper_figures import pairs
from paper_figures.captions import Caption
from paper_figures.committed import STUDIED, Records

STUDY = STUDIED


def draw(records: Records, stem: Path) -> None:
    """Draw from a CLIP study's tables; a study with few pairs has them all in the other figure, and again here."""
    rest = _rest(records)
    if len(rest) == len(pairs_of(records["accuracies"])):
        records.note("has no more pairs than the figure pairs shows, so this one shows the same")
    pairs.draw_some(records, stem, rest)


def caption(records: Records) -> Caption:
    """As in `paper_figures.pairs`, for these pairs."""
    return pairs.caption_of(records, _rest(records))


def _rest(records: Records) -> list[tuple[str, str]]:
    every = list(pairs_of(records["accuracies"]))
    return every[MOST_PAIRS:] or every

"""The filtered pools that `paper_figures.filter_turn` has no room for."""

from pathlib import Path

from empirical.figures.filter_turn import draw_filter_turn, pools_of
from paper_figures import filter_turn
from paper_figures.captions import Caption
from paper_figures.committed import STUDIED, Records

STUDY = STUDIED


def draw(records: Records, stem: Path) -> None:
    """Draw from a CLIP study's filtering.csv; a study with few pools has them all in the other figure, and again here."""
    if not pools_of(records["filtering"])[1]:
        records.note("has no more pools than the figure filter_turn shows, so this one shows the same")
    draw_filter_turn(records["filtering"], stem, _rest(records))


def caption(records: Records) -> Caption:
    """As in `paper_figures.filter_turn`, for these pools."""
    return filter_turn.caption_of(records, _rest(records))


def _rest(records: Records) -> list[str]:
    first, rest = pools_of(records["filtering"])
    return rest or first

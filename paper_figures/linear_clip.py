"""K classes and linear CLIP: captions, rank and the rates of filtered training."""

from pathlib import Path

from paper_figures.captions import Caption, agreement_numbers, interval
from paper_figures.committed import SIMULATED, Records
from theory.panels.linear_clip_figure import draw_linear_clip

STUDY = SIMULATED
TABLES = ("linear_clip_places", "linear_clip_captions", "linear_clip_rates")
CAPTION = (
    "K classes and linear CLIP. Lines are closed forms, points trained prototypes and contrastive "
    "solutions; {rows agreeing} of {rows} simulated rows lie within 4 standard errors of theory. The "
    "unfiltered error falls with the matched share with exponent {unfiltered exponent}, filtered once "
    "with {filtered exponent}."
)


def draw(records: Records, stem: Path) -> None:
    """Draw from the tables of `experiments/dilution_sim.py`; smooth lines are the closed forms again."""
    draw_linear_clip(records, stem)


def caption(records: Records) -> Caption:
    """What the figure shows, with its numbers."""
    numbers = agreement_numbers(records, TABLES)
    exponents = records["linear_clip_exponents"].set_index(["model", "variable"])
    for model in ("unfiltered", "filtered"):
        value, low, high = exponents.loc[(model, "share"), ["exponent", "low", "high"]]
        numbers[f"{model} exponent"] = interval(value, low, high)
    return Caption(CAPTION, numbers)

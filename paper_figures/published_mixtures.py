"""DataComp's published mixtures of sources with predictions made from the published single sources."""

from pathlib import Path

import numpy as np

from empirical.figures.datacomp_mixtures import draw_datacomp_mixtures
from paper_figures.captions import Caption, number
from paper_figures.committed import PUBLISHED, Records

STUDY = PUBLISHED


def draw(records: Records, stem: Path) -> None:
    """Draw from the tables of `experiments/published_trends.py`."""
    draw_datacomp_mixtures(records["datacomp_mixtures"], stem)


def caption(records: Records) -> Caption:
    """How many mixtures lie inside their sources' range, and every rule's error."""
    table = records["datacomp_mixtures"]
    table = table[table["shares"] == table["shares"].iloc[0]]
    of_mediant = table[table["rule"] == "mediant"]
    numbers = {
        "mixtures": str(len(of_mediant)),
        **{
            word: str(int((of_mediant["inside_range"] == verdict).sum()))
            for word, verdict in (("inside", "yes"), ("outside", "no"), ("open", "inconclusive"))
        },
    }
    errors = (table["ratio_predicted"] - table["ratio_measured"]) ** 2
    for rule, squares in errors.groupby(table["rule"], sort=False):
        numbers[f"rms {rule}"] = number(float(np.sqrt(squares.mean())))
    told = "; ".join(
        f"{key.removeprefix('rms ').replace('_', ' ')} {{{key}}}" for key in numbers if key.startswith("rms ")
    )
    text = (
        "DataComp's mixtures of sources (ViT-B/32, two scales) against rules that know single sources alone. Grey: range of the "
        "sources' d′ ratios; at equal samples seen {inside} of {mixtures} mixtures lie inside it at 95%, {outside} outside, "
        "{open} are open. Rms error of the ratio: "
        f"{told}."
    )
    return Caption(text, numbers)

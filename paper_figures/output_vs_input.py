"""Averaging the outputs of single-source models against training one model on the mixture."""

from pathlib import Path

import numpy as np

from empirical.figures.output_vs_input import draw_output_vs_input, mixing_pairs
from empirical.group_tables import ratio_table
from paper_figures.captions import Caption, number
from paper_figures.committed import MEASURED, Records

STUDY = MEASURED


def draw(records: Records, stem: Path) -> None:
    """Draw from a CLIP study's tables."""
    draw_output_vs_input(records["accuracies"], stem, records.reference)


def caption(records: Records) -> Caption:
    """Rms and mean difference of the two kinds of mixing, per kind of heads."""
    pairs = mixing_pairs(ratio_table(records["accuracies"], records.reference))
    numbers = {"mixtures": str(pairs["sources"].nunique())}
    for heads, rows in pairs.groupby("heads"):
        difference = rows["output_ratio"] - rows["input_ratio"]
        numbers[f"rms {heads}"] = number(float(np.sqrt(np.mean(difference**2))))
        numbers[f"mean {heads}"] = number(float(difference.mean()), sign=True)
    words = {"each": "heads trained on n samples each", "share": "heads trained on their share of n"}
    told = "; ".join(
        f"{words[h]}: rms {{rms {h}}}, mean {{mean {h}}}" for h in words if f"rms {h}" in numbers
    )
    text = (
        "Output mixing against input mixing for {mixtures} mixtures. Top: d′ ratio of the ensemble of averaged logits against "
        "that of the model trained on the mixture, 95% intervals. Bottom: their places; lines tie each mixture to its ensembles. "
        f"Difference of the ratios, output minus input, over all sizes and shifts: {told}."
    )
    return Caption(text, numbers)

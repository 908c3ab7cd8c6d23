"""How much of what single-source models know is the same on every test set, and how much of each model is noise."""

from pathlib import Path

import numpy as np

from empirical.figures.elements import readable
from empirical.figures.overlaps import draw_overlaps, measured_sizes
from paper_figures.captions import Caption
from paper_figures.committed import STUDIED, Records

STUDY = STUDIED
TABLES = ("overlaps", "accuracies")


def draw(records: Records, stem: Path) -> None:
    """Draw from a CLIP study's overlaps.csv and accuracies.csv."""
    draw_overlaps(measured_sizes(records["accuracies"], records["overlaps"]), stem, records.reference)


def caption(records: Records) -> Caption:
    """Range of the overlaps per test set at the largest size, and the noise there and at the smallest one."""
    measured = measured_sizes(records["accuracies"], records["overlaps"], num_draws=0)
    first, last = measured[0], measured[-1]
    upper, words = np.triu_indices(len(last.sources), 1), []
    numbers = {"n": f"{last.n_train:,}", "smallest n": f"{first.n_train:,}"}
    for t, test_set in enumerate(last.test_sets):
        pairs, own = last.overlaps[t][upper], np.diag(last.overlaps[t])
        name = readable(test_set)
        numbers[f"pairs on {name}"] = f"{pairs.min():.2f} to {pairs.max():.2f}" if len(pairs) else "–"
        numbers[f"own on {name}"] = f"{own.min():.2f} to {own.max():.2f}"
        words.append(f"{name} {{pairs on {name}}} between sources, {{own on {name}}} within")
    for key, each in (("noise at smallest n", first), ("noise at n", last)):
        noise = 100 * (1 - np.diag(each.overlaps[each.test_sets.index(records.reference)]))
        numbers[key] = f"{noise.min():.0f}% to {noise.max():.0f}%"
    text = (
        "Within-class correlation of the scores of two models of n = {n}, in percent: of two sources, and of two seeds of one "
        "source (diagonal, bold). "
        + "; ".join(words)
        + ". Last panel: the share of a model's squared length that is noise, "
        "with 95% intervals: {noise at smallest n} at n = {smallest n}, {noise at n} at n = {n}."
    )
    return Caption(text, numbers)

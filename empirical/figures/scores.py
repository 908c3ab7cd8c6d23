"""The distribution of CLIP scores, with the kept part: `draw_scores`."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def draw_scores(scores: np.ndarray, note: Mapping[str, Any], stem: str | Path) -> list[Path]:
    """Histogram of the scores (NaN left out), the kept ones coloured; `note` is that of `shard_scores.filter_index`."""
    import matplotlib.pyplot as plt

    from theory.plotting import PALETTE, save_figure, use_style

    use_style()
    values = scores[np.isfinite(scores)]
    edges = bin_edges(values, note["lowest_score"])
    fig, axes = plt.subplots(figsize=(5.0, 3.0))
    axes.hist(values, edges, color="#bbbbbb", label="all scored pairs")
    kept = values[values >= note["lowest_score"]]
    axes.hist(kept, edges, color=PALETTE["blue"], label=f"kept: {note['kept']:,} of {note['scored']:,}")
    axes.axvline(
        note["lowest_score"], color=PALETTE["vermillion"], lw=1.2, label=f"from {note['lowest_score']:.3f} on"
    )
    axes.set_xlabel("cosine of image and caption")
    axes.set_ylabel("pairs")
    axes.set_title(f"scored by {note['filtered_by']}", fontsize=8)
    axes.legend(frameon=False, fontsize=7)
    return save_figure(fig, stem)


def bin_edges(values: np.ndarray, threshold: float) -> list[float]:
    """Edges of equal bins over all values, one of which lies at the threshold: no bin is kept in part."""
    low, high = float(values.min()), float(values.max())
    width = max(high - low, 1e-6) / min(60, max(5, len(values) // 10))
    below, above = math.ceil((threshold - low) / width), math.floor((high - threshold) / width) + 1
    return [threshold + i * width for i in range(-below, above + 1)]

"""The distribution of CLIP scores, with the kept part: `draw_scores`."""

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
    edges = np.histogram_bin_edges(values, bins=min(60, max(5, len(values) // 10))).tolist()
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

"""One model's accuracies as a figure. Use `draw_evaluation`."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from theory.counts import dprime_interval
from theory.plotting import PALETTE, panel_letters, save_figure, use_style


def draw_evaluation(accuracies: pd.DataFrame, path_stem: str | Path, title: str) -> list[Path]:
    """Write PATH_STEM.png and .pdf: accuracy (left) and d' (right) on each test set, with 95% Clopper-Pearson intervals.

    Chance is a tick on the left; an accuracy of 0 or 1 has no d' and stands on the left alone.
    """
    use_style()
    rows = np.arange(len(accuracies))
    fig, axes = plt.subplots(
        1, 2, figsize=(6.8, 0.3 * len(accuracies) + 1.3), layout="constrained", sharey=True
    )
    correct, images, classes = (
        accuracies[name].to_numpy() for name in ("num_correct", "num_images", "num_classes")
    )
    places = [
        [100 * accuracies[name].to_numpy(float) for name in ("accuracy", "accuracy_low", "accuracy_high")],
        [
            accuracies["dprime"].to_numpy(float),
            *(np.asarray(end) for end in dprime_interval(correct, images, classes)),
        ],
    ]
    for ax, (middle, low, high), colour in zip(
        axes, places, (PALETTE["blue"], PALETTE["vermillion"]), strict=True
    ):
        there = np.isfinite(middle) & np.isfinite(low) & np.isfinite(high)
        centre, ends = middle[there], np.stack([low[there], high[there]])
        ax.errorbar(
            centre, rows[there], xerr=np.abs(ends - centre), fmt="o", ms=4.5, color=colour, elinewidth=1.0, capsize=2
        )  # fmt: skip
    axes[0].plot(100 / classes, rows, "|", ms=8, color="#777777", label="chance")
    axes[0].set_xlabel("top-1 accuracy, %")
    axes[1].set_xlabel("d′")
    axes[0].legend(fontsize=6.5, loc="best")
    names = [f"{row['test_set']}\n({row['num_images']:,} images)" for _, row in accuracies.iterrows()]
    axes[0].set_yticks(rows, names, fontsize=6.5)
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    fig.suptitle(title, fontsize=8)
    panel_letters(list(axes))
    return save_figure(fig, path_stem)

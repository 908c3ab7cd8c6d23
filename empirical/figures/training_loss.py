"""The loss of one training, step by step: `draw_training_loss`."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from theory.plotting import PALETTE, save_figure, use_style

_MOST_POINTS = 1000


def draw_training_loss(table: pd.DataFrame, batch_size: int, stem: str | Path, title: str = "") -> list[Path]:
    """Draw `stream_report.loss_table`: every step, the mean of each epoch, and what a model that knows nothing reaches.

    Long runs are drawn as means of neighbouring steps, at most 1,000 points. Returns the paths.
    """
    use_style()
    fig, axes = plt.subplots(figsize=(5.0, 3.0))
    width = -(-len(table) // _MOST_POINTS)
    binned = table.groupby(np.arange(len(table)) // width)[["step", "loss"]].mean()
    label = "each step" if width == 1 else f"mean of {width} steps"
    axes.plot(binned["step"], binned["loss"], color="#a8c6dd", lw=0.8, label=label)
    epochs = table.groupby("epoch").agg(step=("step", "mean"), loss=("loss", "mean"))
    axes.plot(
        epochs["step"], epochs["loss"], color=PALETTE["blue"], marker="o", ms=3.5, label="mean of each epoch"
    )
    axes.axhline(
        math.log(batch_size),
        color="0.45",
        lw=0.9,
        ls="--",
        label=f"chance: ln {batch_size} = {math.log(batch_size):.2f}",
    )
    axes.set_xlabel("step")
    axes.set_ylabel("contrastive loss (nats)")
    axes.set_ylim(bottom=0)
    if title:
        axes.set_title(title, fontsize=8)
    axes.legend(frameon=False, fontsize=7)
    return save_figure(fig, stem)

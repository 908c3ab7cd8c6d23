"""The loss curves of two trainers beside each other, and their difference with its bound: `draw_loss_curves`."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from empirical.figures.elements import INK
from theory.plotting import PALETTE, panel_letters, save_figure, use_style

_STYLES = ((PALETTE["blue"], "o", "-"), (PALETTE["vermillion"], "s", "--"))


def draw_loss_curves(table: pd.DataFrame, differences: pd.DataFrame, stem: str | Path) -> list[Path]:
    """Draw `loss_table` (one thin line per seed, means with standard deviations) and `difference_table`.

    Args: stem, the path without suffix. Returns: paths of PNG and PDF.
    """
    use_style()
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 2.9))
    _curves(left, table)
    _difference(right, differences)
    panel_letters([left, right])
    return save_figure(fig, stem)


def _curves(ax: Axes, table: pd.DataFrame) -> None:
    trainers = list(dict.fromkeys(table["trainer"]))
    for name, shift, (colour, marker, line) in zip(trainers, (-0.06, 0.06), _STYLES, strict=True):
        rows = table[table["trainer"] == name]
        for _, run in rows.groupby("seed"):
            ax.plot(run["epoch"], run["loss"], color=colour, linewidth=0.5, alpha=0.5)
        mean = rows.groupby("epoch")["loss"].agg(["mean", "std"])
        ax.errorbar(
            mean.index + shift, mean["mean"], mean["std"], color=colour, marker=marker, linestyle=line, capsize=2,
            label=f"{name} ({rows['seed'].nunique()} seeds, ± 1 sd)",
        )  # fmt: skip
    ax.set_xlabel("epoch")
    ax.set_ylabel("mean contrastive loss (nats)")
    ax.set_title("Loss of each trainer")
    ax.legend(loc="upper right")


def _difference(ax: Axes, differences: pd.DataFrame) -> None:
    epoch = differences["epoch"]
    ax.fill_between(
        epoch,
        -differences["bound"],
        differences["bound"],
        color="0.9",
        label="bound: 3 standard errors (Student's t)",
    )
    ax.errorbar(
        epoch, differences["difference"], differences["standard_error"], color=INK, marker="D", linestyle="none",
        capsize=2, label="difference of means, ± 1 standard error",
    )  # fmt: skip
    ax.axhline(0, color="0.3", linewidth=0.8)
    reach = 1.9 * float(differences[["bound", "difference"]].abs().to_numpy().max())
    ax.set_ylim(-reach, reach)
    ax.set_xlabel("epoch")
    ax.set_ylabel("ours - peer (nats)")
    ax.set_title("Difference")
    ax.legend(loc="upper right")

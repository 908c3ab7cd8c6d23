"""Two studies on one picture: the value of each group in one against the other, and what is told apart.

Use `draw_comparison` on the table of `empirical.comparison.compare_studies`.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from empirical.comparison import DPRIME, RATIO
from empirical.figures.elements import (
    DARK,
    INK,
    PALE,
    dot,
    legend_below,
    readable,
    square_panel,
)
from theory.plotting import PALETTE, panel_letters, save_figure, use_style

_STYLE = {
    "b higher": (PALETTE["blue"], "^", True),
    "a higher": (PALETTE["vermillion"], "v", True),
    "not told apart": (PALE, "o", False),
    "no interval": (DARK, "o", False),
}


def draw_comparison(
    comparison: pd.DataFrame, path_stem: str | Path, names: tuple[str, str] = ("a", "b")
) -> list[Path]:
    """Write PATH_STEM.png and .pdf: one panel per test set, the d' ratio (d' on the reference) in study b against study a.

    Points on the diagonal agree; bars are the 95% interval of the difference, drawn on b. Returns the two paths.
    """
    use_style()
    shifts = list(pd.unique(comparison.loc[comparison["quantity"] == RATIO, "test_set"]))
    others = [t for t in pd.unique(comparison["test_set"]) if t not in shifts]
    panels = [(str(t), DPRIME, "d′") for t in others] + [(str(t), RATIO, "d′ ratio") for t in shifts]
    columns = min(3, max(len(panels), 1))
    rows = -(-len(panels) // columns) or 1
    fig, axes = plt.subplots(
        rows, columns, figsize=(2.6 * columns, 2.75 * rows + 0.5), layout="constrained", squeeze=False
    )
    used: set[str] = set()
    for ax, (test_set, quantity, words) in zip(axes.flat, panels, strict=False):
        part = comparison[(comparison["test_set"] == test_set) & (comparison["quantity"] == quantity)]
        _panel(ax, part)
        used |= set(part["verdict"])
        ax.set_title(readable(test_set), loc="left")
        ax.set_xlabel(f"{words}, {names[0]}")
        ax.set_ylabel(f"{words}, {names[1]}")
    for ax in list(axes.flat)[len(panels) :]:
        ax.set_axis_off()
    panel_letters([ax for ax in axes.flat if ax.axison])
    shown = [verdict for verdict in _STYLE if verdict in used]
    words = {"b higher": f"{names[1]} higher", "a higher": f"{names[0]} higher"}
    handles = [dot(*_STYLE[v], size=4.2) for v in shown]
    labels = [words.get(v, v) for v in shown]
    if np.isfinite(comparison["difference_low"].to_numpy(float)).any():
        handles.append(Line2D([], [], color=INK, marker="|", ms=8, ls="none"))
        labels.append(f"95% of the difference, drawn on {names[1]}")
    legend_below(fig, handles, labels)
    return save_figure(fig, path_stem)


def _panel(ax: Axes, part: pd.DataFrame) -> None:
    for verdict, (colour, marker, filled) in _STYLE.items():
        rows = part[part["verdict"] == verdict]
        x, y = rows["value_a"].to_numpy(float), rows["value_b"].to_numpy(float)
        low, high = (x + rows[f"difference_{end}"].to_numpy(float) for end in ("low", "high"))
        drawn = np.isfinite(low)
        ax.vlines(x[drawn], low[drawn], high[drawn], color=colour, lw=0.6, alpha=0.7, zorder=2)
        ax.plot(
            x, y, marker, ms=3.6, mfc=colour if filled else "white", mec=colour, mew=0.8, ls="none", zorder=3
        )
    values = part[["value_a", "value_b"]].to_numpy(float)
    # Bars belong to what the frame must hold.
    ends = part["value_a"].to_numpy(float)[:, None] + part[["difference_low", "difference_high"]].to_numpy(
        float
    )
    shown = np.concatenate([values, ends], axis=1)
    square_panel(ax, shown, shown, 0.06)
    ax.axline((0, 0), slope=1, color=DARK, lw=0.7, ls=(0, (3, 2)), zorder=1)

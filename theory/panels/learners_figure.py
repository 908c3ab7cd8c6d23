"""The figure of panel `learners`: slope and accuracy against the share; lines are limits, points trained classifiers."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from theory.page import panels
from theory.plotting import COLOURS, ERROR_BAR, MARKERS, panel_letters, probit_axes, save_figure, use_style


def draw_learners(tables: Mapping[str, pd.DataFrame], stem: str | Path) -> list[Path]:
    """Draw learners.csv: one row of panels for each setting.

    Args:
        tables: `learners` and `learners_curves`.
        stem: path without suffix.

    Returns:
        Paths of the PNG and the PDF.
    """
    points, curves = tables["learners"], tables["learners_curves"]
    use_style()
    settings = list(dict.fromkeys(points["setting"]))
    fig, axes = panels(len(settings), 2, (10.2, 3.6 * len(settings) + 1.0), extra=0.7, sharex=True)
    for row, setting in enumerate(settings):
        own, lines = points[points["setting"] == setting], curves[curves["setting"] == setting]
        ends = lines[lines["learner"] == lines["learner"].iloc[0]].sort_values("share")["slope_predicted"]
        axes[2 * row].axhspan(ends.min(), ends.max(), color="0.92", zorder=0)
        _panel(axes[2 * row], own, lines, "slope")
        _panel(axes[2 * row + 1], own, lines, "probit_shift")
        axes[2 * row].set_ylabel("slope: robustness on the shift")
        axes[2 * row].set_title(f"Slope, {setting}")
        axes[2 * row + 1].set_ylabel("accuracy on the shift")
        axes[2 * row + 1].set_title(f"Accuracy, {setting}")
        probit_axes(axes[2 * row + 1], "y")
    for ax in axes[-2:]:
        ax.set_xlabel("share of the fragile source")
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=colour, marker=marker, mec="white", mew=0.5, ms=6, label=str(name))
        for colour, marker, name in zip(COLOURS, MARKERS, dict.fromkeys(points["learner"]), strict=False)
    ]
    handles.append(Patch(color="0.88", label="between the sources"))
    fig.legend(handles=handles, loc="outside lower center", ncols=4)
    panel_letters(axes)
    return save_figure(fig, stem)


def _panel(ax: Axes, points: pd.DataFrame, lines: pd.DataFrame, quantity: str) -> None:
    names = list(dict.fromkeys(points["learner"]))
    for colour, marker, name in zip(COLOURS, MARKERS, names, strict=False):
        line = lines[lines["learner"] == name].sort_values("share")
        ax.plot(line["share"], line[f"{quantity}_predicted"], color=colour, lw=1.5, zorder=1)
        rows = points[points["learner"] == name].sort_values("share")
        at = rows["share"]
        y, error = rows[f"{quantity}_simulated"], rows[f"{quantity}_stderr"]
        ax.errorbar(at, y, yerr=error, ecolor=colour, **ERROR_BAR)
        ax.plot(at, y, marker, color=colour, mec="white", mew=0.5, ms=5.5, zorder=3)
    ax.set_xlim(-0.03, 1.03)

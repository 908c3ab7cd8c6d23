"""Theorem 3's figure: slope and accuracy against the kept share; lines are predictions, points with error bars simulations."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from theory.page import current_page, panels
from theory.panels.filtering import default_filtering_setting, filtering_curves
from theory.plotting import COLOURS, ERROR_BAR, panel_letters, probit_axes, save_figure, use_style


def draw_filtering(tables: Mapping[str, pd.DataFrame], stem: str | Path) -> list[Path]:
    """Draw slope and accuracy against the kept share for every filter and shift.

    Args:
        tables: `filtering` of `theory.panels.filtering.filtering_tables`; the smooth lines are the closed forms again.
        stem: path without suffix.

    Returns:
        Paths of the PNG and the PDF.
    """
    filtering = tables["filtering"]
    setting = default_filtering_setting(int(filtering["d"].iloc[0]))
    smallest = float(filtering["kept_predicted"].min())
    curves = filtering_curves(setting, int(filtering["pool_size"].iloc[0]), smallest)
    use_style()
    shifts = list(dict.fromkeys(filtering["shift"]))
    columns = len(shifts)
    fig, axes = panels(2, columns, (4.8 * columns, 7.2), extra=0.7, sharex=True)
    for column, shift in enumerate(shifts):
        rows, lines = filtering[filtering["shift"] == shift], curves[curves["shift"] == shift]
        _filtered_panel(axes[column], rows, lines, "slope", shift)
        _filtered_panel(axes[columns + column], rows, lines, "probit_shift", shift)
        probit_axes(axes[columns + column], "y")
        axes[columns + column].set_xlabel("share of the pool kept")
    panel_letters(axes)
    _legend(fig, axes[columns - 1])
    return save_figure(fig, stem)


def _legend(fig: Figure, ax: Axes) -> None:
    handles, labels = ax.get_legend_handles_labels()
    handles += [Line2D([], [], color="0.4", ls="--", lw=1.1), Line2D([], [], color="0.4", ls=":", lw=1.2)]
    labels += ["the filter's own slope", "unfiltered pool"]
    if current_page().width is None or current_page().is_roomy:
        ax.legend(handles, labels, loc=(0.45, 0.07))
    else:
        fig.legend(handles, labels, loc="outside lower center", ncols=2)


def _filtered_panel(ax: Axes, rows: pd.DataFrame, lines: pd.DataFrame, quantity: str, shift: str) -> None:
    slope = quantity == "slope"
    for colour, marker, (name, line) in zip(COLOURS, "os", lines.groupby("filter", sort=False), strict=False):
        own = float(line["filter_slope"].iloc[0])
        points = rows[np.isclose(rows["filter_slope"], own)].sort_values("kept_predicted")
        ax.plot(line["kept"], line[quantity], color=colour, lw=1.5, zorder=1, label=str(name))
        y, error = points[f"{quantity}_simulated"], points[f"{quantity}_stderr"]
        ax.errorbar(points["kept_simulated"], y, yerr=error, ecolor=colour, **ERROR_BAR)
        ax.plot(points["kept_simulated"], y, marker, color=colour, mec="white", mew=0.6, ms=6, zorder=3)
        if slope:
            ax.axhline(own, color=colour, ls="--", lw=1.1, zorder=0)
    raw = rows[np.isneginf(rows["threshold"])]
    if len(raw):
        ax.axhline(float(raw[f"{quantity}_predicted"].iloc[0]), color="0.4", ls=":", lw=1.2, zorder=0)
    ax.set_xscale("log")
    ticks = [tick for tick in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if tick >= 0.9 * lines["kept"].min()]
    ax.set_xticks(ticks, [f"{tick:.0%}" for tick in ticks])
    ax.minorticks_off()
    pairs = f"{int(rows['pool_size'].iloc[0]):,} pairs"
    if slope:
        ax.set_ylabel("slope: robustness on the shift")
        ax.set_title(f"Filtering turns the line (“{shift}”)")
    else:
        ax.set_ylabel(f"accuracy on shift “{shift}”")
        ax.set_title(f"and moves the model along it ({pairs})")

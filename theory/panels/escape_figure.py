"""The figure of panel `escape`: maps of how far a mixture's slope leaves its sources' interval, and the trained settings."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import TwoSlopeNorm
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from theory.page import figure_size, panel_legend, pt
from theory.panels.escape import MAPS, outside
from theory.plotting import ERROR_BAR, PALETTE, panel_letters, save_figure, use_style

_COLOURS = {
    "above": PALETTE["blue"],
    "inside": "0.35",
    "below": PALETTE["vermillion"],
    "reversed": PALETTE["black"],
}
_TITLES = {
    "mean": "Subtraction: least squares",
    "penalty": "Subtraction: ridge",
    "whitening": "Changed whitening: logistic",
}
#: Trained settings that lie on a map, by their place there: (features of the first source), (n/d, λ), (variance, λ).
_MARKED: dict[str, dict[str, tuple[float, float]]] = {
    "mean": {"over-fitted spurious source": (1.0, 6.0), "over-fitted robust source": (6.0, 1.0)},
    "penalty": {
        "over-fitted spurious source": (10.0, 0.001),
        "over-fitted spurious source, strong penalty": (10.0, 4.0),
        "interpolation": (0.5, 0.001),
        "interpolation of few samples": (0.25, 0.001),
    },
    "whitening": {"noisy copies, unequal sources": (9.0, 0.01), "quiet copies": (0.1, 0.01)},
}
#: What the regions of each map are, by place as a fraction of the axes.
_REGIONS: dict[str, tuple[tuple[str, float, float], ...]] = {
    "mean": (
        ("beats\nthe best source", 0.35, 0.86),
        ("falls below\nthe worst", 0.78, 0.34),
        ("dilutes", 0.16, 0.1),
    ),
    "penalty": (("beats the best source", 0.64, 0.45), ("dilutes", 0.2, 0.9)),
    "whitening": (
        ("beats\nthe best", 0.24, 0.35),
        ("falls below\nthe worst", 0.77, 0.5),
        ("dilutes", 0.3, 0.9),
    ),
}


def draw_escape(tables: Mapping[str, pd.DataFrame], stem: str | Path) -> list[Path]:
    """Draw escape_map.csv above escape_settings.csv.

    Args:
        tables: `escape_map` and `escape_settings`.
        stem: path without suffix.

    Returns:
        Paths of the PNG and the PDF.
    """
    maps, settings = tables["escape_map"], tables["escape_settings"]
    use_style()
    fig = plt.figure(figsize=figure_size(11.0, 9.0, rows=3, extra=1.6))
    (upper,), (lower,) = fig.subfigures(2, 1, squeeze=False, height_ratios=[1.0, 1.3])
    axes = list(upper.subplots(1, 3))
    # One scale for all maps, wide enough for most of every one; what lies beyond has the colour of the end.
    reach = float(max(rows["outside"].abs().quantile(0.97) for _, rows in maps.groupby("map")))
    norm = TwoSlopeNorm(0.0, -max(reach, 0.05), max(reach, 0.05))
    filled = None
    for ax, (name, (x_label, y_label)) in zip(axes, MAPS.items(), strict=True):
        if name != "mean":
            ax.set_xscale("log")
            ax.set_yscale("log")
        filled = _map(ax, maps[maps["map"] == name], norm)
        _mark(ax, settings, _MARKED[name], norm)
        for words, x, y in _REGIONS[name]:
            ax.text(x, y, words, transform=ax.transAxes, ha="center", va="center", fontsize=pt(8))
        ax.set(xlabel=x_label, ylabel=y_label)
        ax.set_title(_TITLES[name])
        ax.grid(visible=False)
    bar = upper.colorbar(filled, ax=axes, pad=0.01, extend="both")
    bar.set_label("slope beyond the sources' interval")
    last = lower.subplots()
    _settings(last, settings)
    panel_letters([*axes, last])
    return save_figure(fig, stem)


def _map(ax: Axes, rows: pd.DataFrame, norm: TwoSlopeNorm) -> QuadMesh:
    def table(column: str) -> np.ndarray:
        return rows.pivot(index="y", columns="x", values=column).to_numpy(float)

    x, y = np.unique(rows["x"]), np.unique(rows["y"])
    filled = ax.pcolormesh(x, y, table("outside"), norm=norm, cmap="RdBu", shading="gouraud", rasterized=True)
    # The border of the region that dilutes: where the first source's weight changes sign or, if it never does, where the
    # slope reaches that of either source.
    if (rows["pull_first"] < 0).any():
        borders = [table("pull_first")]
    else:
        mixture, ends = table("mixture_slope"), np.stack([table("first_slope"), table("second_slope")])
        borders = [mixture - ends.max(0), mixture - ends.min(0)]
    for border in borders:
        ax.contour(x, y, border, levels=[0.0], colors="0.25", linewidths=1.2)
    return filled


def _mark(
    ax: Axes, settings: pd.DataFrame, places: Mapping[str, tuple[float, float]], norm: TwoSlopeNorm
) -> None:
    """Trained settings in the colour of what was measured: where map and measurement agree, only the rim is seen."""
    for name, (x, y) in places.items():
        for row in settings[settings["setting"] == name].itertuples():
            found = outside(
                *(np.asarray(v) for v in (row.slope_simulated, row.first_slope, row.second_slope))
            )
            ax.scatter(
                x, y, c=[float(found)], norm=norm, cmap="RdBu", s=46, edgecolors="black", lw=1.1, zorder=4
            )


def _settings(ax: Axes, rows: pd.DataFrame) -> None:
    order = {"above": 0, "below": 1, "inside": 2}
    rows = rows.sort_values("side_expected", key=lambda sides: sides.map(order), kind="stable").iloc[::-1]
    for at, row in enumerate(rows.itertuples()):
        low, high = sorted([row.first_slope, row.second_slope])
        colour = _COLOURS[str(row.side_expected)]
        ax.plot([low, high], [at, at], color="0.85", lw=9, solid_capstyle="butt", zorder=1)
        ax.plot([low, high], [at, at], "|", color="0.6", ms=9, mew=1.2, zorder=1)
        ax.plot(row.averaging_slope, at, "o", mfc="white", mec="0.4", ms=5, zorder=2)
        ax.plot(row.slope_predicted, at, "|", color=colour, ms=15, mew=1.6, zorder=3)
        ax.errorbar(row.slope_simulated, at, xerr=2 * row.slope_stderr, ecolor=colour, **ERROR_BAR)
        ax.plot(row.slope_simulated, at, "D", color=colour, mec="white", mew=0.5, ms=5.5, zorder=4)
    ax.set_yticks(range(len(rows)), [f"{row.setting} ({row.loss})" for row in rows.itertuples()])
    ax.set(xlabel="slope: robustness on the shift", ylim=(-0.7, len(rows) - 0.3), xlim=(0, None))
    first = rows.iloc[0]
    ax.set_title(f"Settings on every side, trained at d = {int(first['d'])}")
    ax.grid(axis="y", visible=False)
    handles: list[Line2D | Patch] = [
        Patch(color="0.85", label="between the sources"),
        Line2D([], [], ls="", marker="o", mfc="white", mec="0.4", ms=5, label="averaging classifier"),
        Line2D([], [], ls="", marker="|", color="0.2", ms=13, mew=1.6, label="exact limit"),
        Line2D([], [], ls="", marker="D", color="0.2", mec="white", ms=5.5, label="trained, ± 2 s.e."),
        Line2D([], [], ls="", marker="s", color=_COLOURS["above"], ms=6, label="beats the best source"),
        Line2D([], [], ls="", marker="s", color=_COLOURS["below"], ms=6, label="falls below the worst"),
        Line2D(
            [], [], ls="", marker="o", mfc="none", mec="black", ms=6.5, label="trained setting on a map (a-c)"
        ),
    ]
    panel_legend(ax, handles=handles, loc="lower right")

"""The figure of section 4: the phase diagram of adding worse data, and one setting per region followed by simulation."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from theory.break_even import REGIONS
from theory.page import current_page, figure_size, pt
from theory.panels.break_even import SHOWN
from theory.plotting import COLOURS, ERROR_BAR, panel_letters, probit_axes, save_figure, use_style

_TINTS: dict[str, str] = dict(
    zip(map(str, REGIONS), ("#e9e9e9", "#cfe6f5", "#cdebdd", "#fbe3cf"), strict=True)
)
_COLOURS: dict[str, str] = dict(
    zip(map(str, REGIONS), ("0.35", COLOURS[0], COLOURS[2], COLOURS[1]), strict=True)
)


def draw_break_even(tables: Mapping[str, pd.DataFrame], stem: str | Path) -> list[Path]:
    """Draw the phase diagram with the regions read off simulations, and margins against the added amount.

    Args:
        tables: from `break_even_tables`, or read back from CSV.
        stem: path without suffix.

    Returns:
        Paths of the PNG and the PDF.
    """
    use_style()
    fig = plt.figure(figsize=figure_size(12.2, 5.6, rows=3, extra=1.4))
    beside = current_page().columns(4) == 4
    if beside:
        grid = fig.add_gridspec(2, 4, width_ratios=(1.05, 1.05, 1, 1))
        diagram = fig.add_subplot(grid[:, :2])
    else:
        grid = fig.add_gridspec(3, 2, height_ratios=(1.7, 1, 1))
        diagram = fig.add_subplot(grid[0, :])
    _diagram(fig, diagram, tables["break_even_map"], tables["break_even_checks"])
    top, left = (0, 2) if beside else (1, 0)
    axes = [fig.add_subplot(grid[top + row, left + column]) for row in (0, 1) for column in (0, 1)]
    lines, curves = tables["break_even_lines"], tables["break_even_curves"]
    for ax, region in zip(axes, SHOWN, strict=True):
        _curve(ax, region, lines[lines["region"] == region], curves[curves["region"] == region])
    for ax in axes[2:]:
        ax.set_xlabel("added samples per kept sample")
    for ax in axes[::2]:
        ax.set_ylabel("accuracy on the target")
    panel_letters([diagram, *axes])
    return save_figure(fig, stem)


def _diagram(fig: Figure, ax: Axes, phases: pd.DataFrame, checks: pd.DataFrame) -> None:
    x, y = np.unique(phases["kept_per_feature"]), np.unique(phases["signal_ratio"])

    def square(values: pd.Series | np.ndarray) -> np.ndarray:
        return np.asarray(values, float).reshape(len(y), len(x))

    bar, turn = square(phases["bar"])[0], square(phases["turn"])[0]
    low, high, top = np.minimum(bar, turn), np.maximum(bar, turn), np.full_like(bar, y[-1])
    for region, lower, upper in (
        ("add nothing", np.zeros_like(bar), low),
        ("add some", bar, np.where(turn > bar, np.minimum(turn, top), bar)),
        ("hurts first, helps later", turn, np.where(turn < bar, bar, turn)),
        ("always add", np.minimum(high, top), top),
    ):
        ax.fill_between(x, lower, upper, color=_TINTS[region], lw=0, zorder=0)
    ax.set_xscale("log")
    ax.plot(x, bar, color="black", lw=1.8, zorder=2)
    ax.plot(x[turn < y[-1]], turn[turn < y[-1]], color="black", lw=1.0, zorder=2)
    # Labels between the columns of points, and clear of the region's name.
    clear = [(0.055, 0.43), (0.0055, 0.235), (0.0065, 0.11)]
    for column, region, levels, label, places in (
        ("best_amount", "add some", (0.1, 1, 10), "best {:g}x", False),
        ("break_even", "hurts first, helps later", (1, 10, 100), "pays from {:g}x", clear),
    ):
        inside = phases["region"] == region
        values = np.log10(square(phases[column].where(inside & np.isfinite(phases[column]))))
        drawn = ax.contour(
            x, y, values, np.log10(levels), colors=_COLOURS[region], linewidths=1, linestyles=":"
        )
        texts = ax.clabel(
            drawn,
            fmt=lambda level, text=label: text.format(10**level),
            fontsize=pt(7),
            manual=places,
            inline=False,
        )
        for text in texts:  # lines stay whole, and words are read on the region's tint
            text.set_bbox({"facecolor": _TINTS[region], "edgecolor": "none", "pad": 0.4})
    for region, rows in checks.groupby("region_simulated"):
        good = rows["region"] == rows["region_simulated"]
        for mask, marker in ((good & rows["is_clear"], "o"), (good & ~rows["is_clear"], "d"), (~good, "X")):
            some = rows[mask]
            face = _COLOURS[str(region)] if marker != "d" else "none"
            ax.plot(
                some["kept_per_feature"],
                some["signal_ratio"],
                marker,
                color=_COLOURS[str(region)],
                mfc=face,
                mec="white" if marker != "d" else _COLOURS[str(region)],
                ms=6.5 if marker != "X" else 10,
                zorder=3,
            )
    for letter, (region, (per_feature, ratio)) in zip("bcde", SHOWN.items(), strict=True):
        ax.plot(per_feature, ratio, "s", mfc="none", mec=_COLOURS[region], mew=1.6, ms=12, zorder=4)
        ax.annotate(
            letter, (per_feature, ratio), (9, 6), textcoords="offset points", weight="bold", fontsize=pt(9)
        )
    for region, place in {
        "always add": (0.02, 1.02),
        "add some": (14, 1.02),
        "add nothing": (14, 0.04),
        "hurts first, helps later": (0.0065, 0.275),
    }.items():
        ax.text(
            place[0],
            place[1],
            region.replace(", ", ",\n"),
            color=_COLOURS[region],
            weight="bold",
            ha="center",
            fontsize=pt(10),
        )
    ax.set(
        xlim=(x[0], x[-1]),
        ylim=(y[0], y[-1]),
        xlabel="kept samples per feature of noise, $n_1\\|\\nu\\|^2/T$",
        ylabel="what the added source knows, $a_2/a_1$",
    )
    ax.grid(False)
    ax.set_title("Four regions of adding worse data")
    handles = [
        Line2D([], [], color="black", lw=1.8, label="bar: above it the first sample helps"),
        Line2D([], [], color="black", lw=1.0, label="above it the last sample helps"),
        Line2D(
            [], [], marker="o", ls="", color="0.4", mec="white", ms=6.5, label="region read off a simulation"
        ),
    ]
    if (checks["region"] != checks["region_simulated"]).any():
        handles.append(
            Line2D([], [], marker="X", ls="", color="0.4", mec="white", ms=9, label="not the predicted one")
        )
    if not checks["is_clear"].all():
        handles.append(
            Line2D([], [], marker="d", ls="", mfc="none", mec="0.4", label="within 4 standard errors of 0")
        )
    fig.legend(
        handles=handles,
        loc="outside lower left",
        ncols=current_page().columns(len(handles)),
        fontsize=pt(8.5),
    )


def _curve(ax: Axes, region: str, line: pd.DataFrame, points: pd.DataFrame) -> None:
    colour, kept = _COLOURS[region], float(line["num_kept"].iloc[0])
    start = float(line["probit_predicted"].iloc[0])
    ax.axhline(start, color="0.55", lw=1, ls="--", zorder=0)
    ax.plot(line["num_added"] / kept, line["probit_predicted"], color=colour, zorder=1)
    x, y = points["num_added"] / kept, points["probit_simulated"]
    ax.errorbar(x, y, yerr=points["probit_stderr"], ecolor=colour, **ERROR_BAR)
    ax.plot(x, y, "o", color=colour, mec="white", mew=0.6, ms=5.5, zorder=3)
    later = region == "hurts first, helps later"
    ax.set_xscale("asinh", linear_width=0.3)
    ax.set_xlim(-0.02, 10 if later else 1e4)
    ticks = [0, 0.3, 1, 3, 10] if later else [0, 1, 10, 100, 1000, 10_000]
    ax.set_xticks(ticks, [f"{tick:,g}" for tick in ticks])
    ax.minorticks_off()
    if later:
        ax.set_ylim(start - 0.005, start + 0.014)
        _marked(ax, float(line["break_even"].iloc[0]) / kept, start, "pays from\n{:.2f}x on", (10, -24))
        worst = float(line["stationary"].iloc[0]) / kept, float(line["stationary_probit"].iloc[0])
        _marked(ax, worst[0], worst[1], "worst\nat {:.2f}x", (-4, 30))
    elif region == "add some":
        peak = float(line["stationary_probit"].iloc[0])
        _marked(ax, float(line["stationary"].iloc[0]) / kept, peak, "best at {:.2f}x", (14, -1))
        ax.set_ylim(None, peak + 0.03)
    ax.set_title(region[0].upper() + region[1:])
    place = {"add some": (0.97, 0.72, "right"), "add nothing": (0.97, 0.8, "right")}.get(
        region, (0.04, 0.88, "left")
    )
    ax.text(place[0], place[1], f"{kept:,.0f} kept", transform=ax.transAxes, ha=place[2])
    probit_axes(ax, "y")


def _marked(ax: Axes, x: float, y: float, text: str, offset: tuple[int, int]) -> None:
    ax.plot(x, y, "v", color="black", ms=5, zorder=4)
    ax.annotate(
        text.format(x),
        (x, y),
        offset,
        textcoords="offset points",
        fontsize=pt(8),
        ha="left" if offset[0] > 0 else "right",
        arrowprops={"arrowstyle": "-", "lw": 0.7, "color": "0.4"},
    )

"""The figure of section 5: all mixtures of three sources, the best one against n, its rivals, and the frontier of two shifts."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from theory.page import current_page, panel_legend, panels, pt
from theory.panels.best_mixture import RIVALS, WORST
from theory.plotting import ERROR_BAR, MARKERS, panel_letters, probit_axes, save_figure, use_style
from theory.source_looks import shift_looks, source_looks


def draw_best_mixture(tables: Mapping[str, pd.DataFrame], stem: str | Path) -> list[Path]:
    """Draw the map over the simplex, the best shares against n, simulated rivals and the frontier.

    Args:
        tables: from `best_mixture_tables`, or read back from CSV.
        stem: path without suffix.

    Returns:
        Paths of the PNG and the PDF.
    """
    use_style()
    fig, axes = panels(2, 2, (10.6, 8.4), extra=1.0)
    path, frontier = tables["best_mixture_path"], tables["best_mixture_frontier"]
    _simplex(fig, axes[0], tables["best_mixture_map"], path)
    _against_n(axes[1], path)
    _rivals(axes[2], path, tables["best_mixture_margins"])
    _trade_off(axes[3], tables["best_mixture_map"], frontier)
    panel_letters(axes)
    return save_figure(fig, stem)


def _names(table: pd.DataFrame) -> list[str]:
    return [
        str(column).removeprefix("share_") for column in table.columns if str(column).startswith("share_")
    ]


def _flat(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Shares as points of an equilateral triangle: first source left, second right, third on top."""
    shares = table[[f"share_{name}" for name in _names(table)]].to_numpy(float)
    return shares[:, 1] + 0.5 * shares[:, 2], np.sqrt(0.75) * shares[:, 2]


def _simplex(fig: Figure, ax: Axes, grid: pd.DataFrame, path: pd.DataFrame) -> None:
    shift, n = str(path["objective"].iloc[0]), float(grid["n"].iloc[0])
    x, y = _flat(grid)
    values = grid[f"margin_{shift}"].to_numpy(float)
    drawn = ax.tricontourf(x, y, values, levels=24, cmap="Blues")
    ax.tricontour(x, y, values, levels=np.asarray(drawn.levels)[::4], colors="white", linewidths=0.6)
    bar = fig.colorbar(drawn, ax=ax, shrink=0.75, pad=0.02, label=f"accuracy on “{shift}”")
    probit_axes(bar.ax, "y")
    shifts = shift_looks(str(name) for name in path["objective"].unique() if name != WORST)
    for objective, rows in path.groupby("objective", sort=False):
        colour, marker = shifts.get(str(objective), ("#E0007A", "*"))
        here = rows[np.isclose(rows["n"], n)]
        label = f"best for the {objective}" if objective == WORST else f"best for “{objective}”"
        px, py = _flat(rows.sort_values("n"))
        ax.plot(px, py, "-", color=colour, lw=1.3, zorder=2)
        hx, hy = _flat(here)
        ax.plot(
            hx,
            hy,
            marker,
            color=colour,
            mec="white",
            mew=0.9,
            ms=9,
            ls="none",
            label=label,
            zorder=4,
            clip_on=False,
        )
    places = ((0.0, -0.02, "top"), (1.0, -0.02, "top"), (0.5, 0.885, "bottom"))
    for name, (left, height, side) in zip(_names(grid), places, strict=True):
        ax.text(left, height, name, ha="center", va=side, weight="bold")
    ax.plot([0, 1, 0.5, 0], [0, 0, np.sqrt(0.75), 0], color="0.3", lw=0.8, zorder=1)
    ax.set(xlim=(-0.12, 1.12), ylim=(-0.13, 1.0), aspect="equal")
    ax.axis("off")
    ax.set_title(f"All mixtures of {n:,.0f} samples")
    ax.annotate(
        "lines: where the best mixture moves with n", (0.5, -0.02), (0, -1.6 * pt(9.5)), textcoords="offset points",
        ha="center", va="top", fontsize=pt(8.5), color="0.3",
    )  # fmt: skip
    panel_legend(
        ax,
        loc="upper left",
        bbox_to_anchor=(-0.05 if current_page().width is None else -0.4, 1.0),
        handletextpad=0.3,
    )


def _against_n(ax: Axes, path: pd.DataFrame) -> None:
    rows = path[path["objective"] == WORST].sort_values("n")
    shares = [rows[f"share_{name}"].to_numpy(float) for name in _names(path)]
    ax.stackplot(
        rows["n"],
        shares,
        colors=[colour for colour, _ in source_looks(_names(path)).values()],
        alpha=0.85,
        lw=0,
    )
    edges = np.cumsum([[0.0] * len(rows), *shares], axis=0)
    # Names where their band is widest, away from the edges.
    inner = np.arange(1, len(rows) - len(rows) // 5)
    for s, name in enumerate(_names(path)):
        widest = inner[shares[s][inner] > 0.98 * shares[s][inner].max()]
        at = int(widest[len(widest) // 2])
        ax.text(
            rows["n"].iloc[at], edges[s : s + 2, at].mean(), name, ha="center", va="center", weight="bold"
        )
    ax.set_xscale("log")
    ax.set(xlim=(rows["n"].iloc[0], rows["n"].iloc[-1]), ylim=(0, 1), xlabel="training samples n")
    ax.set_ylabel("share in the best mixture")
    ax.grid(False)
    ax.set_title(f"Best shares for the {WORST}")


def _rivals(ax: Axes, path: pd.DataFrame, margins: pd.DataFrame) -> None:
    rows = path[path["objective"] == WORST].sort_values("n")
    columns = dict(zip(RIVALS, ("margin", "margin_equal", "margin_single"), strict=True))
    for (name, column), colour, marker in zip(columns.items(), ("0.1", "0.4", "0.6"), MARKERS, strict=False):
        ax.plot(rows["n"], rows[column], color=colour, zorder=1)
        seen = margins[margins["mixture"] == name]
        # The worst shift is the one with the smallest mean margin, as in the objective.
        low = seen.loc[seen.groupby("n")["probit_simulated"].idxmin()]
        ax.errorbar(low["n"], low["probit_simulated"], yerr=low["probit_stderr"], ecolor=colour, **ERROR_BAR)
        ax.plot(
            low["n"],
            low["probit_simulated"],
            marker,
            color=colour,
            mec="white",
            mew=0.6,
            ms=6.5,
            label=name,
            zorder=3,
        )
    ax.set_xscale("log")
    ax.set(xlabel="training samples n", ylabel="accuracy on the worse shift")
    ax.set_title("Mixing well beats mixing equally and not mixing")
    probit_axes(ax, "y")
    panel_legend(ax, loc="lower right")


def _trade_off(ax: Axes, grid: pd.DataFrame, frontier: pd.DataFrame) -> None:
    first, second = list(dict.fromkeys(frontier["shift"]))
    ax.plot(
        grid[f"margin_{first}"],
        grid[f"margin_{second}"],
        ".",
        color="0.82",
        ms=2.5,
        zorder=0,
        label="mixtures",
    )
    x, y = (frontier[frontier["shift"] == shift].sort_values("place") for shift in (first, second))
    ax.plot(x["probit_leading"], y["probit_leading"], color="0.1", zorder=2, label="frontier, certified")
    xs, ys = x[x["probit_simulated"].notna()], y[y["probit_simulated"].notna()]
    ax.errorbar(
        xs["probit_simulated"],
        ys["probit_simulated"],
        xerr=xs["probit_stderr"],
        yerr=ys["probit_stderr"],
        ecolor="0.1",
        **ERROR_BAR,
    )
    ax.plot(
        xs["probit_simulated"],
        ys["probit_simulated"],
        "o",
        color="0.1",
        mec="white",
        mew=0.6,
        ms=6,
        zorder=3,
    )
    ends = (((8, -3), "left"), ((-8, -3), "right"), ((0, 8), "center"))
    for name, (offset, side) in zip(_names(grid), ends, strict=True):
        corner = grid[grid[f"share_{name}"] == 1.0]
        place = float(corner[f"margin_{first}"].iloc[0]), float(corner[f"margin_{second}"].iloc[0])
        ax.plot(place[0], place[1], "s", color="black", ms=6, zorder=4)
        ax.annotate(f"{name} only", place, offset, textcoords="offset points", ha=side)
    ax.margins(0.06, 0.08 if current_page().width is None else 0.18)
    ax.set(xlabel=f"accuracy on “{first}”", ylabel=f"accuracy on “{second}”")
    ax.set_title(f"What no mixture beats on both ({grid['n'].iloc[0]:,.0f} samples)")
    probit_axes(ax)
    panel_legend(ax, loc="lower left")

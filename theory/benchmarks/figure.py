"""The figure of the benchmark: ratios to peers, and a cost that does not know n or d. Reads the tables, nothing else."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from theory.benchmarks.tables import flatness
from theory.plotting import COLOURS, MARKERS, panel_letters, save_figure, use_style

if TYPE_CHECKING:
    import pandas as pd


def ratio_text(ratio: float) -> str:
    """A ratio with three digits and no exponent: 2,160,000 or 3.63."""
    return f"{float(f'{ratio:.3g}'):,.0f}" if ratio >= 100 else f"{ratio:.3g}"


def draw_benchmark(tables: "Mapping[str, pd.DataFrame]", stem: str | Path) -> list[Path]:
    """Draw what was measured.

    Args:
        tables: "benchmark" and "scaling", as the script writes them; one that is missing or empty is left out.
        stem: path without suffix.

    Returns:
        Paths of PNG and PDF; none if there is nothing to draw.
    """
    use_style()
    panels = [
        draw
        for name, draw in (("benchmark", _ratios), ("scaling", _scaling))
        if name in tables and len(tables[name])
    ]
    if not panels:
        return []
    heights = [max(2.2, 0.42 * len(tables["benchmark"]) + 1) if draw is _ratios else 2.6 for draw in panels]
    fig, axes = plt.subplots(len(panels), figsize=(7.4, sum(heights)), height_ratios=heights, squeeze=False)
    for ax, draw in zip(axes[:, 0], panels, strict=True):
        draw(ax, tables)
    panel_letters(list(axes[:, 0]))
    return save_figure(fig, stem)


def _ratios(ax: Axes, tables: "Mapping[str, pd.DataFrame]") -> None:
    table = tables["benchmark"].iloc[::-1].reset_index(drop=True)
    subjects = list(dict.fromkeys(tables["benchmark"]["name"]))
    colours = [COLOURS[subjects.index(name) % len(COLOURS)] for name in table["name"]]
    ax.barh(table.index, table["ratio"], color=colours, height=0.62)
    labels = [f"{name.split(' (')[0].replace(', n =', chr(10) + 'n =', 1)}" for name in table["name"]]
    ax.set_yticks(list(table.index), labels, fontsize=7)
    for place, row in enumerate(table.itertuples()):
        ax.annotate(
            f"{ratio_text(float(str(row.ratio)))} x  ({row.peer})",
            (max(float(str(row.ratio)), 1.0), place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
        )
    ax.set_xscale("log")
    ax.set_xlim(min(0.5, 0.5 * float(table["ratio"].min())), float(table["ratio"].max()) * 3e4)
    ax.axvline(1, color="0.3", linewidth=0.8)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("seconds of the peer over ours")
    ax.set_title("Times as fast as")


def _scaling(ax: Axes, tables: "Mapping[str, pd.DataFrame]") -> None:
    table = tables["scaling"]
    for (d, rows), colour, marker in zip(table.groupby("d"), COLOURS, MARKERS, strict=False):
        ax.plot(rows["n"], 1e3 * rows["seconds"], color=colour, marker=marker, label=f"d = {d:,}")
    ax.set_xscale("log")
    ax.set_ylim(0, 1.5e3 * float(table["seconds"].max()))
    ax.set_xlabel("training samples n")
    ax.set_ylabel("ms for 10,000 classifiers")
    ax.set_title(f"Exact sampler: largest over smallest cost {flatness(table):.2f}")
    ax.legend(ncols=3, loc="upper center")

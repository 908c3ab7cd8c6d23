"""How far a filter turns the line: the d' ratio of what it keeps, between the pool's own and the filter's own.

Use `draw_filter_turn` on `empirical.filter_prediction.predict_filtering`'s table.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from scipy.special import stdtrit

from empirical.errors import StudyError
from empirical.figures.elements import PALE, dot, legend_below, pool_label, readable
from theory.page import figure_size
from theory.plotting import panel_letters, save_figure, use_style
from theory.source_looks import source_looks

MOST_POOLS = 4
"""Pools that a figure has room for; of more every other one is drawn, and the rest in a second figure."""


def pools_of(filtering: pd.DataFrame) -> tuple[list[str], list[str]]:
    """The pools that were filtered: those of the first figure and the rest, each in the table's order."""
    every = [str(name) for name in pd.unique(filtering.loc[filtering["filter"] != "none", "sources"])]
    # Every other one: both figures show the whole range of shuffled captions.
    return (every, []) if len(every) <= MOST_POOLS else (every[::2], every[1::2])


def draw_filter_turn(
    filtering: pd.DataFrame, path_stem: str | Path, chosen: Sequence[str] | None = None
) -> list[Path]:
    """Write PATH_STEM.png and .pdf: one row per pool (its largest size; `chosen` ones, by default all), one column per shift.

    Horizontal axis: share kept; vertical: d' ratio of shift to reference, with 95% intervals over seeds (Student's t). Colours
    and markers are filters: joined markers are models trained on what the filter kept, the dashed line the filter's own models,
    crosses the frozen rule's predictions (Theorem 3, matched) where they could be made. Grey: the raw pool. Theorem 3 puts the
    markers between grey and dashed, nearer to dashed the less is kept. Returns the two paths.

    Raises StudyError where the table has no filtered pool.
    """
    largest = filtering[filtering["pool_size"] == filtering.groupby("sources")["pool_size"].transform("max")]
    kept = largest[largest["filter"] != "none"]
    if kept.empty:
        raise StudyError("no filtered pool in filtering.csv: nothing to draw")
    use_style()
    pools = list(pd.unique(kept["sources"]) if chosen is None else chosen)
    names = list(pd.unique(kept["shift"]))
    filters = sorted(pd.unique(kept["filter"]))
    looks = source_looks(filters)
    # A grid whose rows are pools: they stay whole on every page, so that columns can be compared.
    size = figure_size(2.3 * len(names) + 0.5, 1.95 * len(pools) + 0.8, rows=len(pools), extra=1.0)
    fig, axes = plt.subplots(
        len(pools), len(names), figsize=size, sharex=True, layout="constrained", squeeze=False
    )
    predicted = bool(kept["ratio_matched"].notna().any())
    for i, pool in enumerate(pools):
        for j, shift in enumerate(names):
            ax, cell = axes[i, j], largest[(largest["sources"] == pool) & (largest["shift"] == shift)]
            raw = cell[cell["filter"] == "none"]
            _points(ax, raw, PALE, "o", 0.0)
            if len(raw):
                ax.axhline(float(raw["ratio_measured"].iloc[0]), color=PALE, lw=0.9, zorder=1)
            for k, name in enumerate(filters):
                part = cell[cell["filter"] == name].sort_values("kept_share")
                if part.empty:
                    continue
                (colour, marker), beside = looks[str(name)], 0.016 * (k - (len(filters) - 1) / 2)
                _points(ax, part, colour, marker, beside)
                places = part["kept_share"] + beside
                ax.plot(places, part["ratio_matched"], "x", color=colour, ms=4.5, mew=1.1, zorder=5)
                own = float(part["ratio_of_filter"].iloc[0])
                ax.axhline(own, color=colour, lw=1.0, ls=(0, (4, 2)), zorder=1)
            if i == 0:
                ax.set_title(readable(shift), loc="left")
            if i == len(pools) - 1:
                ax.set_xlabel("share kept")
            if j == 0:
                words = pool_label(pool).replace(", ", ",\n") + "\nd′ ratio"
                # A name that is longer than its row would run into the next row's.
                room = (
                    0.75 * 72 * fig.get_figheight() / len(pools) / (0.58 * max(map(len, words.split("\n"))))
                )
                ax.set_ylabel(words, fontsize=min(plt.rcParams["axes.labelsize"], room))
            ax.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
    panel_letters(list(axes.ravel()))
    handles, words = [dot(PALE, line="-")], ["raw pool"]
    for name in filters:
        colour, marker = looks[str(name)]
        handles += [dot(colour, marker), Line2D([], [], color=colour, lw=1.0, ls=(0, (4, 2)))]
        words += [f"kept by the CLIP of {pool_label(name)}", f"CLIP of {pool_label(name)} itself"]
    if predicted:
        handles.append(Line2D([], [], marker="x", ls="none", color="black", ms=4.5))
        words.append("predicted (Theorem 3, matched)")
    legend_below(fig, handles, words)
    return save_figure(fig, path_stem)


def _points(ax: Axes, part: pd.DataFrame, colour: str, marker: str, beside: float) -> None:
    """Means with 95% intervals; a mean of one seed has none."""
    seeds = part["num_seeds"].to_numpy(float)
    error = part["ratio_measured_stderr"].to_numpy(float) * stdtrit(np.maximum(seeds - 1, 1), 0.975)
    ax.errorbar(
        part["kept_share"] + beside, part["ratio_measured"], yerr=np.where(np.isfinite(error), error, 0.0), fmt=marker,
        color=colour, ms=4.2, mec="white", mew=0.3, elinewidth=0.7, capsize=0, lw=0.6, ls="-", zorder=4,
    )  # fmt: skip

"""How well rules predict filtered pools: predicted against measured d' ratio, and each rule's error.

Use `draw_filter_rules` on `empirical.filter_prediction.predict_filtering`'s table and `empirical.filter_scoring`'s.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from empirical.errors import StudyError
from empirical.figures.elements import DARK, PALE, dot, legend_below, readable
from empirical.filter_prediction import TOLD_MORE
from empirical.scoring import ALL_SHIFTS
from theory.page import figure_size
from theory.plotting import panel_letters, save_figure, use_style
from theory.source_looks import Look, shift_looks

COMPARED = {
    "ratio_predicted": "Theorem 3, plain",
    "ratio_of_pool": "the raw pool's ratio",
    "ratio_matched": "Theorem 3, matched",
}
"""Columns of filtering.csv that are drawn against what was measured, and their words."""
RULE_WORDS = {
    "plain": "Theorem 3, plain",
    "kept_size": "at the kept size",
    "clean_size": "at the clean size",
    "matched": "matched (frozen rule)",
    "filter_matched": "matched, filter too",
    "unturned": "clean size, no turn",
    "filter_itself": "the filter's ratio",
    "raw_pool": "the raw pool's ratio",
    "raw_pool_turned": "raw pool + matched turn",
}


def draw_filter_rules(filtering: pd.DataFrame, scores: pd.DataFrame, path_stem: str | Path) -> list[Path]:
    """Write PATH_STEM.png and .pdf: predicted against measured ratio of every filtered cell, and the rules' errors.

    First three panels: one point per pool, filter, kept share and shift, by `COMPARED`; colours and markers are shifts, open
    points the pools that are not the largest, bars the measurement's standard error. Last: rms error over all shifts with its
    95% interval over pools, open where the rule is told a model trained on the pool; dashed, the noise of the measurement alone.

    Raises StudyError where nothing was predicted.
    """
    cells = filtering[(filtering["filter"] != "none") & filtering["ratio_predicted"].notna()]
    if cells.empty:
        raise StudyError("no filtered pool in filtering.csv has a prediction: nothing to draw")
    use_style()
    looks = shift_looks(pd.unique(cells["shift"]))
    size = figure_size(9.6, 3.1, rows=1, extra=0.7)
    fig, axes = plt.subplots(1, 4, figsize=size, layout="constrained", width_ratios=(1, 1, 1, 0.85))
    columns = ["ratio_measured", *COMPARED]
    low, high = np.nanquantile(cells[columns].to_numpy(float), [0, 1])
    margin = 0.04 * (high - low)
    largest = cells["pool_size"] == cells["pool_size"].max()
    for ax, (column, words) in zip(axes, COMPARED.items(), strict=False):
        for shift, look in looks.items():
            for part, filled in ((cells[~largest], False), (cells[largest], True)):
                _points(ax, part[part["shift"] == shift], column, look, filled)
        ax.axline((0, 0), slope=1, color=PALE, lw=0.8, zorder=1)
        ax.set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin), aspect="equal")
        error = cells[column] - cells["ratio_measured"]
        ax.set_title(f"{words}\nrms {np.sqrt((error**2).mean()):.3f}", loc="left")
        ax.set_xlabel("measured d′ ratio")
    axes[0].set_ylabel("predicted d′ ratio")
    _errors(axes[3], scores)
    panel_letters(list(axes))
    handles = [dot(*look) for look in looks.values()]
    words = [readable(shift) for shift in looks]
    if not largest.all():
        handles.append(dot(DARK, filled=False))
        words.append("smaller pools")
    if set(TOLD_MORE) & set(scores["rule"]):
        handles.append(dot(DARK, filled=False, line="-"))
        words.append("rule told a model trained on the pool")
    handles.append(Line2D([], [], color=PALE, lw=0.9, ls=(0, (4, 2))))
    words.append("noise of the measurement")
    legend_below(fig, handles, words)
    return save_figure(fig, path_stem)


def _points(ax: Axes, part: pd.DataFrame, column: str, look: Look, filled: bool) -> None:
    error, (colour, marker) = part["ratio_measured_stderr"].to_numpy(float), look
    ax.errorbar(
        part["ratio_measured"], part[column], xerr=np.where(np.isfinite(error), error, 0.0), fmt=marker, ms=3.0,
        color=colour, mfc=colour if filled else "white", mew=0.7, elinewidth=0.4, capsize=0, zorder=4 if filled else 3,
    )  # fmt: skip


def _errors(ax: Axes, scores: pd.DataFrame) -> None:
    table = scores[scores["shift"] == ALL_SHIFTS].set_index("rule")
    rules = [rule for rule in RULE_WORDS if rule in table.index]
    for place, rule in enumerate(reversed(rules)):
        row = table.loc[rule]
        ends = [row["rms"] - row["rms_low"], row["rms_high"] - row["rms"]]
        ax.errorbar(
            row["rms"], place, xerr=np.array(ends if np.isfinite(ends).all() else [0, 0])[:, None], fmt="o", ms=4.2,
            color=DARK, mfc="white" if rule in TOLD_MORE else DARK, elinewidth=0.9, zorder=4,
        )  # fmt: skip
    ax.axvline(float(table["noise_floor"].iloc[0]), color=PALE, lw=0.9, ls=(0, (4, 2)), zorder=1)
    ax.set_yticks(range(len(rules)), [RULE_WORDS[rule] for rule in reversed(rules)])
    ax.set_xlim(left=0)
    ax.set_ylim(-0.6, len(rules) - 0.4)
    ax.grid(axis="y", visible=False)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.set_title("all shifts, 95%", loc="left")
    ax.set_xlabel("rms error")

"""The designed mixture: recommended shares with intervals, and what it should reach beside what one would do without it.

Use `draw_design` on the tables of `empirical.design` and, where mixtures were trained at the budget, the study's accuracies.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from empirical.design import target_shifts
from empirical.figures.elements import (
    DARK,
    INK,
    PALE,
    dot,
    legend_below,
    mixture_label,
    readable,
    source_colours,
)
from empirical.group_means import group_means, ratio_stderr
from theory.plotting import panel_letters, save_figure, use_style

MOST_MEASURED = 10


def draw_design(
    design: pd.DataFrame,
    candidates: pd.DataFrame,
    accuracies: pd.DataFrame,
    path_stem: str | Path,
) -> list[Path]:
    """Write PATH_STEM.png and .pdf for one design (one shift and budget of `designs_table` and `candidates_table`).

    Left: the recommended share of each source (bar) and the central 95% of the optimum over draws of the measurement's errors
    (line). Right: d' on the shift (on the worst of several), predicted (filled, 95%) for the design, for equal shares and for
    each source alone, and measured (open, 95% from seeds and images) for the best mixtures trained with that many samples, at
    most 10. A design that is one source beyond doubt has no left panel. Returns the two paths.
    """
    use_style()
    target, budget = str(design["shift"].iloc[0]), int(design["budget"].iloc[0])
    measured = _measured(accuracies, target, budget)
    rows = _compared(candidates, target, measured)
    height = max(2.6, 0.24 * max(len(rows), len(design)) + 1.3)
    where = readable(target).replace("worst of ", "the worst of ")
    alone = sole_source(design)
    if alone:
        fig, ax = plt.subplots(figsize=(5.2, height), layout="constrained")
        ax.set_title(f"best: {readable(alone)} alone, {budget:,} samples", loc="left")
    else:
        fig, (left, ax) = plt.subplots(
            1, 2, figsize=(7.6, height), layout="constrained", width_ratios=[1, 1.25]
        )
        _shares(left, design)
        left.set_title(f"best mixture of {budget:,} samples", loc="left")
        ax.set_title("what it should reach", loc="left")
        panel_letters([left, ax])
    _heights(ax, rows)
    ax.set_xlabel(f"d′ on {where}")
    handles = [dot(DARK, "D"), dot(DARK), dot(DARK, filled=False)]
    labels = ["designed, predicted", "predicted", "measured"]
    used = [any(r[4] == k for r in rows) for k in ("designed", "predicted", "measured")]
    legend_below(
        fig,
        [h for h, u in zip(handles, used, strict=True) if u],
        [w for w, u in zip(labels, used, strict=True) if u],
    )
    return save_figure(fig, path_stem)


def sole_source(design: pd.DataFrame) -> str:
    """The source that is the whole design; empty for a mixture, and where the errors leave room for another source."""
    share, high = design["share"].to_numpy(float), design["share_high"].to_numpy(float)
    rest = np.fmax(share, np.where(np.isfinite(high), high, share))
    rest[share.argmax()] = 0.0
    return str(design["source"].iloc[share.argmax()]) if share.max() > 0.9995 and rest.max() < 5e-4 else ""


def _shares(ax: Axes, design: pd.DataFrame) -> None:
    order = design.iloc[::-1]
    colours = source_colours(list(design["source"]))
    y = np.arange(len(order))
    share, low, high = (100 * order[name].to_numpy(float) for name in ("share", "share_low", "share_high"))
    ax.barh(y, share, height=0.55, color=[colours[name] for name in order["source"]], alpha=0.85, zorder=2)
    drawn = np.isfinite(low)
    ax.hlines(y[drawn], low[drawn], high[drawn], color=INK, lw=1.0, zorder=3)
    for end in (low, high):
        ax.plot(end[drawn], y[drawn], "|", color=INK, ms=5, mew=1.0, zorder=3, clip_on=False)
    for place, value, top in zip(y, share, np.fmax(share, np.where(drawn, high, share)), strict=True):
        ax.annotate(
            f"{value:.1f}%", (top, place), (5, 0), textcoords="offset points", va="center", fontsize=7.5
        )
    ax.set_yticks(y, [readable(name) for name in order["source"]])
    ax.set_xlim(0, max(118.0 if np.nanmax([*share, *high]) > 85 else 1.25 * np.nanmax([*share, *high]), 10))
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    ax.set_xlabel("share of the samples in percent")


def _heights(ax: Axes, rows: list[tuple[str, float, float, float, str]]) -> None:
    y = np.arange(len(rows))[::-1]
    for place, (_, value, low, high, kind) in zip(y, rows, strict=True):
        colour = DARK if kind == "designed" else INK
        if np.isfinite(low):
            ax.hlines(place, low, high, color=colour, lw=1.0, zorder=2)
        marker = dot(colour, "D" if kind == "designed" else "o", kind != "measured", 4.2)
        marker.set_data([value], [place])
        marker.set_zorder(3)
        ax.add_line(marker)
    first_measured = sum(kind != "measured" for *_, kind in rows)
    if 0 < first_measured < len(rows):
        ax.axhline(len(rows) - first_measured - 0.5, color=PALE, lw=0.6, zorder=0)
    if rows:
        ax.axvline(rows[0][1], color=PALE, lw=0.7, ls=(0, (2, 2)), zorder=0)
    ax.set_yticks(y, [words for words, *_ in rows])
    ax.set_ylim(-0.7, len(rows) - 0.3)
    ends = [v for row in rows for v in row[1:4] if np.isfinite(v)]
    margin = 0.06 * (max(ends) - min(ends)) or 0.1
    ax.set_xlim(min(ends) - margin, max(ends) + margin)


def _compared(
    candidates: pd.DataFrame, target: str, measured: list[tuple[str, float, float, float, str]]
) -> list[tuple[str, float, float, float, str]]:
    """(label, d', low, high, kind) of what is drawn: predictions first, then measurements, each from the best down."""
    on_target = candidates[candidates["test_set"].isin(target_shifts(target))]
    rows = []
    for words, part in on_target.groupby("candidate", sort=False):
        worst = part.loc[part["dprime_predicted"].idxmin()]
        kind = "designed" if words == "designed" else "predicted"
        ends = (float(worst[name]) for name in ("dprime_predicted", "dprime_low", "dprime_high"))
        rows.append((readable(str(words)), *ends, kind))
    rows[1:] = sorted(rows[1:], key=lambda row: -row[1])
    return rows + measured


def _measured(
    accuracies: pd.DataFrame, target: str, budget: int
) -> list[tuple[str, float, float, float, str]]:
    """Mixtures trained with exactly the budget, from the best down."""
    if not (accuracies["n_train"] == budget).any():
        return []
    means = group_means(accuracies)
    at = [means.test_sets.index(name) for name in target_shifts(target)]
    seeds = means.seed_covariance("all", budget)
    rows = []
    for (kind, sources, _, n), group in means.groups.items():
        if n != budget or kind != "input_mixing" or not np.isfinite(group.mean[at]).all():
            continue
        worst = at[int(np.argmin(group.mean[at]))]
        half = 1.96 * ratio_stderr([group], np.eye(len(means.test_sets))[[worst]], seeds)
        value = float(group.mean[worst])
        rows.append((mixture_label(sources), value, value - half, value + half, "measured"))
    rows.sort(key=lambda row: -row[1])
    return rows[:MOST_MEASURED]

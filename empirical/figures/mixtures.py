"""Predictions and measurements on one plot: the figure of `experiments/clip_mixtures.py`.

Use `draw_predictions_vs_measurements` for sources, mixtures, ensembles and predictions, and `draw_filtering` for filtered
pools. Both draw whatever a study has so far.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from empirical.figures.accuracy_panel import (
    PIE_SIZES,
    AccuracyPanel,
    one_pair,
    places_on_axes,
    shown_mixtures,
)
from empirical.figures.elements import (
    DARK,
    INK,
    PALE,
    RULE_STYLE,
    cross_bars,
    dot,
    legend_below,
    mixture_label,
    percent_panel,
    readable,
    source_colours,
    square_panel,
)
from empirical.figures.filtering import draw_filtering
from empirical.prediction import BASELINES, PRIMARY_RULE, RULES, mixture_shares
from empirical.robustness import models_of_shift, shifts, with_link_errors
from theory.page import first_in_row, panels, pt, row_breaks
from theory.plotting import panel_letters, save_figure, use_style
from theory.source_looks import source_looks

__all__ = ["draw_filtering", "draw_predictions_vs_measurements"]


def draw_predictions_vs_measurements(
    accuracies: pd.DataFrame,
    trends: pd.DataFrame,
    predictions: pd.DataFrame,
    path_stem: str | Path,
    reference: str = "reference",
) -> list[Path]:
    """Write PATH_STEM.png and .pdf: what theory predicts and what training measured, one column per shift.

    Top row, probit axes in percent: single-source models (dots) with their fitted probit lines, mixtures as pies of their
    sources with 95% intervals (seeds and binomial error, from `predict_mixtures`; Clopper-Pearson of the pooled counts
    while a mixture has no prediction), ensembles of single-source models (crosses, mean over seeds, heads trained on n
    each), and predictions: the primary rule's (diamond, at the ensemble's place), tied to its mixture by the sources' d'
    lines averaged by share, and the mediant at its own place (square; left out of a crowd). Mixtures of one pair of sources
    have dashed curves instead: the prediction over the share, from one source to the other, at each n. A crowded study
    shows its largest n only, at most 14 mixtures evenly picked. With mixtures the panels are a closer look: smaller
    single-source models lie outside, and their lines lead in. A model with an accuracy of 0 or 1 is a bar that is open
    toward the frame.

    Bottom row: predicted against measured d' ratio of every rule and every mixture, with 95% error bars on the primary
    rule, drawn once there are predictions. Returns the two paths.
    """
    use_style()
    names = shifts(accuracies, reference)
    table = with_link_errors(accuracies)
    placed = places_on_axes(predictions, accuracies, reference)
    colours = source_colours(list(pd.unique(table.loc[table["kind"] == "single", "sources"])))
    rows, columns = 2 if len(predictions) else 1, max(len(names), 1)
    size = max(2.5 * columns, 5.0), 3.1 + 2.3 * (rows - 1) + 0.7
    fig, axes = panels(rows, columns, size, extra=1.4, layout="constrained", height_ratios=[1.35, 1.0][:rows])
    shown = shown_mixtures(table)
    lines = trends[(trends["kind"] == "single") & (trends["fit"] == "line")]
    num_open = 0
    for j, shift in enumerate(names):
        models, of_shift = models_of_shift(table, shift, reference), placed[placed["shift"] == shift]
        panel = AccuracyPanel(axes[j], models, lines[lines["shift"] == shift], of_shift, shown, colours)
        x, y = panel.draw()
        y_label = "accuracy under shift" if first_in_row(j, columns) else None
        percent_panel(axes[j], x, y, readable(shift), f"accuracy on {readable(reference)}", y_label)
        num_open += panel.open_ended.draw(axes[j])
        if rows == 2:
            _ratio_panel(axes[columns + j], of_shift, first=first_in_row(j, columns))
            if row_breaks(columns):
                axes[columns + j].set_title(readable(shift), loc="left")
    if names:
        panel_letters(axes)
    else:
        axes[0].set_axis_off()
        axes[0].text(0.5, 0.5, "no finished model yet", ha="center", va="center")
    _legend(fig, colours, table, predictions, shown, num_open)
    return save_figure(fig, path_stem)


def _ratio_panel(ax: Axes, rows: pd.DataFrame, first: bool) -> None:
    """Predicted against measured d' ratio: points of the rules, error bars on the primary one."""
    rms: dict[str, str] = {}
    # Hundreds of mixtures would hide one another.
    scale = min(1.0, np.sqrt(60 / max(1, int((rows["rule"] == PRIMARY_RULE).sum()))))
    for rule in [*BASELINES, *(r for r in reversed(RULES) if r not in BASELINES)]:
        part = rows[rows["rule"] == rule]
        part = part[np.isfinite(part["ratio_predicted"]) & np.isfinite(part["ratio_measured"])]
        if part.empty:
            continue
        colour, marker, filled, _ = RULE_STYLE[rule]
        primary = rule == PRIMARY_RULE
        x, y = part["ratio_predicted"].to_numpy(float), part["ratio_measured"].to_numpy(float)
        if primary:
            bars = [
                1.96 * np.nan_to_num(part[f"ratio_{end}_stderr"].to_numpy(float))
                for end in ("predicted", "measured")
            ]
            cross_bars(ax, x, y, bars, INK, lw=0.5, alpha=0.6 * scale**2, zorder=3)
        ax.plot(
            x, y, marker, ms=scale * (3.6 if primary else 3.2), mfc=colour if filled else "none",
            mec="none" if filled and scale < 1 else colour, mew=0.7 * scale, ls="none", zorder=6 if primary else 4,
        )  # fmt: skip
        rms[rule] = f"{readable(rule)} {np.sqrt(np.mean((x - y) ** 2)):.3f}"
    values = rows[["ratio_predicted", "ratio_measured"]].to_numpy(float)
    ends = 1.96 * np.nan_to_num(rows[["ratio_predicted_stderr", "ratio_measured_stderr"]].to_numpy(float))
    ends = np.where((rows["rule"] == PRIMARY_RULE).to_numpy()[:, None], ends, 0.0)
    square_panel(ax, values - ends, values + ends, 0.05)
    ax.axline((0, 0), slope=1, color=PALE, lw=0.8, zorder=1)
    order = [rms[rule] for rule in (PRIMARY_RULE, *(r for r in RULES if r != PRIMARY_RULE)) if rule in rms]
    pairs = [" · ".join(order[i : i + 2]) for i in range(0, len(order), 2)]
    ax.set_xlabel("predicted d′ ratio")
    ax.annotate(
        "rms error: " + "\n".join(pairs), (0.5, 0), (0, -34), xycoords="axes fraction", textcoords="offset points",
        ha="center", va="top", fontsize=pt(7), color=INK, annotation_clip=False,
    )  # fmt: skip
    if first:
        ax.set_ylabel("measured d′ ratio")


def _legend(
    fig: Figure,
    colours: dict[str, str],
    table: pd.DataFrame,
    predictions: pd.DataFrame,
    shown: list[tuple[str, int]],
    num_open: int,
) -> None:
    handles: list = [dot(*look, line="-", size=3.6) for look in source_looks(colours).values()]
    labels = [readable(name) for name in colours]
    mixtures = list(dict.fromkeys(sources for sources, _ in shown))
    sizes = sorted({n for _, n in shown})
    if mixtures:
        pair = [colours.get(name, PALE) for name in list(mixture_shares(mixtures[0]))[:2]]
        what = (
            f"mixture {mixture_label(mixtures[0])}, measured" if len(mixtures) == 1 else "mixture, measured"
        )
        pies = [(PIE_SIZES[1], f" (n = {sizes[-1]:,})")]
        if len(sizes) > 1:
            smaller = f"{sizes[0]:,}" if len(sizes) == 2 else f"{sizes[0]:,} to {sizes[-2]:,}"
            pies.insert(0, (PIE_SIZES[0], f" (n = {smaller})"))
        for size, words in pies:
            half = dot(pair[0], size=size)
            # A pie's first slice lies on the right.
            half.set(
                fillstyle="right", markerfacecoloralt=pair[-1], markeredgecolor="white", markeredgewidth=0.4
            )
            handles.append(half)
            labels.append(what + words)
    if (table["heads_n_train"] == "each").any():
        handles.append(dot(INK, "x", size=4.0))
        labels.append("ensemble of single-source models")
    if len(predictions):
        curves = one_pair(mixtures) is not None
        if shown and not curves:
            crowded = len(shown) > 4
            handles.append(
                Line2D([], [], color=PALE if crowded else DARK, lw=0.9, ls="-" if crowded else "--")
            )
            labels.append("a mixture's predicted line")
        for rule in [PRIMARY_RULE, *(r for r in RULES if r != PRIMARY_RULE)]:
            colour, marker, filled, label = RULE_STYLE[rule]
            dashed = curves and rule in (PRIMARY_RULE, "mediant")
            handles.append(dot(colour, marker, filled, size=3.6, line="--" if dashed else "none"))
            labels.append(label if rule in BASELINES else f"predicted: {label}")
    legend_below(fig, handles, labels, num_open)

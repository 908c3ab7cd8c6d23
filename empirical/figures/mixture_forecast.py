"""Forecasts of mixtures as a figure: where each would stand, and which would be best.

Use `draw_mixture_forecast`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from empirical.figures.elements import (
    DARK,
    PALE,
    RULE_STYLE,
    OpenEnded,
    dot,
    legend_below,
    line_between,
    mixture_label,
    mixture_marker,
    percent_panel,
    probit_of,
    readable,
    source_colours,
)
from empirical.prediction import mixture_shares
from empirical.robustness import models_of_shift, shifts, with_link_errors
from theory.plotting import panel_letters, save_figure, use_style
from theory.source_looks import source_looks

_MOST_PIES = 14
_MOST_ROWS = 12
_RULES = ("lines", "mediant", "quadrature", "interpolated")


def draw_mixture_forecast(
    accuracies: pd.DataFrame, forecast: pd.DataFrame, path_stem: str | Path, reference: str, rule: str
) -> list[Path]:
    """Write PATH_STEM.png and .pdf: one column per shift, at the largest size of the forecast.

    Top, probit axes in percent: single-source models (from three sizes on with a line) and forecast mixtures as pies of their
    sources at `rule`'s place, with 95% intervals of the accuracy under shift (at most 14, evenly picked). Bottom: the mixtures
    with the largest forecast d' ratio (up to 12), every rule with its 95% interval, beside each source's own ratio (lines).
    """
    use_style()
    names = shifts(accuracies, reference)
    n_train = int(forecast["n_train"].max())
    table = with_link_errors(accuracies[accuracies["kind"] == "single"])
    colours = source_colours(list(pd.unique(table["sources"])))
    part = forecast[forecast["n_train"] == n_train]
    height = min(_MOST_ROWS, part["sources"].nunique())
    fig, axes = plt.subplots(
        2, max(len(names), 1), figsize=(max(3.5 * len(names), 5.8) + 0.6, 3.1 + 0.27 * height + 1.2), layout="constrained",
        squeeze=False, height_ratios=[3.0, 0.27 * height + 0.4],
    )  # fmt: skip
    num_open = 0
    for j, shift in enumerate(names):
        of_shift = part[part["shift"] == shift]
        num_open += _plane(
            axes[0, j], models_of_shift(table, shift, reference), of_shift, colours, shift, reference, rule, j
        )
        _ratios(axes[1, j], models_of_shift(table, shift, reference), of_shift, colours, n_train, rule)
    panel_letters(list(axes.flat))
    handles: list = [dot(*look, line="-") for look in source_looks(colours).values()]
    words = [readable(name) for name in colours]
    handles.append(dot(DARK, "o"))
    words.append(f"mixture (pie of its sources), forecast by {RULE_STYLE[rule][3]}, n = {n_train:,}")
    shown = [name for name in _RULES if name in set(part["rule"])]
    for name in shown:
        colour, marker, filled, text = RULE_STYLE[name]
        handles.append(dot(colour, marker, filled))
        words.append(text)
    handles.append(Line2D([], [], color=PALE, lw=1.0, ls="--"))
    words.append("source's own ratio")
    legend_below(fig, handles, words, num_open)
    return save_figure(fig, path_stem)


def _plane(
    ax: Axes,
    models: pd.DataFrame,
    forecast: pd.DataFrame,
    colours: dict[str, str],
    shift: str,
    reference: str,
    rule: str,
    j: int,
) -> int:
    open_ended, x, y = OpenEnded(), [], []
    for source, (colour, marker) in source_looks(colours).items():
        part = models[
            (models["group"] == source) & np.isfinite(models["x_probit"]) & np.isfinite(models["y_probit"])
        ]
        px, py = part["x_probit"].to_numpy(float), part["y_probit"].to_numpy(float)
        if part["n_train"].nunique() >= 3 and np.ptp(px) > 0:  # a line needs three sizes, as everywhere
            slope, intercept = np.polyfit(px, py, 1)
            line_between(ax, float(intercept), float(slope), px, color=colour, lw=0.9, zorder=2)
        ax.plot(
            part["x_probit"], part["y_probit"], marker, ms=3.4, color=colour, mec="white", mew=0.3, zorder=3
        )
        ends = open_ended.add(models[models["group"] == source], colour)
        x += [part["x_probit"].to_numpy(float), ends[0]]
        y += [part["y_probit"].to_numpy(float), ends[1]]
    rows = forecast[forecast["rule"] == rule]
    if len(rows) > _MOST_PIES:
        rows = rows.iloc[np.unique(np.linspace(0, len(rows) - 1, _MOST_PIES).round().astype(int))]
    for _, row in rows.iterrows():
        place, low, middle, high = (
            float(v)
            for v in probit_of(
                row[["accuracy_ref", "accuracy_shift_low", "accuracy_shift", "accuracy_shift_high"]].to_numpy(
                    float
                )
            )
        )
        if not np.isfinite([place, middle]).all():
            continue
        if np.isfinite([low, high]).all():
            ax.errorbar(
                place, middle, yerr=[[middle - low], [high - middle]], ecolor=DARK, elinewidth=0.9, capsize=4.5,
                fmt="none", zorder=4,
            )  # fmt: skip
            x.append(np.array([place, place]))
            y.append(np.array([low, high]))
        mixture_marker(ax, place, middle, mixture_shares(str(row["sources"])), colours, size=6.0)
        x.append(np.array([place]))
        y.append(np.array([middle]))
    percent_panel(
        ax, np.concatenate(x), np.concatenate(y), readable(shift), f"accuracy on {readable(reference)}",
        "accuracy under shift" if j == 0 else None, least_margin=0.02,
    )  # fmt: skip
    return open_ended.draw(ax)


def _ratios(
    ax: Axes, models: pd.DataFrame, forecast: pd.DataFrame, colours: dict[str, str], n_train: int, rule: str
) -> None:
    """Forecast d' ratios of the most robust mixtures, by rule."""
    order = (
        forecast[forecast["rule"] == rule].sort_values("ratio", ascending=False)["sources"].head(_MOST_ROWS)
    )
    for source, colour in colours.items():
        part = models[(models["group"] == source) & (models["n_train"] == n_train)]
        if len(part) and part["x_dprime"].mean() > 0:
            ax.axvline(
                part["y_dprime"].mean() / part["x_dprime"].mean(), color=colour, lw=0.9, ls="--", zorder=1
            )
    offsets = dict(zip(_RULES, np.linspace(-0.27, 0.27, len(_RULES)), strict=True))
    for i, sources in enumerate(order):
        for name in _RULES:
            row = forecast[(forecast["sources"] == sources) & (forecast["rule"] == name)]
            if row.empty:
                continue
            colour, marker, filled, _ = RULE_STYLE[name]
            ratio, low, high = (float(row[key].iloc[0]) for key in ("ratio", "ratio_low", "ratio_high"))
            ax.plot([low, high], [i + offsets[name]] * 2, color=colour, lw=0.7, zorder=2)
            ax.plot(
                ratio,
                i + offsets[name],
                marker,
                ms=3.4,
                mec=colour,
                mfc=colour if filled else "white",
                mew=0.8,
                zorder=3,
            )
    ax.set_yticks(range(len(order)), [short_label(sources) for sources in order], fontsize=6.0)
    ax.set_ylim(max(len(order), 1) - 0.4, -0.6)
    ax.set_xlabel("forecast d′ ratio")


def short_label(sources: str) -> str:
    """`mixture_label` in two lines, names of four sources or more cut to their first letters."""
    shares = mixture_shares(sources)
    if len(shares) > 3:
        return " + ".join(readable(name)[:4].strip() for name in shares)
    return mixture_label(sources).replace(" (", "\n(")


def pick_rule(forecast: pd.DataFrame, preferred: Sequence[str] = ("lines", "mediant")) -> str:
    """The first of the preferred rules that has a forecast."""
    there = set(forecast["rule"])
    return next((rule for rule in preferred if rule in there), str(forecast["rule"].iloc[0]))

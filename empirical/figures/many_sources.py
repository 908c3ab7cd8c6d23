"""Mixtures of three sources and more: all of them, and all but one; use `draw_many_sources`."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from empirical.figures.elements import (
    INK,
    RULE_STYLE,
    dot,
    legend_below,
    mixture_marker,
    readable,
)
from empirical.group_tables import ratio_table
from empirical.prediction import BASELINES, RULES, mixture_shares
from empirical.robustness import shifts
from theory.page import figure_size
from theory.plotting import panel_letters, save_figure, use_style
from theory.source_looks import Look, source_looks

_BAND = "#E4E4E4"
#: Lanes of a row: the measured mixture in the middle, rules and baselines above and below it.
_LANES = (0.3, 0.15, -0.13, -0.25, -0.37)
_SHIFT_OF_RULE = dict(zip(RULES, _LANES, strict=True))


def many_source_mixtures(ratios: pd.DataFrame) -> list[str]:
    """Names of the input mixtures of three sources or more, most sources first."""
    names = pd.unique(ratios.loc[ratios["kind"] == "input_mixing", "sources"])
    return sorted(
        (str(name) for name in names if len(mixture_shares(str(name))) > 2),
        key=lambda s: -len(mixture_shares(s)),
    )


def left_out_source(mixture: str, sources: list[str]) -> str:
    """The one source that a leave-one-out mixture lacks; empty for any other mixture."""
    absent = [name for name in sources if name not in mixture_shares(mixture)]
    return absent[0] if len(absent) == 1 else ""


def draw_many_sources(
    accuracies: pd.DataFrame,
    predictions: pd.DataFrame,
    path_stem: str | Path,
    reference: str = "reference",
    overlaps: pd.DataFrame | None = None,
) -> list[Path]:
    """Write the figure: a column per shift, a row per mixture of three sources or more, d' ratios across.

    Pies are the measured ratio at the mixture's largest n with its 95% interval, small symbols what each rule and baseline
    predicted with the interval of the primary one, ticks with the sources' markers their own ratios at the same n, on a grey
    band from the least to the most robust: Theorem 2 keeps the mixture inside. `overlaps`: of the study, for the errors.
    Returns the paths.
    """
    use_style()
    ratios, names = ratio_table(accuracies, reference, overlaps), shifts(accuracies, reference)
    sources = list(pd.unique(accuracies.loc[accuracies["kind"] == "single", "sources"]))
    looks, mixtures = source_looks(sources), many_source_mixtures(ratios)
    rows, columns = max(len(mixtures), 1), max(len(names), 1)
    from matplotlib import pyplot as plt

    size = figure_size(max(2.7 * columns, 5.0), 0.62 * rows + 1.9, rows=1)
    size = (size[0], 0.5 * rows + 1.9) if size[0] < 8 else size
    fig, axes = plt.subplots(1, columns, figsize=size, layout="constrained", squeeze=False, sharey=True)
    mixed = ratios[(ratios["kind"] == "input_mixing") & ratios["sources"].isin(mixtures)]
    largest = {int(n) for n in mixed.groupby("sources")["n_train"].max()}
    # Of several sizes each row names its own.
    words = f", n = {largest.pop():,}" if len(largest) == 1 else ""
    for ax, shift in zip(axes.flat, names, strict=False):
        for row, mixture in enumerate(mixtures):
            _row(
                ax,
                rows - 1 - row,
                ratios[ratios["shift"] == shift],
                predictions[predictions["shift"] == shift],
                mixture,
                looks,
            )
        ax.set_title(f"{readable(shift)}{words}", loc="left")
        ax.set(xlabel="d′ ratio", ylim=(-0.6, rows - 0.4))
        ax.grid(axis="y", visible=False)
    axes[0, 0].set_yticks(
        range(rows)[::-1],
        [_label(mixture, sources) + _size(mixed, mixture, words) for mixture in mixtures]
        or ["none measured"],
    )
    panel_letters(list(axes.flat))
    handles: list[Line2D | Patch] = [dot(*look, size=4.2) for look in looks.values()]
    labels = [f"{readable(name)} alone" for name in looks]
    handles.append(Patch(color=_BAND))
    labels.append("between the sources")
    for rule in RULES:
        colour, marker, filled, words = RULE_STYLE[rule]
        handles.append(dot(colour, marker, filled, size=3.8))
        labels.append(words if rule in BASELINES else f"predicted: {words}")
    legend_below(fig, handles, labels)
    return save_figure(fig, path_stem)


def _label(mixture: str, sources: list[str]) -> str:
    shares = mixture_shares(mixture)
    absent = left_out_source(mixture, sources)
    if len(shares) == len(sources):
        return f"all {len(sources)}"
    return f"all but\n{readable(absent)}" if absent else f"{len(shares)} sources"


def _size(mixed: pd.DataFrame, mixture: str, title: str) -> str:
    """The mixture's size in words, unless the titles name one for all."""
    return "" if title else f"\nn = {int(mixed.loc[mixed['sources'] == mixture, 'n_train'].max()):,}"


def _row(
    ax: Axes, at: int, ratios: pd.DataFrame, predictions: pd.DataFrame, mixture: str, looks: dict[str, Look]
) -> None:
    measured = ratios[(ratios["kind"] == "input_mixing") & (ratios["sources"] == mixture)]
    if measured.empty:
        return
    best = measured.loc[measured["n_train"].idxmax()]
    n, shares = int(best["n_train"]), mixture_shares(mixture)
    single = ratios[
        (ratios["kind"] == "single") & (ratios["n_train"] == n) & ratios["sources"].isin(list(shares))
    ]
    if len(single):
        ends = single["ratio"].min(), single["ratio"].max()
        ax.fill_betweenx([at - 0.42, at + 0.42], *ends, color=_BAND, lw=0, zorder=0)
        for name, ratio in zip(single["sources"], single["ratio"], strict=True):
            colour, marker = looks[str(name)]
            ax.plot([ratio, ratio], [at - 0.42, at + 0.42], color=colour, lw=1.3, zorder=1)
            ax.plot(ratio, at + 0.42, marker, ms=4.2, color=colour, mec="white", mew=0.3, zorder=2.5)
    own = predictions[(predictions["sources"] == mixture) & (predictions["n_train"] == n)].set_index("rule")
    for rule, offset in _SHIFT_OF_RULE.items():
        if rule not in own.index or not np.isfinite(own.loc[rule, "ratio_predicted"]):
            continue
        colour, marker, filled, _ = RULE_STYLE[rule]
        value, error = own.loc[rule, "ratio_predicted"], own.loc[rule, "ratio_predicted_stderr"]
        if np.isfinite(error):
            ax.errorbar(
                value,
                at + offset,
                xerr=1.96 * error,
                fmt="none",
                ecolor=colour,
                elinewidth=0.7,
                capsize=0,
                zorder=2,
            )
        ax.plot(
            value,
            at + offset,
            marker,
            ms=3.8,
            mfc=colour if filled else "white",
            mec=colour,
            mew=0.8,
            zorder=3,
        )
    bars = [[best["ratio"] - best["ratio_low"]], [best["ratio_high"] - best["ratio"]]]
    if np.all(np.isfinite(bars)):
        ax.errorbar(
            best["ratio"], at, xerr=bars, fmt="none", ecolor=INK, elinewidth=1.1, capsize=2.5, zorder=4
        )
    colours = {name: colour for name, (colour, _) in looks.items()}
    mixture_marker(ax, float(best["ratio"]), at, shares, colours, size=8.0, zorder=5)

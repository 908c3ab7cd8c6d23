"""Pairs of sources: robustness of their mixtures at every share, between the sources, with what each rule predicts.

Use `draw_pairs`; `pairs_of` lists the pairs of a table.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from empirical.figures.elements import (
    INK,
    RULE_STYLE,
    dot,
    legend_below,
    mixture_marker,
    readable,
    source_colours,
)
from empirical.group_tables import ratio_table
from empirical.prediction import BASELINES, PRIMARY_RULE, RULES, mixture_shares, predict_ratio
from empirical.robustness import shifts
from theory.links import dprime, dprime_inverse
from theory.page import current_page, figure_size
from theory.plotting import panel_letters, percent_ticks, save_figure, use_style
from theory.source_looks import source_looks

MOST_PAIRS = 8
"""Pairs that a figure has room for; more are drawn in a second one."""
_ANCHOR = 0.7
"""Reference accuracy at which a d' ratio is told as an accuracy under shift."""


def pairs_of(table: pd.DataFrame) -> dict[tuple[str, str], dict[float, str]]:
    """(first, second) source -> share of the second -> the mixture's name in the table, pairs with most shares first."""
    pairs: dict[tuple[str, str], dict[float, str]] = {}
    for sources in pd.unique(table.loc[table["kind"] == "input_mixing", "sources"]):
        shares = mixture_shares(str(sources))
        if len(shares) == 2:
            first, second = sorted(shares)
            pairs.setdefault((first, second), {})[shares[second]] = str(sources)
    return dict(sorted(pairs.items(), key=lambda item: -len(item[1])))


def draw_pairs(
    accuracies: pd.DataFrame,
    trends: pd.DataFrame,
    predictions: pd.DataFrame,
    path_stem: str | Path,
    reference: str = "reference",
    chosen: Sequence[tuple[str, str]] | None = None,
    overlaps: pd.DataFrame | None = None,
) -> list[Path]:
    """Write the figure: a row per pair of sources, a column per shift; the d' ratio against the second source's share.

    Pies are measured mixtures at the pair's largest n, discs at both ends its sources at the same n, with 95% intervals.
    Curves are what the rules say at every share, from the sources alone (`predict_ratio`); the primary rule's diamonds are
    read at the ensemble's place where there is one (`predict_mixtures`), so they may lie off its curve. The right axis says
    what a ratio means: accuracy under shift of a model with 70% reference accuracy. `chosen`: keys of `pairs_of` to draw
    (default: all). `overlaps`: of the study, for the errors. Returns the paths.
    """
    use_style()
    ratios, names = ratio_table(accuracies, reference, overlaps), shifts(accuracies, reference)
    every = pairs_of(ratios)
    pairs = {pair: every[pair] for pair in (every if chosen is None else chosen)}
    colours = source_colours(list(pd.unique(accuracies.loc[accuracies["kind"] == "single", "sources"])))
    classes = accuracies.drop_duplicates("test_set").set_index("test_set")["num_classes"]
    lines = trends[(trends["kind"] == "single") & (trends["link"] == "dprime") & (trends["fit"] == "line")]
    rows, columns = max(len(pairs), 1), max(len(names), 1)
    fig, axes = _grid(rows, columns)
    for i, (pair, mixtures) in enumerate(pairs.items()):
        for j, shift in enumerate(names):
            ax = axes[i * columns + j]
            of_shift, of_lines = (
                ratios[ratios["shift"] == shift],
                lines[lines["shift"] == shift].set_index("sources"),
            )
            of_pair = predictions[predictions["shift"] == shift]
            n = largest_common_size(of_shift, pair, mixtures)
            _pair(ax, of_shift, of_lines, of_pair, pair, mixtures, colours, n)
            if i == 0:
                ax.set_title(readable(shift), loc="left")
            if i == rows - 1:
                ax.set_xlabel("share of second")
            if j == 0:
                words = f"{readable(pair[0])}\n→ {readable(pair[1])}" + (f"\nn = {n:,}" if n else "")
                longest = max(map(len, words.split("\n")))
                # A name that is longer than its row would run into the next row's.
                room = 0.8 * 72 * fig.get_figheight() / rows / (0.56 * longest)
                ax.set_ylabel(words, fontsize=min(plt.rcParams["axes.labelsize"], room))
            _accuracy_axis(ax, int(classes[reference]), int(classes[shift]), last=j == columns - 1)
    panel_letters(axes[:columns])
    fig.supylabel("d′ ratio of shift to reference", fontsize="medium")
    shown = {name for pair in pairs for name in pair}
    handles = [dot(*look) for name, look in source_looks(colours).items() if name in shown]
    labels = [readable(name) for name in colours if name in shown]
    for rule in [PRIMARY_RULE, *(r for r in RULES if r not in (PRIMARY_RULE, "best_source"))]:
        colour, _, _, words = RULE_STYLE[rule]
        handles.append(dot(colour, "D" if rule == PRIMARY_RULE else "", line=_dash(rule), size=3.4))
        labels.append(words if rule in BASELINES else f"predicted: {words}")
    legend_below(fig, handles, labels)
    return save_figure(fig, path_stem)


def _grid(rows: int, columns: int):
    # Shares have the same axis in every panel: narrow panels do, so that a page keeps one column per shift.
    size = figure_size(max(2.5 * columns, 5.0), 1.5 * rows + 1.2)
    size = (size[0], min(1.25 * rows + 1.3, current_page().height)) if size[0] < 8 else size
    fig, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, sharex=True)
    return fig, list(axes.flat)


def largest_common_size(ratios: pd.DataFrame, pair: tuple[str, str], mixtures: Mapping[float, str]) -> int:
    """The largest n at which the pair is mixed and both sources are measured; 0 where there is none."""
    single = ratios[ratios["kind"] == "single"]
    mixed = ratios[(ratios["kind"] == "input_mixing") & ratios["sources"].isin(list(mixtures.values()))]
    sizes = set(mixed["n_train"]).intersection(
        *(set(single.loc[single["sources"] == name, "n_train"]) for name in pair)
    )
    return int(max(sizes, default=0))


def _dash(rule: str) -> str:
    return {"mediant": "-", "quadrature": "-.", PRIMARY_RULE: "--"}.get(rule, ":")


def _pair(
    ax: Axes,
    ratios: pd.DataFrame,
    lines: pd.DataFrame,
    predictions: pd.DataFrame,
    pair: tuple[str, str],
    mixtures: dict[float, str],
    colours: dict[str, str],
    n: int,
) -> None:
    """One panel, everything at one n; 0 where there is none at which the pair is mixed and both sources are measured."""
    mixed = ratios[(ratios["kind"] == "input_mixing") & ratios["sources"].isin(mixtures.values())]
    single = ratios[ratios["kind"] == "single"]
    if not n:
        ax.text(0.5, 0.5, "not measured", ha="center", va="center", transform=ax.transAxes, color=INK)
        return
    ends = [single[(single["sources"] == name) & (single["n_train"] == n)].iloc[0] for name in pair]
    values = [(float(end["dprime_ref"]), float(end["dprime_ref"] * end["ratio"])) for end in ends]
    fits = [tuple(lines.loc[name, ["intercept", "slope"]]) for name in pair if name in lines.index]
    grid = np.linspace(0, 1, 41)
    for rule in (r for r in RULES if r != "best_source"):
        if rule == PRIMARY_RULE and len(fits) < 2:
            continue
        curve = [
            predict_ratio(rule, (1 - s, s), values, fits if rule == PRIMARY_RULE else ())[0] for s in grid
        ]
        ax.plot(grid, curve, color=RULE_STYLE[rule][0], lw=1.0, ls=_dash(rule), zorder=2)
    primary = predictions[(predictions["rule"] == PRIMARY_RULE) & (predictions["n_train"] == n)].set_index(
        "sources"
    )
    for share, end in zip((0.0, 1.0), ends, strict=True):
        _interval(ax, share, end)
        colour, marker = source_looks(colours)[str(end["sources"])]
        ax.plot(share, end["ratio"], marker, ms=5.5, color=colour, mec="white", mew=0.4, zorder=5)
    for share, name in mixtures.items():
        row = mixed[(mixed["sources"] == name) & (mixed["n_train"] == n)]
        if len(row):
            _interval(ax, share, row.iloc[0])
            mixture_marker(
                ax, share, float(row["ratio"].iloc[0]), mixture_shares(name), colours, size=6.2, zorder=5.5
            )
        if name in primary.index:
            ax.plot(
                share,
                primary.loc[name, "ratio_predicted"],
                "D",
                ms=2.8,
                color=RULE_STYLE[PRIMARY_RULE][0],
                zorder=4,
            )
    ax.set_xlim(-0.06, 1.06)
    ax.set_xticks([0, 0.5, 1], ["0%", "50%", "100%"])
    ax.yaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]))


def _interval(ax: Axes, x: float, row: pd.Series) -> None:
    bars = [[row["ratio"] - row["ratio_low"]], [row["ratio_high"] - row["ratio"]]]
    if np.all(np.isfinite(bars)):
        ax.errorbar(x, row["ratio"], yerr=bars, fmt="none", ecolor=INK, elinewidth=0.8, capsize=1.6, zorder=3)


def _accuracy_axis(ax: Axes, of_reference: int, of_shift: int, last: bool) -> None:
    """On the right: a ratio as the accuracy under shift of a model with a reference accuracy of 70%."""
    anchor = float(dprime(_ANCHOR, of_reference))
    twin = ax.secondary_yaxis("right")
    percent_ticks(
        twin.yaxis,
        lambda accuracy: np.asarray(dprime(np.asarray(accuracy, dtype=float), of_shift)) / anchor,
        lambda ratio: np.asarray(dprime_inverse(np.asarray(ratio, dtype=float) * anchor, of_shift)),
    )
    twin.tick_params(labelsize="x-small", length=2.0, colors="0.35")
    if last:
        twin.set_ylabel(f"at {_ANCHOR:.0%} reference", color="0.35", fontsize="small")

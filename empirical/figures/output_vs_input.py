"""Mixing outputs against mixing inputs: one model trained on pooled samples beside an ensemble of single-source models.

Use `draw_output_vs_input`; `mixing_pairs` gives the table behind it.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from empirical.figures.elements import (
    INK,
    PALE,
    cross_bars,
    dot,
    finite_bars,
    legend_below,
    mixture_marker,
    percent_panel,
    probit_of,
    readable,
    source_colours,
)
from empirical.group_tables import dprime_table, ratio_table
from empirical.prediction import mixture_shares
from empirical.robustness import shifts
from theory.page import first_in_row, panels, row_breaks
from theory.plotting import panel_letters, save_figure, use_style

HEADS = {"each": "heads trained on n samples each", "share": "heads trained on their share of n"}


def mixing_pairs(ratios: pd.DataFrame) -> pd.DataFrame:
    """Ratios of input and output mixing side by side: sources, n_train, shift, heads and input_*, output_* columns."""
    values = ["ratio", "ratio_low", "ratio_high", "ratio_stderr", "dprime_ref"]
    keys = ["sources", "n_train", "shift"]
    trained = ratios[ratios["kind"] == "input_mixing"][[*keys, *values]].rename(
        columns={v: f"input_{v}" for v in values}
    )
    averaged = ratios[ratios["kind"] == "output_mixing"][[*keys, "heads", *values]].rename(
        columns={v: f"output_{v}" for v in values}
    )
    return trained.merge(averaged, on=keys)


def draw_output_vs_input(
    accuracies: pd.DataFrame, path_stem: str | Path, reference: str = "reference"
) -> list[Path]:
    """Write the figure: robustness of both kinds of mixing above, their places in the plane of accuracies below.

    Top: d' ratio of the ensemble of averaged logits against that of the model trained on the mixture, 95% intervals, every
    mixture and size. Theorem 2b puts both on the same line, so points lie on the diagonal. Bottom, probit axes in percent, the
    largest n: pies are input mixtures, tied to their ensembles by arrows: an ensemble whose heads saw n samples each moves up
    the line. Returns the paths.
    """
    use_style()
    names = shifts(accuracies, reference)
    pairs, places = mixing_pairs(ratio_table(accuracies, reference)), dprime_table(accuracies, reference)
    colours = source_colours(list(pd.unique(accuracies.loc[accuracies["kind"] == "single", "sources"])))
    columns = max(len(names), 1)
    fig, axes = panels(2, columns, (max(2.55 * columns, 5.0), 5.7), extra=1.0, layout="constrained")
    for j, shift in enumerate(names):
        first = first_in_row(j, columns)
        _agreement(axes[j], pairs[pairs["shift"] == shift], colours, first)
        axes[j].set_title(readable(shift), loc="left")
        _places(axes[columns + j], places, shift, reference, colours, first)
        if row_breaks(columns):
            axes[columns + j].set_title(readable(shift), loc="left")
    panel_letters(axes)
    handles, labels = [dot(colour) for colour in colours.values()], [readable(name) for name in colours]
    for marker, words in (("s", HEADS["each"]), ("o", HEADS["share"])):
        handles.append(dot(INK, marker, filled=marker == "s", size=4.0))
        labels.append(f"ensemble, {words}")
    handles.append(dot(INK, "o", size=6.0))
    labels.append("pie: one model trained on the mixture")
    legend_below(fig, handles, labels)
    return save_figure(fig, path_stem)


def _agreement(ax: Axes, pairs: pd.DataFrame, colours: dict[str, str], first: bool) -> None:
    for heads, rows in pairs.groupby("heads", sort=False):
        x, y = rows["input_ratio"].to_numpy(float), rows["output_ratio"].to_numpy(float)
        bars = [
            finite_bars(*(rows[f"{kind}_ratio{end}"].to_numpy(float) for end in ("_low", "", "_high")))
            for kind in ("input", "output")
        ]
        cross_bars(ax, x, y, bars, PALE, lw=0.5, alpha=0.7, zorder=2)
        filled = heads == "each"
        ax.plot(
            x,
            y,
            "s" if filled else "o",
            ms=4.0,
            mfc=INK if filled else "white",
            mec=INK,
            mew=0.8,
            ls="none",
            zorder=4,
        )
    ax.axline((0.5, 0.5), slope=1, color=PALE, lw=0.8, zorder=1)
    ax.set_xlabel("d′ ratio, input mixing")
    if first:
        ax.set_ylabel("d′ ratio, output mixing")


def _places(
    ax: Axes, places: pd.DataFrame, shift: str, reference: str, colours: dict[str, str], first: bool
) -> None:
    """Places of the largest n at which mixtures were trained, and arrows to their ensembles of heads on n each."""
    mixed = places[places["kind"] == "input_mixing"]
    n = int(mixed["n_train"].max()) if len(mixed) else 0
    seen = [np.empty((2, 0))]
    for sources in pd.unique(mixed.loc[mixed["n_train"] == n, "sources"]):
        start = _place(places, "input_mixing", str(sources), n, shift, reference, "")
        if start is None:
            continue
        (x, y), bars = start
        ax.errorbar(
            x, y, xerr=bars[0], yerr=bars[1], fmt="none", ecolor=PALE, elinewidth=0.6, capsize=0, zorder=2
        )
        mixture_marker(ax, x, y, mixture_shares(str(sources)), colours, size=5.8, zorder=5)
        seen.append(np.array([[x], [y]]))
        for heads, marker in (("each", "s"), ("share", "o")):
            end = _place(places, "output_mixing", str(sources), n, shift, reference, heads)
            if end is None:
                continue
            ax.plot([x, end[0][0]], [y, end[0][1]], color=PALE, lw=0.7, zorder=1)
            ax.plot(
                *end[0], marker, ms=3.8, mfc=INK if heads == "each" else "white", mec=INK, mew=0.8, zorder=4
            )
            seen.append(np.array([[end[0][0]], [end[0][1]]]))
    x, y = np.concatenate(seen, axis=1)
    percent_panel(
        ax, x, y, "", f"accuracy on {readable(reference)}", "accuracy under shift" if first else None
    )


def _place(
    places: pd.DataFrame, kind: str, sources: str, n: int, shift: str, reference: str, heads: str
) -> tuple[tuple[float, float], list[np.ndarray]] | None:
    own = places[
        (places["kind"] == kind)
        & (places["sources"] == sources)
        & (places["n_train"] == n)
        & (places["heads"] == heads)
    ].set_index("test_set")
    if not {shift, reference} <= set(own.index):
        return None
    middle, bars = [], []
    for name in (reference, shift):
        low, value, high = (
            probit_of(np.array([own.loc[name, f"accuracy{end}"]])) for end in ("_low", "", "_high")
        )
        middle.append(float(value[0]))
        bars.append(finite_bars(low, value, high))
    return ((middle[0], middle[1]), bars) if np.all(np.isfinite(middle)) else None

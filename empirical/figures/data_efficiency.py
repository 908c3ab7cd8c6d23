"""What more data of each source buys: accuracy on every test set against the number of training samples.

Use `draw_data_efficiency`.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from empirical.figures.elements import DARK, dot, finite_bars, legend_below, readable
from empirical.group_tables import dprime_table
from empirical.robustness import growth_exponents, shifts
from theory.links import dprime, dprime_inverse
from theory.page import current_page, first_in_row, panels, pt
from theory.plotting import panel_letters, percent_ticks, save_figure, use_style
from theory.source_looks import Look, source_looks


def draw_data_efficiency(
    accuracies: pd.DataFrame, path_stem: str | Path, reference: str = "reference"
) -> list[Path]:
    """Write the figure: a panel per test set, accuracy against n, both on axes on which a power law is straight.

    The vertical axis is log d', ticked in percent, the horizontal one log n; points are means over seeds with 95% intervals,
    lines the fitted growth d' = c n^e with its exponent, and the dashed guide grows as the square root of n, which bounds
    Theorem 1. Means with d' <= 0 (at chance or below) have no place on this axis and are counted in the panel. Returns the
    paths.
    """
    use_style()
    single = accuracies[accuracies["kind"] == "single"]
    names, sources = [reference, *shifts(accuracies, reference)], list(pd.unique(single["sources"]))
    places, growth = dprime_table(single, reference), growth_exponents(single)
    looks = source_looks(sources)
    # Five panels: three abreast on the screen, and the last cell holds the exponents.
    columns = min(3, len(names) + 1)
    rows = -(-(len(names) + 1) // columns)
    fig, axes = panels(
        rows, columns, (3.2 * columns, 2.7 * rows + 0.5), extra=0.6, flow=True, layout="constrained"
    )
    for i, (ax, name) in enumerate(zip(axes, names, strict=False)):
        _panel(ax, places[places["test_set"] == name], growth[growth["test_set"] == name], looks)
        ax.set_title(readable(name), loc="left")
        ax.set_xlabel("training samples n")
        if first_in_row(i % columns, columns):
            ax.set_ylabel("accuracy")
    _exponents(axes[len(names)], growth, names, looks)
    for ax in axes[len(names) + 1 :]:
        ax.set_axis_off()
    panel_letters(axes[: len(names) + 1])
    handles = [dot(*look, line="-") for look in looks.values()]
    legend_below(fig, [*handles, dot(DARK, "", line="--")], [*map(readable, looks), "guide: d′ grows as √n"])
    return save_figure(fig, path_stem)


def _panel(ax: Axes, places: pd.DataFrame, growth: pd.DataFrame, looks: dict[str, Look]) -> None:
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    classes = int(places["num_classes"].iloc[0])
    exponents = growth.set_index("sources")
    kept, lost = [], 0
    for source, (colour, marker) in looks.items():
        own = places[places["sources"] == source].sort_values("n_train")
        on_axis = own["dprime"].to_numpy(float) > 0
        lost += int((~on_axis).sum())
        own = own[on_axis]
        n, value = own["n_train"].to_numpy(float), own["dprime"].to_numpy(float)
        half = 1.96 * np.nan_to_num(own["dprime_stderr"].to_numpy(float))
        # A lower end at or below chance reaches the frame, which is as far as this axis goes.
        bars = finite_bars(np.maximum(value - half, 1e-3), value, value + half)
        ax.errorbar(
            n, value, yerr=bars, fmt="none", ecolor=colour, elinewidth=0.7, capsize=0, alpha=0.7, zorder=2
        )
        ax.plot(
            n,
            value,
            marker,
            ms=4.2,
            color=colour,
            mec="white",
            mew=0.4,
            ls="none",
            zorder=4,
        )
        kept.append(np.stack([n, value]))
        if source in exponents.index and len(n) > 1:
            e, c = (float(exponents.loc[source, name]) for name in ("exponent", "coefficient"))
            ends = np.array([n[0], n[-1]])
            ax.plot(ends, c * ends**e, color=colour, lw=1.0, zorder=3)
    n, value = np.concatenate(kept, axis=1)
    ax.set_xlim(n.min() / 1.2, n.max() * 1.2)
    ax.set_ylim(value.min() / 1.15, value.max() * 1.15)
    _guide(ax, n, value)
    powers = [2.0**k for k in range(int(np.ceil(np.log2(n.min()))), int(np.log2(n.max())) + 1)]
    every = 1 if current_page().width is None else 2
    ax.xaxis.set_major_locator(FixedLocator(powers[::-every]))
    ax.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    ax.xaxis.set_minor_locator(NullLocator())
    percent_ticks(
        ax.yaxis, lambda a: np.asarray(dprime(a, classes)), lambda d: np.asarray(dprime_inverse(d, classes))
    )
    ax.yaxis.set_minor_formatter(NullFormatter())
    if lost:
        ax.text(
            0.98,
            0.03,
            f"{lost} at chance or below, not shown",
            transform=ax.transAxes,
            ha="right",
            fontsize=pt(7),
            color="0.4",
        )


def _guide(ax: Axes, n: np.ndarray, value: np.ndarray) -> None:
    """A line of slope 1/2 above the data, where it hides none of them."""
    ends = np.array([n.min(), n.max()])
    lift = np.max(value / np.sqrt(n)) * 1.12
    ax.plot(ends, lift * np.sqrt(ends), color=DARK, lw=0.9, ls="--", zorder=1)


def _exponents(ax: Axes, growth: pd.DataFrame, names: list[str], looks: dict[str, Look]) -> None:
    """Exponents with 95% intervals: a group of rows per test set, the theory's bound as a line."""
    count = len(looks)
    for i, name in enumerate(names):
        for k, (source, (colour, marker)) in enumerate(looks.items()):
            own = growth[(growth["test_set"] == name) & (growth["sources"] == source)]
            if own.empty:
                continue
            e, low, high = (float(own[f"exponent{end}"].iloc[0]) for end in ("", "_low", "_high"))
            at = -i + 0.38 - 0.76 * k / max(count - 1, 1)
            ax.errorbar(
                e, at, xerr=[[e - low], [high - e]], fmt="none", ecolor=colour, elinewidth=0.8, capsize=0
            )
            ax.plot(e, at, marker, ms=3.4, color=colour, mec="white", mew=0.3)
    ax.axvline(0.5, color=DARK, lw=0.9, ls="--", zorder=1)
    ax.set_yticks([-i for i in range(len(names))], [readable(name) for name in names])
    ax.set(ylim=(-len(names) + 0.5, 0.5), xlabel="growth dlog d′/dlog n")
    ax.set_title("growth, 95% intervals", loc="left")
    ax.grid(axis="y", visible=False)

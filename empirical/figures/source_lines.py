"""How robust each source is: lines of its single-source models on every shift, and their slopes with intervals.

Use `draw_source_lines`.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from empirical.figures.elements import (
    INK,
    OpenEnded,
    cross_bars,
    dot,
    finite_bars,
    legend_below,
    percent_panel,
    probit_of,
    readable,
)
from empirical.group_tables import dprime_table
from empirical.line_fits import LineFit
from empirical.robustness import fits_of_groups, models_of_shift, shifts, with_link_errors
from theory.page import first_in_row, panels, row_breaks
from theory.plotting import panel_letters, save_figure, use_style
from theory.source_looks import source_looks

MARKER_SIZES = (2.6, 7.0)
"""Points across: markers of the smallest and of the largest n."""


def draw_source_lines(
    accuracies: pd.DataFrame, trends: pd.DataFrame, path_stem: str | Path, reference: str = "reference"
) -> list[Path]:
    """Write the figure: one column per shift, models with their lines above, slopes below.

    Top, probit axes in percent: means over seeds of each source at each n (markers grow with n, 95% bars), and the fitted
    probit line with its 95% band over the range of its models. Bottom: slope of the ray through the origin in d', which is
    Theorem 1's robustness, with its 95% interval. A model with an accuracy of 0 or 1 is a bar that is open toward the frame.
    Returns the paths.
    """
    use_style()
    single = accuracies[accuracies["kind"] == "single"]
    names, sources = shifts(accuracies, reference), list(pd.unique(single["sources"]))
    looks = source_looks(sources)
    places = dprime_table(single, reference)
    fits = {
        (group, shift): fit
        for (_, group, shift, _, _), fit in fits_of_groups(
            single, reference, links=("probit",), fits=("line",)
        )
    }
    rays = trends[(trends["kind"] == "single") & (trends["link"] == "dprime") & (trends["fit"] == "ray")]
    columns = max(len(names), 1)
    size = max(2.6 * columns, 5.0), 5.4
    fig, axes = panels(2, columns, size, extra=1.0, layout="constrained", height_ratios=[1.6, 1.0])
    table, num_open = with_link_errors(single), 0
    for j, shift in enumerate(names):
        models = models_of_shift(table, shift, reference)
        open_ended, seen = OpenEnded(), []
        for source, (colour, marker) in looks.items():
            seen.append(_points(axes[j], places, source, shift, reference, colour, marker))
            own = models[models["group"] == source]
            seen.append(open_ended.add(own, colour))
            if (source, shift) in fits:
                _line(axes[j], fits[source, shift], own["x_probit"].to_numpy(float), colour)
        first = first_in_row(j, columns)
        x, y = np.concatenate(seen, axis=1)
        percent_panel(
            axes[j],
            x,
            y,
            readable(shift),
            f"accuracy on {readable(reference)}",
            "accuracy under shift" if first else None,
        )
        num_open += open_ended.draw(axes[j])
        _slopes(axes[columns + j], rays[rays["shift"] == shift].set_index("sources"), looks, first)
        if row_breaks(columns):
            axes[columns + j].set_title(readable(shift), loc="left")
    panel_letters(axes)
    sizes = sorted({int(n) for n in single["n_train"]})
    handles = [dot(colour, marker, line="-") for colour, marker in looks.values()]
    labels = [readable(name) for name in looks]
    for n in dict.fromkeys((sizes[0], sizes[-1])):
        handles.append(dot(INK, "o", size=_marker_size(n, sizes)))
        labels.append(f"n = {n:,}")
    legend_below(fig, handles, labels, num_open)
    return save_figure(fig, path_stem)


def _marker_size(n: int, sizes: list[int]) -> float:
    """Between the smallest and the largest, even in log n."""
    if len(sizes) < 2:
        return MARKER_SIZES[1]
    along = np.log(n / sizes[0]) / np.log(sizes[-1] / sizes[0])
    return float(MARKER_SIZES[0] + along * (MARKER_SIZES[1] - MARKER_SIZES[0]))


def _points(
    ax: Axes, places: pd.DataFrame, source: str, shift: str, reference: str, colour: str, marker: str
) -> np.ndarray:
    """Means over seeds of one source at each n with 95% bars; returns their places (2, points) in probit."""
    own = places[places["sources"] == source]
    both = own[own["test_set"] == reference].merge(
        own[own["test_set"] == shift], on="n_train", suffixes=("_x", "_y")
    )
    sizes = sorted({int(n) for n in places["n_train"]})
    middle, bars = [], []
    for axis in "xy":
        low, value, high = (
            probit_of(both[f"accuracy{end}_{axis}"].to_numpy(float)) for end in ("_low", "", "_high")
        )
        middle.append(value)
        bars.append(finite_bars(low, value, high))
    x, y = middle
    cross_bars(ax, x, y, bars, colour, lw=0.6, alpha=0.55, zorder=3)
    for n, *place in zip(both["n_train"], x, y, strict=True):
        size = _marker_size(int(n), sizes)
        ax.plot(*place, marker, ms=size, mfc=colour, mec="white", mew=0.3, ls="none", zorder=4)
    return np.stack([x, y])


def _line(ax: Axes, fit: LineFit, x: np.ndarray, colour: str) -> None:
    """The fitted line over its models, with the 95% band of its height."""
    finite = x[np.isfinite(x)]
    grid = np.linspace(finite.min(), finite.max(), 40)
    band = np.array([fit.interval((1.0, at)) for at in grid])
    ax.fill_between(grid, band[:, 0], band[:, 1], color=colour, alpha=0.13, lw=0, zorder=1)
    ax.plot(grid, fit.intercept + fit.slope * grid, color=colour, lw=1.2, zorder=2)


def _slopes(ax: Axes, rays: pd.DataFrame, looks: dict[str, tuple[str, str]], first: bool) -> None:
    """Slope of each source's ray with its 95% interval, one row per source."""
    rows = np.arange(len(looks))[::-1]
    for row, (source, (colour, marker)) in zip(rows, looks.items(), strict=True):
        if source not in rays.index:
            continue
        slope, low, high = (float(rays.loc[source, f"slope{end}"]) for end in ("", "_low", "_high"))
        ax.errorbar(
            slope,
            row,
            xerr=[[slope - low], [high - slope]],
            fmt="none",
            ecolor=colour,
            elinewidth=1.2,
            capsize=2.0,
        )
        ax.plot(slope, row, marker, ms=5, color=colour, mec="white", mew=0.4, zorder=4)
    ax.set(ylim=(-0.7, len(looks) - 0.3), xlabel="slope of the d′ ray")
    ax.set_yticks(rows, [readable(name) for name in looks] if first else [""] * len(looks))
    ax.grid(axis="y", visible=False)

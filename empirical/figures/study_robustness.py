"""Effective robustness of a study's single sources and mixtures, against one reference and against several.

Use `draw_study_robustness` on the table of `empirical.study_robustness.study_effective_robustness`.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from empirical.figures.elements import DARK, INK, PALE, dot, legend_below, readable
from theory.page import current_page
from theory.plotting import panel_letters, save_figure, use_style
from theory.source_looks import shift_looks


def draw_study_robustness(table: pd.DataFrame, path_stem: str | Path) -> list[Path]:
    """Write PATH_STEM.png and .pdf: one panel per shift, single sources from top to bottom, one marker per set of references.

    Points are accuracy above the line of single-source models, in percentage points, with 95% intervals; short strokes are the
    input mixtures against the same references, on the line below the sources. Returns the two paths.
    """
    use_style()
    shifts = [str(name) for name in pd.unique(table["shift"])]
    sets = [str(name) for name in pd.unique(table["references"])]
    sources = [str(name) for name in pd.unique(table.loc[table["kind"] == "single", "group"])]
    columns = max(1, min(2, len(shifts)))
    rows = -(-len(shifts) // columns) or 1
    height = 0.95 + 0.36 * (len(sources) + 1)
    page = current_page()
    size = 3.8 * columns, height * rows + 0.5
    if page.width is not None:  # rows are read across: two panels abreast on every page
        size = page.width, min(page.height, 0.8 * size[1])
    fig, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, sharey=True)
    # Sets differ in the test set beside the reference, so they look like it.
    styles = {**shift_looks(sets[1:]), sets[0]: (DARK, "X")}
    styles = {name: styles[name] for name in sets}
    for ax, shift in zip(axes.flat, shifts, strict=False):
        _panel(ax, table[table["shift"] == shift], sources, sets, styles)
        ax.set_title(readable(shift), loc="left")
    for ax in axes[-1]:
        ax.set_xlabel("effective robustness in points")
    for ax in list(axes.flat)[len(shifts) :]:
        ax.set_axis_off()
    panel_letters([ax for ax in axes.flat if ax.axison])
    labels = [f"against {readable(name.replace('+', ' and '))}" for name in sets]
    handles = [dot(*look, size=4.0) for look in styles.values()]
    if (table["kind"] == "input_mixing").any():
        handles.append(dot(INK, "|", size=5.0))
        labels.append("each mixture, against the same references")
    legend_below(fig, handles, labels)
    return save_figure(fig, path_stem)


def _panel(
    ax: Axes, table: pd.DataFrame, sources: list[str], sets: list[str], styles: dict[str, tuple[str, str]]
) -> None:
    mixtures = table[table["kind"] == "input_mixing"]
    names = [*sources, *(["mixtures"] if len(mixtures) else [])]
    shown = [name for name in sets if (table["references"] == name).any()]
    for i, name in enumerate(shown):
        colour, marker = styles[name]
        offset = (i - (len(shown) - 1) / 2) * 0.72 / max(len(shown), 1)
        part = (
            table[(table["references"] == name) & (table["kind"] == "single")]
            .set_index("group")
            .reindex(sources)
        )
        y = np.arange(len(sources)) + offset
        value, low, high = (
            100 * part[f"effective_robustness{end}"].to_numpy(float) for end in ("", "_low", "_high")
        )
        ax.hlines(y, low, high, color=colour, lw=0.9, zorder=2)
        ax.plot(value, y, marker, ms=3.6, color=colour, ls="none", zorder=3)
        mixed = 100 * mixtures.loc[mixtures["references"] == name, "effective_robustness"].to_numpy(float)
        ax.plot(
            mixed,
            np.full(len(mixed), len(sources) + offset),
            "|",
            ms=5,
            color=colour,
            mew=0.7,
            alpha=0.7,
            zorder=2,
        )
    ax.axvline(0, color=DARK, lw=0.8, ls=(0, (3, 2)), zorder=1)
    ax.set_yticks(range(len(names)), [readable(name) for name in names])
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(visible=False, axis="y")
    for edge in np.arange(len(names) - 1) + 0.5:
        ax.axhline(edge, color=PALE, lw=0.4, zorder=0)

"""Where predictions fail and what the theory assumes: growth, overlaps, weights per target and biases, per test set.

Use `draw_diagnosis` on the table of `empirical.diagnosis.diagnose`; panels whose rows the table lacks are left out.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from empirical.figures.elements import (
    DARK,
    INK,
    PALE,
    RULE_STYLE,
    dot,
    legend_below,
    readable,
)
from theory.page import panels
from theory.plotting import panel_letters, save_figure, use_style
from theory.source_looks import Look, source_looks

BIASES: dict[str, tuple[str, str, bool, str]] = {
    **{f"bias of {rule}": RULE_STYLE[rule] for rule in ("mediant", "quadrature", "lines")},
    "bias of place from overlap": (INK, "P", True, "place from overlap"),
    "bias, class by class": ("#A0174B", "X", True, "mediant, class by class"),
    "bias, weights per target, in sample": (
        "#7A7A7A",
        "*",
        True,
        "weights per target (fitted to these mixtures)",
    ),
}
"""Diagnostic -> colour, marker, filled, words."""


def bias_size(diagnosis: pd.DataFrame) -> int:
    """The size at which biases are compared: the largest at which the most of `BIASES` are known; 0 where there is none."""
    found = diagnosis[diagnosis["diagnostic"].isin(BIASES) & diagnosis["n_train"].notna()]
    kinds = found.groupby("n_train")["diagnostic"].nunique()
    return int(kinds[kinds == kinds.max()].index.max()) if len(kinds) else 0


def growth_rows(diagnosis: pd.DataFrame) -> pd.DataFrame:
    """Growth from the smallest mixture's size on; over all sizes in a table that lacks it."""
    judged = diagnosis[diagnosis["diagnostic"] == "growth where judged"]
    return judged if len(judged) else diagnosis[diagnosis["diagnostic"] == "growth"]


def draw_diagnosis(diagnosis: pd.DataFrame, path_stem: str | Path) -> list[Path]:
    """Write PATH_STEM.png and .pdf; error bars are 95% intervals.

    Growth exponents of each source on each test set from the smallest mixture's size on (filled), over all sizes (bar) and
    the growth that the noise between its seeds allows (open), with the theory's bound of 1/2; intercepts of the sources'
    lines in d', expected at 0; overlap of a source with itself (filled) and the mean with the others (open); weight of each
    source on a shift over its weight on the reference; bias of each rule in d' ratio, all at one size (`bias_size`). Returns
    the two paths.
    """
    use_style()
    drawn = [
        (name, draw)
        for name, draw, needed in (
            ("growth dlog d′/dlog n", _growth, "growth"),
            ("intercept of the d′ line", _intercepts, "intercept"),
            ("overlap of scores", _overlap, "own overlap"),
            ("weight, over the reference's", _weights, "weight per target"),
            (f"bias of the d′ ratio at n = {bias_size(diagnosis):,}", _biases, "bias of mediant"),
        )
        if (diagnosis["diagnostic"] == needed).any()
    ]
    columns = min(2, max(len(drawn), 1))
    rows = -(-len(drawn) // columns) or 1
    fig, axes = panels(
        rows, columns, (3.8 * columns, 2.75 * rows + 0.7), extra=0.9, flow=True, layout="constrained"
    )
    single = diagnosis[diagnosis["diagnostic"].isin(["growth", "intercept"])]
    looks = source_looks(pd.unique(single["sources"]))
    used: list[str] = []
    for ax, (title, draw) in zip(axes, drawn, strict=False):
        used += draw(ax, diagnosis, looks)
        ax.set_title(title, loc="left")
    for ax in axes[len(drawn) :]:
        ax.set_axis_off()
    panel_letters(axes[: len(drawn)])
    handles = [dot(*look) for look in looks.values()]
    labels = [readable(name) for name in looks]
    letters = {draw: letter for (_, draw), letter in zip(drawn, "abcdefgh", strict=False)}
    opened = [
        f"{words} ({letters[draw]})"
        for name, draw, words in (
            ("growth from overlap", _growth, "growth by noise alone"),
            ("overlap", _overlap, "overlap with others"),
        )
        if draw in letters and (diagnosis["diagnostic"] == name).any()
    ]
    if opened:
        handles.append(dot(INK, filled=False))
        labels.append(f"open: {', '.join(opened)}")
    if _growth in letters and (diagnosis["diagnostic"] == "growth where judged").any():
        handles.append(Line2D([], [], color=INK, marker="_", ms=6, ls="none"))
        labels.append(f"bar: growth over all sizes ({letters[_growth]})")
    for name in dict.fromkeys(used):
        colour, marker, filled, words = BIASES[name]
        handles.append(dot(colour, marker, filled))
        labels.append(words)
    legend_below(fig, handles, labels)
    return save_figure(fig, path_stem)


def _spread(count: int, index: int) -> float:
    """Offset of one of several series about a category's middle."""
    return (index - (count - 1) / 2) * 0.7 / max(count, 1)


def _points(
    ax: Axes, x: np.ndarray, part: pd.DataFrame, colour: str, marker: str = "o", filled: bool = True
) -> None:
    value, low, high = (part[name].to_numpy(float) for name in ("value", "low", "high"))
    drawn = np.isfinite(low) & np.isfinite(high)
    ax.vlines(x[drawn], low[drawn], high[drawn], color=colour, lw=0.9, zorder=2)
    size = 5.5 if marker == "*" else 4.0
    ax.plot(
        x, value, marker, ms=size, mfc=colour if filled else "white", mec=colour, mew=0.9, ls="none", zorder=3
    )


def _categories(ax: Axes, names: list[str]) -> None:
    ax.set_xticks(range(len(names)), [readable(name) for name in names])
    ax.set_xlim(-0.5, len(names) - 0.5)
    ax.grid(visible=False, axis="x")
    for edge in np.arange(len(names) - 1) + 0.5:
        ax.axvline(edge, color=PALE, lw=0.4, zorder=0)


def _by_source(
    ax: Axes,
    table: pd.DataFrame,
    looks: dict[str, Look],
    names: list[str],
    filled: bool = True,
    shift: float = 0.0,
) -> None:
    for i, (source, (colour, marker)) in enumerate(looks.items()):
        part = table[(table["sources"] == source) & table["test_set"].isin(names)]
        x = np.array([names.index(name) for name in part["test_set"]]) + _spread(len(looks), i) + shift
        _points(ax, x, part, colour, marker, filled)


def _bars(ax: Axes, table: pd.DataFrame, looks: dict[str, Look], names: list[str]) -> None:
    """Short bars without intervals, above or below the points of the same source."""
    for i, (source, (colour, _)) in enumerate(looks.items()):
        part = table[(table["sources"] == source) & table["test_set"].isin(names)]
        x = np.array([names.index(name) for name in part["test_set"]]) + _spread(len(looks), i)
        ax.plot(x, part["value"], "_", ms=5.5, mew=1.1, color=colour, ls="none", zorder=3)


def _order(diagnosis: pd.DataFrame) -> list[str]:
    """Test sets, the reference (which only growth and overlaps speak of) first."""
    every = [str(name) for name in pd.unique(diagnosis["test_set"])]
    lines = [str(n) for n in pd.unique(diagnosis.loc[diagnosis["diagnostic"] == "intercept", "test_set"])]
    return [n for n in every if n not in lines] + lines


def _growth(ax: Axes, diagnosis: pd.DataFrame, looks: dict[str, Look]) -> list[str]:
    names = _order(diagnosis)
    _by_source(
        ax,
        diagnosis[diagnosis["diagnostic"] == "growth from overlap"],
        looks,
        names,
        filled=False,
        shift=0.05,
    )
    judged = growth_rows(diagnosis)
    _by_source(ax, judged, looks, names)
    if set(judged["diagnostic"]) != {"growth"}:
        _bars(ax, diagnosis[diagnosis["diagnostic"] == "growth"], looks, names)
    ax.axhline(0.5, color=DARK, lw=0.8, ls=(0, (3, 2)), zorder=1)
    ax.annotate("bound", (1, 0.5), (2, 0), xycoords=("axes fraction", "data"), textcoords="offset points", va="center",
                fontsize=7, annotation_clip=False)  # fmt: skip
    _categories(ax, names)
    return []


def _intercepts(ax: Axes, diagnosis: pd.DataFrame, looks: dict[str, Look]) -> list[str]:
    table = diagnosis[diagnosis["diagnostic"] == "intercept"]
    names = [name for name in _order(diagnosis) if name in set(table["test_set"])]
    ax.axhline(0.0, color=DARK, lw=0.8, ls=(0, (3, 2)), zorder=1)
    _by_source(ax, table, looks, names)
    _categories(ax, names)
    return []


def _overlap(ax: Axes, diagnosis: pd.DataFrame, looks: dict[str, Look]) -> list[str]:
    names = _order(diagnosis)
    pairs = diagnosis[diagnosis["diagnostic"] == "overlap"]
    rows = []
    for source in looks:
        with_source = pairs[[source in str(words).split("+") for words in pairs["sources"]]]
        for test_set, part in with_source.groupby("test_set", sort=False):
            rows.append((test_set, source, part["value"].mean(), np.nan, np.nan))
    others = pd.DataFrame(rows, columns=["test_set", "sources", "value", "low", "high"])
    _by_source(ax, others, looks, names, filled=False)
    _by_source(ax, diagnosis[diagnosis["diagnostic"] == "own overlap"], looks, names)
    _categories(ax, names)
    return []


def _weights(ax: Axes, diagnosis: pd.DataFrame, looks: dict[str, Look]) -> list[str]:
    table = diagnosis[diagnosis["diagnostic"] == "weight per target"]
    names = [name for name in _order(diagnosis) if name in set(table["test_set"])]
    ax.set_yscale("log")
    ax.axhline(1.0, color=DARK, lw=0.8, ls=(0, (3, 2)), zorder=1)
    _by_source(ax, table, looks, names)
    ticks = [0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10]
    ax.yaxis.set_major_locator(FixedLocator(ticks))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_locator(NullLocator())
    _categories(ax, names)
    return []


def _biases(ax: Axes, diagnosis: pd.DataFrame, looks: dict[str, Look]) -> list[str]:
    diagnosis = diagnosis[
        diagnosis["n_train"].eq(bias_size(diagnosis)) | ~diagnosis["diagnostic"].isin(BIASES)
    ]
    found = [name for name in BIASES if (diagnosis["diagnostic"] == name).any()]
    names = [
        n
        for n in _order(diagnosis)
        if ((diagnosis["test_set"] == n) & diagnosis["diagnostic"].isin(found)).any()
    ]
    for i, name in enumerate(found):
        part = diagnosis[diagnosis["diagnostic"] == name]
        x = np.array([names.index(str(t)) for t in part["test_set"]]) + _spread(len(found), i)
        colour, marker, filled, _ = BIASES[name]
        _points(ax, x, part, colour, marker, filled)
    ax.axhline(0.0, color=DARK, lw=0.8, ls=(0, (3, 2)), zorder=1)
    ax.set_ylabel("predicted − measured")
    _categories(ax, names)
    return found

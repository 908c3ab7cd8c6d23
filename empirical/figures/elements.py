"""Shared elements of the figures: colours of sources, pie markers of mixtures, panels in percent, one legend outside.

Use `source_colours` for colours that stay the same from figure to figure, `mixture_marker` for a mixture drawn as a pie of
its sources' colours, and `OpenEnded` for models whose accuracy of 0 or 1 has no place on probit axes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.path import Path as Outline
from matplotlib.ticker import FixedLocator, MaxNLocator
from scipy.special import ndtri

from empirical.prediction import mixture_shares
from theory.counts import clopper_pearson
from theory.page import pt
from theory.plotting import probit_axes
from theory.source_looks import source_looks

DARK, INK, PALE = "#222222", "#555555", "#9A9A9A"
# Colours tell sources apart, so rules have shapes and colours that no source has.
RULE_STYLE: dict[str, tuple[str, str, bool, str]] = {
    "lines": (DARK, "D", True, "lines by share (primary)"),
    "mediant": ("#A0174B", "s", False, "mediant (Theorem 2)"),
    "quadrature": ("#5B4FC4", "^", False, "quadrature"),
    "interpolated": (PALE, "o", False, "baseline: interpolated by share"),
    "best_source": (PALE, "v", False, "baseline: best source"),
}
"""Rule -> colour, marker, filled, words."""


def source_colours(names: Iterable[str]) -> dict[str, str]:
    """The colour of each source (`theory.source_looks`): the same in every figure for the embedded sources."""
    return {name: colour for name, (colour, _) in source_looks(names).items()}


def readable(name: str) -> str:
    """`web_crawl` as `web crawl`; names of test sets and sources in the figures."""
    return str(name).replace("_", " ")


def mixture_label(sources: str) -> str:
    """A mixture in a few letters: `stock + snapshots (50:50)`, or how many sources when there are more than three."""
    shares = mixture_shares(sources)
    if len(shares) > 3:
        return f"{len(shares)} sources"
    percent = ":".join(f"{100 * share:.0f}" for share in shares.values())
    return f"{' + '.join(map(readable, shares))} ({percent})"


def pool_label(sources: str) -> str:
    """`alt text, 35% shuffled` for a pool with junk, `snapshots + stock` for equal shares, else `mixture_label`'s words."""
    data, _, junk = sources.partition("+junk:")
    parts = [part.rpartition(":") for part in data.split("+")]
    equal = len({share for _, _, share in parts}) == 1
    words = " + ".join(readable(name or rest) for name, _, rest in parts) if equal else mixture_label(data)
    return words + (f", {100 * float(junk):.3g}% shuffled" if float(junk or 0) else "")


def mixture_marker(
    ax: Axes,
    x: float | int,
    y: float | int,
    shares: Mapping[str, float],
    colours: Mapping[str, str],
    size: float | int = 6.0,
    zorder: float | int = 6.0,
) -> None:
    """A pie of the sources' colours with a thin white rim at (x, y), `size` points across; slices are the shares."""
    # The rim lies under the slices, half a point wider: it parts neighbours without eating into thin slices.
    ax.plot(x, y, marker="o", ms=size + 1.0, mfc="white", mec="none", ls="none", zorder=zorder)
    edges = np.concatenate([[0.0], np.cumsum(list(shares.values()))])
    for (name, _), start, stop in zip(shares.items(), edges[:-1], edges[1:], strict=True):
        angle = np.pi / 2 - 2 * np.pi * np.linspace(start, stop, max(3, int(40 * (stop - start)) + 2))
        corners = np.concatenate(
            [[[0.0, 0.0]], np.stack([np.cos(angle), np.sin(angle)], axis=1), [[0.0, 0.0]]]
        )
        # Matplotlib scales a marker to its own extent: undo it, so that thin slices stay part of the same circle.
        extent = np.abs(corners).max()
        ax.plot(
            x, y, marker=Outline(corners), ms=size * extent, mfc=colours.get(name, PALE), mec="none", ls="none",
            zorder=zorder + 0.1,
        )  # fmt: skip


@dataclass
class OpenEnded:
    """Models with an accuracy of 0 or 1, whose probit is infinite: bars from their interval's finite end to the frame.

    `add` takes models and returns the finite ends, which belong to what the limits must hold; `draw` draws the bars, once
    the limits are final. An accuracy of 1 runs from the low end of its 95% Clopper-Pearson interval up to the frame, one of
    0 from the high end down, each with an arrowhead on the frame. Nothing stands at a made-up place.
    """

    _bars: list[tuple[np.ndarray, np.ndarray, str, float]] = field(default_factory=list)

    def add(self, models: pd.DataFrame, colour: str, line_width: float = 1.1) -> np.ndarray:
        """Finite ends (2, n) in probit of the models (`models_of_shift`) with an accuracy of 0 or 1; the others are left."""
        counts = [
            [models[f"{axis}_{name}"].to_numpy(int) for axis in "xy"]
            for name in ("num_correct", "num_images")
        ]
        correct, images = np.asarray(counts)
        toward = np.where(correct == images, 1.0, np.where(correct == 0, -1.0, 0.0))
        low, high = (np.asarray(end, dtype=float) for end in clopper_pearson(correct, images))
        ends = probit_of(np.where(toward > 0, low, np.where(toward < 0, high, correct / images)))
        open_models = np.any(toward != 0, axis=0)
        self._bars += [
            (end, direction, colour, line_width)
            for end, direction in zip(ends.T[open_models], toward.T[open_models], strict=True)
        ]
        return ends[:, open_models]

    def draw(self, ax: Axes) -> int:
        """Draw the bars inside the axes' present limits; returns how many models have one."""
        limits, drawn = np.array([ax.get_xlim(), ax.get_ylim()]), 0
        for end, toward, colour, line_width in self._bars:
            if np.any(end < limits[:, 0]) or np.any(end > limits[:, 1]):
                continue  # outside a panel that shows a part of the models
            drawn += 1
            for axis in np.flatnonzero(toward):
                stop = end.copy()
                stop[axis] = limits[axis, 1 if toward[axis] > 0 else 0]
                ax.plot(
                    *np.stack([end, stop], axis=1),
                    color=colour,
                    lw=line_width,
                    zorder=3.5,
                    scalex=False,
                    scaley=False,
                )
                head = (("<", ">"), ("v", "^"))[axis][int(toward[axis] > 0)]
                ax.plot(
                    *stop,
                    head,
                    ms=4.2,
                    color=colour,
                    mec="none",
                    clip_on=False,
                    zorder=7,
                    scalex=False,
                    scaley=False,
                )
        return drawn


def open_ended_handle() -> tuple[Line2D, str]:
    """Legend handle and words of `OpenEnded`."""
    return dot(DARK, "^", size=4.0, line="-"), "accuracy of 0% or 100%: 95% interval, open-ended"


def percent_panel(
    ax: Axes,
    x: np.ndarray,
    y: np.ndarray,
    title: str,
    x_label: str | None,
    y_label: str | None,
    least_margin: float = 0.12,
) -> None:
    """Probit axes with percent ticks around the finite points, and the diagonal of equal accuracy.

    x, y hold probit accuracies; the limits leave a margin on each side of 7% of their range, and `least_margin` at least: by
    default they never shrink below a quarter of a probit.
    """
    for values, set_limits in ((x, ax.set_xlim), (y, ax.set_ylim)):
        finite = np.asarray(values, dtype=float)
        finite = finite[np.isfinite(finite)]
        low, high = (finite.min(), finite.max()) if len(finite) else (-1.0, 1.0)
        margin = max(0.07 * (high - low), least_margin)
        set_limits(low - margin, high + margin)
    probit_axes(ax)
    for axis in (
        ax.xaxis,
        ax.yaxis,
    ):  # the limits are final: ticks are searched once, not at every pass of the layout
        axis.set_major_locator(FixedLocator(list(axis.get_majorticklocs())))
    ax.axline((0, 0), slope=1, color=PALE, lw=0.6, ls=(0, (1, 2)), zorder=0)
    ax.set_title(title, loc="left")
    if x_label:
        ax.set_xlabel(x_label)
    if y_label:
        ax.set_ylabel(y_label)


def finite_bars(low: np.ndarray, middle: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Lengths (2, n) of error bars; a bar without end (accuracy 0 or 1) is drawn with length 0."""
    bars = np.stack([middle - low, high - middle])
    return np.where(np.isfinite(bars) & (bars >= 0), bars, 0.0)


def cross_bars(
    ax: Axes,
    x: np.ndarray,
    y: np.ndarray,
    bars: Sequence[np.ndarray],
    colour: str,
    *,
    lw: float,
    alpha: float,
    zorder: int,
) -> None:
    """Thin error bars in x and y, for markers that are drawn apart; `bars` holds those of x and those of y."""
    style = {"ecolor": colour, "elinewidth": lw, "capsize": 0, "alpha": alpha, "zorder": zorder}
    ax.errorbar(x, y, xerr=bars[0], yerr=bars[1], fmt="none", **style)


def square_panel(ax: Axes, low: np.ndarray, high: np.ndarray, room: float) -> None:
    """The same few ticks and limits on both axes of a square panel: from the lowest `low` to the highest `high` and a share
    `room` of that beyond.
    """
    if np.isfinite(low).any():
        lowest, highest = np.nanmin(low), np.nanmax(high)
        margin = max(room * (highest - lowest), 0.02)
        ax.set_xlim(lowest - margin, highest + margin)
        ax.set_ylim(lowest - margin, highest + margin)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    ax.set_aspect("equal", adjustable="box")


def probit_of(accuracy: np.ndarray) -> np.ndarray:
    """Probit of accuracies in (0, 1); nan elsewhere, so that the point is not drawn at a made-up place."""
    accuracy = np.asarray(accuracy, dtype=float)
    return np.asarray(ndtri(np.where((accuracy > 0) & (accuracy < 1), accuracy, np.nan)))


def line_between(ax: Axes, intercept: float, slope: float, x: np.ndarray, **style) -> None:
    """The line y = intercept + slope x over the range of x."""
    ends = np.array([np.nanmin(x), np.nanmax(x)])
    ax.plot(ends, intercept + slope * ends, **style)


def dot(colour: str, marker: str = "o", filled: bool = True, size: float = 4.5, line: str = "none") -> Line2D:
    """A legend handle."""
    return Line2D(
        [],
        [],
        color=colour,
        marker=marker,
        ms=size,
        mfc=colour if filled else "white",
        mec=colour,
        mew=0.9,
        lw=1.0,
        ls=line,
    )


def legend_below(fig: Figure, handles: Sequence, labels: Sequence[str], num_open: int = 0) -> None:
    """One legend for the whole figure, under the panels, in as many columns as its labels leave room for.

    `num_open`: how many open-ended bars the figure shows; any gives them an entry. Nothing to name, no legend.
    """
    if num_open:
        handle, words = open_ended_handle()
        handles, labels = [*handles, handle], [*labels, words]
    if not handles:
        return
    font_size = pt(7.5)
    room = 72 * fig.get_figwidth() - 12
    widths = [0.56 * font_size * len(label) + 4.2 * font_size for label in labels]

    def width(columns: int) -> float:
        """Matplotlib fills columns from top to bottom, the first ones with one entry more."""
        per, extra = divmod(len(labels), columns)
        ends = np.cumsum([per + (i < extra) for i in range(columns)])
        return sum(max(widths[stop - per - (i < extra) : stop]) for i, stop in enumerate(ends))

    columns = max((n for n in range(1, len(labels) + 1) if width(n) <= room), default=1)
    rows = -(-len(labels) // columns)
    columns = -(-len(labels) // rows)
    while columns > 1 and width(columns) > room:
        columns -= 1
    fig.legend(
        handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=font_size,
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0.2)}, handlelength=1.8, columnspacing=1.4, handletextpad=0.5,
    )  # fmt: skip

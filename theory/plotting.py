"""The look of every figure, and axes that are straight where the theory is linear.

Use `use_style()` once before drawing, `probit_axes` for axes whose data are probit accuracies (margins), `dprime_axes`
for axes whose data are K-way d′, and `save_figure` to write the PNG and the PDF together. The data stay in units of the
link, where Theorem 1 draws straight lines (so `Axes.axline` works); the tick labels say the accuracy in percent. For data
that are accuracies, importing this module registers a matplotlib scale: `ax.set_xscale("probit")`.

Matplotlib loads with this module, which `import theory` therefore leaves out.
"""

import os
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeAlias

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import scale as mscale
from matplotlib import ticker
from matplotlib import transforms as mtransforms
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from scipy.special import ndtr, ndtri

from theory.links import dprime, dprime_inverse
from theory.page import current_page, fit_to_page

Which: TypeAlias = str  # "x", "y" or "both"

#: Okabe and Ito's palette, told apart under the common colour-vision deficiencies; the order of the style's colour cycle.
PALETTE: dict[str, str] = {
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "black": "#000000",
    "olive": "#B8A800",
}
#: The palette in order, for `zip` with series.
COLOURS: tuple[str, ...] = tuple(PALETTE.values())
#: Keywords of `Axes.errorbar` for error bars behind points that are drawn by `plot`.
ERROR_BAR: dict[str, Any] = {"fmt": "none", "elinewidth": 1.0, "capsize": 1.8, "zorder": 2}
#: Markers in the order of the palette, so that no figure tells series apart by colour alone.
MARKERS: tuple[str, ...] = ("o", "s", "^", "D", "v", "P", "X", "<")


def use_style() -> None:
    """Load the project's matplotlib style (theory/style/quality.mplstyle) for all later figures, and the page's settings."""
    with resources.as_file(resources.files("theory") / "style" / "quality.mplstyle") as path:
        plt.style.use(str(path))
    settings: Any = current_page().settings
    plt.rcParams.update(settings)


def save_figure(fig: Figure, stem: str | Path, close: bool = True) -> list[Path]:
    """Write a figure in the page's formats: on the screen `stem`.png (200 dpi) and `stem`.pdf, with text as text.

    PDF fonts are type 42 and SVG text stays text, so that both can be edited.

    Args:
        fig: the figure.
        stem: path without suffix; a folder that is missing is made. Dots in the name are kept.
        close: close the figure afterwards, so that long runs hold no open figures.

    Returns:
        The paths, in the order of the formats (PNG first on the screen).
    """
    stem = Path(stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    fit_to_page(fig)
    # No creation date: the same records give the same bytes.
    undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
    paths = [stem.with_name(f"{stem.name}.{suffix}") for suffix in current_page().formats]
    for path in paths:
        # Written beside and renamed, so that a viewer that refreshes never meets half a file; two processes that draw
        # the same figure do not take each other's away.
        partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        kind = path.suffix[1:]
        fig.savefig(partial, dpi=200, format=kind, metadata=undated.get(kind))
        partial.replace(path)
    if close:
        plt.close(fig)
    return paths


# --- ticks in percent -----------------------------------------------------------------------------------------------


def _percent_levels() -> list[tuple[bool, list[float]]]:
    """Accuracies in percent, roundest first; levels marked True are regular rows, taken whole or not at all."""
    tails = [[1.0, 99.0], [0.1, 99.9], [0.01, 99.99], [5.0, 95.0], [2.0, 98.0], [0.5, 99.5], [0.2, 99.8]]
    coarse = [[50.0], [10.0, 90.0], [30.0, 70.0], [20.0, 40.0, 60.0, 80.0], *tails]
    steps = (5.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
    fine = [[float(p) for p in np.round(np.arange(step, 100.0, step), 6)] for step in steps]
    return [(False, level) for level in coarse] + [(True, level) for level in fine]


class PercentLocator(ticker.Locator):
    """Ticks at round accuracies, as many as have room, for an axis on which accuracy is bent by a link.

    Args:
        to_axis: accuracy in (0, 1) -> position on the axis in data units (the link, or the identity for a probit *scale*).
        min_inches: least distance between two ticks on paper, in inches.
    """

    def __init__(self, to_axis: Callable[[np.ndarray], np.ndarray], min_inches: float = 0.32) -> None:
        self._to_axis = to_axis
        self._min_inches = min_inches
        levels = _percent_levels()
        # All rows in one call: a link is compiled anew for every length of its argument.
        places = np.asarray(to_axis(np.concatenate([row for _, row in levels]) / 100.0))
        ends = np.cumsum([len(row) for _, row in levels])
        self._levels = [
            (whole, own) for (whole, _), own in zip(levels, np.split(places, ends[:-1]), strict=True)
        ]

    def __call__(self) -> Any:
        """Tick positions for the axis' current view."""
        axis: Any = self.axis
        if axis is None:
            return np.asarray([])
        low, high = sorted(axis.get_view_interval())
        return self.tick_values(low, high)

    def tick_values(self, vmin: float, vmax: float) -> Any:
        """Tick positions in [vmin, vmax], data units."""
        axis: Any = self.axis
        if axis is None or not vmax > vmin:
            return np.asarray([])
        least = self._min_inches * (1.3 if _is_x(axis) else 1.0)  # labels are wider than high
        spacing = least / max(self._axis_inches(), 1e-3)
        transform = axis.get_transform()
        low, high = (float(v) for v in transform.transform(np.asarray([vmin, vmax], dtype=float)))
        fractions = [(transform.transform(positions) - low) / (high - low) for _, positions in self._levels]
        chosen = np.empty((0, 2))  # place as a fraction of the axis, position in data units
        rows = []
        for (whole, positions), places in zip(self._levels, fractions, strict=True):
            inside = (places >= -1e-9) & (places <= 1 + 1e-9)
            rows.append((whole, np.stack([places[inside], positions[inside]], axis=1)))
        for whole, row in rows:
            if not whole:
                chosen = _with_room(chosen, row, spacing)
            # A crowded row is left out as a whole: 50, 70, 90 reads better than 50, 70, 82, 90.
            elif len(row) * spacing <= 1 + spacing:
                together = np.unique(np.round(np.concatenate([chosen, row]), 9), axis=0)
                chosen = together if np.all(np.diff(together[:, 0]) >= spacing) else chosen
        for _, row in rows:
            if len(chosen) >= 3:
                break
            # Too few ticks: the roundest that fit, a little closer than they should be rather than 34.9%.
            chosen = _with_room(chosen, row[:200], 0.75 * spacing)
        return np.sort(chosen[:, 1])

    def _axis_inches(self) -> float:
        axis: Any = self.axis
        if not isinstance(axis, Axis):
            return 4.0
        figure = axis.axes.get_figure()
        if figure is None:
            return 4.0
        box = axis.axes.get_window_extent()
        return float((box.width if _is_x(axis) else box.height) / figure.dpi)


class PercentFormatter(ticker.Formatter):
    """Labels a position on a linked axis by its accuracy in percent, without trailing zeros.

    Args:
        to_accuracy: position on the axis in data units -> accuracy in (0, 1).
    """

    def __init__(self, to_accuracy: Callable[[np.ndarray], np.ndarray]) -> None:
        self._to_accuracy = to_accuracy

    def __call__(self, x: float, pos: int | None = None) -> str:
        """The label at position x."""
        return f"{round(100.0 * float(self._to_accuracy(np.asarray(x, dtype=float))), 4):g}%"


def _with_room(chosen: np.ndarray, row: np.ndarray, spacing: float) -> np.ndarray:
    """`chosen` and those candidates of a row that stand at least `spacing` from all others."""
    for candidate in row:
        if np.all(np.abs(chosen[:, 0] - candidate[0]) >= spacing):
            chosen = np.concatenate([chosen, candidate[None]])
    return chosen


def _is_x(axis: Axis) -> bool:
    return axis is axis.axes.xaxis


def _axes_of(ax: Axes, which: Which) -> list[Axis]:
    if which not in ("x", "y", "both"):
        raise ValueError(f"which must be 'x', 'y' or 'both', got {which!r}.")
    return [axis for name, axis in (("x", ax.xaxis), ("y", ax.yaxis)) if which in (name, "both")]


def percent_ticks(axis: Axis, to_axis: Callable[..., Any], to_accuracy: Callable[..., Any]) -> None:
    """Tick one axis at round accuracies in percent, given the link between accuracy and the axis' data units."""
    axis.set_major_locator(PercentLocator(lambda p: np.asarray(to_axis(p), dtype=float)))
    axis.set_major_formatter(PercentFormatter(lambda z: np.asarray(to_accuracy(z), dtype=float)))
    axis.set_minor_locator(ticker.NullLocator())


def probit_axes(ax: Axes, which: Which = "both") -> None:
    """Tick axes whose data are probit accuracies Φ⁻¹(accuracy) at round accuracies in percent.

    Straight lines stay straight: the data are margins already (Theorem 1), only the labels change.
    """
    for axis in _axes_of(ax, which):
        percent_ticks(axis, ndtri, ndtr)


def dprime_axes(
    ax: Axes, num_classes: int, which: Which = "both", ticks: Literal["dprime", "percent"] = "dprime"
) -> None:
    """Label axes whose data are K-way d′: ticks in d′ with a second row in percent, or ticks in percent alone.

    Args:
        ax: the axes; their limits may change later.
        num_classes: K of the test set on this axis (both axes, if `which` is "both").
        which: the axes to label.
        ticks: "dprime" keeps linear d′ ticks and adds the accuracy in percent on the opposite side; "percent" replaces
            them by percent ticks.
    """
    to_axis, to_accuracy = _dprime_maps(num_classes)
    for axis in _axes_of(ax, which):
        if ticks == "percent":
            percent_ticks(axis, to_axis, to_accuracy)
            continue
        axis.set_major_locator(ticker.MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
        opposite = ax.secondary_xaxis("top") if _is_x(axis) else ax.secondary_yaxis("right")
        twin = opposite.xaxis if _is_x(axis) else opposite.yaxis
        percent_ticks(twin, to_axis, to_accuracy)
        opposite.tick_params(labelsize=7.5, length=2.5, colors="0.35")


def _dprime_maps(num_classes: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def to_axis(accuracy: Any) -> np.ndarray:
        return np.asarray(dprime(np.asarray(accuracy, dtype=float), num_classes))

    def to_accuracy(value: Any) -> np.ndarray:
        return np.asarray(dprime_inverse(np.asarray(value, dtype=float), num_classes))

    return to_axis, to_accuracy


# --- a scale for data that are accuracies -----------------------------------------------------------------------------


def _probit_inside(values: Any) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    # 0 and 1 have no place on the axis; they are left out, never moved to the nearest number that has one.
    return ndtri(np.where((values > 0) & (values < 1), values, np.nan))


class ProbitScale(mscale.ScaleBase):
    """Axis scale Φ⁻¹ for data that are accuracies in (0, 1), ticked in percent: `ax.set_xscale("probit")`."""

    name = "probit"

    # Matplotlib before 3.11 passes the axis here, later versions pass nothing; this scale needs nothing.
    def __init__(self, *_: Any) -> None:
        pass

    def get_transform(self) -> mtransforms.Transform:
        """Accuracy to probit."""
        return mscale.FuncTransform(_probit_inside, ndtr)

    def set_default_locators_and_formatters(self, axis: Axis) -> None:
        """Round percentages."""
        percent_ticks(axis, lambda p: p, lambda p: p)

    def limit_range_for_scale(self, vmin: float, vmax: float, minpos: float) -> tuple[float, float]:
        """Keep the view inside the open interval (0, 1)."""
        tiny = min(1e-7, minpos if np.isfinite(minpos) else 1e-7)
        return max(vmin, tiny), min(vmax, 1 - tiny)


mscale.register_scale(ProbitScale)


def panel_letters(axes: Sequence[Axes]) -> None:
    """Prefix the left title of each panel with a, b, c, ..., z, aa, ab, ..."""
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    for i, ax in enumerate(axes):
        letter = alphabet[i % 26] if i < 26 else alphabet[i // 26 - 1] + alphabet[i % 26]
        title = ax.get_title(loc="left")
        ax.set_title(f"{letter}  {title}" if title else letter, loc="left")

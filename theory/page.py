"""Where a figure will be printed: its width, the size of its text, and the file formats it is wanted in.

A figure is designed for the screen, at the inches its module asks for. Inside `with on_page(page):` the same module draws
for a printed page instead: `use_style` adds the page's settings, `panels` arranges panels in as many columns as the width
has room for, `pt` scales explicit text sizes, and `save_figure` writes the page's formats and fits markers, titles
and labels to the panels (`fit_to_page`). Without a page nothing changes.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

FORMATS = ("png", "pdf", "svg")
_STYLE_TICKS = (
    8.5  # size of tick labels in the style: what a page does to them it does to all text inside panels
)
_MARKERS = 0.65  # panels of a page are about half as wide as those of the screen


@dataclass(frozen=True)
class Page:
    """What a figure is drawn for.

    Attributes:
        name: for messages.
        width: inches across the figure; None keeps each figure's own size (the screen).
        height: most inches a figure may be high; NeurIPS' text is 9 in high, and a caption has to fit below.
        panel_width: least inches per panel, which decides how many columns fit.
        panel_height: inches per row of panels.
        is_roomy: whether panels are as large as on the screen, so that legends stay inside and markers as they are.
        settings: matplotlib settings laid over the project's style.
        formats: file formats that `save_figure` writes, of "png", "pdf" and "svg".
    """

    name: str = "screen"
    width: float | None = None
    height: float = 7.5
    panel_width: float = 2.2
    panel_height: float = 2.05
    is_roomy: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    formats: tuple[str, ...] = ("png", "pdf")

    def __post_init__(self) -> None:
        unknown = [name for name in self.formats if name not in FORMATS]
        if unknown or not self.formats:
            raise ValueError(f"formats must be some of {', '.join(FORMATS)}, got {list(self.formats)}.")

    @property
    def text_scale(self) -> float:
        """Size of the page's small text against the style's."""
        return float(self.settings.get("xtick.labelsize", _STYLE_TICKS)) / _STYLE_TICKS

    def columns(self, wanted: int) -> int:
        """Columns for panels that a screen would show `wanted` abreast: what fits, in rows as even as can be."""
        if self.width is None:
            return wanted
        most = max(1, min(wanted, int(self.width / self.panel_width)))
        return -(-wanted // -(-wanted // most))


SCREEN = Page()
_PAGE: ContextVar[Page] = ContextVar("page", default=SCREEN)


def current_page() -> Page:
    """The page that figures are drawn for at the moment."""
    return _PAGE.get()


@contextmanager
def on_page(page: Page) -> Iterator[Page]:
    """Draw for `page` inside the block; matplotlib's settings are afterwards what they were before."""
    token = _PAGE.set(page)
    try:
        with plt.rc_context():
            yield page
    finally:
        _PAGE.reset(token)


def pt(size: float | int) -> float | int:
    """A text size of the screen's design, in points, as large as the page's text makes it (never under 5 points)."""
    page = current_page()
    return size if page.width is None else max(5.0, size * page.text_scale)


def figure_size(
    width: float | int, height: float | int, rows: int = 1, extra: float | int = 0.0
) -> tuple[float, float]:
    """Inches of a figure: (width, height) on the screen; on a page its width and `rows` rows of panels plus `extra`."""
    page = current_page()
    if page.width is None:
        return width, height
    if page.is_roomy:
        return page.width, min(page.height, height * page.width / width)
    return page.width, min(rows * page.panel_height + extra, page.height)


def panels(
    rows: int,
    columns: int,
    size: tuple[float | int, float | int],
    extra: float | int = 0.0,
    flow: bool = False,
    **kwargs: Any,
) -> tuple[Figure, list[Axes]]:
    """A figure with rows x columns panels, returned in reading order; a page may break each row in several.

    Args:
        rows: rows on the screen.
        columns: columns on the screen.
        size: inches on the screen.
        extra: inches a page adds to the height for legends and text outside the panels.
        flow: whether the panels are one sequence, so that a page need not start a line where the screen does.
        **kwargs: as `plt.subplots` takes them; `sharex`, `sharey` and `height_ratios` hold on the screen only.
    """
    page = current_page()
    fitting = page.columns(columns)
    if fitting == columns:
        kwargs.setdefault("squeeze", False)
        fig, axes = plt.subplots(rows, columns, figsize=figure_size(*size, rows, extra), **kwargs)
        return fig, list(np.asarray(axes).flat)
    if flow:
        rows, columns = 1, rows * columns
    per_row = -(-columns // fitting)
    fig = plt.figure(figsize=figure_size(*size, rows * per_row, extra), layout="constrained")
    grid = fig.add_gridspec(rows * per_row, fitting)
    places = [(row * per_row + i // fitting, i % fitting) for row in range(rows) for i in range(columns)]
    return fig, [fig.add_subplot(grid[place]) for place in places]


def first_in_row(position: int, columns: int) -> bool:
    """Whether the panel at `position` of a row of `columns` panels stands at the left margin (and names the y axis)."""
    return position % current_page().columns(columns) == 0


def row_breaks(columns: int) -> bool:
    """Whether the page breaks a row of so many panels: then none stands below the one that would name it."""
    return current_page().columns(columns) < columns


def panel_legend(ax: Axes, *args: Any, **kwargs: Any) -> Legend:
    """`ax.legend` on the screen; on a page, where panels have no room to spare, the legend goes under the panel."""
    page = current_page()
    if page.width is None or page.is_roomy:
        return ax.legend(*args, **kwargs)
    kept = {
        key: value for key, value in kwargs.items() if key in ("handles", "labels", "title", "handler_map")
    }
    figure = ax.get_figure()
    assert figure is not None
    # Tick labels and the axis label lie between the panel and its legend.
    lines = plt.rcParams["xtick.labelsize"] + 1.6 * plt.rcParams["axes.labelsize"]
    below = ScaledTranslation(0, -(lines + 10) / 72, figure.dpi_scale_trans)
    return ax.legend(
        *args, **kept, loc="upper center", bbox_to_anchor=(0.45, 0.0), bbox_transform=ax.transAxes + below,
        borderaxespad=0.0, fontsize=pt(7.5), title_fontsize=pt(7.5), handletextpad=0.5, labelspacing=0.3,
    )  # fmt: skip


def fit_to_page(fig: Figure) -> None:
    """Make markers as small as the page's panels ask for; break titles and axis labels that are longer than their panel.

    Breaks are at spaces, in up to three lines; what is still too long is drawn smaller. On the screen figures have the room
    they were designed with: nothing is touched there.
    """
    if current_page().width is None:
        return
    for ax in [] if current_page().is_roomy else fig.findobj(Axes):
        if isinstance(ax, Axes):
            legends = [child for child in ax.get_children() if isinstance(child, Legend)]
            _shrink_markers([*ax.lines, *(line for legend in legends for line in legend.findobj(Line2D))])
            for dots in ax.collections:
                if isinstance(dots, PathCollection):
                    dots.set_sizes(np.asarray(dots.get_sizes()) * _MARKERS**2)
    for legend in [] if current_page().is_roomy else fig.legends:
        _shrink_markers(legend.findobj(Line2D))
    renderer: Any = fig.canvas.get_renderer() if hasattr(fig.canvas, "get_renderer") else None  # pyright: ignore
    fig.draw_without_rendering()
    for ax in fig.findobj(Axes):
        if not isinstance(ax, Axes) or (not ax.axison and not ax.get_title(loc="left")):
            continue
        box = ax.get_window_extent(renderer)
        room = _room(fig, ax, box)
        for text, inches in (
            (ax._left_title, room),  # pyright: ignore[reportAttributeAccessIssue]
            (ax.xaxis.label, _room_around(ax, fig, box)),
            (ax.yaxis.label, 1.05 * box.height),
        ):
            _break(text, inches, along_y=text is ax.yaxis.label, renderer=renderer)


def _shrink_markers(lines: Sequence[Any]) -> None:
    for line in lines:
        line.set_markersize(line.get_markersize() * _MARKERS)
        line.set_markeredgewidth(line.get_markeredgewidth() * 0.8)


def _room(fig: Figure, ax: Axes, box: Any) -> float:
    """Pixels from the panel's left edge to the next panel on its right, or to the figure's edge."""
    others = [
        other.get_tightbbox() for other in fig.findobj(Axes) if other is not ax and isinstance(other, Axes)
    ]
    right = [o.x0 for o in others if o is not None and o.x0 > box.x1 - 1 and o.y0 < box.y1 and o.y1 > box.y0]
    return min([*right, fig.bbox.x1]) - box.x0


def _room_around(ax: Axes, fig: Figure, box: Any) -> float:
    """Pixels for the label under a panel, which stands centred: to the middle of the gap on the narrower side."""
    boxes = [
        other.get_window_extent()
        for other in fig.findobj(Axes)
        if other is not ax and isinstance(other, Axes)
    ]
    beside = [o for o in boxes if o.y0 < box.y1 and o.y1 > box.y0]
    left = max([0.0, *((o.x1 + box.x0) / 2 for o in beside if o.x1 <= box.x0 + 1)])
    right = min([fig.bbox.x1, *((o.x0 + box.x1) / 2 for o in beside if o.x0 >= box.x1 - 1)])
    centre = (box.x0 + box.x1) / 2
    return 0.97 * 2 * min(centre - left, right - centre)


def _break(text: Any, room: float, along_y: bool, renderer: Any) -> None:
    words = text.get_text()
    if not words:
        return

    def length() -> float:
        extent = text.get_window_extent(renderer)
        return extent.height if along_y else extent.width

    whole = length()
    if whole <= room:
        return
    given = words.split("\n")
    for lines in (2, 3):
        # The most even break into this many lines; lines that are broken already are broken each for itself.
        broken = []
        for line in given:
            text.set_text(line)
            broken.append(line if length() <= room else _even(line.split(" "), lines))
        text.set_text("\n".join(broken))
        if length() <= room:
            return
    text.set_fontsize(max(5.0, text.get_fontsize() * room / length()))


def _even(words: Sequence[str], lines: int) -> str:
    """Words over lines, each filled until the share of all letters that is due."""
    total, out, done = sum(map(len, words)) + len(words), [[]], 0
    for word in words:
        if out[-1] and done + len(word) / 2 > total * len(out) / lines and len(out) < lines:
            out.append([])
        out[-1].append(word)
        done += len(word) + 1
    return "\n".join(" ".join(line) for line in out)

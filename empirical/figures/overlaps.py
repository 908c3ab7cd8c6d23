"""How much of what two single-source models know is the same, and how much of each is noise; use `draw_overlaps`."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from empirical.errors import StudyError
from empirical.figures.elements import DARK, dot, legend_below, readable
from empirical.group_means import group_means
from empirical.measured_sources import MeasuredSources, measure_sources, sources_by_size
from theory.page import panels, pt
from theory.plotting import panel_letters, save_figure, use_style
from theory.source_looks import source_looks

_PERCENT = (1, 2, 5, 10, 20, 30, 50, 70, 80, 90, 95, 98, 99)


def measured_sizes(
    accuracies: pd.DataFrame, overlaps: pd.DataFrame, num_draws: int = 200
) -> list[MeasuredSources]:
    """Signals and overlaps at every size at which the most sources have two seeds, smallest size first.

    Raises StudyError where no size has a source with two seeds.
    """
    sizes = sources_by_size(overlaps)
    most = max(map(len, sizes.values()), default=0)
    if not most:
        raise StudyError(
            "overlaps.csv: no source has two seeds of one size, so nothing tells signal from noise"
        )
    means = group_means(accuracies)
    return [
        measure_sources(accuracies, overlaps, n, names, num_draws, means=means)
        for n, names in sizes.items()
        if len(names) == most
    ]


def draw_overlaps(
    measured: list[MeasuredSources], path_stem: str | Path, reference: str = "reference"
) -> list[Path]:
    r"""Write PATH_STEM.png and .pdf from `measured_sizes`: one map per test set, the reference first, and the noise.

    Maps, at the largest size: the within-class correlation of the scores of two models in percent, of two sources off the
    diagonal and of two seeds of one source on it. Last panel: the noise share $1-r_{ss}$ of each source on the reference
    against n with the central 95% of its errors (seeds and images), on a logit axis, where noise that falls as 1/n
    is a straight line of slope -1 per e-fold (dashed guide). Returns the paths.
    """
    use_style()
    last = measured[-1]
    tests = [reference, *(name for name in last.test_sets if name != reference)]
    columns = 3
    rows = -(-(len(tests) + 1) // columns)
    fig, axes = panels(rows, columns, (9.6, 3.0 * rows + 0.5), extra=0.5, flow=True, layout="constrained")
    lowest = min(0.0, float(last.overlaps.min()))
    for i, (ax, test_set) in enumerate(zip(axes, tests, strict=False)):
        _map(ax, last, test_set, lowest, named=i % _columns(axes) == 0)
        ax.set_title(f"{readable(test_set)}, n = {last.n_train:,}", loc="left")
    noise = axes[len(tests)]
    looks = source_looks(last.sources)
    _noise(noise, measured, reference, looks)
    noise.set_title(f"noise on the {readable(reference)}", loc="left")
    for ax in axes[len(tests) + 1 :]:
        ax.set_axis_off()
    panel_letters(axes[: len(tests) + 1])
    handles = [dot(colour, marker) for colour, marker in looks.values()]
    guide = Line2D([], [], color=DARK, lw=1.0, ls=(0, (3, 2)))
    legend_below(fig, [*handles, guide], [*map(readable, looks), "guide: noise falls as 1/n"])
    return save_figure(fig, path_stem)


def _columns(axes: list[Axes]) -> int:
    """Columns of the grid that the panels stand in: a page may have fewer than asked for."""
    place = axes[0].get_subplotspec()
    return place.get_gridspec().ncols if place is not None else 1


def _map(ax: Axes, measured: MeasuredSources, test_set: str, lowest: float, named: bool) -> None:
    table = measured.overlaps[measured.test_sets.index(test_set)]
    ax.imshow(table, cmap="Blues", vmin=lowest, vmax=1.0, aspect="auto")
    count = len(measured.sources)
    for row in range(count):
        for column in range(count):
            value = table[row, column]
            ax.text(
                column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=pt(7.5),
                color="white" if value > 0.6 else DARK, fontweight="bold" if row == column else "normal",
            )  # fmt: skip
    names = [readable(name) for name in measured.sources]
    ax.set_xticks(range(count), names, rotation=40, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(count), names if named else [""] * count)
    ax.tick_params(length=0)
    ax.grid(visible=False)
    for edge in ax.spines.values():
        edge.set_visible(False)


def _noise(
    ax: Axes, measured: list[MeasuredSources], reference: str, looks: dict[str, tuple[str, str]]
) -> None:
    sizes = np.array([each.n_train for each in measured], dtype=float)
    seen: list[float] = []
    for s, (colour, marker) in enumerate(looks.values()):
        at = [each.test_sets.index(reference) for each in measured]
        own = np.array([each.overlaps[t, s, s] for each, t in zip(measured, at, strict=True)])
        draws = [each.drawn_overlaps[:, t, s, s] for each, t in zip(measured, at, strict=True)]
        half = np.array([1.96 * np.std(d, ddof=1) if len(d) > 1 else np.nan for d in draws])
        x = sizes * 1.035 ** (s - (len(looks) - 1) / 2)
        low, value, high = _logit(1 - own - half), _logit(1 - own), _logit(1 - own + half)
        ax.plot(x, value, color=colour, lw=0.9, alpha=0.7, zorder=2)
        drawn = np.isfinite(low) & np.isfinite(high)
        ax.vlines(x[drawn], low[drawn], high[drawn], color=colour, lw=0.9, zorder=2)
        ax.plot(x, value, marker, color=colour, mec="white", mew=0.5, ms=5, ls="none", zorder=3)
        seen += [*value[np.isfinite(value)], *low[drawn], *high[drawn]]
    if len(sizes) > 1 and seen:
        middle = np.mean(seen)
        line = middle - (np.log(sizes) - np.log(sizes).mean())
        ax.plot(sizes, line, color=DARK, lw=1.0, ls=(0, (3, 2)), zorder=1)
        seen += [*line]
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(_apart(sizes)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.tick_params(axis="x", rotation=40)
    share = np.array(_PERCENT) / 100
    ax.yaxis.set_major_locator(FixedLocator(_logit(share).tolist()))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 / (1 + np.exp(-value)):.0f}%"))
    if seen:
        ax.set_ylim(min(seen) - 0.2, max(seen) + 0.2)
    ax.set_xlabel("training samples n")
    ax.set_ylabel("share of noise, 1 − r")


def _apart(sizes: np.ndarray) -> list[float]:
    """Sizes to name, the largest first, each at least 1.9 times the next: shares of a budget lie close to a whole one."""
    named: list[float] = []
    for size in sorted(sizes.tolist(), reverse=True):
        if not named or named[-1] / size > 1.9:
            named.append(size)
    return named


def _logit(share: np.ndarray) -> np.ndarray:
    """log p / (1 - p); nan where a share of noise is none or all, which has no place on the axis."""
    share = np.asarray(share, dtype=float)
    inside = (share > 0) & (share < 1)
    share = np.where(inside, share, 0.5)
    return np.where(inside, np.log(share) - np.log1p(-share), np.nan)

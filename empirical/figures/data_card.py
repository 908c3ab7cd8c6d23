"""The picture of a data card: what became of every row, caption lengths, image sizes. Use `draw_data_card`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from theory.plotting import PALETTE, panel_letters, save_figure, use_style

if TYPE_CHECKING:
    from empirical.sources.data_card import Measured

_MOST_REASONS = 9


def draw_data_card(card: dict[str, Any], measured: "Measured", stem: Path) -> list[Path]:
    """Draw the card as `stem`.png and .pdf; returns both paths."""
    use_style()
    fig, axes = plt.subplots(1, 3, figsize=(11, 3.4), width_ratios=(1.35, 1, 1))
    _outcomes(axes[0], card)
    _histogram(axes[1], measured.words, "words of the caption", "pairs")
    short = np.minimum(measured.width, measured.height)
    _histogram(axes[2], short, "shorter side of the image, pixels", "pairs")
    fig.suptitle(
        f"{card['source']}: {card['download']['fetched']:,} of {card['download']['asked']:,} pairs fetched", x=0.01, ha="left"
    )  # fmt: skip
    panel_letters(list(axes))
    return save_figure(fig, stem)


def _outcomes(ax: Axes, card: dict[str, Any]) -> None:
    asked = max(card["download"]["asked"], 1)
    failed = list(card["download"]["failed"].items())
    rest = sum(count for _, count in failed[_MOST_REASONS:])
    bars = [("fetched", card["download"]["fetched"]), *failed[:_MOST_REASONS]]
    if rest:
        bars.append((f"{len(failed) - _MOST_REASONS} other reasons", rest))
    names, counts = [name for name, _ in bars], np.array([count for _, count in bars])
    at = np.arange(len(bars))
    ax.barh(at, 100 * counts / asked, color=[PALETTE["blue"], *[PALETTE["vermillion"]] * (len(bars) - 1)])
    for y, count in zip(at, counts, strict=True):
        ax.annotate(
            f"{count:,}",
            (100 * count / asked, y),
            (3, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
        )
    ax.set_yticks(at, [name if len(name) < 38 else name[:36] + "…" for name in names], fontsize=7.5)
    ax.invert_yaxis()
    ax.set_xlim(0, 112 * max(counts.max(initial=0) / asked, 0.05))
    ax.set_xlabel("share of the rows asked for, %")


def _histogram(ax: Axes, values: np.ndarray, label: str, unit: str) -> None:
    ax.set_xlabel(label)
    ax.set_ylabel(unit)
    if not len(values):
        ax.text(0.5, 0.5, "nothing fetched", ha="center", va="center", transform=ax.transAxes)
        ax.set_xticks([])
        ax.set_yticks([])
        return
    values = np.maximum(values, 1)
    low, high = int(values.min()), int(values.max())
    edges = np.unique(
        np.round(np.geomspace(low, high + 1, 40))
    )  # whole numbers: no bin is empty by arithmetic
    ax.hist(values, bins=(edges - 0.5).tolist(), color=PALETTE["blue"])
    ax.set_xscale("log")
    steps = [m * 10**k for k in range(8) for m in (1, 2, 5)]
    ticks = [x for x in steps if low <= x <= high]
    while len(ticks) > 7:
        ticks = ticks[::2]
    ax.xaxis.set_major_locator(FixedLocator(ticks if len(ticks) > 1 else sorted({low, high})))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    median = float(np.median(values))
    ax.axvline(median, color=PALETTE["black"], linewidth=1)
    ax.set_title(f"median {median:,.0f}", fontsize=8)

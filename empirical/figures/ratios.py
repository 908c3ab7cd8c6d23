"""How many times as fast as its peer each measured piece is, on a logarithmic axis: `draw_ratios`."""

from __future__ import annotations

import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter, LogLocator

from theory.plotting import COLOURS, save_figure, use_style


def draw_ratios(table: pd.DataFrame, stem: str | Path) -> list[Path]:
    """A bar per row of `benchmark.csv`, from 1 (as fast as the peer) to its ratio; one colour per peer.

    Args: table, with name, peer, ratio; stem, the path without suffix. Returns: paths of PNG and PDF.
    """
    use_style()
    names = ["\n".join(textwrap.wrap(str(name), 52)) for name in table["name"]]
    lines = sum(name.count("\n") + 1 for name in names)
    fig, ax = plt.subplots(figsize=(7.4, 0.9 + 0.12 * len(names) + 0.15 * lines))
    peers = list(dict.fromkeys(table["peer"]))
    ratios = table["ratio"].to_numpy(dtype=float)
    places = np.arange(len(table))[::-1]
    drawn = ratios[ratios > 0]
    for place, ratio, peer in zip(places, ratios, table["peer"], strict=True):
        if not ratio > 0:  # a difference of two times, lost in their noise
            note = f"less than the noise (beside {peer})"
            ax.annotate(note, (1, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=7)
            continue
        ax.barh(place, ratio - 1, left=1, color=COLOURS[peers.index(peer) % len(COLOURS)], height=0.62)
        ax.annotate(
            f"{ratio:.2f} x {peer}" if ratio < 10 else f"{ratio:.0f} x {peer}",
            (max(ratio, 1.0), place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=7,
        )  # fmt: skip
    ax.set_xscale("log")
    ax.set_xlim(min([0.5, *(0.8 * drawn)]), max([2.0, *drawn]) * 8)
    ax.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set_yticks(places, names, fontsize=7)
    ax.axvline(1, color="0.3", linewidth=0.8)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("seconds of the peer over ours")
    return save_figure(fig, stem)

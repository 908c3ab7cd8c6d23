"""The filtering ladder as a figure: how far each way of filtering lifts models off their pool's line.

Use `draw_filtering_ladder`.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from empirical.figures.elements import PALE, dot, legend_below
from empirical.filtering_ladder import SCALES
from theory.page import current_page, panels, pt
from theory.plotting import panel_letters, save_figure, use_style

_COLOURS = dict(zip(SCALES.values(), ("#9ECAE1", "#4292C6", "#2171B5", "#08306B"), strict=True))
_OFFSETS = dict(zip(SCALES.values(), (-0.24, -0.08, 0.08, 0.24), strict=True))


def draw_filtering_ladder(
    ladder: pd.DataFrame, path_stem: str | Path, pool: str, filter_group: str, labels: Mapping[str, str]
) -> list[Path]:
    """Write PATH_STEM.png and .pdf: one panel per shift; steps from left to right, height above the pool's line in d'.

    Dots are models (95% interval of their own test images and the pool's line), one colour per scale; dashes say where the
    filter's own line lies at each model's place, hollow where it is extrapolated beyond the filter's models; a dash outside
    the panel is an arrow at its edge.
    """
    use_style()
    names = list(pd.unique(ladder["shift"]))
    steps = list(pd.unique(ladder["step"]))
    columns = current_page().columns(min(3, len(names)))
    rows = -(-len(names) // columns)
    size = 3.4 * columns, 2.6 * rows + 0.8
    fig, axes = panels(rows, columns, size, extra=0.8, layout="constrained", sharex=True)
    for number, (ax, shift) in enumerate(zip(axes, names, strict=False)):
        part = ladder[ladder["shift"] == shift]
        reach = 1.15 * float(np.abs(part[["above_pool_low", "above_pool_high"]].to_numpy(float)).max())
        ax.set_ylim(-reach, reach)
        ax.axhline(0, color=PALE, lw=0.8, zorder=0)
        for scale, models in part.groupby("scale", sort=False):
            colour = _COLOURS[str(scale)]
            x = np.array([steps.index(step) for step in models["step"]]) + _OFFSETS[str(scale)]
            y = models["above_pool"].to_numpy(float)
            bars = np.stack([y - models["above_pool_low"], models["above_pool_high"] - y])
            ax.errorbar(x, y, yerr=bars, fmt="o", ms=3.2, color=colour, elinewidth=0.7, capsize=0, zorder=3)
            way = models["filter_above_pool"].to_numpy(float)
            inside = np.abs(way) <= reach
            for far, style in ((False, "-"), (True, ":")):
                chosen = inside & (models["extrapolated"].to_numpy(bool) == far)
                ax.hlines(
                    way[chosen],
                    x[chosen] - 0.09,
                    x[chosen] + 0.09,
                    color="#D55E00",
                    lw=1.5,
                    ls=style,
                    zorder=2,
                )
            for sign, marker in ((1, "^"), (-1, "v")):
                beyond = ~inside & (np.sign(way) == sign)
                ax.plot(
                    x[beyond],
                    np.full(beyond.sum(), sign * 0.97 * reach),
                    marker,
                    ms=2.6,
                    color="#D55E00",
                    mec="none",
                    ls="none",
                )
        ax.set_xlim(-0.6, len(steps) - 0.4)
        ax.set_xticks(
            range(len(steps)),
            [step.removesuffix(" filter") for step in steps],
            rotation=35,
            ha="right",
            rotation_mode="anchor",
            fontsize=pt(7.5),
        )
        ax.tick_params(labelbottom=True)
        ax.set_title(labels.get(shift, shift), loc="left")
        if number % columns == 0:
            ax.set_ylabel("above the pool's line, in d′")
    for ax in axes[len(names) :]:
        ax.set_axis_off()
    panel_letters(axes[: len(names)])
    handles = [dot(_COLOURS[scale], line="-") for scale in SCALES.values() if scale in set(ladder["scale"])]
    words = [f"{scale} scale" for scale in SCALES.values() if scale in set(ladder["scale"])]
    handles += [Line2D([], [], color="#D55E00", lw=1.5), Line2D([], [], color="#D55E00", lw=1.5, ls=":")]
    words += [f"line of {filter_group}, the filter, at the model's place", "the same, extrapolated"]
    handles.append(dot("#D55E00", "v", size=3.0))
    words.append("the same, outside the panel")
    legend_below(fig, handles, words)
    return save_figure(fig, path_stem)

"""DataComp's mixtures of sources as a figure: ratios of mixtures inside their sources' range, and rules that predict them.

Use `draw_datacomp_mixtures`.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle

from empirical.datacomp_mixtures import AT_PLACE, SHARES
from empirical.figures.elements import DARK, RULE_STYLE, dot, legend_below
from theory.page import figure_size
from theory.plotting import panel_letters, save_figure, use_style

_SHORT = {
    "CC12M": "CC",
    "LAION15M": "LAION",
    "RedCaps": "Red",
    "Shutterstock15M": "Shutter",
    "YFCC15M": "YFCC",
}
_PANELS = (("mediant", "at equal samples seen"), (AT_PLACE, "at equal place on the line"))


def draw_datacomp_mixtures(table: pd.DataFrame, path_stem: str | Path) -> list[Path]:
    """Write PATH_STEM.png and .pdf from `predict_table_18`: one row per mixture and scale.

    Grey bands are the range of the sources' d' ratios, on the left at equal samples seen, on the right read from the sources'
    lines where the mixture stands; circles are measured, with 95% intervals; the other marks are predictions.
    """
    use_style()
    part = table[table["shares"] == SHARES[0]]
    order = list(dict.fromkeys(zip(part["scale"], part["sources"], strict=True)))
    size = figure_size(8.4, 0.33 * len(order) + 1.7, extra=0.2 * len(order))
    fig, axes = plt.subplots(1, 2, figsize=size, layout="constrained", sharey=True, sharex=True)
    shown = (("mediant", "quadrature", "interpolated", "best_source"), (AT_PLACE,))
    for ax, (range_rule, title), rules in zip(axes, _PANELS, shown, strict=True):
        for i, (scale, sources) in enumerate(order):
            rows = part[(part["scale"] == scale) & (part["sources"] == sources)].set_index("rule")
            low, high = (float(rows.loc[range_rule, end]) for end in ("lowest_source", "highest_source"))
            ax.add_patch(Rectangle((low, i - 0.32), high - low, 0.64, color="#DDDDDD", lw=0, zorder=1))
            measured, error = (
                float(rows.iloc[0][name]) for name in ("ratio_measured", "ratio_measured_stderr")
            )
            ax.errorbar(measured, i, xerr=1.96 * error, fmt="o", ms=5, color=DARK, elinewidth=0.9, zorder=3)
            for rule in rules:
                colour, marker, _, _ = RULE_STYLE["lines" if rule == AT_PLACE else rule]
                shade = "#0072B2" if rule == AT_PLACE else colour
                ax.plot(
                    rows.loc[rule, "ratio_predicted"],
                    i,
                    marker,
                    ms=4.2,
                    mfc="white",
                    mec=shade,
                    mew=1.1,
                    zorder=4,
                )
        ax.set_title(title, loc="left")
        ax.set_xlabel("d′ ratio, mean of six shifts over ImageNet")
        ax.set_ylim(len(order) - 0.4, -0.6)
    axes[0].set_yticks(
        np.arange(len(order)),
        [f"{scale}: {' + '.join(_SHORT[s] for s in sources.split(' + '))}" for scale, sources in order],
        fontsize=7,
    )
    panel_letters(list(axes))
    handles: list = [dot(DARK, "o", line="-"), Rectangle((0, 0), 1, 1, color="#DDDDDD", lw=0)]
    words = ["mixture, measured (printed digits and test images)", "range of its sources"]
    for rule in shown[0]:
        colour, marker, _, text = RULE_STYLE[rule]
        handles.append(dot(colour, marker, filled=False))
        words.append(text)
    handles.append(dot("#0072B2", RULE_STYLE["lines"][1], filled=False))
    words.append("lines by share, read at the mixture's place")
    legend_below(fig, handles, words)
    return save_figure(fig, path_stem)

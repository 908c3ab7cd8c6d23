"""Filtered pools beside the raw pool and the filters' own lines: Theorem 3 on measurements.

Use `draw_filtering`.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from empirical.figures.elements import (
    PALE,
    OpenEnded,
    dot,
    legend_below,
    line_between,
    percent_panel,
    pool_label,
    readable,
)
from empirical.robustness import group_labels, models_of_shift, shifts, with_link_errors
from theory.page import first_in_row, panels
from theory.plotting import panel_letters, save_figure, use_style
from theory.source_looks import source_looks


def draw_filtering(
    accuracies: pd.DataFrame, trends: pd.DataFrame, path_stem: str | Path, reference: str = "reference"
) -> list[Path]:
    """Write PATH_STEM.png and .pdf: one row per pool, one column per shift, probit axes in percent.

    Grey: models trained on the raw pool. Colours: models trained on what each filter kept (filled, solid line), beside
    the single-source models of the source that trained the filter (small, open, dashed line). Theorem 3 (filtering) says
    that what passes a filter inherits the filter's slope in part: a solid line then lies between the grey and its dashed
    one. Lines are the fitted probit lines of groups of 3 or more models; bars are 95% intervals
    from the test images. A model with an accuracy of 0 or 1 is a bar that is
    open toward the frame (`OpenEnded`). Returns the two paths.
    """
    use_style()
    names = shifts(accuracies, reference)
    table = with_link_errors(accuracies)
    table = table.assign(filter=table["filter"].fillna("none").replace("", "none"))
    filtered = table[table["kind"] == "filtered"]
    pools = list(pd.unique(filtered["sources"]))
    filters = [name for name in pd.unique(filtered["filter"]) if name != "none"]
    looks = source_looks([*pd.unique(table.loc[table["kind"] == "single", "sources"]), *filters])
    labels = dict(zip(filtered["run"], group_labels(filtered), strict=True))
    rows, columns = max(len(pools), 1), max(len(names), 1)
    fig, axes = panels(
        rows, columns, (max(2.5 * columns, 4.9), 2.5 * rows + 0.7), extra=1.0, layout="constrained"
    )
    lines = trends[(trends["link"] == "probit") & (trends["fit"] == "line")].set_index(
        ["kind", "sources", "shift"]
    )
    num_open = 0
    for i, pool in enumerate(pools):
        of_pool = filtered[filtered["sources"] == pool]
        series = [
            ("filtered", labels[run], PALE, "o", "-")
            for run in of_pool.loc[of_pool["filter"] == "none", "run"]
        ]
        for name in filters:
            runs = of_pool.loc[of_pool["filter"] == name, "run"]
            series += [("single", name, *looks[name], (0, (4, 2)))]
            series += [("filtered", labels[run], *looks[name], "-") for run in runs]
        for j, shift in enumerate(names):
            models = models_of_shift(table, shift, reference)
            all_x, all_y, open_ended = [], [], OpenEnded()
            for kind, group, colour, marker, style in dict.fromkeys(series):
                points = models[(models["kind"] == kind) & (models["group"] == group)]
                x, y = (
                    np.where(np.isfinite(v), v, np.nan)
                    for v in (points[f"{a}_probit"].to_numpy(float) for a in "xy")
                )
                own = kind == "single"
                if not own:
                    # 95% of the test images; the filters' own models are many and small and go without
                    x_error, y_error = (1.96 * points[f"{a}_probit_stderr"].to_numpy(float) for a in "xy")
                    seen = np.isfinite(x) & np.isfinite(y)
                    axes[i * columns + j].errorbar(
                        x[seen], y[seen], xerr=x_error[seen], yerr=y_error[seen], fmt="none", ecolor=colour,
                        elinewidth=0.5, alpha=0.5, zorder=3,
                    )  # fmt: skip
                axes[i * columns + j].plot(
                    x, y, marker, ms=3.4 if own else 4.2, mfc="white" if own else colour, mec=colour if own else "white",
                    mew=0.7 if own else 0.3,
                    ls="none", alpha=0.8 if own else 1.0, zorder=2 if own else 4,
                )  # fmt: skip
                if (kind, group, shift) in lines.index and np.isfinite(x).any():
                    fit = lines.loc[(kind, group, shift)]
                    line_between(
                        axes[i * columns + j],
                        fit["intercept"],
                        fit["slope"],
                        x,
                        color=colour,
                        lw=1.0,
                        ls=style,
                        zorder=1.5,
                    )
                ends = open_ended.add(points, colour)
                all_x += [x, ends[0]]
                all_y += [y, ends[1]]
            percent_panel(
                axes[i * columns + j],
                np.concatenate(all_x),
                np.concatenate(all_y),
                readable(shift),
                f"accuracy on {readable(reference)}" if i == len(pools) - 1 else None,
                (pool_label(pool).replace(", ", ",\n") + "\n" if len(pools) > 1 else "")
                + "accuracy under shift"
                if first_in_row(j, columns)
                else None,
            )
            num_open += open_ended.draw(axes[i * columns + j])
    if len(pools) and len(names):
        panel_letters(axes)
    handles, words = (
        [dot(PALE, line="-")],
        ["raw pool" + (f" ({pool_label(pools[0])})" if len(pools) == 1 else "")],
    )
    for name in filters:
        handles += [dot(*looks[name], line="-"), dot(*looks[name], filled=False, size=3.4, line="--")]
        words += [
            f"pool filtered by the CLIP of {pool_label(name)}",
            f"{pool_label(name)} itself (the filter's own line)",
        ]
    legend_below(fig, handles, words, num_open)
    return save_figure(fig, path_stem)

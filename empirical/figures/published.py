"""The figure of `experiments/published_trends.py`: pools, what a filter kept of them, and the filter.

Use `draw_published`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from empirical.figures.elements import (
    DARK,
    OpenEnded,
    dot,
    legend_below,
    percent_panel,
    probit_of,
    source_colours,
)
from empirical.filter_inheritance import HEIGHT
from empirical.published import YOUR_MODELS
from empirical.robustness import models_of_shift, shifts, with_link_errors
from theory.links import dprime_inverse
from theory.page import current_page, panels, pt
from theory.plotting import MARKERS, panel_letters, save_figure, use_style

_POOL, _FILTER = "#555555", "#0072B2"
_YOURS = ("#AA0066", "*")
_FILTERED = ("#D55E00", "#E69F00", "#CC79A7", "#009E73")


def draw_published(
    accuracies: pd.DataFrame,
    trends: pd.DataFrame,
    comparison: pd.DataFrame,
    offsets: pd.DataFrame,
    path_stem: str | Path,
    pool: str,
    filtered: Sequence[str],
    filter_group: str,
    reference: str,
    labels: Mapping[str, str],
) -> list[Path]:
    """Write PATH_STEM.png and .pdf: one panel per shift on probit axes in percent, and a panel of verdicts.

    Points are published models; lines are fitted in d' (`fit_trends`) and drawn where their models lie. The band between
    the pool's and the filter's line is where Theorem 3 expects the filtered models of a pool of one component. Groups of
    fewer than 3 models have no line. A model with an accuracy of 0 or 1 is a bar that is open toward the frame
    (`OpenEnded`). Without pool and filter in the table every group gets a colour and there is no band.
    Returns the two paths.
    """
    use_style()
    names = shifts(accuracies, reference)
    table = with_link_errors(accuracies)
    groups = list(pd.unique(table["sources"]))
    roles = {pool: (_POOL, "o"), filter_group: (_FILTER, "D")}
    roles |= {name: (_FILTERED[i % 4], "s^vP"[i % 4]) for i, name in enumerate(filtered)}
    if YOUR_MODELS in groups:
        roles[YOUR_MODELS] = _YOURS
    if not {pool, filter_group} <= set(groups):
        roles = {g: (c, MARKERS[i % len(MARKERS)]) for i, (g, c) in enumerate(source_colours(groups).items())}
        roles |= {YOUR_MODELS: _YOURS} if YOUR_MODELS in groups else {}
    others = [group for group in groups if group not in roles]
    columns = current_page().columns(min(3, len(names) + 1))
    rows = -(-(len(names) + (1 if len(comparison) else 0)) // columns)
    size = 3.3 * columns, 2.75 * rows + 0.6
    fig, all_panels = panels(rows, columns, size, extra=0.8, layout="constrained")
    fits = trends[(trends["link"] == "dprime") & (trends["fit"] == "line")].set_index(["sources", "shift"])
    num_open = 0
    for number, (ax, shift) in enumerate(zip(all_panels, names, strict=False)):
        models = models_of_shift(table, shift, reference)
        classes = [int(models[f"{axis}_num_classes"].iloc[0]) for axis in "xy"]

        def curve(
            group: str, low: float, high: float, shift: str = shift, classes: list[int] = classes
        ) -> np.ndarray | None:
            """Fitted d' line of a group between two reference d', as (2, points) in probit."""
            if (group, shift) not in fits.index or not high > low:
                return None
            x = np.linspace(low, high, 40)
            y = fits.loc[(group, shift), "intercept"] + fits.loc[(group, shift), "slope"] * x
            return np.stack(
                [probit_of(np.asarray(dprime_inverse(d, k))) for d, k in zip((x, y), classes, strict=True)]
            )

        finite = models[np.isfinite(models["x_dprime"]) & np.isfinite(models["y_dprime"])]
        shown = finite[finite["group"].isin([pool, filter_group, *filtered])]
        if {pool, filter_group} <= set(shown["group"]):
            ranges = [shown.loc[shown["group"] == group, "x_dprime"] for group in (pool, filter_group)]
            spans = [(shown["x_dprime"].min(), shown["x_dprime"].max(), 0.07)]
            spans.append((max(r.min() for r in ranges), min(r.max() for r in ranges), 0.16))
            for low, high, alpha in spans:  # pale where the filter's or the pool's line is extrapolated
                edges = [curve(group, low, high) for group in (pool, filter_group)]
                if edges[0] is not None and edges[1] is not None:
                    ax.fill_between(
                        edges[0][0], edges[0][1], edges[1][1], color=_FILTER, alpha=alpha, lw=0, zorder=1
                    )
        rest = finite[finite["group"].isin(others)]
        ax.plot(rest["x_probit"], rest["y_probit"], ".", ms=2.5, color="#C8C8C8", zorder=1.5)
        open_ended = OpenEnded()
        ends = [open_ended.add(models[models["group"].isin(others)], "#C8C8C8")]
        for group, (colour, marker) in roles.items():
            points = finite[finite["group"] == group]
            ends.append(open_ended.add(models[models["group"] == group], colour))
            ax.plot(
                points["x_probit"],
                points["y_probit"],
                marker,
                ms=9 if group == YOUR_MODELS else 3.8,
                mfc=colour,
                mec="white",
                mew=0.3,
                ls="none",
                zorder=4,
            )
            line = curve(group, points["x_dprime"].min(), points["x_dprime"].max()) if len(points) else None
            if line is not None:
                ax.plot(*line, color=colour, lw=1.1, zorder=3)
        first = number % columns == 0
        percent_panel(
            ax,
            np.concatenate([finite["x_probit"].to_numpy(float), *(end[0] for end in ends)]),
            np.concatenate([finite["y_probit"].to_numpy(float), *(end[1] for end in ends)]),
            labels.get(shift, shift),
            f"{labels.get(reference, reference)} accuracy",
            "accuracy under shift" if first else None,
        )
        num_open += open_ended.draw(ax)
    panel_letters(all_panels[: len(names)])
    for ax in all_panels[len(names) :]:
        ax.set_axis_off()
    if len(comparison) and len(all_panels) > len(names):
        _verdicts(all_panels[len(names)], comparison, offsets, labels)
    handles: list[Any] = [dot(colour, marker, line="-") for colour, marker in roles.values()]
    words = list(roles)
    if {pool, filter_group} <= set(groups):
        words = [f"{w} (the filter)" if w == filter_group else w for w in words]
        handles.append(Rectangle((0, 0), 1, 1, color=_FILTER, alpha=0.23, lw=0))
        words.append("between pool and filter (Theorem 3, one component; pale: extrapolated)")
    if others:
        handles.append(dot("#C8C8C8", ".", size=5.0))
        words.append("other groups")
    legend_below(fig, handles, words, num_open)
    return save_figure(fig, path_stem)


def _verdicts(ax: Axes, comparison: pd.DataFrame, offsets: pd.DataFrame, labels: Mapping[str, str]) -> None:
    """The verdicts in words, in place of a panel: lines of groups, and pairs of equal models."""
    heights = comparison[comparison["quantity"] == HEIGHT]
    step = min(0.066, 0.8 / max(len(heights) + 1.6 * heights["filtered"].nunique(), 1))

    def write(x: float, y: float, text: str, colour: str = DARK, size: float = 6.8, **kwargs: Any) -> None:
        ax.text(x, y, text, transform=ax.transAxes, fontsize=pt(size), color=colour, va="top", **kwargs)

    y = 1.0
    for name, part in heights.groupby("filtered", sort=False):
        write(-0.05, y, str(name), size=7.4, weight="bold")
        write(0.33, y, "its line", size=6.8, style="italic")
        write(0.70, y, "matched pairs", size=6.8, style="italic")
        y -= 1.15 * step
        moved = offsets[offsets["filtered"] == name].set_index("shift")["direction"]
        for _, row in part.iterrows():
            shift = row["shift"]
            write(-0.03, y, labels.get(shift, shift) + (" *" if row["extrapolated"] else ""))
            for x, words in ((0.33, row["verdict"]), (0.70, moved.get(shift, "no pairs"))):
                good, bad = words in ("between", "toward the filter"), words.startswith(("outside", "away"))
                write(x, y, words, "#00754F" if good else "#B34700" if bad else "#555555")
            y -= step
        y -= 0.45 * step
    note = (
        "Its line: height in d′ at the middle of the ImageNet range that all\nthree share. "
        "Matched pairs: off the pool's line, equal model and\ntraining length. All at 95%; "
        "no contrast: pool and filter too close."
    )
    write(-0.05, y, note + ("  * extrapolated" if heights["extrapolated"].any() else ""), "#777777", 6.0)

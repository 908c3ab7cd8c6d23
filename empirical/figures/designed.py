"""Where designed mixtures stand among all mixtures trained with the same number of samples; use `draw_designed`."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator

from empirical.design import target_shifts
from empirical.figures.elements import (
    DARK,
    INK,
    PALE,
    dot,
    legend_below,
    mixture_marker,
    readable,
)
from empirical.group_means import Means, group_means
from empirical.prediction import mixture_shares
from theory.page import first_in_row, panels, pt
from theory.plotting import MARKERS, dprime_axes, panel_letters, save_figure, use_style
from theory.source_looks import Look, source_looks

_LANE = 0.19
"""Prediction and other models stand this far above and below the measurement."""


def draw_designed(designed: pd.DataFrame, accuracies: pd.DataFrame, path_stem: str | Path) -> list[Path]:
    """Write PATH_STEM.png and .pdf: a panel per shift and one of ranks, a row per budget.

    Panels of shifts, d' axis in percent: the designed mixture as measured (pie of its shares, 95% interval of seeds and images)
    and as predicted before it was trained (diamond above it, 95%); below, every other mixture of that many samples (grey
    ticks) and every single source (its marker). A design that is one source has an open diamond: its models are those
    that it was chosen for. On the worst of several shifts each counts by its smallest
    mean d', in percent of that of the first one's number of classes. Ranks: where the design stands among the input mixtures,
    with the ranks that the errors of the differences leave open (`empirical.design_rank`). In the panels of shifts the
    gain in d' of a designed mixture over the best single source is written at the left end of its row. A design without runs has
    its prediction alone. Returns the paths.
    """
    use_style()
    targets = [str(name) for name in pd.unique(designed["shift"])]
    budgets = [int(n) for n in pd.unique(designed["budget"])]
    sources = list(pd.unique(accuracies.loc[accuracies["kind"] == "single", "sources"]))
    looks, means = source_looks(sources), group_means(accuracies)
    classes = accuracies.drop_duplicates("test_set").set_index("test_set")["num_classes"]
    columns = 3
    rows = -(-(len(targets) + 1) // columns)
    height = rows * (0.62 * len(budgets) + 0.9) + 0.6
    fig, axes = panels(rows, columns, (9.6, height), extra=0.7, flow=True, layout="constrained")
    for i, target in enumerate(targets):
        ax = axes[i]
        here = designed[designed["shift"] == target].set_index("budget")
        for row, budget in enumerate(budgets):
            if budget in here.index:
                _row(ax, len(budgets) - 1 - row, here.loc[budget], str(target), means, int(budget), looks)
        dprime_axes(ax, int(classes[target_shifts(str(target))[0]]), "x", ticks="percent")
        ax.set_title(_words(str(target)), loc="left")
        ax.set_xlabel("accuracy under shift")
        _budgets(ax, budgets, named=first_in_row(i, columns))
        ax.margins(x=0.06)
    _ranks(axes[len(targets)], designed, targets, budgets)
    for ax in axes[len(targets) + 1 :]:
        ax.set_axis_off()
    panel_letters(axes[: len(targets) + 1])
    handles = [dot(INK, "o", size=6.5), dot(DARK, "D")]
    labels = ["designed, measured (pie: its shares)", "designed, predicted before training"]
    if any(":" not in str(name) for name in designed["sources"]):
        handles.append(dot(DARK, "D", filled=False))
        labels.append("design of one source: judged by its own models")
    handles.append(Line2D([], [], color=PALE, marker="|", ls="none", ms=7))
    labels.append("other mixtures")
    handles += [dot(*look, size=4.2) for look in looks.values()]
    labels += [f"{readable(name)} alone" for name in looks]
    if np.isfinite(designed["gain_over_source"].to_numpy(float)).any():
        handles.append(Line2D([], [], ls="none"))
        labels.append("gain: d′ over the best single source, 95%")
    if len(budgets) > 1:
        handles += [dot(_shade(i, budgets), MARKERS[i]) for i in range(len(budgets))]
        labels += [f"rank at n = {int(budget):,}" for budget in budgets]
    handles.append(Line2D([], [], color=PALE, lw=0.8, ls=(0, (2, 2))))
    labels.append("rank of the worst mixture")
    legend_below(fig, handles, labels)
    return save_figure(fig, path_stem)


def _words(target: str) -> str:
    shifts = target_shifts(target)
    return readable(target) if len(shifts) == 1 else f"worst of {len(shifts)} shifts"


def _budgets(ax: Axes, budgets: list[int], named: bool) -> None:
    ax.set_yticks(
        range(len(budgets))[::-1], [f"n = {int(n):,}" for n in budgets] if named else [""] * len(budgets)
    )
    ax.set_ylim(-0.55, len(budgets) - 0.45)
    ax.grid(visible=False, axis="y")
    for edge in np.arange(len(budgets) - 1) + 0.5:
        ax.axhline(edge, color=PALE, lw=0.4, zorder=0)


def _row(
    ax: Axes, at: int, design: pd.Series, target: str, means: Means, budget: int, looks: dict[str, Look]
) -> None:
    own, places = str(design["sources"]), [means.test_sets.index(name) for name in target_shifts(target)]
    for (kind, sources, _, n), group in means.groups.items():
        value = float(group.mean[places].min())
        if n != budget or kind not in ("single", "input_mixing") or not np.isfinite(value):
            continue
        single = kind == "single"
        if single:
            colour, marker = looks[sources]
            ax.plot(value, at - 1.3 * _LANE, marker, color=colour, ms=4.8, mec="white", mew=0.4, zorder=2.5)
        else:
            ax.plot(value, at - 1.3 * _LANE, "|", color=PALE, ms=6, mew=0.9, zorder=2)
    ax.hlines(at + 1.3 * _LANE, design["dprime_low"], design["dprime_high"], color=DARK, lw=1.0, zorder=3)
    # A design of one source is that source: its models are the prediction's own, and nothing new was trained.
    face, edge = (DARK, "white") if ":" in own else ("white", DARK)
    x = float(design["dprime_predicted"])
    ax.plot(x, at + 1.3 * _LANE, "D", mfc=face, mec=edge, mew=0.4 if ":" in own else 0.9, ms=4.5, zorder=4)
    measured, half = float(design["dprime_measured"]), 1.96 * float(design["dprime_measured_stderr"])
    if not np.isfinite(measured):
        return
    if np.isfinite(half):
        ax.hlines(at, measured - half, measured + half, color=INK, lw=1.1, zorder=5)
    gain = design.get("gain_over_source", np.nan)
    if np.isfinite(gain):
        words = f"gain {gain:+.2f} [{design['gain_low']:+.2f}, {design['gain_high']:+.2f}]".replace("-", "−")
        ax.text(
            0.02, at + 0.42, words, transform=ax.get_yaxis_transform(), va="top", fontsize=pt(6.5), color=INK
        )
    shares = mixture_shares(own) if ":" in own else {own: 1.0}
    colours = {name: colour for name, (colour, _) in looks.items()}
    mixture_marker(ax, measured, at, shares, colours, size=8.0, zorder=6)


def _shade(i: int, budgets: list[int]) -> str:
    """The grey of a budget in the panel of ranks: the larger, the darker."""
    return str(0.55 - 0.45 * i / max(len(budgets) - 1, 1))


def _ranks(ax: Axes, designed: pd.DataFrame, targets: list[str], budgets: list[int]) -> None:
    """Rank and its open ends per shift, a marker per budget; the far end is the number of mixtures."""
    last = 1.0
    for i, budget in enumerate(budgets):
        part = designed[(designed["budget"] == budget) & np.isfinite(designed["rank"].to_numpy(float))]
        y = np.array([len(targets) - 1 - targets.index(name) for name in part["shift"]], dtype=float)
        y -= (i - (len(budgets) - 1) / 2) * 0.6 / max(len(budgets), 1)
        shade = _shade(i, budgets)
        ax.hlines(y, part["rank_low"], part["rank_high"], color=shade, lw=1.2, zorder=2)
        ax.plot(part["rank"], y, MARKERS[i], color=shade, mec="white", mew=0.4, ms=5, ls="none", zorder=3)
        last = max([last, *part["num_mixtures"]])
    ax.axvline(1, color=PALE, lw=0.8, zorder=0)
    ax.axvline(last, color=PALE, lw=0.8, ls=(0, (2, 2)), zorder=0)
    ax.set_xlim(1 - 0.05 * last, 1.05 * last)
    step = max(1, round(last / 30)) * 5
    ax.xaxis.set_major_locator(FixedLocator([1, *range(step, int(last) + 1, step)]))
    ax.set_yticks(
        range(len(targets))[::-1],
        [_words(str(name)).removesuffix(" shifts") for name in targets],
    )
    ax.set_ylim(-0.6, len(targets) - 0.4)
    ax.grid(visible=False, axis="y")
    ax.set_xlabel(f"rank of {last:.0f} mixtures (1: the best)")
    ax.set_title("rank, 95%", loc="left")

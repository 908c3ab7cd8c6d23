"""The figure of the learners' limits: lines are exact limits, points are trained classifiers; z-scores; the gap of finite d."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy.stats import norm

from theory.learner_limits import LEARNERS, mixtures
from theory.learner_limits_verdict import verdict, z_scores
from theory.page import figure_size, panel_legend, pt
from theory.plotting import COLOURS, ERROR_BAR, MARKERS, panel_letters, probit_axes, save_figure, use_style

_TITLES = {
    "square": "ridge",
    "logistic": "logistic",
    "hinge": "hinge, hard margin",
}


def draw_learner_limits(table: pd.DataFrame, curves: pd.DataFrame, stem: str | Path) -> list[Path]:
    """Draw learner_limits.csv and learner_limits_curves.csv.

    Accuracy on the reference against n/d per mixture and loss, z-scores, and the gap against d.

    Args:
        table: the cells with their limits (`theory.learner_limits.with_predictions`), all d.
        curves: `theory.learner_limits_curves.limit_curves` of them.
        stem: path without suffix.

    Returns:
        Paths of the PNG and the PDF.
    """
    use_style()
    d = int(table["d"].max())
    settings = mixtures(d)
    losses = [name for name in LEARNERS if name in set(table["learner"]) and name in _TITLES]
    losses = losses or ["hinge"]
    rows = len(settings) + 1
    # Rows are mixtures and columns learners: they stay whole on every page.
    size = figure_size(11.0, 2.9 * rows + 0.4, rows=rows, extra=1.2)
    fig, axes = plt.subplots(rows, 3, figsize=size, layout="constrained", squeeze=False)
    main = table[(table["d"] == d) & (table["target"] == settings[0].targets[0].name)]
    for row, mixture in zip(axes, settings, strict=False):
        for ax, loss in zip(row, losses, strict=False):
            _curves(
                ax, main[main["mixture"] == mixture.name], curves[curves["mixture"] == mixture.name], loss
            )
        for ax in row[len(losses) :]:
            ax.set_axis_off()
        row[0].set_ylabel(f"{mixture.name}\naccuracy")
    for ax, loss in zip(axes[0], losses, strict=False):
        ax.set_title(_TITLES[loss])
    for ax in axes[-2]:
        ax.set_xlabel("samples per feature n/d")
    handles = {
        str(line.get_label()): line
        for ax in axes[0]
        for line in ax.lines
        if not str(line.get_label()).startswith("_")
    }
    fig.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, fontsize=pt(8))
    _scores(axes[-1, 0], table, d)
    _differences(axes[-1, 1], table, d)
    _gaps(axes[-1, 2], table)
    panel_letters([ax for ax in axes.flat if ax.axison])
    return save_figure(fig, stem)


def _curves(ax: Axes, cells: pd.DataFrame, curves: pd.DataFrame, loss: str) -> None:
    own, lines = cells[cells["learner"] == loss], curves[curves["learner"] == loss]
    penalties = sorted(own["penalty"].unique())
    for colour, marker, penalty in zip(COLOURS, MARKERS, penalties, strict=False):
        line = lines[lines["penalty"] == penalty]
        ax.plot(line["samples_per_feature"], line["margin"], color=colour, lw=1.4, label=f"λ = {penalty:g}")
        _points(ax, own[own["penalty"] == penalty], marker, colour)
    hard, line = cells[cells["learner"] == "hard_margin"], curves[curves["learner"] == "hard_margin"]
    if loss == "hinge" and len(hard):
        most = float(line["separable_below"].iloc[0])
        ax.plot(
            line["samples_per_feature"], line["margin"], color="0.25", lw=1.2, ls="--", label="hard margin"
        )
        ax.axvline(most, color="0.6", lw=0.9, ls=":")
        ax.annotate(
            "separable",
            (most, 0.03),
            xycoords=("data", "axes fraction"),
            ha="right",
            fontsize=pt(7.5),
            color="0.4",
        )
        _points(ax, hard, "x", "0.25", hollow=True)
    ax.set_xscale("log", base=2)
    ax.set_xticks([0.5, 1, 2, 4, 8], ["½", "1", "2", "4", "8"])
    probit_axes(ax, "y")


def _points(ax: Axes, cells: pd.DataFrame, marker: str, colour: str, hollow: bool = False) -> None:
    accuracy = cells["accuracy_simulated"].to_numpy(float)
    place = norm.ppf(accuracy)
    # In units of the probit axis.
    error = cells["accuracy_stderr"].to_numpy(float) / norm.pdf(place)
    x = cells["samples_per_feature"]
    ax.errorbar(x, place, yerr=error, ecolor=colour, **ERROR_BAR)
    edge = colour if hollow else "white"
    ax.plot(x, place, marker, color=colour, mec=edge, mew=1.2 if hollow else 0.5, ms=5, zorder=3)


# Panels of curves have a colour per regularisation: learners have others.
_LEARNERS = ("#A0174B", "#5B4FC4", "0.25", "#7A4A12")


def _scores(ax: Axes, table: pd.DataFrame, d: int) -> None:
    z = z_scores(table[table["d"] == d])
    edges = np.arange(-5, 5.01, 0.5)
    ax.hist(np.clip(z, -5, 5), bins=edges.tolist(), color=COLOURS[5], edgecolor="white", lw=0.5)
    grid = np.linspace(-5, 5, 200)
    ax.plot(grid, len(z) * 0.5 * norm.pdf(grid), color="0.25", lw=1.3)
    found = verdict(table)
    ax.set_title(f"z-scores at d = {d}: {found.beyond_3} of {found.num_cells} beyond 3")
    ax.set(xlabel="(trained − limit) / standard error", ylabel="cells")


def _differences(ax: Axes, table: pd.DataFrame, d: int) -> None:
    cells = table[table["d"] == d]
    for colour, marker, learner in zip(_LEARNERS, MARKERS[: len(LEARNERS)], LEARNERS, strict=True):
        rows = cells[cells["learner"] == learner]
        gap = 100 * (rows["accuracy_simulated"] - rows["accuracy_predicted"])
        ax.errorbar(
            100 * rows["accuracy_predicted"],
            gap,
            yerr=100 * rows["accuracy_stderr"],
            ecolor=colour,
            alpha=0.45,
            **ERROR_BAR,
        )
        ax.plot(
            100 * rows["accuracy_predicted"],
            gap,
            marker,
            color=colour,
            mec="white",
            mew=0.4,
            ms=4.2,
            label=learner.replace("_", " "),
        )
    ax.axhline(0, color="0.4", lw=1)
    ax.set(xlabel="accuracy in the limit, %", ylabel="trained − limit, points")
    ax.set_title(f"Nothing fitted (d = {d})")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.3 * (high - low))
    panel_legend(ax, loc="upper left", ncols=2, fontsize=7.5)


def _gaps(ax: Axes, table: pd.DataFrame) -> None:
    found = verdict(table)
    d = np.asarray([gap.num_features for gap in found.gaps], float)
    rms = np.asarray([gap.rms for gap in found.gaps])
    high = np.asarray([gap.high for gap in found.gaps])
    low = np.asarray([gap.low for gap in found.gaps])
    seen = rms > 0
    ax.errorbar(
        d[seen],
        rms[seen],
        yerr=np.stack([(rms - np.maximum(low, 0.02 * rms))[seen], (high - rms)[seen]]),
        ecolor=COLOURS[0],
        **ERROR_BAR,
    )
    ax.plot(d[seen], rms[seen], "o", color=COLOURS[0], ms=6, label="rms beyond standard errors, 95%")
    if (~seen).any():
        ax.plot(d[~seen], high[~seen], "v", color=COLOURS[0], mfc="none", ms=6, label="upper limit, 95%")
    if seen.any():
        ax.plot(d, rms[seen][0] * d[seen][0] / d, color="0.4", ls=":", lw=1.2, label="slope of 1/d")
    noise = table.groupby("d")["accuracy_stderr"].agg(lambda x: float(np.sqrt((x**2).mean())))
    ax.plot(noise.index, noise, "_", color="0.5", ms=14, mew=1.5, label="rms standard error of a cell")
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(d, [f"{int(x)}" for x in d])
    ax.set(xlabel="features d", ylabel="gap to the limit (accuracy)")
    ax.set_title("The gap of finite d")
    panel_legend(ax, loc="lower right", fontsize=7.5)

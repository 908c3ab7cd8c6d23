"""The figure of label noise and nuisance features: lines are predictions, points with error bars simulations."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from theory.page import panel_legend, panels, pt
from theory.plotting import (
    COLOURS,
    ERROR_BAR,
    MARKERS,
    panel_letters,
    probit_axes,
    save_figure,
    use_style,
)

_GREY = "0.35"
_BLACK = COLOURS[6]


def draw_wrong_line(tables: Mapping[str, pd.DataFrame], stem: str | Path) -> list[Path]:
    """Draw the bending line, models on both targets, their correlation against the shift, and where it turns.

    Args:
        tables: those of `theory.panels.wrong_line.wrong_line_tables`; nothing else is read.
        stem: path without suffix.

    Returns:
        Paths of the PNG and the PDF.
    """
    use_style()
    fig, axes = panels(2, 2, (10.6, 8.2), extra=2.0)
    _bend(axes[0], tables["wrong_line_bend"], tables["wrong_line_bend_curves"])
    _models(axes[1], tables)
    _correlation(axes[2], tables["wrong_line_correlation"], tables["wrong_line_curves"])
    _turn(axes[3], tables["wrong_line_turn"])
    panel_letters(axes)
    return save_figure(fig, stem)


def _bend(ax: Axes, bend: pd.DataFrame, curves: pd.DataFrame) -> None:
    for colour, marker, (strength, rows) in zip(COLOURS, MARKERS, bend.groupby("strength"), strict=False):
        line = curves[curves["strength"] == strength]
        ax.plot(line["n"], line["slope_predicted"], color=colour, lw=1.5, zorder=1)
        for end, side in (("scarce", 0.02), ("plentiful", 0.98)):
            ax.plot(
                [side],
                [line[end].iloc[0]],
                marker="_",
                ms=13,
                mew=2,
                color=colour,
                transform=ax.get_yaxis_transform(),
            )
        _points(ax, rows["n"], rows, "slope", colour, marker, label=f"s² = {strength:g}")
    ax.set_xscale("log")
    ax.set(
        xlabel="training samples n", ylabel="slope: margin on the shift / on the reference", ylim=(0, 1.08)
    )
    ax.set_title("Averaging: nuisance features bend the line")
    handles, labels = ax.get_legend_handles_labels()
    handles.append(Line2D([], [], marker="_", ls="", ms=11, mew=2, color=_GREY))
    panel_legend(
        ax,
        handles,
        [*labels, "ends for n → 0 and n → ∞"],
        loc="lower right",
        title="nuisance variance on the shift",
    )


def _models(ax: Axes, tables: Mapping[str, pd.DataFrame]) -> None:
    models, paths, cloud = (tables[f"wrong_line_{name}"] for name in ("models", "paths", "cloud"))
    weak, strong = sorted(paths["strength"].unique())
    clean, noisy = paths["label_noise"].min(), paths["label_noise"].max()
    exact = models[(models["sampler"] == "exact") & (models["learner"] == "interpolating")]
    shown = [
        (COLOURS[0], "o", noisy, weak),
        (COLOURS[2], "^", clean, strong),
        (COLOURS[1], "s", noisy, strong),
    ]
    for colour, marker, rate, strength in shown:
        found = _row(tables["wrong_line_correlation"], rate, strength)["correlation_simulated"]
        label = f"{rate:.0%} of labels flipped, s² = {strength:g}: correlation {found:+.2f}".replace("-", "−")
        line = paths[(paths["label_noise"] == rate) & (paths["strength"] == strength)]
        rows = exact[(exact["label_noise"] == rate) & (exact["strength"] == strength)]
        ax.plot(line["probit_ref_predicted"], line["probit_shift_predicted"], color=colour, lw=1.5, zorder=1)
        _points(ax, rows["probit_ref_simulated"], rows, "probit_shift", colour, marker, label=label)
        first, last = rows.iloc[0], rows.iloc[-1]
        for row, away in ((first, (-6, -11)), (last, (7, -3))):
            ax.annotate(
                f"n = {_power(float(row['n']))}",
                (row["probit_ref_simulated"], row["probit_shift_simulated"]),
                xytext=away,
                textcoords="offset points",
                ha="right" if away[0] < 0 else "left",
                fontsize=pt(7.5),
                color=colour,
                # Single models lie all around: text on a veil stays readable over them.
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.4},
            )
        dots = cloud[(cloud["label_noise"] == rate) & (cloud["strength"] == strength)]
        ax.plot(
            dots["probit_ref"],
            dots["probit_shift"],
            marker,
            color=colour,
            ms=2.6,
            alpha=0.45,
            mec="none",
            zorder=0,
        )
    smallest, largest = cloud["n"].min(), cloud["n"].max()
    low, high = ax.get_xlim()
    ax.set_xlim(low, high + 0.12 * (high - low))
    ax.set_ylim(-0.35, None)
    ax.set(xlabel="accuracy on the reference", ylabel="accuracy on the shift")
    ax.set_title("Interpolators: more data, the wrong line")
    probit_axes(ax)
    handles, labels = ax.get_legend_handles_labels()
    handles.append(Line2D([], [], marker="o", ls="", ms=2.6, color=_GREY))
    panel_legend(
        ax,
        handles,
        [*labels, f"single models trained on n = {smallest:g} to {largest:g}"],
        loc="lower left",
        fontsize=pt(7.8),
    )


def _correlation(ax: Axes, correlation: pd.DataFrame, curves: pd.DataFrame) -> None:
    groups = curves.groupby(["learner", "label_noise"], sort=False)
    for number, ((learner, rate), line) in enumerate(groups):
        averaging = learner == "averaging"
        colour = _BLACK if averaging else COLOURS[(2, 4, 1)[number % 3]]
        rows = correlation[(correlation["learner"] == learner) & (correlation["label_noise"] == rate)]
        ax.plot(
            line["strength"],
            line["correlation_predicted"],
            color=colour,
            lw=1.5,
            ls="--" if averaging else "-",
            zorder=1,
        )
        name = f"averaging, {rate:.0%} flipped" if averaging else f"interpolating, {rate:.0%} flipped"
        _points(ax, rows["strength"], rows, "correlation", colour, MARKERS[number], label=name, scale=1.96)
    ax.axhline(0, color="0.5", lw=0.9, zorder=0)
    ax.set_xscale("log")
    ax.set(
        xlabel="nuisance variance on the shift, s²",
        ylabel="correlation over models of four sizes",
        ylim=(-1.08, 1.6),
    )
    ax.set_yticks(np.linspace(-1, 1, 5))
    ax.set_title("Accuracies on shift and reference: from + to −")
    panel_legend(ax, loc="upper center", ncol=2, fontsize=pt(8))


def _turn(ax: Axes, turn: pd.DataFrame) -> None:
    for colour, marker, (separation, rows) in zip(
        COLOURS[3:], "DP", turn.groupby("separation"), strict=False
    ):
        rate = 100 * rows["label_noise"]
        predicted, simulated = (np.exp(rows[f"log_turn_{kind}"]) for kind in ("predicted", "simulated"))
        error = simulated * np.expm1(1.96 * rows["log_turn_stderr"])
        ax.plot(rate, predicted, color=colour, lw=1.5, zorder=1)
        ax.plot(rate, rows["turn_inverse_squares"], color=colour, lw=1.0, ls=":", zorder=1)
        ax.errorbar(rate, simulated, yerr=error, ecolor=colour, **ERROR_BAR)
        words = "signal ν" if separation == 1 else f"‖ν‖² {separation:g} times as large"
        ax.plot(rate, simulated, marker, color=colour, mec="white", mew=0.6, ms=6, zorder=3, label=words)
    ax.set_yscale("log")
    ax.set(xlabel="training labels flipped, %", ylabel="s² at which the correlation turns negative")
    ax.set_title("Label noise brings the turning point down")
    handles, labels = ax.get_legend_handles_labels()
    handles.append(Line2D([], [], color=_GREY, ls=":", lw=1.0))
    panel_legend(ax, handles, [*labels, "closed form, of 1/m²"], loc="upper right")
    ax.text(
        0.03,
        0.06,
        "below: positive line\nabove: wrong line",
        transform=ax.transAxes,
        fontsize=pt(8),
        color=_GREY,
    )


def _row(correlation: pd.DataFrame, rate: float, strength: float) -> "pd.Series[float]":
    chosen = (correlation["learner"] == "interpolating") & (correlation["label_noise"] == rate)
    return correlation[chosen & (correlation["strength"] == strength)].iloc[0]


def _points(
    ax: Axes,
    x: "pd.Series[float]",
    rows: pd.DataFrame,
    quantity: str,
    colour: str,
    marker: str,
    label: str,
    scale: float = 1.0,
) -> None:
    """Simulated values with error bars of `scale` standard errors."""
    y = rows[f"{quantity}_simulated"]
    ax.errorbar(x, y, yerr=scale * rows[f"{quantity}_stderr"], ecolor=colour, **ERROR_BAR)
    ax.plot(x, y, marker, color=colour, mec="white", mew=0.6, ms=6, zorder=3, label=label)


def _power(n: float | int) -> str:
    exponent = np.floor(np.log10(n))
    front = n / 10**exponent
    return f"$10^{exponent:.0f}$" if front == 1 else rf"{front:g}·$10^{exponent:.0f}$"

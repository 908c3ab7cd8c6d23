"""The figure of Theorems 1, 2 and 2b and of the finite-d bias: lines are predictions, points with error bars simulations."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from theory.page import panel_legend, panels, pt
from theory.panels.mixing import default_setting, place_curves
from theory.plotting import ERROR_BAR, panel_letters, probit_axes, save_figure, use_style
from theory.source_looks import shift_looks, source_looks

_NAMES = {
    "averaging": "input mixing",
    "ensemble_heads_each": "output mixing, heads on n each",
    "ensemble_heads_share": "output mixing, heads on their share of n",
    "normalised_ensemble": "output mixing, normalised heads",
}
# No source has these: panels c and d compare kinds of mixing and closed forms.
_KINDS = ("0.1", "#A0174B", "#5B4FC4", "0.55")


def draw_dilution(tables: Mapping[str, pd.DataFrame], stem: str | Path) -> list[Path]:
    """Draw the lines of sources and mixtures, slope against share, place against n, and the finite-d bias.

    Args:
        tables: `mixing` and `finite_d_bias` of `theory.panels.dilution.dilution_tables`; the smooth lines are the closed
            forms again.
        stem: path without suffix.

    Returns:
        Paths of the PNG and the PDF.
    """
    mixing, bias = tables["mixing"], tables["finite_d_bias"]
    setting = default_setting(int(mixing["d"].iloc[0]))
    shares = mixing["share"].unique()
    middle = float(shares[np.abs(shares - 0.5).argmin()])
    grid = np.geomspace(mixing["n"].min(), mixing["n"].max(), 60)
    curves = place_curves(setting, middle, list(grid))
    source_names = (setting.sources[0].name, setting.sources[1].name)
    use_style()
    fig, axes = panels(2, 2, (10.2, 7.8), extra=2.0)
    _plane(axes[0], mixing, source_names)
    _slopes(axes[1], mixing, source_names)
    _places(axes[2], mixing, curves)
    _bias(axes[3], bias)
    panel_letters(axes)
    return save_figure(fig, stem)


def _plane(ax: Axes, mixing: pd.DataFrame, source_names: tuple[str, str]) -> None:
    shift = mixing["shift"].iloc[0]
    rows = mixing[
        (mixing["classifier"] == "averaging") & (mixing["shift"] == shift) & (mixing["sampler"] == "reduced")
    ]
    shares = sorted(rows["share"].unique())
    middle = min(shares, key=lambda share: abs(share - 0.5))
    first, second = source_names
    looks = source_looks(source_names)
    shown = [
        (looks[first], shares[-1], f"{first} only"),
        (("0.35", "D"), middle, f"{middle:.0%} {first}, {1 - middle:.0%} {second}"),
        (looks[second], shares[0], f"{second} only"),
    ]
    reach = float(rows["probit_ref_predicted"].max()) * 1.06
    for (colour, marker), share, label in shown:
        line = rows[rows["share"] == share].sort_values("n")
        slope = float(line["slope_predicted"].iloc[-1])
        ax.plot([0, reach], [0, slope * reach], color=colour, lw=1.5, label=label, zorder=1)
        x, y = line["probit_ref_simulated"], line["slope_simulated"] * line["probit_ref_simulated"]
        ax.errorbar(
            x, y, xerr=line["probit_ref_stderr"], yerr=line["slope_stderr"] * x, ecolor=colour, **ERROR_BAR
        )
        ax.plot(x, y, marker, color=colour, mec="white", mew=0.6, ms=6, zorder=3)
    ax.set(
        xlim=(0, reach),
        ylim=(0, None),
        xlabel="accuracy on the reference",
        ylabel=f"accuracy on shift “{shift}”",
    )
    ax.set_title("Data move a model up its line; mixing turns it")
    probit_axes(ax)
    panel_legend(ax, loc="upper left")


def _slopes(ax: Axes, mixing: pd.DataFrame, source_names: tuple[str, str]) -> None:
    brute = mixing.loc[mixing["sampler"] == "brute_force", "n"]
    n = float(brute.max()) if len(brute) else float(mixing["n"].median())
    styles = {"averaging": ("o", "-"), "normalised_ensemble": ("D", "--")}
    handles: list[Line2D] = []
    shifts = shift_looks(map(str, mixing["shift"].unique()))
    for shift, rows in mixing[mixing["n"] == n].groupby("shift", sort=False):
        colour, _ = shifts[str(shift)]
        # Plain ensembles lie on the mediant of input mixing and would hide it; they are in the table and in panel c.
        for classifier, (marker, dash) in styles.items():
            group = rows[(rows["classifier"] == classifier) & (rows["sampler"] == "reduced")].sort_values(
                "share"
            )
            ax.plot(group["share"], group["slope_predicted"], color=colour, lw=1.4, ls=dash, zorder=1)
            _points(ax, group, "share", "slope", marker, colour)
        _points(ax, rows[rows["sampler"] == "brute_force"], "share", "slope", "s", colour, hollow=True)
        ends = rows[rows["classifier"] == "averaging"].sort_values("share")["slope_predicted"]
        ax.plot([0, 1], [ends.iloc[0], ends.iloc[-1]], color=colour, lw=1, ls=":", zorder=0)
        handles.append(Line2D([], [], color=colour, label=f"shift “{shift}”"))
    grey = "0.35"
    handles += [
        Line2D([], [], color=grey, label="mediant: weight is share × signal"),
        Line2D([], [], color=grey, ls="--", label="mediant of normalised heads"),
        Line2D([], [], color=grey, ls=":", lw=1, label="interpolation by share"),
    ]
    ax.set(xlabel=f"share of {source_names[0]}", ylabel="slope: robustness on the shift", xlim=(-0.03, 1.03))
    ax.set_title(f"The slope is a weighted mediant (n = {_power(n)})")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.1 * (high - low))
    panel_legend(ax, handles=handles, loc="upper right")


def _points(
    ax: Axes,
    rows: pd.DataFrame,
    x: str,
    quantity: str,
    marker: str,
    colour: str,
    hollow: bool = False,
    label: str | None = None,
) -> None:
    """Simulated values with error bars of one standard error."""
    if not len(rows):
        return
    y, error = rows[f"{quantity}_simulated"], rows[f"{quantity}_stderr"]
    ax.errorbar(rows[x], y, yerr=error, ecolor=colour, **ERROR_BAR)
    face, edge, size = ("none", colour, 8.5) if hollow else (colour, "white", 5.2)
    ax.plot(
        rows[x], y, marker, mfc=face, mec=edge, mew=1.0 if hollow else 0.5, ms=size, zorder=3, label=label
    )


def _places(ax: Axes, mixing: pd.DataFrame, curves: pd.DataFrame) -> None:
    shift, share = mixing["shift"].iloc[0], float(curves["share"].iloc[0])
    rows = mixing[(mixing["shift"] == shift) & np.isclose(mixing["share"], share)]
    looks = dict(zip(_NAMES, zip(_KINDS, ("o", "^", "v", "D"), strict=True), strict=True))
    for classifier, (colour, marker) in looks.items():
        line = curves[curves["classifier"] == classifier]
        group = rows[rows["classifier"] == classifier]
        if not len(group):
            continue
        # Heads on their share of n are equal in law to input mixing: a dashed line lets both be seen.
        dash = (0, (4, 4)) if classifier == "ensemble_heads_share" else "-"
        ax.plot(line["n"], line["probit_ref_predicted"], color=colour, lw=1.6, ls=dash, zorder=1)
        reduced = group[group["sampler"] == "reduced"]
        _points(ax, reduced, "n", "probit_ref", marker, colour, label=_NAMES[classifier])
        brute = group[group["sampler"] == "brute_force"]
        _points(ax, brute, "n", "probit_ref", "s", colour, hollow=True, label="input mixing, brute force")
    ax.set_xscale("log")
    ax.set(xlabel="training samples n", ylabel="accuracy on the reference")
    ax.set_title(f"The place on the line saturates (share {share:.0%})")
    probit_axes(ax, "y")
    panel_legend(ax, loc="lower right")


def _bias(ax: Axes, bias: pd.DataFrame) -> None:
    d = bias["d"].to_numpy(float)
    leading, corrected = _KINDS[:2]
    for colour, marker, column, label in (
        (leading, "o", "bias_leading", "closed form, leading order"),
        (corrected, "s", "bias_second_order", "with the O(1/d) correction"),
    ):
        value, error = bias[column].abs().to_numpy(float), bias["probit_ref_stderr"].to_numpy(float)
        clear = value > 2 * error
        lower = np.minimum(error, 0.9 * value)
        if clear.any():
            bars = np.stack([lower, error])[:, clear]
            ax.errorbar(d[clear], value[clear], yerr=bars, ecolor=colour, **ERROR_BAR)
            ax.plot(d[clear], value[clear], marker, color=colour, mec="white", mew=0.6, ms=6, label=label)
        # Not told apart from zero: shown as an upper limit, not as a point.
        if not clear.all():
            words = f"{label}:\nupper limit (2 s.e.)"
            ax.plot(
                d[~clear],
                (value + 2 * error)[~clear],
                "v",
                color=colour,
                mfc="none",
                ms=6,
                zorder=3,
                label=words,
            )
    predicted = (bias["probit_ref_second_order"] - bias["probit_ref_leading"]).abs()
    ax.plot(d, predicted, color=leading, lw=1.4, zorder=0, label="predicted bias, falls as 1/d")
    start = np.flatnonzero((bias["bias_second_order"].abs() > 2 * bias["probit_ref_stderr"]).to_numpy())
    if len(start):
        at = start[0]
        guide = bias["bias_second_order"].abs().to_numpy()[at] * (d[at] / d) ** 2
        seen = guide > 0.3 * bias["probit_ref_stderr"].min()
        ax.plot(d[seen], guide[seen], color=corrected, ls=":", lw=1.2, zorder=0, label="slope of 1/d²")
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(d, [f"{int(v)}" for v in d])
    ratio = float((bias["n"] / bias["d"]).iloc[0])
    ax.set(xlabel=f"features d  (n = {ratio:g} d)", ylabel="|bias| of the reference margin")
    ax.set_title("The closed form's bias vanishes as 1/d")
    panel_legend(ax, loc="lower left", fontsize=pt(7.8))


def _power(n: float) -> str:
    exponent = float(np.log10(n))
    return f"$10^{{{exponent:.0f}}}$" if n >= 1e4 and exponent.is_integer() else f"{n:,.0f}"

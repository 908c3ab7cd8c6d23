"""The figure on K classes and linear CLIP: lines are predictions, points with error bars simulations."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullFormatter

from theory.page import panel_legend, panels, pt
from theory.plotting import COLOURS, ERROR_BAR, MARKERS, panel_letters, save_figure, use_style
from theory.trial_statistics import agreement

_MODELS = {"unfiltered": "unfiltered", "filtered": "filtered once", "repeated": "filtered repeatedly"}
_DAMAGE = {"wrong": "wrong class (share)", "missing": "missing (share)", "noise": "Gaussian noise (variance)"}


def draw_linear_clip(tables: Mapping[str, pd.DataFrame], stem: str | Path) -> list[Path]:
    """Draw places, damaged captions, rank, errors against the matched share and n, and their exponents.

    Args:
        tables: of `theory.panels.linear_clip.linear_clip_tables`, or read back from CSV.
        stem: path without suffix.

    Returns:
        Paths of the PNG and the PDF.
    """
    use_style()
    fig, axes = panels(2, 3, (13.8, 8.0), extra=2.2, flow=True)
    lines = tables["linear_clip_lines"]
    _places(axes[0], tables["linear_clip_places"], lines)
    _captions(axes[1], tables["linear_clip_captions"], lines)
    _ranks(axes[2], tables["linear_clip_ranks"])
    rates, curves = tables["linear_clip_rates"], tables["linear_clip_curves"]
    _errors_by_share(axes[3], rates, curves)
    _errors_by_size(axes[4], rates, curves)
    _exponents(axes[5], tables["linear_clip_exponents"])
    panel_letters(axes)
    return save_figure(fig, stem)


def _points(
    ax: Axes, rows: pd.DataFrame, x: str, quantity: str, colour: str, marker: str, hollow: bool = False
) -> None:
    y, error = rows[f"{quantity}_simulated"], rows[f"{quantity}_stderr"]
    ax.errorbar(rows[x], y, yerr=error, ecolor=colour, **ERROR_BAR)
    face, edge = ("white", colour) if hollow else (colour, "white")
    ax.plot(rows[x], y, marker, mfc=face, mec=edge, mew=1.0 if hollow else 0.6, ms=6, zorder=3)


def _verdict(ax: Axes, agrees: "pd.Series[bool]", position: tuple[float, float]) -> None:
    """Say in words how often theory and simulation agree."""
    words = f"{agrees.sum()} of {len(agrees)} within 4 s.e."
    ax.text(*position, words, transform=ax.transAxes, fontsize=pt(7.5), color="0.35", ha="right")


def _places(ax: Axes, places: pd.DataFrame, lines: pd.DataFrame) -> None:
    handles = []
    curves = places.groupby(["num_classes", "share", "counts"], sort=False)
    for colour, marker, ((k, share, counts), rows) in zip(COLOURS, MARKERS, curves, strict=False):
        random = bool(counts == "random")
        line = lines[(lines["num_classes"] == k) & (lines["share"] == share) & (lines["counts"] == counts)]
        ax.plot(line["x"], line["predicted"], color=colour, lw=1.4, ls="--" if random else "-", zorder=1)
        _points(ax, rows, "n", "dprime", colour, marker, hollow=random)
        mix = {1.0: "first source", 0.0: "second source"}.get(float(share), "half of each")
        label = f"K = {k}, {mix}" + (", random counts" if random else "")
        handles.append(
            Line2D([], [], color=colour, marker=marker, ms=5, ls="--" if random else "-", label=label)
        )
    ax.set_xscale("log")
    ax.set(xlabel="training images n (all classes)", ylabel="d′ on the reference", ylim=(0, None))
    ax.set_title("The place of K-class prototypes")
    low, high = ax.get_ylim()
    ax.set_ylim(low, 1.45 * high)
    panel_legend(ax, handles=handles, loc="upper left", ncols=2, fontsize=pt(7.2), columnspacing=1.0)
    _verdict(ax, agreement(places), (0.98, 0.03))


def _captions(ax: Axes, captions: pd.DataFrame, lines: pd.DataFrame) -> None:
    for colour, marker, (damage, rows) in zip(
        COLOURS, MARKERS, captions.groupby("damage", sort=False), strict=False
    ):
        line = lines[lines["damage"] == damage]
        ax.plot(line["x"], line["predicted"], color=colour, lw=1.4, zorder=1)
        _points(ax, rows, "amount", "accuracy", colour, marker)
        ax.plot([], [], color=colour, marker=marker, ms=5, label=_DAMAGE.get(str(damage), str(damage)))
    k, n = int(captions["num_classes"].iloc[0]), int(captions["n"].iloc[0])
    ax.axhline(1 / k, color="0.6", lw=0.9, ls=":", zorder=0)
    ax.annotate("chance", (0.01, 1 / k), (0, 2), textcoords="offset points", color="0.45", fontsize=pt(7.5))
    ax.set_yscale("probit")
    ax.set(xlabel="damage to the captions", ylabel="zero-shot accuracy")
    ax.set_title(f"What damaged captions cost ({k} classes, n = {n:,})")
    panel_legend(ax, loc="lower left", bbox_to_anchor=(0.0, 0.12))
    _verdict(ax, agreement(captions), (0.98, 0.93))


def _ranks(ax: Axes, ranks: pd.DataFrame) -> None:
    limit = ranks.drop_duplicates("rank").sort_values("rank")
    ax.plot(limit["rank"], limit["limit"], color="0.25", lw=1.4, label="n → ∞ (theory)", zorder=1)
    for colour, marker, (n, rows) in zip(COLOURS, MARKERS, ranks.groupby("n"), strict=False):
        rows = rows.sort_values("rank")
        ax.plot(rows["rank"], rows["accuracy_simulated"], color=colour, lw=0.6, alpha=0.6, zorder=1)
        _points(ax, rows, "rank", "accuracy", colour, marker)
        full = float(rows["full_rank"].iloc[0])
        ax.plot(
            [rows["rank"].min(), rows["rank"].max()], [full, full], color=colour, lw=1.0, ls="--", zorder=0
        )
        ax.plot([], [], color=colour, marker=marker, ms=5, lw=0.6, label=f"n = {n:,.0f}")
    ax.plot([], [], color="0.4", ls="--", lw=1.0, label="full rank (theory)")
    ax.set_yscale("probit")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="rank of the embedding r", ylabel="zero-shot accuracy")
    ax.set_title(f"A lower rank can help ({int(limit['num_classes'].iloc[0])} classes)")
    panel_legend(ax, loc="lower right", ncols=2, fontsize=pt(7.5))


def _looks() -> dict[str, tuple[str, str]]:
    return dict(zip(_MODELS, zip(COLOURS, MARKERS, strict=False), strict=False))


def _errors_by_share(ax: Axes, rates: pd.DataFrame, curves: pd.DataFrame) -> None:
    n = rates["n"].max()
    rows, lines = rates[rates["n"] == n], curves[curves["axis"] == "share"]
    for model, (colour, marker) in _looks().items():
        # Each model's line where it was simulated.
        group = rows[rows["model"] == model]
        line = lines[
            (lines["model"] == model) & lines["share"].between(group["share"].min(), group["share"].max())
        ]
        ax.plot(line["share"], line["error"], color=colour, lw=1.4, zorder=1)
        _points(ax, group, "share", "error", colour, marker)
        ax.plot([], [], color=colour, marker=marker, ms=5, label=_MODELS[model])
    oracle = lines[lines["model"] == "oracle"]
    ax.plot(
        oracle["share"],
        oracle["error"],
        color="0.4",
        lw=1.0,
        ls="--",
        zorder=0,
        label="oracle teacher (theory)",
    )
    ax.set_xscale("log")
    ax.set_yscale("log")
    ticks = sorted(rows["share"].unique())
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set(xlabel="share of matched pairs η", ylabel="error, sin Θ")
    ax.set_title(f"Filtering mismatched pairs (n = {n:,.0f})")
    panel_legend(ax, loc="upper right")


def _errors_by_size(ax: Axes, rates: pd.DataFrame, curves: pd.DataFrame) -> None:
    lines = curves[curves["axis"] == "n"]
    large, small = lines["share"].max(), lines["share"].min()
    shown = [("unfiltered", large), ("filtered", large), ("unfiltered", small), ("repeated", small)]
    for model, share in shown:
        colour, marker = _looks()[model]
        hollow = bool(share == small)
        line = lines[(lines["model"] == model) & np.isclose(lines["share"], share)]
        group = rates[(rates["model"] == model) & np.isclose(rates["share"], share)]
        ax.plot(line["n"], line["error"], color=colour, lw=1.4, ls="--" if hollow else "-", zorder=1)
        _points(ax, group, "n", "error", colour, marker, hollow)
        face = "white" if hollow else colour
        ax.plot(
            [],
            [],
            color=colour,
            marker=marker,
            mfc=face,
            ms=5,
            ls="--" if hollow else "-",
            label=f"{_MODELS[model]}, η = {share:g}",
        )
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ticks = sorted(rates["n"].unique())
    ax.set_xticks(ticks, [f"{t:,.0f}" for t in ticks])
    ax.set(xlabel="pairs n", ylabel="error, sin Θ")
    ax.set_title("Every error falls as 1/√n")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high * (high / low) ** 0.35)
    panel_legend(ax, loc="upper right", fontsize=pt(7.5))
    _verdict(ax, agreement(rates), (0.62, 0.03))


def _exponents(ax: Axes, exponents: pd.DataFrame) -> None:
    rows = list(exponents.itertuples())
    looks = _looks()
    symbols = {"share": "η", "n": "n"}
    places = np.arange(len(rows))[::-1]
    for place, row in zip(places, rows, strict=True):
        colour, marker = looks[str(row.model)]
        value = float(row.exponent)  # pyright: ignore[reportArgumentType]
        ends = [[value - float(row.low)], [float(row.high) - value]]  # pyright: ignore[reportArgumentType]
        ax.errorbar([value], [place], xerr=ends, ecolor=colour, **ERROR_BAR)
        ax.plot(value, place, marker, color=colour, mec="white", mew=0.6, ms=6.5, zorder=3)
        ax.plot(row.closed_form, place, "|", color="0.15", ms=15, mew=1.4, zorder=1)
        ax.plot(row.rate, place, "x", color="0.55", ms=6, mew=1.2, zorder=2)
    ax.set_yticks(places, [f"{_MODELS[str(row.model)]}: {symbols[str(row.variable)]}" for row in rows])
    ax.set(xlabel="exponent of the error", ylim=(-1.9, len(rows) - 0.4), xlim=(-1.15, 0.15))
    ax.set_title("Fitted exponents, 95% intervals")
    handles = [
        Line2D([], [], color="0.4", marker="o", ls="-", lw=1, label="simulated"),
        Line2D([], [], color="0.15", marker="|", ls="", ms=11, mew=1.4, label="closed form, same cells"),
        Line2D([], [], color="0.55", marker="x", ls="", label="rate"),
    ]
    panel_legend(
        ax,
        handles=handles,
        loc="lower center",
        ncols=3,
        fontsize=pt(7.3),
        columnspacing=1.0,
        handletextpad=0.4,
    )

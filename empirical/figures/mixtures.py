"""Predictions and measurements on one plot: the figure of `experiments/clip_mixtures.py`.

Use `draw_predictions_vs_measurements` for sources, mixtures, ensembles and predictions, and `draw_filtering` for filtered
pools. Both draw whatever a study has so far.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import ndtri

from empirical.figures.elements import (
    DARK,
    PALE,
    dot,
    finite_bars,
    legend_below,
    line_between,
    mixture_label,
    mixture_marker,
    percent_panel,
    probit_of,
    readable,
    source_colours,
)
from empirical.figures.filtering import draw_filtering
from empirical.prediction import BASELINES, PRIMARY_RULE, RULES, mixture_shares
from empirical.robustness import models_of_shift, shifts, with_link_errors
from theory.counts import clopper_pearson
from theory.links import dprime_inverse
from theory.plotting import panel_letters, save_figure, use_style

__all__ = ["draw_filtering", "draw_predictions_vs_measurements"]

_RULE_STYLE = {
    "lines": (DARK, "D", True, "lines by share (primary)"),
    "mediant": ("#0072B2", "s", False, "mediant (Theorem 2)"),
    "quadrature": ("#009E73", "^", False, "quadrature"),
    "interpolated": (PALE, "o", False, "baseline: interpolated by share"),
    "best_source": (PALE, "v", False, "baseline: best source"),
}
_MAX_MIXTURES = 14


def draw_predictions_vs_measurements(
    accuracies: pd.DataFrame,
    trends: pd.DataFrame,
    predictions: pd.DataFrame,
    path_stem: str | Path,
    reference: str = "reference",
) -> list[Path]:
    """Write PATH_STEM.png and .pdf: what theory predicts and what training measured, one column per shift.

    Top row, probit axes in percent: single-source models (dots) with their fitted probit lines, mixtures as pies of their
    sources with 95% intervals (seeds and binomial error, from `predict_mixtures`; Clopper-Pearson of the pooled counts
    while a mixture has no prediction), ensembles of single-source models (crosses, mean over seeds, heads trained on n
    each), and what is predicted for each mixture: the sources' d' lines averaged by share (dashed, from the mixture's
    place to the ensemble's, where the primary rule reads it: diamond) and the mediant at its own place (square). A
    crowded study shows its largest n only, and at most 14 mixtures evenly picked.

    Bottom row: predicted against measured d' ratio of every rule and every mixture, with 95% error bars on the primary
    rule, drawn once there are predictions. Returns the two paths.
    """
    use_style()
    names = shifts(accuracies, reference)
    table = with_link_errors(accuracies)
    placed = _on_axes(predictions, accuracies, reference)
    colours = source_colours(list(pd.unique(table.loc[table["kind"] == "single", "sources"])))
    rows, columns = 2 if len(predictions) else 1, max(len(names), 1)
    fig, axes = plt.subplots(
        rows, columns, figsize=(max(2.5 * columns, 5.0), 2.75 + 2.35 * (rows - 1) + 0.7), layout="constrained", squeeze=False,
        height_ratios=[1.25, 1.0][:rows],
    )  # fmt: skip
    shown = _shown_mixtures(table)
    lines = trends[(trends["kind"] == "single") & (trends["fit"] == "line")]
    for j, shift in enumerate(names):
        models, of_shift = models_of_shift(table, shift, reference), placed[placed["shift"] == shift]
        x, y = _accuracy_panel(axes[0, j], models, lines[lines["shift"] == shift], of_shift, shown, colours)
        y_label = None if j else "accuracy under shift"
        percent_panel(axes[0, j], x, y, readable(shift), f"accuracy on {readable(reference)}", y_label)
        if rows == 2:
            _ratio_panel(axes[1, j], of_shift, first=j == 0)
    if names:
        panel_letters(list(axes.flat))
    else:
        axes[0, 0].set_axis_off()
        axes[0, 0].text(0.5, 0.5, "no finished model yet", ha="center", va="center")
    _legend(fig, colours, table, predictions)
    return save_figure(fig, path_stem)


def _shown_mixtures(table: pd.DataFrame) -> set[tuple[str, int]]:
    """(sources, n_train) of the mixtures drawn in the top row: all of them, or the largest n of an even choice."""
    mixed = table[table["kind"] == "input_mixing"]
    groups = sorted({(str(s), int(n)) for s, n in zip(mixed["sources"], mixed["n_train"], strict=True)})
    if len(groups) <= 4:
        return set(groups)
    largest = mixed.groupby("sources", sort=False)["n_train"].max()
    picked = np.unique(np.linspace(0, len(largest) - 1, min(len(largest), _MAX_MIXTURES)).round().astype(int))
    return {(str(largest.index[i]), int(largest.iloc[i])) for i in picked}


def _accuracy_panel(
    ax: Axes,
    models: pd.DataFrame,
    trends: pd.DataFrame,
    predictions: pd.DataFrame,
    shown: set[tuple[str, int]],
    colours: dict[str, str],
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one shift in the plane of probit accuracies; returns the places of everything drawn."""
    single = models[models["kind"] == "single"]
    lines = {link: trends[trends["link"] == link].set_index("sources") for link in ("probit", "dprime")}
    for source, colour in colours.items():
        points = single[single["group"] == source]
        x, y = (_finite(points[f"{axis}_probit"]) for axis in "xy")
        ax.plot(x, y, "o", ms=2.6, mfc=colour, mec="none", alpha=0.75, zorder=3)
        if source in lines["probit"].index and np.isfinite(x).any():
            fit = lines["probit"].loc[source]
            line_between(ax, fit["intercept"], fit["slope"], x, color=colour, lw=1.0, alpha=0.9, zorder=2)
    drawn = [np.stack([_finite(single["x_probit"]), _finite(single["y_probit"])])]
    for sources, n in sorted(shown):
        mixed = models[
            (models["kind"] == "input_mixing") & (models["group"] == sources) & (models["n_train"] == n)
        ]
        if mixed.empty:
            continue
        shares = mixture_shares(sources)
        rows = predictions[(predictions["sources"] == sources) & (predictions["n_train"] == n)].set_index(
            "rule"
        )
        (x, x_bar), (y, y_bar) = _measured(mixed, rows)
        ensemble = models[(models["group"] == f"{sources} [heads each]") & (models["n_train"] == n)]
        if len(ensemble):
            place = [np.mean(ensemble[f"{axis}_probit"]) for axis in "xy"]
            ax.plot(*place, "x", ms=4.2, mew=0.9, color=DARK, zorder=4.5)
            drawn.append(np.array(place)[:, None])
        if "mediant" in rows.index:
            place = rows.loc["mediant", ["x_predicted", "y_predicted"]].to_numpy(float)
            colour, marker, _, _ = _RULE_STYLE["mediant"]
            ax.plot(*place, marker, ms=3.6, mfc="white", mec=colour, mew=0.8, zorder=5)
            drawn.append(place[:, None])
        if PRIMARY_RULE in rows.index and set(shares) <= set(lines["dprime"].index):
            curve = _predicted_line(rows.loc[PRIMARY_RULE], shares, lines["dprime"])
            ax.plot(*curve, color=DARK, lw=0.9, ls=(0, (3, 1.2)), zorder=4)
            ax.plot(
                *curve[:, -1 if rows.loc[PRIMARY_RULE, "x_predicted"] > x else 0],
                "D",
                ms=2.8,
                color=DARK,
                zorder=4.2,
            )
            drawn.append(curve)
        ax.errorbar(
            x, y, xerr=x_bar, yerr=y_bar, fmt="none", ecolor=DARK, elinewidth=0.6, capsize=1.2, zorder=5.5
        )
        mixture_marker(ax, x, y, shares, colours)
        drawn.append(np.array([[x], [y]]))
    places = np.concatenate(drawn, axis=1)
    return places[0], places[1]


def _predicted_line(row: pd.Series, shares: dict[str, float], lines: pd.DataFrame) -> np.ndarray:
    """Sources' d' lines averaged by share, from the mixture's measured place to the ensemble's: (2, points) in probit."""
    slope, intercept = (
        sum(p * lines.loc[name, key] for name, p in shares.items()) for key in ("slope", "intercept")
    )
    low, high = sorted([float(row["dprime_ref_measured"]), float(row["dprime_ref_predicted"])])
    dprime_ref = np.linspace(low, high, 12)
    return np.stack(
        [
            _probit_of_dprime(dprime_ref, row["x_num_classes"]),
            _probit_of_dprime(intercept + slope * dprime_ref, row["y_num_classes"]),
        ]
    )


def _finite(values: pd.Series) -> np.ndarray:
    """Infinite links have no place on the axes; they become nan and are not drawn."""
    array = values.to_numpy(float)
    return np.where(np.isfinite(array), array, np.nan)


def _probit_of_dprime(dprime: np.ndarray, num_classes: float) -> np.ndarray:
    return probit_of(np.asarray(dprime_inverse(np.asarray(dprime, dtype=float), int(num_classes))))


def _on_axes(predictions: pd.DataFrame, accuracies: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Predictions with their places and 95% ends in probit: {x, y}_{predicted, measured, low, high}, x the reference."""
    table = predictions.copy()
    classes = accuracies.drop_duplicates("test_set").set_index("test_set")["num_classes"]
    for axis, name in (("x", "ref"), ("y", "shift")):
        sets = pd.Series(reference, index=table.index) if axis == "x" else table["shift"]
        table[f"{axis}_num_classes"] = sets.map(classes).astype(float)
        measured, stderr = table[f"dprime_{name}_measured"], table[f"dprime_{name}_measured_stderr"]
        values = {
            "predicted": table[f"dprime_{name}_predicted"], "measured": measured,
            "low": measured - 1.96 * stderr, "high": measured + 1.96 * stderr,
        }  # fmt: skip
        for key, value in values.items():
            accuracy = dprime_inverse(value.to_numpy(float), table[f"{axis}_num_classes"].to_numpy(float))
            table[f"{axis}_{key}"] = probit_of(np.asarray(accuracy))
    return table


def _measured(mixed: pd.DataFrame, rows: pd.DataFrame) -> list[tuple[float, np.ndarray]]:
    """Place of a mixture and its 95% bars (2, 1) on both axes, from the predictions table if it has them."""
    out = []
    for axis in "xy":
        if len(rows) and np.isfinite(rows[f"{axis}_low"].iloc[0]):
            middle, low, high = (float(rows[f"{axis}_{key}"].iloc[0]) for key in ("measured", "low", "high"))
        else:
            correct, images = (int(mixed[f"{axis}_num_{key}"].sum()) for key in ("correct", "images"))
            low, high = (float(ndtri(float(end))) for end in clopper_pearson(correct, images))
            middle = float(probit_of(np.asarray(correct / images)))
        out.append((middle, finite_bars(np.array([low]), np.array([middle]), np.array([high]))))
    return out


def _ratio_panel(ax: Axes, rows: pd.DataFrame, first: bool) -> None:
    """Predicted against measured d' ratio: points of the rules, error bars on the primary one."""
    rms: dict[str, str] = {}
    for rule in [*BASELINES, *(r for r in reversed(RULES) if r not in BASELINES)]:
        part = rows[rows["rule"] == rule]
        part = part[np.isfinite(part["ratio_predicted"]) & np.isfinite(part["ratio_measured"])]
        if part.empty:
            continue
        colour, marker, filled, _ = _RULE_STYLE[rule]
        primary = rule == PRIMARY_RULE
        x, y = part["ratio_predicted"].to_numpy(float), part["ratio_measured"].to_numpy(float)
        if primary:
            bars = [
                1.96 * np.nan_to_num(part[f"ratio_{end}_stderr"].to_numpy(float))
                for end in ("predicted", "measured")
            ]
            ax.errorbar(
                x, y, xerr=bars[0], yerr=bars[1], fmt="none", ecolor=DARK, elinewidth=0.5, alpha=0.6, zorder=3
            )
        ax.plot(
            x, y, marker, ms=3.6 if primary else 3.2, mfc=colour if filled else "none", mec=colour,
            mew=0.7, ls="none", zorder=6 if primary else 4,
        )  # fmt: skip
        rms[rule] = f"{readable(rule)} {np.sqrt(np.mean((x - y) ** 2)):.3f}"
    values = rows[["ratio_predicted", "ratio_measured"]].to_numpy(float)
    ends = 1.96 * np.nan_to_num(rows[["ratio_predicted_stderr", "ratio_measured_stderr"]].to_numpy(float))
    ends = np.where((rows["rule"] == PRIMARY_RULE).to_numpy()[:, None], ends, 0.0)
    if np.isfinite(values).any():
        low, high = np.nanmin(values - ends), np.nanmax(values + ends)
        margin = max(0.05 * (high - low), 0.02)
        ax.set_xlim(low - margin, high + margin)
        ax.set_ylim(low - margin, high + margin)
    ax.set_aspect("equal", adjustable="box")
    ax.axline((0, 0), slope=1, color=PALE, lw=0.8, zorder=1)
    order = [rms[rule] for rule in (PRIMARY_RULE, *(r for r in RULES if r != PRIMARY_RULE)) if rule in rms]
    pairs = [" · ".join(order[i : i + 2]) for i in range(0, len(order), 2)]
    ax.set_xlabel("predicted d′ ratio")
    ax.annotate(
        "rms error: " + "\n".join(pairs), (0.5, 0), (0, -33), xycoords="axes fraction", textcoords="offset points",
        ha="center", va="top", fontsize=6.5, color="#555555", annotation_clip=False,
    )  # fmt: skip
    if first:
        ax.set_ylabel("measured d′ ratio")


def _legend(fig: Figure, colours: dict[str, str], table: pd.DataFrame, predictions: pd.DataFrame) -> None:
    handles: list = [dot(colour, line="-", size=3.2) for colour in colours.values()]
    labels = [readable(name) for name in colours]
    mixtures = list(pd.unique(table.loc[table["kind"] == "input_mixing", "sources"]))
    if mixtures:
        pair = [colours.get(name, PALE) for name in list(mixture_shares(mixtures[0]))[:2]]
        half = dot(pair[0], size=6.0)
        # A pie's first slice lies on the right.
        half.set(fillstyle="right", markerfacecoloralt=pair[-1], markeredgecolor=DARK, markeredgewidth=0.7)
        handles.append(half)
        labels.append(
            f"mixture {mixture_label(mixtures[0])}, measured" if len(mixtures) == 1 else "mixture, measured"
        )
    if (table["heads_n_train"] == "each").any():
        handles.append(dot(DARK, "x", size=4.0))
        labels.append("ensemble of single-source models")
    if len(predictions):
        for rule in [PRIMARY_RULE, *(r for r in RULES if r != PRIMARY_RULE)]:
            colour, marker, filled, label = _RULE_STYLE[rule]
            handles.append(
                dot(colour, marker, filled, size=3.6, line="--" if rule == PRIMARY_RULE else "none")
            )
            labels.append(label if rule in BASELINES else f"predicted: {label}")
    if handles:
        legend_below(fig, handles, labels)

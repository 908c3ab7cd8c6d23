"""Effective robustness as a figure: baseline lines by choice, judged models, and what is left above the line.

Use `draw_effective_robustness`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from empirical.effective_robustness import fit_baselines
from empirical.figures.elements import (
    DARK,
    OpenEnded,
    dot,
    legend_below,
    percent_panel,
    probit_of,
    source_colours,
)
from empirical.published_baselines import judged_means
from empirical.robustness import models_of_shift, with_link_errors
from theory.links import dprime, dprime_inverse, probit_inverse
from theory.plotting import panel_letters, save_figure, use_style

_STYLES = ("-", "--", "-.", ":")
_MARKERS = "os^D"


def draw_effective_robustness(
    accuracies: pd.DataFrame,
    effective: pd.DataFrame,
    choices: Mapping[str, Sequence[str]],
    path_stem: str | Path,
    references: Sequence[str],
    link: str,
    labels: Mapping[str, str],
) -> list[Path]:
    """Write PATH_STEM.png and .pdf: one column per shift.

    Top, probit axes in percent: models of the first baseline in grey, judged groups in colour, and the baseline's line under
    every choice (with one reference; with several there is no single line). Bottom: mean effective robustness of each judged
    group under every choice, with the range of its models.
    """
    use_style()
    names = list(pd.unique(effective["shift"]))
    reference = references[0]
    means = judged_means(effective)
    groups = list(pd.unique(means["group"]))
    colours = source_colours(groups)
    table = with_link_errors(accuracies)
    fig, axes = plt.subplots(
        2, len(names), figsize=(2.55 * len(names) + 0.8, 3.0 + 0.2 * len(groups) + 1.6), layout="constrained", squeeze=False,
        height_ratios=[1.0, max(0.8, 0.09 * len(groups))],
    )  # fmt: skip
    first_runs = set(next(iter(choices.values())))
    num_open = 0
    fits = {name: fit_baselines(accuracies, runs, references, link) for name, runs in choices.items()}
    for j, shift in enumerate(names):
        ax, models = axes[0, j], models_of_shift(table, shift, reference)
        finite = models[np.isfinite(models["x_probit"]) & np.isfinite(models["y_probit"])]
        base = finite[finite["run"].isin(first_runs)]
        ax.plot(base["x_probit"], base["y_probit"], ".", ms=2.2, color="#BBBBBB", zorder=1)
        open_ended, ends = OpenEnded(), []
        for group in groups:
            part = finite[finite["group"] == group]
            ax.plot(
                part["x_probit"],
                part["y_probit"],
                "o",
                ms=2.8,
                mfc=colours[group],
                mec="white",
                mew=0.25,
                zorder=3,
            )
            ends.append(open_ended.add(models[models["group"] == group], colours[group]))
        if len(references) == 1:
            classes = [int(models[f"{axis}_num_classes"].iloc[0]) for axis in "xy"]
            span = np.linspace(finite["x_probit"].min(), finite["x_probit"].max(), 60)
            for (_, found), style in zip(fits.items(), _STYLES, strict=False):
                if shift in found:
                    ax.plot(
                        span,
                        _line(found[shift].parameters, span, link, classes),
                        style,
                        color=DARK,
                        lw=0.9,
                        zorder=2,
                    )
        x, y = (
            np.concatenate([finite[f"{axis}_probit"].to_numpy(float), *(end[k] for end in ends)])
            for k, axis in enumerate("xy")
        )
        percent_panel(
            ax, x, y, labels.get(shift, shift), f"accuracy on {labels.get(reference, reference)}",
            "accuracy under shift" if j == 0 else None,
        )  # fmt: skip
        num_open += open_ended.draw(ax)
        _bars(axes[1, j], means[means["shift"] == shift], effective, groups, list(choices), colours, j == 0)
    panel_letters(list(axes.flat))
    handles: list = [dot("#BBBBBB", ".")] + [
        Line2D([], [], color=DARK, lw=0.9, ls=style, marker=marker, ms=3.5)
        for _, style, marker in zip(choices, _STYLES, _MARKERS, strict=False)
    ]
    words = [
        "baseline models (first choice)",
        *(f"baseline: {name}" for name in list(choices)[: len(_STYLES)]),
    ]
    handles.append(Line2D([], [], color="#777777", lw=0.9))
    words.append("bar: range over the group's models (no interval)")
    legend_below(fig, handles, words, num_open)
    return save_figure(fig, path_stem)


def _line(parameters: np.ndarray, x_probit: np.ndarray, link: str, classes: Sequence[int]) -> np.ndarray:
    """A baseline's line over reference probits, as probits under shift."""
    accuracy = np.asarray(probit_inverse(x_probit))
    if link == "probit":
        return parameters[0] + parameters[1] * x_probit
    if link == "dprime":
        height = parameters[0] + parameters[1] * np.asarray(dprime(accuracy, classes[0]))
        return probit_of(np.asarray(dprime_inverse(height, classes[1])))
    height = parameters[0] + parameters[1] * np.log(accuracy / (1 - accuracy))
    return probit_of(1 / (1 + np.exp(-height)))


def _bars(
    ax: Axes,
    means: pd.DataFrame,
    effective: pd.DataFrame,
    groups: Sequence[str],
    choices: Sequence[str],
    colours: Mapping[str, str],
    first: bool,
) -> None:
    """Mean effective robustness of each group under each choice, with the range over its models."""
    ax.axvline(0, color="#9A9A9A", lw=0.7, zorder=0)
    for i, group in enumerate(groups):
        for k, (choice, marker) in enumerate(zip(choices, _MARKERS, strict=False)):
            row = means[(means["group"] == group) & (means["choice"] == choice)]
            if row.empty:
                continue
            shift = row["shift"].iloc[0]
            each = effective[
                (effective["group"] == group)
                & (effective["choice"] == choice)
                & (effective["shift"] == shift)
            ]["effective_robustness"]
            height = i + (k - (min(len(choices), 4) - 1) / 2) * 0.18
            ax.plot(
                [100 * each.min(), 100 * each.max()], [height] * 2, color=colours[group], lw=0.8, alpha=0.6
            )
            ax.plot(
                100 * row["effective_robustness"].iloc[0], height, marker, ms=3.2, color=colours[group],
                mfc=colours[group] if k == 0 else "white", mew=0.8,
            )  # fmt: skip
    ax.set_ylim(len(groups) - 0.5, -0.5)
    ax.set_yticks(range(len(groups)), list(groups) if first else [""] * len(groups), fontsize=6.8)
    ax.set_xlabel("effective robustness, points")

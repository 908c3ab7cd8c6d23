"""Effective robustness of published models, and how much the choice of baseline moves it.

Use `baseline_choices` for the baselines that can be drawn from a table, `compare_choices` for lines and models under each of
them, and `describe_choices` for that in words.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from empirical.effective_robustness import (
    baseline_table,
    effective_robustness,
    mean_effective_robustness,
    runs_of_groups,
)
from empirical.testbed_families import DEFAULT_BASELINE, FAMILY_LABELS, STANDARD, TESTBED_GROUPS

_STANDARD, _LOW = FAMILY_LABELS[STANDARD], FAMILY_LABELS["low_accuracy_cnn"]
_IMAGENET_ONLY = (
    _STANDARD,
    _LOW,
    FAMILY_LABELS["robust_intv"],
    FAMILY_LABELS["lp_adv"],
)


def baseline_choices(accuracies: pd.DataFrame, chosen: Sequence[str] = ()) -> dict[str, list[str]]:
    """Name -> runs of each baseline: the chosen groups (`DEFAULT_BASELINE` if none are named and they are there) come first.

    The others show what the choice matters: standard models alone; those and the low-accuracy CNNs that were trained to the
    end on fewer images (no epochs of one run, which are not independent models); all models that saw ImageNet alone.
    Empty if the table has no such groups. Raises DataError for a chosen group that the table lacks.
    """
    there = set(accuracies["sources"])
    first = tuple(chosen) or tuple(group for group in DEFAULT_BASELINE if group in there)
    if not first:
        return {}
    choices = {" + ".join(first): runs_of_groups(accuracies, first)}
    if _STANDARD in there:
        choices.setdefault(_STANDARD, runs_of_groups(accuracies, [_STANDARD]))
    if {_STANDARD, _LOW} <= there:
        finished = [run for run in runs_of_groups(accuracies, [_LOW]) if "_imagenet_subsample_" in run]
        if finished:
            choices.setdefault(
                f"{_STANDARD} + CNNs on fewer images", [*runs_of_groups(accuracies, [_STANDARD]), *finished]
            )
    everything = [group for group in _IMAGENET_ONLY if group in there]
    if len(everything) > 2:
        choices.setdefault("all that saw ImageNet alone", runs_of_groups(accuracies, everything))
    return choices


def compare_choices(
    accuracies: pd.DataFrame, choices: Mapping[str, Sequence[str]], references: Sequence[str], link: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(lines, models): `baseline_table` and `effective_robustness` under each choice, with the column `choice` first."""
    lines, models = [], []
    for name, runs in choices.items():
        for found, table in ((lines, baseline_table), (models, effective_robustness)):
            part = table(accuracies, runs, references, link)
            part.insert(0, "choice", name)
            found.append(part)
    return pd.concat(lines, ignore_index=True), pd.concat(models, ignore_index=True)


def is_baseline_group(group: str) -> bool:
    """Whether a group is one of imagenet-testbed's families, whose models are compared with rather than judged."""
    return group in TESTBED_GROUPS


def judged_means(models: pd.DataFrame) -> pd.DataFrame:
    """`mean_effective_robustness` of the groups that are judged, per choice, with the column `choice` first."""
    baseline = np.array([is_baseline_group(str(group)) for group in models["group"]], dtype=bool)
    judged = models[~baseline & ~models["in_baseline"].to_numpy(bool)]
    parts = []
    for name, part in judged.groupby("choice", sort=False):
        means = mean_effective_robustness(part)
        means.insert(0, "choice", name)
        parts.append(means)
    if not parts:
        return mean_effective_robustness(judged).assign(choice="")
    return pd.concat(parts, ignore_index=True)


def describe_choices(
    lines: pd.DataFrame, means: pd.DataFrame, references: Sequence[str], labels: Mapping[str, str]
) -> list[str]:
    """Lines of text: each choice's slopes, then a table of the groups' mean effective robustness and how the choice moves it."""
    sentences = []
    for choice, part in lines.groupby("choice", sort=False):
        slopes = part[part["term"] == references[0]]
        if slopes.empty:
            continue
        each = ", ".join(
            f"{labels.get(row['shift'], row['shift'])} {row['value']:.2f} [{row['value_low']:.2f}, {row['value_high']:.2f}]"
            for _, row in slopes.iterrows()
        )
        sentences.append(f"Baseline {choice} ({int(slopes['num_models'].max())} models), slopes: {each}.")
    return [*sentences, *_table_of_means(means, labels)]


def _table_of_means(means: pd.DataFrame, labels: Mapping[str, str]) -> list[str]:
    """A row per group, a column per shift: points under the first choice, and from the lowest to the highest of all choices."""
    if means.empty:
        return []
    first = means["choice"].iloc[0]
    wide = means.pivot(index=["group", "shift"], columns="choice", values="effective_robustness") * 100
    groups, shifts = pd.unique(means["group"]), list(pd.unique(means["shift"]))
    width = max(14, *(len(str(group)) for group in groups))
    rows = [f"{'':{width}}" + "".join(f"  {labels.get(shift, shift):>22}" for shift in shifts)]
    for group in groups:
        cells = []
        for shift in shifts:
            values = (
                wide.loc[(group, shift)].dropna() if (group, shift) in wide.index else pd.Series(dtype=float)
            )
            text = f"{values[first]:+.1f}" if first in values else ""
            if text and len(values) > 1:
                text += f" ({values.min():+.1f} to {values.max():+.1f})"
            cells.append(f"  {text:>22}")
        rows.append(f"{group:{width}}" + "".join(cells))
    title = f"Mean effective robustness in points against {first} (lowest to highest of the {means['choice'].nunique()} choices):"
    return [title, *(f"  {row}".rstrip() for row in rows)]

"""Why a source is missing from a forecast: `forecast_gaps`, one sentence per source and test set."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from empirical.mixture_forecast import SingleSources


def forecast_gaps(
    accuracies: pd.DataFrame, single: SingleSources, n_train: int, shifts: Sequence[str]
) -> list[str]:
    """What keeps sources out of the forecasts at a size: no model of it, none on a test set, or a d' that is infinite or <= 0.

    Empty where every source counts on every test set. A gap on the reference is told alone: it takes the source out of all.
    """
    rows = accuracies[accuracies["kind"] == "single"]
    lines = []
    for name in single.names:
        found = single.at(name, n_train)
        if found is None:
            sizes = ", ".join(f"{n:,}" for n in single.sizes(name))
            lines.append(
                f"{name}: left out, for it has no model of n = {n_train:,}, nor models on both sides of it (n = {sizes})"
            )
            continue
        of_source = rows[rows["sources"] == name]
        if not found[1]:
            of_source = of_source[of_source["n_train"] == n_train]
        height = found[0].mean[single.ref]
        if not np.isfinite(height):
            lines.append(f"{name}: left out, for it {_why(of_source, single.reference)}, the reference")
        elif height <= 0:
            lines.append(
                f"{name}: left out, for it is not above chance on {single.reference}, the reference (d' {height:.2f})"
            )
        else:
            lines += [
                f"{name}: left out on {shift}, for it {_why(of_source, shift)}"
                for shift in shifts
                if not np.isfinite(found[0].mean[single.means.test_sets.index(shift)])
            ]
    return lines


def _why(of_source: pd.DataFrame, test_set: str) -> str:
    measured = of_source.loc[of_source["test_set"] == test_set, "accuracy"]
    extreme = measured[(measured <= 0) | (measured >= 1)]
    if len(extreme):
        return f"has accuracy {extreme.iloc[0]:g} (an infinite d') on {test_set}"
    return f"has no model on {test_set}" if measured.empty else f"lacks a model on {test_set}"

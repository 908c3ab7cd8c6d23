"""Effective robustness of a study's groups: how far single sources and mixtures lie above the line of single-source models.

Use `study_effective_robustness` on a study's accuracies. Against one reference (Taori et al. 2020), and against the reference
together with every other test set in turn (Shi et al. 2023): what a group owes to its training data's likeness to one test set
then counts on neither side. The fits are `empirical.effective_robustness`'s.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from empirical.effective_robustness import effective_robustness
from empirical.errors import DataError
from empirical.robustness import shifts

STUDY_COLUMNS = (
    "references", "shift", "kind", "group", "num_models", "effective_robustness", "effective_robustness_low",
    "effective_robustness_high", "verdict", "num_extrapolated", "in_baseline",
)  # fmt: skip
KINDS = ("single", "input_mixing", "output_mixing")


def reference_sets(accuracies: pd.DataFrame, reference: str = "reference") -> list[tuple[str, ...]]:
    """The reference alone, and with every other test set where a shift is left to judge."""
    others = shifts(accuracies, reference)
    return [(reference,), *((reference, other) for other in others if len(others) > 1)]


def study_effective_robustness(
    accuracies: pd.DataFrame,
    reference: str = "reference",
    baseline: Sequence[str] = (),
    link: str = "probit",
    kinds: Sequence[str] = KINDS,
) -> pd.DataFrame:
    """Mean effective robustness (in accuracy) of every group on every shift, against each of `reference_sets`.

    The baseline is the line of all single-source models, or of the sources named in `baseline`: a group above it is more robust
    than single sources are on average at its accuracy. The mean is over the group's models of all sizes and seeds. The 95%
    interval adds, in quadrature, t_.975 standard errors of that mean and the models' mean half-width (baseline fit and test
    images, which the models of a group share): too wide rather than too narrow. verdict: "above", "below" or "not told apart";
    num_extrapolated counts models outside the baseline's range. Columns `STUDY_COLUMNS`.

    Raises DataError for a table that lacks a column or the reference, or has no single-source model of the baseline.
    """
    single = accuracies[accuracies["kind"] == "single"]
    if baseline:
        unknown = [name for name in baseline if name not in set(single["sources"])]
        if unknown:
            known = ", ".join(map(str, pd.unique(single["sources"])))
            raise DataError(f"no single-source models of {unknown[0]!r}; the sources are {known}")
        single = single[single["sources"].isin(list(baseline))]
    runs = [str(run) for run in pd.unique(single["run"])]
    judged = accuracies[accuracies["kind"].isin(list(kinds)) | accuracies["run"].isin(runs)]
    rows = []
    for references in reference_sets(accuracies, reference):
        models = effective_robustness(judged, runs, references, link)
        for (shift, kind, group), part in models.groupby(["shift", "kind", "group"], sort=False):
            value = float(part["effective_robustness"].mean())
            low, high = (_end(part, end) for end in ("low", "high"))
            verdict = "above" if low > 0 else "below" if high < 0 else "not told apart"
            rows.append(
                ("+".join(references), shift, kind, group, len(part), value, low, high, verdict,
                 int(part["extrapolated"].sum()), bool(part["in_baseline"].all()))
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(STUDY_COLUMNS))


def _end(part: pd.DataFrame, end: str) -> float:
    values = part["effective_robustness"].to_numpy(float)
    shared = float(np.abs(part[f"effective_robustness_{end}"].to_numpy(float) - values).mean())
    n = len(values)
    spread = float(stdtrit(n - 1, 0.975)) * values.std(ddof=1) / np.sqrt(n) if n > 1 else 0.0
    half = float(np.hypot(spread, shared))
    return float(values.mean()) + (half if end == "high" else -half)

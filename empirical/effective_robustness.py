"""Effective robustness: how far above the line of baseline models a model lies, against one or several references.

Use `effective_robustness` for the table of models, `fit_baselines` for the baseline's own lines, and `runs_of_groups` to
name baseline models by group. Both read a tidy accuracies table (one row per run and test set) and never train anything:
published tables and a study's `accuracies.csv` alike.

One reference (Taori et al. 2020): the baseline predicts accuracy under shift from accuracy on the reference. Several
references (Shi et al. 2023): a model that saw other data than the baseline is compared at equal accuracy on a test set of
its own data too, so that what it owes to its training distribution alone does not count as robustness.
"""

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from empirical.errors import DataError
from empirical.plane_fits import PlaneFit, fit_plane, quantiles
from empirical.robustness import check_accuracies, group_labels, with_link_errors
from theory.links import dprime_inverse, probit_inverse

BASELINE_LINKS = ("probit", "dprime", "logit")
BASELINE_COLUMNS = (
    "shift", "references", "link", "term", "value", "value_low", "value_high", "r2", "scatter", "num_models",
)  # fmt: skip
EFFECTIVE_COLUMNS = (
    "run", "kind", "group", "n_train", "seed", "shift", "references", "link", "accuracy", "accuracy_of_baseline",
    "effective_robustness", "effective_robustness_low", "effective_robustness_high", "link_difference",
    "link_difference_low", "link_difference_high", "in_baseline", "extrapolated",
)  # fmt: skip
_ABOUT = ["run", "kind", "group", "n_train", "seed"]


def runs_of_groups(accuracies: pd.DataFrame, groups: Collection[str]) -> list[str]:
    """Names of the runs whose group (`group_labels`: `sources`, with filter or heads) is one of `groups`.

    Raises DataError for a group that the table does not have.
    """
    labels = group_labels(accuracies)
    known = pd.unique(labels)
    unknown = [group for group in groups if group not in set(known)]
    if unknown:
        raise DataError(
            f"no group {unknown[0]!r} in the accuracies; the groups are {', '.join(map(str, known))}"
        )
    return [str(run) for run in pd.unique(accuracies.loc[labels.isin(list(groups)), "run"])]


def fit_baselines(
    accuracies: pd.DataFrame,
    baseline: Collection[str],
    references: Sequence[str] = ("reference",),
    link: str = "probit",
) -> dict[str, PlaneFit]:
    """The baseline of every shift: link(shift) = b_0 + sum_r b_r link(reference_r) over the baseline's models.

    Args:
        accuracies: tidy table, see `empirical.tables`.
        baseline: names of runs, see `runs_of_groups`; those that lack a reference or the shift, or have an accuracy of 0 or
            1 there, take no part in that shift's fit.
        references: one test set or several.
        link: probit, dprime or logit.

    A shift with too few baseline models (fewer than references + 2), or whose baseline's references do not vary
    independently, has no entry. Raises DataError for a missing column or reference, a reference named twice, or no run of
    the baseline in the table. Source: Taori et al. 2020; Shi et al. 2023 for several references.
    """
    return {shift: fit for shift, _, fit in _fits(accuracies, baseline, references, link)}


def baseline_table(
    accuracies: pd.DataFrame,
    baseline: Collection[str],
    references: Sequence[str] = ("reference",),
    link: str = "probit",
) -> pd.DataFrame:
    """`fit_baselines` as a table: one row per shift and term ("intercept" or a reference), with 95% intervals.

    Columns: `BASELINE_COLUMNS`; scatter is the standard deviation of baseline models about their line that test images do
    not explain, on the link's scale. Raises as `fit_baselines`.
    """
    rows = []
    for shift, fit in fit_baselines(accuracies, baseline, references, link).items():
        for i, term in enumerate(("intercept", *references)):
            value = (float(fit.parameters[i]), *fit.interval(i))
            rows.append(
                (
                    shift,
                    "+".join(references),
                    link,
                    term,
                    *value,
                    fit.r2,
                    fit.extra_variance**0.5,
                    fit.num_models,
                )
            )
    return pd.DataFrame(rows, columns=list(BASELINE_COLUMNS))


def effective_robustness(
    accuracies: pd.DataFrame,
    baseline: Collection[str],
    references: Sequence[str] = ("reference",),
    link: str = "probit",
) -> pd.DataFrame:
    """Accuracy under shift minus what the baseline models reach at the same accuracy on the references, per model.

    effective_robustness = accuracy - link^-1(b_0 + sum_r b_r link(reference_r)), the b from `fit_baselines`. link_difference
    is the same on the link's scale, with a 95% interval that carries the model's own test images (shift and references), the
    baseline's fit (t quantile) and the images common to the baseline; effective_robustness_low/high are that interval mapped
    to accuracy, so both exclude 0 together. extrapolated: the model lies outside the baseline's range of references (its
    leverage exceeds every baseline model's), where the answer rests on the line being straight.

    One row per run and shift with all accuracies inside (0, 1), baseline models included (in_baseline); columns
    `EFFECTIVE_COLUMNS`. Raises as `fit_baselines`.
    """
    chosen, parts = set(baseline), []
    for shift, models, fit in _fits(accuracies, baseline, references, link):
        x, x_stderr = _columns(models, references, "link"), _columns(models, references, "stderr")
        y, y_stderr = models[f"link {shift}"].to_numpy(float), models[f"stderr {shift}"].to_numpy(float)
        classes = models[f"classes {shift}"].to_numpy(int)
        height = fit.read(x)
        of_fit, shared = fit.variances(x)
        own = y_stderr**2 + x_stderr**2 @ fit.parameters[1:] ** 2
        t, z = quantiles(fit.degrees)
        half = np.sqrt(t**2 * of_fit + z**2 * (shared + own))
        difference = y - height
        expected = _inverse(link, height, classes)
        part = models[_ABOUT].copy()
        part["shift"], part["references"], part["link"] = shift, "+".join(references), link
        part["accuracy"], part["accuracy_of_baseline"] = models[f"accuracy {shift}"], expected
        part["effective_robustness"] = part["accuracy"] - expected
        for end, sign in (("low", -1), ("high", 1)):
            part[f"effective_robustness_{end}"] = (
                _inverse(link, height + difference + sign * half, classes) - expected
            )
            part[f"link_difference_{end}"] = difference + sign * half
        part["link_difference"] = difference
        part["in_baseline"] = models["run"].isin(chosen)
        part["extrapolated"] = fit.beyond(x)
        parts.append(part[list(EFFECTIVE_COLUMNS)])
    if not parts:
        return pd.DataFrame(columns=list(EFFECTIVE_COLUMNS))
    return pd.concat(parts, ignore_index=True)


def mean_effective_robustness(table: pd.DataFrame) -> pd.DataFrame:
    """Mean effective robustness of each group on each shift, from the table of `effective_robustness`.

    Columns: group, shift, references, link, effective_robustness, its standard deviation over models (empty for one),
    num_models, num_above (models whose interval lies above 0), num_below, num_extrapolated.
    """
    keys = ["group", "shift", "references", "link"]
    marked = table.assign(above=table["link_difference_low"] > 0, below=table["link_difference_high"] < 0)
    return (
        marked.groupby(keys, sort=False)
        .agg(
            effective_robustness=("effective_robustness", "mean"),
            standard_deviation=("effective_robustness", "std"),
            num_models=("run", "size"),
            num_above=("above", "sum"),
            num_below=("below", "sum"),
            num_extrapolated=("extrapolated", "sum"),
        )
        .reset_index()
    )


def _fits(
    accuracies: pd.DataFrame, baseline: Collection[str], references: Sequence[str], link: str
) -> list[tuple[str, pd.DataFrame, PlaneFit]]:
    """Per shift: its name, one row per model that can be compared, and the baseline's fit."""
    if isinstance(references, str) or not references:
        raise DataError("references must be a list of one test set or more")
    if len(set(references)) < len(references):
        raise DataError(f"the references are {', '.join(references)}; each may be named once")
    if link not in BASELINE_LINKS:
        raise DataError(f"there is no link {link!r}; the links are {', '.join(BASELINE_LINKS)}")
    for reference in references:
        check_accuracies(accuracies, reference)
    chosen = set(baseline)
    if not chosen & set(accuracies["run"]):
        raise DataError(
            "none of the baseline's models is in the accuracies; name runs of the table (`runs_of_groups`)"
        )
    wide = _wide(accuracies, link)
    found = []
    for shift in [str(name) for name in pd.unique(accuracies["test_set"]) if name not in references]:
        columns = [f"{what} {name}" for what in ("link", "stderr") for name in (*references, shift)]
        models = wide[np.isfinite(wide[columns].to_numpy(float)).all(axis=1)]
        base = models[models["run"].isin(chosen)]
        fit = None
        if len(base):
            fit = fit_plane(
                _columns(base, references, "link"), base[f"link {shift}"].to_numpy(float),
                _columns(base, references, "stderr"), base[f"stderr {shift}"].to_numpy(float),
            )  # fmt: skip
        if fit is not None:
            found.append((shift, models, fit))
    return found


def _columns(models: pd.DataFrame, names: Sequence[str], what: str) -> np.ndarray:
    return models[[f"{what} {name}" for name in names]].to_numpy(float)


def _wide(accuracies: pd.DataFrame, link: str) -> pd.DataFrame:
    """One row per run: what it is, and `link T`, `stderr T`, `accuracy T`, `classes T` of every test set T."""
    table = with_link_errors(accuracies).assign(group=group_labels(accuracies))
    if link == "logit":
        p = table["num_correct"] / table["num_images"]
        inside = (p > 0) & (p < 1)
        safe = p.where(inside, 0.5)
        table["logit"] = np.log(safe / (1 - safe)).where(inside)
        table["logit_stderr"] = (1 / np.sqrt(table["num_images"] * safe * (1 - safe))).where(inside, np.inf)
    about = table.drop_duplicates("run").set_index("run")[_ABOUT[1:]]
    parts = [about]
    for what, column in (
        ("link", link),
        ("stderr", f"{link}_stderr"),
        ("accuracy", "accuracy"),
        ("classes", "num_classes"),
    ):
        parts.append(table.pivot(index="run", columns="test_set", values=column).add_prefix(f"{what} "))
    return pd.concat(parts, axis=1).reset_index(names="run")


def _inverse(link: str, values: np.ndarray, num_classes: np.ndarray) -> np.ndarray:
    if link == "probit":
        return np.asarray(probit_inverse(values))
    if link == "dprime":
        return np.asarray(dprime_inverse(values, num_classes))
    return np.where(values >= 0, 1 / (1 + np.exp(-np.abs(values))), 1 - 1 / (1 + np.exp(-np.abs(values))))

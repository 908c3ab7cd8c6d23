"""Robustness trends: how accuracy under shift goes with accuracy on the reference set, per group of models.

Use `fit_trends` for the table of fits (Theorem 1 draws a straight line through the origin in the link; the intercept is
the test), `left_out` for the models that no fit can use, `growth_exponents` (from `judged_sizes` on) for the bound
dlog d'/dlog n <= 1/2 of Theorem 1, and `models_of_shift` for the points behind one fit. All of them read a tidy accuracies table
(one row per run and test set) and never train anything.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from empirical.errors import DataError
from empirical.line_fits import LineFit, fit_line
from empirical.power_fits import fit_power
from empirical.tables import padding
from theory.links import dprime_inverse

LINKS = ("probit", "dprime")
FITS = ("line", "ray")
TREND_COLUMNS = (
    "kind", "sources", "shift", "link", "fit", "slope", "slope_low", "slope_high",
    "intercept", "intercept_low", "intercept_high", "r2", "num_models",
)  # fmt: skip
GROWTH_COLUMNS = (
    "sources", "test_set", "exponent", "exponent_low", "exponent_high", "coefficient", "num_models", "n_low", "n_high",
)  # fmt: skip
_NEEDED = (
    "run", "kind", "sources", "n_train", "seed", "test_set", "num_classes", "num_images", "num_correct",
    "accuracy", "probit", "dprime",
)  # fmt: skip


def check_accuracies(accuracies: pd.DataFrame, reference: str) -> None:
    """Raise DataError unless the table has its columns, one row per run and test set, and the reference test set."""
    missing = [column for column in _NEEDED if column not in accuracies.columns]
    if missing:
        have = ", ".join(map(str, accuracies.columns))
        raise DataError(f"the accuracies table lacks the column {missing[0]!r}; its columns are {have}")
    twice = accuracies.duplicated(["run", "test_set"])
    if twice.any():
        row = accuracies[twice].iloc[0]
        raise DataError(f"run {row['run']!r} has two rows for test set {row['test_set']!r}; keep one of them")
    names = sorted(set(accuracies["test_set"]))
    if names and reference not in names:
        raise DataError(
            f"no accuracy on the reference test set {reference!r}; the table has {', '.join(names)}"
        )


def shifts(accuracies: pd.DataFrame, reference: str = "reference") -> list[str]:
    """Names of the test sets other than the reference, in the order of the table's first model."""
    return [name for name in pd.unique(accuracies["test_set"]) if name != reference]


def group_labels(accuracies: pd.DataFrame) -> pd.Series:
    """The group of each row: its `sources`, with what else keeps models off the same line.

    Ensembles add " [heads each]" or " [heads share]", filtered pools " [filter=NAME]" (and the kept share where one
    filter was used at several).
    """
    labels = accuracies["sources"].astype(str).copy()
    if "heads_n_train" in accuracies:
        ensembles = accuracies["kind"] == "output_mixing"
        labels[ensembles] += " [heads " + accuracies.loc[ensembles, "heads_n_train"].astype(str) + "]"
    if "filter" in accuracies:
        filtered = accuracies["kind"] == "filtered"
        names = accuracies.loc[filtered, "filter"].fillna("none").replace("", "none").astype(str)
        suffix = "filter=" + names
        if "kept_share" in accuracies:
            kept = accuracies.loc[filtered, "kept_share"].astype(float).round(2)
            several = kept.groupby([labels[filtered], names]).transform("nunique") > 1
            suffix = suffix.where(~several, suffix + ", kept=" + kept.map("{:g}".format).astype(str))
        labels[filtered] += " [" + suffix + "]"
    return labels


def with_link_errors(accuracies: pd.DataFrame) -> pd.DataFrame:
    """The table with probit_stderr and dprime_stderr: the binomial error sqrt(p (1 - p) / N) divided by d accuracy/d link.

    Both are infinite where the accuracy is 0 or 1 (the link is infinite there; nothing is clipped).
    """
    table = accuracies.copy()
    accuracy = table["num_correct"].to_numpy(float) / table["num_images"].to_numpy(float)
    binomial = np.sqrt(accuracy * (1 - accuracy) / table["num_images"].to_numpy(float))
    inside = (accuracy > 0) & (accuracy < 1)
    steepness = {
        "probit": np.exp(-(table["probit"].to_numpy(float) ** 2) / 2) / np.sqrt(2 * np.pi),
        "dprime": _dprime_steepness(
            np.where(inside, table["dprime"].to_numpy(float), 0.0), table["num_classes"].to_numpy(float)
        ),
    }
    for link in LINKS:
        table[f"{link}_stderr"] = np.where(inside, binomial / np.where(inside, steepness[link], 1.0), np.inf)
    return table


@jax.jit
def _accuracy_per_dprime(value: jax.Array, num_classes: jax.Array) -> jax.Array:
    return jax.jvp(lambda m: dprime_inverse(m, num_classes), (value,), (jnp.ones_like(value),))[1]


def _dprime_steepness(value: np.ndarray, num_classes: np.ndarray) -> np.ndarray:
    """dA_K(m)/dm at each value."""
    size, room = len(value), padding(len(value))
    padded = np.pad(value, room), np.pad(num_classes, room, constant_values=2)
    return np.asarray(_accuracy_per_dprime(*(jnp.asarray(p) for p in padded)), dtype=float)[:size]


def models_of_shift(accuracies: pd.DataFrame, shift: str, reference: str = "reference") -> pd.DataFrame:
    """One row per model that has both the reference and the shift: kind, group, run, n_train, seed and x_*, y_* values.

    For * in probit, dprime, probit_stderr, dprime_stderr, accuracy, num_correct, num_images, num_classes; x is the
    reference, y the shift. The table must come from `with_link_errors`.
    """
    values = ["accuracy", "num_correct", "num_images", "num_classes"]
    values += [name for link in LINKS for name in (link, f"{link}_stderr")]
    keys = ["run", "kind", "group", "n_train", "seed"]
    table = accuracies.assign(group=group_labels(accuracies))
    x = table[table["test_set"] == reference][[*keys, *values]].rename(columns={v: f"x_{v}" for v in values})
    y = table[table["test_set"] == shift][["run", *values]].rename(columns={v: f"y_{v}" for v in values})
    return x.merge(y, on="run")


def fits_of_groups(
    accuracies: pd.DataFrame,
    reference: str = "reference",
    links: tuple[str, ...] = LINKS,
    fits: tuple[str, ...] = FITS,
) -> Iterator[tuple[tuple[str, str, str, str, str], LineFit]]:
    """Yield ((kind, group, shift, link, fit), LineFit) for every group of at least 3 models with finite links.

    A line y = intercept + slope x, and a ray y = slope x, by weighted total least squares with extra scatter (see
    `fit_line`).
    """
    check_accuracies(accuracies, reference)
    table = with_link_errors(accuracies)
    for shift in shifts(table, reference):
        for (kind, group), models in models_of_shift(table, shift, reference).groupby(
            ["kind", "group"], sort=True
        ):
            for link in links:
                finite = models[np.isfinite(models[f"x_{link}"]) & np.isfinite(models[f"y_{link}"])]
                points = [finite[f"{c}_{link}{e}"].to_numpy(float) for e in ("", "_stderr") for c in "xy"]
                for fit in fits:
                    result = fit_line(*points, through_origin=fit == "ray")
                    if result is not None:
                        yield (str(kind), str(group), shift, link, fit), result


def fit_trends(accuracies: pd.DataFrame, reference: str = "reference") -> pd.DataFrame:
    """Trend of each group of models on each shift, in probit and in d', as a line and as a ray through the origin.

    link(shift accuracy) = intercept + slope link(reference accuracy), errors in both variables: the binomial error of
    each accuracy and an extra scatter between models and seeds estimated from the residuals. The 95% intervals use t
    quantiles with the group's degrees of freedom and add the binomial error of the common test images as shared by all
    models of the group, so that they also hold for other images of the same distribution.

    Columns: kind, sources (`group_labels`), shift, link, fit, slope, slope_low, slope_high, intercept, intercept_low,
    intercept_high, r2, num_models. r2 = 1 - sum (y - fit)^2 / sum (y - mean y)^2 for both fits, so that a ray may have
    a negative one. Groups of fewer than 3 models, or whose reference accuracies are all equal, have no row. Models with
    an accuracy of exactly 0 or 1 on either set have an infinite link value and are left out (`left_out` lists them):
    num_models counts the ones fitted.

    Raises DataError where a column or the reference test set is missing. Source: Theorem 1.
    """
    rows = []
    for (kind, group, shift, link, fit), line in fits_of_groups(accuracies, reference):
        slope, intercept = line.interval((0.0, 1.0)), line.interval((1.0, 0.0))
        rows.append(
            (
                kind,
                group,
                shift,
                link,
                fit,
                line.slope,
                *slope,
                line.intercept,
                *intercept,
                line.r2,
                line.num_models,
            )
        )
    return pd.DataFrame(rows, columns=list(TREND_COLUMNS))


def left_out(accuracies: pd.DataFrame) -> list[str]:
    """One sentence per run and test set whose accuracy is 0 or 1: drawn from its interval, in no fit."""
    correct, images = accuracies["num_correct"], accuracies["num_images"]
    extreme = accuracies[(correct == 0) | (correct == images)]
    return [
        f"{row['run']} has {row['num_correct']} of {row['num_images']} right on {row['test_set']}: "
        "its probit and d' are infinite, so it is in no fit of that test set and drawn as an open-ended bar"
        for _, row in extreme.iterrows()
    ]


def growth_exponents(accuracies: pd.DataFrame, smallest: int = 0) -> pd.DataFrame:
    """Growth dlog d'/dlog n of single-source models per source and test set, with 95% intervals.

    d' = c n^e by weighted least squares on d' itself over all runs of at least `smallest` samples, so that models at or below
    chance count like any other (`empirical.power_fits.fit_power`), with the binomial error of each d' and the scatter of
    seeds; the intervals add the error of the common test images. Theorem 1 bounds e by 1/2: a test set on which models grow
    faster is outside the theory. A power law is a summary: where growth slows down with n the exponent depends on the sizes,
    which are therefore told.

    Columns: sources, test_set, exponent, exponent_low, exponent_high, coefficient (c), num_models, n_low, n_high (the least and
    the largest size); sources with fewer than 3 models, one size or no growth above the noise have no row.
    """
    single = accuracies[
        (accuracies["kind"] == "single")
        & np.isfinite(accuracies["dprime"])
        & (accuracies["n_train"] >= smallest)
    ]
    rows = []
    for (source, test_set), models in with_link_errors(single).groupby(["sources", "test_set"], sort=True):
        n, value, stderr = (models[name].to_numpy(float) for name in ("n_train", "dprime", "dprime_stderr"))
        fit = fit_power(n, value, stderr)
        if fit is not None:
            ends = int(n.min()), int(n.max())
            rows.append(
                (source, test_set, fit.exponent, *fit.interval(), fit.coefficient, fit.num_models, *ends)
            )
    return pd.DataFrame(rows, columns=list(GROWTH_COLUMNS))


def judged_sizes(accuracies: pd.DataFrame) -> int:
    """The least size at which mixtures were trained, from which on growth matters to them.

    0, all sizes, where there is no mixture or fewer than two sizes of single-source models from there on.
    """
    mixed = accuracies.loc[accuracies["kind"] == "input_mixing", "n_train"]
    single = accuracies.loc[accuracies["kind"] == "single", "n_train"]
    least = int(mixed.min()) if len(mixed) else 0
    return least if single[single >= least].nunique() > 1 else 0

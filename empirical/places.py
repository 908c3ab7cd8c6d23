r"""Where on its line a mixture lands: a point value from the overlap of single-source models (section 11, "Place").

Use `predict_places` for the table. The frozen rules of `empirical.prediction` bracket a mixture's place; the overlap of two
models' scores closes the bracket to one value on every test set,

$$d_\text{mix}(t)=\frac{\sum_sp_sd_s(t)}{\sqrt{\sum_{su}p_sp_ur_{su}(t)+\sum_sp_s(1-r_{ss}(t))}},$$

the leading-order margin of an input mixture (Theorem 2) in the units of `empirical.measured_sources`. It is told single-source
models only. The ratio of two such places is **not** one of the frozen rules: it stands beside them, to be judged on fresh seeds.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from empirical.errors import DataError
from empirical.group_means import (
    GroupMean,
    Means,
    common_share,
    group_means,
    image_contributions,
    image_variance,
    ratio_stderr,
    seed_variance,
)
from empirical.measured_sources import NUM_DRAWS, MeasuredSources, measure_sources, sources_by_size
from empirical.prediction import mixture_place_bracket, mixture_shares, read_between_sizes
from empirical.robustness import check_accuracies

PLACE_COLUMNS = (
    "sources", "n_train", "num_seeds", "test_set", "dprime_predicted", "dprime_predicted_stderr", "dprime_measured",
    "dprime_measured_stderr", "difference_stderr", "bracket_low", "bracket_high", "inside_bracket", "ratio_predicted",
    "ratio_predicted_stderr", "ratio_measured", "ratio_measured_stderr", "ratio_difference_stderr",
)  # fmt: skip


def predict_places(
    accuracies: pd.DataFrame,
    overlaps: pd.DataFrame,
    reference: str = "reference",
    num_draws: int = NUM_DRAWS,
    seed: int = 0,
) -> pd.DataFrame:
    """Predicted and measured d' of every input mixture on every test set, and the ratios to the reference.

    A mixture has rows once each of its sources has two seeds or more at its own n_train. Standard errors of predictions are
    the spread over draws (`measure_sources`); difference_stderr adds the measured one in quadrature, as if the two shared no
    test images: on the same images it is too large rather than too small. bracket_*: `mixture_place_bracket` on that
    test set, inside_bracket whether the measured d' lies within it by the errors of both (yes, no or inconclusive at 95%;
    "empty" where low > high: the sources grow faster than n^(1/2) between the sizes, and theory's premise is not met). The
    ratio columns are empty on the reference. Columns `PLACE_COLUMNS`.

    Raises DataError for tables that lack a column, the reference, or the overlaps of models they name.
    """
    check_accuracies(accuracies, reference)
    if accuracies.empty or overlaps.empty:
        return pd.DataFrame(columns=list(PLACE_COLUMNS))
    means = group_means(accuracies, overlaps)
    ref = means.test_sets.index(reference)
    ready = sources_by_size(overlaps)
    measured: dict[int, MeasuredSources | None] = {}
    rows = []
    for (kind, sources, _, n), mixture in means.groups.items():
        if kind != "input_mixing" or n not in ready:
            continue
        shares = mixture_shares(sources)
        if not set(shares) <= set(ready[n]):
            continue
        if n not in measured:
            measured[n] = _measured(accuracies, overlaps, n, ready[n], num_draws, seed, means)
        found = measured[n]
        if found is None:
            continue
        counts = n * np.array([shares.get(name, 0.0) for name in found.sources])
        value = found.statistics().margins(counts)
        draws = found.drawn_margins(counts, found.test_sets)
        seeds = means.seed_covariance("all", n)
        ratios, drawn_ratios = value / value[ref], draws / draws[:, [ref]]
        for t, test_set in enumerate(means.test_sets):
            unit = np.eye(len(means.test_sets))[[t]]
            error = ratio_stderr([mixture], unit, seeds)
            stderr = _spread(draws[:, t])
            low, high = mixture_place_bracket(means, shares, n, t)
            inside = _inside(mixture.mean[t], low, high, bracket_errors(means, mixture, shares, n, t))
            ratio = (np.nan,) * 5
            if t != ref:
                x, y = mixture.mean[ref], mixture.mean[t]
                gradient = unit / x - np.eye(len(means.test_sets))[[ref]] * y / x**2
                of_measured = ratio_stderr([mixture], gradient, seeds)
                of_predicted = _spread(drawn_ratios[:, t])
                ratio = (
                    ratios[t],
                    of_predicted,
                    y / x,
                    of_measured,
                    float(np.hypot(of_predicted, of_measured)),
                )
            rows.append(
                (sources, n, mixture.num_seeds, test_set, value[t], stderr, mixture.mean[t], error,
                 float(np.hypot(stderr, error)), low, high, inside, *ratio)
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(PLACE_COLUMNS))


def _measured(
    accuracies: pd.DataFrame,
    overlaps: pd.DataFrame,
    n_train: int,
    names: list[str],
    num_draws: int,
    seed: int,
    means: Means,
) -> MeasuredSources | None:
    """The sources at one size; None where a source has an infinite d' there, so that the other sizes keep their rows."""
    if not all(np.isfinite(means.groups[("single", name, "", n_train)].mean).all() for name in names):
        return None
    return measure_sources(accuracies, overlaps, n_train, names, num_draws, seed, means)


def _spread(draws: np.ndarray) -> float:
    return float(np.std(draws, ddof=1)) if len(draws) > 1 else np.nan


def bracket_errors(
    means: Means, mixture: GroupMean, shares: Mapping[str, float], n_train: int, at: int
) -> tuple[float, float]:
    """Standard errors of a mixture's d' minus either end of `mixture_place_bracket`; nan where the seeds give none.

    The low end is a mean over the sources at n_train: seeds and test images of all of them. The high end is read between two
    sizes of each source, log d' = (1 + u) log d_j - u log d_i: seeds of the sizes that are read, the images as for the low end.
    """
    names = list(shares)
    parts = [means.groups[("single", name, "", n_train)] for name in names]
    unit = np.eye(len(means.test_sets))[at]
    gradients = np.stack([unit, *(-shares[name] * unit for name in names)])
    images = image_variance(
        image_contributions([mixture, *parts], gradients), common_share([mixture, *parts])
    )
    all_seeds = means.seed_covariance("all", n_train)
    single_seeds = means.seed_covariance("single", n_train)
    own = seed_variance([mixture], unit[None], all_seeds)
    low = seed_variance(parts, gradients[1:], single_seeds)
    high, square = 0.0, 0.0
    for name in names:
        reading = read_between_sizes(means, name, shares[name] * n_train, at)
        if reading is None:
            return float(np.sqrt(own + low + images)), np.nan
        value, steps = reading
        square += value**2
        for n, slope in steps.items():
            group = means.groups[("single", name, "", n)]
            high += seed_variance([group], (value * slope * unit)[None], means.seed_covariance("single", n))
    return float(np.sqrt(own + low + images)), float(np.sqrt(own + high / square + images))


def _inside(value: float, low: float, high: float, errors: tuple[float, float]) -> str:
    """Whether a value lies in a bracket, each end judged by 1.96 standard errors of its distance."""
    if not np.all(np.isfinite([value, low, high, *errors])):
        return "inconclusive"
    if low > high:
        return "empty"
    below, above = (value - low) / errors[0], (high - value) / errors[1]
    if min(below, above) < -1.96:
        return "no"
    return "yes" if min(below, above) > 1.96 else "inconclusive"


def score_places(places: pd.DataFrame) -> pd.DataFrame:
    """Error of the predicted place and ratio per test set, beside the lower end of the bracket (the mean d' by share).

    Columns test_set, num, rms_place, bias_place, noise_place, rms_of_low_end, rms_ratio, bias_ratio, noise_ratio: root mean
    square and mean of predicted - measured, and the root mean square of the differences' standard errors.
    """
    if places.empty:
        raise DataError("no mixture has a predicted place: its sources need two seeds or more at its size")
    rows = []
    for test_set, part in places.groupby("test_set", sort=False):
        place = (part["dprime_predicted"] - part["dprime_measured"]).to_numpy(float)
        low = (part["bracket_low"] - part["dprime_measured"]).to_numpy(float)
        ratio = (part["ratio_predicted"] - part["ratio_measured"]).to_numpy(float)
        rows.append(
            (test_set, len(part), _rms(place), place.mean(), _rms(part["difference_stderr"].to_numpy(float)), _rms(low),
             _rms(ratio), ratio.mean(), _rms(part["ratio_difference_stderr"].to_numpy(float)))
        )  # fmt: skip
    names = [
        "test_set",
        "num",
        "rms_place",
        "bias_place",
        "noise_place",
        "rms_of_low_end",
        "rms_ratio",
        "bias_ratio",
    ]
    return pd.DataFrame(rows, columns=[*names, "noise_ratio"])


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))

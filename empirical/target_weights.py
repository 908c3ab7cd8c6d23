r"""How a mixture's d' on each target weights its sources: a diagnosis that **sees mixtures**, not a prediction.

A linear averager weights its sources by one number each, the length $v_s$ of the source's classifier, whatever the target; a
network may weight them differently on every target (section 11). With lengths left free per target,

$$d_\text{mix}(t)=\frac{\sum_sp_sv_{s,t}d_s(t)}{\sqrt{\sum_{su}p_sp_uv_{s,t}v_{u,t}r_{su}(t)+\sum_sp_sv_{s,t}^2(1-r_{ss}(t))}},$$

`fit_target_weights` solves for $v_{s,t}$ (their geometric mean is 1: only ratios count) from all measured mixtures of one size by
weighted least squares. Weights that differ between a shift and the reference by more than their error are the mechanism by which
mixtures leave the mediant.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.optimize import least_squares
from scipy.special import chdtrc

from empirical.errors import DataError
from empirical.group_means import Means, group_means, ratio_stderr
from empirical.measured_sources import MeasuredSources, nearest_gram
from empirical.prediction import mixture_shares

WEIGHT_COLUMNS = ("test_set", "n_train", "source", "weight", "weight_low", "weight_high", "to_reference",
                  "to_reference_low", "to_reference_high", "num_mixtures")  # fmt: skip
TEST_COLUMNS = (
    "test_set",
    "n_train",
    "chi2",
    "degrees",
    "p_value",
    "rms_equal",
    "rms_fitted",
    "num_mixtures",
)
#: How far log weights may stray from 0 before the mixtures themselves speak: a factor of e^2 either way.
_PRIOR = 2.0


@dataclass(frozen=True, eq=False)
class TargetWeights:
    """Fitted weights in the order of `measured`: log_weights (T, S) and B draws of them (B, T, S).

    rms_equal and rms_fitted (T,): error of the mixtures' d' with equal and with fitted weights.
    """

    measured: MeasuredSources
    log_weights: Float[np.ndarray, "t s"]
    drawn: Float[np.ndarray, "b t s"]
    rms_equal: Float[np.ndarray, " t"]
    rms_fitted: Float[np.ndarray, " t"]
    num_mixtures: int


def fit_target_weights(
    accuracies: pd.DataFrame,
    measured: MeasuredSources,
    num_draws: int = 100,
    seed: int = 0,
    means: Means | None = None,
) -> TargetWeights:
    """Weights of the measured sources on every test set, from the input mixtures of the measured size.

    Errors: the fit is repeated on draws of the single-source measurements (`measure_sources`) and of the mixtures' d' (seeds and
    test images). A weak pull of every log weight to 0 (standard deviation 2) keeps sources that few mixtures hold in bounds.

    Raises DataError where fewer mixtures of this size than sources were trained, or an error has no estimate.
    """
    means = means or group_means(accuracies)
    names, seeds = measured.sources, means.seed_covariance("all", measured.n_train)
    mixtures = [
        (mixture_shares(sources), group)
        for (kind, sources, _, n), group in means.groups.items()
        if kind == "input_mixing" and n == measured.n_train and np.isfinite(group.mean).all()
    ]
    mixtures = [(shares, group) for shares, group in mixtures if set(shares) <= set(names)]
    if len(mixtures) < len(names) or not seeds.degrees or not measured.num_draws:
        raise DataError(
            f"{len(mixtures)} mixtures of n_train {measured.n_train} and {len(names)} sources: weights per target need as many "
            "mixtures as sources, with two seeds or more"
        )
    p = np.array([[shares.get(name, 0.0) for name in names] for shares, _ in mixtures])
    at = [means.test_sets.index(name) for name in measured.test_sets]
    value = np.array([group.mean[at] for _, group in mixtures])
    eye = np.eye(len(means.test_sets))
    error = np.array([[ratio_stderr([group], eye[[t]], seeds) for t in at] for _, group in mixtures])
    rng = np.random.default_rng(seed)
    shape = (len(measured.test_sets), len(names))
    fitted, equal, left = np.zeros(shape), np.zeros(shape[0]), np.zeros(shape[0])
    drawn = np.zeros((min(num_draws, measured.num_draws), *shape))
    for t in range(shape[0]):
        d, r = measured.signals[t], nearest_gram(measured.overlaps[t])
        fitted[t] = _solve(p, d, r, value[:, t], error[:, t], np.zeros(shape[1]))
        equal[t] = _rms(_places(np.zeros(shape[1]), p, d, r) - value[:, t])
        left[t] = _rms(_places(fitted[t], p, d, r) - value[:, t])
        for b in range(len(drawn)):
            noisy = value[:, t] + error[:, t] * rng.standard_normal(len(value))
            d_b, r_b = measured.drawn_signals[b, t], nearest_gram(measured.drawn_overlaps[b, t])
            drawn[b, t] = _solve(p, d_b, r_b, noisy, error[:, t], fitted[t])
    return TargetWeights(measured, fitted, drawn, equal, left, len(mixtures))


def _places(log_weights: np.ndarray, p: np.ndarray, d: np.ndarray, r: np.ndarray) -> Float[np.ndarray, " m"]:
    v = np.exp(log_weights)
    q = p * v
    noise = (p * v**2) @ np.maximum(1 - np.diagonal(r), 0.0)
    return (q @ d) / np.sqrt(np.einsum("ms,su,mu->m", q, r, q) + noise)


def _solve(
    p: np.ndarray, d: np.ndarray, r: np.ndarray, value: np.ndarray, error: np.ndarray, start: np.ndarray
) -> Float[np.ndarray, " s"]:
    def residuals(log_weights: np.ndarray) -> np.ndarray:
        fit = (_places(log_weights, p, d, r) - value) / error
        # The scale of all weights cancels: hold it at 1.
        return np.concatenate([fit, log_weights / _PRIOR, [10 * log_weights.sum()]])

    found = least_squares(residuals, start, method="lm")
    return found.x - found.x.mean()


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def weights_table(weights: TargetWeights, reference: str = "reference") -> pd.DataFrame:
    """One row per test set and source: its weight with a 95% interval, and its ratio to the weight on the reference.

    Columns `WEIGHT_COLUMNS`; the ratio is empty on the reference.
    """
    names = weights.measured.test_sets
    ref = names.index(reference)
    rows = []
    for t, test_set in enumerate(names):
        for s, source in enumerate(weights.measured.sources):
            own = np.exp(_interval(weights.log_weights[t, s], weights.drawn[:, t, s]))
            relative = np.exp(
                _interval(
                    weights.log_weights[t, s] - weights.log_weights[ref, s],
                    weights.drawn[:, t, s] - weights.drawn[:, ref, s],
                )
            )
            rows.append(
                (test_set, weights.measured.n_train, source, *own, *(relative if t != ref else (np.nan,) * 3),
                 weights.num_mixtures)
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(WEIGHT_COLUMNS))


def _interval(value: float, draws: np.ndarray) -> np.ndarray:
    """The value with a 95% interval of 1.96 standard deviations of the draws."""
    half = 1.96 * float(np.std(draws, ddof=1))
    return np.array([value, value - half, value + half])


def weights_test(weights: TargetWeights, reference: str = "reference") -> pd.DataFrame:
    """Are a shift's weights those of the reference? Columns `TEST_COLUMNS`, one row per shift.

    chi2 = difference' covariance^-1 difference of the log weights, with S - 1 degrees of freedom (their sum is 0), the covariance
    that of the draws. rms_equal and rms_fitted: error of the mixtures' d' with equal weights (a prediction) and with fitted ones
    (not one).
    """
    names = weights.measured.test_sets
    ref = names.index(reference)
    rows = []
    for t, test_set in enumerate(names):
        if t == ref:
            continue
        difference = (weights.log_weights[t] - weights.log_weights[ref])[:-1]
        draws = (weights.drawn[:, t] - weights.drawn[:, ref])[:, :-1]
        covariance = np.atleast_2d(np.cov(draws, rowvar=False))
        chi2 = float(difference @ np.linalg.solve(covariance, difference))
        degrees = len(difference)
        rows.append(
            (test_set, weights.measured.n_train, chi2, degrees, float(chdtrc(degrees, chi2)), weights.rms_equal[t],
             weights.rms_fitted[t], weights.num_mixtures)
        )  # fmt: skip
    return pd.DataFrame(rows, columns=list(TEST_COLUMNS))


def fitted_places(
    accuracies: pd.DataFrame, weights: TargetWeights, reference: str = "reference"
) -> pd.DataFrame:
    """d' ratios of the mixtures with the weights that were fitted to them.

    Columns sources, n_train, shift, ratio_predicted, ratio_measured. Not a prediction: what is left of the error when every
    target may weight the sources in its own way.
    """
    means, measured = group_means(accuracies), weights.measured
    ref = measured.test_sets.index(reference)
    rows = []
    for (kind, sources, _, n), group in means.groups.items():
        if kind != "input_mixing" or n != measured.n_train or not np.isfinite(group.mean).all():
            continue
        shares = mixture_shares(sources)
        if not set(shares) <= set(measured.sources):
            continue
        p = np.array([[shares.get(name, 0.0) for name in measured.sources]])
        fit = [
            float(
                _places(weights.log_weights[t], p, measured.signals[t], nearest_gram(measured.overlaps[t]))[0]
            )
            for t in range(len(measured.test_sets))
        ]
        for t, test_set in enumerate(measured.test_sets):
            if t != ref:
                x, y = (group.mean[means.test_sets.index(name)] for name in (reference, test_set))
                rows.append((sources, n, test_set, fit[t] / fit[ref], y / x))
    return pd.DataFrame(rows, columns=["sources", "n_train", "shift", "ratio_predicted", "ratio_measured"])

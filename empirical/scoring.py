"""Rules of the bridge scored against measurements.

Use `score_rules` for the error of each rule beside both baselines, `mixture_verdicts` for whether each mixture lies inside
its sources' range, `summarise_mixtures` for how many do, and `summarise_lines` for each source's line. The same told in
words is `empirical.summary.format_summary`.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from empirical.prediction import BASELINES, RULES, mixture_shares

ALL_SHIFTS = "all shifts"
_ERROR_COLUMNS = (
    "shift", "rule", "num_mixtures", "num_predictions", "rms", "rms_low", "rms_high", "bias", "noise_floor",
)  # fmt: skip


def _difference_columns(baselines: Sequence[str]) -> list[str]:
    return [f"difference_to_{baseline}{end}" for baseline in baselines for end in ("", "_low", "_high")]


SCORE_COLUMNS = (*_ERROR_COLUMNS, *_difference_columns(BASELINES))
_RESAMPLES = 4000


def score_rules(predictions: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Root-mean-square error of the d' ratio per shift and rule, beside both baselines.

    rms = sqrt(mean (ratio_predicted - ratio_measured)^2) over mixtures and sizes, bias the mean of the same difference
    (negative: the mixture is more robust than predicted). noise_floor = sqrt(mean difference_stderr^2) is what a perfect
    rule would show at most (image errors are taken at their worst). difference_to_* = rms - rms of that baseline on the
    same mixtures: negative is better than the baseline.

    Intervals are 95% percentile bootstraps over mixtures, paired: one resample serves all rules and baselines. A cluster
    is a set of sources: mixtures of the same sources at other shares and sizes rest on the same single-source models, so
    they are drawn together. With fewer than about six clusters the intervals are too short; with one they are empty.
    The rows with shift "all shifts" pool the shifts (each resample keeps a mixture's shifts together). Predictions that
    are empty (a source without a line) are left out for that rule, and out of its baselines when it is compared.

    Columns: shift, rule, num_mixtures (clusters), num_predictions, rms, rms_low, rms_high, bias, noise_floor,
    difference_to_interpolated, _low, _high, difference_to_best_source, _low, _high.
    """
    clusters = ["+".join(sorted(mixture_shares(s))) for s in predictions["sources"]]
    return score_clusters(
        predictions.assign(cluster=clusters), ["sources", "n_train"], RULES, BASELINES, seed
    )


def score_clusters(
    predictions: pd.DataFrame,
    keys: Sequence[str],
    rules: Sequence[str],
    baselines: Sequence[str],
    seed: int = 0,
) -> pd.DataFrame:
    """`score_rules` for any rules and baselines: predictions told apart by `keys`, drawn together by the column `cluster`."""
    rows = []
    if len(predictions):
        rng = np.random.default_rng(seed)
        for shift in [*pd.unique(predictions["shift"]), ALL_SHIFTS]:
            part = predictions if shift == ALL_SHIFTS else predictions[predictions["shift"] == shift]
            rows += _score_one_shift(part, str(shift), ["cluster", *keys, "shift"], rules, baselines, rng)
    return pd.DataFrame(rows, columns=[*_ERROR_COLUMNS, *_difference_columns(baselines)])


def _score_one_shift(
    part: pd.DataFrame,
    shift: str,
    keys: list[str],
    rules: Sequence[str],
    baselines: Sequence[str],
    rng: np.random.Generator,
) -> list[tuple]:
    errors = part.assign(error=part["ratio_predicted"] - part["ratio_measured"])
    wide = errors.pivot(index=keys, columns="rule", values="error")
    noise = part.assign(variance=part["difference_stderr"] ** 2).pivot(
        index=keys, columns="rule", values="variance"
    )
    codes, clusters = pd.factorize(wide.index.get_level_values("cluster"))
    draws = cluster_draws(len(clusters), rng)

    def rms(rule: str, used: np.ndarray) -> tuple[float, np.ndarray]:
        square = np.where(used, wide[rule].to_numpy(float), 0.0) ** 2
        totals, counts = (
            np.bincount(codes, weights=v, minlength=len(clusters)) for v in (square, used.astype(float))
        )
        weight = draws @ counts
        resampled = np.sqrt(
            np.divide(draws @ totals, weight, out=np.full(len(draws), np.nan), where=weight > 0)
        )
        return float(np.sqrt(totals.sum() / counts.sum())), resampled

    rows = []
    for rule in (rule for rule in rules if rule in wide):
        used = np.isfinite(wide[rule].to_numpy(float))
        if not used.any():
            continue
        value, resampled = rms(rule, used)
        row = [
            shift,
            rule,
            len(set(codes[used])),
            int(used.sum()),
            value,
            *_interval(resampled, len(clusters)),
        ]
        row += [
            float(wide[rule].to_numpy(float)[used].mean()),
            float(np.sqrt(noise[rule].to_numpy(float)[used].mean())),
        ]
        for baseline in baselines:
            both = (
                used & np.isfinite(wide[baseline].to_numpy(float))
                if baseline in wide
                else np.zeros_like(used)
            )
            if rule == baseline or not both.any():
                row += [0.0 if rule == baseline else np.nan] + [np.nan] * 2
                continue
            (a, resampled_a), (b, resampled_b) = rms(rule, both), rms(baseline, both)
            row += [a - b, *_interval(resampled_a - resampled_b, len(clusters))]
        rows.append(tuple(row))
    return rows


def cluster_draws(num_clusters: int, rng: np.random.Generator) -> np.ndarray:
    """How often each cluster enters each resample of a bootstrap over clusters: (resamples, clusters)."""
    return rng.multinomial(num_clusters, np.full(num_clusters, 1 / num_clusters), size=_RESAMPLES)


def _interval(resampled: np.ndarray, num_clusters: int) -> tuple[float, float]:
    """Central 95% of the resamples; empty for one cluster, of which every resample is the same."""
    finite = resampled[np.isfinite(resampled)]
    if num_clusters < 2 or len(finite) == 0:
        return np.nan, np.nan
    low, high = np.quantile(finite, [0.025, 0.975])
    return float(low), float(high)


def summarise_mixtures(predictions: pd.DataFrame) -> pd.DataFrame:
    """How many mixtures (each size counted) lie inside their sources' range: columns shift, yes, no, inconclusive, num."""
    columns = ["shift", "yes", "no", "inconclusive", "num"]
    if predictions.empty:
        return pd.DataFrame(columns=columns)
    once = predictions.drop_duplicates(["sources", "n_train", "shift"])
    rows = []
    for shift in [*pd.unique(once["shift"]), ALL_SHIFTS]:
        verdicts = (
            once["inside_range"] if shift == ALL_SHIFTS else once.loc[once["shift"] == shift, "inside_range"]
        )
        counts = [int((verdicts == answer).sum()) for answer in columns[1:4]]
        rows.append((shift, *counts, len(verdicts)))
    return pd.DataFrame(rows, columns=columns)


def mixture_verdicts(predictions: pd.DataFrame) -> pd.DataFrame:
    """Whether each mixture lies inside its sources' range: columns sources, n_train and one per shift.

    Entries are `inside_range`'s: yes, no or inconclusive; empty text where a mixture has no prediction on that shift.
    Rows are ordered by the mixtures' first appearance, then by size.
    """
    if predictions.empty:
        return pd.DataFrame(columns=["sources", "n_train"])
    once = predictions.drop_duplicates(["sources", "n_train", "shift"])
    wide = once.pivot(index=["sources", "n_train"], columns="shift", values="inside_range").fillna("")
    names = [
        (s, n)
        for s in pd.unique(once["sources"])
        for n in sorted(set(once.loc[once["sources"] == s, "n_train"]))
    ]
    rows = [(s, n, *wide.loc[(s, n), list(pd.unique(once["shift"]))]) for s, n in names]
    return pd.DataFrame(rows, columns=["sources", "n_train", *pd.unique(once["shift"])])


def summarise_lines(trends: pd.DataFrame, link: str = "probit") -> pd.DataFrame:
    """Each single source's line per shift: the columns of `fit_trends` without kind, link and fit."""
    chosen = trends[(trends["kind"] == "single") & (trends["link"] == link) & (trends["fit"] == "line")]
    return chosen.drop(columns=["kind", "link", "fit"]).reset_index(drop=True)

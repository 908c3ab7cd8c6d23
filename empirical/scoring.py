"""Rules of the bridge scored against measurements, and a study told in words.

Use `score_rules` for the error of each rule beside both baselines, `summarise_mixtures` for how many mixtures lie inside
their sources' range, `summarise_lines` for each source's line, and `format_summary` for all of it as text.
"""

import numpy as np
import pandas as pd

from empirical.prediction import BASELINES, PRIMARY_RULE, RULES, mixture_shares
from empirical.robustness import growth_exponents, left_out

ALL_SHIFTS = "all shifts"
SCORE_COLUMNS = (
    "shift", "rule", "num_mixtures", "num_predictions", "rms", "rms_low", "rms_high", "bias", "noise_floor",
    *(f"difference_to_{baseline}{end}" for baseline in BASELINES for end in ("", "_low", "_high")),
)  # fmt: skip
_RESAMPLES = 4000


def score_rules(predictions: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Root-mean-square error of the d' ratio per shift and rule, beside both baselines.

    rms = sqrt(mean (ratio_predicted - ratio_measured)^2) over mixtures and sizes, bias the mean of the same difference
    (negative: the mixture is more robust than predicted). noise_floor = sqrt(mean (stderr_predicted^2 +
    stderr_measured^2)) is the rms that a perfect rule would show. difference_to_* = rms - rms of that baseline on the
    same mixtures: negative is better than the baseline.

    Intervals are 95% percentile bootstraps over mixtures, paired: one resample serves all rules and baselines. A cluster
    is a set of sources: mixtures of the same sources at other shares and sizes rest on the same single-source models, so
    they are drawn together. With fewer than about six clusters the intervals are too short; with one they are empty.
    The rows with shift "all shifts" pool the shifts (each resample keeps a mixture's shifts together). Predictions that
    are empty (a source without a line) are left out for that rule, and out of its baselines when it is compared.

    Columns: shift, rule, num_mixtures (clusters), num_predictions, rms, rms_low, rms_high, bias, noise_floor,
    difference_to_interpolated, _low, _high, difference_to_best_source, _low, _high.
    """
    rows = []
    if len(predictions):
        predictions = predictions.assign(
            cluster=["+".join(sorted(mixture_shares(s))) for s in predictions["sources"]]
        )
        rng = np.random.default_rng(seed)
        for shift in [*pd.unique(predictions["shift"]), ALL_SHIFTS]:
            part = predictions if shift == ALL_SHIFTS else predictions[predictions["shift"] == shift]
            rows += _score_one_shift(part, str(shift), rng)
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


def _score_one_shift(part: pd.DataFrame, shift: str, rng: np.random.Generator) -> list[tuple]:
    keys = ["cluster", "sources", "n_train", "shift"]
    errors = part.assign(error=part["ratio_predicted"] - part["ratio_measured"])
    wide = errors.pivot(index=keys, columns="rule", values="error")
    noise = part.assign(
        variance=part["ratio_predicted_stderr"] ** 2 + part["ratio_measured_stderr"] ** 2
    ).pivot(index=keys, columns="rule", values="variance")
    codes, clusters = pd.factorize(wide.index.get_level_values("cluster"))
    # How often each cluster enters each resample: (resamples, clusters).
    draws = rng.multinomial(len(clusters), np.full(len(clusters), 1 / len(clusters)), size=_RESAMPLES)

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
    for rule in (rule for rule in RULES if rule in wide):
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
        for baseline in BASELINES:
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


def summarise_lines(trends: pd.DataFrame, link: str = "probit") -> pd.DataFrame:
    """Each single source's line per shift: the columns of `fit_trends` without kind, link and fit."""
    chosen = trends[(trends["kind"] == "single") & (trends["link"] == link) & (trends["fit"] == "line")]
    return chosen.drop(columns=["kind", "link", "fit"]).reset_index(drop=True)


def format_summary(
    accuracies: pd.DataFrame,
    trends: pd.DataFrame,
    predictions: pd.DataFrame,
    scores: pd.DataFrame,
    reference: str = "reference",
) -> str:
    """The study in words and tables: lines, growth, mixtures inside their sources' range, rules beside the baselines."""
    parts = [
        _lines_text(trends),
        _growth_text(accuracies, reference),
        _inside_text(predictions),
        _rules_text(scores),
    ]
    extreme = left_out(accuracies)
    if extreme:
        parts.append("Left out of fits:\n" + "\n".join(f"  {sentence}" for sentence in extreme))
    return "\n\n".join(part for part in parts if part)


def _lines_text(trends: pd.DataFrame) -> str:
    probit, dprime = (summarise_lines(trends, link) for link in ("probit", "dprime"))
    if probit.empty:
        return "No source has three models yet: no line is fitted."
    both = probit.merge(dprime, on=["sources", "shift"], how="left", suffixes=("", "_dprime"))
    compatible = int(((dprime["intercept_low"] <= 0) & (dprime["intercept_high"] >= 0)).sum())
    cells = [
        [row["sources"], row["shift"], _value(row, "slope"), f"{row['r2']:.3f}", str(row["num_models"]),
         _value(row, "slope", end="_dprime"), _value(row, "intercept", end="_dprime"), f"{row['r2_dprime']:.3f}"]
        for _, row in both.iterrows()
    ]  # fmt: skip
    headings = ["source", "shift", "probit slope", "R2", "models", "d' slope", "d' intercept", "R2 in d'"]
    return (
        "Robustness of each source: lines of its single-source models, 95% intervals. Theorem 1 asks for intercept 0 in d': "
        f"{compatible} of {len(dprime)} intervals hold it.\n" + _table(headings, cells)
    )


def _growth_text(accuracies: pd.DataFrame, reference: str) -> str:
    growth = growth_exponents(accuracies)
    if growth.empty:
        return ""
    rows = []
    for name in [reference, *(n for n in pd.unique(accuracies["test_set"]) if n != reference)]:
        part = growth[growth["test_set"] == name]
        if len(part):
            above = part.loc[part["exponent_low"] > 0.5, "sources"]
            rows.append(
                [
                    name,
                    f"{part['exponent'].min():.2f} to {part['exponent'].max():.2f}",
                    ", ".join(above) or "none",
                ]
            )
    return (
        "Growth dlog d'/dlog n of single-source models (Theorem 1 bounds it by 1/2; test sets above it are outside the "
        "theory):\n" + _table(["test set", "range over sources", "sources above 1/2 at 95%"], rows)
    )


def _inside_text(predictions: pd.DataFrame) -> str:
    counts = summarise_mixtures(predictions)
    if counts.empty:
        return "No mixture has been measured together with all of its sources yet."
    cells = [[str(v) for v in row] for row in counts.itertuples(index=False)]
    return (
        "Does each mixture's d' ratio lie inside the range of its sources' (Theorem 2)? Each size counts as one:\n"
        + _table(["shift", "inside", "outside", "inconclusive", "mixtures x sizes"], cells)
    )


def _rules_text(scores: pd.DataFrame) -> str:
    if scores.empty:
        return ""
    cells = [
        [row["shift"], row["rule"] + (" *" if row["rule"] == PRIMARY_RULE else ""), _value(row, "rms"), f"{row['bias']:+.3f}",
         f"{row['noise_floor']:.3f}",
         *(("" if row["rule"] == b else _value(row, f"difference_to_{b}", sign="+")) for b in BASELINES)]
        for _, row in scores.iterrows()
    ]  # fmt: skip
    overall = scores[scores["shift"] == ALL_SHIFTS].set_index("rule")
    clusters = int(scores["num_mixtures"].max())
    sentences = [
        _verdict(overall.loc[rule], rule) for rule in RULES if rule in overall.index and rule not in BASELINES
    ]
    return (
        "Error of the predicted d' ratio, nothing fitted to mixtures (rms with 95% bootstrap interval over "
        f"{clusters} sets of sources; bias = predicted - measured; * primary rule; differences < 0 beat the baseline):\n"
        + _table(["shift", "rule", "rms", "bias", "noise floor", "minus interpolated", "minus best source"], cells)
        + "\n" + "\n".join(sentences)
    )  # fmt: skip


def _verdict(row: pd.Series, rule: str) -> str:
    words = []
    for baseline in BASELINES:
        low, high = row[f"difference_to_{baseline}_low"], row[f"difference_to_{baseline}_high"]
        word = "better than" if high < 0 else "worse than" if low > 0 else "not told apart from"
        words.append(f"{word} {baseline}")
    return f"Over all shifts {rule} is {' and '.join(words)} at 95%."


def _value(row: pd.Series, name: str, sign: str = "", end: str = "") -> str:
    value, low, high = (float(row[f"{name}{bound}{end}"]) for bound in ("", "_low", "_high"))
    text = f"{value:{sign}.3f}"
    return f"{text} [{low:{sign}.3f}, {high:{sign}.3f}]" if np.isfinite(low) else text


def _table(headings: list[str], cells: list[list[str]]) -> str:
    """Plain text in columns, readable in a terminal and in a file alike."""
    widths = [max(len(line[i]) for line in [headings, *cells]) for i in range(len(headings))]
    lines = [headings, ["-" * width for width in widths], *cells]
    return "\n".join(
        "  " + "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )

"""Where predictions fail: one table of what the theory assumes, measured per test set.

Use `diagnose`. It **sees mixtures**: a row describes a failure, it does not predict. Each row is a quantity with a 95% interval,
what the theory expects of it, and a verdict.

| diagnostic | value | expected |
|---|---|---|
| growth | dlog d'/dlog n of a source over all sizes, by a power law fitted to d' | at most 1/2 (Theorem 1) |
| growth where judged | the same from the smallest mixture's size on | at most 1/2 |
| growth from overlap | (1 - r_ss)/2, mean over those sizes: the growth by noise that falls as 1/n | the growth measured there |
| intercept | of a source's line in d' | 0 (Theorem 1) |
| own overlap, overlap | r_ss and r_st on the test set | as on the reference |
| bias of RULE | mean of predicted - measured d' ratio over mixtures, of each size and of all | 0 |
| bias, class by class | the mediant applied to each class before pooling (`empirical.class_errors`) | that of the mediant |
| bias, weights per target, in sample | place formula with `empirical.target_weights` fitted to these very mixtures | 0 |
| weight per target | a source's weight on the shift over its weight on the reference | 1 |

Biases change with size and some are known at one size alone: compare rows of one n_train. A bias in sample is small by
construction; it says that weights can describe these mixtures, not that they would predict others.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from empirical.class_errors import classwise_ratios
from empirical.errors import DataError
from empirical.measured_sources import NUM_DRAWS, MeasuredSources, measure_sources, sources_by_size
from empirical.places import predict_places
from empirical.prediction import RULES, mixture_shares, predict_mixtures
from empirical.robustness import fit_trends, growth_exponents, judged_sizes
from empirical.target_weights import (
    TargetWeights,
    fit_target_weights,
    fitted_places,
    weights_table,
    weights_test,
)

DIAGNOSIS_COLUMNS = (
    "diagnostic",
    "test_set",
    "sources",
    "n_train",
    "sizes",
    "value",
    "low",
    "high",
    "expected",
    "verdict",
)
_RESAMPLES = 2000


def diagnose(
    accuracies: pd.DataFrame,
    overlaps: pd.DataFrame,
    counts: pd.DataFrame | None = None,
    reference: str = "reference",
    num_draws: int = NUM_DRAWS,
    seed: int = 0,
) -> pd.DataFrame:
    """All diagnostics of the module's table that a study allows; columns `DIAGNOSIS_COLUMNS`.

    Intervals of biases are bootstraps over sets of sources; those of overlaps and weights come from draws of the measurement's
    errors. Diagnostics that need more than the study has (two seeds, as many mixtures as sources, `counts`) have no rows.

    Args:
        accuracies: a study's accuracies.
        overlaps: its overlaps; may be empty.
        counts: `empirical.class_errors.class_counts`, if at hand.
        reference: the reference test set.
        num_draws: draws behind intervals.
        seed: of draws and bootstraps.

    Raises DataError for tables that lack a column or the reference.
    """
    predictions = predict_mixtures(accuracies, reference, overlaps)
    judged = judged_sizes(accuracies)
    rows = [
        *_growth("growth", accuracies, 0),
        *_growth("growth where judged", accuracies, judged),
        *_intercepts(accuracies, reference),
    ]
    sizes = sources_by_size(overlaps) if len(overlaps) else {}
    most = max(map(len, sizes.values()), default=0)
    mixed = set(predictions["n_train"])
    full = [n for n, names in sizes.items() if len(names) == most and (not mixed or n in mixed)]
    biases = {rule: _ratios(predictions, rule) for rule in RULES}
    if full:
        n = max(full)
        measured = measure_sources(accuracies, overlaps, n, sizes[n], num_draws, seed)
        rows += _overlaps(measured, reference)
        same = [n for n, names in sizes.items() if set(names) == set(sizes[max(full)]) and n >= judged]
        rows += _growth_from_overlap(
            [measure_sources(accuracies, overlaps, n, sizes[max(full)], num_draws, seed) for n in same],
            accuracies,
            judged,
        )
        places = predict_places(accuracies, overlaps, reference, num_draws, seed)
        shifted = places[places["test_set"] != reference].rename(columns={"test_set": "shift"})
        biases["place from overlap"] = shifted[
            ["sources", "n_train", "shift", "ratio_predicted", "ratio_measured"]
        ]
        try:
            weights = fit_target_weights(accuracies, measured, min(num_draws, 200), seed)
        except DataError:
            weights = None
        if weights is not None:
            rows += _weights(weights, reference)
            biases["weights per target, in sample"] = fitted_places(accuracies, weights, reference)
    if counts is not None and len(counts):
        by_class = classwise_ratios(counts, reference)
        biases["class by class"] = by_class.rename(columns={"ratio_classwise": "ratio_predicted"})
        biases["mediant on the same classes"] = by_class.rename(columns={"ratio_pooled": "ratio_predicted"})
    for name, table in biases.items():
        rows += _bias(name, table, seed)
    return pd.DataFrame(rows, columns=list(DIAGNOSIS_COLUMNS))


def _verdict(low: float, high: float, expected: float, above: str, below: str, same: str) -> str:
    if not np.isfinite(low) or not np.isfinite(high):
        return "no interval"
    return above if low > expected else below if high < expected else same


def _growth(name: str, accuracies: pd.DataFrame, smallest: int) -> list[tuple]:
    return [
        (name, row["test_set"], row["sources"], np.nan, _span(row["n_low"], row["n_high"]), row["exponent"],
         row["exponent_low"], row["exponent_high"], 0.5,
         _verdict(row["exponent_low"], row["exponent_high"], 0.5, "outside the theory: above 1/2", "within the bound",
                  "not told apart from 1/2"))
        for _, row in growth_exponents(accuracies, smallest).iterrows()
    ]  # fmt: skip


def _span(*sizes: int | float) -> str:
    """`1024` or `256 to 4096`."""
    least, largest = int(min(sizes)), int(max(sizes))
    return str(least) if least == largest else f"{least} to {largest}"


def _intercepts(accuracies: pd.DataFrame, reference: str) -> list[tuple]:
    single = accuracies[accuracies["kind"] == "single"]
    if single.empty:
        return []
    trends = fit_trends(single, reference)
    lines = trends[(trends["link"] == "dprime") & (trends["fit"] == "line")]
    return [
        ("intercept", row["shift"], row["sources"], np.nan, _span(*single["n_train"]), row["intercept"],
         row["intercept_low"], row["intercept_high"], 0.0,
         _verdict(row["intercept_low"], row["intercept_high"], 0.0, "above 0", "below 0", "compatible with 0"))
        for _, row in lines.iterrows()
    ]  # fmt: skip


def _overlaps(measured: MeasuredSources, reference: str) -> list[tuple]:
    """Overlaps beside those on the reference."""
    ref = measured.test_sets.index(reference)
    rows = []
    for t, test_set in enumerate(measured.test_sets):
        for s, source in enumerate(measured.sources):
            for u in range(s, len(measured.sources)):
                value, draws = measured.overlaps[t, s, u], measured.drawn_overlaps[:, t, s, u]
                low, high = _normal(value, draws)
                at_ref = measured.overlaps[ref, s, u]
                difference = _normal(value - at_ref, draws - measured.drawn_overlaps[:, ref, s, u])
                verdict = _verdict(
                    *difference, 0.0, "above the reference's", "below the reference's", "as on the reference"
                )
                name = "own overlap" if u == s else "overlap"
                words = source if u == s else f"{source}+{measured.sources[u]}"
                verdict = "reference" if t == ref else verdict
                rows.append(
                    (
                        name,
                        test_set,
                        words,
                        measured.n_train,
                        str(measured.n_train),
                        value,
                        low,
                        high,
                        at_ref,
                        verdict,
                    )
                )
    return rows


def _growth_from_overlap(
    sizes: Sequence[MeasuredSources], accuracies: pd.DataFrame, smallest: int
) -> list[tuple]:
    """The growth that own overlaps allow, averaged over the sizes that the measured exponent is fitted to."""
    growth = growth_exponents(accuracies, smallest).set_index(["sources", "test_set"])
    rows = []
    for t, test_set in enumerate(sizes[0].test_sets):
        for s, source in enumerate(sizes[0].sources):
            if (source, test_set) not in growth.index:
                continue
            found = growth.loc[(source, test_set)]
            implied = float(np.mean([(1 - each.overlaps[t, s, s]) / 2 for each in sizes]))
            draws = np.mean([(1 - each.drawn_overlaps[:, t, s, s]) / 2 for each in sizes], axis=0)
            low, high = _normal(implied, draws)
            apart = (found["exponent_low"] - high, found["exponent_high"] - low)
            verdict = _verdict(*apart, 0.0, "models grow faster", "models grow slower", "as measured")
            rows.append(
                (
                    "growth from overlap",
                    test_set,
                    source,
                    np.nan,
                    _span(*(each.n_train for each in sizes)),
                    implied,
                    low,
                    high,
                    found["exponent"],
                    verdict,
                )
            )
    return rows


def _normal(value: float, draws: np.ndarray) -> tuple[float, float]:
    if len(draws) < 2:
        return np.nan, np.nan
    half = 1.96 * float(np.std(draws, ddof=1))
    return value - half, value + half


def _weights(weights: TargetWeights, reference: str) -> list[tuple]:
    rows = []
    for _, row in weights_table(weights, reference).iterrows():
        if row["test_set"] != reference:
            low, high = row["to_reference_low"], row["to_reference_high"]
            verdict = _verdict(low, high, 1.0, "counts more than on the reference", "counts less than on the reference",
                               "not told apart")  # fmt: skip
            rows.append(
                (
                    "weight per target",
                    row["test_set"],
                    row["source"],
                    row["n_train"],
                    str(row["n_train"]),
                    row["to_reference"],
                    low,
                    high,
                    1.0,
                    verdict,
                )
            )
    for _, row in weights_test(weights, reference).iterrows():
        verdict = "weights differ from the reference's" if row["p_value"] < 0.05 else "not told apart"
        rows.append(
            ("weights differ (p-value)", row["test_set"], "all sources", row["n_train"], str(row["n_train"]),
             row["p_value"], np.nan, np.nan, 0.05,
             verdict)
        )  # fmt: skip
    return rows


def _ratios(predictions: pd.DataFrame, rule: str) -> pd.DataFrame:
    return predictions[predictions["rule"] == rule]


def _bias(name: str, table: pd.DataFrame, seed: int) -> list[tuple]:
    """Mean of predicted - measured per shift, of each size and of all, bootstrapped over sets of sources."""
    rows = []
    error = table["ratio_predicted"] - table["ratio_measured"]
    table = table.assign(error=error)[np.isfinite(error.to_numpy(float))]
    by_size = [part for _, part in table.groupby(["shift", "n_train"], sort=False)]
    pooled = [part for _, part in table.groupby("shift", sort=False) if part["n_train"].nunique() > 1]
    for part in [*by_size, *pooled]:
        shift = part["shift"].iloc[0]
        clusters = ["+".join(sorted(mixture_shares(str(s)))) for s in part["sources"]]
        low, high = _cluster_interval(part["error"].to_numpy(float), clusters, seed)
        verdict = _verdict(low, high, 0.0, "mixtures less robust than predicted", "mixtures more robust than predicted",
                           "not told apart from 0")  # fmt: skip
        sizes = sorted({int(n) for n in part["n_train"]})
        n = sizes[0] if len(sizes) == 1 else np.nan
        title = name if name in ("class by class", "weights per target, in sample") else f"of {name}"
        title = f"bias, {name}" if title == name else f"bias {title}"
        rows.append(
            (
                title,
                shift,
                f"{len(part)} mixtures",
                n,
                ", ".join(map(str, sizes)),
                float(part["error"].mean()),
                low,
                high,
                0.0,
                verdict,
            )
        )
    return rows


def _cluster_interval(values: np.ndarray, clusters: Sequence[str], seed: int) -> tuple[float, float]:
    codes, names = pd.factorize(np.asarray(clusters, dtype=object))
    if len(names) < 2:
        return np.nan, np.nan
    sums, counts = (
        np.bincount(codes, weights=v, minlength=len(names)) for v in (values, np.ones(len(values)))
    )
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=_RESAMPLES)
    low, high = np.quantile(draws @ sums / (draws @ counts), [0.025, 0.975])
    return float(low), float(high)

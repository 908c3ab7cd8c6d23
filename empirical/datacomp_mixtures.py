"""DataComp's mixtures of sources against the mediant: were their robustness predictable from the single sources?

Use `predict_table_18` for the table and `describe_table_18` for it in words. Everything is computed from the printed
accuracies of `empirical.reported_numbers`; single-source rows predict, mixture rows judge, nothing is fitted to mixtures.

The rules of `empirical.prediction` compare ratios at the same number of samples seen. Lines do not pass through the origin, so
a mixture that stands further up them has another ratio for that reason alone: "lines at its place" therefore reads each source's
line, drawn through its small and its medium model, where the mixture stands. Its place is measured, its robustness predicted.
"""

import numpy as np
import pandas as pd
from scipy.optimize import brentq

from empirical.prediction import range_verdict, ratio_by_rule
from empirical.reported_numbers import DATACOMP_TABLE_18, SHIFT_CLASSES, SOURCE_SIZES, ReportedPool
from theory.links import dprime, dprime_inverse

AT_PLACE = "lines at its place"
TABLE_RULES = ("mediant", "quadrature", "interpolated", "best_source", AT_PLACE)
SHARES = ("by size", "equal")
TABLE_18_COLUMNS = (
    "scale", "sources", "shares", "rule", "ratio_predicted", "ratio_predicted_stderr", "ratio_measured",
    "ratio_measured_stderr", "lowest_source", "highest_source", "inside_range", "dprime_ref_predicted",
    "dprime_ref_measured",
)  # fmt: skip
_ROUNDING = 0.0005 / np.sqrt(3)  # standard deviation of what printing three decimals loses
_NUM_IMAGES = 50_000
_NUM_CLASSES = 1000


def common_dprime(mean_accuracy: float, num_classes: int | None = None) -> float:
    """The d' that, common to DataComp's six ImageNet shifts, gives this mean accuracy: sum_k A_{K_k}(d') / 6 = mean.

    A mean of accuracies has no d' of its own; what it hides (how the shifts differ) cannot be recovered from Table 18.
    num_classes takes the mean for the accuracy of one test set with so many classes instead.
    """
    classes = np.array([num_classes] if num_classes else [k for k, _ in SHIFT_CLASSES.values()])

    def excess(value: float) -> float:
        return float(np.mean(np.asarray(dprime_inverse(value, classes)))) - mean_accuracy

    return float(brentq(excess, -3.0, 12.0, xtol=1e-10))  # pyright: ignore[reportArgumentType]


def _point(pool: ReportedPool, num_classes: int | None) -> tuple[np.ndarray, np.ndarray]:
    """(d'_ref, d'_shift) of a pool and their standard errors: printing and the test images, not the training seed."""
    images = np.array([num_images for _, num_images in SHIFT_CLASSES.values()])
    p, q = pool.imagenet, pool.shifts
    errors = (
        np.hypot(np.sqrt(p * (1 - p) / _NUM_IMAGES), _ROUNDING),
        np.hypot(np.sqrt(np.sum(q * (1 - q) / images)) / len(images), _ROUNDING),
    )
    value = np.array([float(dprime(p, _NUM_CLASSES)), common_dprime(q, num_classes)])
    step = np.array([float(dprime(p + 1e-4, _NUM_CLASSES)), common_dprime(q + 1e-4, num_classes)]) - value
    return value, np.abs(step) / 1e-4 * np.array(errors)


def predict_table_18(num_classes: int | None = None) -> pd.DataFrame:
    """Every mixture of Table 18, each scale: the d' ratio (shifts over ImageNet) by each rule beside the measured one.

    The mixtures pool whole sources; the shares are taken by size, or equal, to show what that matters. Standard errors carry
    printed digits and test images, not the training seed, of which there is one. inside_range: whether the measured ratio lies
    between those of its sources, the verdict at 95% of `empirical.prediction.inside_range` with these errors ("yes": above one
    source and below another, each beyond the error of the difference; "no": beyond every source; otherwise "inconclusive"); for
    "lines at its place" the sources' values are their lines' at the mixture's place.
    num_classes as in `common_dprime`. Columns: `TABLE_18_COLUMNS`.
    """
    singles = {
        (pool.sources[0], pool.scale): _point(pool, num_classes)
        for pool in DATACOMP_TABLE_18
        if len(pool.sources) == 1
    }
    rows = []
    for pool in DATACOMP_TABLE_18:
        if len(pool.sources) == 1:
            continue
        points = [singles[(source, pool.scale)] for source in pool.sources]
        values, errors = np.stack([v for v, _ in points]), np.stack([e for _, e in points])
        (x, y), (x_error, y_error) = _point(pool, num_classes)
        ratio, ratio_error = y / x, float(np.hypot(y_error / x, y / x**2 * x_error))
        of_sources = values[:, 1] / values[:, 0]
        source_errors = np.hypot(errors[:, 1] / values[:, 0], values[:, 1] / values[:, 0] ** 2 * errors[:, 0])
        ends = np.stack(
            [[singles[(source, scale)] for scale in ("small", "medium")] for source in pool.sources]
        )
        on_lines, line_errors = _read_lines(ends, x)
        for shares in SHARES:
            p = np.array([SOURCE_SIZES[s] if shares == "by size" else 1.0 for s in pool.sources])
            p = p / p.sum()
            for rule in TABLE_RULES:
                if rule == AT_PLACE:
                    ranges, predicted, place = (on_lines / x, line_errors / x), float(p @ on_lines) / x, x
                    stderr = float(np.sqrt(np.sum((p * line_errors) ** 2))) / x
                else:
                    ranges = of_sources, source_errors
                    predicted, place, gradient = ratio_by_rule(rule, p, values, 2, 0, 1)
                    stderr = float(np.sqrt(np.sum((gradient * errors) ** 2)))
                inside = range_verdict((ratio - ranges[0]) / np.hypot(ranges[1], ratio_error), np.inf)
                rows.append(
                    (pool.scale, " + ".join(pool.sources), shares, rule, predicted, stderr, ratio, ratio_error,
                     ranges[0].min(), ranges[0].max(), inside, place, x)
                )  # fmt: skip
    return pd.DataFrame(rows, columns=list(TABLE_18_COLUMNS))


def _read_lines(ends: np.ndarray, x: float) -> tuple[np.ndarray, np.ndarray]:
    """Height at x, and its error, of the line through each source's two models; ends (S, 2 scales, value | error, 2)."""
    (x0, y0), (x1, y1) = ends[:, 0, 0].T, ends[:, 1, 0].T
    share = (x - x0) / (x1 - x0)
    slope = (y1 - y0) / (x1 - x0)
    weights = np.stack([1 - share, share], axis=1)
    errors = np.hypot(ends[:, :, 1, 1], slope[:, None] * ends[:, :, 1, 0])
    return y0 + slope * (x - x0), np.sqrt(np.sum((weights * errors) ** 2, axis=1))


def range_counts(table: pd.DataFrame, rule: str) -> dict[str, int]:
    """How many mixtures lie inside their sources' range at 95% (yes), outside (no), open (inconclusive), and between the lowest
    and the highest source by the measured values alone (between), by the rule whose range of sources is meant.
    """
    once = table[(table["shares"] == SHARES[0]) & (table["rule"] == rule)]
    counts = once["inside_range"].value_counts()
    between = once["ratio_measured"].between(once["lowest_source"], once["highest_source"])
    verdicts = {word: int(counts.get(word, 0)) for word in ("yes", "no", "inconclusive")}
    return verdicts | {"between": int(between.sum())}


def _counts(table: pd.DataFrame, rule: str) -> str:
    counts = range_counts(table, rule)
    yes, no, open_ = (counts[word] for word in ("yes", "no", "inconclusive"))
    between = f"{counts['between']} between by their values alone"
    return f"{yes} of {yes + no + open_} inside at 95%, {no} outside, {open_} open ({between})"


def describe_table_18(table: pd.DataFrame) -> list[str]:
    """Sentences: mixtures inside their sources' range, errors of each rule, and where mixtures stand on their line."""
    as_one = {k: _counts(predict_table_18(k), "mediant") for k in (1000, 200)}
    sentences = [
        f"d' ratio within its sources' at equal samples seen: {_counts(table, 'mediant')}.",
        "  The mean over shifts hides how many classes they have; taken as one set of "
        + ", ".join(f"{k} classes: {words}" for k, words in as_one.items())
        + ".",
        f"At equal place on the line (each source's line through its two scales): {_counts(table, AT_PLACE)}.",
    ]
    for shares in SHARES:
        part = table[table["shares"] == shares]
        errors = (part["ratio_predicted"] - part["ratio_measured"]).pow(2).groupby(
            part["rule"], sort=False
        ).mean() ** 0.5
        words = ", ".join(f"{rule} {errors[rule]:.3f}" for rule in TABLE_RULES)
        sentences.append(f"Rms error of the predicted ratio, shares {shares}: {words}.")
    once = table[(table["shares"] == SHARES[0]) & (table["rule"] == "mediant")]
    for scale, part in once.groupby("scale", sort=False):
        gain = part["dprime_ref_measured"] - part["dprime_ref_predicted"]
        bias = part["ratio_predicted"] - part["ratio_measured"]
        sentences.append(
            f"At {scale} scale the mediant's ratio minus the measured one is {bias.mean():+.3f} on average; on the line the "
            f"mixtures stand {gain.mean():+.2f} in reference d' from the mean of their sources."
        )
    sentences.append(
        "One training run per row and an average over six shifts: the errors hold printed digits and test images alone."
    )
    return sentences

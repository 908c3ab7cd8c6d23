"""Does output mixing predict input mixing? Ensembles of single-source models against the mixtures trained on pooled data.

Use `compare_with_input` for one row per mixture, size and shift, and `summarise_output_mixing` for one row per kind of mixing
and shift: the tables that a study keeps as output_mixing.csv and output_vs_input.csv.
"""

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from empirical.output_mixing import HEADS, MIXINGS, check_ensembles
from empirical.prediction import mixture_shares
from empirical.robustness import check_accuracies, with_link_errors
from empirical.scoring import ALL_SHIFTS

CELL_COLUMNS = (
    "mixing", "heads", "sources", "n_train", "shift", "num_seeds", "ratio_ensemble", "ratio_input", "difference",
    "difference_stderr", "agrees", "seed_stderr", "agrees_by_seeds", "dprime_ref_ensemble", "dprime_ref_input",
)  # fmt: skip
SUMMARY_COLUMNS = (
    "mixing", "heads", "shift", "num_mixtures", "num_comparisons", "mean_difference", "difference_low", "difference_high",
    "rms", "rms_low", "rms_high", "noise_floor", "agreement_share", "agreement_share_by_seeds", "place_gain",
)  # fmt: skip
_RESAMPLES = 4000


def compare_with_input(
    accuracies: pd.DataFrame, ensembles: pd.DataFrame, reference: str = "reference"
) -> pd.DataFrame:
    """Ratio d'_shift / d'_ref of each ensemble minus that of its input mixture, seed by seed, with a paired error.

    difference is the mean over seeds. Its standard error: between seeds, the variance of the seeds' differences pooled over
    all mixtures of the size, kind and shift, over the number of seeds; from the test images, which both are measured on, by
    the delta method with the exact covariance that the number of images both get right gives, as if all of it were common to
    all seeds: too large, since what is not is in the seeds' variance already. seed_stderr leaves the images out: too small by
    what seeds have in common of a difference on the same images. The truth lies between. agrees and agrees_by_seeds: the
    difference is within t_.975 of either error of 0; empty where one seed gives no error. Means of d'_ref say
    where on its line each stands. Columns `CELL_COLUMNS`.

    Raises DataError for tables that lack a column or the reference.
    """
    check_accuracies(accuracies, reference)
    if ensembles.empty:
        return pd.DataFrame(columns=list(CELL_COLUMNS))
    check_ensembles(ensembles)
    pairs = _paired(accuracies, ensembles, reference)
    keys = ["mixing", "heads", "n_train", "shift"]
    rows = []
    for (mixing, heads, n, shift), part in pairs.groupby(keys, sort=False):
        cells = [(str(sources), cell) for sources, cell in part.groupby("sources", sort=False)]
        residuals = [cell["difference"] - cell["difference"].mean() for _, cell in cells]
        degrees = sum(len(r) - 1 for r in residuals)
        variance = sum(float((r**2).sum()) for r in residuals) / degrees if degrees else np.nan
        limit = float(stdtrit(degrees, 0.975)) if degrees else np.nan
        for sources, cell in cells:
            value = float(cell["difference"].mean())
            stderr = float(np.sqrt(variance / len(cell) + cell["image_variance"].mean()))
            by_seeds = float(np.sqrt(variance / len(cell)))
            agrees, agrees_by_seeds = (
                "" if not np.isfinite(error) else "yes" if abs(value) <= limit * error else "no"
                for error in (stderr, by_seeds)
            )
            means = [float(cell[name].mean()) for name in ("ratio_e", "ratio_i", "x_e", "x_i")]
            compared = (value, stderr, agrees, by_seeds, agrees_by_seeds)
            rows.append((mixing, heads, sources, n, shift, len(cell), *means[:2], *compared, *means[2:]))
    return pd.DataFrame(rows, columns=list(CELL_COLUMNS))


def _paired(accuracies: pd.DataFrame, ensembles: pd.DataFrame, reference: str) -> pd.DataFrame:
    """One row per ensemble and shift: both ratios, their difference and its variance from the test images."""
    keep = ["run", "test_set", "num_correct", "num_images", "dprime", "dprime_stderr"]
    e = with_link_errors(ensembles)
    i = with_link_errors(accuracies[accuracies["kind"] == "input_mixing"])[keep].rename(
        columns={"run": "mixture"}
    )
    both = e.merge(i, on=["mixture", "test_set"], suffixes=("_e", "_i"))
    n = both["num_images_e"].to_numpy(float)
    p, q = both["num_correct_e"].to_numpy(float) / n, both["num_correct_i"].to_numpy(float) / n
    binomial = np.sqrt(np.maximum(np.stack([p * (1 - p), q * (1 - q)]) / n, 1e-300))
    slopes = both[["dprime_stderr_e", "dprime_stderr_i"]].to_numpy(float).T / binomial
    both["shared"] = slopes[0] * slopes[1] * (both["both_correct"].to_numpy(float) / n - p * q) / n
    names = {
        "dprime_e": "e",
        "dprime_i": "i",
        "dprime_stderr_e": "se",
        "dprime_stderr_i": "si",
        "shared": "shared",
    }
    keys = ["run", "mixing", "heads_n_train", "sources", "n_train", "seed"]
    at_ref = both[both["test_set"] == reference].rename(
        columns={old: f"x_{new}" for old, new in names.items()}
    )
    at_shift = both[both["test_set"] != reference].rename(
        columns={old: f"y_{new}" for old, new in names.items()}
    )
    table = at_shift[[*keys, "test_set", *(f"y_{new}" for new in names.values())]].merge(
        at_ref[["run", *(f"x_{new}" for new in names.values())]], on="run"
    )
    finite = np.isfinite(table[["x_e", "x_i", "y_e", "y_i"]].to_numpy(float)).all(axis=1)
    table = table[finite & (table["x_e"] > 0) & (table["x_i"] > 0)].copy()
    table["ratio_e"], table["ratio_i"] = table["y_e"] / table["x_e"], table["y_i"] / table["x_i"]
    table["difference"] = table["ratio_e"] - table["ratio_i"]
    variance = np.zeros(len(table))
    for axis in "xy":
        ge = 1 / table["x_e"] if axis == "y" else -table["ratio_e"] / table["x_e"]
        gi = -1 / table["x_i"] if axis == "y" else table["ratio_i"] / table["x_i"]
        variance += (
            (ge * table[f"{axis}_se"]) ** 2
            + (gi * table[f"{axis}_si"]) ** 2
            + 2 * ge * gi * table[f"{axis}_shared"]
        )
    table["image_variance"] = np.maximum(variance, 0.0)
    return table.rename(columns={"heads_n_train": "heads", "test_set": "shift"})


def summarise_output_mixing(cells: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Per kind of mixing, heads and shift (and over all shifts): how far ensembles lie from the mixtures they stand for.

    mean_difference (ensemble minus input mixture, in d' ratio) and rms with 95% percentile bootstraps over sets of sources
    (mixtures of one set share heads, so they are drawn together; one set gives no interval); noise_floor is the root mean square
    of difference_stderr, what a perfect agreement would show; agreement_share and agreement_share_by_seeds the shares of
    comparisons that agree at 95% by either error;
    place_gain the mean of d'_ref of the ensemble minus that of the mixture. Columns `SUMMARY_COLUMNS`.
    """
    rows = []
    if len(cells):
        cells = cells.assign(cluster=["+".join(sorted(mixture_shares(str(s)))) for s in cells["sources"]])
        shifts = [str(name) for name in pd.unique(cells["shift"])]
        for mixing in MIXINGS:
            for heads in HEADS:
                kind = cells[(cells["mixing"] == mixing) & (cells["heads"] == heads)]
                for shift in [*shifts, ALL_SHIFTS] if len(kind) else ():
                    part = kind if shift == ALL_SHIFTS else kind[kind["shift"] == shift]
                    if len(part):
                        rows.append((mixing, heads, shift, *_summary(part, np.random.default_rng(seed))))
    return pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS))


def _summary(part: pd.DataFrame, rng: np.random.Generator) -> tuple:
    codes, clusters = pd.factorize(part["cluster"])
    difference = part["difference"].to_numpy(float)
    sums, squares, counts = (
        np.bincount(codes, weights=v, minlength=len(clusters))
        for v in (difference, difference**2, np.ones(len(part)))
    )
    draws = rng.multinomial(len(clusters), np.full(len(clusters), 1 / len(clusters)), size=_RESAMPLES)
    weight = draws @ counts
    intervals = [(np.nan, np.nan)] * 2
    if len(clusters) > 1:
        values = (draws @ sums / weight, np.sqrt(draws @ squares / weight))
        intervals = [tuple(np.quantile(v, [0.025, 0.975])) for v in values]
    agreement = [
        float((part.loc[part[name] != "", name] == "yes").mean()) for name in ("agrees", "agrees_by_seeds")
    ]
    floor = float(np.sqrt(np.mean(part["difference_stderr"].to_numpy(float) ** 2)))
    gain = float((part["dprime_ref_ensemble"] - part["dprime_ref_input"]).mean())
    return (
        len(clusters), len(part), float(difference.mean()), *intervals[0], float(np.sqrt(np.mean(difference**2))), *intervals[1],
        floor, *agreement, gain,
    )  # fmt: skip

"""Does a filtered pool inherit its filter's robustness? Theorem 3 held against fitted lines.

Use `compare_with_filter` for lines of groups, `matched_offsets` for pairs of equal models, and `describe` for both in
words. The tables are tidy accuracies whose `sources` name the groups: models trained on the raw pool, models trained on
what a filter kept, and the filter itself (the models it belongs to).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from empirical.line_fits import LineFit
from empirical.robustness import fits_of_groups, models_of_shift, shifts, with_link_errors

COMPARISON_COLUMNS = (
    "pool", "filtered", "filter", "shift", "quantity", "dprime_ref", "extrapolated", "of_pool", "of_pool_low", "of_pool_high",
    "of_filtered", "of_filtered_low", "of_filtered_high", "of_filter", "of_filter_low", "of_filter_high", "verdict",
)  # fmt: skip
HEIGHT, SLOPE = "line at dprime_ref", "ray slope"


@dataclass(frozen=True)
class _Reading:
    value: float
    low: float
    high: float

    @property
    def half(self) -> float:
        return (self.high - self.low) / 2


def compare_with_filter(
    accuracies: pd.DataFrame, pool: str, filtered: Sequence[str], filter_group: str, reference: str
) -> pd.DataFrame:
    """Where each filtered group lies between its pool and its filter, per shift, in d'.

    Two quantities: the height of the fitted line at one reference d' (the middle of the range that all three groups share;
    `extrapolated` where they share none) and the slope of the ray through the origin, Theorem 3's own quantity. For one
    component the theorem puts the filtered value between the pool's and the filter's; for several it only keeps it in the
    hull of all components' and the filter's.

    Verdicts, with 95% half-widths added in quadrature for differences: "between" (apart from both ends), "at the pool" or
    "at the filter" (on either side of that end but not told apart from it), "outside, beyond the pool" / "beyond the
    filter" (by more than the error), "no contrast" (pool and filter themselves, and the filtered group from either, are
    not told apart), "inconclusive" (not told apart from pool nor filter, though these differ).

    A group with fewer than 3 models, or none, gives no rows. Source: Theorem 3 (filtering with a pre-trained model).
    """
    fits = {
        (group, shift, fit): line
        for (_, group, shift, _, fit), line in fits_of_groups(accuracies, reference, links=("dprime",))
    }
    table = with_link_errors(accuracies)
    rows = []
    for shift in shifts(table, reference):
        models = models_of_shift(table, shift, reference)
        models = models[np.isfinite(models["x_dprime"]) & np.isfinite(models["y_dprime"])]
        for name in filtered:
            groups = (pool, name, filter_group)
            if any((group, shift, "line") not in fits for group in groups):
                continue
            ranges = [models.loc[models["group"] == group, "x_dprime"] for group in groups]
            low, high = max(r.min() for r in ranges), min(r.max() for r in ranges)
            place = float((low + high) / 2)
            for quantity, fit, direction in ((HEIGHT, "line", (1.0, place)), (SLOPE, "ray", (0.0, 1.0))):
                lines = [fits.get((group, shift, fit)) for group in groups]
                readings = [_read(line, direction) for line in lines if line is not None]
                if len(readings) < 3:
                    continue
                values = [v for r in readings for v in (r.value, r.low, r.high)]
                at = (place, bool(low > high)) if quantity == HEIGHT else (np.nan, False)
                rows.append((pool, name, filter_group, shift, quantity, *at, *values, verdict(*readings)))
    return pd.DataFrame(rows, columns=list(COMPARISON_COLUMNS))


def _read(line: LineFit, direction: tuple[float, float]) -> _Reading:
    low, high = line.interval(direction)
    return _Reading(float(np.dot(direction, line.parameters)), low, high)


def verdict(pool: _Reading, filtered: _Reading, own: _Reading) -> str:
    """The verdict of `compare_with_filter` for three values with 95% intervals."""
    contrast = own.value - pool.value
    sign = 1.0 if contrast >= 0 else -1.0
    # How far the filtered group is past the pool and short of the filter, along the way from pool to filter.
    past_pool, to_pool = sign * (filtered.value - pool.value), np.hypot(filtered.half, pool.half)
    short_of_filter, to_filter = sign * (own.value - filtered.value), np.hypot(filtered.half, own.half)
    if past_pool < -to_pool:
        return "outside, beyond the pool"
    if short_of_filter < -to_filter:
        return "outside, beyond the filter"
    if past_pool > to_pool and short_of_filter > to_filter:
        return "between"
    if abs(contrast) <= np.hypot(pool.half, own.half):
        return "no contrast"
    if past_pool <= to_pool and short_of_filter > to_filter:
        return "at the pool"
    if past_pool > to_pool:
        return "at the filter"
    return "inconclusive"


def matched_offsets(accuracies: pd.DataFrame, comparison: pd.DataFrame, reference: str) -> pd.DataFrame:
    """How far filtering moves models off their pool's line, at equal model and training length.

    Architecture and training length scatter models about their group's line, and the same in both groups: comparing equals
    removes that scatter. offset = mean over pairs of (y_filtered - y_pool) - b (x_filtered - x_pool) in d', b the slope of the
    pool's line, with a 95% interval from the pairs (t with pairs - 1 degrees of freedom) and from b. gain is the mean of
    x_filtered - x_pool: how far filtering moved the models up their line. Pairs are rows with the same `model` and the same
    ending _sNUMBERb_bNUMBERk of `pretrained`; a group with fewer than 3 pairs has no row.

    direction: "toward the filter" or "away from the filter" where the interval excludes 0 and the filter's line lies above or
    below the pool's (`compare_with_filter`, the heights), "up" or "down" where pool and filter are not told apart, "none seen"
    otherwise. Columns: pool, filtered, filter, shift, offset, offset_low, offset_high, num_pairs, gain, direction.
    """
    columns = [
        "pool",
        "filtered",
        "filter",
        "shift",
        "offset",
        "offset_low",
        "offset_high",
        "num_pairs",
        "gain",
        "direction",
    ]
    slopes = {
        (group, shift): line
        for (_, group, shift, _, _), line in fits_of_groups(accuracies, reference, links=("dprime",), fits=("line",))
    } if len(comparison) else {}  # fmt: skip
    rows = []
    for _, row in comparison[comparison["quantity"] == HEIGHT].iterrows():
        pool, name, shift = str(row["pool"]), str(row["filtered"]), str(row["shift"])
        pairs = _matched(accuracies, pool, name, (reference, shift))
        if len(pairs) < 3:
            continue
        dx, dy = (
            pairs[f"{test_set}_filtered"] - pairs[f"{test_set}_pool"] for test_set in (reference, shift)
        )
        line = slopes[(pool, shift)]
        low_b, high_b = line.interval((0.0, 1.0))
        offsets = (dy - line.slope * dx).to_numpy(float)
        spread = float(stdtrit(len(pairs) - 1, 0.975)) * offsets.std(ddof=1) / np.sqrt(len(pairs))
        half = float(np.hypot(spread, (high_b - low_b) / 2 * dx.mean()))
        offset, contrast = float(offsets.mean()), row["of_filter"] - row["of_pool"]
        ends = [(row[f"of_{end}_high"] - row[f"of_{end}_low"]) / 2 for end in ("pool", "filter")]
        if abs(offset) <= half:
            direction = "none seen"
        elif abs(contrast) <= np.hypot(*ends):
            direction = "up" if offset > 0 else "down"
        else:
            direction = "toward the filter" if offset * contrast > 0 else "away from the filter"
        rows.append(
            (
                pool,
                name,
                row["filter"],
                shift,
                offset,
                offset - half,
                offset + half,
                len(pairs),
                float(dx.mean()),
                direction,
            )
        )
    return pd.DataFrame(rows, columns=columns)


def _matched(accuracies: pd.DataFrame, pool: str, filtered: str, test_sets: tuple[str, str]) -> pd.DataFrame:
    """One row per pair of equal model and training length: TESTSET_pool and TESTSET_filtered, d' of both."""
    table = accuracies[accuracies["test_set"].isin(test_sets) & np.isfinite(accuracies["dprime"])].copy()
    table["length"] = table["pretrained"].str.extract(r"(_s\d+[mb]_b\d+k)$", expand=False)
    table = table.dropna(subset=["length"])
    sides = []
    for name, suffix in ((pool, "_pool"), (filtered, "_filtered")):
        rows = table[table["sources"] == name].drop_duplicates(["model", "length", "test_set"])
        sides.append(
            rows.pivot(index=["model", "length"], columns="test_set", values="dprime").add_suffix(suffix)
        )
    pairs = sides[0].join(sides[1], how="inner")
    wanted = [f"{name}{suffix}" for name in test_sets for suffix in ("_pool", "_filtered")]
    return pairs.reindex(columns=wanted).dropna()


def describe(comparison: pd.DataFrame, offsets: pd.DataFrame, labels: Mapping[str, str]) -> list[str]:
    """Sentences: per filtered group and quantity a count of verdicts and the readings behind it, then the matched pairs."""
    sentences = []
    for (name, quantity), part in comparison.groupby(["filtered", "quantity"], sort=False):
        outside, held = part["verdict"].str.startswith("outside"), part["verdict"] == "between"
        counts = [
            (words, [labels.get(shift, shift) for shift in part.loc[rows, "shift"]])
            for words, rows in (
                ("holds", held),
                ("does not hold", outside),
                ("cannot be told", ~held & ~outside),
            )
        ]
        where = "; ".join(f"{words} on {', '.join(names) or 'none'}" for words, names in counts)
        sentences.append(f"{name}, {quantity}, between pool and filter: {where}.")
        for _, row in part.iterrows():
            at = (
                f", at reference d' {row['dprime_ref']:.2f}{' (extrapolated)' if row['extrapolated'] else ''}"
            )
            values = ", ".join(
                f"{end} {row[f'of_{end}']:.3f} [{row[f'of_{end}_low']:.3f}, {row[f'of_{end}_high']:.3f}]"
                for end in ("pool", "filtered", "filter")
            )
            where = labels.get(row["shift"], row["shift"]) + (at if quantity == HEIGHT else "")
            sentences.append(f"  {where}: {values}: {row['verdict']}.")
    for name, part in offsets.groupby("filtered", sort=False):
        sentences.append(
            f"{name}, at equal model and training length ({part['num_pairs'].iloc[0]} pairs): filtering adds "
            f"{part['gain'].mean():+.2f} to the reference d' (it moves models up the line), and off the pool's line, in d':"
        )
        sentences += [
            f"  {labels.get(row['shift'], row['shift'])}: {row['offset']:+.3f} [{row['offset_low']:+.3f}, "
            f"{row['offset_high']:+.3f}]: {row['direction']}."
            for _, row in part.iterrows()
        ]
    return sentences

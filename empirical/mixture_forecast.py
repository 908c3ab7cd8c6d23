"""Forecasts of mixtures that nobody has trained, from single-source models alone.

Use `forecast_mixtures` for every rule of `empirical.prediction` on a list of mixtures, `listed_mixtures` for such a list, and
`empirical.mixture_choice` for the best mixture. `predict_mixtures` (in `empirical.prediction`) is for mixtures that were trained.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from empirical.errors import DataError
from empirical.group_means import (
    GroupMean,
    Means,
    SeedCovariance,
    group_means,
    image_contributions,
    image_variance,
    seed_variance,
)
from empirical.line_fits import LineFit
from empirical.prediction import RULES, mixture_place_bracket, ratio_by_lines, ratio_by_rule
from empirical.robustness import check_accuracies, fits_of_groups, shifts
from theory.links import dprime_inverse

FORECAST_COLUMNS = (
    "sources", "n_train", "shift", "rule", "ratio", "ratio_low", "ratio_high", "dprime_ref", "dprime_ref_bracket_low",
    "dprime_ref_bracket_high", "dprime_shift", "dprime_shift_low", "dprime_shift_high", "accuracy_ref", "accuracy_shift",
    "accuracy_shift_low", "accuracy_shift_high", "interpolated",
)  # fmt: skip
DEFAULT_RATIOS = (0.2, 0.5, 0.8)
_MOST_EQUAL = 8
_Z = 1.96


@dataclass(frozen=True)
class SingleSources:
    """Measured d' of single-source models, by source and size, and what their errors are made of.

    seeds: how d' varies between seeds; all zero where no model was trained twice, `known_seeds` then says so.
    """

    means: Means
    names: tuple[str, ...]
    reference: str
    seeds: SeedCovariance
    known_seeds: bool

    @property
    def ref(self) -> int:
        """Index of the reference among the test sets."""
        return self.means.test_sets.index(self.reference)

    def sizes(self, source: str) -> list[int]:
        """Sizes at which the source has models."""
        return sorted(n for _, name, _, n in self.means.groups if name == source)

    def at(self, source: str, n_train: int) -> tuple[GroupMean, bool] | None:
        """The source's mean d' at a size, and whether it was interpolated; None outside the sizes it has.

        Between two sizes log d' goes linearly in log n (d' itself where one is not positive); the errors are the larger of
        both ends'.
        """
        sizes = self.sizes(source)
        if n_train in sizes:
            return self.means.groups[("single", source, "", n_train)], False
        if not sizes or not sizes[0] < n_train < sizes[-1]:
            return None
        j = int(np.searchsorted(sizes, n_train))
        below, above = (self.means.groups[("single", source, "", n)] for n in sizes[j - 1 : j + 1])
        share = np.log(n_train / sizes[j - 1]) / np.log(sizes[j] / sizes[j - 1])
        both = np.stack([below.mean, above.mean])
        positive = np.all(both > 0, axis=0)
        logs = np.log(np.where(positive, both, 1.0))
        mean = np.where(
            positive, np.exp((1 - share) * logs[0] + share * logs[1]), (1 - share) * both[0] + share * both[1]
        )
        errors = np.maximum(below.image_stderr, above.image_stderr)
        return GroupMean(mean, errors, min(below.num_seeds, above.num_seeds)), True


def single_sources(accuracies: pd.DataFrame, reference: str) -> SingleSources:
    """Means and errors of the single-source models in a tidy accuracies table.

    Raises DataError for a missing column or reference, or a table without single-source models.
    """
    check_accuracies(accuracies, reference)
    single = accuracies[accuracies["kind"] == "single"]
    if single.empty:
        raise DataError("the accuracies hold no single-source model (kind 'single')")
    means = group_means(single)
    seeds = means.pooled["single"]
    known = seeds.degrees > 0
    if not known:
        seeds = SeedCovariance(np.zeros((len(means.test_sets), len(means.test_sets))), 0)
    names = tuple(str(name) for name in pd.unique(single["sources"]))
    return SingleSources(means, names, reference, seeds, known)


def mixture_name(shares: Mapping[str, float]) -> str:
    """Shares as the tables write them, `stock:0.5+snapshots:0.5`; rounded to five digits."""
    return "+".join(f"{name}:{share:.5g}" for name, share in shares.items())


def listed_mixtures(
    names: Sequence[str], ratios: Sequence[float] = DEFAULT_RATIOS, equal: bool = True
) -> list[dict[str, float]]:
    """Every pair of sources at each ratio, and the equal mixture of every three or more (of up to eight sources: of all).

    Raises DataError for a ratio outside (0, 1).
    """
    for ratio in ratios:
        if not 0 < ratio < 1:
            raise DataError(
                f"a pair's ratio is the share of its first source, between 0 and 1, got {ratio:g}"
            )
    mixtures = [{a: ratio, b: 1 - ratio} for a, b in combinations(names, 2) for ratio in ratios]
    if equal and len(names) > 2:
        sizes = range(3, len(names) + 1) if len(names) <= _MOST_EQUAL else [len(names)]
        mixtures += [
            dict.fromkeys(chosen, 1 / size) for size in sizes for chosen in combinations(names, size)
        ]
    return mixtures


def common_sizes(single: SingleSources) -> list[int]:
    """Sizes at which two sources or more have models or can be interpolated, of those that some source was trained at."""
    sizes = sorted({n for name in single.names for n in single.sizes(name)})
    return [n for n in sizes if sum(single.at(name, n) is not None for name in single.names) > 1]


def forecast_mixtures(
    accuracies: pd.DataFrame,
    mixtures: Sequence[Mapping[str, float]],
    sizes: Sequence[int] = (),
    reference: str = "reference",
) -> pd.DataFrame:
    """Every rule's d' ratio, place and accuracies for every mixture, shift and size, with 95% intervals.

    sizes defaults to `common_sizes`. A mixture has no row at a size outside one of its sources' sizes. The rules and their
    places are those of `empirical.prediction`; "lines" reads the sources' lines at sum p_s d_s(ref) and needs three models of
    each. dprime_shift = ratio dprime_ref. Intervals carry the seeds (where models were trained more than once) and the test
    images, not the rule's own error: how good rules are is measured by trained mixtures (`scores.csv` of a study).
    dprime_ref_bracket_*: `mixture_place_bracket`. accuracy_* are those of each test set's own number of classes at these d'.

    Raises DataError as `single_sources`, for a mixture with an unknown source, and for a size that gives no forecast.
    """
    single = single_sources(accuracies, reference)
    unknown = [name for mixture in mixtures for name in mixture if name not in single.names]
    if unknown:
        raise DataError(f"there is no source {unknown[0]!r}; the sources are {', '.join(single.names)}")
    classes = accuracies.drop_duplicates("test_set").set_index("test_set")["num_classes"]
    lines = {
        (source, shift): line
        for (_, source, shift, _, _), line in fits_of_groups(
            accuracies[accuracies["kind"] == "single"], reference, links=("dprime",), fits=("line",)
        )
    }
    if sizes and min(sizes) < 1:
        raise DataError(f"n = {min(sizes)}: a mixture has at least 1 sample")
    asked = list(sizes) or common_sizes(single)
    rows = []
    for n in asked:
        for mixture in mixtures:
            found = [single.at(name, n) for name in mixture]
            parts = [each[0] for each in found if each is not None]
            if len(parts) < len(mixture):
                continue
            interpolated = any(each is not None and each[1] for each in found)
            shares = np.asarray(list(mixture.values()), dtype=float)
            bracket = (
                mixture_place_bracket(single.means, mixture, n, single.ref)
                if not interpolated
                else (np.nan, np.nan)
            )
            for shift in shifts(accuracies, reference):
                at = single.means.test_sets.index(shift)
                values = np.array([[part.mean[single.ref], part.mean[at]] for part in parts])
                if not np.all(np.isfinite(values)) or not np.all(values[:, 0] > 0):
                    continue
                fits = [lines.get((name, shift)) for name in mixture]
                for rule in RULES:
                    ratio, place, error, shift_error = _forecast(
                        rule, shares, values, parts, fits, single, at
                    )
                    if not np.isfinite(ratio):
                        continue
                    height = ratio * place
                    ends = (height, height - _Z * shift_error, height + _Z * shift_error)
                    rows.append(
                        (mixture_name(mixture), n, shift, rule, ratio, ratio - _Z * error, ratio + _Z * error, place, *bracket,
                         *ends, interpolated)
                    )  # fmt: skip
    if not rows:
        raise DataError(_no_forecast(accuracies, single, asked))
    table = pd.DataFrame(rows, columns=[name for name in FORECAST_COLUMNS if not name.startswith("accuracy")])
    of_shift = table["shift"].map(classes).to_numpy(int)
    table["accuracy_ref"] = np.asarray(
        dprime_inverse(table["dprime_ref"].to_numpy(float), int(classes[reference]))
    )
    for end in ("", "_low", "_high"):
        values = table[f"dprime_shift{end}"].to_numpy(float)
        table[f"accuracy_shift{end}"] = np.asarray(dprime_inverse(values, of_shift))
    return table[list(FORECAST_COLUMNS)]


def _no_forecast(accuracies: pd.DataFrame, single: SingleSources, asked: Sequence[int]) -> str:
    from empirical.forecast_gaps import forecast_gaps

    if not asked:
        has = "; ".join(f"{name} {', '.join(f'{n:,}' for n in single.sizes(name))}" for name in single.names)
        return f"no mixture can be forecast: no two sources have models of one size (they have n = {has})"
    sets = shifts(accuracies, single.reference)
    gaps = [line for n in asked for line in forecast_gaps(accuracies, single, n, sets)]
    return f"no mixture can be forecast at n = {', '.join(f'{n:,}' for n in asked)}: {'; '.join(dict.fromkeys(gaps))}"


def _forecast(
    rule: str,
    shares: np.ndarray,
    values: np.ndarray,
    parts: Sequence[GroupMean],
    fits: Sequence[LineFit | None],
    single: SingleSources,
    at: int,
) -> tuple[float, float, float, float]:
    """Ratio, place, and standard errors of the ratio and of ratio times place."""
    ref, num_sets = single.ref, len(single.means.test_sets)
    if rule == "lines":
        ratio, place, seeds, images = ratio_by_lines(shares, fits, parts, None, (ref, at), single.seeds)
        if not np.isfinite(ratio):
            return np.nan, place, np.nan, np.nan
        error = float(np.sqrt(seeds + image_variance(images)))
        return ratio, place, error, _line_height_error(shares, fits, parts, place, single, at)
    ratio, place, gradients = ratio_by_rule(rule, shares, values, num_sets, ref, at)
    of_place = np.zeros_like(gradients)
    if rule == "quadrature":
        of_place[:, ref] = shares * np.abs(values[:, 0]) / place
    elif rule == "best_source":
        of_place[int(np.argmax(values[:, 1] / values[:, 0])), ref] = 1.0
    else:
        of_place[:, ref] = shares
    errors = [
        float(np.sqrt(seed_variance(parts, g, single.seeds) + image_variance(image_contributions(parts, g))))
        for g in (gradients, place * gradients + ratio * of_place)
    ]
    return ratio, place, errors[0], errors[1]


def _line_height_error(
    shares: np.ndarray,
    fits: Sequence[LineFit | None],
    parts: Sequence[GroupMean],
    place: float,
    single: SingleSources,
    at: int,
) -> float:
    """Standard error of sum p_s line_s(place): the lines' scatter and common images, and the place's along the mean slope."""
    found = [fit for fit in fits if fit is not None]
    direction, ref = np.array([1.0, place]), single.ref
    scatter = sum(
        p**2 * float(direction @ f.covariance @ direction) for p, f in zip(shares, found, strict=True)
    )
    slope = sum(p * f.slope for p, f in zip(shares, found, strict=True))
    of_place = sum(
        p**2 * single.seeds.matrix[ref, ref] / part.num_seeds for p, part in zip(shares, parts, strict=True)
    )
    images = np.zeros((2, len(single.means.test_sets)))
    images[0, ref] = sum(p * float(direction @ f.shared_x) for p, f in zip(shares, found, strict=True))
    images[0, at] = sum(p * float(direction @ f.shared_y) for p, f in zip(shares, found, strict=True))
    images[1, ref] = slope * float(shares @ [part.image_stderr[ref] for part in parts])
    return float(np.sqrt(scatter + slope**2 * of_place + image_variance(images)))

"""The bridge: what theory predicts for mixtures of training sources, from single-source models alone.

Use `predict_mixtures` for the table of every rule against every measurement and `predict_ratio` for one rule at any
shares; `RULES` names the rules in order, the primary one is "lines". Nothing here is fitted to mixtures: predicted columns
depend on single-source models and on the averaged logits of single-source models only. `mixture_place_bracket` bounds
where on its line a mixture may land.

With d_s(t) = d' of source s's models on test set t at the mixture's n, shares p_s and reference test set ref:

| rule | ratio d'_shift / d'_ref | place d'_ref |
|---|---|---|
| mediant (Theorem 2; exact for normalised ensembles, Theorem 2b) | sum p_s d_s(shift) / sum p_s d_s(ref) | sum p_s d_s(ref) |
| quadrature | sqrt(sum p_s d_s(shift)^2) / sqrt(sum p_s d_s(ref)^2) | sqrt(sum p_s d_s(ref)^2) |
| lines (primary) | sum p_s line_s(x) / x at x = the ensemble's d'_ref | x |
| interpolated (baseline) | sum p_s d_s(shift) / d_s(ref) | sum p_s d_s(ref) |
| best_source (baseline) | max_s d_s(shift) / d_s(ref) | that source's d_s(ref) |
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import ndtri, stdtrit

from empirical.errors import DataError
from empirical.group_means import (
    GroupMean,
    Means,
    SeedCovariance,
    common_share,
    group_means,
    image_contributions,
    image_variance,
    ratio_stderr,
    seed_variance,
)
from empirical.line_fits import LineFit
from empirical.power import seeds_for_verdict
from empirical.robustness import check_accuracies, fits_of_groups, shifts

RULES = ("mediant", "quadrature", "lines", "interpolated", "best_source")
PRIMARY_RULE = "lines"
BASELINES = ("interpolated", "best_source")
PREDICTION_COLUMNS = (
    "sources", "shift", "n_train", "num_seeds", "rule", "ratio_predicted", "ratio_predicted_stderr", "ratio_measured",
    "ratio_measured_stderr", "dprime_ref_predicted", "dprime_ref_measured", "dprime_ref_measured_stderr",
    "dprime_shift_predicted", "dprime_shift_measured", "dprime_shift_measured_stderr", "inside_range",
    "dprime_ref_bracket_low", "dprime_ref_bracket_high", "difference_stderr", "seeds_needed",
)  # fmt: skip


def mixture_shares(sources: str) -> dict[str, float]:
    """Shares of a mixture written as in the tables, `stock:0.5+snapshots:0.5`; rounding in the text is normalised away.

    Raises DataError for a part without a share, a share that is not positive, a source named twice, or a sum further
    than 0.001 from 1.
    """
    shares: dict[str, float] = {}
    for part in sources.split("+"):
        name, _, text = part.rpartition(":")
        try:
            share = float(text)
        except ValueError:
            share = -1.0
        if not name or not share > 0 or name in shares:
            raise DataError(
                f"mixture {sources!r}: cannot read {part!r}; write each source once with a share > 0, "
                "as in stock:0.5+snapshots:0.5"
            )
        shares[name] = share
    total = sum(shares.values())
    if abs(total - 1) > 1e-3:
        raise DataError(f"mixture {sources!r}: its shares sum to {total:g}, they must sum to 1")
    return {name: share / total for name, share in shares.items()}


def predict_mixtures(
    accuracies: pd.DataFrame, reference: str = "reference", overlaps: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Every frozen rule's d' ratio and place for every input mixture, beside what was measured.

    One row per mixture x shift x n_train x rule, means over seeds; the rules are in the module's docstring, columns in
    `PREDICTION_COLUMNS`. A mixture has rows once all of its sources have single-source models at its own n_train.

    * lines: line_s is the line in d' over all single-source models of s (`fit_trends`), read at the d'_ref of the
      ensemble of single-source models with heads trained on n each and the mixture's shares; without that ensemble,
      at sum p_s d_s(ref). Its row holds no prediction (empty) while a source has fewer than 3 models.
    * quadrature with a d' below 0 (under chance) uses signed squares.
    * dprime_shift_predicted = ratio_predicted dprime_ref_predicted.
    * Standard errors: seed covariance pooled over the models of the mixture's size, plus the part of the test images' error
      that seeds have in common (`ratio_stderr`); they are empty where no group has two seeds. Predictions pool over
      single-source models only. difference_stderr is that of ratio_predicted - ratio_measured, which share the test images.
      `overlaps` of the single-source models tell how much is in common (`empirical.image_sharing`); without them all of
      the binomial error is, which is too much. They enter errors and verdicts, never a prediction.
    * A ratio over a d'_ref that is not at least 3 standard errors above 0 says nothing: it is empty.
    * inside_range: `inside_range`; dprime_ref_bracket_*: `mixture_place_bracket`. seeds_needed: where inside_range is
      inconclusive, the seeds that would decide it (`empirical.power.seeds_for_verdict`).

    Raises DataError for a missing column, a missing reference set or a mixture whose shares cannot be read.
    Source: Theorems 1, 2 and 2b.
    """
    check_accuracies(accuracies, reference)
    if accuracies.empty:
        return pd.DataFrame(columns=list(PREDICTION_COLUMNS))
    means = group_means(accuracies, overlaps)
    ref = means.test_sets.index(reference)
    single = accuracies[accuracies["kind"] == "single"]
    lines = {
        (sources, shift): line
        for (_, sources, shift, _, _), line in fits_of_groups(single, reference, links=("dprime",), fits=("line",))
    } if len(single) else {}  # fmt: skip
    rows = []
    for (kind, sources, _, n), mixture in means.groups.items():
        if kind != "input_mixing":
            continue
        shares = mixture_shares(sources)
        components = [means.groups.get(("single", name, "", n)) for name in shares]
        parts = [part for part in components if part is not None]
        if len(parts) < len(shares):
            continue
        weights = np.asarray(list(shares.values()))
        ensemble = means.groups.get(("output_mixing", sources, "each", n))
        bracket = mixture_place_bracket(means, shares, n, ref)
        for shift in shifts(accuracies, reference):
            at = means.test_sets.index(shift)
            values = np.array([[part.mean[ref], part.mean[at]] for part in [mixture, *parts]])
            if not np.all(np.isfinite(values)):
                continue
            (x, y), gradient = mixture.mean[[ref, at]], np.zeros((1, len(means.test_sets)))
            all_seeds, single_seeds = means.seed_covariance("all", n), means.seed_covariance("single", n)
            vague = _near_zero(mixture, ref, all_seeds)
            vague_parts = any(_near_zero(part, ref, single_seeds) for part in parts)
            if not vague:  # a d'_ref of 0 has no ratio
                gradient[0, [ref, at]] = -y / x**2, 1 / x
            measured = (
                np.nan if vague else y / x,
                np.nan if vague else ratio_stderr([mixture], gradient, all_seeds),
                x,
                ratio_stderr([mixture], _unit(means, ref), all_seeds),
                y,
                ratio_stderr([mixture], _unit(means, at), all_seeds),
            )
            inside = (
                "inconclusive" if vague or vague_parts else inside_range(mixture, parts, ref, at, all_seeds)
            )
            needed = np.nan
            if inside == "inconclusive" and not (vague or vague_parts):
                needed = seeds_for_verdict(mixture, parts, ref, at, all_seeds)
            measured_images = image_contributions([mixture], gradient)
            shared = common_share([mixture, *parts])
            measured_seeds = seed_variance([mixture], gradient, all_seeds)
            for rule in RULES:
                if vague_parts:
                    at_ref = _place_alone(rule, weights, values[1:], ensemble, ref)
                    ratio, seeds, images = np.nan, np.nan, np.zeros((len(parts), len(means.test_sets)))
                elif rule == "lines":
                    fits = [lines.get((name, shift)) for name in shares]
                    place = ensemble if ensemble is not None and np.isfinite(ensemble.mean[ref]) else None
                    ratio, at_ref, seeds, images = ratio_by_lines(
                        weights, fits, parts, place, (ref, at), single_seeds
                    )
                else:
                    ratio, at_ref, gradients = ratio_by_rule(
                        rule, weights, values[1:], len(means.test_sets), ref, at
                    )
                    seeds = seed_variance(parts, gradients, single_seeds)
                    images = image_contributions(parts, gradients)
                stderr = (
                    float(np.sqrt(seeds + image_variance(images, shared))) if np.isfinite(ratio) else np.nan
                )
                between = image_variance(np.concatenate([images, -measured_images]), shared)
                difference = np.nan if vague else float(np.sqrt(seeds + measured_seeds + between))
                rows.append(
                    (sources, shift, n, mixture.num_seeds, rule, ratio, stderr, measured[0], measured[1], at_ref,
                     *measured[2:4], ratio * at_ref, *measured[4:6], inside, *bracket, difference, needed)
                )  # fmt: skip
    return pd.DataFrame(rows, columns=list(PREDICTION_COLUMNS))


def predict_ratio(
    rule: str,
    shares: Sequence[float],
    dprime: Sequence[tuple[float, float]],
    lines: Sequence[tuple[float, float]] = (),
) -> tuple[float, float]:
    """A rule's (d' ratio, place d'_ref) at any shares, from the sources' own d' alone: what a curve over the share draws.

    shares: p_s, summing to 1. dprime: (d_s(ref), d_s(shift)) of each source at the mixture's n. lines: (intercept, slope)
    of each source's d' line, for the rule "lines", which is read at sum p_s d_s(ref), the place that needs no ensemble
    (`predict_mixtures` reads it at the ensemble's place where there is one).

    Raises ValueError for an unknown rule, unequal lengths or "lines" without lines. Source: Theorems 1 and 2.
    """
    p, values = np.asarray(shares, dtype=float), np.asarray(dprime, dtype=float)
    if values.shape != (len(p), 2) or (rule == "lines" and len(lines) != len(p)):
        raise ValueError(f"{len(p)} shares need as many d' pairs, and as many lines for the rule 'lines'")
    if rule == "lines":
        place = float(p @ values[:, 0])
        return float(sum(s * (a + b * place) for s, (a, b) in zip(p, lines, strict=True)) / place), place
    with np.errstate(divide="ignore", invalid="ignore"):  # its gradient, not used here, has none at d' = 0
        ratio, place, _ = ratio_by_rule(rule, p, values, 2, 0, 1)
    return ratio, place


def _unit(means: Means, index: int) -> np.ndarray:
    return np.eye(len(means.test_sets))[index][None]


def _near_zero(group: GroupMean, ref: int, seeds: SeedCovariance) -> bool:
    spread = seeds.matrix[ref, ref] / group.num_seeds if seeds.degrees else 0.0
    return not group.mean[ref] > 3 * np.sqrt(spread + group.image_stderr[ref] ** 2)


def _place_alone(rule: str, p: np.ndarray, values: np.ndarray, ensemble: GroupMean | None, ref: int) -> float:
    """A rule's place where no ratio can be formed, as a source's d'_ref may be 0; nan for the best source, which is not known."""
    x = values[:, 0]
    if rule == "lines" and ensemble is not None and np.isfinite(ensemble.mean[ref]):
        return float(ensemble.mean[ref])
    if rule == "quadrature":
        square = float(p @ (x * np.abs(x)))
        return float(np.sign(square) * np.sqrt(abs(square)))
    return np.nan if rule == "best_source" else float(p @ x)


def ratio_by_rule(
    rule: str, p: np.ndarray, values: np.ndarray, num_sets: int, ref: int, at: int
) -> tuple[float, float, np.ndarray]:
    """Ratio, place and the ratio's gradient (S, T) by one of the rules but "lines"; values (S, 2) holds (d_s(ref), d_s(shift)).

    p (S,) are the shares; ref and at number the reference and the shift among the T = num_sets test sets.
    """
    x, y = values[:, 0], values[:, 1]
    if rule == "mediant":
        bottom, ratio = p @ x, (p @ y) / (p @ x)
        by_x, by_y, place = -ratio * p / bottom, p / bottom, bottom
    elif rule == "quadrature":
        square_x, square_y = p @ (x * np.abs(x)), p @ (y * np.abs(y))
        place, top = (np.sign(square) * np.sqrt(np.abs(square)) for square in (square_x, square_y))
        ratio = top / place
        by_x, by_y = -ratio * p * np.abs(x) / square_x, ratio * p * np.abs(y) / square_y
    elif rule == "interpolated":
        ratio, place = p @ (y / x), p @ x
        by_x, by_y = -p * y / x**2, p / x
    elif rule == "best_source":
        chosen = int(np.argmax(y / x))
        ratio, place = y[chosen] / x[chosen], x[chosen]
        best = np.eye(len(p))[chosen]
        by_x, by_y = -best * y / x**2, best / x
    else:
        raise ValueError(f"rule must be one of {', '.join(RULES)}, got {rule!r}")
    gradients = np.zeros((len(p), num_sets))
    gradients[:, ref], gradients[:, at] = by_x, by_y
    return float(ratio), float(place), gradients


def ratio_by_lines(
    p: np.ndarray,
    fits: Sequence[LineFit | None],
    parts: Sequence[GroupMean],
    ensemble: GroupMean | None,
    sets: tuple[int, int],
    seeds: SeedCovariance,
) -> tuple[float, float, float, np.ndarray]:
    """Ratio and place of the lines rule, the variance of the ratio from seeds, and its image contributions (2, T).

    With line = sum p_s line_s and place x: the seeds' part is [sum p_s^2 Var(line_s(x)) + (intercept / x)^2 Var(x)] / x^2,
    the images' that of the lines (all their points move together) and of the place. The ratio is nan while a source has
    no line.
    """
    ref, at = sets
    place = float(p @ [part.mean[ref] for part in parts] if ensemble is None else ensemble.mean[ref])
    images = np.zeros((2, len(parts[0].mean)))
    found = [fit for fit in fits if fit is not None]
    if len(found) < len(fits):
        return np.nan, place, np.nan, images
    direction = np.array([1.0, place])
    height = sum(share * fit.read(place) for share, fit in zip(p, found, strict=True))
    intercept = sum(share * fit.intercept for share, fit in zip(p, found, strict=True))
    scatter = sum(
        share**2 * float(direction @ fit.covariance @ direction) for share, fit in zip(p, found, strict=True)
    )
    for column, error in ((ref, "shared_x"), (at, "shared_y")):
        moved = sum(
            share * float(direction @ getattr(fit, error)) for share, fit in zip(p, found, strict=True)
        )
        # The lines' errors are binomial; of them, this much is common to seeds (as at the mixture's own size).
        scale = np.max([np.broadcast_to(part.image_scale, len(part.mean))[column] for part in parts])
        images[0, column] = scale * moved / place
    turn = -intercept / place**2  # d ratio / d place
    # The ensemble averages the logits of the parts, so its place has the seed error of their average.
    spread = sum(
        share**2 * seeds.matrix[ref, ref] / part.num_seeds for share, part in zip(p, parts, strict=True)
    )
    of_place = (
        p @ [part.image_stderr[ref] for part in parts] if ensemble is None else ensemble.image_stderr[ref]
    )
    images[1, ref] = turn * float(of_place)
    return float(height / place), place, float(scatter / place**2 + turn**2 * spread), images


def inside_range(
    mixture: GroupMean,
    parts: Sequence[GroupMean],
    ref: int,
    at: int,
    seeds: SeedCovariance,
) -> str:
    """Whether a mixture's measured d' ratio lies in the range of its sources' measured ratios at the same n.

    Each difference (mixture minus source s) is compared with its own standard error, which carries both uncertainties:

    * "no": the mixture lies below every source, or above every source, each time by more than t_.975 standard errors;
    * "yes": it lies above some source and below another, each by more than t at level 1 - .025 (2 / S) (Bonferroni over
      the S sources, among which those two are picked);
    * "inconclusive": otherwise, also where seeds give no standard error.
    """
    scores = []
    for part in parts:
        (x, y), (u, v) = mixture.mean[[ref, at]], part.mean[[ref, at]]
        gradients = np.zeros((2, len(mixture.mean)))
        gradients[0, [ref, at]] = -y / x**2, 1 / x
        gradients[1, [ref, at]] = v / u**2, -1 / u
        scores.append((y / x - v / u) / ratio_stderr([mixture, part], gradients, seeds))
    return range_verdict(np.asarray(scores), seeds.degrees)


def range_verdict(z: np.ndarray, degrees: int | float) -> str:
    """`inside_range`'s verdict from the differences to the sources (S,) in their standard errors, with t's degrees of freedom.

    degrees inf: the errors are known, and t is normal.
    """
    if degrees == 0 or not np.all(np.isfinite(z)):
        return "inconclusive"
    levels = (0.975, 1 - 0.05 / max(len(z), 2))
    outside, within = (float(ndtri(p) if np.isinf(degrees) else stdtrit(degrees, p)) for p in levels)
    if np.all(z > outside) or np.all(z < -outside):
        return "no"
    return "yes" if np.any(z > within) and np.any(z < -within) else "inconclusive"


def mixture_place_bracket(
    means: Means, shares: Mapping[str, float], n_train: int, ref: int
) -> tuple[float, float]:
    """Bracket of a mixture's d'_ref: sum p_s d_s(n) <= d_mix(n) <= sqrt(sum d_s(p_s n)^2).

    The lower side takes equal norms of the sources' classifiers (their shares as weights), the upper side holds where
    sources do not point against each other. d_s(p_s n) is `read_between_sizes`; nan where that is None. Where the d' of the
    sources grow faster than n^(1/2), which theory's cannot, the bracket may be empty (low > high).
    """
    low = sum(share * means.groups[("single", name, "", n_train)].mean[ref] for name, share in shares.items())
    readings = [read_between_sizes(means, name, share * n_train, ref) for name, share in shares.items()]
    squares = [reading[0] ** 2 if reading else np.nan for reading in readings]
    return float(low), float(np.sqrt(np.sum(squares)))


def read_between_sizes(
    means: Means, source: str, n_train: float, at: int
) -> tuple[float, dict[int, float]] | None:
    """d' of a source at any size, log d' linear in log n between its sizes (carried on beyond them), and by size the derivative
    of the logarithm with respect to that d'; None where a source has fewer than two sizes or a d' <= 0.
    """
    sizes = sorted(n for kind, sources, _, n in means.groups if kind == "single" and sources == source)
    d = np.array([means.groups[("single", source, "", n)].mean[at] for n in sizes])
    if len(sizes) < 2 or not np.all(d > 0) or not np.all(np.isfinite(d)):
        return None
    log_n, target = np.log(sizes), np.log(n_train)
    # The nearest segment, so that a size outside the grid extrapolates its end.
    j = int(np.clip(np.searchsorted(log_n, target), 1, len(sizes) - 1))
    u = (target - log_n[j]) / (log_n[j] - log_n[j - 1])
    value = float(np.exp((1 + u) * np.log(d[j]) - u * np.log(d[j - 1])))
    return value, {sizes[j]: float((1 + u) / d[j]), sizes[j - 1]: float(-u / d[j - 1])}

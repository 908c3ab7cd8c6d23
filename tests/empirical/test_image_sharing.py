"""Errors from test images against simulated studies whose models find the same images hard."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import chi2

from empirical.group_means import (
    GroupMean,
    SeedCovariance,
    common_share,
    group_means,
    image_variance,
    ratio_stderr,
)
from empirical.image_sharing import image_sharing
from empirical.line_fits import LineFit
from empirical.overlap import OVERLAP_COLUMNS
from empirical.prediction import predict_mixtures, ratio_by_lines
from theory.links import dprime

K, IMAGES, SEEDS, N = 20, 400, 4, 1024
SETS = ("reference", "shift")
GROUPS = {"a": 0.4, "b": 0.1, "a:0.5+b:0.5": 0.3}
HARD, COMMON = 1.2, 0.7
"""Spread of the images' difficulty, and the correlation of any two groups' difficulties."""


def study(rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Accuracies and overlaps of models that are right on image i with a probability of their group's own, seeds apart."""
    rows, right = [], {}
    for t in SETS:
        everyone = rng.standard_normal(IMAGES)
        for name, level in GROUPS.items():
            own = rng.standard_normal(IMAGES)
            difficulty = np.sqrt(COMMON) * everyone + np.sqrt(1 - COMMON) * own
            chance = ndtr(level - 0.3 * (t == "shift") + HARD * difficulty)
            for seed in range(SEEDS):
                hit = rng.uniform(size=IMAGES) < chance
                right[t, name, seed] = hit
                kind = "input_mixing" if "+" in name else "single"
                rows.append((f"{name}-{seed}", kind, name, N, seed, t, K, IMAGES, int(hit.sum())))
    columns = [
        "run",
        "kind",
        "sources",
        "n_train",
        "seed",
        "test_set",
        "num_classes",
        "num_images",
        "num_correct",
    ]
    table = pd.DataFrame(rows, columns=columns)
    table["accuracy"] = table["num_correct"] / IMAGES
    table["probit"] = ndtri(table["accuracy"])
    table["dprime"] = [float(dprime(p, K)) for p in table["accuracy"]]
    pairs = [
        (N, t, s, i, u, j, 0.5, 0.01, int((right[t, s, i] & right[t, u, j]).sum()), IMAGES)
        for t in SETS
        for (s, i), (u, j) in combinations([(s, i) for s in ("a", "b") for i in range(SEEDS)], 2)
    ]
    return table, pd.DataFrame(pairs, columns=list(OVERLAP_COLUMNS))


def expected(level: float) -> float:
    """d' at the mean accuracy over all images there could be."""
    return float(dprime(float(ndtr(level / np.sqrt(1 + HARD**2))), K))


def ratio(level: float) -> float:
    return expected(level - 0.3) / expected(level)


@pytest.fixture(scope="module")
def studies() -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    rng = np.random.default_rng(0)
    return [study(rng) for _ in range(120)]


def test_correlations_are_those_of_the_simulation(studies) -> None:
    """Against the correlation of correctness in one large draw of images."""
    rng = np.random.default_rng(1)
    everyone, one, other = rng.standard_normal((3, 400_000))
    p, q = (
        ndtr(GROUPS[s] + HARD * (np.sqrt(COMMON) * everyone + np.sqrt(1 - COMMON) * own))
        for s, own in (("a", one), ("b", other))
    )
    scale = [np.sqrt(x.mean() * (1 - x.mean())) for x in (p, q)]
    found = [image_sharing(accuracies, overlaps, SETS) for accuracies, overlaps in studies[:60]]
    own = np.array([each.within["a", N][0] for each in found])
    between = np.array([each.between[N][0] for each in found])
    for values, truth in ((own, p.var() / scale[0] ** 2), (between, np.cov(p, q)[0, 1] / np.prod(scale))):
        assert abs(values.mean() - truth) < 4 * values.std(ddof=1) / np.sqrt(len(values)) + 0.005
    within, common = found[0].of(["a", "b"], N) or (np.nan, np.nan)
    assert within == pytest.approx(np.maximum(found[0].within["a", N], found[0].within["b", N]))
    assert common == pytest.approx(found[0].between[N] / within)
    assert found[0].of(["a", "moon"], N) is None
    assert found[0].of(["a"], 64) is None


def scatter(scores: np.ndarray) -> tuple[float, float]:
    """95% interval of the standard deviation of scores that would be 1, were the stated errors right."""
    free = len(scores) - 1
    square = scores.var(ddof=1)
    return tuple(np.sqrt(free * square / chi2.ppf([0.975, 0.025], free)))  # type: ignore[return-value]


def test_stated_errors_of_differences_are_those_that_occur(studies) -> None:
    """Mixture minus source: neither too small nor, as with all of the binomial error on top of the seeds', twice too large."""
    truth = ratio(GROUPS["a:0.5+b:0.5"]) - ratio(GROUPS["a"])
    found: dict[bool, list[float]] = {True: [], False: []}
    for accuracies, overlaps in studies:
        for told, scores in found.items():
            means = group_means(accuracies, overlaps if told else None)
            pair = [means.groups["input_mixing", "a:0.5+b:0.5", "", N], means.groups["single", "a", "", N]]
            gradients, values = np.zeros((2, 2)), []
            for row, sign, group in zip(gradients, (1, -1), pair, strict=True):
                x, y = group.mean
                row[:] = -sign * y / x**2, sign / x
                values.append(y / x)
            stderr = ratio_stderr(pair, gradients, means.seed_covariance("all", N))
            scores.append((values[0] - values[1] - truth) / stderr)
    low, high = scatter(np.array(found[True]))
    # A mixture takes the larger of its sources' correlations: a little too wide is allowed, too narrow is not.
    assert high > 0.9
    assert low < 1.05
    assert scatter(np.array(found[False]))[1] < 0.8, "without overlaps errors are conservative"


def test_the_noise_floor_is_the_error_of_a_perfect_rule(studies) -> None:
    """difference_stderr of a prediction against how far it lies from the measurement over studies of one truth."""
    errors, stated = [], []
    for accuracies, overlaps in studies:
        rows = predict_mixtures(accuracies, "reference", overlaps).query("rule == 'mediant'")
        errors.append(float(rows["ratio_predicted"].iloc[0] - rows["ratio_measured"].iloc[0]))
        stated.append(float(rows["difference_stderr"].iloc[0]))
    low, high = scatter(np.array(errors) / np.sqrt(np.mean(np.square(stated))))
    assert low < 1.05
    assert high > 0.85


def test_overlaps_change_errors_and_no_prediction(studies) -> None:
    accuracies, overlaps = studies[0]
    told, untold = predict_mixtures(accuracies, "reference", overlaps), predict_mixtures(accuracies)
    same = ["ratio_predicted", "dprime_ref_predicted", "dprime_shift_predicted", "ratio_measured"]
    assert told[same].equals(untold[same])
    some = np.isfinite(untold["difference_stderr"]) & (told["rule"] != "lines")
    assert (told.loc[some, "difference_stderr"] < untold.loc[some, "difference_stderr"]).all()


def test_shared_and_separate_errors_are_the_ends_of_what_is_between() -> None:
    contributions = np.array([[1.0, -2.0], [-1.0, -1.0]])
    assert image_variance(contributions, np.ones(2)) == pytest.approx(0 + 9)
    assert image_variance(contributions, np.zeros(2)) == pytest.approx(2 + 5)
    assert image_variance(contributions, np.array([0.5, 0.25])) == pytest.approx(1 + 0.25 * 9 + 0.75 * 5)
    assert image_variance(contributions) == pytest.approx(2 + 9)


def test_groups_without_overlaps_share_nothing_that_is_known(studies) -> None:
    accuracies, overlaps = studies[0]
    means = group_means(accuracies, overlaps[overlaps["first"] == overlaps["second"]].query("first == 'a'"))
    a, b = (means.groups["single", name, "", N] for name in "ab")
    assert a.shared is not None
    assert b.shared is None
    assert common_share([a, b]) is None
    assert b.image_scale == pytest.approx(1.0)


def test_a_test_set_that_is_all_right_costs_the_others_nothing(studies) -> None:
    accuracies, overlaps = studies[0]
    easy = accuracies[accuracies["test_set"] == "shift"].assign(
        test_set="easy", num_correct=IMAGES, accuracy=1.0, probit=np.inf, dprime=np.inf
    )
    both = pd.concat([accuracies, easy], ignore_index=True)
    with_easy = predict_mixtures(both).query("shift == 'shift'").reset_index(drop=True)
    alone = predict_mixtures(accuracies).reset_index(drop=True)
    pd.testing.assert_frame_equal(with_easy, alone)
    seeds = group_means(both).pooled["all"]
    assert np.isnan(seeds.matrix[2]).all()
    assert seeds.degrees == group_means(accuracies).pooled["all"].degrees
    assert group_means(both, overlaps).groups["single", "a", "", N].shared is None


def test_a_lines_error_counts_only_what_its_seeds_share() -> None:
    """Its images' part is that of the line, times the scale of the sources."""
    fit = LineFit(
        np.array([0.1, 0.5]),
        np.eye(2) * 1e-4,
        np.array([0.01, 0.02]),
        np.array([0.02, 0.01]),
        8,
        0.9,
        10,
        0.0,
    )
    halves = []
    for scale in (1.0, 0.5):
        groups = [GroupMean(np.array([1.0, 0.6]), np.zeros(2), 4, np.ones(2), np.full(2, scale))]
        seeds = SeedCovariance(np.eye(2) * 1e-4, 10)
        halves.append(ratio_by_lines(np.ones(1), [fit], groups, None, (0, 1), seeds)[3])
    assert np.abs(halves[0][0]).max() > 0
    assert halves[1][0] == pytest.approx(0.5 * halves[0][0])

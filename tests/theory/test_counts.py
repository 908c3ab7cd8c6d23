"""Clopper-Pearson intervals: closed forms, coverage by sampling, and their image under the links."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from theory import clopper_pearson, dprime, dprime_interval, probit, probit_interval


@pytest.mark.parametrize(("correct", "images"), [(0, 10), (3, 10), (10, 10), (741, 1500), (1, 1)])
@pytest.mark.parametrize("level", [0.5, 0.95])
def test_against_scipys_exact_interval(correct, images, level):
    reference = binomtest(correct, images).proportion_ci(level, method="exact")
    np.testing.assert_allclose(clopper_pearson(correct, images, level), reference, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("accuracy", [0.01, 0.3, 0.93])
@pytest.mark.parametrize("images", [20, 400])
def test_coverage_is_at_least_the_level(accuracy, images):
    counts = np.random.default_rng(1).binomial(images, accuracy, size=20_000)
    low, high = clopper_pearson(counts, images, 0.9)
    coverage = np.mean((low <= accuracy) & (accuracy <= high))
    k = np.arange(images + 1)
    ends = clopper_pearson(k, images, 0.9)
    exact = binom.pmf(k, images, accuracy)[(ends[0] <= accuracy) & (accuracy <= ends[1])].sum()
    assert exact >= 0.9
    assert abs(coverage - exact) < 4 * np.sqrt(exact * (1 - exact) / 20_000) + 1e-12


def test_mapped_intervals_cover_the_true_margin_and_hold_the_estimate():
    accuracy, images, num_classes = 0.62, 300, 20
    counts = np.random.default_rng(2).binomial(images, accuracy, size=1000)
    for low, high, truth in (
        (*probit_interval(counts, images), probit(accuracy)),
        (*dprime_interval(counts, images, num_classes), dprime(accuracy, num_classes)),
    ):
        assert np.mean((low <= truth) & (truth <= high)) > 0.95 - 4 * np.sqrt(0.95 * 0.05 / 1000)
    low, high = dprime_interval(counts[:50], images, num_classes)
    estimate = np.asarray(dprime(counts[:50] / images, num_classes))
    assert np.all((low < estimate) & (estimate < high))


def test_none_or_all_correct_are_half_infinite_and_never_clipped():
    low, high = dprime_interval([0, 50], 50, 20)
    assert low[0] == -np.inf
    assert high[1] == np.inf
    assert np.isfinite([high[0], low[1]]).all()
    assert probit_interval(0, 50)[0] == -np.inf


@pytest.mark.parametrize(
    ("correct", "images", "level", "message"),
    [
        (11, 10, 0.95, r"num_correct must be a whole number from 0 to num_images, got 11"),
        (-1, 10, 0.95, r"num_correct .* got -1"),
        (2.5, 10, 0.95, r"num_correct .* got 2.5"),
        (0, 0, 0.95, r"num_images must be a whole number >= 1, got 0"),
        (1, 10, 1.0, r"level must lie strictly between 0 and 1, got 1.0"),
    ],
)
def test_bad_counts_raise_with_the_value(correct, images, level, message):
    with pytest.raises(ValueError, match=message):
        clopper_pearson(correct, images, level)

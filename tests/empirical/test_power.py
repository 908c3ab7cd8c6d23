"""Seeds needed: against simulated experiments, and its limits."""

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_ind
from synthetic_accuracies import synthetic_study

from empirical.group_means import group_means
from empirical.power import power_of, seeds_for_verdict, seeds_needed, seeds_text
from empirical.prediction import predict_mixtures


@pytest.mark.parametrize("num_seeds", [3, 8])
def test_power_is_the_rate_of_simulated_t_tests(num_seeds):
    rng = np.random.default_rng(num_seeds)
    a = rng.standard_normal((4000, num_seeds))
    b = 1.3 + rng.standard_normal((4000, num_seeds))
    rate = np.mean(np.asarray(ttest_ind(a, b, axis=1)[1]) < 0.05)
    # The sum of both groups' variances is 2.
    assert power_of(1.3, 2.0, 0.0, num_seeds) == pytest.approx(rate, abs=4 * np.sqrt(0.25 / 4000))


@given(st.floats(0.2, 3), st.floats(0.01, 4), st.floats(0, 0.002))
def test_the_number_is_the_smallest_that_is_enough(difference, variance, images):
    needed = seeds_needed(difference, variance, images)
    assert needed >= 2
    if math.isfinite(needed):
        assert power_of(difference, variance, images, int(needed)) >= 0.8
        if needed > 2:
            assert power_of(difference, variance, images, int(needed) - 1) < 0.8
    assert seeds_needed(2 * difference, variance, images) <= needed
    assert seeds_needed(difference, 2 * variance, images) >= needed


def test_what_seeds_cannot_do_is_infinite():
    assert math.isinf(seeds_needed(0.0, 1.0))
    assert math.isinf(seeds_needed(0.01, 1e-6, image_variance=1e-4))
    assert math.isnan(seeds_needed(0.1, math.nan))
    assert seeds_needed(1e6, 1.0) == 2
    assert [seeds_text(v) for v in (7.0, math.inf, math.nan)] == ["7 seeds", "more test images", ""]


def test_a_verdict_needs_both_sides_or_all():
    study = synthetic_study(scatter=0.1, num_images=10**6, mixtures=("stock:0.5+snapshots:0.5",))
    means = group_means(study)
    parts = [means.groups[("single", name, "", 2048)] for name in ("stock", "snapshots")]
    mixture = means.groups[("input_mixing", "stock:0.5+snapshots:0.5", "", 2048)]
    seeds = means.seed_covariance("all", 2048)
    between = seeds_for_verdict(mixture, parts, 0, 1, seeds)
    # Beyond one of its sources' ratio there is one difference only to be told: the same group is never told from itself.
    assert math.isinf(seeds_for_verdict(parts[0], [parts[0]], 0, 1, seeds))
    assert 2 <= between < math.inf
    quieter = synthetic_study(scatter=0.01, num_images=10**6, mixtures=("stock:0.5+snapshots:0.5",))
    calm = group_means(quieter).seed_covariance("all", 2048)
    assert seeds_for_verdict(mixture, parts, 0, 1, calm) <= between


def test_as_many_seeds_as_stated_decide():
    # A study that cannot tell states a number; studies of that size tell in about 80% of cases.
    study = partial(
        synthetic_study, mixtures=("stock:0.5+snapshots:0.5",), num_images=10**6, shifts=("v2",), sizes=(1024, 2048),
        mixture_sizes=(2048,),
    )  # fmt: skip
    studies = (predict_mixtures(study(seed=s, seeds=(0, 1), scatter=0.25)).iloc[0] for s in range(20))
    few = next(
        row for row in studies if row["inside_range"] == "inconclusive" and math.isfinite(row["seeds_needed"])
    )
    needed = int(few["seeds_needed"])
    assert 3 <= needed <= 40
    decided = [
        predict_mixtures(study(seed=s, seeds=tuple(range(needed)), scatter=0.25))["inside_range"].iloc[0]
        == "yes"
        for s in range(100, 112)
    ]
    assert np.mean(decided) >= 0.5
    told = predict_mixtures(study(scatter=0.003))
    assert set(told["inside_range"]) == {"yes"}
    assert told["seeds_needed"].isna().all()

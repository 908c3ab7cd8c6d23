"""Filtering captioned pairs: the closed form of what is kept against pairs that were drawn, and train-filter-train."""

import jax
import numpy as np
import pytest
from multiclass_cases import random_classes, simplex_pair

from theory import Source, filter_pool
from theory.filtering import Pool
from theory.linear_clip import cross_covariance, solve_linear_clip
from theory.linear_clip_captions import Captions, population_cross_covariance, sample_pairs
from theory.linear_clip_filter import filter_captions, keep_pairs, train_filter_train
from theory.multiclass import MulticlassSource, simplex_means

KEY = jax.random.key(99)


@pytest.mark.parametrize("threshold", [-1.0, 1.5])
def test_what_is_kept_against_pairs_that_were_drawn(threshold):
    rng = np.random.default_rng(0)
    k, d, n = 3, 5, 120_000
    source = random_classes(rng, MulticlassSource, "full", k, d)
    captions = Captions(rng.standard_normal((k, 4)), wrong=0.4, missing=0.1)
    teacher = solve_linear_clip(0.5 * rng.standard_normal((d, 4)), 2)
    kept = filter_captions(source, captions, teacher.matrix, threshold)
    x, z, labels = (np.asarray(v) for v in sample_pairs(KEY, source, captions, n))
    distance = ((z[:, None] - np.asarray(captions.prompts)) ** 2).sum(2)
    named = np.where(distance.min(1) < 1e-12, distance.argmin(1), k)
    passed = np.asarray(keep_pairs(teacher, x, z, threshold))
    share = passed.mean()
    assert abs(share - float(kept.kept_share)) < 4 * np.sqrt(share / n)
    error = 4.5 * np.sqrt(0.25 / passed.sum())
    assert abs((labels == named)[passed].mean() - kept.right_share) < error
    for y in range(k):
        for c in range(k + 1):
            cell = passed & (labels == y) & (named == c)
            assert abs(cell.sum() / passed.sum() - kept.shares[y, c]) < error
            if cell.sum() > 100:
                spread = x[cell].std(0) / np.sqrt(cell.sum())
                assert np.all(np.abs(x[cell].mean(0) - kept.image_means[y, c]) < 4.5 * spread)
    seen = np.asarray(cross_covariance(x[passed], z[passed]))
    assert np.all(
        np.abs(seen - kept.cross_covariance) < 6 * np.abs(x[passed]).std() * z.std() / np.sqrt(passed.sum())
    )
    np.testing.assert_allclose(kept.prototypes(), captions.prompts @ kept.cross_covariance.T)


def test_no_threshold_keeps_the_source():
    source, _ = simplex_pair(4, 2.0, 6)
    captions = Captions(np.eye(4), wrong=0.3, missing=0.2)
    kept = filter_captions(source, captions, np.ones((6, 4)), -np.inf)
    assert kept.kept_share == pytest.approx(1)
    assert kept.right_share == pytest.approx(0.7 * 0.8)
    np.testing.assert_allclose(
        kept.cross_covariance, population_cross_covariance(source, captions), atol=1e-12
    )


def test_two_classes_are_theorem_3():
    """K = 2 with the prompts ±1: the score of a pair is ±f·x, and what is kept is a binary pool with shuffled captions."""
    nu, f, tau, wrong = np.array([1.0, 0.5, 0.0]), np.array([0.6, 1.0, -0.3]), 0.4, 0.25
    variances = np.array([1.0, 2.0, 0.5])
    source = MulticlassSource(np.stack([nu, -nu]), variances)
    kept = filter_captions(source, Captions([[1.0], [-1.0]], wrong=wrong), f[:, None], tau)
    pool = Pool([Source(nu, variances), Source(-nu, variances)], [1 - wrong, wrong])
    binary = filter_pool(pool, f, tau)
    assert kept.kept_share == pytest.approx(float(binary.kept_share), rel=1e-12)
    assert kept.right_share == pytest.approx(float(binary.weights[0]), rel=1e-12)
    # The covariance of x with the named class ±1 is the mean of (named class) times x.
    np.testing.assert_allclose(kept.cross_covariance[:, 0], binary.mean, rtol=1e-12)


def test_the_model_inherits_the_filters_prototypes():
    """With Γ = γ²I the kept prototypes lie in the span of the class means and the filter's own prototypes, and move to them."""
    k, d = 4, 12
    source = MulticlassSource(simplex_means(k, [1.0, 0.3], d))
    own = simplex_means(k, [0.2, 1.0], d)
    captions = Captions(np.eye(k), wrong=0.5)
    robustness = []
    for threshold in (-np.inf, 0.0, 1.0, 3.0):
        kept = filter_captions(source, captions, own.T, threshold)
        weights = np.asarray(kept.prototypes())
        weights = weights - weights.mean(0)
        first = np.sum(weights * simplex_means(k, [1.0, 0.0], d))
        second = np.sum(weights * simplex_means(k, [0.0, 1.0], d))
        np.testing.assert_allclose(
            weights,
            (first * simplex_means(k, [1.0, 0.0], d) + second * simplex_means(k, [0.0, 1.0], d)) / k,
            atol=1e-9,
        )
        robustness.append(second / first)
    assert robustness[0] == pytest.approx(0.3)
    assert np.all(np.diff(robustness) > 0)
    assert robustness[-1] < 1.0 / 0.2
    shares = [
        float(filter_captions(source, captions, own.T, t).right_share) for t in (-np.inf, 0.0, 1.0, 3.0)
    ]
    assert np.all(np.diff(shares) > 0)


def test_train_filter_train_repeats_the_steps():
    source, _ = simplex_pair(4, 2.5, 8)
    x, z, _ = sample_pairs(KEY, source, Captions(np.eye(4), wrong=0.6), 4000)
    done = train_filter_train(x, z, rank=3, threshold=0.0, num_filters=2, regularisation=0.1)
    model = solve_linear_clip(cross_covariance(x, z), 3, 0.1)
    for step in range(2):
        passed = np.asarray(keep_pairs(model, x, z, 0.0))
        np.testing.assert_array_equal(done.kept[step], passed)
        model = solve_linear_clip(cross_covariance(x[passed], z[passed]), 3, 0.1)
    np.testing.assert_allclose(done.final.matrix, model.matrix)
    # Filtering removes wrong captions: what is kept is purer and its signal longer.
    right = np.asarray(z.argmax(1) == np.arange(4000) % 4)
    assert right[np.asarray(done.kept[0])].mean() > right.mean() + 0.1
    assert done.final.strengths[0] > done.models[0].strengths[0]
    given = train_filter_train(x, z, 3, 0.0, teacher=done.final)
    assert given.models[0] is done.final


def test_bad_input_raises_with_the_value():
    source, _ = simplex_pair(3, 1.0, 4)
    with pytest.raises(ValueError, match=r"without Gaussian noise, got a variance of 0.5"):
        filter_captions(source, Captions(np.eye(3), noise=0.5), np.ones((4, 3)), 0.0)
    with pytest.raises(ValueError, match=r"got \(3, 3\) and 3"):
        filter_captions(source, Captions(np.eye(3)), np.ones((3, 3)), 0.0)
    with pytest.raises(ValueError, match=r"or -inf to keep everything, got nan"):
        filter_captions(source, Captions(np.eye(3)), np.ones((4, 3)), np.nan)
    with pytest.raises(ValueError, match=r"variance > 0, got 0"):
        filter_captions(source, Captions(np.eye(3)), np.zeros((4, 3)), 0.0)
    with pytest.raises(ValueError, match=r"nothing passes this threshold, got 500"):
        filter_captions(source, Captions(np.eye(3)), np.ones((4, 3)), 500.0)
    x, z, _ = sample_pairs(KEY, source, Captions(np.eye(3)), 30)
    with pytest.raises(ValueError, match=r"num_filters must be at least 1, got 0"):
        train_filter_train(x, z, 2, num_filters=0)
    with pytest.raises(ValueError, match=r"pass 1 kept 0 of 30 pairs"):
        train_filter_train(x, z, 2, threshold=1e6)

"""Sources, targets, margins and the law of the averaging classifier against samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_cases import FORMS, assert_mean_is, dense, random_source, random_target
from scipy.stats import norm

from theory import (
    AveragingLaw,
    Source,
    Target,
    accuracy,
    alignment,
    averaging_classifier,
    averaging_law,
    margin,
    multinomial_law,
)

D = 3


@pytest.mark.parametrize("form", FORMS)
def test_accuracy_is_the_share_of_correct_predictions(form):
    target = random_target(np.random.default_rng(3), form, D)
    weights = np.array([1.0, -0.2, 0.5])
    features, labels = target.sample(jax.random.key(0), 100_000)
    correct = np.asarray(features @ weights * labels > 0, dtype=float)
    expected = float(accuracy(weights, target))
    assert_mean_is(correct, expected)
    sigma = dense(np.asarray(target.covariance), D)
    naive = weights @ np.asarray(target.mean) / np.sqrt(weights @ sigma @ weights)
    assert margin(weights, target) == pytest.approx(naive, rel=1e-12)
    assert expected == pytest.approx(norm.cdf(naive), rel=1e-12)


def test_margins_are_batched_and_scale_free():
    target = random_target(np.random.default_rng(4), "full", D)
    weights = np.random.default_rng(5).standard_normal((4, 2, D))
    np.testing.assert_allclose(margin(7 * weights, target), margin(weights, target), rtol=1e-12)
    assert margin(weights, target).shape == (4, 2)


def test_sources_pass_through_jit_vmap_and_grad():
    source, target = Source([1.0, 2.0], [1.0, 3.0], "a"), Target([0.5, 1.0])
    assert jax.jit(alignment)(source, target) == pytest.approx(2.5)
    assert jax.grad(lambda t: margin(jnp.array([1.0, 1.0]), t))(target).mean.shape == (2,)
    stacked = jax.vmap(lambda m: Source(m, 2.0, "b"))(jnp.ones((5, 2)))
    assert stacked.mean.shape == (5, 2)
    assert stacked.name == "b"


@pytest.mark.parametrize("form", FORMS)
def test_averaging_law_against_trained_classifiers(form):
    rng = np.random.default_rng(6)
    sources = [random_source(rng, form, D), random_source(rng, "diagonal", D)]
    counts, trials = (5, 15), 8000
    keys = jax.random.split(jax.random.key(1), (trials, 2))

    def train(pair):
        parts = [source.sample(key, n) for source, key, n in zip(sources, pair, counts, strict=True)]
        return averaging_classifier(*(jnp.concatenate([part[i] for part in parts]) for i in (0, 1)))

    trained = np.asarray(jax.vmap(train)(keys))
    law = averaging_law(sources, np.array(counts))
    drawn = np.asarray(law.sample(jax.random.key(2), (trials,)))
    first, second = random_target(rng, form, D), random_target(rng, "full", D)
    for weights in (trained, drawn):
        assert_mean_is(weights, law.mean)
        centred = weights - np.asarray(law.mean)
        assert_mean_is(centred[:, :, None] * centred[:, None], dense(np.asarray(law.covariance), D))
        on_first, on_second = weights @ np.asarray(first.mean), weights @ np.asarray(second.mean)
        length = np.sum(weights @ dense(np.asarray(second.covariance), D) * weights, -1)
        assert_mean_is(on_first, law.projection_mean(first))
        a, b = law.projection_mean(first), law.projection_mean(second)
        assert_mean_is((on_first - a) * (on_second - b), law.projection_covariance(first, second))
        excess = length - law.squared_length_mean(second)
        assert_mean_is(excess, 0)
        assert_mean_is(excess**2, law.squared_length_variance(second))
        assert_mean_is((on_first - a) * excess, law.projection_length_covariance(first, second))


def test_expected_margin_and_its_spread_are_second_order_accurate():
    # A few noisy features make the effective dimension small and the correction large.
    d = 60
    noise = np.where(np.arange(d) < 5, 10.0, 0.5)
    direction = np.where(np.arange(d) < 5, 0.0, 1 / np.sqrt(d - 5))
    source, target = Source(np.sqrt(0.5) * direction, noise), Target(direction)
    law = averaging_law([source], 30)
    margins = np.asarray(margin(law.sample(jax.random.key(3), (60_000,)), target))
    error = margins.std() / np.sqrt(len(margins))
    gap = abs(float(law.place(target) - law.expected_margin(target)))
    assert gap > 8 * error  # the correction is visible, so the next line tests it
    assert abs(margins.mean() - float(law.expected_margin(target))) < 4 * error + 0.15 * gap
    assert margins.var() == pytest.approx(float(law.margin_variance(target)), rel=0.05)


def test_bias_of_the_place_falls_with_the_dimension():
    def relative_bias(d: int) -> float:
        source, target = Source(np.full(d, 1 / np.sqrt(d))), Target(np.full(d, 1 / np.sqrt(d)))
        law = averaging_law([source], d)  # n/d fixed
        return float(law.expected_margin(target) / law.place(target) - 1)

    biases = np.array([relative_bias(d) for d in (50, 100, 200, 400)])
    np.testing.assert_allclose(biases[:-1] / biases[1:], 2, rtol=0.02)
    assert np.all(np.abs(biases) < 15 / (8 * np.array([50, 100, 200, 400])))


def test_multinomial_law_against_drawn_counts():
    rng = np.random.default_rng(8)
    sources = [random_source(rng, "full", D), random_source(rng, "scalar", D)]
    shares, n, trials = np.array([0.3, 0.7]), 12, 40_000
    law = multinomial_law(sources, shares, n)
    first = rng.binomial(n, shares[0], trials)
    means = np.stack([np.asarray(source.mean) for source in sources])
    noise = [
        rng.multivariate_normal(np.zeros(D), dense(np.asarray(source.covariance), D), trials)
        for source in sources
    ]
    counts = np.stack([first, n - first], axis=1)
    weights = (counts @ means + sum(np.sqrt(counts[:, [s]]) * noise[s] for s in (0, 1))) / n
    assert_mean_is(weights, law.mean)
    centred = weights - np.asarray(law.mean)
    assert_mean_is(centred[:, :, None] * centred[:, None], law.covariance)
    assert not law.is_gaussian
    for forbidden in (law.expected_margin, law.squared_length_variance):
        with pytest.raises(ValueError, match=r"needs fixed counts"):
            forbidden(Target(np.ones(D)))
    with pytest.raises(ValueError, match=r"needs fixed counts"):
        law.sample(jax.random.key(0))


def test_bad_input_raises_with_the_value():
    target = Target([1.0, 0.0], name="sketch")
    with pytest.raises(ValueError, match=r"mean of Source 'stock' must be a vector.*got shape \(2, 2\)"):
        Source(np.eye(2), name="stock")
    with pytest.raises(ValueError, match=r"mean of Target must be finite, got inf"):
        Target([1.0, np.inf])
    with pytest.raises(ValueError, match=r"variance in the covariance of Source 'x' must be >= 0, got -1.0"):
        Source([1.0], -1.0, "x")
    with pytest.raises(ValueError, match=r"2 entries in the last axis, got shape \(3,\)"):
        margin(np.ones(3), target)
    with pytest.raises(ValueError, match=r"same number of features, got Source 's': 3, Target 'sketch': 2"):
        alignment(Source(np.ones(3), name="s"), target)
    with pytest.raises(ValueError, match=r"every label must be -1 or 1, got 2.0"):
        averaging_classifier(np.ones((2, 3)), np.array([1, 2]))
    with pytest.raises(ValueError, match=r"got \(3,\) and \(2,\)"):
        averaging_classifier(np.ones(3), np.ones(2))
    with pytest.raises(ValueError, match=r"count must be a finite number >= 0, got -1.0"):
        averaging_law([Source([1.0]), Source([2.0])], [3, -1])
    with pytest.raises(ValueError, match=r"counts must have shape \(1,\), got \(2,\)"):
        averaging_law([Source([1.0])], [3, 1])
    with pytest.raises(ValueError, match=r"at least one sample is needed"):
        averaging_law([Source([1.0])], 0)
    with pytest.raises(ValueError, match=r"at least one source is needed"):
        averaging_law([], [])


def test_law_of_a_single_source_takes_a_plain_number():
    law = averaging_law([Source([1.0, 2.0], 4.0)], 8)
    assert isinstance(law, AveragingLaw)
    np.testing.assert_allclose(law.covariance, 0.5)

"""Interpolators and averaging classifiers on flipped labels: the exact sampler against training, and against its limit."""

import inspect
from typing import Any

import jax
import numpy as np
import pytest
from scipy.stats import ks_2samp

from theory import Source
from theory.noisy_ridge_sampling import sample_noisy_classifiers, train_noisy_classifiers
from theory.wrong_line import NuisanceWorld

KEY = jax.random.key(61)
WORLD = NuisanceWorld(Source([1.0, 0.6], [1.0, 0.05]), 150, 0.1)


def p_value(first: Any, second: Any) -> float:
    result: Any = ks_2samp(first, second)
    return float(result.pvalue)


def scaled(factor):
    return NuisanceWorld(WORLD.core, 3000 * factor, 0.01)


@pytest.mark.parametrize("learner", ["interpolating", "averaging"])
@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_same_law_as_training_on_samples(learner, noise):
    drawn = sample_noisy_classifiers(KEY, WORLD, 20, noise, 6000, learner)
    trained = train_noisy_classifiers(KEY, WORLD, 20, noise, 700, learner)
    for quantity in ("projections", "core_lengths", "nuisance_lengths"):
        first, second = (np.asarray(getattr(draws, quantity)) for draws in (drawn, trained))
        assert p_value(first, second) > 1e-3, quantity
    # The joint law, as the targets see it.
    for variance in (0.1, 1.0):
        assert p_value(drawn.margins(variance), trained.margins(variance)) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("n", [10, 50, 120])
def test_same_law_at_many_sizes(n, noise):
    drawn = sample_noisy_classifiers(KEY, WORLD, n, noise, 40_000)
    trained = train_noisy_classifiers(KEY, WORLD, n, noise, 3000)
    for variance in (0.0, 0.1, 1.0):
        assert p_value(drawn.margins(variance), trained.margins(variance)) > 1e-4


def test_distance_from_the_closed_form_falls_as_one_over_n():
    errors = []
    for factor in (1, 4, 16):
        world, n = scaled(factor), 60 * factor
        draws = sample_noisy_classifiers(KEY, world, n, 0.2, 60_000)
        limit = world.family([n, 2 * n], 0.0, 0.2)
        margins = draws.margins([0.01, 0.5])
        expected = [limit.reference[0], limit.shifted(0.5)[0]]
        errors.append((margins.mean(0) - expected)[0])
        assert np.all(np.abs(margins.mean(0) - expected) < 4.5 * margins.std(0) / np.sqrt(60_000) + 6 / n)
    errors = np.asarray(errors)
    assert np.all(errors > 0)
    np.testing.assert_allclose(errors[0] / errors[1], 4, rtol=0.2)
    np.testing.assert_allclose(errors[1] / errors[2], 4, rtol=0.35)


def test_any_size_costs_the_same_and_agrees_with_the_limit():
    world = NuisanceWorld(WORLD.core, 3 * 10**11, 1e-3)
    n = 10**9
    draws = sample_noisy_classifiers(KEY, world, n, 0.25, 200)
    limit = world.family([n, n + 1], 0.0, 0.25)
    np.testing.assert_allclose(draws.margins(1e-3).mean(), limit.reference[0], rtol=1e-4)
    np.testing.assert_allclose(draws.nuisance_lengths / draws.projections**2, limit.nuisance[0], rtol=2e-3)


def test_same_key_same_draws():
    first, second = (sample_noisy_classifiers(KEY, WORLD, 20, 0.1, 5) for _ in range(2))
    np.testing.assert_array_equal(first.projections, second.projections)
    other = sample_noisy_classifiers(jax.random.key(1), WORLD, 20, 0.1, 5)
    assert np.all(first.projections != other.projections)
    assert first.margins([0.1, 0.2, 0.3]).shape == (5, 3)
    assert first.margins(0.1).shape == (5,)


def test_bad_input_raises_with_the_value():
    for function in (sample_noisy_classifiers, train_noisy_classifiers):
        for arguments, words in (
            ((20, 0.5, 3), r"label_noise must lie in \[0, 1/2\), got 0.5"),
            ((20, 0.03, 3), r"whole number of flipped labels, got 0.03 x 20"),
            ((0, 0.0, 3), r"got 0.0 x 0"),
            ((20, 0.1, 0), r"num_trials must be at least 1, got 0"),
        ):
            with pytest.raises(ValueError, match=words):
                function(KEY, WORLD, *arguments)
        with pytest.raises(ValueError, match=r"learner must be one of .*, got 'boosting'"):
            inspect.unwrap(function)(KEY, WORLD, 20, 0.1, 3, "boosting")
    for n in (3, 160):
        with pytest.raises(ValueError, match=rf"interpolating needs between 4 and 150 samples, got {n}"):
            sample_noisy_classifiers(KEY, WORLD, n, 0.0, 3)
    with pytest.raises(ValueError, match=r"minimum_norm at d = 152 needs between 1 and 152 samples, got 160"):
        train_noisy_classifiers(KEY, WORLD, 160, 0.0, 3)

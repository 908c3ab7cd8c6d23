from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import ks_2samp

from theory import brute_force
from theory.brute_force import brute_force_averaging, brute_force_classifiers
from theory.classifiers import averaging_law
from theory.gaussian import Source, Target, margin
from theory.monte_carlo import sample_averaging, sample_ensemble, sample_multinomial
from theory.reduced_problem import reduce_problem

D = 12
KEY = jax.random.key(20240611)


def unit(*entries):
    return np.r_[np.asarray(entries, float), np.zeros(D - len(entries))]


SOURCES = (Source(unit(0.9, 0.2, 0.1), 1.0, "a"), Source(unit(0.4, 0.7), 2.0, "b"))
# The last target is isotropic only off two coordinates, one of them outside the means' span.
TARGETS = (
    Target(unit(1.0, 0.5)),
    Target(unit(0.2, 0.8), 2.25),
    Target(unit(0.7, 0.0, 0.4), np.r_[4.0, np.ones(D - 2), 3.0]),
)
PROBLEM = reduce_problem(SOURCES, TARGETS)
COUNTS = np.asarray([6, 9])
# Reject only what is far beyond chance: nine comparisons per test at this level.
LEVEL = 1e-4


def p_value(first, second) -> float:
    """Two-sample Kolmogorov-Smirnov test; asymptotic, for thousands of draws."""
    result: Any = ks_2samp(np.asarray(first), np.asarray(second), method="asymp")
    return result.pvalue


def same_distribution(first, second):
    return [p_value(first[:, t], second[:, t]) for t in range(len(TARGETS))]


def standard_error(values):
    return np.std(np.asarray(values), axis=0) / np.sqrt(len(values))


@pytest.fixture(scope="module")
def brute():
    return brute_force_averaging(KEY, SOURCES, COUNTS, TARGETS, 6000)


def test_reduced_averaging_has_the_distribution_of_brute_force(brute):
    reduced = sample_averaging(KEY, PROBLEM, COUNTS, 6000)
    for name in ("projections", "squared_lengths", "margins"):
        assert min(same_distribution(getattr(reduced, name), getattr(brute, name))) > LEVEL


def test_the_comparison_notices_one_sample_more(brute):
    wrong = sample_averaging(KEY, PROBLEM, COUNTS * 1.15, 6000)
    assert min(same_distribution(wrong.squared_lengths, brute.squared_lengths)) < LEVEL


def test_reduced_averaging_has_the_moments_of_theorem_1():
    counts = COUNTS * 10
    law = averaging_law(SOURCES, counts)
    draws = sample_averaging(KEY, PROBLEM, counts, 200_000, chunk_size=1 << 14)
    for t, target in enumerate(TARGETS):
        a, q = np.asarray(draws.projections[:, t]), np.asarray(draws.squared_lengths[:, t])
        assert abs(a.mean() - law.projection_mean(target)) < 4 * standard_error(a)
        assert abs(q.mean() - law.squared_length_mean(target)) < 4 * standard_error(q)
        products = (a - a.mean()) * (q - q.mean())
        assert abs(products.mean() - law.projection_length_covariance(target, target)) < 4 * standard_error(
            products
        )
        squares = (q - q.mean()) ** 2
        assert abs(squares.mean() - law.squared_length_variance(target)) < 4 * standard_error(squares)


def test_brute_force_classifiers_average_their_samples():
    sources = (
        Source(unit(1.0), np.diag(np.linspace(0.5, 2, D))),
        Source(unit(0.0, 1.0), np.linspace(1, 2, D)),
    )
    weights = brute_force_classifiers(KEY, sources, [6, 9], 20_000)
    law = averaging_law(sources, [6, 9])
    assert (np.abs(np.asarray(weights).mean(0) - law.mean) < 4.5 * standard_error(weights)).all()
    variances = np.asarray(weights).var(0)
    np.testing.assert_allclose(variances, np.diag(np.asarray(law.covariance)), rtol=4.5 * np.sqrt(2 / 20_000))


def test_brute_force_in_chunks_draws_the_same_law(monkeypatch, brute):
    monkeypatch.setattr(brute_force, "_CHUNK_ELEMENTS", 4 * D)  # 4 chunks, the last one padded
    chunked = brute_force_averaging(KEY, SOURCES, COUNTS, TARGETS, 6000)
    assert min(same_distribution(chunked.squared_lengths, brute.squared_lengths)) > LEVEL
    assert min(same_distribution(chunked.projections, brute.projections)) > LEVEL


def test_random_counts_match_samples_that_pick_their_source():
    shares = np.asarray([0.3, 0.7])
    generator = np.random.default_rng(0)
    picks = generator.choice(2, p=shares, size=(8000, 10))
    means = np.stack([np.asarray(source.mean) for source in SOURCES])
    stds = np.sqrt([float(source.covariance) for source in SOURCES])
    samples = means[picks] + stds[picks][..., None] * generator.standard_normal((8000, 10, D))
    expected = np.stack([np.asarray(margin(samples.mean(1), target)) for target in TARGETS], axis=1)
    reduced = sample_multinomial(KEY, PROBLEM, shares, 10, 6000).margins
    assert min(same_distribution(reduced, expected)) > LEVEL


@pytest.fixture(scope="module")
def heads():
    keys = jax.random.split(KEY, 2)
    return [
        brute_force_classifiers(key, [source], [6], 6000) for key, source in zip(keys, SOURCES, strict=True)
    ]


@pytest.mark.parametrize("normalise_on", [None, 0])
def test_reduced_ensembles_match_brute_force_heads(heads, normalise_on):
    alpha = np.asarray([0.35, 0.65])
    if normalise_on is not None:
        heads = [head / jnp.sqrt(jnp.sum(head**2, -1, keepdims=True)) for head in heads]
    combined = sum(a * head for a, head in zip(alpha, heads, strict=True))
    expected = np.stack([np.asarray(margin(combined, target)) for target in TARGETS], axis=1)
    draws = sample_ensemble(KEY, PROBLEM, alpha, 6, 6000, normalise_on=normalise_on)
    assert min(same_distribution(draws.margins, expected)) > LEVEL


def test_cost_does_not_depend_on_the_number_of_samples_or_features():
    wide = reduce_problem(SOURCES, TARGETS, num_features=10**9)
    assert wide.target_means.shape == PROBLEM.target_means.shape
    draws = sample_averaging(KEY, wide, [4e11, 6e11], 6000)
    law_mean = 0.4 * SOURCES[0].mean + 0.6 * SOURCES[1].mean
    noise = 1.6 * 1e9 / 1e12
    expected = law_mean @ TARGETS[0].mean / np.sqrt(law_mean @ law_mean + noise)
    values = np.asarray(draws.margins[:, 0])
    assert abs(values.mean() - expected) < 4 * standard_error(values) + 1e-8
    counted = sample_multinomial(KEY, wide, [0.4, 0.6], 10**12, 6000).margins[:, 0]
    assert abs(np.mean(counted) - expected) < 4 * standard_error(counted) + 1e-8


def test_few_orthogonal_dimensions_are_enough():
    sources = [Source([1.0, 0.2, 0.0]), Source([0.1, 0.8, 0.0])]
    targets = [Target([1.0, 1.0, 0.0]), Target([0.0, 1.0, 0.0])]
    for d in (2, 3):  # no and one dimension left
        cut = [Source(s.mean[:d]) for s in sources], [Target(t.mean[:d]) for t in targets]
        problem = reduce_problem(*cut)
        assert problem.num_orthogonal == d - 2
        draws = sample_ensemble(KEY, problem, [0.5, 0.5], 4, 6000)
        heads = [
            brute_force_classifiers(jax.random.fold_in(KEY, i), [s], [4], 6000) for i, s in enumerate(cut[0])
        ]
        expected = margin(0.5 * heads[0] + 0.5 * heads[1], cut[1][0])
        assert p_value(draws.margins[:, 0], expected) > LEVEL


def test_chunks_leave_no_trace_in_the_number_of_trials():
    draws = sample_averaging(KEY, PROBLEM, COUNTS, 101, chunk_size=25)
    assert draws.margins.shape == (101, 3)
    assert len(np.unique(np.asarray(draws.margins)[:, 0])) == 101


def test_same_key_same_draws():
    first, second = (sample_ensemble(KEY, PROBLEM, [0.5, 0.5], 7, 6000).margins for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_out_of_domain_is_refused():
    with pytest.raises(ValueError, match="isotropic sources"):
        reduce_problem([Source(unit(1.0), np.linspace(1, 2, D))], TARGETS)
    with pytest.raises(ValueError, match="too many directions"):
        reduce_problem([Source(np.ones(80))], [Target(np.ones(80), np.linspace(1, 2, 80))])
    with pytest.raises(ValueError, match="num_features"):
        reduce_problem(SOURCES, TARGETS, num_features=3)
    with pytest.raises(ValueError, match="counts"):
        sample_averaging(KEY, PROBLEM, [1.0], 10)
    with pytest.raises(ValueError, match="count"):
        sample_averaging(KEY, PROBLEM, [-1.0, 2.0], 10)
    with pytest.raises(ValueError, match="at least 1"):
        sample_averaging(KEY, PROBLEM, COUNTS, 0)
    with pytest.raises(ValueError, match="sum to 1"):
        sample_multinomial(KEY, PROBLEM, [0.2, 0.2], 10, 10)
    with pytest.raises(ValueError, match="head with weight"):
        sample_ensemble(KEY, PROBLEM, [0.5, 0.5], [0, 5], 10)
    with pytest.raises(ValueError, match="index of a target"):
        sample_ensemble(KEY, PROBLEM, [0.5, 0.5], 5, 10, normalise_on=3)
    with pytest.raises(ValueError, match="whole number"):
        brute_force_classifiers(KEY, SOURCES, [1.5, 2], 10)
    sample_ensemble(KEY, PROBLEM, [1.0, 0.0], [5, 0], 6000)  # a head without weight needs no samples

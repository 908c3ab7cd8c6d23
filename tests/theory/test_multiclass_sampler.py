"""The reduced K-class sampler against brute force, by distribution, and the table of section 8."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from multiclass_cases import simplex_pair
from scipy.stats import ks_2samp

from theory import dprime_inverse
from theory.multiclass import MulticlassSource, MulticlassTarget, multiclass_dprime, simplex_means
from theory.multiclass_brute_force import brute_force_prototypes
from theory.multiclass_sampler import (
    draw_class_counts,
    reduce_multiclass,
    sample_accuracies,
    sample_prototypes,
)
from theory.multiclass_scores import Prototypes, prototype_scores, random_counts_accuracy, score_accuracy

KEY = jax.random.key(20250722)
K, D, TRIALS = 3, 16, 5000
LEVEL = 1e-4  # reject only what is far beyond chance: some 60 comparisons are made
rng = np.random.default_rng(0)
OFFSET = np.r_[np.zeros(D - 1), 0.7]
SOURCES = (
    MulticlassSource(simplex_means(K, [1.5, 0.4], D) + OFFSET, 1.0, "a"),
    MulticlassSource(simplex_means(K, [0.5, 1.5], D) + 0.2 * rng.standard_normal((K, 1)) * OFFSET, 2.0, "b"),
)
TARGETS = (
    MulticlassTarget(simplex_means(K, [1.0, 1.0], D)),
    # Isotropic only off a direction outside the means' span, and with unequal classes.
    MulticlassTarget(
        simplex_means(K, [1.0, 0.0, 0.5], D) + OFFSET, np.r_[np.full(9, 2.0), 5.0, np.full(6, 2.0)]
    ),
)
PROBLEM = reduce_multiclass(SOURCES, TARGETS)
COUNTS = np.array([[2, 3, 1], [4, 2, 2]])
NOISE = np.random.default_rng(1).standard_normal((300, K))


def p_value(first, second) -> float:
    result: Any = ks_2samp(np.asarray(first), np.asarray(second), method="asymp")
    return result.pvalue


def functionals(means, covariances):
    """Scalars of one classifier on one target: score differences, variances, correlations, and its accuracy by fixed noise."""
    means, covariances = np.asarray(means), np.asarray(covariances)
    found = {f"lead {j}{k}": means[:, j, j] - means[:, j, k] for j, k in ((0, 1), (1, 2), (2, 0))}
    found |= {f"covariance {j}{k}": covariances[:, j, k] for j, k in ((0, 0), (0, 1), (1, 2), (2, 2))}
    found["determinant"] = np.linalg.det(covariances)
    found["accuracy"] = np.asarray(score_accuracy(means, covariances, NOISE))
    return found


def all_p_values(prototypes, draws):
    values = {}
    for t, target in enumerate(TARGETS):
        brute = functionals(*prototype_scores(prototypes, target))
        reduced = functionals(draws.score_means(t), draws.score_covariances(t))
        values |= {f"{name} on {t}": p_value(brute[name], reduced[name]) for name in brute}
    return values


@pytest.fixture(scope="module")
def brute():
    return brute_force_prototypes(KEY, SOURCES, COUNTS, TRIALS)


def test_mixture_of_unequal_counts_has_the_distribution_of_brute_force(brute):
    values = all_p_values(brute, sample_prototypes(KEY, PROBLEM, COUNTS, TRIALS))
    assert min(values.values()) > LEVEL, values


def test_the_comparison_notices_a_twentieth_more_samples(brute):
    values = all_p_values(brute, sample_prototypes(KEY, PROBLEM, COUNTS * 1.05, TRIALS))
    assert min(values.values()) < LEVEL


@pytest.mark.parametrize("random", ["classes", "sources and classes"])
def test_random_counts_have_the_distribution_of_brute_force(random):
    prototypes: Prototypes = "mean" if random == "classes" else "sum"
    first, second = (
        draw_class_counts(jax.random.fold_in(KEY, i), [0.25, 0.75], 8, K, TRIALS, random) for i in (0, 1)
    )
    brute = brute_force_prototypes(KEY, SOURCES, first, TRIALS, prototypes)
    draws = sample_prototypes(KEY, PROBLEM, second, TRIALS, prototypes)
    values = all_p_values(brute, draws)
    # A class without images makes atoms, on which the test is conservative.
    assert min(values.values()) > LEVEL, values


def test_fewer_orthogonal_dimensions_than_classes():
    d, k = 5, 4
    sources = (MulticlassSource(simplex_means(k, 1.0, d), 2.0),)
    targets = (MulticlassTarget(simplex_means(k, 1.0, d)),)
    problem = reduce_multiclass(sources, targets)
    assert problem.num_orthogonal == 2
    draws = sample_prototypes(KEY, problem, np.full((1, k), 2), TRIALS)
    brute = brute_force_prototypes(KEY, sources, np.full((1, k), 2), TRIALS)
    means, covariances = prototype_scores(brute, targets[0])
    assert p_value(means[:, 0, 0], draws.score_means(0)[:, 0, 0]) > LEVEL
    for j, h in ((0, 0), (0, 3), (2, 3), (3, 3)):
        assert p_value(covariances[:, j, h], draws.score_covariances(0)[:, j, h]) > LEVEL


def test_brute_force_averages_the_samples_of_each_class():
    """Against numpy's moments, with full and diagonal covariances and a class that has no images."""
    generator = np.random.default_rng(3)
    factor = generator.standard_normal((4, 4))
    sources = (
        MulticlassSource(generator.standard_normal((2, 4)), factor @ factor.T),
        MulticlassSource(generator.standard_normal((2, 4)), [1.0, 2.0, 3.0, 4.0]),
    )
    counts = np.array([[3, 0], [1, 0]])
    weights = np.asarray(brute_force_prototypes(KEY, sources, counts, 20_000))
    np.testing.assert_array_equal(weights[:, 1], 0)
    mean = (3 * np.asarray(sources[0].means[0]) + np.asarray(sources[1].means[0])) / 4
    covariance = (3 * factor @ factor.T + np.diag([1.0, 2.0, 3.0, 4.0])) / 16
    error = weights[:, 0].std(0) / np.sqrt(20_000)
    assert np.all(np.abs(weights[:, 0].mean(0) - mean) < 4.5 * error)
    centred = weights[:, 0] - weights[:, 0].mean(0)
    products = np.einsum("ti,tj->tij", centred, centred)
    assert np.all(np.abs(products.mean(0) - covariance) < 4.5 * products.std(0) / np.sqrt(20_000))
    summed = brute_force_prototypes(KEY, sources, counts, 10, "sum")
    np.testing.assert_allclose(summed, 2 * brute_force_prototypes(KEY, sources, counts, 10))


def test_accuracies_are_those_of_the_prototypes():
    accuracies = np.asarray(sample_accuracies(KEY, PROBLEM, COUNTS, TRIALS, 40))
    draws = sample_prototypes(jax.random.fold_in(KEY, 5), PROBLEM, COUNTS, TRIALS)
    for t in range(2):
        each = np.asarray(score_accuracy(draws.score_means(t), draws.score_covariances(t), NOISE))
        error = np.hypot(accuracies[:, t].std(), 2 * each.std()) / np.sqrt(TRIALS)
        # The fixed noise has an error of its own, common to all trials.
        assert abs(accuracies[:, t].mean() - each.mean()) < 4.5 * error + 4 * 0.5 / np.sqrt(K * len(NOISE))


TABLE = [(1000, 50, 2000, 4.0, 0.2542), (20000, 50, 2000, 4.0, 0.8788), (4000, 5, 300, 1.5, 0.6750)]


@pytest.mark.parametrize(("n", "k", "d", "s", "listed"), TABLE)
def test_table_of_formula_and_simulation(n, k, d, s, listed):
    source, target = simplex_pair(k, s, k - 1)
    problem = reduce_multiclass([source], [target], d)
    full = simplex_pair(k, s, d)
    predicted = float(dprime_inverse(multiclass_dprime([full[0]], [1.0], full[1], n), k))
    assert predicted == pytest.approx(listed, abs=6e-5)
    trials = 1024 if k == 50 else 32_768
    simulated = np.asarray(sample_accuracies(KEY, problem, np.full((1, k), n / k), trials, 16))[:, 0]
    error = simulated.std() / np.sqrt(trials)
    assert error < 1.1e-3
    assert abs(simulated.mean() - predicted) < 4 * error
    if n == 1000:
        # Random class counts cost accuracy: most with class means, less with sums.
        counts = draw_class_counts(KEY, [1.0], n, k, trials)
        cost = {}
        kinds: tuple[tuple[Prototypes, float], ...] = (("mean", 0.236), ("sum", 0.2455))
        for prototypes, seen in kinds:
            drawn = np.asarray(sample_accuracies(KEY, problem, counts, trials, 16, prototypes))[:, 0]
            error = drawn.std() / np.sqrt(trials)
            assert abs(drawn.mean() - random_counts_accuracy(*full, n, prototypes)) < 4 * error + 1e-3
            assert abs(drawn.mean() - seen) < 4 * error + 1e-3
            cost[prototypes] = predicted - drawn.mean()
        assert cost["mean"] > cost["sum"] + 4e-3 > 8e-3


def test_the_remainder_of_the_formula_falls_as_one_over_d():
    k, s = 5, 1.5
    source, target = simplex_pair(k, s, k - 1)
    remainders, errors, sizes = [], [], np.array([6, 12, 24])
    for d in sizes:
        n = 4000 * d / 300
        problem = reduce_multiclass([source], [target], int(d))
        hits = np.asarray(
            sample_accuracies(jax.random.fold_in(KEY, int(d)), problem, np.full((1, k), n / k), 1 << 16, 16)
        )
        full = simplex_pair(k, s, int(d))
        remainders.append(
            hits.mean() - float(dprime_inverse(multiclass_dprime([full[0]], [1.0], full[1], n), k))
        )
        errors.append(hits.std() / np.sqrt(len(hits)))
    scaled, errors = np.asarray(remainders) * sizes, np.asarray(errors) * sizes
    assert remainders[0] > 12 * errors[0] / sizes[0]
    # One constant over d explains them all.
    constant = np.sum(scaled / errors**2) / np.sum(errors**-2.0)
    assert np.all(np.abs(scaled - constant) < 4 * errors + 0.1 * constant)
    assert remainders[0] > 2.5 * remainders[-1]


def test_cost_does_not_depend_on_n_or_d():
    problem = reduce_multiclass(SOURCES, TARGETS[:1], 10**12)
    draws = sample_prototypes(KEY, problem, COUNTS * 1e12, 64)
    assert np.isfinite(np.asarray(draws.score_covariances(0))).all()
    # Noise of 10¹² features over 10¹² samples per class: the Gram matrix off the span is γ²d/n to six digits.
    off = np.einsum("bkq,blq->bkl", draws.off, draws.off)
    variance = (COUNTS * [[1.0], [2.0]]).sum(0) / COUNTS.sum(0) ** 2
    np.testing.assert_allclose(off, np.broadcast_to(np.diag(variance), off.shape), atol=1e-5)


def test_permuted_sources_draw_the_same_law():
    swapped = reduce_multiclass(SOURCES[::-1], TARGETS)
    first = sample_prototypes(KEY, PROBLEM, COUNTS, TRIALS)
    second = sample_prototypes(jax.random.fold_in(KEY, 1), swapped, COUNTS[::-1], TRIALS)
    for t in range(2):
        assert p_value(first.score_means(t)[:, 0, 1], second.score_means(t)[:, 0, 1]) > LEVEL
        assert p_value(first.score_covariances(t)[:, 0, 1], second.score_covariances(t)[:, 0, 1]) > LEVEL


def test_float32_has_the_same_distribution(brute, float32):
    problem = reduce_multiclass(
        [MulticlassSource(np.float32(s.means), float(s.covariance)) for s in SOURCES],
        [MulticlassTarget(np.float32(t.means), np.float32(t.covariance)) for t in TARGETS],
    )
    draws = sample_prototypes(KEY, problem, COUNTS, TRIALS)
    assert draws.span.dtype == jnp.float32
    weights, target = np.asarray(brute), np.asarray(TARGETS[0].means)
    assert p_value(weights[:, 1] @ target[0], draws.score_means(0)[:, 0, 1]) > LEVEL
    assert p_value((weights[:, 1] ** 2).sum(1), draws.score_covariances(0)[:, 1, 1]) > LEVEL


def test_bad_input_raises_with_the_value():
    with pytest.raises(ValueError, match=r"needs isotropic sources .* source 'odd' is not"):
        reduce_multiclass([MulticlassSource(np.eye(3), [1.0, 2.0, 3.0], "odd")], TARGETS[:0])
    with pytest.raises(ValueError, match=r"at least the 16 entries of the means, got 4"):
        reduce_multiclass(SOURCES, TARGETS, 4)
    for function in (
        lambda c: sample_prototypes(KEY, PROBLEM, c, 5),
        lambda c: brute_force_prototypes(KEY, SOURCES, c, 5),
    ):
        with pytest.raises(ValueError, match=r"counts must have shape \(2, 3\), .* got \(3,\)"):
            function([1, 2, 3])
        with pytest.raises(ValueError, match=r"finite number >= 0, got -1"):
            function(-np.ones((2, 3)))
        with pytest.raises(ValueError, match=r"must sum to more than 0, got 0"):
            function(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"whole numbers, got 1.5"):
        brute_force_prototypes(KEY, SOURCES, 1.5 * np.ones((2, 3)), 5)
    with pytest.raises(ValueError, match=r"num_trials must be at least 1, got 0"):
        sample_prototypes(KEY, PROBLEM, COUNTS, 0)
    with pytest.raises(ValueError, match=r"num_draws must be at least 1, got 0"):
        sample_accuracies(KEY, PROBLEM, COUNTS, 5, 0)
    with pytest.raises(ValueError, match=r"must be whole, got \[2.5, 7.5\]"):
        draw_class_counts(KEY, [0.25, 0.75], 10, 3, 5)
    with pytest.raises(ValueError, match=r"got 10, 5 and 1"):
        draw_class_counts(KEY, [0.25, 0.75], 10, 1, 5)

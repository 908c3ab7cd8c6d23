"""Score laws and accuracies of K-class prototypes against draws, and the table of section 8."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from multiclass_cases import random_classes, simplex_pair
from scipy.stats import norm

from theory import dprime_inverse
from theory.multiclass import MulticlassSource, MulticlassTarget, multiclass_dprime
from theory.multiclass_scores import (
    ScoreLaw,
    averaging_score_law,
    prototype_accuracy,
    prototype_scores,
    random_counts_accuracy,
    score_accuracy,
    symmetric_root,
    two_variance_accuracy,
)

KEY = jax.random.key(808)


def test_equal_variances_are_the_link():
    for k in (2, 5, 1000):
        m = np.linspace(-1, 6, 8)
        np.testing.assert_allclose(
            two_variance_accuracy(2 * m, 4.0, 4.0, k), dprime_inverse(m, k), rtol=1e-9, atol=1e-14
        )


def test_two_variances_against_draws():
    rng = np.random.default_rng(0)
    k, draws = 6, 400_000
    scores = rng.standard_normal((draws, k))
    scores[:, 0] = 1.3 + 2.0 * scores[:, 0]
    hit = (scores.argmax(1) == 0).mean()
    assert abs(two_variance_accuracy(1.3, 4.0, 1.0, k) - hit) < 4 * np.sqrt(hit * (1 - hit) / draws)
    assert two_variance_accuracy(1.3, 0.0, 1.0, k) == pytest.approx(norm.cdf(1.3) ** 5, rel=1e-9)


def naive_moments(law):
    means, covariances = np.asarray(law.means), np.asarray(law.covariances)
    k = len(means)
    right, other, lead, half = [], [], [], []
    for j in range(k):
        c = covariances[j]
        rivals = [i for i in range(k) if i != j]
        for i in rivals:
            lead.append(means[j, j] - means[j, i])
            half.append((c[j, j] + c[i, i] - 2 * c[i, j]) / 2)
            for h in rivals:
                if h != i:
                    right.append(c[j, j] - c[j, i] - c[j, h] + c[i, h])
                    other.append((c[i, i] + c[h, h] - 2 * c[i, h]) / 2)
    return np.mean(lead), np.mean(right), np.mean(other), np.mean(half)


def test_moments_of_a_score_law_against_averages_over_pairs():
    rng = np.random.default_rng(1)
    factors = rng.standard_normal((4, 4, 4))
    law = ScoreLaw(
        jnp.asarray(rng.standard_normal((4, 4))), jnp.asarray(factors @ factors.transpose(0, 2, 1))
    )
    lead, right, other, half = naive_moments(law)
    assert law.signal == pytest.approx(lead, rel=1e-12)
    np.testing.assert_allclose(law.variances(), (right, other), rtol=1e-12)
    assert (right + other) / 2 == pytest.approx(half, rel=1e-12)
    assert law.dprime == pytest.approx(lead / np.sqrt(half), rel=1e-12)


@pytest.mark.parametrize("prototypes", ["mean", "sum"])
def test_score_law_against_training_sets_and_images_that_were_drawn(prototypes):
    rng = np.random.default_rng(2)
    k, d, trials = 3, 5, 200_000
    sources = [random_classes(rng, MulticlassSource, form, k, d) for form in ("diagonal", "full")]
    target = random_classes(rng, MulticlassTarget, "full", k, d)
    counts = np.array([[1.0, 4.0, 2.0], [3.0, 0.0, 2.0]])
    law = averaging_score_law(sources, counts, target, prototypes)
    totals = counts.sum(0)
    scale = 1 / totals if prototypes == "mean" else np.full(k, k / totals.sum())
    roots = [np.diag(np.sqrt(sources[0].covariance)), np.linalg.cholesky(np.asarray(sources[1].covariance))]
    weights = np.zeros((trials, k, d))
    for s, source in enumerate(sources):
        noise = rng.standard_normal((trials, k, d)) @ roots[s].T
        weights += (scale * counts[s])[:, None] * np.asarray(source.means) + (scale * np.sqrt(counts[s]))[
            :, None
        ] * noise
    factor = np.linalg.cholesky(np.asarray(target.covariance))
    for j in range(k):
        images = np.asarray(target.means)[j] + rng.standard_normal((trials, d)) @ factor.T
        scores = np.einsum("td,tkd->tk", images, weights)
        error = scores.std(0) / np.sqrt(trials)
        assert np.all(np.abs(scores.mean(0) - law.means[j]) < 4.5 * error)
        centred = scores - scores.mean(0)
        products = np.einsum("tk,tl->tkl", centred, centred)
        error = products.std(0) / np.sqrt(trials)
        assert np.all(np.abs(products.mean(0) - law.covariances[j]) < 4.5 * error)


def test_equal_counts_of_a_simplex_are_the_formula():
    source, target = simplex_pair(6, 2.0, 30)
    law = averaging_score_law([source], np.full((1, 6), 3.0), target)
    wanted = float(multiclass_dprime([source], [1.0], target, 18))
    assert law.dprime == pytest.approx(wanted, rel=1e-12)
    right, other = law.variances()
    assert right == pytest.approx(float(other), rel=1e-12)
    assert law.accuracy() == pytest.approx(float(dprime_inverse(wanted, 6)), rel=1e-9)


def test_two_classes_are_exact():
    rng = np.random.default_rng(3)
    source = random_classes(rng, MulticlassSource, "full", 2, 3)
    target = random_classes(rng, MulticlassTarget, "full", 2, 3)
    means, covariance = prototype_scores(source.means, target)
    lead = [float(means[0, 0] - means[0, 1]), float(means[1, 1] - means[1, 0])]
    spread = float(np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]))
    exact = np.mean(norm.cdf(np.asarray(lead) / spread))
    found = float(prototype_accuracy(KEY, source.means, target, 100_000))
    assert abs(found - exact) < 4.5 * np.sqrt(exact * (1 - exact) / 100_000)


@pytest.mark.parametrize(("axes", "within"), [("random", 0.02), ("few", 0.05)])
def test_unequal_classes_bend_the_link_and_the_law_knows(axes, within):
    """d′ alone is off for random class means, the law's integral is not; with few strong axes it is an upper estimate."""
    rng = np.random.default_rng(4)
    k, d = 20, 60
    means = 2.5 * rng.standard_normal((k, d)) / np.sqrt(d)
    if axes == "few":
        means = means * np.geomspace(4, 0.1, d)
    law = averaging_score_law([MulticlassSource(means)], np.full((1, k), 40.0), MulticlassTarget(means))
    drawn, error = law.sample_accuracy(KEY, 10_000)
    alike = float(dprime_inverse(law.dprime, k))
    assert abs(alike - drawn) > 8 * error
    assert abs(float(law.accuracy()) - drawn) < min(within, 0.6 * abs(alike - drawn))


def test_independent_scores_of_unequal_means_and_variances_are_exact():
    rng = np.random.default_rng(8)
    k = 5
    deviations = rng.uniform(0.5, 2, (k, k))
    means = rng.standard_normal((k, k)) + 2 * np.eye(k)
    # One common right variance for all rivals, whatever their own: the one-factor integral is the exact answer.
    law = ScoreLaw(jnp.asarray(means), jnp.asarray(np.stack([np.diag(v**2) for v in deviations])))
    g = np.linspace(-9, 9, 4001)
    exact = 0.0
    for j in range(k):
        score = means[j, j] + deviations[j, j] * g
        product = np.prod(
            [norm.cdf((score - means[j, i]) / deviations[j, i]) for i in range(k) if i != j], axis=0
        )
        exact += (norm.pdf(g) * product).sum() * (g[1] - g[0]) / k
    assert law.accuracy() == pytest.approx(exact, rel=1e-8)
    drawn, error = law.sample_accuracy(KEY, 20_000)
    assert abs(exact - drawn) < 4.5 * error
    pair = ScoreLaw(law.means[:2, :2], law.covariances[:2, :2, :2])
    lead = [means[0, 0] - means[0, 1], means[1, 1] - means[1, 0]]
    spread = np.sqrt((deviations[:2, :2] ** 2).sum(1))
    assert pair.accuracy() == pytest.approx(np.mean(norm.cdf(lead / spread)), rel=1e-9)


def test_score_accuracy_is_the_share_of_right_answers():
    rng = np.random.default_rng(5)
    k, m = 4, 50
    factor = rng.standard_normal((3, k, 2))  # singular covariances
    covariance = factor @ factor.transpose(0, 2, 1)
    means, noise = rng.standard_normal((3, k, k)), rng.standard_normal((m, k))
    found = score_accuracy(means, covariance, noise)
    for b in range(3):
        eigenvalues, vectors = np.linalg.eigh(covariance[b])
        root = (vectors * np.sqrt(np.clip(eigenvalues, 0, None))) @ vectors.T
        np.testing.assert_allclose(symmetric_root(jnp.asarray(covariance[b])), root, atol=1e-7)
        hits = [(means[b, j] + noise @ root).argmax(1) == j for j in range(k)]
        assert found[b] == pytest.approx(np.mean(hits), abs=1e-12)
    rotated = prototype_accuracy(KEY, np.zeros((3, 2)), MulticlassTarget(np.eye(3)[:, :2]))
    assert rotated == 0.0  # nothing but ties


def class_count_accuracies(counts, means, rng, prototypes):
    """Accuracy of one training set per row of counts with simplex means, one image per class, in score space."""
    k = counts.shape[1]
    n = counts.sum(1, keepdims=True)
    c = np.where(counts > 0, 1.0, 0.0) if prototypes == "mean" else counts * k / n
    noise = np.where(counts > 0, 1 / np.sqrt(np.maximum(counts, 1)), 0) * (
        1 if prototypes == "mean" else counts * k / n
    )
    weights = c[..., None] * means + noise[..., None] * rng.standard_normal((*counts.shape, means.shape[1]))
    images = means + rng.standard_normal((len(counts), *means.shape))
    return (np.einsum("bjd,bkd->bjk", images, weights).argmax(2) == np.arange(k)).mean(1)


@pytest.mark.parametrize("prototypes", ["mean", "sum"])
def test_random_counts_against_draws(prototypes):
    k, d, n, trials = 10, 400, 100, 4000
    rng = np.random.default_rng(6)
    source, target = simplex_pair(k, 3.0, d)
    counts = rng.multinomial(n, np.full(k, 1 / k), size=trials)
    hits = np.concatenate(
        [
            class_count_accuracies(part, np.asarray(source.means), rng, prototypes)
            for part in np.split(counts, 8)
        ]
    )
    error = hits.std() / np.sqrt(trials)
    predicted = random_counts_accuracy(source, target, n, prototypes)
    equal = float(dprime_inverse(multiclass_dprime([source], [1.0], target, n), k))
    assert abs(predicted - hits.mean()) < 4 * error + 1.5 / d
    assert equal - hits.mean() > 6 * error  # random counts cost accuracy, and the test can tell


def test_random_counts_vanish_with_many_samples():
    source, target = simplex_pair(5, 1.0, 40)
    for n in (1e6, 1e12):
        equal = float(dprime_inverse(multiclass_dprime([source], [1.0], target, n), 5))
        for prototypes in ("mean", "sum"):
            assert random_counts_accuracy(source, target, n, prototypes) == pytest.approx(
                equal, abs=3 / n + 1e-9
            )


def test_float32_agrees(float32):
    source, target = simplex_pair(6, 2.0, 30)
    law = averaging_score_law([source], np.full((1, 6), 3.0), target)
    assert law.means.dtype == jnp.float32
    top = 4 * 6 / 5
    assert law.dprime == pytest.approx(top / np.sqrt(top + 10 + 4 / 3), rel=1e-5)
    g = np.linspace(-9, 9, 2001)
    powers = norm.pdf(g) * norm.cdf(g + float(law.dprime)) ** 5
    assert law.accuracy() == pytest.approx(powers.sum() * (g[1] - g[0]), abs=1e-5)


def test_bad_input_raises_with_the_value():
    source, target = simplex_pair(3, 1.0, 4)
    with pytest.raises(ValueError, match=r"right_variance must be >= 0, got -1"):
        two_variance_accuracy(1.0, -1.0, 1.0, 3)
    with pytest.raises(ValueError, match=r"other_variance must be > 0, got 0"):
        two_variance_accuracy(1.0, 1.0, 0.0, 3)
    with pytest.raises(ValueError, match=r"num_classes must be at least 2, got 1"):
        two_variance_accuracy(1.0, 1.0, 1.0, 1)
    with pytest.raises(ValueError, match=r"class_counts must have shape \(1, 3\), got \(3,\)"):
        averaging_score_law([source], np.ones(3), target)
    with pytest.raises(ValueError, match=r"every class needs at least one sample, got 0"):
        averaging_score_law([source], [[1.0, 0.0, 2.0]], target)
    with pytest.raises(ValueError, match=r"finite number >= 0, got -1"):
        averaging_score_law([source], [[1.0, -1.0, 2.0]], target)
    with pytest.raises(ValueError, match=r"prototypes must have shape \(..., 3, 4\), got \(3, 5\)"):
        prototype_accuracy(KEY, np.ones((3, 5)), target)
    with pytest.raises(ValueError, match=r"got shapes \(3, 3\), \(2, 2\) and \(5, 3\)"):
        score_accuracy(np.ones((3, 3)), np.ones((2, 2)), np.ones((5, 3)))
    with pytest.raises(ValueError, match=r"num_samples must be a finite number > 0, got -3"):
        random_counts_accuracy(source, target, -3)

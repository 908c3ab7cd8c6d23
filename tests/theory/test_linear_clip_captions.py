"""Noisy, wrong and missing captions: the predicted law of zero-shot scores against pairs that were drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multiclass_cases import random_classes, simplex_pair, turned
from scipy.stats import ortho_group

from theory import dprime_inverse
from theory.linear_clip import solve_linear_clip
from theory.linear_clip_captions import (
    Captions,
    ClassCounts,
    population_cross_covariance,
    sample_cross_covariances,
    sample_pairs,
    zero_shot_score_law,
)
from theory.multiclass import MulticlassSource, MulticlassTarget, multiclass_dprime
from theory.multiclass_scores import averaging_score_law, prototype_accuracy

KEY = jax.random.key(17)


def test_signal_of_wrong_and_missing_captions():
    assert Captions(np.eye(4), wrong=0.3).signal == pytest.approx(1 - 0.3 * 4 / 3)
    assert Captions(np.eye(4), missing=0.3).signal == pytest.approx(0.7)
    assert Captions(np.eye(4), wrong=0.75).signal == pytest.approx(0)
    assert Captions(np.eye(2), wrong=1.0).signal == pytest.approx(-1)
    assert Captions(np.eye(4), wrong=0.2, missing=0.5).signal == pytest.approx(0.5 * (1 - 0.8 / 3))
    np.testing.assert_allclose(Captions(np.eye(4), wrong=0.2, missing=0.5).channel().sum(1), 1)


def test_drawn_captions_follow_the_channel():
    captions = Captions(np.eye(4), noise=0.5, wrong=0.3, missing=0.2)
    labels = np.arange(80_000) % 4
    z, named = captions.sample(np.random.default_rng(3), labels)
    for y in range(4):
        seen = np.bincount(named[y::4], minlength=5) / 20_000
        assert np.all(np.abs(seen - captions.channel()[y]) < 4.5 * np.sqrt(0.25 / 20_000))
    np.testing.assert_array_equal(z[named == 4], 0)
    rest = z[named < 4] - np.eye(4)[named[named < 4]]
    assert abs(rest.var() - 0.5) < 0.01


@pytest.mark.parametrize("counts", ["fixed", "random"])
def test_moments_of_the_prototypes_against_draws(counts: ClassCounts):
    """Means and covariances of the scores of all classes, with everything at once: unequal prompts, noise, errors, holes."""
    rng = np.random.default_rng(0)
    k, d, n, trials = 3, 4, 240, 4000
    source = random_classes(rng, MulticlassSource, "full", k, d)
    target = random_classes(rng, MulticlassTarget, "diagonal", k, d)
    captions = Captions(rng.standard_normal((k, 5)), noise=0.4, wrong=0.25, missing=0.3)
    law = zero_shot_score_law(source, captions, target, n, counts)
    drawn = np.asarray(sample_cross_covariances(KEY, source, captions, n, trials, counts))
    if counts == "fixed":
        drawn = drawn * (n - 1) / n  # balanced classes have the 1/n covariance exactly
    weights = np.einsum("bdq,kq->bkd", drawn, np.asarray(captions.prompts))
    images = np.asarray(target.means) + np.sqrt(np.asarray(target.covariance)) * rng.standard_normal(
        (trials, k, d)
    )
    scores = np.einsum("bjd,bkd->bjk", images, weights)
    error = scores.std(0) / np.sqrt(trials)
    assert np.all(np.abs(scores.mean(0) - law.means) < 4.5 * error)
    centred = scores - scores.mean(0)
    products = np.einsum("bjk,bjl->bjkl", centred, centred)
    error = products.std(0) / np.sqrt(trials)
    assert np.all(
        np.abs(products.mean(0) - law.covariances) < 4.5 * error + 1e-3 * np.abs(law.covariances).max()
    )
    population = np.asarray(population_cross_covariance(source, captions))
    error = drawn.std(0) / np.sqrt(trials)
    assert np.all(np.abs(drawn.mean(0) - population) < 4.5 * error)


def test_caption_noise_adds_the_covariance_of_all_images():
    """Variance σ_z² ‖t_k‖² Σ_x/n with Σ_x within and between classes: leaving the classes out would be seen."""
    source, _ = simplex_pair(4, 3.0, 6)
    noise, n, trials = 2.0, 200, 2000
    weights = []
    for variance in (0.0, noise):
        captions = Captions(1.5 * np.eye(4), noise=variance)
        drawn = sample_cross_covariances(KEY, source, captions, n, trials)
        weights.append(1.5 * np.asarray(drawn)[:, :, 0])
    added = weights[1].var(0) - weights[0].var(0)
    means = np.asarray(source.means)
    total = np.diag(np.eye(6) + means.T @ means / 4)
    wanted = noise * 1.5**2 * total / n
    error = weights[1].var(0) * np.sqrt(4 / trials)
    assert np.all(np.abs(added - wanted) < 4 * error)
    assert np.abs(added - noise * 1.5**2 / n).max() > 6 * error.max()
    np.testing.assert_allclose(
        weights[1].mean(0), weights[0].mean(0), atol=5 * np.sqrt(wanted.max() / trials)
    )


@pytest.mark.parametrize("counts", ["fixed", "random"])
def test_scores_of_class_means_carry_caption_noise_along_the_classes(counts: ClassCounts):
    """On an image that is its class's mean all variance is the classifier's, and most of it lies between the classes."""
    rng = np.random.default_rng(2)
    k, d, n, trials, noise = 3, 4, 120, 3000, 1.0
    means = 2 * rng.standard_normal((k, d))
    source, target = MulticlassSource(means, 0.2), MulticlassTarget(means, 1e-12)
    captions = Captions(rng.standard_normal((k, 5)), noise=noise)
    law = zero_shot_score_law(source, captions, target, n, counts)
    drawn = np.asarray(sample_cross_covariances(KEY, source, captions, n, trials, counts)) * (n - 1) / n
    scores = np.einsum("jd,bdq,kq->bjk", means, drawn, np.asarray(captions.prompts))
    centred = scores - scores.mean(0)
    products = np.einsum("bjk,bjl->bjkl", centred, centred)
    error = products.std(0) / np.sqrt(trials)
    # Beyond 1/n: sampled means of classes and captions, of relative order K / n.
    assert np.all(np.abs(products.mean(0) - law.covariances) < 4.5 * error + 2 * k / n * error.max())
    between = noise * np.asarray(captions.prompts @ captions.prompts.T) / k
    facing = np.asarray(source.centred_means) @ means.T
    added = between * (facing**2).sum(0)[:, None, None] / n
    assert np.abs(added / error).max() > 12, "the test would not notice its absence"


SETTINGS = {
    "clean": ({}, "fixed"),
    "soft": ({"noise": 0.3}, "fixed"),
    "wrong": ({"wrong": 0.3}, "fixed"),
    "missing": ({"missing": 0.5}, "fixed"),
    "everything": ({"noise": 0.1, "wrong": 0.2, "missing": 0.2}, "random"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_zero_shot_accuracy_against_trained_models(name):
    k, d, n, trials = 5, 200, 400, 300
    source, target = simplex_pair(k, 1.5, d)
    damage, counts = SETTINGS[name]
    captions = Captions(np.eye(k), **damage)
    law = zero_shot_score_law(source, captions, target, n, counts)
    drawn = sample_cross_covariances(KEY, source, captions, n, trials, counts)
    weights = jnp.einsum("bdq,kq->bkd", drawn, captions.prompts)
    simulated = np.asarray(prototype_accuracy(jax.random.fold_in(KEY, 1), weights, target, 200))
    error = simulated.std() / np.sqrt(trials)
    assert abs(simulated.mean() - float(law.accuracy())) < 4 * error + 0.3 / d
    assert error < 2.5e-3
    if name == "clean":
        wanted = multiclass_dprime([source], [1.0], target, n)
        assert law.dprime == pytest.approx(float(wanted), rel=1e-10)
        averaging = averaging_score_law([source], np.full((1, k), n / k), target)
        assert law.accuracy() == pytest.approx(float(averaging.accuracy()), rel=1e-9)
    else:
        clean = float(dprime_inverse(multiclass_dprime([source], [1.0], target, n), k))
        assert clean - simulated.mean() > 5 * error


@given(seed=st.integers(0, 10_000))
@settings(max_examples=6)
def test_laws_of_permutation_rotation_and_scale(seed):
    rng = np.random.default_rng(seed)
    k, d, q = 4, 5, 6
    source = random_classes(rng, MulticlassSource, "full", k, d)
    target = random_classes(rng, MulticlassTarget, "full", k, d)
    prompts = rng.standard_normal((k, q))
    damage = {"wrong": rng.uniform(0, 0.5), "missing": rng.uniform(0, 0.5)}
    base = zero_shot_score_law(source, Captions(prompts, 0.3, **damage), target, 50)
    values = float(base.dprime), float(base.accuracy())
    order, scale = rng.permutation(k), rng.uniform(0.2, 5)
    turn, turn_captions = ortho_group.rvs(d, random_state=seed), ortho_group.rvs(q, random_state=seed)

    def relabelled(item):
        return type(item)(np.asarray(item.means)[order], item.covariance)

    for changed in (
        zero_shot_score_law(
            relabelled(source), Captions(prompts[order], 0.3, **damage), relabelled(target), 50
        ),
        zero_shot_score_law(
            turned(source, turn), Captions(prompts @ turn_captions, 0.3, **damage), turned(target, turn), 50
        ),
        zero_shot_score_law(turned(source, np.eye(d), scale), Captions(prompts, 0.3, **damage), target, 50),
        zero_shot_score_law(source, Captions(scale * prompts, 0.3 * scale**2, **damage), target, 50),
    ):
        assert (changed.dprime, changed.accuracy()) == pytest.approx(values, rel=1e-8)


def test_limits_of_the_error_share():
    k, n = 4, 100
    source, target = simplex_pair(k, 2.0, 20)
    clean = float(zero_shot_score_law(source, Captions(np.eye(k)), target, n).dprime)
    tiny = float(zero_shot_score_law(source, Captions(np.eye(k), wrong=1e-9, missing=1e-9), target, n).dprime)
    assert tiny == pytest.approx(clean, rel=1e-6)
    chance = zero_shot_score_law(source, Captions(np.eye(k), wrong=(k - 1) / k), target, n)
    assert chance.dprime == pytest.approx(0, abs=1e-12)
    assert chance.accuracy() == pytest.approx(1 / k, abs=1e-3)
    against = zero_shot_score_law(source, Captions(np.eye(k), wrong=1.0), target, 1e12)
    assert against.dprime < -1
    # Many pairs: damage that leaves some signal costs nothing at all, whatever is left.
    for captions in (
        Captions(np.eye(k), wrong=0.7),
        Captions(np.eye(k), missing=0.99),
        Captions(np.eye(k), 50.0),
    ):
        plenty = zero_shot_score_law(source, captions, target, 1e15)
        full = zero_shot_score_law(source, Captions(np.eye(k)), target, 1e15)
        assert plenty.dprime == pytest.approx(float(full.dprime), rel=1e-6)


def test_population_and_rank():
    """At rank r < K − 1 the weakest directions are lost, and with them accuracy, however many pairs there are."""
    rng = np.random.default_rng(1)
    k, d = 6, 12
    means = np.linalg.qr(rng.standard_normal((d, k)))[0].T * np.linspace(4, 1, k)[:, None]
    source, target = MulticlassSource(means), MulticlassTarget(means)
    population = population_cross_covariance(source, Captions(np.eye(k)))
    accuracies = [
        float(solve_linear_clip(population, r).zero_shot_accuracy(KEY, np.eye(k), target, 4000))
        for r in range(1, k)
    ]
    assert np.all(np.diff(accuracies) > 0)
    full = float(prototype_accuracy(KEY, means - means.mean(0), target, 4000))
    assert accuracies[-1] == pytest.approx(full, abs=0.01)


def test_float32_agrees(float32):
    source, target = simplex_pair(4, 2.0, 20)
    law = zero_shot_score_law(source, Captions(np.eye(4), 0.1, 0.2, 0.1), target, 100)
    assert law.means.dtype == jnp.float32
    x, z, labels = sample_pairs(KEY, source, Captions(np.eye(4), 0.1), 40)
    assert (x.dtype, z.dtype, labels.shape) == (jnp.float32, jnp.float32, (40,))
    assert 0 < float(law.dprime) < 4


def test_bad_input_raises_with_the_value():
    source, target = simplex_pair(3, 1.0, 4)
    with pytest.raises(ValueError, match=r"share of wrong captions must lie in \[0, 1\], got 1.5"):
        Captions(np.eye(3), wrong=1.5)
    with pytest.raises(ValueError, match=r"share of missing captions must lie in \[0, 1\], got -0.1"):
        Captions(np.eye(3), missing=-0.1)
    with pytest.raises(ValueError, match=r"finite number >= 0, got -2"):
        Captions(np.eye(3), noise=-2.0)
    with pytest.raises(ValueError, match=r"prompts must have shape \(K >= 2, q\), got \(3,\)"):
        Captions(np.ones(3))
    with pytest.raises(ValueError, match=r"one prompt for each of the 3 classes is needed, got 4"):
        zero_shot_score_law(source, Captions(np.eye(4)), target, 10)
    with pytest.raises(ValueError, match=r"num_samples must be a finite number > 0, got 0"):
        zero_shot_score_law(source, Captions(np.eye(3)), target, 0)
    with pytest.raises(ValueError, match=r"a multiple of K = 3 for fixed class counts, got 10"):
        sample_pairs(KEY, source, Captions(np.eye(3)), 10)

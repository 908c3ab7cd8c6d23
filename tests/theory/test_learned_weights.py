import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory.asymptotics import (
    asymptotics,
    hard_margin_asymptotics,
    minimum_norm_asymptotics,
    population_solution,
)
from theory.escape import square_loss_pulls
from theory.gaussian import Source, Target
from theory.learned_weights import learned_weights
from theory.losses import LOSSES

REF, SHIFT = Target([1.0, 1.0]), Target([1.0, 0.0], 1.44)


def problem(rng: np.random.Generator, d: int = 3) -> tuple[list[Source], np.ndarray, Target, Target]:
    """Two sources of different noise that both know the reference."""
    ref, shift = Target(np.ones(d)), Target(rng.standard_normal(d))
    sources = []
    while len(sources) < 2:
        mean = rng.standard_normal(d) * rng.uniform(0.5, 4)
        if mean.sum() > 0.2:
            sources.append(Source(mean, rng.uniform(0.3, 3)))
    first = rng.uniform(0.1, 0.9)
    return sources, np.asarray([first, 1 - first]), ref, shift


@pytest.mark.parametrize("loss", ["square", "logistic", "hinge"])
@pytest.mark.parametrize("num_samples", [6.0, 60.0, np.inf])
def test_the_mediant_with_learned_weights_is_the_learners_slope(loss, num_samples):
    for seed in range(4):
        sources, shares, ref, shift = problem(np.random.default_rng(seed))
        solution = asymptotics(sources, shares, num_samples, 0.05, loss)
        found = learned_weights(solution, sources, ref, shift)
        np.testing.assert_allclose(found.slope, float(solution.slope(ref, shift)), rtol=1e-5)
        assert found.noise == "isotropic"
        assert found.weights.sum() == pytest.approx(1)


def test_decreasing_losses_dilute_and_the_square_loss_need_not():
    outside = 0
    for seed in range(60):
        sources, shares, ref, shift = problem(np.random.default_rng(100 + seed))
        for loss in ("logistic", "hinge"):
            found = learned_weights(population_solution(sources, shares, 0.01, loss), sources, ref, shift)
            assert (found.pulls > 0).all()
            assert found.guarantee == "inside"
            assert found.inside, found.describe()
        ridge = learned_weights(population_solution(sources, shares, 0.01, "square"), sources, ref, shift)
        outside += not ridge.inside
        if ridge.guarantee == "inside":
            assert ridge.inside
    assert outside >= 5


def test_limits_of_interpolation_have_learned_weights_too():
    d = 40
    pad = np.zeros(d - 2)
    sources = [Source(np.r_[2.0, 0.5, pad], 1.0), Source(np.r_[0.5, 1.5, pad], 2.0)]
    ref, shift = Target(np.r_[1.0, 1.0, pad]), Target(np.r_[1.0, 0.0, pad])
    hard = hard_margin_asymptotics(sources, [0.4, 0.6], 30.0)
    found = learned_weights(hard, sources, ref, shift)
    assert found.guarantee == "inside"
    assert "its loss decreases" in found.describe()
    np.testing.assert_allclose(found.slope, float(hard.slope(ref, shift)), rtol=1e-5)
    norm = minimum_norm_asymptotics(sources, [0.4, 0.6], 20.0)
    np.testing.assert_allclose(
        learned_weights(norm, sources, ref, shift).slope, float(norm.slope(ref, shift)), rtol=1e-5
    )


@pytest.mark.parametrize("loss", ["square", "logistic"])
def test_steins_identity_by_sampling(loss):
    sources, shares, *_ = problem(np.random.default_rng(3))
    lam = 0.1
    solution = population_solution(sources, shares, lam, loss)
    mean, _ = solution.weights()
    w = np.asarray(mean)
    rng = np.random.default_rng(0)
    trials = 200_000
    left, right, error = lam, 0.0, 0.0
    for p, source in zip(shares, sources, strict=True):
        gamma = float(source.covariance)
        u = (np.asarray(source.mean) + np.sqrt(gamma) * rng.standard_normal((trials, len(w)))) @ w
        pull = -np.asarray(LOSSES[loss].derivative(jnp.asarray(u)))
        curvature = np.asarray(LOSSES[loss].curvature(jnp.asarray(u)))
        left = left + p * gamma * curvature.mean()
        right = right + p * pull.mean() * np.asarray(source.mean)
        size = np.abs(np.asarray(source.mean)) * pull.std() + gamma * np.abs(w) * curvature.std()
        error = error + (p * size) ** 2 / trials
    assert np.all(np.abs(w * left - right) <= 5 * np.sqrt(error) + 1e-9)


def test_least_squares_subtracts_exactly_when_the_sign_condition_says():
    rng = np.random.default_rng(5)
    subtracted = 0
    for _ in range(2000):
        first, second = rng.standard_normal((2, 3)) * rng.uniform(0.3, 4, (2, 1))
        gamma, p = rng.uniform(0.2, 3), rng.uniform(0.05, 0.95)
        # The population's normal equations, solved directly.
        moment = p * np.outer(first, first) + (1 - p) * np.outer(second, second) + gamma * np.eye(3)
        w = np.linalg.solve(moment, p * first + (1 - p) * second)
        negative = 1 - first @ w < 0
        assert negative == ((1 - p) * (first @ second - second @ second) > gamma)
        subtracted += negative
    assert subtracted > 50


def test_pulls_of_the_square_loss_are_one_minus_the_margin():
    sources = [Source([1.0, 6.0]), Source([1.0, 1.0])]
    solution = population_solution(sources, [0.5, 0.5], 0.001, "square")
    found = learned_weights(solution, sources, REF, SHIFT)
    np.testing.assert_allclose(found.pulls, 1 - np.asarray(solution.margins_by_source), rtol=1e-8)
    closed = np.asarray(square_loss_pulls(sources, [0.5, 0.5], 0.001))
    np.testing.assert_allclose(found.pulls / found.pulls[1], closed / closed[1], rtol=1e-6)
    assert found.guarantee == "may leave"
    assert not found.inside
    assert "source 1 is fitted beyond its label" in found.describe()


def test_common_noise_without_penalty_is_the_same_after_whitening():
    gamma = np.asarray([[2.0, 0.6], [0.6, 0.5]])
    sources = [Source([1.0, 0.3], gamma), Source([0.2, 0.8], gamma)]
    for loss in ("square", "logistic"):
        solution = population_solution(sources, [0.3, 0.7], 0.0, loss)
        found = learned_weights(solution, sources, REF, SHIFT)
        assert found.noise == "common, unregularised"
        np.testing.assert_allclose(found.slope, float(solution.slope(REF, SHIFT)), rtol=1e-5)
        for index, own in enumerate(sources):
            alone = population_solution([own], [1.0], 0.0, loss).slope(REF, SHIFT)
            np.testing.assert_allclose(found.source_slopes[index], float(alone), rtol=1e-5)


def test_noise_of_different_shapes_promises_nothing():
    sources = [
        Source([2.0, 0.0, 1.0], np.asarray([1.0, 9.0, 1.0])),
        Source([0.0, 2.0, 1.0], np.asarray([9.0, 1.0, 1.0])),
    ]
    ref, shift = Target([0.5, 0.5, 1.0]), Target([0.5, 0.5, 0.0])
    found = learned_weights(population_solution(sources, [0.5, 0.5], 0.01, "logistic"), sources, ref, shift)
    assert found.guarantee == "not a mediant"
    assert "no mediant" in found.describe()
    assert found.slope < 0.25  # below both sources, whose slopes are 1/2


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), angle=st.floats(0, 6.28), turn=st.booleans())
def test_rotation_and_order_of_sources_change_nothing(seed, angle, turn):
    rng = np.random.default_rng(seed)
    sources, shares, ref, shift = problem(rng, 2)
    rotation = np.asarray([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    def moved(kind, item):
        return kind(rotation @ np.asarray(item.mean), item.covariance)

    before = learned_weights(population_solution(sources, shares, 0.1, "logistic"), sources, ref, shift)
    order = [1, 0] if turn else [0, 1]
    turned = [moved(Source, sources[i]) for i in order]
    after = learned_weights(
        population_solution(turned, shares[order], 0.1, "logistic"),
        turned,
        moved(Target, ref),
        moved(Target, shift),
    )
    np.testing.assert_allclose(after.weights, before.weights[order], atol=1e-7)
    np.testing.assert_allclose(after.slope, before.slope, rtol=1e-6, atol=1e-9)


def test_bad_input_is_named():
    sources = [Source([1.0, 0.3]), Source([0.2, 0.8])]
    batch = population_solution(sources, [[0.3, 0.7], [0.5, 0.5]], 0.1, "square")
    with pytest.raises(ValueError, match="takes one setting"):
        learned_weights(batch, sources, REF, SHIFT)
    one = population_solution(sources, [0.3, 0.7], 0.1, "square")
    with pytest.raises(ValueError, match="has 2 sources, got 1"):
        learned_weights(one, sources[:1], REF, SHIFT)
    with pytest.raises(ValueError, match="proportional"):
        learned_weights(one, sources, REF, Target([1.0, 0.0], np.asarray([1.0, 4.0])))

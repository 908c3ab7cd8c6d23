"""The closed form of linear CLIP against an optimiser of the true loss, and its zero-shot classifier against averaging."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from multiclass_cases import random_classes
from scipy.optimize import minimize
from scipy.stats import ortho_group

from theory.linear_clip import (
    cross_covariance,
    linear_clip_objective,
    linear_contrastive_loss,
    solve_linear_clip,
    truncated_prototypes,
)
from theory.multiclass import MulticlassTarget
from theory.multiclass_scores import prototype_accuracy

KEY = jax.random.key(31)


def random_pairs(seed, n=40, d=7, q=5):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)) + 2
    return x, x @ rng.standard_normal((d, q)) + rng.standard_normal((n, q)) - 1


def test_cross_covariance_is_numpys():
    x, z = random_pairs(0)
    np.testing.assert_allclose(cross_covariance(x, z), np.cov(x.T, z.T)[:7, 7:], rtol=1e-12)
    both = cross_covariance(np.stack([x, 2 * x]), np.stack([z, z]))
    np.testing.assert_allclose(both[1], 2 * both[0], rtol=1e-12)


def test_contrastive_loss_is_minus_the_trace():
    """Written out over pairs, with the 1/(n − 1) of the covariance coming from the n(n − 1) wrong pairs."""
    x, z = random_pairs(1, n=9)
    g = np.random.default_rng(2).standard_normal((7, 5))
    naive = 0.0
    for i in range(9):
        naive -= x[i] @ g @ z[i] / 9
        for j in range(9):
            if i != j:
                # Half from images to captions, half from captions to images.
                naive += 0.5 * (x[i] @ g @ z[j] + x[j] @ g @ z[i]) / (9 * 8)
    assert linear_contrastive_loss(x @ g @ z.T) == pytest.approx(naive, rel=1e-12)
    assert naive == pytest.approx(-np.sum(g * np.asarray(cross_covariance(x, z))), rel=1e-10)
    ridge = linear_clip_objective(g, cross_covariance(x, z), 0.3)
    assert ridge == pytest.approx(naive + 0.15 * np.sum(g**2), rel=1e-10)


@pytest.mark.parametrize("rank", [1, 3, 5])
def test_closed_form_against_an_optimiser_of_the_encoders(rank):
    """L-BFGS on the contrastive loss of all n² pairs plus the ridge, over encoders A and B, from random starts."""
    x, z = random_pairs(3)
    weight = 0.7

    def objective(flat):
        a, b = flat[: rank * 7].reshape(rank, 7), flat[rank * 7 :].reshape(rank, 5)
        scores = (x @ a.T) @ (z @ b.T).T
        return linear_contrastive_loss(scores) + 0.5 * weight * jnp.sum((a.T @ b) ** 2)

    value_and_grad = jax.jit(jax.value_and_grad(objective))
    model = solve_linear_clip(cross_covariance(x, z), rank, weight)
    a, b = model.encoders
    np.testing.assert_allclose(a.T @ b, model.matrix, atol=1e-12)
    best = float(objective(jnp.concatenate([a.ravel(), b.ravel()])))
    assert best == pytest.approx(float(linear_clip_objective(model.matrix, cross_covariance(x, z), weight)))
    found = []
    for seed in range(3):
        start = 0.3 * np.random.default_rng(seed).standard_normal(12 * rank)
        result = minimize(
            lambda v: tuple(np.asarray(u, np.float64) for u in value_and_grad(v)),
            start,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 3000, "ftol": 1e-15, "gtol": 1e-9},
        )
        assert result.fun >= best - 1e-9 * abs(best)
        found.append((result.fun, result.x))
    value, flat = min(found, key=lambda pair: pair[0])
    assert value == pytest.approx(best, rel=1e-8)
    learned = flat[: rank * 7].reshape(rank, 7).T @ flat[rank * 7 :].reshape(rank, 5)
    np.testing.assert_allclose(learned, model.matrix, atol=1e-4 * np.abs(model.matrix).max())
    assert model.is_unique
    assert model.rank == rank


def test_a_tie_is_raised_or_flagged_and_really_is_one():
    c = np.diag([3.0, 2.0, 2.0, 1.0])[:, :4]
    assert solve_linear_clip(c, 1).gap == pytest.approx(1.0)
    assert solve_linear_clip(c, 3).is_unique
    with pytest.raises(ValueError, match=r"rank 2 cuts through equal singular values \(σ_2 = 2"):
        solve_linear_clip(c, 2)
    model = solve_linear_clip(c, 2, on_tie="flag")
    assert not model.is_unique
    assert model.gap == pytest.approx(0.0, abs=1e-12)
    other = np.diag([3.0, 0.0, 2.0, 0.0])
    assert linear_clip_objective(other, c) == pytest.approx(float(linear_clip_objective(model.matrix, c)))
    # Equal singular values of 0 are no tie: all optima are the same matrix.
    low = np.diag([3.0, 2.0, 0.0, 0.0])
    model = solve_linear_clip(low, 3)
    assert model.is_unique
    np.testing.assert_allclose(model.matrix, low, atol=1e-12)


def test_scores_prototypes_and_laws_of_rotation_and_scale():
    x, z = random_pairs(4)
    model = solve_linear_clip(cross_covariance(x, z), 2, 0.5)
    g = np.asarray(model.matrix)
    np.testing.assert_allclose(model.pair_scores(x, z), np.einsum("nd,dq,nq->n", x, g, z), rtol=1e-10)
    prompts = np.random.default_rng(5).standard_normal((3, 5))
    np.testing.assert_allclose(model.zero_shot_scores(x, prompts), x @ g @ prompts.T, rtol=1e-9)
    np.testing.assert_array_equal(model.classify(x, prompts), (x @ g @ prompts.T).argmax(1))
    turn, turn_captions = ortho_group.rvs(7, random_state=1), ortho_group.rvs(5, random_state=2)
    rotated = solve_linear_clip(cross_covariance(x @ turn, z @ turn_captions), 2, 0.5)
    np.testing.assert_allclose(rotated.matrix, turn.T @ g @ turn_captions, atol=1e-9)
    scaled = solve_linear_clip(cross_covariance(3 * x + 1, z), 2, 2.0)
    np.testing.assert_allclose(scaled.matrix, 0.75 * g, atol=1e-9)
    cut = truncated_prototypes(jnp.stack([cross_covariance(x, z)] * 2), jnp.asarray(prompts), [2, 5])
    np.testing.assert_allclose(cut[0, 1], 0.5 * model.prototypes(prompts), atol=1e-9)
    np.testing.assert_allclose(cut[1, 0], prompts @ np.asarray(cross_covariance(x, z)).T, atol=1e-9)


def test_full_rank_is_the_averaging_classifier_pathwise_for_orthonormal_prompts_and_balanced_classes():
    rng = np.random.default_rng(6)
    k, d, n = 4, 10, 24
    target = random_classes(rng, MulticlassTarget, "full", k, d)
    labels = np.arange(n) % k
    x = np.asarray(target.means)[labels] + rng.standard_normal((n, d))
    prompts = ortho_group.rvs(6, random_state=3)[:k]
    model = solve_linear_clip(cross_covariance(x, prompts[labels]))
    averages = np.stack([x[labels == c].mean(0) for c in range(k)])
    wanted = (n / (n - 1) / k) * (averages - averages.mean(0))
    np.testing.assert_allclose(model.prototypes(prompts), wanted, atol=1e-12)
    images = rng.standard_normal((2000, d)) * 3
    np.testing.assert_array_equal(model.classify(images, prompts), (images @ averages.T).argmax(1))
    # The centred class means have rank K − 1, so a rank of K − 1 is enough.
    np.testing.assert_allclose(
        solve_linear_clip(cross_covariance(x, prompts[labels]), k - 1).prototypes(prompts), wanted, atol=1e-12
    )
    first = model.zero_shot_accuracy(KEY, prompts, target, 20_000)
    second = prototype_accuracy(jax.random.fold_in(KEY, 1), averages, target, 20_000)
    assert abs(first - second) < 5 * np.sqrt(2 * 0.25 / 20_000)


def test_in_general_it_is_smoothed_by_the_prompts_and_weighted_by_frequency():
    rng = np.random.default_rng(7)
    labels = np.repeat(np.arange(3), [2, 5, 9])
    x, prompts = rng.standard_normal((16, 6)), rng.standard_normal((3, 4))
    model = solve_linear_clip(cross_covariance(x, prompts[labels]))
    wanted = np.zeros((3, 6))
    for k in range(3):
        for j in range(3):
            shift = x[labels == j].mean(0) - x.mean(0)
            wanted[k] += (labels == j).sum() / 15 * (prompts[j] @ prompts[k]) * shift
    np.testing.assert_allclose(model.prototypes(prompts), wanted, atol=1e-12)


def test_float32_agrees(float32):
    x, z = (v.astype(np.float32) for v in random_pairs(8))
    model = solve_linear_clip(cross_covariance(x, z), 2)
    assert model.matrix.dtype == jnp.float32
    u, s, vt = np.linalg.svd(np.cov(x.T, z.T)[:7, 7:])
    np.testing.assert_allclose(model.matrix, (u[:, :2] * s[:2]) @ vt[:2], atol=1e-4)
    with pytest.raises(ValueError, match=r"cuts through equal singular values"):
        solve_linear_clip(np.eye(3, dtype=np.float32), 2)


def test_bad_input_raises_with_the_value():
    with pytest.raises(ValueError, match=r"got \(1, 3\) and \(1, 2\)"):
        cross_covariance(np.ones((1, 3)), np.ones((1, 2)))
    with pytest.raises(ValueError, match=r"got \(4, 3\) and \(5, 2\)"):
        cross_covariance(np.ones((4, 3)), np.ones((5, 2)))
    with pytest.raises(ValueError, match=r"n >= 2, got \(3, 2\)"):
        linear_contrastive_loss(np.ones((3, 2)))
    c = np.diag([3.0, 2.0])
    with pytest.raises(ValueError, match=r"rank must lie between 1 and min\(d, q\) = 2, got 3"):
        solve_linear_clip(c, 3)
    with pytest.raises(ValueError, match=r"regularisation must be > 0, got 0"):
        solve_linear_clip(c, 1, 0)
    with pytest.raises(ValueError, match=r"finite numbers, got shape \(2,\)"):
        solve_linear_clip([1.0, 2.0])
    with pytest.raises(ValueError, match=r"finite numbers"):
        solve_linear_clip([[1.0, np.nan]])

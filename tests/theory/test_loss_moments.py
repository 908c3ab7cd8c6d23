"""Gaussian moments of the pull against adaptive quadrature of their definition."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from theory import loss_moments
from theory.loss_moments import largest_length
from theory.losses import LOSSES

# Compiled: one program for each learner and number of nodes instead of one for every operation.
moments = jax.jit(loss_moments.moments, static_argnums=(0, 4))
CASES = [(-2.0, 0.3, 0.2), (0.4, 1.0, 0.7), (0.9, 4.0, 12.0), (2.5, 0.05, 3.0), (1.0, 9.0, 1e-3)]
prox = jax.jit(
    lambda learner, omega, v: LOSSES[learner].prox(jnp.asarray(omega), jnp.asarray(v)), static_argnums=0
)
LEARNERS = ("square", "logistic", "hinge", "minimum_norm", "hard_margin")


def reference(learner: str, m: float, q: float, v: float) -> list[float]:
    """F and x by adaptive quadrature, with the kinks told to it."""

    def pull(z):
        omega = m + np.sqrt(q) * z
        if learner == "minimum_norm":
            return (1 - omega) / v
        if learner == "hard_margin":
            return max(omega, 1.0) / v - omega / v
        return (float(prox(learner, omega, v)) - omega) / v

    kinks = [(1 - m) / np.sqrt(q), (1 - v - m) / np.sqrt(q)]
    ends = [-9.0, *sorted(k for k in kinks if -9 < k < 9), 9.0]
    weight = 1 / np.sqrt(2 * np.pi)
    return [
        sum(
            quad(lambda z, k=k: pull(z) ** k * weight * np.exp(-z * z / 2), a, b, epsabs=1e-10, limit=60)[0]
            for a, b in itertools.pairwise(ends)
        )
        for k in (1, 2)
    ]


@pytest.mark.parametrize("learner", ["hinge", "minimum_norm", "hard_margin"])
def test_moments_are_those_of_the_definition(learner):
    for case in CASES:
        mean, _, square = (float(x) for x in moments(learner, *map(jnp.asarray, case), 128))
        np.testing.assert_allclose([mean, square], reference(learner, *case), rtol=2e-8, atol=1e-10)


def test_logistic_moments_are_those_of_the_definition():
    for case in CASES[:3]:
        mean, _, square = (float(x) for x in moments("logistic", *map(jnp.asarray, case), 128))
        np.testing.assert_allclose([mean, square], reference("logistic", *case), rtol=1e-8)


def test_the_curvature_is_minus_the_slope_of_the_mean_pull():
    m, q, v = (jnp.asarray(x) for x in zip(*CASES, strict=True))
    for learner in LEARNERS:
        nodes = 512  # q = 9 needs more than the default
        slope = jax.jit(jax.vmap(jax.grad(lambda *x: moments(learner, *x, nodes)[0])))(m, q, v)  # noqa: B023
        np.testing.assert_allclose(moments(learner, m, q, v, nodes)[1], -slope, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("num_nodes", [128, 256, 512])
def test_the_trapezoidal_rule_is_as_fine_as_it_says(num_nodes):
    q = jnp.full(4, largest_length(num_nodes))
    v, m = jnp.asarray([0.0, 0.1, 3.0, 100.0]), jnp.asarray([1.3, -2.0, 0.5, 4.0])
    coarse, fine = moments("logistic", m, q, v, num_nodes), moments("logistic", m, q, v, 8192)
    np.testing.assert_allclose(coarse, fine, atol=2e-9)
    longer = moments("logistic", m, 16 * q, v, num_nodes)
    assert np.abs(np.asarray(longer) - np.asarray(moments("logistic", m, 16 * q, v, 8192))).max() > 1e-6


def test_narrow_and_wide_hinges_meet():
    m, q = jnp.asarray([0.2, 1.0, 1.7]), jnp.asarray([0.5, 2.0, 1.0])
    edge = 0.5 * jnp.sqrt(q)
    for below, above in zip(
        moments("hinge", m, q, edge * (1 - 1e-9), 128), moments("hinge", m, q, edge, 128), strict=True
    ):
        np.testing.assert_allclose(below, above, rtol=1e-8)
    # V = 0, the population: the pull is 1 below the kink, ℓ″ a delta function there.
    mean, curvature, square = moments("hinge", m, q, jnp.zeros(3), 128)
    z = (1 - m) / jnp.sqrt(q)
    np.testing.assert_allclose(mean, jax.scipy.stats.norm.cdf(z), rtol=1e-13)
    np.testing.assert_allclose(square, mean, rtol=1e-13)
    np.testing.assert_allclose(curvature, jax.scipy.stats.norm.pdf(z) / jnp.sqrt(q), rtol=1e-13)

"""The three forms of a covariance against dense matrices, one law list for all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_cases import FORMS, dense, random_covariance

from theory import covariance as cov

D = 4


@pytest.fixture(params=FORMS)
def first(request):
    return cov.validate_covariance(random_covariance(np.random.default_rng(0), request.param, D), D)


@pytest.fixture(params=FORMS)
def second(request):
    return cov.validate_covariance(random_covariance(np.random.default_rng(1), request.param, D), D)


def test_every_operation_equals_its_dense_twin(first, second):
    rng = np.random.default_rng(2)
    u, v = jnp.asarray(rng.standard_normal((2, 5, D)))
    a, b = dense(first, D), dense(second, D)
    np.testing.assert_allclose(cov.apply(first, u), u @ a, rtol=1e-12)
    np.testing.assert_allclose(cov.quadratic_form(first, u, v), np.sum(u @ a * v, -1), rtol=1e-12)
    np.testing.assert_allclose(cov.quadratic_form(first, u), np.sum(u @ a * u, -1), rtol=1e-12)
    np.testing.assert_allclose(cov.as_matrix(first, D), a, rtol=1e-12)
    np.testing.assert_allclose(cov.trace(first, D), np.trace(a), rtol=1e-12)
    np.testing.assert_allclose(cov.trace_product(first, second, D), np.trace(a @ b), rtol=1e-12)
    np.testing.assert_allclose(
        cov.trace_squared_product(first, second, D), np.trace(a @ b @ a @ b), rtol=1e-12
    )
    np.testing.assert_allclose(dense(cov.add(first, second, D), D), a + b, rtol=1e-12)
    total = cov.weighted_sum(jnp.array([0.3, 0.7]), (first, second), D)
    np.testing.assert_allclose(dense(total, D), 0.3 * a + 0.7 * b, rtol=1e-12)


def test_proportionality_across_forms(first):
    for other in (2.25 * first, 2.25 * cov.as_matrix(first, D)):
        assert cov.proportionality(first, other, D) == pytest.approx(2.25, rel=1e-12)
    bent = cov.as_matrix(first, D).at[0, 0].multiply(1 + 1e-6)
    assert cov.proportionality(first, bent, D) is None
    with pytest.raises(ValueError, match="cannot be decided inside jit"):
        jax.jit(lambda c: cov.proportionality(c, c, D))(first)
    with pytest.raises(ValueError, match="0"):
        cov.proportionality(0 * first, first, D)


def test_samples_have_this_covariance(first):
    noise = np.asarray(cov.sample(jax.random.key(0), first, (40_000, D)))
    a = dense(first, D)
    error = np.sqrt((np.outer(np.diag(a), np.diag(a)) + a**2) / len(noise))
    assert np.all(np.abs(noise.T @ noise / len(noise) - a) < 4.5 * error)


def test_a_singular_covariance_is_allowed():
    singular = cov.validate_covariance(np.ones((2, 2)), 2)
    noise = np.asarray(cov.sample(jax.random.key(0), singular, (10, 2)))
    np.testing.assert_allclose(noise[:, 0], noise[:, 1], atol=1e-7)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-1.0, r"every variance in noise must be >= 0, got -1.0"),
        ([1.0, -2.0], r"must be >= 0, got -2.0"),
        ([1.0, np.nan], r"finite, got nan"),
        ([1.0, 2.0, 3.0], r"must have shape \(\), \(2,\) or \(2, 2\), got \(3,\)"),
        ([[1.0, 0.5], [0.0, 1.0]], r"symmetric, got entries that differ by 0.5"),
        ([[1.0, 2.0], [2.0, 1.0]], r"eigenvalue of noise must be >= 0, got -1"),
    ],
)
def test_bad_covariances_raise_with_the_value(value, message):
    with pytest.raises(ValueError, match=message):
        cov.validate_covariance(value, 2, "noise")

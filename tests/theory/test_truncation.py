import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erfcx

from theory.truncation import hazard, hazard_gap, variance_reduction

THRESHOLDS = np.r_[-30.0, -8.0, np.linspace(-5, 5.999, 40), 6.0, 6.001, np.geomspace(7, 1e6, 30)]


def test_hazard_is_the_reciprocal_of_mills_ratio():
    expected = np.sqrt(2 / np.pi) / erfcx(THRESHOLDS[THRESHOLDS > -20] / np.sqrt(2))
    np.testing.assert_allclose(hazard(THRESHOLDS[THRESHOLDS > -20]), expected, rtol=1e-12)


def test_gap_keeps_its_digits_where_the_difference_loses_them():
    t = np.geomspace(40, 1e6, 20)
    np.testing.assert_allclose(hazard_gap(t), 1 / t - 2 / t**3 + 10 / t**5 - 74 / t**7, rtol=1e-9)
    below = THRESHOLDS[np.abs(THRESHOLDS) < 8]
    np.testing.assert_allclose(hazard_gap(below), np.asarray(hazard(below)) - below, rtol=1e-11)


def test_variance_reduction_rises_from_nothing_to_everything():
    values = np.asarray(variance_reduction(THRESHOLDS))
    assert (np.diff(values) > 0).all()
    assert ((values >= 0) & (values < 1)).all()
    np.testing.assert_array_equal(variance_reduction(np.asarray([-np.inf, np.inf])), [0.0, 1.0])


def test_moments_of_a_truncated_normal_sample():
    draws = np.random.default_rng(3).standard_normal(400_000)
    for t in (-1.0, 0.5, 1.7):
        kept = draws[draws >= t]
        error = kept.std() / np.sqrt(len(kept))
        assert abs(kept.mean() - hazard(t)) < 4 * error
        spread = np.sqrt(
            (kept - kept.mean()).var() ** 2 * 6 / len(kept)
        )  # kurtosis of the tail stays below 9
        assert abs(kept.var() - (1 - variance_reduction(t))) < 4 * spread


@pytest.mark.parametrize("t", [-4.0, 0.3, 5.9, 6.1, 50.0])
def test_derivative_of_the_hazard(t):
    np.testing.assert_allclose(jax.grad(hazard)(t), variance_reduction(t), rtol=1e-12)
    step = 1e-4
    numeric = (hazard(t + step) - hazard(t - step)) / (2 * step)
    np.testing.assert_allclose(numeric, variance_reduction(t), rtol=1e-5)


def test_infinite_and_integer_thresholds():
    np.testing.assert_array_equal(hazard(np.asarray([-np.inf, np.inf])), [0.0, np.inf])
    assert hazard_gap(np.inf) == 0
    assert hazard(1) == hazard(1.0)


def test_single_precision_stays_accurate(float32):
    t = jnp.asarray([-3.0, 0.0, 5.0, 100.0, 1e4], dtype=jnp.float32)
    assert hazard(t).dtype == jnp.float32
    expected = 1 - variance_reduction(t[3:])
    np.testing.assert_allclose(hazard(t[3:]), t[3:], rtol=2e-4)
    np.testing.assert_allclose(hazard_gap(t[3:]), [0.01 - 2e-6, 1e-4], rtol=1e-4)
    assert (expected >= 0).all()

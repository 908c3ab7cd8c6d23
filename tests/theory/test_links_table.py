"""Many accuracies at one K take a table: the same numbers as one by one."""

import jax.numpy as jnp
import numpy as np
import pytest

from theory import dprime
from theory.links_table import dprime_by_table, link_table


def accuracies(least, number=700):
    rng = np.random.default_rng(0)
    logit = rng.uniform(np.log(least), -np.log(least), number)
    return np.r_[least, 1 - least, 1 / (1 + np.exp(-logit))].clip(least, 1 - least)


@pytest.mark.parametrize("num_classes", [2, 1000, 100_000])
def test_the_table_is_accurate_to_1e_9(num_classes):
    for least in (1e-9, 1e-4, 0.3):
        values = accuracies(least)
        one_by_one = dprime(values, np.full(values.shape, num_classes))  # K of its own for each: no table
        np.testing.assert_allclose(dprime(values, num_classes), one_by_one, atol=1e-9, rtol=0)


def test_far_tails_are_left_to_newton():
    values = np.r_[1e-200, accuracies(1e-4)]
    np.testing.assert_array_equal(dprime(values, 10), dprime(values, np.full(values.shape, 10)))


def test_shapes_ends_and_missing_values():
    values = np.r_[0.0, 1.0, np.nan, accuracies(1e-3)][:700].reshape(7, 100)
    found = np.asarray(dprime(values, 50))
    assert found.shape == (7, 100)
    np.testing.assert_array_equal(found[0, :3], [-np.inf, np.inf, np.nan])
    assert np.isfinite(found.ravel()[3:]).all()
    np.testing.assert_allclose(dprime(np.full(600, 0.7), 50), float(dprime(0.7, 50)), atol=1e-9)
    np.testing.assert_array_equal(dprime(np.ones(600), 50), np.inf)


def test_float32(float32):
    values = accuracies(1e-3).astype(np.float32)
    found = dprime(values, 1000)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, dprime(values, np.full(values.shape, 1000)), atol=2e-5)


def test_bad_values_are_named():
    with pytest.raises(ValueError, match=r"fraction in \[0, 1\], got 1\.5"):
        dprime(np.full(600, 1.5), 10)
    with pytest.raises(ValueError, match=r"num_classes must be a number >= 2, got 1"):
        dprime(np.full(600, 0.5), 1)


def test_the_table_is_monotone():
    values = np.sort(accuracies(1e-6))
    found = np.asarray(dprime_by_table(jnp.asarray(values), 1000.0), np.float64)
    assert (found[1:] >= found[:-1]).all()


def test_one_table_serves_all_calls_for_the_same_classes():
    first = link_table(77.0, jnp.dtype("float64"))
    assert link_table(77.0, jnp.dtype("float64")) is first
    assert np.isfinite(first.probits).all()
    assert (np.diff(first.probits) > 0).all()

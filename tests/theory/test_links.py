"""Links against high-precision references, their laws, derivatives and edges."""

from typing import Any

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri

from theory import dprime, dprime_inverse, probit, probit_inverse

CLASSES = np.unique(np.geomspace(2, 100_000, 25).astype(int))
TAILS = np.geomspace(1e-6, 0.5, 40)
ACCURACIES = np.concatenate([TAILS, 1 - TAILS])


def exact_tail(m: float, num_classes: int, upper: bool) -> Any:
    """1 - A_K(m) or A_K(m) by adaptive quadrature with 20 digits; neither tail cancels."""
    others = num_classes - 1

    def kept(z):
        return mpmath.npdf(z - m) * mpmath.ncdf(z) ** others

    def lost(z):
        return mpmath.npdf(z - m) * -mpmath.expm1(others * mpmath.log1p(-mpmath.ncdf(-z)))

    return mpmath.quad(lost if upper else kept, [m + x for x in range(-12, 13, 3)])


@pytest.mark.parametrize("num_classes", [2, 10, 1000, 100_000])
def test_dprime_is_accurate_to_1e_8_against_mpmath(num_classes):
    for accuracy in (1e-6, 0.3, 1 - 1e-6):
        found = float(dprime(accuracy, num_classes))
        upper = accuracy > 0.5
        with mpmath.workdps(20):
            wanted = 1 - mpmath.mpf(accuracy) if upper else mpmath.mpf(accuracy)
            miss = abs(float(exact_tail(found, num_classes, upper) - wanted))
        density = float(jax.grad(lambda m: dprime_inverse(m, num_classes))(found))
        assert miss / density < 1e-8


def test_round_trip_over_the_whole_stated_range():
    d = dprime(ACCURACIES[:, None], CLASSES[None])
    back = dprime_inverse(d, CLASSES[None])
    tail = np.minimum(ACCURACIES, 1 - ACCURACIES)[:, None]
    np.testing.assert_allclose(np.minimum(back, 1 - back), np.broadcast_to(tail, back.shape), rtol=1e-8)
    np.testing.assert_allclose(dprime(back, CLASSES[None]), d, atol=1e-8, rtol=0)


def test_far_tails_stay_finite_and_consistent():
    tails = np.array([1e-250, 1e-100, 1e-30, 1e-12])
    d = dprime(tails[:, None], CLASSES[None])
    np.testing.assert_allclose(
        dprime_inverse(d, CLASSES[None]), np.broadcast_to(tails[:, None], d.shape), rtol=1e-9
    )
    nearly_one = 1 - np.finfo(float).eps
    assert np.isfinite(np.asarray(dprime(nearly_one, CLASSES))).all()


def test_check_values():
    assert float(dprime_inverse(0.0, 1000)) == pytest.approx(1e-3, abs=1e-15)
    assert float(dprime_inverse(1.0, 2)) == pytest.approx(0.760249938906524, abs=2e-15)
    np.testing.assert_allclose(dprime(1 / CLASSES, CLASSES), 0, atol=1e-12)
    np.testing.assert_allclose(dprime(ACCURACIES, 2), np.sqrt(2) * ndtri(ACCURACIES), atol=1e-12)


def test_dprime_inverse_agrees_with_a_sampled_forced_choice():
    rng = np.random.default_rng(0)
    trials, m, num_classes = 200_000, 1.3, 12
    others = rng.standard_normal((trials, num_classes - 1)).max(1)
    share = np.mean(m + rng.standard_normal(trials) > others)
    expected = float(dprime_inverse(m, num_classes))
    assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / trials)


def test_probit_against_scipy():
    np.testing.assert_allclose(probit(ACCURACIES), ndtri(ACCURACIES), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(probit_inverse(probit(ACCURACIES)), ACCURACIES, rtol=1e-12)


def test_zero_and_one_have_infinite_links():
    for link in (probit, lambda x: dprime(x, 7)):
        np.testing.assert_array_equal(link(np.array([0.0, 1.0])), [-np.inf, np.inf])
    np.testing.assert_array_equal(dprime_inverse(np.array([-np.inf, np.inf]), 7), [0, 1])
    np.testing.assert_array_equal(probit_inverse(np.array([-np.inf, np.inf])), [0, 1])
    assert np.isnan(dprime(np.nan, 7))


@pytest.mark.parametrize("value", [-0.1, 1.0000001, np.inf])
def test_accuracy_outside_the_unit_interval_raises_with_its_value(value):
    for link in (probit, lambda x: dprime(x, 7)):
        with pytest.raises(ValueError, match=r"fraction in \[0, 1\], got") as caught:
            link(np.array([0.5, value]))
        assert str(np.float64(value)) in str(caught.value)


@pytest.mark.parametrize("num_classes", [1, 0, np.nan, np.inf])
def test_fewer_than_two_classes_raise(num_classes):
    for link in (dprime, dprime_inverse):
        with pytest.raises(ValueError, match="num_classes must be a number >= 2, got"):
            link(0.5, num_classes)


def test_under_jit_bad_values_become_not_a_number_and_good_ones_stay():
    out = jax.jit(dprime)(jnp.array([0.3, 1.2, -1.0, 0.3]), jnp.array([10, 10, 10, 1]))
    np.testing.assert_array_equal(np.isnan(out), [False, True, True, True])
    assert out[0] == pytest.approx(float(dprime(0.3, 10)), abs=1e-13)
    assert np.isnan(jax.jit(probit)(1.5))


def test_vmap_broadcasting_and_python_inputs_agree():
    accuracies, classes = np.array([0.2, 0.5, 0.9]), np.array([5, 50])
    table = dprime(accuracies[:, None], classes)
    assert table.shape == (3, 2)
    mapped = jax.vmap(lambda a: jax.vmap(lambda k: dprime(a, k))(jnp.asarray(classes)))(
        jnp.asarray(accuracies)
    )
    np.testing.assert_allclose(mapped, table, atol=1e-13)
    np.testing.assert_allclose(dprime([0.2, 0.5, 0.9], 5), table[:, 0], atol=1e-13)
    assert dprime(0.2, 5).shape == ()
    assert dprime(np.zeros((0, 3)), 5).shape == (0, 3)


@pytest.mark.parametrize("num_classes", [2, 20, 1000, 100_000])
def test_derivatives_follow_the_implicit_function(num_classes):
    def forward(m):
        return dprime_inverse(m, num_classes)

    def backward(a):
        return dprime(a, num_classes)

    for accuracy in (1e-5, 0.1, 0.6, 0.9999):
        m = float(backward(accuracy))
        step = 1e-4
        five_point = (
            8 * (float(forward(m + step)) - float(forward(m - step)))
            - (float(forward(m + 2 * step)) - float(forward(m - 2 * step)))
        ) / (12 * step)
        density = jax.grad(forward)(m)
        assert density == pytest.approx(five_point, rel=1e-6)
        assert jax.grad(backward)(accuracy) * density == pytest.approx(1, rel=1e-9)
    second = jax.grad(jax.grad(backward))(0.3)
    numeric = (jax.grad(backward)(0.3 + 1e-5) - jax.grad(backward)(0.3 - 1e-5)) / 2e-5
    assert second == pytest.approx(float(numeric), rel=1e-6)
    assert jax.jit(jax.vmap(jax.grad(backward)))(jnp.array([0.3]))[0] == pytest.approx(
        float(jax.grad(backward)(0.3))
    )


def test_derivative_for_two_classes_is_the_closed_form():
    m = np.linspace(-4, 4, 9)
    density = jax.vmap(jax.grad(lambda x: dprime_inverse(x, 2)))(jnp.asarray(m))
    np.testing.assert_allclose(density, np.exp(-(m**2) / 4) / np.sqrt(4 * np.pi), rtol=1e-12)


@given(
    accuracy=st.floats(1e-6, 1 - 1e-6),
    larger=st.floats(1e-6, 1 - 1e-6),
    num_classes=st.integers(2, 100_000),
)
@settings(max_examples=60)
def test_dprime_is_monotone_in_accuracy_and_in_classes(accuracy, larger, num_classes):
    low, high = sorted((accuracy, larger))
    d = np.asarray(dprime(np.array([low, high]), num_classes))
    assert d[0] <= d[1]
    more = np.asarray(dprime(np.array([low, high]), num_classes + 1))
    assert np.all(more >= d - 1e-12)


def test_a_hundred_thousand_accuracies_fit_in_one_call():
    accuracies = np.linspace(1e-6, 1 - 1e-6, 100_000)
    d = np.asarray(dprime(accuracies, 1000))
    assert np.all(np.diff(d) > 0)
    np.testing.assert_allclose(dprime_inverse(d, 1000), accuracies, rtol=1e-8)


def test_float32_keeps_its_precision(float32):
    accuracies = np.concatenate([TAILS, 1 - np.geomspace(1e-3, 0.5, 20)]).astype(np.float32)
    d = dprime(accuracies[:, None], CLASSES[None])
    assert d.dtype == jnp.float32
    back = dprime_inverse(d, CLASSES[None])
    np.testing.assert_allclose(back, np.broadcast_to(accuracies[:, None], back.shape), rtol=2e-5)
    with jax.enable_x64(True):
        exact = dprime(accuracies.astype(np.float64)[:, None], CLASSES[None])
    np.testing.assert_allclose(d, exact, atol=5e-6)

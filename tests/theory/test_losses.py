"""Proximal operators of the losses against their definition, and the logistic one where plain Newton fails."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory.losses import HINGE, LOGISTIC, LOSSES, SQUARE, prox_residual

OMEGAS = jnp.concatenate([jnp.linspace(-3000, 3000, 601), jnp.linspace(-40, 40, 801)])[:, None]
SCALES = jnp.concatenate([jnp.zeros(1), jnp.logspace(-8, 8, 49)])


def test_logistic_prox_solves_its_equation_everywhere():
    residual = jax.jit(lambda omega, scale: prox_residual(LOGISTIC, omega, scale).max())
    assert float(residual(OMEGAS, SCALES)) < 1e-14
    # Newton started at ω cycles near V = 29 (ω very negative): the residual would be of order 1 there.
    assert float(residual(jnp.linspace(-60, 5, 2001)[:, None], jnp.linspace(25, 40, 61))) < 1e-14


@pytest.mark.usefixtures("float32")
def test_logistic_prox_in_single_precision():
    residual = prox_residual(LOGISTIC, OMEGAS.astype(jnp.float32), SCALES.astype(jnp.float32))
    assert residual.dtype == jnp.float32
    assert float(residual.max()) < 1e-6


@given(omega=st.floats(-30, 30), log_scale=st.floats(-6, 6), name=st.sampled_from(sorted(LOSSES)))
@settings(max_examples=60)
def test_prox_minimises_its_objective(omega, log_scale, name):
    loss, scale = LOSSES[name], 10.0**log_scale
    h = float(loss.prox(jnp.asarray(omega), jnp.asarray(scale)))

    def objective(u):
        return np.asarray(loss.value(jnp.asarray(u))) + (u - omega) ** 2 / (2 * scale)

    steps = np.concatenate([-np.logspace(-5, 1, 13), np.logspace(-5, 1, 13)])
    least = objective(np.asarray(h))
    assert (objective(h + steps) >= least - 1e-12 * (1 + abs(least))).all()


def test_derivatives_are_those_of_the_values():
    u = jnp.asarray([-3.0, -0.5, 0.4, 2.0])
    for loss in (SQUARE, LOGISTIC, HINGE):
        np.testing.assert_allclose(jax.vmap(jax.grad(loss.value))(u), loss.derivative(u), atol=1e-14)
        np.testing.assert_allclose(jax.vmap(jax.grad(loss.derivative))(u), loss.curvature(u), atol=1e-14)


def test_the_derivative_of_the_logistic_prox():
    omega, scale, step = jnp.asarray([-20.0, -1.0, 0.5, 8.0])[:, None], jnp.asarray([0.3, 29.0, 1e4]), 1e-5
    for argument in (0, 1):
        tangents = [jnp.zeros_like(omega), jnp.zeros_like(scale)]
        tangents[argument] = jnp.ones_like(tangents[argument])
        _, slope = jax.jvp(LOGISTIC.prox, (omega, scale), tuple(tangents))
        ahead, behind = (
            LOGISTIC.prox(omega + sign * step * (argument == 0), scale + sign * step * (argument == 1))
            for sign in (1, -1)
        )
        np.testing.assert_allclose(slope, (ahead - behind) / (2 * step), rtol=1e-5, atol=1e-9)


def test_the_residual_needs_a_smooth_loss():
    with pytest.raises(ValueError, match=r"needs a smooth loss, got 'hinge'"):
        prox_residual(HINGE, OMEGAS, SCALES)

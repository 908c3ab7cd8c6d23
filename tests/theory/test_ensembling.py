"""Theorem 2b: ensembles and the mixture, pathwise, in law, and with normalised heads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_cases import assert_mean_is, dense, random_source, random_target

from theory import (
    Source,
    Target,
    averaging_classifier,
    averaging_law,
    ensemble,
    ensemble_law,
    ensemble_place,
    ensemble_slope,
    margin,
    mixture_place,
    mixture_slope,
    normalised_ensemble,
    normalised_ensemble_slope,
    normalised_ensemble_slope_at,
)

D = 4
RNG = np.random.default_rng(31)
SOURCES = [random_source(RNG, form, D) for form in ("scalar", "diagonal", "full")]
REF = random_target(RNG, "full", D)
SHIFT = Target(RNG.standard_normal(D), 2.25 * np.asarray(REF.covariance))
WEIGHTS = np.array([0.2, 0.3, 0.5])


def test_on_the_same_samples_the_ensemble_is_the_mixture_pathwise():
    counts = (7, 4, 9)  # realised counts, whatever the shares asked for
    parts = [
        source.sample(key, n)
        for source, key, n in zip(SOURCES, jax.random.split(jax.random.key(0), 3), counts, strict=True)
    ]
    pooled = averaging_classifier(*(jnp.concatenate([part[i] for part in parts]) for i in (0, 1)))
    heads = jnp.stack([averaging_classifier(*part) for part in parts])
    np.testing.assert_allclose(ensemble(heads, np.array(counts) / 20), pooled, rtol=1e-12)


def test_on_independent_samples_it_is_equal_in_law():
    law, pooled = ensemble_law(SOURCES, WEIGHTS, 40 * WEIGHTS), averaging_law(SOURCES, 40 * WEIGHTS)
    np.testing.assert_allclose(law.mean, pooled.mean, rtol=1e-12)
    np.testing.assert_allclose(law.covariance, pooled.covariance, rtol=1e-12)
    assert ensemble_place(SOURCES, WEIGHTS, REF, 40, "share") == pytest.approx(
        float(mixture_place(SOURCES, WEIGHTS, REF, 40)), rel=1e-12
    )
    found, mixed = ensemble_slope(SOURCES, WEIGHTS, REF, SHIFT), mixture_slope(SOURCES, WEIGHTS, REF, SHIFT)
    assert found.slope == pytest.approx(mixed.slope, rel=1e-12)


def test_heads_on_n_each_have_less_noise_on_the_same_ray():
    law, pooled = ensemble_law(SOURCES, WEIGHTS, 40), averaging_law(SOURCES, 40 * WEIGHTS)
    np.testing.assert_allclose(law.mean, pooled.mean, rtol=1e-12)
    expected = sum(
        w**2 * dense(np.asarray(s.covariance), D) / 40 for w, s in zip(WEIGHTS, SOURCES, strict=True)
    )
    np.testing.assert_allclose(law.covariance, expected, rtol=1e-12)
    assert np.all(np.linalg.eigvalsh(np.asarray(pooled.covariance - law.covariance)) > 0)
    each = float(ensemble_place(SOURCES, WEIGHTS, REF, 40, "each"))
    assert each == pytest.approx(float(law.place(REF)), rel=1e-12)
    assert abs(each) > abs(float(ensemble_place(SOURCES, WEIGHTS, REF, 40, "share")))
    places = [np.asarray(ensemble_place(SOURCES, WEIGHTS, t, [1.0, 10.0, 1e6], "each")) for t in (REF, SHIFT)]
    np.testing.assert_allclose(
        places[1] / places[0], mixture_slope(SOURCES, WEIGHTS, REF, SHIFT).slope, rtol=1e-12
    )


def test_law_against_trained_heads():
    keys = jax.random.split(jax.random.key(1), (8000, 3))
    sizes = (3, 6, 2)

    def train(pair):
        heads = [averaging_classifier(*s.sample(k, n)) for s, k, n in zip(SOURCES, pair, sizes, strict=True)]
        return ensemble(jnp.stack(heads), WEIGHTS)

    weights = np.asarray(jax.jit(jax.vmap(train))(keys))
    law = ensemble_law(SOURCES, WEIGHTS, np.array(sizes))
    assert_mean_is(weights, law.mean)
    centred = weights - np.asarray(law.mean)
    assert_mean_is(centred[:, :, None] * centred[:, None], law.covariance)


@pytest.mark.parametrize("n", [1, 20, 10**6])
def test_normalised_heads_give_the_mediant_of_measured_margins_exactly_at_every_n(n):
    heads = jnp.stack(
        [averaging_law([s], n).sample(jax.random.key(i), (50,)) for i, s in enumerate(SOURCES)], axis=1
    )
    combined = normalised_ensemble(heads, WEIGHTS, REF)
    exact = margin(combined, SHIFT) / margin(combined, REF)
    measured = normalised_ensemble_slope(margin(heads, SHIFT), margin(heads, REF), WEIGHTS)
    np.testing.assert_allclose(measured, exact, rtol=1e-9)
    # Without normalising the identity is false.
    plain = ensemble(heads, WEIGHTS)
    assert np.max(np.abs(margin(plain, SHIFT) / margin(plain, REF) - measured)) > 1e-3


def test_normalised_slope_at_large_n_is_that_of_the_scaled_sources():
    lengths = [np.sqrt(np.asarray(s.mean) @ np.asarray(REF.covariance) @ np.asarray(s.mean)) for s in SOURCES]
    unit = [Source(s.mean / length) for s, length in zip(SOURCES, lengths, strict=True)]
    predicted = normalised_ensemble_slope_at(SOURCES, WEIGHTS, REF, SHIFT, [10.0, 1e14])
    assert predicted.shape == (2,)
    assert predicted[1] == pytest.approx(mixture_slope(unit, WEIGHTS, REF, SHIFT).slope, rel=1e-9)
    # The shorter head gains say: scaling a source down leaves the normalised slope where it is.
    scaled = [Source(0.1 * SOURCES[0].mean, 0.01 * SOURCES[0].covariance), *SOURCES[1:]]
    again = normalised_ensemble_slope_at(scaled, WEIGHTS, REF, SHIFT, [10.0, 1e14])
    np.testing.assert_allclose(again, predicted, rtol=1e-9)


def test_a_head_without_weight_needs_no_samples():
    law = ensemble_law(SOURCES, [0.0, 0.5, 0.5], np.array([0, 5, 5]))
    np.testing.assert_allclose(law.mean, (SOURCES[1].mean + SOURCES[2].mean) / 2, rtol=1e-12)
    assert np.isfinite(np.asarray(law.covariance)).all()


def test_bad_input_raises_with_the_value():
    with pytest.raises(ValueError, match=r"weights must sum to 1, got 0.6"):
        ensemble(np.ones((2, D)), [0.3, 0.3])
    with pytest.raises(ValueError, match=r"must have shape \(..., S, d\), got \(4,\)"):
        ensemble(np.ones(D), [1.0])
    with pytest.raises(ValueError, match=r"every head with a positive weight needs .* got 0.0"):
        ensemble_law(SOURCES, WEIGHTS, np.array([3, 0, 3]))
    with pytest.raises(
        ValueError, match=r"samples_per_head must be a number or have shape \(3,\), got \(2,\)"
    ):
        ensemble_law(SOURCES, WEIGHTS, np.array([3, 3]))
    with pytest.raises(ValueError, match=r"length must be > 0, got 0.0"):
        normalised_ensemble(np.zeros((3, D)), WEIGHTS, REF)
    with pytest.raises(ValueError, match=r"not proportional"):
        normalised_ensemble_slope_at(SOURCES, WEIGHTS, REF, Target(np.ones(D)), 10)
    with pytest.raises(ValueError, match=r"each of the 2 sources, got shape"):
        normalised_ensemble_slope(np.ones(2), np.ones(2), WEIGHTS)

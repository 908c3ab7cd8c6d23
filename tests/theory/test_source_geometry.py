"""Resolvent tables of sources: spectral laws against dense algebra, grouping, common eigenvectors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_cases import FORMS, dense, random_source
from scipy.stats import ortho_group

from theory.gaussian import Source
from theory.source_geometry import geometry_of, stack_geometries
from theory.source_law import DenseLaw, SpectralLaw

D = 6
PENALTY, CURVATURES = jnp.asarray(0.3), jnp.asarray([0.7, 0.2])
PULLS, ENERGIES = jnp.asarray([0.4, -0.1]), jnp.asarray([0.3, 0.5])


def naive(sources):
    """The four tables and the classifier by d x d algebra."""
    rows = np.stack([np.asarray(s.mean) for s in sources])
    gammas = np.stack([dense(s.covariance, D) for s in sources])
    r = np.linalg.inv(float(PENALTY) * np.eye(D) + np.einsum("s,sij->ij", CURVATURES, gammas))
    lengths = np.stack([rows @ r @ g @ r @ rows.T for g in gammas])
    noise = [[np.trace(a @ r @ b @ r) for b in gammas] for a in gammas]
    weights = r @ (np.asarray(PULLS) @ rows)
    spread = r @ np.einsum("s,sij->ij", ENERGIES, gammas) @ r
    return rows @ r @ rows.T, lengths, [np.trace(g @ r) for g in gammas], noise, weights, spread


def commuting(rng):
    turn = ortho_group.rvs(D, random_state=3)
    spectra = [np.array([1.0, 1, 2, 2, 2, 3]), np.array([0.5, 0.5, 1, 1, 4, 4])]
    matrices = [turn * spectrum @ turn.T for spectrum in spectra]
    return [Source(rng.standard_normal(D), (m + m.T) / 2) for m in matrices]


def cases():
    rng = np.random.default_rng(5)
    pairs = {form: [random_source(rng, form, D), random_source(rng, form, D)] for form in FORMS}
    pairs["scalar and diagonal"] = [random_source(rng, "scalar", D), random_source(rng, "diagonal", D)]
    pairs["full and scalar"] = [random_source(rng, "full", D), random_source(rng, "scalar", D)]
    pairs["common eigenvectors"] = commuting(rng)
    grouped = np.array([1.0, 1, 1, 4, 4, 1])
    pairs["grouped"] = [Source(rng.standard_normal(D), grouped), Source(rng.standard_normal(D), 2.0)]
    return pairs


@pytest.mark.parametrize("name", list(cases()))
def test_tables_are_those_of_dense_algebra(name):
    sources = cases()[name]
    geometry = geometry_of(sources)
    assert isinstance(geometry.law, DenseLaw if name == "full" else SpectralLaw)
    expected = naive(sources)
    tables = geometry.law.tables(PENALTY, CURVATURES)
    for got, wanted in zip(
        (tables.signal, tables.lengths, tables.traces, tables.noise), expected, strict=False
    ):
        np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(geometry.law.traces(PENALTY, CURVATURES), tables.traces, rtol=1e-12)
    assert float(geometry.law.num_features) == geometry.num_features == D
    basis = np.eye(D) if geometry.basis is None else np.asarray(geometry.basis)
    inputs = [x[None] for x in (PENALTY, CURVATURES, PULLS, ENERGIES)]
    for arrays in ([np.asarray(x) for x in inputs], inputs):  # NumPy and JAX
        mean, noise = (x[0] for x in geometry.classifiers(*arrays))
        np.testing.assert_allclose(basis @ mean, expected[4], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(basis @ dense(noise, D) @ basis.T, expected[5], rtol=1e-9, atol=1e-12)


def multiplicities(sources):
    law = geometry_of(sources).law
    assert isinstance(law, SpectralLaw)
    return sorted(law.multiplicities.tolist())


def test_equal_eigenvalues_are_one_group():
    assert multiplicities(cases()["grouped"]) == [2, 4]
    assert multiplicities(cases()["scalar"]) == [D]
    # Four kinds of coordinates (1, ½), (2, 1), (2, 4) and (3, 4) of the two spectra.
    assert multiplicities(commuting(np.random.default_rng(5))) == [1, 1, 2, 2]
    # Three kinds, and an empty group to make a power of two.
    spectra = np.array([1.0, 1, 1, 2, 2, 3])
    assert multiplicities([Source(np.ones(D), spectra)]) == [0, 1, 2, 3]


def test_inside_vmap_diagonal_sources_work_and_nothing_is_looked_up():
    rng = np.random.default_rng(6)
    means, spectra = rng.standard_normal((3, 2, D)), rng.uniform(0.5, 2, (3, 2, D))

    def trace_of(mean, spectrum):
        sources = [Source(m, c) for m, c in zip(mean, spectrum, strict=True)]
        return geometry_of(sources).law.tables(PENALTY, CURVATURES).signal

    batched = jax.vmap(trace_of)(jnp.asarray(means), jnp.asarray(spectra))
    for got, mean, spectrum in zip(batched, means, spectra, strict=True):
        np.testing.assert_allclose(got, trace_of(mean, spectrum), rtol=1e-10)


def test_stacked_geometries_keep_each_law():
    settings = [cases()[name] for name in ("scalar", "diagonal", "grouped")]
    stacked = stack_geometries([geometry_of(sources) for sources in settings])
    for index, sources in enumerate(settings):
        law = jax.tree.map(lambda x, index=index: x[index], stacked.law)
        np.testing.assert_allclose(
            law.tables(PENALTY, CURVATURES).lengths,
            geometry_of(sources).law.tables(PENALTY, CURVATURES).lengths,
        )
    with pytest.raises(ValueError, match=r"isotropic or diagonal sources, got a full"):
        stack_geometries([geometry_of(cases()["full"])])
    with pytest.raises(ValueError, match=r"\[\(1, 6\), \(2, 6\)\]"):
        stack_geometries([geometry_of(settings[0]), geometry_of(settings[0][:1])])


def test_noise_free_sources_are_refused():
    with pytest.raises(ValueError, match=r"source 'clean' has none"):
        geometry_of([Source(np.ones(3)), Source(np.ones(3), 0.0, "clean")])

"""K classes: the d′ formula against naive averages over pairs, its laws, and the binary theory at K = 2."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_cases import FORMS, dense, random_covariance, random_source, random_target
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from multiclass_cases import random_classes, simplex_pair, turned
from scipy.stats import ortho_group

from theory import Source, Target, dprime_inverse, mixture_place, mixture_slope, place, slope
from theory.multiclass import (
    MulticlassSource,
    MulticlassTarget,
    binary_equivalent,
    class_alignments,
    class_gram,
    class_noise,
    multiclass_dprime,
    multiclass_growth_exponent,
    multiclass_slope,
    simplex_means,
    two_class_source,
    two_class_target,
)


def test_simplex_means_have_the_gram_of_a_simplex_in_every_block():
    for k in (2, 3, 7):
        means = simplex_means(k, [2.0, -0.5], 2 * k)
        gram = means @ means.T
        wanted = 4.25 * (np.eye(k) - (1 - np.eye(k)) / (k - 1))
        np.testing.assert_allclose(gram, wanted, atol=1e-12)
        crossed = means @ simplex_means(k, [1.0, 3.0], 2 * k).T
        np.testing.assert_allclose(np.diag(crossed), 2.0 - 1.5)
        np.testing.assert_allclose(means.sum(0), 0, atol=1e-12)
    assert simplex_means(4, [1.0, 1.0, 0.0]).shape == (4, 9)


@pytest.mark.parametrize("form", FORMS)
def test_signal_and_lengths_against_averages_over_pairs(form):
    rng = np.random.default_rng(1)
    k, d = 4, 6
    sources = [random_classes(rng, MulticlassSource, f, k, d) for f in (form, "full")]
    target = random_classes(rng, MulticlassTarget, form, k, d)
    mu, sigma = np.asarray(target.means), dense(np.asarray(target.covariance), d)
    pairs = [(i, j) for i in range(k) for j in range(k) if i != j]
    for s, source in enumerate(sources):
        nu, gamma = np.asarray(source.means), dense(np.asarray(source.covariance), d)
        a = np.mean([(nu[i] - nu[j]) @ mu[i] for i, j in pairs])
        assert class_alignments(sources, target)[s] == pytest.approx(a, rel=1e-12)
        noise = np.trace(gamma @ sigma) + np.mean([m @ gamma @ m for m in mu])
        assert class_noise(sources, target)[s] == pytest.approx(noise, rel=1e-12)
        for u, other in enumerate(sources):
            no = np.asarray(other.means)
            q = np.mean([(nu[i] - nu[j]) @ sigma @ (no[i] - no[j]) for i, j in pairs]) / 2
            assert class_gram(sources, target)[s, u] == pytest.approx(q, rel=1e-12)


def test_formula_of_simplex_means():
    for n, k, d, s in ((1000, 50, 2000, 4.0), (8, 2, 3, 0.7)):
        source, target = simplex_pair(k, s, d)
        top = s * s * k / (k - 1)
        wanted = top / np.sqrt(top + d * k / n + s * s * k / n)
        assert multiclass_dprime([source], [1.0], target, n) == pytest.approx(wanted, rel=1e-12)
    assert float(dprime_inverse(1.5085727802532456, 50)) == pytest.approx(0.2542, abs=5e-5)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=6)
def test_two_classes_are_the_binary_theory(seed):
    rng = np.random.default_rng(seed)
    sources = [random_source(rng, form, 3) for form in ("scalar", "full")]
    ref, shift = random_target(rng, "diagonal", 3), random_target(rng, "full", 3)
    doubled, (ref2, shift2) = (
        [two_class_source(s) for s in sources],
        (two_class_target(t) for t in (ref, shift)),
    )
    n = rng.uniform(1, 100)
    shares = rng.dirichlet(np.ones(2))
    for binary, multi in ((ref, ref2), (shift, shift2)):
        single = multiclass_dprime([doubled[0]], [1.0], multi, n, signal_noise=False)
        assert single == pytest.approx(np.sqrt(2) * float(place(sources[0], binary, n)), rel=1e-9)
        mixed = multiclass_dprime(doubled, shares, multi, n, signal_noise=False)
        assert mixed == pytest.approx(np.sqrt(2) * float(mixture_place(sources, shares, binary, n)), rel=1e-9)
    found, wanted = (
        multiclass_slope(doubled, shares, ref2, shift2),
        mixture_slope(sources, shares, ref, shift),
    )
    assert found.slope == pytest.approx(wanted.slope, rel=1e-8)
    assert found.guarantee == wanted.guarantee
    assert found.source_slopes == pytest.approx(wanted.source_slopes, rel=1e-8)


@given(seed=st.integers(0, 10_000), scale=st.floats(0.1, 10))
@settings(max_examples=6)
def test_laws_of_permutation_rotation_scale_and_common_shift(seed, scale):
    rng = np.random.default_rng(seed)
    k, d = 4, 5
    sources = [random_classes(rng, MulticlassSource, form, k, d) for form in FORMS]
    # A reference that every source knows something about, so that the mediant is one.
    known = sum(np.asarray(s.means) for s in sources) / 2
    ref = MulticlassTarget(known, random_covariance(rng, "full", d))
    shift = MulticlassTarget(known + rng.standard_normal((k, d)), 1.7 * np.asarray(ref.covariance))
    shares = rng.dirichlet(np.ones(3))
    base = multiclass_slope(sources, shares, ref, shift)
    assume(base.guarantee == "inside" and abs(base.slope) > 1e-3)
    assert base.inside
    place_at = float(multiclass_dprime(sources, shares, ref, 50))
    order, classes = rng.permutation(3), rng.permutation(k)

    def relabelled(item):
        return type(item)(np.asarray(item.means)[classes], item.covariance)

    rotation = ortho_group.rvs(d, random_state=seed)
    changed = [
        ([sources[i] for i in order], shares[order], ref, shift),
        ([relabelled(s) for s in sources], shares, relabelled(ref), relabelled(shift)),
        ([turned(s, rotation) for s in sources], shares, turned(ref, rotation), turned(shift, rotation)),
        ([turned(s, np.eye(d), scale) for s in sources], shares, ref, shift),
    ]
    for new_sources, new_shares, new_ref, new_shift in changed:
        found = multiclass_slope(new_sources, new_shares, new_ref, new_shift)
        assert found.slope == pytest.approx(base.slope, rel=1e-8)
        assert multiclass_dprime(new_sources, new_shares, new_ref, 50) == pytest.approx(place_at, rel=1e-9)
    # Only differences count: a common shift of all source means changes nothing, unlike one of the target's.
    moved = [MulticlassSource(np.asarray(s.means) + 3.0, s.covariance) for s in sources]
    assert multiclass_dprime(moved, shares, ref, 50) == pytest.approx(place_at, rel=1e-9)


def test_the_slope_is_a_mediant_at_every_n_without_signal_noise():
    k = 6
    sources = [
        MulticlassSource(simplex_means(k, b, 20), c) for b, c in (([2.0, 1, 0], 1.0), ([1.0, 3, 1], 4.0))
    ]
    ref = MulticlassTarget(simplex_means(k, [1.0, 1.0, 0.2], 20))
    shift = MulticlassTarget(simplex_means(k, [1.0, 0.0, 0.0], 20), 2.25)
    a, b, p = np.array([2.0, 1.0]), np.array([3.0, 4.2]), np.array([0.3, 0.7])
    wanted = p @ a / (1.5 * p @ b)
    found = multiclass_slope(sources, p, ref, shift)
    assert found.slope == pytest.approx(wanted, rel=1e-9)
    assert found.guarantee == "inside"
    n = np.array([1.0, 100.0, 1e9])
    on_ref, on_shift = (multiclass_dprime(sources, p, t, n, signal_noise=False) for t in (ref, shift))
    np.testing.assert_allclose(on_shift / on_ref, wanted, rtol=1e-9)
    with_noise = multiclass_dprime(sources, p, shift, n) / multiclass_dprime(sources, p, ref, n)
    assert abs(with_noise[-1] - wanted) < 1e-6
    assert abs(with_noise[0] - wanted) > 1e-3


def test_without_proportional_covariances_the_slope_is_the_ratio_of_limits():
    rng = np.random.default_rng(5)
    sources = [random_classes(rng, MulticlassSource, form, 3, 4) for form in ("full", "scalar")]
    ref, shift = (random_classes(rng, MulticlassTarget, form, 3, 4) for form in ("full", "diagonal"))
    shares = [0.4, 0.6]
    found = multiclass_slope(sources, shares, ref, shift)
    limits = [float(multiclass_dprime(sources, shares, t, 1e15)) for t in (ref, shift)]
    assert found.slope == pytest.approx(limits[1] / limits[0], rel=1e-6)
    assert not found.is_mediant


def test_negative_reference_signal_is_reported():
    k = 3
    first = MulticlassSource(simplex_means(k, [1.0, 1.0]))
    against = MulticlassSource(simplex_means(k, [-1.0, -0.5]))
    ref, shift = (MulticlassTarget(simplex_means(k, b)) for b in ([1.0, 0.0], [0.0, 1.0]))
    found = multiclass_slope([first, against], [0.4, 0.6], ref, shift)
    assert found.guarantee == "may leave"
    assert found.vanishing[0].share == pytest.approx(0.5)


def test_binary_equivalent_keeps_alignments_and_lengths():
    rng = np.random.default_rng(6)
    sources = [random_classes(rng, MulticlassSource, form, 5, 8, form) for form in FORMS]
    targets = [random_classes(rng, MulticlassTarget, form, 5, 8, form) for form in ("full", "diagonal")]
    small_sources, small_targets = binary_equivalent(sources, targets)
    assert [s.name for s in small_sources] == list(FORMS)
    for target, small in zip(targets, small_targets, strict=True):
        assert small.dimension <= 5
        for index, s in enumerate(small_sources):
            assert class_alignments(sources, target)[index] == pytest.approx(
                float(s.mean @ small.mean), rel=1e-9
            )
            length = float(s.mean @ small.covariance @ s.mean)
            assert class_gram(sources, target)[index, index] == pytest.approx(length, rel=1e-9)


def test_growth_is_bounded_by_one_half_and_is_the_derivative():
    source, target = simplex_pair(10, 2.0, 40)
    n = jnp.geomspace(1, 1e8, 30)
    growth = multiclass_growth_exponent([source], [1.0], target, n)
    assert np.all((growth > 0) & (growth < 0.5))
    assert np.all(np.diff(growth) < 0)
    slope_of_log = jax.vmap(
        jax.grad(lambda t: jnp.log(multiclass_dprime([source], [1.0], target, jnp.exp(t))))
    )
    np.testing.assert_allclose(slope_of_log(jnp.log(n)), growth, rtol=1e-9)


def test_float32_agrees(float32):
    source, target = simplex_pair(10, 2.0, 40)
    value = multiclass_dprime([source], [1.0], target, 100.0)
    assert value.dtype == jnp.float32
    top = 4 * 10 / 9
    assert float(value) == pytest.approx(top / np.sqrt(top + 40 / 10 + 0.4), rel=1e-5)
    assert multiclass_slope([source], [1.0], target, target).slope == pytest.approx(1.0, rel=1e-5)


def test_binary_slope_of_one_source():
    source, ref, shift = Source([1.0, 2.0], 0.5), Target([1.0, 1.0]), Target([0.0, 1.0], [1.0, 3.0])
    found = multiclass_slope(
        [two_class_source(source)], [1.0], two_class_target(ref), two_class_target(shift)
    )
    assert found.slope == pytest.approx(float(slope(source, ref, shift)), rel=1e-9)


def test_bad_input_raises_with_the_value():
    source, target = simplex_pair(3, 1.0, 4)
    with pytest.raises(ValueError, match=r"\(K >= 2, d\), got shape \(1, 4\)"):
        MulticlassSource(np.ones((1, 4)))
    with pytest.raises(ValueError, match=r"got shape \(4,\)"):
        MulticlassTarget(np.ones(4))
    with pytest.raises(
        ValueError, match=r"every entry of the means of MulticlassSource 'web' must be finite"
    ):
        MulticlassSource([[1.0, np.inf], [0.0, 0.0]], name="web")
    with pytest.raises(ValueError, match=r"must be >= 0, got -1"):
        MulticlassSource(np.eye(3), -1.0)
    with pytest.raises(ValueError, match=r"same classes and features"):
        class_alignments([source], simplex_pair(4, 1.0, 4)[1])
    with pytest.raises(ValueError, match=r"at least one source"):
        binary_equivalent([], [])
    with pytest.raises(ValueError, match=r"num_classes must be at least 2, got 1"):
        simplex_means(1)
    with pytest.raises(ValueError, match=r"need at least 6 features, got 5"):
        simplex_means(4, [1.0, 1.0], 5)
    with pytest.raises(ValueError, match=r"num_samples must be a finite number > 0, got 0"):
        multiclass_dprime([source], [1.0], target, 0)
    with pytest.raises(ValueError, match=r"shares must sum to 1, got 0.5"):
        multiclass_dprime([source], [0.5], target, 10)
    with pytest.raises(ValueError, match=r"all class means are equal"):
        binary_equivalent([MulticlassSource(np.ones((3, 2)))], [MulticlassTarget(np.ones((3, 2)))])

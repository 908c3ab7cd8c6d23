"""Accuracy on the wrong line: families of models, where their correlation turns, and the limits in which it never does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import Source, bending, slope_at
from theory.noisy_ridge import noisy_ridge_law
from theory.wrong_line import ModelFamily, NuisanceWorld, model_family, turning_point

CORE = Source([1.0, np.sqrt(0.4)], [1.0, 0.05])
WORLD = NuisanceWorld(CORE, 50_000, 0.002)
SIZES = np.asarray([100.0, 200.0, 400.0, 800.0])


def test_family_is_what_its_formula_says():
    family = ModelFamily(np.array([1.0, 2.0, 2.5]), np.array([0.9, 0.3, 0.2]), np.array([0.0, 1.0, 3.0]))
    strengths = np.array([0.0, 0.4])
    expected = 1 / np.sqrt(family.base + strengths[:, None] * family.nuisance)
    np.testing.assert_allclose(family.shifted(strengths), expected, rtol=1e-14)
    for strength, row in zip(strengths, expected, strict=True):
        naive = np.corrcoef(family.reference, row)[0, 1]
        assert family.correlation(strength) == pytest.approx(naive, rel=1e-12)
    assert family.correlation(strengths).shape == (2,)
    same = ModelFamily(family.reference, np.ones(3), np.zeros(3))
    assert np.isnan(same.correlation(1.0))


def test_two_models_turn_where_they_meet():
    family = ModelFamily(np.array([1.0, 2.0]), np.array([0.9, 0.3]), np.array([0.5, 2.0]))
    point = turning_point(family)
    assert point.inverse_squares == pytest.approx(0.4)
    assert point.margins == pytest.approx(0.4)
    assert (point.low, point.high) == pytest.approx((0.4, 0.4))
    np.testing.assert_allclose(np.ptp(family.shifted(0.4)), 0, atol=1e-14)
    assert family.correlation(0.39) == pytest.approx(1)
    assert family.correlation(0.41) == pytest.approx(-1)


@given(seed=st.integers(0, 10**6), k=st.integers(2, 6))
@settings(max_examples=60)
def test_turning_point_of_models_that_trade_one_for_the_other(seed, k):
    rng = np.random.default_rng(seed)
    reference = np.sort(rng.uniform(0.3, 3, k))
    base, nuisance = np.sort(rng.uniform(0.1, 3, k))[::-1], np.sort(rng.uniform(0, 5, k))
    order = rng.permutation(k)
    family = ModelFamily(reference[order], base[order], nuisance[order])
    point = turning_point(family)
    assert 0 <= point.low <= point.margins <= point.high
    inverse = family.reference**-2
    on_shift = family.base + point.inverse_squares * family.nuisance
    scale = np.std(inverse) * np.std(on_shift)
    assert abs(np.cov(inverse, on_shift)[0, 1]) <= 1e-9 * scale + 1e-12
    assert point.low * (1 - 1e-9) <= point.inverse_squares <= point.high * (1 + 1e-9)
    assert family.correlation(point.low * 0.999) > 0
    assert family.correlation(point.high * 1.001) < 0
    if k > 2 and point.high > 1.01 * point.low:
        assert family.correlation(point.margins) == pytest.approx(0, abs=1e-6)


def test_families_that_never_or_always_turn():
    better = np.array([1.0, 1.5, 2.0])
    falling, rising = np.array([0.9, 0.5, 0.3]), np.array([0.2, 0.5, 0.9])
    never = turning_point(ModelFamily(better, falling, falling))
    assert (never.inverse_squares, never.margins, never.low, never.high) == (np.inf,) * 4
    without = turning_point(ModelFamily(better, falling, np.zeros(3)))
    assert (without.inverse_squares, without.margins, without.low) == (np.inf,) * 3
    always = turning_point(ModelFamily(better, rising, rising))
    assert (always.inverse_squares, always.margins, always.low, always.high) == (0, 0, 0, 0)
    # One pair gains on both and one loses: the correlation turns somewhere, but no strength orders all pairs oppositely.
    mixed = turning_point(ModelFamily(better, np.array([0.9, 0.5, 0.45]), np.array([0.5, 0.3, 0.9])))
    assert mixed.low < mixed.margins < mixed.high == np.inf


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.2])
def test_world_is_the_closed_form_on_all_its_features(noise):
    world = NuisanceWorld(CORE, 700, 0.05)
    sizes, penalties = np.array([30.0, 60.0, 120.0]), np.array([0.0, 0.01, 0.3])
    laws = [noisy_ridge_law(world.source(), n, lam, noise) for n, lam in zip(sizes, penalties, strict=True)]
    naive = model_family(laws, world.target(), world.target(0.0), world.nuisance())
    family = world.family(sizes, penalties, noise)
    for name in ("reference", "base", "nuisance"):
        np.testing.assert_allclose(getattr(family, name), getattr(naive, name), rtol=1e-9)
    margins = [float(law.margin(world.target(0.7))) for law in laws]
    np.testing.assert_allclose(family.shifted(0.7), margins, rtol=1e-9)
    assert world.source(-1).mean[0] == -world.source().mean[0]


def test_interpolators_leave_the_line_and_label_noise_brings_that_forward():
    turns = [turning_point(WORLD.family(SIZES, 0.0, noise)) for noise in (0.0, 0.02, 0.05, 0.1, 0.2)]
    for kind in ("inverse_squares", "margins", "low"):
        assert np.all(np.diff([getattr(point, kind) for point in turns]) < 0)
    clean, noisy = turns[0], turns[-1]
    assert clean.margins > 40 * noisy.margins
    # Between the two: the same shift, the same sizes, opposite signs.
    strength = 0.1
    assert WORLD.family(SIZES, 0.0, 0.0).correlation(strength) > 0.9
    assert WORLD.family(SIZES, 0.0, 0.2).correlation(strength) < -0.9
    family = WORLD.family(SIZES, 0.0, 0.2)
    assert np.all(np.diff(family.reference) > 0)
    assert np.all(np.diff(family.shifted(strength)) < 0)
    # The closed form for inverse squares is a good guess for the margins.
    assert all(abs(point.inverse_squares / point.margins - 1) < 0.25 for point in turns)


def test_penalties_turn_noise_rates_and_averaging_do_not():
    penalties = turning_point(WORLD.family(400.0, [0.0, 0.01, 0.1, 1.0, 10.0], 0.2))
    assert 0.002 < penalties.margins < 0.1
    for family in (
        WORLD.family(400.0, 0.0, [0.0, 0.05, 0.1, 0.2, 0.4]),
        WORLD.family(SIZES, 1e9, 0.2),
        WORLD.family([100.0, 1e3, 1e4, 1e5], 1e9, [0.0, 0.1, 0.2, 0.3][::-1]),
    ):
        point = turning_point(family)
        assert (point.low, point.margins) == (np.inf, np.inf)
        assert np.all(family.correlation([0.002, 0.1, 10.0]) > 0)


def test_averaging_bends_instead():
    # The line of Theorem 1 from the same world: the slope rises with n, and with it both margins.
    source, ref, shift = WORLD.source(), WORLD.target(), WORLD.target(0.3)
    ends = bending(source, ref, shift)
    assert not ends.straight
    family = WORLD.family(SIZES, 1e9)
    slopes = family.shifted(0.3) / family.reference
    np.testing.assert_allclose(slopes, slope_at(source, ref, shift, SIZES), rtol=1e-6)
    assert np.all((slopes > ends.scarce) & (slopes < ends.plentiful))


def test_memorised_labels_grow_with_data():
    # n T/γ over Λ² in the limit of many samples and even more nuisance features.
    world = NuisanceWorld(CORE, 10**12, 1e-10)
    n = 1e6
    family = world.family([n, 2 * n], 0.0, 0.2)
    squared = 1.0 + 0.4 / 0.05
    noise = 1 + squared + (1 / 0.6**2 - 1) * (1 + squared) ** 2
    np.testing.assert_allclose(family.nuisance, np.array([n, 2 * n]) / 100 * noise / squared**2, rtol=1e-3)
    np.testing.assert_allclose(family.base, 1 / squared, rtol=2e-3)
    np.testing.assert_allclose(
        family.shifted(1.0) * np.sqrt([n, 2 * n]), 10 * squared / np.sqrt(noise), rtol=1e-3
    )


def test_clean_labels_on_features_without_noise_are_not_memorised():
    quiet = NuisanceWorld(Source([1.0, 0.5], 1e-12), 50_000, 0.002)
    clean, noisy = quiet.family(SIZES), quiet.family(SIZES, 0.0, 0.1)
    length = 1.25
    np.testing.assert_allclose(clean.nuisance, 100 / SIZES / length**2, rtol=0.02)
    assert np.all(np.diff(clean.nuisance) < 0)
    assert np.all(np.diff(noisy.nuisance) > 0)


def test_without_nuisance_the_line_stays():
    rng = np.random.default_rng(71)
    source = Source(rng.standard_normal(5))
    laws = [noisy_ridge_law(source, n, 0.05, 0.2) for n in (8.0, 16.0, 32.0)]
    world = NuisanceWorld(source, 1, 1.0)
    shift = world.target(0.0)
    core = [type(shift)(source.mean, c) for c in (1.0, 4.0)]
    family = model_family(laws, core[0], core[1], 0.0)
    np.testing.assert_allclose(family.base, 4 * family.reference**-2, rtol=1e-12)
    np.testing.assert_allclose(family.correlation([0.0, 1.0, 100.0]), 1, rtol=1e-12)
    assert turning_point(family).margins == np.inf


def test_float32(float32):
    world = NuisanceWorld(
        Source(np.asarray([1.0, 0.6], np.float32), np.asarray([1.0, 0.05], np.float32)), 5000, 0.02
    )
    family = world.family(np.asarray([100.0, 400.0], np.float32), 0.0, 0.2)
    exact = NuisanceWorld(Source([1.0, 0.6], [1.0, 0.05]), 5000, 0.02)
    assert np.all(np.isfinite(family.reference))
    np.testing.assert_allclose(family.reference, exact.family([100.0, 400.0], 0.0, 0.2).reference, rtol=1e-3)


def test_bad_input_raises_with_the_value():
    ones = np.ones(3)
    for arrays, words in (
        ((ones, ones, np.ones(2)), r"shapes \(3,\), \(3,\), \(2,\)"),
        ((np.ones(1), np.ones(1), np.ones(1)), r"k >= 2"),
        (
            (np.array([1.0, -0.5]), np.ones(2), np.ones(2)),
            r"every reference of a family must be a finite number > 0, got -0.5",
        ),
        (
            (np.ones(2), np.array([1.0, 0.0]), np.ones(2)),
            r"every base of a family must be a finite number > 0, got 0",
        ),
        (
            (np.ones(2), np.ones(2), np.array([1.0, -2.0])),
            r"every nuisance of a family must be a finite number >= 0, got -2",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            ModelFamily(*arrays)
    family = ModelFamily(np.array([1.0, 2.0]), ones[:2], ones[:2])
    with pytest.raises(ValueError, match=r"every strength s² must be >= 0, got -1"):
        family.correlation([0.0, -1.0])
    with pytest.raises(ValueError, match=r"all have margin 1"):
        turning_point(ModelFamily(ones, ones, ones))
    with pytest.raises(ValueError, match=r"num_nuisance must be at least 1, got 0"):
        NuisanceWorld(CORE, 0, 0.1)
    with pytest.raises(ValueError, match=r"nuisance_variance must be a finite number > 0, got 0.0"):
        NuisanceWorld(CORE, 5, 0.0)
    with pytest.raises(ValueError, match=r"rotate it first"):
        NuisanceWorld(Source([1.0, 0.0], np.eye(2)), 5, 0.1)
    for arguments, words in (
        (([0.0, 5.0],), r"num_samples must be a finite number > 0, got 0.0"),
        (([4.0, 5.0], -1.0), r"penalty must be a finite number >= 0, got -1.0"),
        (([4.0, 5.0], 0.0, 0.6), r"label_noise must lie in \[0, 1/2\), got 0.6"),
        (([4.0, 50_002.0],), r"must differ from the 50002 features, got 50002.0"),
        (([[4.0, 5.0]],), r"a list of models, got arrays of shape \(1, 2\)"),
        ((4.0,), r"k >= 2"),
    ):
        with pytest.raises(ValueError, match=words):
            WORLD.family(*arguments)
    laws = [noisy_ridge_law(CORE, n, 0.1) for n in (3.0, 6.0)]
    away = type(WORLD.target())([-1.0, 0.0])
    with pytest.raises(ValueError, match=r"needs a margin > 0 on"):
        model_family(laws, away, away, 1.0)
    with pytest.raises(ValueError, match=r"every variance in nuisance must be >= 0, got -1.0"):
        model_family(laws, type(away)([1.0, 0.0]), type(away)([1.0, 0.0]), -1.0)

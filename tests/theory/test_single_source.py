"""Theorem 1: the line, its place, its bending, and the exact law of the slope."""

from statistics import NormalDist

import jax
import numpy as np
import pytest
from gaussian_cases import FORMS, assert_mean_is, random_source, random_target
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from theory import (
    RatioLaw,
    Source,
    Target,
    averaging_law,
    bending,
    fieller_set,
    growth_exponent,
    margin,
    place,
    place_limit,
    slope,
    slope_at,
    slope_distribution,
)

SIZES = np.geomspace(1e-9, 1e15, 60)


@pytest.fixture(params=FORMS)
def problem(request):
    rng = np.random.default_rng(11)
    source = random_source(rng, request.param, 5)
    return source, random_target(rng, request.param, 5), random_target(rng, "full", 5)


def test_slope_moves_monotonically_between_its_two_ends(problem):
    source, ref, shift = problem
    slopes = np.asarray(slope_at(source, ref, shift, SIZES))
    ends = bending(source, ref, shift)
    assert not ends.straight
    assert slopes[0] == pytest.approx(ends.scarce, rel=1e-6)
    assert slopes[-1] == pytest.approx(ends.plentiful, rel=1e-6)
    assert ends.plentiful == pytest.approx(float(slope(source, ref, shift)), rel=1e-12)
    steps = np.diff(slopes) * np.sign(ends.plentiful - ends.scarce)
    assert np.all(steps >= -1e-12)
    assert "bends" in ends.describe()


def test_proportional_targets_give_a_straight_line_and_so_do_some_others():
    rng = np.random.default_rng(12)
    source, ref = random_source(rng, "full", 4), random_target(rng, "full", 4)
    shift = Target(rng.standard_normal(4), 2.25 * np.asarray(ref.covariance))
    ends = bending(source, ref, shift)
    assert ends.straight
    assert "straight" in ends.describe()
    expected = float(source.mean @ shift.mean / (1.5 * source.mean @ ref.mean))
    np.testing.assert_allclose(slope_at(source, ref, shift, SIZES), expected, rtol=1e-12)
    # Not necessary: isotropic noise and a mean with equal entries see only the trace of a diagonal Σ.
    even = Source(np.ones(2))
    assert bending(even, Target([1.0, 0.0], [2.0, 3.0]), Target([0.0, 1.0], [1.0, 4.0])).straight
    assert not bending(
        Source([1.0, 2.0]), Target([1.0, 0.0], [2.0, 3.0]), Target([0.0, 1.0], [1.0, 4.0])
    ).straight


def test_place_against_trained_classifiers():
    d, n = 400, 300
    rng = np.random.default_rng(13)
    source = Source(rng.standard_normal(d) / np.sqrt(d), rng.uniform(0.5, 2, d))
    target = Target(rng.standard_normal(d) / np.sqrt(d) + source.mean, rng.uniform(0.5, 2, d))
    weights = averaging_law([source], n).sample(jax.random.key(0), (4000,))
    margins = np.asarray(margin(weights, target))
    error = margins.std() / np.sqrt(len(margins))
    expected = float(place(source, target, n))
    assert abs(margins.mean() - expected) < 4 * error + abs(expected) * 15 / (8 * d) * 3


def test_place_grows_to_its_limit_no_faster_than_the_square_root(problem):
    source, ref, _ = problem
    places = np.abs(np.asarray(place(source, ref, SIZES)))
    assert np.all(np.diff(places) >= 0)
    assert place(source, ref, 1e15) == pytest.approx(float(place_limit(source, ref)), rel=1e-9)
    exponents = np.asarray(growth_exponent(source, ref, SIZES))
    assert np.all((exponents >= 0) & (exponents <= 0.5))
    assert exponents[0] == pytest.approx(0.5, abs=1e-6)
    numeric = np.log(np.abs(np.asarray(place(source, ref, SIZES * 1.001))) / places) / np.log(1.001)
    np.testing.assert_allclose(exponents, numeric, atol=1e-3)


def test_ratio_of_expected_margins_is_exact_for_isotropic_noise():
    # Few features on purpose: any finite-d bias of the slope would be large.
    source, ref, shift = Source([1.0, 0.5, 0.0]), Target([1.0, 0.2, 0.3]), Target([0.3, 0.9, -0.4])
    weights = averaging_law([source], 4).sample(jax.random.key(1), (100_000,))
    on_ref, on_shift = np.asarray(margin(weights, ref)), np.asarray(margin(weights, shift))
    assert_mean_is(on_shift - float(slope(source, ref, shift)) * on_ref, 0)


@pytest.mark.parametrize("n", [3, 30])
def test_slope_distribution_against_samples(n):
    rng = np.random.default_rng(14)
    source, ref = Source([1.0, 0.5, 0.2], [0.5, 1.0, 2.0]), Target([0.6, 0.9, 0.1], [1.0, 2.0, 3.0])
    shift = Target([0.8, -0.2, 0.5], np.array([4.0, 8.0, 12.0]))
    law = slope_distribution(source, ref, shift, n)
    weights = averaging_law([source], n).sample(jax.random.key(2), (40_000,))
    ratios = np.asarray(margin(weights, shift) / margin(weights, ref))
    for point in np.asarray(law.quantile([0.05, 0.3, 0.5, 0.8, 0.97])):
        p = float(law.cdf(point))
        assert abs(np.mean(ratios <= point) - p) < 4 * np.sqrt(p * (1 - p) / len(ratios))
    assert law.median() == pytest.approx(float(law.quantile(0.5)))
    truth = float(slope(source, ref, shift))
    pairs = rng.multivariate_normal(
        [law.numerator_mean, law.denominator_mean],
        [[law.numerator_variance, law.covariance], [law.covariance, law.denominator_variance]],
        4000,
    )
    sets = [law.fieller_set(x, y, level=0.9) for x, y in pairs]
    covered = np.mean([bool(found.contains(truth)) for found in sets])
    assert abs(covered - 0.9) < 4 * np.sqrt(0.9 * 0.1 / len(pairs))
    kinds = {found.kind for found in sets}
    assert "interval" in kinds
    assert (len(kinds) > 1) == (n == 3)  # few samples leave some sets unbounded


def test_the_ratio_is_certain_when_the_targets_point_the_same_way():
    source, ref = Source([1.0, 0.5]), Target([0.6, 0.9])
    law = slope_distribution(source, ref, Target([1.2, 1.8], 4.0), 2)
    np.testing.assert_allclose(law.quantile([0.01, 0.5, 0.99]), 1.0, rtol=1e-9)


@pytest.mark.parametrize(
    ("moments", "points"),
    [
        ((0, 0, 1, 1, 0), [(1.0, 0.75), (0.0, 0.5), (-1.0, 0.25)]),  # Cauchy
        ((0, 0, 4, 1, 0), [(2.0, 0.75)]),
        ((0, 0, 1, 1, 0.6), [(0.6, 0.5)]),
        ((2, 1, 1, 0, 0), [(2.0, 0.5), (3.0, 0.8413447460685429)]),  # constant denominator
        ((2, -1, 1, 0, 0), [(-2.0, 0.5), (-1.0, 0.8413447460685429)]),
        ((3, 1e9, 1, 1, 0), [(3e-9, 0.5)]),
    ],
)
def test_ratio_law_closed_forms(moments, points):
    law = RatioLaw(*moments)
    for ratio, probability in points:
        assert float(law.cdf(ratio)) == pytest.approx(probability, abs=1e-9)
        assert float(law.quantile(probability)) == pytest.approx(ratio, abs=1e-6)


@given(
    means=st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
    scales=st.tuples(st.floats(0.1, 3), st.floats(0.1, 3)),
    correlation=st.floats(-0.99, 0.99),
)
@settings(max_examples=40)
def test_ratio_law_is_a_distribution_and_fieller_solves_its_inequality(means, scales, correlation):
    (x, y), (a, b) = means, scales
    moments = (x, y, a * a, b * b, correlation * a * b)
    law = RatioLaw(*moments)
    t = np.tan(np.linspace(-1.57, 1.57, 201))
    values = law.cdf(t)
    assert np.all(np.diff(values) >= -1e-9)
    found = fieller_set(*moments, 0.9)
    inside = (x - t * y) ** 2 - 1.6448536269514722**2 * (a * a - 2 * t * correlation * a * b + t * t * b * b)
    clear = np.abs(inside) > 1e-9 * (1 + t * t)
    np.testing.assert_array_equal(found.contains(t)[clear], (inside <= 0)[clear])
    assume(y != 0)
    assert found.contains(x / y)


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ((1, 10, 1, 1, 0), "interval", "slopes from"),
        ((10, 0.1, 1, 1, 0), "complement", "all slopes except"),
        ((0.1, 0.1, 1, 1, 0), "everything", "every slope is possible"),
    ],
)
def test_fieller_set_says_what_it_is(arguments, kind, words):
    found = fieller_set(*arguments)
    assert found.kind == kind
    assert words in found.describe()
    assert found.bounded == (kind == "interval")


def test_fieller_set_with_one_open_end():
    # A measured reference margin of exactly z standard errors: the quadratic inequality becomes linear.
    z = NormalDist().inv_cdf(0.975)
    found = fieller_set(5.0, z, 1.0, 1.0, 0.0)
    assert found.kind == "interval"
    assert (found.high, found.bounded) == (np.inf, False)
    assert found.low == pytest.approx((25 - z * z) / (10 * z))
    assert "unbounded on one side" in found.describe()


def test_bad_input_raises_with_the_value():
    source, ref = Source([1.0, 1.0]), Target([1.0, 0.0])
    for function in (place, growth_exponent):
        with pytest.raises(ValueError, match=r"num_samples must be a finite number > 0, got 0.0"):
            function(source, ref, [5, 0])
    with pytest.raises(ValueError, match=r"positive multiple"):
        slope_distribution(source, ref, Target([1.0, 0.0], [1.0, 4.0]), 10)
    with pytest.raises(ValueError, match=r"variances must be >= 0, got -1"):
        RatioLaw(0.0, 1.0, -1.0, 1.0, 0.0)
    with pytest.raises(ValueError, match=r"squared covariance 4 exceeds"):
        RatioLaw(0.0, 1.0, 1.0, 1.0, 2.0)
    with pytest.raises(ValueError, match=r"level must lie strictly between 0 and 1, got 1.5"):
        fieller_set(0.0, 1.0, 1.0, 1.0, 0.0, 1.5)
    with pytest.raises(ValueError, match=r"must be finite"):
        RatioLaw(np.inf, 1.0, 1.0, 1.0, 0.0)
    with pytest.raises(ValueError, match=r"always 0"):
        RatioLaw(1.0, 0.0, 1.0, 0.0, 0.0)
    with pytest.raises(ValueError, match=r"strictly between 0 and 1"):
        RatioLaw(1.0, 0.0, 1.0, 1.0, 0.0).quantile(1.0)
    with pytest.raises(ValueError, match=r"inside jit"):
        jax.jit(lambda s: bending(s, ref, ref).plentiful)(source)

"""Theorem 2: the mediant slope of a mixture, its place, and where the mediant fails."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_cases import FORMS, dense, random_source, random_target
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import ortho_group

from theory import (
    Source,
    Target,
    averaging_law,
    halfway_share,
    limiting_slope,
    margin,
    mediant,
    mixture_place,
    mixture_slope,
    mixture_source,
    multinomial_law,
    place,
    share_for_slope,
    slope,
)

REF, SHIFT = Target([1.0, 1.0]), Target([1.0, 0.0], 2.25)
ROBUST, FRAGILE = Source([2.0, 1.0], 3.0, "robust"), Source([1.0, 3.0], [1.0, 2.0], "fragile")


def test_mediant_against_the_formula_and_its_weights():
    found = mixture_slope([ROBUST, FRAGILE], [0.3, 0.7], REF, SHIFT)
    a, b, p = np.array([2.0, 1.0]), np.array([3.0, 4.0]), np.array([0.3, 0.7])
    assert found.slope == pytest.approx(p @ a / (1.5 * p @ b), rel=1e-12)
    assert found.slope == pytest.approx(float(mediant(a / 1.5, b, p)), rel=1e-12)
    lone = [float(slope(source, REF, SHIFT)) for source in (ROBUST, FRAGILE)]
    assert found.slope == pytest.approx(np.dot(found.weights, lone), rel=1e-12)
    assert found.source_slopes == pytest.approx(lone)
    assert (found.low, found.high) == (min(lone), max(lone))
    assert found.is_mediant
    assert found.inside
    assert found.guarantee == "inside"
    assert found.vanishing == ()
    assert "a mediant and therefore inside" in found.describe()


def test_slope_ignores_the_noise_and_the_place_does_not():
    quiet = [Source(s.mean, 0.1) for s in (ROBUST, FRAGILE)]
    for shares in ([0.3, 0.7], [1.0, 0.0]):
        assert mixture_slope(quiet, shares, REF, SHIFT).slope == pytest.approx(
            mixture_slope([ROBUST, FRAGILE], shares, REF, SHIFT).slope
        )
    assert mixture_place(quiet, [0.3, 0.7], REF, 3) > mixture_place([ROBUST, FRAGILE], [0.3, 0.7], REF, 3)


def test_halfway_and_wanted_shares():
    sources = [ROBUST, FRAGILE]
    lone = [float(slope(source, REF, SHIFT)) for source in sources]
    half = halfway_share(sources, REF, SHIFT)
    assert half == pytest.approx(4 / 7)
    assert mixture_slope(sources, [half, 1 - half], REF, SHIFT).slope == pytest.approx(np.mean(lone))
    for wanted in np.linspace(lone[0], lone[1], 7):
        share = share_for_slope(sources, REF, SHIFT, wanted)
        assert mixture_slope(sources, [share, 1 - share], REF, SHIFT).slope == pytest.approx(wanted)
    for outside in (max(lone) + 0.01, min(lone) - 0.01):
        with pytest.raises(ValueError, match=r"no single mixture of these sources has slope"):
            share_for_slope(sources, REF, SHIFT, outside)


def test_negative_reference_signal_is_reported_and_can_leave_the_interval():
    against = Source([-1.0, -1.0], name="against")
    found = mixture_slope([ROBUST, against], [0.5, 0.5], REF, SHIFT)
    assert found.guarantee == "may leave"
    assert not found.inside
    assert "negative reference signal" in found.describe()
    (point,) = found.vanishing
    assert (point.first, point.second) == (0, 1)
    assert point.share == pytest.approx(0.4)
    assert "unbounded at share 0.4" in found.describe()
    vertical = mixture_slope([ROBUST, against], [0.4, 0.6], REF, SHIFT)
    assert vertical.guarantee == "vertical"
    assert vertical.slope == np.inf
    assert "unbounded" in vertical.describe()
    near = [
        abs(mixture_slope([ROBUST, against], [0.4 + e, 0.6 - e], REF, SHIFT).slope)
        for e in (1e-2, 1e-4, 1e-6)
    ]
    assert np.all(np.diff(near) > 10)
    # Slopes outside the interval are reached, too.
    share = share_for_slope([ROBUST, against], REF, SHIFT, found.slope)
    assert share == pytest.approx(0.5)


def test_without_proportional_covariances_the_mediant_does_not_apply():
    ref, shift = Target([1.0, 0.0]), Target([1.0, 0.0], [1.0, 4.0])
    sources = [Source([1.0, 1.0]), Source([1.0, -1.0])]
    found = mixture_slope(sources, [0.5, 0.5], ref, shift)
    assert found.source_slopes == pytest.approx([np.sqrt(2 / 5)] * 2)
    assert found.source_slopes[0] == pytest.approx(0.632, abs=5e-4)
    assert found.slope == pytest.approx(1.0, rel=1e-12)
    assert not found.is_mediant
    assert not found.inside
    assert found.guarantee == "not a mediant"
    assert "does not apply" in found.describe()
    for function in (
        lambda: share_for_slope(sources, ref, shift, 0.7),
        lambda: halfway_share(sources, ref, shift),
    ):
        with pytest.raises(ValueError, match=r"mediant does not apply"):
            function()
    weights = averaging_law(sources, np.array([5e9, 5e9])).sample(jax.random.key(0), (100,))
    np.testing.assert_allclose(margin(weights, shift) / margin(weights, ref), 1.0, rtol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_a_mixture_is_a_source(form):
    rng = np.random.default_rng(21)
    sources = [random_source(rng, f, 4, f) for f in (form, "diagonal", "full")]
    ref, shift = random_target(rng, form, 4), random_target(rng, "full", 4)
    shares = np.array([0.2, 0.3, 0.5])
    pooled = mixture_source(sources, shares)
    law = averaging_law(sources, 40 * shares)
    np.testing.assert_allclose(pooled.mean, law.mean, rtol=1e-12)
    np.testing.assert_allclose(pooled.covariance / 40, law.covariance, rtol=1e-12)
    assert mixture_place(sources, shares, ref, 40) == pytest.approx(float(place(pooled, ref, 40)), rel=1e-12)
    assert mixture_place(sources, shares, ref, 40) == pytest.approx(float(law.place(ref)), rel=1e-12)
    random = multinomial_law(sources, shares, 40)
    assert mixture_place(sources, shares, ref, 40, "multinomial") == pytest.approx(
        float(random.place(ref)), rel=1e-9
    )
    assert limiting_slope(sources, shares, ref, shift) == pytest.approx(
        float(slope(pooled, ref, shift)), rel=1e-9
    )
    assert pooled.name == f"{form}:0.2+diagonal:0.3+full:0.5"


@pytest.mark.parametrize("counts", ["fixed", "multinomial"])
def test_slope_and_place_against_trained_mixtures(counts):
    d, n, trials = 300, 200, 4000
    rng = np.random.default_rng(22)
    directions = np.linalg.qr(rng.standard_normal((d, 3)))[0].T
    sources = [Source(directions.T @ m) for m in ([1.0, 0.8, 1.2], [1.4, -0.3, -0.9])]
    ref, shift = (Target(directions.T @ m, c) for m, c in (([1.0, 0.3, 0.0], 1.0), ([0.4, 0.9, 0.0], 2.0)))
    shares = np.array([0.35, 0.65])
    first = np.full(trials, n * shares[0]) if counts == "fixed" else rng.binomial(n, shares[0], trials)
    means = np.stack([np.asarray(source.mean) for source in sources])
    weights = (np.stack([first, n - first], 1) / n) @ means + rng.standard_normal((trials, d)) / np.sqrt(n)
    on_ref, on_shift = (np.asarray(margin(weights, target)) for target in (ref, shift))
    predicted = mixture_slope(sources, shares, ref, shift).slope
    ratio = on_shift.mean() / on_ref.mean()
    ratio_error = np.std(on_shift - ratio * on_ref) / np.sqrt(trials) / on_ref.mean()
    assert abs(ratio - predicted) < 4 * ratio_error + 2 / d * abs(predicted)
    expected = float(mixture_place(sources, shares, ref, n, counts))
    error = on_ref.std() / np.sqrt(trials)
    assert abs(on_ref.mean() - expected) < 4 * error + 2 / d * expected


def test_curves_are_vectorised_and_differentiable():
    shares = np.linspace(0, 1, 11)[:, None] * [1, -1] + [0, 1]
    curve = limiting_slope([ROBUST, FRAGILE], shares, REF, SHIFT)
    assert curve.shape == (11,)
    each = [mixture_slope([ROBUST, FRAGILE], row, REF, SHIFT).slope for row in shares]
    np.testing.assert_allclose(curve, each, rtol=1e-12)
    places = mixture_place([ROBUST, FRAGILE], shares, REF, np.array([[10.0], [1e3]]))
    assert places.shape == (2, 11)
    push = jax.jit(jax.grad(lambda p: limiting_slope([ROBUST, FRAGILE], jnp.stack([p, 1 - p]), REF, SHIFT)))
    step = 1e-5
    rise = [limiting_slope([ROBUST, FRAGILE], [0.3 + e, 0.7 - e], REF, SHIFT) for e in (step, -step)]
    assert push(0.3) == pytest.approx(float(rise[0] - rise[1]) / (2 * step), rel=1e-6)


SIGNALS = st.floats(0.05, 10)


@given(data=st.data(), size=st.integers(2, 5))
@settings(max_examples=100)
def test_mediant_lies_between_the_ratios(data, size):
    x = data.draw(arrays(float, size, elements=st.floats(-10, 10)))
    y = data.draw(arrays(float, size, elements=SIGNALS))
    w = data.draw(arrays(float, size, elements=st.floats(0, 5)))
    assume(w.sum() > 1e-3)
    found = float(mediant(x, y, w))
    assert (x / y).min() - 1e-9 <= found <= (x / y).max() + 1e-9
    order = np.random.default_rng(0).permutation(size)
    assert found == pytest.approx(float(mediant(x[order], y[order], w[order])), rel=1e-9, abs=1e-12)
    assert found == pytest.approx(float(mediant(x, y, 7 * w)), rel=1e-9, abs=1e-12)


@given(seed=st.integers(0, 10_000), scale=st.floats(0.1, 10))
@settings(max_examples=15)
def test_slope_keeps_its_laws_under_rotation_scaling_and_permutation(seed, scale):
    rng = np.random.default_rng(seed)
    d, shares = 3, rng.dirichlet(np.ones(3))
    sources = [random_source(rng, form, d) for form in FORMS]
    ref = random_target(rng, "full", d)
    shift = Target(rng.standard_normal(d), 1.7 * np.asarray(ref.covariance))
    base = mixture_slope(sources, shares, ref, shift)
    assume(base.guarantee == "inside" and abs(base.slope) > 1e-3)
    assert base.inside
    turn = ortho_group.rvs(d, random_state=seed)

    def turned(item):
        matrix = turn @ dense(np.asarray(item.covariance), d) @ turn.T
        return type(item)(turn @ np.asarray(item.mean), (matrix + matrix.T) / 2)

    rotated = mixture_slope([turned(s) for s in sources], shares, turned(ref), turned(shift))
    assert rotated.slope == pytest.approx(base.slope, rel=1e-9)
    assert rotated.is_mediant
    longer = [Source(scale * s.mean, s.covariance) for s in sources]
    assert mixture_slope(longer, shares, ref, shift).slope == pytest.approx(base.slope, rel=1e-9)
    order = rng.permutation(3)
    assert mixture_slope([sources[i] for i in order], shares[order], ref, shift).slope == pytest.approx(
        base.slope
    )
    unit = [type(t)(scale * t.mean, scale**2 * t.covariance) for t in (ref, shift)]
    assert mixture_slope(sources, shares, *unit).slope == pytest.approx(base.slope, rel=1e-9)


def test_bad_input_raises_with_the_value():
    sources = [ROBUST, FRAGILE]
    with pytest.raises(ValueError, match=r"shares must sum to 1, got 0.9"):
        mixture_slope(sources, [0.4, 0.5], REF, SHIFT)
    with pytest.raises(ValueError, match=r"every entry of shares must be a number >= 0, got -0.5"):
        mixture_slope(sources, [1.5, -0.5], REF, SHIFT)
    with pytest.raises(ValueError, match=r"each of the 2 sources, got shape \(3,\)"):
        mixture_place(sources, [0.2, 0.3, 0.5], REF, 10)
    with pytest.raises(ValueError, match=r"num_samples must be a finite number > 0, got -1.0"):
        mixture_place(sources, [0.5, 0.5], REF, -1)
    with pytest.raises(ValueError, match=r"two sources are needed, got 1"):
        share_for_slope([ROBUST], REF, SHIFT, 0.5)
    with pytest.raises(ValueError, match=r"reference signals > 0, got 3 and -2"):
        halfway_share([ROBUST, Source([-1.0, -1.0])], REF, SHIFT)
    with pytest.raises(ValueError, match=r"one mixture"):
        mixture_slope(sources, np.full((3, 2), 0.5), REF, SHIFT)
    with pytest.raises(ValueError, match=r"shapes \(2,\), \(3,\) and \(2,\)"):
        mediant(np.ones(2), np.ones(3), np.ones(2))
    with pytest.raises(ValueError, match=r"inside jit"):
        jax.jit(lambda p: mixture_slope(sources, p, REF, SHIFT).slope)(jnp.array([0.5, 0.5]))

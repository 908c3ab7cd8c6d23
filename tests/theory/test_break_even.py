"""Section 4: when more, worse data is worth adding. References: the place of the mixture, scanned, and the exact sampler."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_cases import FORMS, random_source, random_target
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import gammaln, hyp1f1

from theory.break_even import (
    REGIONS,
    addition_map,
    break_even,
    break_even_bar,
    marginal_values,
)
from theory.classifiers import averaging_law
from theory.gaussian import Source, Target
from theory.mixing import mixture_place, mixture_source
from theory.monte_carlo import sample_averaging
from theory.reduced_problem import reduce_problem
from theory.source_statistics import source_statistics
from theory.trial_statistics import summarise

D = 1000


def vector(*entries, d=D):
    return np.r_[np.asarray(entries, float), np.zeros(d - len(entries))]


def pair(ratio=0.4, cosine=0.5, length=1.0, d=D):
    """Two sources of unit noise with a_1 = 1, a_2 = ratio, ‖ν_1‖ = 1, ‖ν_2‖ = length and this cosine."""
    sine = math.sqrt(1 - cosine**2)
    sources = Source(vector(1.0, d=d)), Source(vector(length * cosine, length * sine, d=d))
    return *sources, Target(vector(1.0, (ratio / length - cosine) / sine, d=d))


def adding(signals, gram, noises, num_kept):
    (a1, a2), (g11, g12, g22), (t1, t2) = signals, gram, noises
    return addition_map(a1, a2, g11, g12, g22, t1, t2, num_kept)


def brute_margins(kept, added, target, num_kept, amounts):
    counts = np.stack([np.full(len(amounts), float(num_kept)), amounts], -1)
    return source_statistics([kept, added], target).margins(counts)[:, 0]


def test_check_values():
    kept, added, target = pair()
    found = break_even(kept, added, target, 5)
    assert found.region == "hurts first, helps later"
    assert not found.first_sample_helps
    assert found.signal_ratio == pytest.approx(0.4)
    assert found.margin == pytest.approx(0.0705, abs=5e-5)
    assert found.stationary == pytest.approx(2.6, abs=0.05)
    assert found.stationary_margin == pytest.approx(0.0691, abs=5e-5)
    assert found.break_even == pytest.approx(6.45, abs=5e-3)
    assert found.margin_at(found.break_even) == pytest.approx(found.margin, rel=1e-12)
    assert found.limit == pytest.approx(0.4, rel=1e-12)
    assert found.best_amount() == math.inf
    assert [found.best_amount(budget) for budget in (0, 6.4, 6.5, 1e12)] == [0, 0, 6.5, 1e12]
    assert "is back at the start at 6.451 and rises to 0.4" in found.describe()
    values = brute_margins(kept, added, target, 5, np.array([0, 2.5, 2.5638, 2.7, 6.44, 6.46]))
    assert values[2] < min(values[1], values[3])
    assert values[4] < values[0] < values[5]


@pytest.mark.parametrize(
    ("ratio", "cosine", "length", "num_kept", "region"),
    [
        (0.9, 0.2, 1.0, 10_000, "add some"),
        (0.9, 0.2, 1.0, 10, "always add"),
        (0.1, 0.5, 1.0, 10_000, "add nothing"),
        (0.4, 0.5, 1.0, 5, "hurts first, helps later"),
    ],
)
def test_each_region_against_a_scan_and_in_words(ratio, cosine, length, num_kept, region):
    kept, added, target = pair(ratio, cosine, length)
    found = break_even(kept, added, target, num_kept)
    assert found.region == region
    assert found.describe().startswith(region)
    amounts = np.r_[0, np.geomspace(1e-3, 1e9, 4000)]
    check_against_scan(found, amounts, brute_margins(kept, added, target, num_kept, amounts))


def check_against_scan(found, amounts, values, rtol=1e-9):
    """Everything a result claims, held against margins on a fine grid of added amounts."""
    slack = rtol * np.abs(values).max()
    np.testing.assert_allclose(found.margin_at(amounts), values, atol=slack)
    best = found.best_amount(float(amounts[-1]))
    assert found.margin_at(best) >= values.max() - slack
    steps = np.diff(values)
    if found.region == "add nothing":
        assert (steps <= slack).all()
    elif found.region == "always add":
        assert (steps >= -slack).all()
        assert math.isnan(found.stationary)
    else:
        sign = 1 if found.region == "add some" else -1
        before = amounts[1:] <= found.stationary
        after = amounts[:-1] >= found.stationary
        assert (sign * steps[before] >= -slack).all()
        assert (sign * steps[after] <= slack).all()
        if not math.isfinite(found.break_even):
            assert (sign * (values - values[0]) >= -slack).all()
        else:
            inside = (amounts > 0) & (amounts < found.break_even)
            assert (sign * (values - values[0])[inside] >= -slack).all()
            assert (sign * (values - values[0])[amounts > found.break_even] <= slack).all()
            assert found.margin_at(found.break_even) == pytest.approx(found.margin, rel=1e-7)
            assert found.break_even > found.stationary > 0
    for budget in (0.0, 0.3, 7.0, 1e4):
        within = amounts <= budget
        amount = found.best_amount(budget)
        assert 0 <= amount <= budget
        assert found.margin_at(amount) >= values[within].max() - slack


@pytest.mark.parametrize("form", FORMS)
def test_any_covariances_and_kept_mixtures_against_a_scan(form):
    """The formulas hold for any Σ and different Γ; what is kept may be a mixture."""
    rng = np.random.default_rng(7)
    amounts = np.r_[0, np.geomspace(1e-4, 1e8, 600)]
    seen = set()
    for trial in range(25):
        sources = [random_source(rng, f, 5) for f in (form, "diagonal", "full")]
        target = random_target(rng, "full" if trial % 2 else form, 5)
        kept = mixture_source(sources[:2], [0.3, 0.7])
        added = Source(rng.uniform(0.05, 1.5) * sources[2].mean, rng.uniform(0.1, 3) * sources[2].covariance)
        num_kept = float(10 ** rng.uniform(-2, 4))
        found = break_even(kept, added, target, num_kept)
        values = brute_margins(kept, added, target, num_kept, amounts)
        check_against_scan(found, amounts, values)
        if trial < 2:
            law = averaging_law([*sources[:2], added], np.asarray([0.3 * num_kept, 0.7 * num_kept, 7.0]))
            assert found.margin_at(7.0) == pytest.approx(float(law.place(target)), rel=1e-9)
        seen.add(found.region)
    assert len(seen) >= 3


SIGNAL = st.floats(-2, 2).filter(lambda x: abs(x) > 1e-3)


@given(
    a=st.tuples(SIGNAL, SIGNAL),
    lengths=st.tuples(st.floats(0.05, 3), st.floats(0.05, 3)),
    cosine=st.floats(-0.999, 0.999),
    noise=st.tuples(st.floats(0.01, 50), st.floats(0.01, 50)),
    num_kept=st.floats(0.1, 1e4),
)
@settings(max_examples=300)
def test_map_against_a_scan_for_signals_of_either_sign(a, lengths, cosine, noise, num_kept):
    g = lengths[0] ** 2, cosine * lengths[0] * lengths[1], lengths[1] ** 2
    found = adding(a, g, noise, num_kept)
    y = np.r_[0, np.geomspace(1e-7, 1e9, 3000)] * num_kept
    k, b = num_kept**2 * g[0] + num_kept * noise[0], 2 * num_kept * g[1] + noise[1]
    values = (num_kept * a[0] + y * a[1]) / np.sqrt(k + b * y + g[2] * y**2)
    assert values[0] == pytest.approx(float(found.margin))
    assert values[-1] == pytest.approx(float(found.limit), rel=1e-2, abs=1e-3)
    best, region = float(found.best_amount), REGIONS[int(found.region)]
    at_best = (
        float(found.limit)
        if best == math.inf
        else (num_kept * a[0] + best * a[1]) / np.sqrt(k + b * best + g[2] * best**2)
    )
    slack = 1e-9 * np.abs(values).max()
    assert at_best >= values.max() - slack
    # "Hurts first" with an end above the start pays from break_even on, and never with an end below it.
    if region == "hurts first, helps later":
        pays = values > values[0] + slack
        limit_above = float(found.limit) > values[0] + slack
        assert pays.any() == limit_above or abs(float(found.limit) - values[0]) < 1e-3
        if pays.any():
            assert y[pays].min() >= float(found.break_even) * (1 - 1e-9)
            assert not pays[y < float(found.break_even) * (1 - 1e-6)].any()
    if region in ("add nothing", "always add"):
        assert math.isnan(float(found.break_even))


def test_a_negative_signal_never_pays_though_the_squares_agree():
    """a_2 < 0 with a_2²κ > A²α: the root of m² = m(0)² is a place where the margin is −m(0)."""
    g11, g12, g22, noise = 0.9, -0.3, 0.2, (0.1, 0.1)
    found = adding((1.0, -1.0), (g11, g12, g22), noise, 1.0)
    kappa, beta = g11 + 0.1, 2 * g12 + 0.1
    assert 1.0 * kappa > 1.0 * g22  # so that section 4's condition on squares would say it pays
    root = (beta + 2 * kappa) / (kappa - g22)
    assert (1 - root) / math.sqrt(kappa + beta * root + g22 * root**2) == pytest.approx(-1 / math.sqrt(kappa))
    assert REGIONS[int(found.region)] == "hurts first, helps later"
    assert math.isnan(float(found.break_even))
    assert float(found.best_amount) == 0


def test_boundaries():
    # P = 0 exactly, Q < 0: flat at first order, then it rises.
    on_the_bar = addition_map(1.0, 0.25, 1.0, 0.0, 0.01, 1.0, 1.0, 1.0)
    assert REGIONS[int(on_the_bar.region)] == "always add"
    assert float(on_the_bar.limit) > float(on_the_bar.margin)
    # P = 0, Q > 0: nothing. P = 0 = Q (noiseless and parallel): it makes no difference, and nothing is added.
    assert REGIONS[int(addition_map(1.0, 0.25, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0).region)] == "add nothing"
    parallel = addition_map(1.0, 3.0, 1.0, 3.0, 9.0, 0.0, 0.0, 7.0)
    assert REGIONS[int(parallel.region)] == "add nothing"
    assert float(parallel.limit) == float(parallel.margin) == 1.0
    # More of the same is always worth it, however much there is.
    for num_kept in (1.0, 1e6, 1e12):
        same = addition_map(0.7, 0.7, 1.3, 1.3, 1.3, 2.0, 2.0, num_kept)
        assert REGIONS[int(same.region)] == "always add"
    # Q = 0 with P > 0: no turning point.
    assert REGIONS[int(addition_map(1.0, 1.0, 1.0, 0.5, 1.0, 1.0, 1.0, 1.0).region)] == "always add"
    # a_2 = 0: at best it does nothing at all.
    assert REGIONS[int(addition_map(1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0).region)] == "add nothing"
    # A useless source can help by subtracting: it cancels a nuisance of the kept one.
    cancels = addition_map(1.0, -0.1, 26.0, -25.1, 25.01, 1.0, 1.0, 100.0)
    assert REGIONS[int(cancels.region)] == "add some"


def test_junk_without_mean_or_noise():
    kept, target = Source(vector(1.0, 0.5)), Target(vector(1.0))
    junk = break_even(kept, Source(vector(), 2.0), target, 30)
    assert junk.region == "add nothing"
    assert junk.limit == 0
    silent = break_even(kept, Source(vector(), 0.0), target, 30)
    assert silent.region == "add nothing"
    assert silent.limit == pytest.approx(silent.margin)
    # Kept data that know nothing of the target: any signal helps.
    ignorant = break_even(Source(vector(0.0, 1.0)), Source(vector(0.2)), target, 30)
    assert ignorant.region == "always add"
    assert ignorant.signal_ratio == math.inf
    both = break_even(Source(vector(0.0, 1.0)), Source(vector(0.0, 0.2)), target, 30)
    assert both.region == "add nothing"
    assert math.isnan(both.signal_ratio)


@pytest.mark.parametrize("num_kept", [1e-3, 1.0, 1e12])
def test_bar_moves_from_noise_to_overlap(num_kept):
    kept, added, target = pair(cosine=0.3)
    bar = float(break_even_bar(kept, added, target, num_kept))
    expected = (num_kept * 0.3 + D / 2) / (num_kept + D)
    assert bar == pytest.approx(expected, rel=1e-12)
    for side, helps in ((1e-3, True), (-1e-3, False)):
        kept, added, target = pair(ratio=bar + side, cosine=0.3)
        found = break_even(kept, added, target, num_kept)
        assert found.first_sample_helps is helps
        assert found.bar == pytest.approx(bar, rel=1e-9)
    noisier = Source(kept.mean, 4.0)
    assert float(break_even_bar(noisier, added, target, 1e-9)) == pytest.approx(1 / 8, rel=1e-6)


def test_marginal_values_are_the_gradient_and_change_sign_at_the_bar():
    rng = np.random.default_rng(3)
    sources = [random_source(rng, form, 4) for form in FORMS]
    target = random_target(rng, "full", 4)
    counts = np.array([[30.0, 5.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1e6, 2e6]])

    @jax.jit
    def place_of(n):
        return mixture_place(sources, n / n.sum(), target, n.sum())

    slope_of = jax.jit(jax.grad(place_of))
    found = marginal_values(sources, counts, target)
    for row, n in zip(found, counts, strict=True):
        np.testing.assert_allclose(row, slope_of(jnp.asarray(n)), rtol=1e-8, atol=1e-14)
    # More of everything moves the model up its line: along the counts themselves |m| grows.
    places = np.array([float(place_of(jnp.asarray(n))) for n in counts])
    assert (np.sum(np.asarray(found) * counts, -1) * np.sign(places) > 0).all()
    kept, added, target = pair()
    for ratio in (0.49, 0.51):
        kept, added, target = pair(ratio)
        value = float(marginal_values([kept, added], [5, 0], target)[1])
        assert (value > 0) == (ratio > 0.5)


def test_map_is_vectorised_jitted_and_agrees_with_single_calls():
    ratios, sizes = np.linspace(-0.5, 1.5, 9), np.geomspace(1, 1e6, 7)[:, None]
    fields = jax.jit(lambda r, n: addition_map(1.0, r, 1.0, 0.3, 0.64, D, D, n))(ratios, sizes)
    assert fields.region.shape == (7, 9)
    assert set(np.unique(fields.region)) == {0, 1, 2, 3}
    for i, n in enumerate(sizes[:, 0]):
        for j, ratio in enumerate(ratios):
            one = break_even(*pair(ratio, 0.3 / 0.8, 0.8), n)
            assert REGIONS[int(fields.region[i, j])] == one.region
            np.testing.assert_allclose(
                [fields.stationary[i, j], fields.break_even[i, j], fields.margin[i, j], fields.limit[i, j]],
                [one.stationary, one.break_even, one.margin, one.limit],
                rtol=1e-9,
            )


@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 100))
@settings(max_examples=25)
def test_scale_and_units_change_nothing(seed, scale):
    rng = np.random.default_rng(seed)
    a, g12 = rng.normal(size=2), rng.uniform(-0.5, 0.9)
    gram = np.array([1.0, g12, 0.8**2 + g12**2])
    noise, n = rng.uniform(0.1, 30, 2), rng.uniform(1, 100)
    base = adding(a, gram, noise, n)
    assume(float(abs(base.limit - base.margin)) > 1e-6)
    unit = adding(scale * a, scale**2 * gram, scale**2 * noise, n)
    batch = adding(a, gram, scale * noise, scale * n)
    for other, factor in ((unit, 1.0), (batch, scale)):
        assert int(other.region) == int(base.region)
        np.testing.assert_allclose(other.best_amount, factor * base.best_amount, rtol=1e-6)
        np.testing.assert_allclose(other.break_even, factor * base.break_even, rtol=1e-6)


def exact_margin(kept, added, target, counts):
    """E m of N(ν, v I) on Σ = I by the confluent hypergeometric function: no expansion at all."""
    law = averaging_law([kept, added], counts)
    v, d = float(law.covariance), law.dimension
    x = float(law.mean @ law.mean) / (2 * v)
    log_factor = gammaln((d + 1) / 2) - gammaln(d / 2 + 1)
    return (
        float(law.mean @ target.mean) / math.sqrt(2 * v) * math.exp(log_factor) * hyp1f1(0.5, d / 2 + 1, -x)
    )


def test_exact_expected_margin_keeps_the_regions():
    """Leading order against the exact expectation: a relative 1/(4d) or so that is nearly the same at every n_2."""
    for d in (20, 1000):
        kept, added, target = pair(d=d)
        n1 = 0.005 * d
        found = break_even(kept, added, target, n1)
        amounts = n1 * np.array([0, 0.25, 0.51, 1.29, 10, 1e3])
        exact = np.array([exact_margin(kept, added, target, [n1, n2]) for n2 in amounts])
        leading = np.asarray(found.margin_at(amounts))
        second = np.array(
            [float(averaging_law([kept, added], [n1, n2]).expected_margin(target)) for n2 in amounts]
        )
        assert (np.abs(exact / leading - 1) < 0.6 / d).all()
        assert (np.abs(second / exact - 1) < 4 / d**2).all()
        # The common factor cancels: ratios of margins are right to a relative O(1/d) of their own change.
        assert exact[2] < exact[0] < exact[4]
        assert abs(exact[3] / exact[0] - 1) < 1e-3


def test_hurts_first_helps_later_in_simulated_classifiers():
    kept, added, target = pair()
    found = break_even(kept, added, target, 5)
    problem = reduce_problem([kept, added], [target])
    amounts = np.array([0.0, found.stationary, found.break_even, 60.0])
    means, errors = [], []
    for number, amount in enumerate(amounts):
        draws = sample_averaging(jax.random.key(number), problem, [5.0, amount], 150_000)
        told = summarise(draws.margins)
        means.append(told.mean[0])
        errors.append(told.stderr[0])
        expected = float(averaging_law([kept, added], [5.0, amount]).expected_margin(target))
        assert abs(told.mean[0] - expected) < 4 * told.stderr[0]
        # The closed form's bias (a relative 1/(4d), 2e-5 here) is below the standard error of 8e-5.
        assert (
            abs(told.mean[0] - float(found.margin_at(amount))) < 4 * told.stderr[0] + 0.6 / D * found.margin
        )
    assert means[0] - means[1] > 8 * math.hypot(errors[0], errors[1])
    assert abs(means[2] - means[0]) < 4 * math.hypot(errors[0], errors[2])
    assert means[3] - means[0] > 50 * errors[0]


def test_single_precision(float32):
    kept, added, target = pair()
    assert kept.mean.dtype == jnp.float32
    found = break_even(kept, added, target, 5)
    assert found.region == "hurts first, helps later"
    assert found.break_even == pytest.approx(6.4506, rel=1e-3)
    assert found.margin_at(found.break_even) == pytest.approx(found.margin, rel=1e-5)
    same = addition_map(0.7, 0.7, 1.3, 1.3, 1.3, 2.0, 2.0, 1e12)
    assert not jnp.isnan(same.margin)
    assert same.margin.dtype == jnp.float32
    assert break_even_bar(kept, added, target, 1e12) == pytest.approx(0.5, rel=1e-5)
    values = marginal_values([kept, added], np.array([5e11, 1e12]), target)
    assert jnp.isfinite(values).all()


def test_bad_input_raises_with_the_value():
    kept, added, target = pair(d=3)
    with pytest.raises(ValueError, match=r"num_kept must be a finite number > 0, got -2.0"):
        break_even(kept, added, target, -2)
    with pytest.raises(ValueError, match=r"budget must be a number >= 0, got -1"):
        break_even(kept, added, target, 5).best_amount(-1)
    with pytest.raises(ValueError, match=r"budget must be a number >= 0, got nan"):
        break_even(kept, added, target, 5).best_amount(math.nan)
    with pytest.raises(ValueError, match=r"num_added must be a finite number >= 0, got -3.0"):
        break_even(kept, added, target, 5).margin_at(-3.0)
    with pytest.raises(ValueError, match=r"must have length or noise > 0"):
        break_even(Source(np.zeros(3), 0.0), added, target, 5)
    with pytest.raises(ValueError, match=r"overlap must be at most"):
        addition_map(1.0, 1.0, 1.0, 2.0, 1.0, 1.0, 1.0, 5)
    with pytest.raises(ValueError, match=r"added_noise must be a finite number >= 0, got -1.0"):
        addition_map(1.0, 1.0, 1.0, 0.2, 1.0, 1.0, -1.0, 5)
    with pytest.raises(ValueError, match=r"each of the 2 sources, got \(3,\)"):
        marginal_values([kept, added], [1, 2, 3], target)
    with pytest.raises(ValueError, match=r"sum to more than 0"):
        marginal_values([kept, added], [0, 0], target)
    with pytest.raises(ValueError, match=r"same number of features"):
        break_even(kept, Source([1.0]), target, 5)
    with pytest.raises(ValueError, match=r"inside jit"):
        jax.jit(lambda n: break_even(kept, added, target, n).margin)(5.0)

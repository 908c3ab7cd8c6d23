"""Section 5: the best mixture. References: fine grids on the simplex, SLSQP, closed forms, optimality conditions, samples."""

import math

import jax
import numpy as np
import pytest
from gaussian_cases import FORMS, random_source, random_target
from hypothesis import given, settings
from hypothesis import strategies as st
from portfolio_cases import NOISES, random_statistics, simplex_grid, worst
from scipy.optimize import minimize
from scipy.stats import ortho_group

from theory.break_even import break_even, marginal_values
from theory.gaussian import Source, Target
from theory.mixing import limiting_slope, mixture_place
from theory.monte_carlo import sample_averaging
from theory.portfolio import best_mixture, best_mixture_from_statistics, unconstrained_mixture
from theory.reduced_problem import reduce_problem
from theory.source_statistics import SourceStatistics, source_statistics
from theory.trial_statistics import summarise

GRID = simplex_grid(3, 60)


def setting(d=300):
    """Three sources of unit noise and two targets; the last source is junk."""

    def vector(*entries):
        return np.r_[np.asarray(entries, float), np.zeros(d - len(entries))]

    sources = [
        Source(vector(1.6, 0.3, 1.0, 0.4), 1.0, "stock"),
        Source(vector(0.7, 0.9, 0.1, 0.2), 1.0, "snapshots"),
        Source(vector(), 1.0, "junk"),
    ]
    return sources, [
        Target(vector(0.5, 1.0, 0.0, 0.0), 1.0, "style"),
        Target(vector(0.5, 0.0, 1.0, 0.2), 1.44, "viewpoint"),
    ]


def test_counterexample_with_different_noise_is_not_convex_and_still_solved():
    statistics = SourceStatistics([1.0, 2.0], np.zeros((2, 2)), [1.0, 4.0])
    along = statistics.margins([[1, 0], [0.5, 0.5], [0, 1]])[:, 0]
    np.testing.assert_allclose(along, [1, 0.949, 1], atol=5e-4)
    found = best_mixture_from_statistics(statistics, 1)
    assert found.margin == pytest.approx(1, rel=1e-9)
    assert found.shares.max() == pytest.approx(1, abs=1e-9)
    assert found.certified


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize(("num_targets", "proportional"), [(1, False), (3, True), (3, False)])
def test_against_a_fine_grid_and_slsqp(noise, num_targets, proportional):
    rng = np.random.default_rng(11)
    for n in (3.0, 200.0):
        statistics = random_statistics(rng, 3, num_targets, noise, proportional)
        found = best_mixture_from_statistics(statistics, n)
        assert found.certified
        assert found.shares.sum() == pytest.approx(1, abs=1e-12)
        np.testing.assert_allclose(found.counts, n * found.shares)
        np.testing.assert_allclose(found.margins, statistics.margins(found.counts))
        assert found.margin == found.margins.min() == found.margins[found.worst_target]
        scanned = worst(statistics, n * GRID)
        assert scanned.max() <= found.margin * (1 + 1e-6)
        assert scanned.max() >= found.margin - 0.02 * abs(found.margin)
        np.testing.assert_allclose(slsqp(statistics, n), found.margin, rtol=2e-5)


def slsqp(statistics, n):
    """The best of several starts of a general solver on max s subject to margin_t >= s."""
    size = statistics.num_sources
    values = []
    for start in (*np.eye(size), np.full(size, 1 / size)):
        start = 0.9 * start + 0.1 / size
        outcome = minimize(
            lambda x: -x[-1],
            np.r_[start, worst(statistics, n * start)],
            method="SLSQP",
            bounds=[(0, 1)] * size + [(None, None)],
            constraints=[
                {"type": "eq", "fun": lambda x: x[:-1].sum() - 1},
                {
                    "type": "ineq",
                    "fun": lambda x: statistics.margins(n * np.clip(x[:-1], 1e-12, 1))[...] - x[-1],
                },
            ],
            options={"ftol": 1e-12, "maxiter": 300},
        )
        shares = np.clip(outcome.x[:-1], 0, None)
        values.append(worst(statistics, n * shares / shares.sum()))
    return max(values)


@pytest.mark.parametrize("num_samples", [1, 1e3, 1e6, 1e12])
def test_closed_form_where_no_share_is_negative(num_samples):
    sources, _ = setting()
    two = sources[:2]
    target = Target(0.3 * two[0].mean + 0.7 * two[1].mean)  # the best mixture of endless data is 30% and 70%
    closed = unconstrained_mixture(two, target, num_samples)
    found = best_mixture(two, target, num_samples)
    assert found.margin <= closed.margin * (1 + 1e-12)
    gram = np.array([[float(a.mean @ b.mean) for b in two] for a in two])
    signals = np.array([float(s.mean @ target.mean) for s in two])
    expected = np.linalg.solve(gram + 300 / num_samples, signals)
    np.testing.assert_allclose(closed.shares, expected / expected.sum(), rtol=1e-6)
    assert closed.is_mixture == (num_samples > 1)
    if closed.is_mixture:
        np.testing.assert_allclose(found.shares, closed.shares, atol=1e-6)
        assert found.margin == pytest.approx(closed.margin, rel=1e-9)
    else:
        assert found.shares.min() == 0
    if num_samples == 1e12:
        np.testing.assert_allclose(found.shares, [0.3, 0.7], atol=1e-6)


def test_unconstrained_beats_every_signed_combination_and_keeps_its_conditions():
    rng = np.random.default_rng(4)
    sources, target = [random_source(rng, f, 6) for f in FORMS], random_target(rng, "full", 6)
    closed = unconstrained_mixture(sources, target, 50)
    statistics = source_statistics(sources, target)
    near = closed.shares + 1e-2 * rng.standard_normal((500, 3))
    near /= near.sum(1, keepdims=True)
    squared = np.einsum("ns,su,nu->n", near, statistics.grams[0], near) + near @ statistics.noises[0] / 50
    assert (near @ statistics.signals[0] / np.sqrt(squared)).max() <= closed.margin * (1 + 1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_optimality_conditions_are_equal_values_of_one_more_sample(form):
    rng = np.random.default_rng(8)
    sources = [random_source(rng, f, 6) for f in (form, "diagonal", "full", "scalar", form)]
    target = Target(sum(np.asarray(s.mean) for s in sources), random_target(rng, form, 6).covariance)
    for budgets in (None, [40, 500, 15, 3, 500]):
        found = best_mixture(sources, target, 100, budgets)
        assert found.certified
        values = np.asarray(marginal_values(sources, found.counts, target))
        free = [s for s in range(5) if found.shares[s] > 0 and s not in found.at_budget]
        scale = np.abs(values).max()
        assert np.ptp(values[free]) < 1e-4 * scale
        for s in range(5):
            if s in found.at_budget:
                assert values[s] >= values[free].max() - 1e-4 * scale
            elif s not in free:
                assert values[s] <= values[free].min() + 1e-4 * scale


def test_budgets_are_kept_and_named():
    rng = np.random.default_rng(2)
    statistics = random_statistics(rng, 4, 2, "common")
    free = best_mixture_from_statistics(statistics, 100)
    first = int(np.argmax(free.shares))
    budgets = np.full(4, np.inf)
    budgets[first] = 0.4 * free.counts[first]
    found = best_mixture_from_statistics(statistics, 100, budgets)
    assert found.at_budget == (first,)
    assert found.counts[first] == pytest.approx(budgets[first])
    assert found.margin < free.margin
    assert found.counts.sum() == pytest.approx(100)
    assert "(all there is)" in found.describe()
    # No choice: the budgets hold exactly what is asked for.
    forced = best_mixture_from_statistics(statistics, 100, [10, 20, 30, 40])
    np.testing.assert_allclose(forced.counts, [10, 20, 30, 40])
    none = best_mixture_from_statistics(statistics, 100, np.where(np.arange(4) == first, 0, np.inf))
    assert none.shares[first] == 0


@pytest.mark.parametrize(
    ("ratio", "cosine", "num_kept", "region"),
    [
        (0.9, 0.2, 10_000, "add some"),
        (0.9, 0.2, 10, "always add"),
        (0.1, 0.5, 10_000, "add nothing"),
        (0.4, 0.5, 5, "hurts first, helps later"),
    ],
)
def test_a_free_total_finds_what_break_even_says(ratio, cosine, num_kept, region):
    d, sine = 1000, math.sqrt(1 - cosine**2)
    kept = Source(np.r_[1.0, np.zeros(d - 1)], 1.0, "kept")
    added = Source(np.r_[cosine, sine, np.zeros(d - 2)], 1.0, "added")
    target = Target(np.r_[1.0, (ratio - cosine) / sine, np.zeros(d - 2)])
    told = break_even(kept, added, target, num_kept)
    assert told.region == region
    scan = source_statistics([kept, added], target)
    for budget in (0.5 * num_kept, 1e3 * num_kept):
        found = best_mixture([kept, added], target, math.inf, [num_kept, budget], total="at most")
        assert found.certified
        amount = told.best_amount(budget)
        expected = float(told.margin_at(amount))
        assert found.margin >= expected * (1 - 2e-6)
        if marginal_values([kept, added], [num_kept, amount], target)[0] > 0:
            # Nothing of what is kept is in the way: the free total keeps it all and adds what break_even says.
            assert found.margin == pytest.approx(expected, rel=2e-6)
            np.testing.assert_allclose(found.counts, [num_kept, amount], rtol=5e-3, atol=2e-3 * num_kept)
        else:
            assert found.counts[0] < 0.99 * num_kept
        grid = np.stack(np.meshgrid(np.linspace(0, num_kept, 41), np.linspace(0, budget, 81)), -1)
        assert scan.margins(grid.reshape(-1, 2)[1:]).max() <= found.upper_bound


def test_at_most_never_loses_to_exactly():
    rng = np.random.default_rng(6)
    for noise in NOISES:
        statistics = random_statistics(rng, 3, 2, noise)
        budgets = [30.0, 20.0, 70.0]
        exactly = best_mixture_from_statistics(statistics, 100, budgets)
        at_most = best_mixture_from_statistics(statistics, 100, budgets, total="at most")
        assert at_most.certified
        assert exactly.certified
        assert at_most.num_samples <= 100 * (1 + 1e-12)
        assert at_most.margin >= exactly.margin * (1 - 2e-6)
        counts = rng.uniform(0, 1, (4000, 3)) * budgets
        assert worst(statistics, counts[counts.sum(1) <= 100]).max() <= at_most.upper_bound


@given(seed=st.integers(0, 10_000), scale=st.floats(1e-4, 1e4))
@settings(max_examples=5)
def test_permutation_scale_rotation_and_units(seed, scale):
    rng = np.random.default_rng(seed)
    sources = [random_source(rng, f, 4) for f in FORMS]
    common = sum(np.asarray(s.mean) for s in sources)
    targets = [
        Target(common + 0.1 * rng.standard_normal(4), random_target(rng, f, 4).covariance) for f in FORMS[1:]
    ]
    try:
        base = best_mixture(sources, targets, 40)
    except ValueError:
        return  # no mixture with a positive margin on both
    order = rng.permutation(3)
    permuted = best_mixture([sources[i] for i in order], targets[::-1], 40)
    np.testing.assert_allclose(permuted.shares, base.shares[order], atol=2e-3)
    turn = ortho_group.rvs(4, random_state=seed)

    def turned(item, factor):
        matrix = np.asarray(item.covariance)
        matrix = turn @ (matrix if matrix.ndim == 2 else np.diag(np.broadcast_to(matrix, 4))) @ turn.T
        return type(item)(factor * turn @ np.asarray(item.mean), factor**2 * (matrix + matrix.T) / 2)

    # Rotated features in other units; other units for each target's mean and covariance alone change nothing either.
    rotated = best_mixture([turned(s, scale) for s in sources], [turned(t, 1.0) for t in targets], 40)
    assert rotated.margin == pytest.approx(base.margin, rel=3e-6)
    # A longer training set at more noise is the same problem.
    noisier = [Source(s.mean, scale * s.covariance) for s in sources]
    assert best_mixture(noisier, targets, 40 * scale).margin == pytest.approx(base.margin, rel=3e-6)


def test_means_of_any_length_and_sizes_of_any_order():
    rng = np.random.default_rng(3)
    means = rng.standard_normal((4, 6))
    lengths = np.array([1e-6, 1.0, 1e3, 1e6])
    target = means.sum(0)
    for n in (1.0, 1e6, 1e12):
        for noise in (1.0, lengths):
            scaled = SourceStatistics(
                lengths * (means @ target), means @ means.T * np.outer(lengths, lengths), 6 * noise
            )
            found = best_mixture_from_statistics(scaled, n)
            assert found.certified
            candidates = n * rng.dirichlet(np.ones(4), 3000) / lengths
            candidates *= n / candidates.sum(1, keepdims=True)
            assert worst(scaled, candidates).max() <= found.upper_bound


def test_junk_duplicates_and_lone_sources():
    sources, targets = setting()
    found = best_mixture(sources, targets, 1000)
    assert found.shares[2] == 0
    twins = best_mixture([*sources, sources[0]], targets, 1000)
    assert twins.margin == pytest.approx(found.margin, rel=1e-9)
    assert twins.shares[[0, 3]].sum() == pytest.approx(found.shares[0], abs=1e-5)
    lone = best_mixture(sources[:1], targets, 1000)
    np.testing.assert_array_equal(lone.shares, [1.0])
    assert lone.upper_bound >= lone.margin
    quiet = best_mixture([sources[0], Source(np.zeros(300), 0.0)], targets[0], 1000)
    assert quiet.certified  # a source without mean or noise dilutes nothing


def test_levels_weigh_the_targets():
    sources, targets = setting()
    for levels in ([1.0, 1.0], [1.0, 0.6], [3.0, 2.0]):
        found = best_mixture(sources, targets, 1000, levels=levels)
        assert found.margin == pytest.approx((found.margins / levels).min())
        scanned = source_statistics(sources, targets).margins(1000 * GRID) / levels
        assert scanned.min(1).max() <= found.upper_bound
        assert np.ptp(found.margins / levels) < 1e-6


def test_margin_is_best_in_a_mixture_and_slope_at_a_single_source():
    sources, targets = setting()
    two = sources[:2]
    shift = Target(0.3 * two[0].mean + 0.7 * two[1].mean)
    found = best_mixture(two, shift, 1e5)
    assert 0.01 < found.shares[0] < 0.99
    shares = np.linspace(0, 1, 101)[:, None] * [1, -1] + [0, 1]
    slopes = np.asarray(limiting_slope(two, shares, targets[1], shift))
    assert int(np.argmax(slopes)) in (0, 100)
    places = np.asarray(mixture_place(two, shares, shift, 1e5))
    assert 0 < int(np.argmax(places)) < 100
    assert places.max() <= found.upper_bound


def test_simulated_margins_are_those_predicted_and_the_best_is_best():
    sources, targets = setting()
    found = best_mixture(sources, targets, 4000)
    problem = reduce_problem(sources, targets)
    smallest = {}
    for number, (name, shares) in enumerate(
        {
            "best": found.shares,
            "equal": np.full(3, 1 / 3),
            "stock": np.eye(3)[0],
            "near": [0.3, 0.6, 0.1],
        }.items()
    ):
        counts = 4000 * np.asarray(shares)
        told = summarise(sample_averaging(jax.random.key(number), problem, counts, 8_000).margins)
        leading = source_statistics(sources, targets).margins(counts)
        assert (np.abs(told.mean - leading) < 4 * told.stderr + 2 / 300 * np.abs(leading)).all()
        smallest[name] = told.mean.min()
    assert smallest["best"] == max(smallest.values())
    assert smallest["best"] > smallest["equal"] + 0.05


def test_single_precision(float32):
    sources, targets = setting()
    found = best_mixture(sources, targets, 1000)
    assert found.certified
    assert found.shares.dtype == np.float64
    assert found.shares[0] == pytest.approx(0.78, abs=0.15)


def test_words():
    sources, targets = setting()
    text = best_mixture(sources, targets, 1000).describe()
    assert text.startswith("1000 samples, ")
    assert "% snapshots" in text
    assert "the worst of 2 targets; no mixture is ahead by more than" in text
    assert "junk" not in text
    hard = random_statistics(np.random.default_rng(0), 3, 1, "per source")
    stopped = best_mixture_from_statistics(hard, 1.0, total="at most", budgets=[0.2, 0.3, 0.5], max_boxes=1)
    if not stopped.certified:
        assert "not certified" in stopped.describe()
    assert stopped.upper_bound >= stopped.margin


def test_bad_input_raises_with_the_value():
    sources, targets = setting(d=5)
    with pytest.raises(ValueError, match=r"budgets hold 6 samples in all, fewer than the 10 asked for"):
        best_mixture(sources, targets, 10, [1, 2, 3])
    with pytest.raises(ValueError, match=r"num_samples must be a finite number > 0, got 0"):
        best_mixture(sources, targets, 0)
    with pytest.raises(ValueError, match=r"num_samples must be a finite number > 0, got inf"):
        best_mixture(sources, targets, math.inf)
    with pytest.raises(ValueError, match=r"bounded by num_samples or budgets, got inf"):
        best_mixture(sources, targets, math.inf, total="at most")
    with pytest.raises(ValueError, match=r"each of the 3 sources, got \(2,\)"):
        best_mixture(sources, targets, 10, [5, 5])
    with pytest.raises(ValueError, match=r"every budget must be a number >= 0, got -1"):
        best_mixture(sources, targets, 10, [20, -1, 5])
    with pytest.raises(ValueError, match=r"each of the 2 targets, got \(3,\)"):
        best_mixture(sources, targets, 10, levels=[1, 1, 1])
    with pytest.raises(ValueError, match=r"every level must be a finite number > 0, got 0"):
        best_mixture(sources, targets, 10, levels=[1, 0])
    with pytest.raises(ValueError, match=r"tolerance must lie in \(0, 1\)"):
        best_mixture(sources, targets, 10, tolerance=0.0)
    with pytest.raises(ValueError, match=r"no mixture .* positive margin .* style -1.1"):
        best_mixture([Source(-s.mean) for s in sources[:2]], targets, 10)
    opposite = SourceStatistics([[1.0, -1.0], [-1.0, 1.0]], np.eye(2), 1.0)
    with pytest.raises(
        ValueError, match=r"no mixture within the budgets has a positive margin on every target"
    ):
        best_mixture_from_statistics(opposite, 10)
    with pytest.raises(ValueError, match=r"signal but no length"):
        best_mixture_from_statistics(SourceStatistics([1.0, 0.5], np.diag([0.0, 1.0]), [0.0, 1.0]), 10)
    with pytest.raises(ValueError, match=r"positive definite M"):
        unconstrained_mixture([sources[0], sources[0]], targets[0], 10)
    with pytest.raises(ValueError, match=r"num_samples must be a finite number > 0, got -1"):
        unconstrained_mixture(sources[:2], targets[0], -1)
    with pytest.raises(ValueError, match=r"positive sum"):
        unconstrained_mixture([Source(-s.mean, s.covariance) for s in sources[:2]], targets[0], 1e6)
    with pytest.raises(ValueError, match=r"inside jit"):
        jax.jit(lambda x: best_mixture([Source(x)], targets, 10).margin)(np.ones(5))

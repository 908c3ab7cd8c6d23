"""The dual bound holds whatever multipliers it is given, the relaxation only raises, and a search is certified."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from portfolio_cases import NOISES, random_statistics, simplex_grid, worst
from scipy.optimize import linprog

from theory.portfolio import best_mixture_from_statistics
from theory.portfolio_certificates import proves_empty, upper_bound
from theory.portfolio_cone import best_worst_signal, emptiness_prices
from theory.portfolio_problem import mixture_problem
from theory.portfolio_search import search
from theory.source_statistics import SourceStatistics


def problem_of(statistics, n=5.0, caps=None, low=1.0):
    size = statistics.num_sources
    caps = np.ones(size) if caps is None else caps
    return mixture_problem(statistics, n, caps, (low, 1.0), np.ones(statistics.num_targets))


@given(
    seed=st.integers(0, 10_000),
    size=st.integers(1, 5),
    targets=st.integers(1, 3),
    noise=st.sampled_from(NOISES),
    low=st.sampled_from([1.0, 0.3]),
)
@settings(max_examples=120)
def test_no_feasible_mixture_exceeds_the_bound_of_any_multipliers(seed, size, targets, noise, low):
    """λ, η and the point are drawn at random: the bound may be loose, never wrong."""
    rng = np.random.default_rng(seed)
    problem = problem_of(random_statistics(rng, size, targets, noise), 10 ** rng.uniform(-1, 3), None, low)
    box = problem.initial_box()
    shrink = np.sort(rng.random((len(box), 2)), 1)
    box = box[:, :1] + shrink * (box[:, 1:] - box[:, :1])
    point = rng.dirichlet(np.ones(size))
    groups = len(box)
    bound = upper_bound(
        problem,
        box,
        point,
        rng.exponential(size=targets),
        rng.exponential(size=groups),
        rng.exponential(size=groups),
    )
    mixtures = rng.dirichlet(np.full(size, 0.5), 500)
    mixtures *= rng.uniform(low, 1, (500, 1)) if low < 1 else 1.0
    noises = mixtures @ problem.shapes.T
    inside = ((noises >= box[:, 0]) & (noises <= box[:, 1])).all(1)
    for p in mixtures[inside]:
        assert problem.level(p) <= bound
    # The relaxation only raises margins, and its tangents lie below it.
    _, slopes, constants = problem.relaxed_lengths(point, box)
    for p in mixtures[inside][:50]:
        lengths, _, _ = problem.relaxed_lengths(p, box)
        true = np.sqrt(np.einsum("s,tsu,u->t", p, problem.grams, p) + problem.noises @ p)
        assert (lengths <= true * (1 + 1e-12)).all()
        assert (slopes @ p + constants <= lengths * (1 + 1e-12)).all()


def test_one_target_bound_by_hand():
    """max_s a_s ‖p̂‖/(Mp̂)_s, exact at the best mixture."""
    rng = np.random.default_rng(1)
    statistics = random_statistics(rng, 4, 1, "common")
    problem, no_box, none = problem_of(statistics), np.zeros((0, 2)), np.zeros(0)
    matrix = problem.factors[0].T @ problem.factors[0]
    for point in (np.full(4, 0.25), np.array([0.7, 0.1, 0.1, 0.1])):
        turned = matrix @ point
        ratios = problem.signals[0] * np.sqrt(point @ turned) / turned
        bound = upper_bound(problem, no_box, point, np.ones(1), none, none)
        if (turned > 0).all():
            assert bound == pytest.approx(ratios.max(), rel=1e-9)
    found = best_mixture_from_statistics(statistics, 5.0)
    tight = upper_bound(problem, no_box, found.shares, np.ones(1), none, none)
    assert tight == pytest.approx(found.margin, rel=1e-9)


def test_useless_multipliers_prove_nothing():
    problem = problem_of(random_statistics(np.random.default_rng(0), 3, 2, "common"))
    point, none = np.full(3, 1 / 3), np.zeros(0)
    for weights in ([0.0, 0.0], [-1.0, 0.0], [np.nan, 1.0], [np.inf, 1.0]):
        assert upper_bound(problem, np.zeros((0, 2)), point, np.asarray(weights), none, none) == np.inf


@given(seed=st.integers(0, 10_000), low=st.floats(0.05, 1))
@settings(max_examples=60)
def test_linear_functions_are_maximised_exactly(seed, low):
    rng = np.random.default_rng(seed)
    caps = rng.uniform(0.2, 1, 4)
    caps *= max(1.0, 1.01 / caps.sum())
    problem = problem_of(random_statistics(rng, 4, 1, "per source"), 5.0, caps, low)
    c = rng.standard_normal(4)
    best = problem.maximise_linear(c)
    assert low - 1e-12 <= best.sum() <= 1 + 1e-12
    assert ((best >= 0) & (best <= problem.caps + 1e-15)).all()
    reference = linprog(
        -c, A_ub=[np.ones(4), -np.ones(4)], b_ub=[1, -low], bounds=[(0, float(cap)) for cap in problem.caps]
    )
    assert c @ best == pytest.approx(-reference.fun, abs=1e-9)


def test_a_box_without_mixtures_is_proved_empty_and_no_other():
    rng = np.random.default_rng(5)
    problem = problem_of(random_statistics(rng, 4, 3, "per pair"), 2.0)
    assert len(problem.shapes) == 3
    whole = problem.initial_box()
    assert not proves_empty(problem, whole, *emptiness_prices(problem, whole))
    mixtures = simplex_grid(4, 25) @ problem.shapes.T
    proved = 0
    for _ in range(60):
        ends = np.sort(rng.random((3, 2)), 1)
        box = whole[:, :1] + ends * (whole[:, 1:] - whole[:, :1])
        empty = proves_empty(problem, box, *emptiness_prices(problem, box))
        met = ((mixtures >= box[:, 0]) & (mixtures <= box[:, 1])).all(1).any()
        assert not (empty and met)
        proved += empty
        # Prices drawn at random prove nothing false either.
        if proves_empty(problem, box, rng.exponential(size=3), rng.exponential(size=3)):
            assert not met
    assert proved > 10


def test_chords_touch_at_the_ends_and_lie_below_in_between():
    statistics = SourceStatistics([1.0, 2.0], np.zeros((2, 2)), [1.0, 4.0])
    problem = problem_of(statistics, 1.0)
    (low, high) = problem.initial_box()[0]
    assert high / low == pytest.approx(4)
    rows, offsets = problem.chords(np.array([[low, high]]))
    shares = np.linspace(0, 1, 11)
    p = np.stack([1 - shares, shares], -1)
    chord, noise = (p @ rows.T + offsets)[:, 0] ** 2, p @ problem.noises[0]
    np.testing.assert_allclose(chord[[0, -1]], noise[[0, -1]])
    assert (chord[1:-1] < noise[1:-1]).all()


@pytest.mark.parametrize("low", [1.0, 0.2])
def test_search_closes_the_gap_that_one_box_leaves(low):
    rng = np.random.default_rng(9)
    open_after_one = 0
    for _ in range(4):
        statistics = random_statistics(rng, 3, 2, "per pair")
        problem = problem_of(statistics, 1.0, np.array([0.5, 0.6, 0.7]), low)
        _, start = best_worst_signal(problem, problem.initial_box())
        assert start is not None
        first = search(problem, start.point, 1e-6, 1)
        last = search(problem, start.point, 1e-6, 500)
        assert last.upper_bound <= last.level * (1 + 1e-6)
        assert first.upper_bound >= last.upper_bound * (1 - 1e-9)
        open_after_one += first.upper_bound > first.level * (1 + 1e-6)
        totals = np.linspace(low, 1, 25 if low < 1 else 1)
        mixtures = (totals[:, None, None] * simplex_grid(3, 40)).reshape(-1, 3)
        mixtures = mixtures[(mixtures <= problem.caps).all(1)]
        levels = [problem.level(p) for p in mixtures]
        assert max(levels) <= last.upper_bound
        assert max(levels) >= last.level * 0.97
    assert open_after_one >= 1


def _boxed(statistics, n, budgets):
    caps = None if budgets is None else np.minimum(budgets / n, 1)
    problem = problem_of(statistics, n, caps)
    return problem, problem.initial_box()


@pytest.mark.slow
def test_many_random_problems_are_certified():
    """Sources of any length, budgets, totals and noise; no mixture drawn at random beats a certificate."""
    solved = 0
    for seed in range(400):
        rng = np.random.default_rng([1, seed])
        noise = NOISES[int(rng.integers(1, 4))]
        statistics = random_statistics(
            rng, int(rng.integers(1, 7)), int(rng.integers(1, 4)), noise, bool(rng.integers(2)), 9
        )
        size, n = statistics.num_sources, float(10 ** rng.uniform(0, 9))
        lengths = 10 ** rng.uniform(-2, 2, size)
        scaled = SourceStatistics(
            statistics.signals * lengths, statistics.grams * np.outer(lengths, lengths), statistics.noises
        )
        budgets = n * rng.dirichlet(np.ones(size)) * rng.uniform(1.01, 4) if seed % 2 else None
        total = "at most" if rng.integers(2) else "exactly"
        signal, _ = best_worst_signal(*_boxed(scaled, n, budgets))
        if not signal > 1e-9:
            continue  # no mixture with a positive margin on every target
        found = best_mixture_from_statistics(scaled, n, budgets, total)
        solved += 1
        assert found.certified, (seed, found.gap)
        counts = n * rng.dirichlet(np.full(size, 0.5), 400)
        if budgets is not None:
            counts = counts[(counts <= budgets).all(1)]
        if len(counts):
            assert np.nanmax(worst(scaled, counts)) <= found.upper_bound
    assert solved > 300

"""Exact samplers of learners that whiten: held against brute force by distribution, and against known limits."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LinearRegression, Ridge

from theory import brute_force_learners
from theory.brute_force_learners import brute_force_learner, brute_force_weights
from theory.exact_geometry import bartlett_rows, check_rows, generator_of
from theory.exact_least_squares import sample_least_squares, sample_pooled_lda, whiten_problem
from theory.exact_minimum_norm import sample_minimum_norm
from theory.exact_ridge import sample_ridge
from theory.gaussian import Source, Target, margin
from theory.monte_carlo import sample_averaging
from theory.reduced_problem import reduce_problem

KEY = jax.random.key(20240613)
# Reject only what is far beyond chance: ten comparisons per case at this level.
LEVEL = 1e-4
TRIALS = 12_000


def p_value(first, second) -> float:
    result: Any = ks_2samp(np.asarray(first), np.asarray(second), method="asymp")
    return result.pvalue


def world(d, variances, seed=3):
    """Sources and three targets in d dimensions; the last target is isotropic only off one coordinate beyond the means."""
    rng = np.random.default_rng(seed)

    def vector():
        return np.r_[0.7 * rng.standard_normal(min(d, 3)), np.zeros(max(d - 3, 0))]

    sources = tuple(Source(vector(), variance, f"s{i}") for i, variance in enumerate(variances))
    odd = np.ones(d)
    odd[-1] = 3.0
    return sources, (Target(vector()), Target(vector(), 2.25), Target(vector(), odd))


def exact(learner, problem, counts, penalty, trials, key=KEY):
    if learner == "ridge":
        return sample_ridge(key, problem, counts, penalty, trials)
    sampler = {
        "least_squares": sample_least_squares,
        "pooled_lda": sample_pooled_lda,
        "minimum_norm": sample_minimum_norm,
    }[learner]
    return sampler(key, problem, counts, trials)


def p_values(first, second):
    """Projections, squared lengths and margins on three targets, and the difference of two margins of one classifier."""
    pairs = [
        (np.asarray(getattr(draws, name))[:, t] for draws in (first, second))
        for name in ("projections", "squared_lengths", "margins")
        for t in range(3)
    ]
    pairs.append(np.asarray(draws.margins[:, 0] - draws.margins[:, 2]) for draws in (first, second))
    return [p_value(*pair) for pair in pairs]


CASES = [
    ("least_squares", 8, [12, 9], [2.0, 2.0], 0),
    ("least_squares", 8, [4, 5], [1.0, 1.0], 0),  # n < d + S: a singular Wishart matrix
    ("least_squares", 6, [4, 2], [1.0, 1.0], 0),  # n = d: interpolation
    ("least_squares", 3, [3, 0], [1.0, 1.0], 0),  # one source without samples
    ("least_squares", 2, [2, 3, 4], [1.0] * 3, 0),  # more sources than features
    ("least_squares", 4, [9, 8], [0.5, 0.5], 0),  # d = r: no dimension off the means
    ("pooled_lda", 8, [12, 9], [2.0, 2.0], 0),
    ("pooled_lda", 5, [4, 3], [1.0, 1.0], 0),  # n = d + S
    ("pooled_lda", 3, [4, 3, 4], [1.0] * 3, 0),
    ("minimum_norm", 12, [4, 3], [1.0, 4.0], 0),
    ("minimum_norm", 12, [5, 7], [1.0, 0.3], 0),  # n = d
    ("minimum_norm", 4, [1], [2.0], 0),  # n = 1: parallel to the sample
    ("minimum_norm", 3, [1, 1, 1], [2.0, 1.0, 0.5], 0),  # one sample from every source
    ("ridge", 8, [12, 9], [2.0, 2.0], 0.3),
    ("ridge", 12, [4, 3], [2.0, 2.0], 0.05),
    ("ridge", 7, [8, 1, 6], [2.0] * 3, 3.0),  # blocks that end in the middle
    ("ridge", 3, [1], [2.0], 0.3),
    ("ridge", 10, [5, 6], [1.0, 1.0], 0.01),
    ("ridge", 2, [3, 4, 5], [1.0] * 3, 0.5),
]


@pytest.mark.parametrize(("learner", "d", "counts", "variances", "penalty"), CASES)
def test_exact_sampler_has_the_distribution_of_brute_force(learner, d, counts, variances, penalty):
    sources, targets = world(d, variances)
    first, second = jax.random.split(KEY)
    reduced = exact(learner, reduce_problem(sources, targets), counts, penalty, TRIALS, first)
    brute = brute_force_learner(second, sources, counts, targets, TRIALS, learner, penalty)
    assert np.isfinite(np.asarray(reduced.margins)).all()
    assert min(p_values(reduced, brute)) > LEVEL


@pytest.mark.parametrize(("learner", "counts"), [("least_squares", 11), ("minimum_norm", 6), ("ridge", 6)])
def test_the_comparison_notices_one_sample_more(learner, counts):
    sources, targets = world(9, [1.0])
    brute = brute_force_learner(KEY, sources, [counts], targets, TRIALS, learner, 0.001)
    wrong = exact(learner, reduce_problem(sources, targets), [counts + 1], 0.001, TRIALS)
    assert min(p_values(wrong, brute)) < LEVEL


@pytest.mark.parametrize("form", ["diagonal", "full"])
@pytest.mark.parametrize("learner", ["least_squares", "pooled_lda"])
def test_any_common_covariance_is_as_good_as_the_identity(form, learner):
    rng, d = np.random.default_rng(1), 6
    factor = rng.standard_normal((d, d))
    noise = np.linspace(0.4, 3, d) if form == "diagonal" else factor @ factor.T / d + 0.2 * np.eye(d)
    sources = [Source(0.6 * rng.standard_normal(d), noise) for _ in range(2)]
    targets = [Target(rng.standard_normal(d), c * noise) for c in (1.0, 4.0, 0.5)]
    reduced = exact(learner, whiten_problem(sources, targets), [6, 5], 0, TRIALS)
    brute = brute_force_learner(KEY, sources, [6, 5], targets, TRIALS, learner)
    assert min(p_values(reduced, brute)) > LEVEL


def test_whitening_leaves_a_low_rank_difference_to_the_reduced_problem():
    d = 30
    noise = np.linspace(0.5, 2, d)
    spiked = np.diag(noise) + 2 * np.outer(np.ones(d), np.ones(d)) / d
    sources = [Source(np.r_[0.8, np.zeros(d - 1)], noise)]
    targets = [Target(np.ones(d) / 3, spiked), Target(np.ones(d), noise), Target(np.ones(d), 2 * noise)]
    problem = whiten_problem(sources, targets)
    assert problem.num_orthogonal == d - 2
    brute = brute_force_learner(KEY, sources, [40], targets, 5000, "least_squares")
    assert min(p_values(sample_least_squares(KEY, problem, [40], 5000), brute)) > LEVEL


@pytest.mark.parametrize("d", [4, 9])
def test_least_squares_and_minimum_norm_meet_where_n_is_d(d):
    problem = reduce_problem(*world(d, [1.0, 1.0]))
    counts = [d - 2, 2]
    first = sample_least_squares(KEY, problem, counts, TRIALS)
    second = sample_minimum_norm(jax.random.key(2), problem, counts, TRIALS)
    assert min(p_values(first, second)) > LEVEL


@pytest.mark.parametrize("counts", [[9, 6], [2, 3]])
def test_ridge_runs_from_least_squares_or_minimum_norm_to_averaging(counts):
    problem = reduce_problem(*world(8, [1.0, 1.0]))
    weak = sample_ridge(KEY, problem, counts, 1e-9, TRIALS)
    end = (sample_least_squares if sum(counts) > 8 else sample_minimum_norm)(KEY, problem, counts, TRIALS)
    assert min(p_values(weak, end)) > LEVEL
    strong = sample_ridge(KEY, problem, counts, 1e6, TRIALS)
    average = sample_averaging(KEY, problem, counts, TRIALS)
    assert min(p_value(strong.margins[:, t], average.margins[:, t]) for t in range(3)) > LEVEL
    np.testing.assert_allclose(
        np.mean(strong.projections, 0) * 1e6, np.mean(average.projections, 0), atol=0.02
    )


def test_brute_force_solves_what_scikit_learn_solves(monkeypatch):
    sources, _ = world(5, [1.0, 1.0])
    captured = []
    solve = brute_force_learners.solve_square
    monkeypatch.setattr(
        brute_force_learners, "solve_square", lambda *a: captured.append(a[1][0]) or solve(*a)
    )

    def trained(learner, counts):
        weights = brute_force_weights(KEY, sources, counts, 1, learner, 0.2)
        return np.asarray(weights[0]), captured[-1], np.ones(sum(counts))

    w, u, y = trained("least_squares", [20, 10])
    np.testing.assert_allclose(w, LinearRegression(fit_intercept=False).fit(u, y).coef_, rtol=1e-8)
    w, u, y = trained("ridge", [20, 10])
    np.testing.assert_allclose(w, Ridge(alpha=30 * 0.2, fit_intercept=False).fit(u, y).coef_, rtol=1e-8)
    w, u, y = trained("minimum_norm", [2, 1])
    np.testing.assert_allclose(w, np.linalg.lstsq(u, y, rcond=None)[0], rtol=1e-8)
    # With u centred within its source, ±(centred + overall mean) are two classes with that scatter and opposite means.
    w, u, _ = trained("pooled_lda", [20, 10])
    centred = np.concatenate([u[:20] - u[:20].mean(0), u[20:] - u[20:].mean(0)]) + u.mean(0)
    lda = LinearDiscriminantAnalysis(solver="lsqr").fit(
        np.r_[centred, -centred], np.r_[np.ones(30), np.zeros(30)]
    )
    coefficients = lda.coef_[0]
    np.testing.assert_allclose(w / np.linalg.norm(w), coefficients / np.linalg.norm(coefficients), rtol=1e-8)


def test_lda_blind_to_the_sources_has_the_direction_of_least_squares():
    sources, _ = world(4, [1.0, 1.0])
    rng = np.random.default_rng(0)
    u = np.concatenate([np.asarray(s.mean) + rng.standard_normal((12, 4)) for s in sources])
    squares = np.linalg.lstsq(u, np.ones(24), rcond=None)[0]
    blind = np.linalg.solve(np.cov(u.T), u.mean(0))
    np.testing.assert_allclose(blind / np.linalg.norm(blind), squares / np.linalg.norm(squares), rtol=1e-10)


@pytest.mark.parametrize("delta", [1.5, 4.0])
def test_one_source_in_the_limit_of_many_features(delta):
    """LDA at n/d = δ: margin |ν|² sqrt(1 − 1/δ)/sqrt(|ν|² + 1/δ), whatever n and d beyond that."""
    d, signal = 10**6, 1.3
    problem = reduce_problem([Source([signal])], [Target([signal])], num_features=d)
    for sampler in (sample_least_squares, sample_pooled_lda):
        margins = np.asarray(sampler(KEY, problem, [int(delta * d)], 2000).margins[:, 0])
        expected = signal**2 * np.sqrt(1 - 1 / delta) / np.sqrt(signal**2 + 1 / delta)
        assert margins.mean() == pytest.approx(expected, abs=4 * margins.std() / np.sqrt(2000) + 3 / d)
        assert margins.std() < 5e-3


@pytest.mark.parametrize("delta", [0.25, 0.8])
def test_interpolation_of_one_source_in_the_limit_of_many_features(delta):
    """v = t/|B|, |B|² = n|ν|² + d: margin a/sqrt(|w|²) with ρ² = |v|² δ/(1−δ)."""
    d, signal = 10**6, 1.3
    n = int(delta * d)
    problem = reduce_problem([Source([signal], 4.0)], [Target([1.0])], num_features=d)
    margins = np.asarray(sample_minimum_norm(KEY, problem, [n], 2000).margins[:, 0])
    scaled = signal / 2
    expected = np.sqrt(delta) * scaled / np.sqrt(delta * scaled**2 + 1) * np.sqrt(1 - delta)
    assert margins.mean() == pytest.approx(expected, abs=4 * margins.std() / np.sqrt(2000) + 3 / d)


@pytest.mark.parametrize(("d", "n", "penalty"), [(400, 10**9, 0.5), (10**9, 400, 0.5), (600, 300, 0.2)])
def test_ridge_compression_has_the_trace_of_marchenko_and_pastur(d, n, penalty):
    """Without signal w·μ/|w| is a coordinate on the sphere and E|w|² = tr[G(G + nλ)⁻²] with the Gram matrix G of the rows."""
    problem = reduce_problem([Source([0.0, 0.0])], [Target([1.0, 0.0])], num_features=d)
    draws = sample_ridge(KEY, problem, [n], penalty, 1000)
    scaled = np.asarray(draws.margins[:, 0]) * np.sqrt(d)
    assert abs(scaled.mean()) < 4.5 * scaled.std() / np.sqrt(1000)
    assert scaled.std() == pytest.approx(1, abs=4.5 / np.sqrt(2000))

    # With g = tr(G/n + λ)⁻¹/n that is g + λg′, and in the limit λg² + bg = 1 with b = λ + d/n − 1 (Marchenko and Pastur).
    b = penalty + d / n - 1
    root = np.sqrt(b**2 + 4 * penalty)
    g = 2 / (b + root)
    expected = d / n * g / ((1 + g) * root)
    lengths = np.asarray(draws.squared_lengths[:, 0])
    assert lengths.mean() == pytest.approx(
        expected, rel=4.5 * lengths.std() / lengths.mean() / np.sqrt(1000) + 5e-3
    )


def test_cost_does_not_depend_on_the_number_of_samples_or_features():
    sources, targets = [Source([0.9, 0.2]), Source([0.4, 0.7])], [Target([1.0, 0.5]), Target([0.2, 0.8])]
    wide = reduce_problem(sources, targets, num_features=10**6)
    draws = sample_least_squares(KEY, wide, [4e11, 6e11], 4000)
    pooled = np.linalg.solve(
        np.eye(2) + sum(p * np.outer(s.mean, s.mean) for p, s in zip((0.4, 0.6), sources, strict=True)),
        0.4 * np.asarray(sources[0].mean) + 0.6 * np.asarray(sources[1].mean),
    )
    expected = [float(margin(pooled, target)) for target in targets]
    np.testing.assert_allclose(np.mean(draws.margins, 0), expected, atol=2e-5)


def test_same_key_same_draws_whatever_the_chunks_hold():
    problem = reduce_problem(*world(8, [1.0, 1.0]))
    first, second = (sample_least_squares(KEY, problem, [9, 9], 300).margins for _ in range(2))
    np.testing.assert_array_equal(first, second)
    chunked = sample_least_squares(KEY, problem, [9, 9], 301, chunk_size=50).margins
    assert chunked.shape == (301, 3)
    assert len(np.unique(np.asarray(chunked)[:, 0])) == 301
    assert not np.array_equal(sample_least_squares(jax.random.key(1), problem, [9, 9], 300).margins, first)
    with jax.debug_key_reuse(False):
        old = jax.random.PRNGKey(3)
    assert generator_of(old).random() == generator_of(jax.random.key(3)).random()


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("learner", ["least_squares", "pooled_lda", "minimum_norm", "ridge"])
def test_single_precision(learner):
    sources, targets = world(9, [1.0, 1.0])
    counts = [3, 4] if learner == "minimum_norm" else [10, 9]
    problem = reduce_problem(sources, targets)
    draws = exact(learner, problem, counts, 0.1, 4000)
    assert draws.margins.dtype == jnp.float32
    brute = brute_force_learner(KEY, sources, counts, targets, 4000, learner, 0.1)
    assert brute.margins.dtype == jnp.float32
    assert min(p_values(draws, brute)) > LEVEL


@given(scale=st.floats(0.1, 10), seed=st.integers(0, 1000))
@settings(max_examples=10)
def test_margins_keep_their_laws_under_scaling_and_rotation(scale, seed):
    """The same key draws the same rows, so the laws hold draw by draw."""
    rng = np.random.default_rng(seed)
    sources, targets = world(5, [1.0, 1.0], seed)
    base, counts = reduce_problem(sources, targets[:2]), [6, 5]
    turn = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    scaled = reduce_problem(
        [Source(scale * s.mean, scale**2) for s in sources],
        [Target(scale * t.mean, scale**2 * t.covariance) for t in targets[:2]],
    )
    turned = reduce_problem(
        [Source(turn @ np.asarray(s.mean)) for s in sources],
        [Target(turn @ np.asarray(t.mean), t.covariance) for t in targets[:2]],
    )
    for learner in ("least_squares", "ridge"):
        means = [
            np.asarray(exact(learner, problem, counts, penalty, 3000).margins).mean(0)
            for problem, penalty in ((base, 0.3), (scaled, 0.3 * scale**2), (turned, 0.3))
        ]
        spread = np.asarray(exact(learner, base, counts, 0.3, 3000).margins).std(0)
        # The basis of the span may come out with other signs, so equal in law and not draw by draw.
        assert (np.abs(means[1] - means[0]) < 5 * spread * np.sqrt(2 / 3000)).all()
        assert (np.abs(means[2] - means[0]) < 5 * spread * np.sqrt(2 / 3000)).all()


def test_bartlett_rows_have_the_gram_matrix_of_gaussian_rows():
    for degrees in (1, 2, 7):
        rows = bartlett_rows(np.random.default_rng(0), 20_000, 3, degrees)
        assert rows.shape == (20_000, 3, min(3, degrees))
        grams = rows @ rows.swapaxes(1, 2)
        normals = np.random.default_rng(1).standard_normal((20_000, 3, degrees))
        expected = normals @ normals.swapaxes(1, 2)
        for i, j in ((0, 0), (1, 0), (2, 1), (2, 2)):
            assert p_value(grams[:, i, j], expected[:, i, j]) > LEVEL


def test_out_of_domain_is_refused():
    sources, targets = world(8, [1.0, 1.0])
    problem = reduce_problem(sources, targets)
    with pytest.raises(ValueError, match=r"n >= d = 8 samples, got 7"):
        sample_least_squares(KEY, problem, [4, 3], 10)
    with pytest.raises(ValueError, match=r"n − S >= d = 8 is needed, got 7"):
        sample_pooled_lda(KEY, problem, [5, 4], 10)
    with pytest.raises(ValueError, match=r"at most d = 8 samples, got 9"):
        sample_minimum_norm(KEY, problem, [5, 4], 10)
    with pytest.raises(ValueError, match=r"number > 0, got 0"):
        sample_ridge(KEY, problem, [5, 4], 0.0, 10)
    with pytest.raises(ValueError, match=r"whole number between 0 and 2\^53, got 1.5"):
        sample_ridge(KEY, problem, [1.5, 4], 0.1, 10)
    with pytest.raises(ValueError, match=r"more than 0, got 0"):
        sample_minimum_norm(KEY, problem, [0, 0], 10)
    with pytest.raises(ValueError, match=r"each of the 2 sources, got shape \(1,\)"):
        check_rows(problem, [4])
    with pytest.raises(ValueError, match="at least 1, got 0"):
        sample_minimum_norm(KEY, problem, [2, 2], 0)
    noisy = reduce_problem([sources[0], Source(sources[1].mean, 2.0)], targets)
    for learner, counts in (("least_squares", [9, 9]), ("pooled_lda", [9, 9]), ("ridge", [3, 3])):
        with pytest.raises(ValueError, match=r"one noise level for all sources, got variances \[1.0, 2.0\]"):
            exact(learner, noisy, counts, 0.1, 10)
    silent = reduce_problem([sources[0], Source(sources[1].mean, 0.0)], targets)
    with pytest.raises(ValueError, match=r"variance > 0, got 0"):
        sample_minimum_norm(KEY, silent, [2, 2], 10)
    sample_least_squares(KEY, silent, [9, 0], 10)  # a source without samples may have no noise


def test_out_of_domain_whitening_is_refused():
    sources, targets = world(8, [1.0, 1.0])
    for other in (2.0, np.r_[np.ones(7), 2.0], 2 * np.eye(8)):
        with pytest.raises(ValueError, match=r"that of 's1' differs from that of 's0' by up to 1"):
            whiten_problem([sources[0], Source(sources[1].mean, other, "s1")], targets)
    flat = np.r_[np.ones(7), 0.0]
    with pytest.raises(ValueError, match=r"eigenvalues > 0, got 0"):
        whiten_problem([Source(s.mean, flat) for s in sources], targets)
    mixed = whiten_problem(
        [sources[0], Source(sources[1].mean, np.eye(8))], targets
    )  # equal, written differently
    assert mixed.num_sources == 2


def test_brute_force_out_of_domain_is_refused():
    sources, targets = world(4, [1.0, 1.0])
    unknown: Any = "perceptron"
    with pytest.raises((ValueError, Exception), match="perceptron"):
        brute_force_weights(KEY, sources, [4, 4], 2, unknown)
    with pytest.raises(ValueError, match=r"minimum_norm at d = 4 needs between 1 and 4 samples, got 8"):
        brute_force_weights(KEY, sources, [4, 4], 2, "minimum_norm")
    with pytest.raises(ValueError, match=r"one whole number >= 0 for each of 2 sources, got \[4.5, 4.0\]"):
        brute_force_weights(KEY, sources, [4.5, 4], 2, "ridge", 0.1)
    with pytest.raises(ValueError, match=r"penalty of a ridge must be a finite number > 0, got 0"):
        brute_force_weights(KEY, sources, [4, 4], 2, "ridge")
    with pytest.raises(ValueError, match=r"num_trials must be at least 1, got 0"):
        brute_force_learner(KEY, sources, [4, 4], targets, 0, "ridge", 0.1)

"""Ridge, averaging and interpolation on flipped labels: the closed form against the fixed point and against training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_cases import FORMS, dense, random_source, random_target
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group

from theory import Source, Target, margin, place
from theory.asymptotics import asymptotics, minimum_norm_asymptotics
from theory.brute_force_learners import brute_force_weights
from theory.noisy_ridge import noisy_ridge_law


def mirrored(source):
    return Source(-source.mean, source.covariance)


@pytest.mark.parametrize(("form", "penalty"), [("diagonal", 0.0), ("full", 0.0), ("full", 0.3)])
def test_it_solves_the_fixed_point(form, penalty):
    rng = np.random.default_rng(51)
    source, targets = random_source(rng, form, 7), [random_target(rng, f, 7) for f in FORMS]
    both, shares, n = [source, mirrored(source)], [0.85, 0.15], 4.5
    limit = minimum_norm_asymptotics(both, shares, n)
    solved = asymptotics(both, shares, n, penalty, "square") if penalty else limit
    law = noisy_ridge_law(source, n, penalty, 0.15)
    for target, expected in zip(targets, solved.margins(targets), strict=True):
        assert float(law.margin(target)) == pytest.approx(float(expected), rel=1e-6)
        assert float(law.inverse_square(target)) == pytest.approx(float(expected) ** -2, rel=1e-6)


def test_least_squares_is_the_limit_of_a_small_penalty():
    rng = np.random.default_rng(52)
    source, target = random_source(rng, "full", 5), random_target(rng, "full", 5)
    law = noisy_ridge_law(source, 30.0, 0.0, 0.1)
    assert law.implicit_penalty == 0
    assert float(law.margin(target)) == pytest.approx(
        float(noisy_ridge_law(source, 30.0, 1e-9, 0.1).margin(target)), rel=1e-6
    )


@pytest.mark.parametrize("form", FORMS)
def test_an_endless_penalty_is_averaging_and_flips_cost_samples(form):
    rng = np.random.default_rng(53)
    source, target, n = random_source(rng, form, 6), random_target(rng, "diagonal", 6), 9.0
    for noise in (0.0, 0.2, 0.4):
        law = noisy_ridge_law(source, n, 1e9, noise)
        averaging = place(Source((1 - 2 * noise) * source.mean, source.covariance), target, n)
        assert float(law.margin(target)) == pytest.approx(float(averaging), rel=1e-6)
        worth = place(source, target, n * (1 - 2 * noise) ** 2)
        assert float(averaging) == pytest.approx(float(worth), rel=1e-12)


@pytest.mark.parametrize(("penalty", "n"), [(0.0, 60), (0.0, 120), (0.05, 120), (0.5, 320)])
def test_against_classifiers_that_were_trained(penalty, n):
    noise, trials = 0.15, 250
    rng = np.random.default_rng(54)
    variances = np.r_[rng.uniform(0.5, 1.5, 80), np.full(80, 0.05)]
    source = Source(np.r_[rng.standard_normal(80) * 0.25, np.zeros(80)], variances)
    target = Target(source.mean + 0.02, np.r_[np.ones(80), np.full(80, 0.6)])
    counts = np.rint([(1 - noise) * n, noise * n])
    learner = "ridge" if penalty else "minimum_norm"
    key = jax.random.key(n)
    weights = brute_force_weights(key, [source, mirrored(source)], counts, trials, learner, penalty)
    margins = np.asarray(margin(weights, target))
    expected = float(noisy_ridge_law(source, n, penalty, noise).margin(target))
    error = margins.std() / np.sqrt(trials)
    assert abs(margins.mean() - expected) < 4.5 * error + 0.02 * expected
    assert abs(margins.mean() - expected) < 0.06 * expected


def test_label_noise_enters_the_noise_of_the_weights_alone():
    rng = np.random.default_rng(55)
    source = random_source(rng, "diagonal", 6)
    clean, noisy = noisy_ridge_law(source, 4.0), noisy_ridge_law(source, 4.0, label_noise=0.2)
    assert clean.implicit_penalty == noisy.implicit_penalty
    np.testing.assert_array_equal(clean.weights.mean, noisy.weights.mean)
    ratio = np.asarray(noisy.weights.covariance / clean.weights.covariance)
    np.testing.assert_allclose(ratio, float(noisy.noise / clean.noise), rtol=1e-12)
    signal = float(source.mean @ clean.weights.mean)
    flips = 4 * 0.2 * 0.8 / 0.6**2
    assert float(noisy.noise - clean.noise) == pytest.approx(flips * (1 + signal) ** 2, rel=1e-12)


def test_parts_of_the_inverse_square_add_up():
    rng = np.random.default_rng(56)
    source, target = random_source(rng, "full", 5), random_target(rng, "full", 5)
    law = noisy_ridge_law(source, 3.0, 0.1, 0.1)
    first = np.diag([1.0, 2.0, 0.0, 0.0, 0.0])
    rest = np.asarray(target.covariance) + 10 * np.eye(5) - first
    whole = Target(target.mean, first + rest)
    parts = law.inverse_square(whole, first) + law.inverse_square(whole, rest)
    assert float(parts) == pytest.approx(float(law.inverse_square(whole)), rel=1e-12)


@given(
    seed=st.integers(0, 10_000),
    n=st.sampled_from([1.5, 4.0, 7.5, 40.0]),
    penalty=st.sampled_from([0.0, 0.01, 1.0]),
    scale=st.floats(0.2, 5),
)
@settings(max_examples=25)
def test_laws(seed, n, penalty, scale):
    rng = np.random.default_rng(seed)
    d = 6
    source, target = random_source(rng, "diagonal", d), random_target(rng, "diagonal", d)
    base = noisy_ridge_law(source, n, penalty, 0.1)
    value = float(base.margin(target))
    # More flips, less margin.
    assert abs(float(noisy_ridge_law(source, n, penalty, 0.2).margin(target))) < abs(value)
    # The order of the features and the basis do not matter.
    turn = ortho_group.rvs(d, random_state=seed)

    def turned(item):
        matrix = turn @ dense(item.covariance, d) @ turn.T
        return type(item)(turn @ np.asarray(item.mean), (matrix + matrix.T) / 2)

    assert float(noisy_ridge_law(turned(source), n, penalty, 0.1).margin(turned(target))) == pytest.approx(
        value, rel=1e-7
    )
    # Features in another unit, and the penalty with them.
    stretched = Source(scale * source.mean, scale**2 * source.covariance)
    longer = Target(scale * target.mean, scale**2 * target.covariance)
    assert float(noisy_ridge_law(stretched, n, penalty * scale**2, 0.1).margin(longer)) == pytest.approx(
        value, rel=1e-9
    )
    # The implicit penalty solves its equation.
    kappa, variances = float(base.implicit_penalty), np.asarray(source.covariance)
    if kappa > 0:
        assert np.sum(variances / (kappa + variances)) == pytest.approx(n * (1 - penalty / kappa), rel=1e-9)


def test_float32(float32):
    rng = np.random.default_rng(57)
    variances = rng.uniform(0.5, 2, 8).astype(np.float32)
    mean, mu = (rng.standard_normal(8).astype(np.float32) + 0.5 for _ in range(2))
    law = noisy_ridge_law(Source(mean, variances), 4.0, 0.0, 0.1)
    value = law.margin(Target(mu))
    assert value.dtype == jnp.float32
    with jax.enable_x64(True):
        exact = noisy_ridge_law(
            Source(mean.astype(np.float64), variances.astype(np.float64)), 4.0, 0.0, 0.1
        ).margin(Target(mu.astype(np.float64)))
    assert float(value) == pytest.approx(float(exact), rel=1e-4)


def test_bad_input_raises_with_the_value():
    source = Source([1.0, 0.5, 0.2])
    for arguments, words in (
        ((0.0,), r"num_samples must be a finite number > 0, got 0.0"),
        ((5.0, -1.0), r"penalty must be a finite number >= 0, got -1.0"),
        ((5.0, 0.1, 0.5), r"label_noise must lie in \[0, 1/2\), got 0.5"),
        ((5.0, 0.1, -0.1), r"label_noise must lie in \[0, 1/2\), got -0.1"),
        ((3.0,), r"must differ from the 3 features, got 3.0"),
    ):
        with pytest.raises(ValueError, match=words):
            noisy_ridge_law(source, *arguments)
    with pytest.raises(ValueError, match=r"every variance of the source must be > 0, got 0.0"):
        noisy_ridge_law(Source([1.0, 0.0], [1.0, 0.0]), 5.0)
    with pytest.raises(ValueError, match=r"same number of features"):
        noisy_ridge_law(source, 5.0).margin(Target([1.0, 0.0]))
    with pytest.raises(ValueError, match=r"every variance in covariance must be >= 0"):
        noisy_ridge_law(source, 5.0).inverse_square(Target([1.0, 0.0, 0.0]), -1.0)

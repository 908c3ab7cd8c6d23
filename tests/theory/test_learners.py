import jax
import jax.numpy as jnp
import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.svm import SVC, LinearSVC

from theory.gaussian import Source
from theory.learners import (
    Trained,
    UncertifiedOptimum,
    draw_mixture,
    train,
    train_hard_margin,
    train_hinge,
    train_lda,
    train_logistic,
    train_ridge,
)
from theory.learners_smooth import polish_path, sure_path
from theory.losses import HINGE, LOGISTIC, LOSSES, SQUARE, Loss

TALL, WIDE = (90, 12), (12, 30)
LAMBDAS = np.asarray([1.0, 0.05, 0.002])
EXACT = 1e-4  # what "the same weights" means, relative


def mixture(shape, seed=0):
    n, d = shape
    rng = np.random.default_rng(seed)
    means = np.zeros((2, d))
    means[0, :2], means[1, 1:3] = (1.0, 0.5), (0.8, 0.3)
    source = np.arange(n) * 2 // n
    return means[source] + rng.standard_normal(shape) * np.asarray([1.0, 1.4])[source][:, None]


def labelled(u, seed=1):
    y = np.random.default_rng(seed).choice([-1.0, 1.0], len(u))
    return u * y[:, None], y


def symmetric(u):
    """Both signs of every sample: learners with an intercept then choose 0."""
    return np.r_[u, -u], np.r_[np.ones(len(u)), -np.ones(len(u))]


def difference(weights, reference):
    reference = np.asarray(reference, np.float64).ravel()
    return np.linalg.norm(np.asarray(weights, np.float64) - reference) / np.linalg.norm(reference)


def scikit_weights(loss: Loss, u, lam):
    x, y = labelled(u)
    c = 1 / (len(u) * lam)
    if loss is SQUARE:
        return Ridge(alpha=1 / c, fit_intercept=False).fit(x, y).coef_
    if loss is LOGISTIC:
        model = LogisticRegression(
            C=c, fit_intercept=False, tol=1e-10, max_iter=10_000, solver="newton-cholesky"
        )
    else:
        model = LinearSVC(loss="hinge", C=c, fit_intercept=False, tol=1e-9, max_iter=10**7)
    return model.fit(x, y).coef_


def objective(loss: Loss, u, lam, w):
    return float(jnp.mean(loss.value(jnp.asarray(u @ w))) + lam / 2 * w @ w)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))
def test_the_weights_are_scikit_learns(loss):
    u = mixture(TALL)
    for lam in LAMBDAS:
        result = train(loss, u, lam)
        assert result.converged
        assert difference(result.weights, scikit_weights(loss, u, lam)) < EXACT


@pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))
def test_fewer_samples_than_features_and_a_path_of_regularisations(loss):
    u = mixture(WIDE)
    result = train(loss, u, LAMBDAS)
    assert result.weights.shape == (3, WIDE[1])
    assert result.converged.all()
    for w, lam in zip(result.weights, LAMBDAS, strict=True):
        assert difference(w, scikit_weights(loss, u, lam)) < EXACT


@pytest.mark.parametrize("loss", [LOGISTIC, HINGE], ids=["logistic", "hinge"])
def test_float32_gives_the_same_weights_to_its_own_tolerance(loss, float32):
    u = mixture(TALL).astype(np.float32)
    for lam in LAMBDAS[:2]:
        result = train(loss, u, lam)
        assert result.weights.dtype == jnp.float32
        assert result.converged
        reference = scikit_weights(loss, u.astype(np.float64), lam)
        assert difference(result.weights, reference) < (1e-2 if loss is HINGE else 1e-3)


def test_ridge_classifier_is_ridge_on_signs():
    u = mixture(TALL)
    x, y = labelled(u)
    model = RidgeClassifier(alpha=len(u) * 0.1, fit_intercept=False).fit(x, y)
    assert difference(train_ridge(u, 0.1).weights, model.coef_) < EXACT


def test_hinge_is_the_support_vector_machine():
    u = mixture(TALL)
    x, y = symmetric(u)
    model = SVC(kernel="linear", C=1 / (2 * len(u) * 0.05), tol=1e-8).fit(x, y)
    assert difference(train_hinge(u, 0.05).weights, model.coef_) < EXACT


def test_least_squares_and_logistic_regression_are_statsmodels():
    u = mixture(TALL)
    x, y = labelled(u)
    least_squares = train_ridge(u)
    assert difference(least_squares.weights, sm.OLS(y, x).fit().params) < 1e-8
    maximum_likelihood = sm.Logit((y + 1) / 2, x).fit(disp=0, tol=1e-12).params
    assert difference(train_logistic(u, 1e-7).weights, maximum_likelihood) < EXACT


def test_minimum_norm_interpolator():
    u = mixture(WIDE)
    result = train_ridge(u)
    assert result.converged
    np.testing.assert_allclose(u @ result.weights, 1, rtol=1e-9)
    assert difference(result.weights, np.linalg.pinv(u).sum(1)) < 1e-9
    path = train_ridge(u, [0.5, 0.0, 1e-3]).weights
    np.testing.assert_allclose(path[1], result.weights, rtol=1e-9)
    assert difference(path[2], scikit_weights(SQUARE, u, 1e-3)) < EXACT


def test_hard_margin_is_the_support_vector_machine_without_slack():
    u = mixture(WIDE)
    result = train_hard_margin(u)
    assert (u @ np.asarray(result.weights)).min() == pytest.approx(1, abs=1e-9)
    x, y = symmetric(u)
    assert difference(result.weights, SVC(kernel="linear", C=1e8, tol=1e-10).fit(x, y).coef_) < EXACT
    # The limit of the soft margin, and the direction of the limit of logistic regression.
    assert difference(train_hinge(u, 1e-5).weights, result.weights) < EXACT
    assert 0 <= float(result.duality_gap) < 1e-6 * float(result.weights @ result.weights)


def test_a_hard_margin_is_refused_where_no_hyperplane_separates():
    separable, mixed = mixture(TALL), mixture(TALL)
    separable[:, 0] = np.abs(separable[:, 0]) + 1
    with pytest.raises(ValueError, match=r"needs separable samples: in problem 1 .*n = 90, d = 12"):
        train_hard_margin(np.stack([separable, mixed]))
    assert train_hard_margin(np.stack([separable, 2 * separable])).converged.all()


def test_discriminant_analysis():
    u = mixture(TALL)
    n, _ = u.shape
    x, y = symmetric(u)
    model = LinearDiscriminantAnalysis(solver="eigen").fit(x, y)
    ours = np.asarray(train_lda(u))
    # Classes with means ±ū: half of scikit-learn's weights for log odds, and its covariance is divided by n.
    assert difference(ours * n / (n - 1), model.coef_ / 2) < 1e-8
    biased = ours * n / (n - 1)
    assert difference(train_ridge(u).weights, biased / (1 + u.mean(0) @ biased)) < 1e-8


def test_discriminant_analysis_pools_the_covariance_within_sources():
    u = mixture(TALL)
    parts = [u[:30], u[30:]]
    within = sum((part - part.mean(0)).T @ (part - part.mean(0)) for part in parts) / (len(u) - 2)
    expected = np.linalg.solve(within, u.mean(0))
    batch = train_lda(np.stack([u, 2 * u]), (30, 60))
    assert difference(batch[0], expected) < 1e-9
    assert difference(batch[1], expected / 2) < 1e-9


@pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))
def test_the_certificate_bounds_the_error_and_the_gap_the_objective(loss):
    u, lam = mixture(TALL), 0.02
    best = np.asarray(train(loss, u, lam).weights)
    rough = train(loss, u, lam, tolerance=0.3)
    w = np.asarray(rough.weights)
    assert 1e-4 < float(rough.weight_error) <= 0.3
    assert np.linalg.norm(w - best) <= 1.01 * float(rough.weight_error) * np.linalg.norm(w)
    excess = objective(loss, u, lam, w) - objective(loss, u, lam, best)
    assert -1e-9 <= excess <= float(rough.duality_gap) + 1e-9


@pytest.mark.parametrize("loss", [LOGISTIC, HINGE], ids=["logistic", "hinge"])
def test_every_problem_of_a_batch_is_solved(loss):
    batch = np.stack([mixture(TALL, seed) for seed in range(6)]).reshape(2, 3, *TALL)
    result = train(loss, batch, LAMBDAS[1])
    assert result.weights.shape == (2, 3, 12)
    assert result.weight_error.shape == result.duality_gap.shape == result.converged.shape == (2, 3)
    for place in ((0, 0), (1, 0), (1, 2)):
        alone = train(loss, batch[place], LAMBDAS[1])
        np.testing.assert_allclose(result.weights[place], alone.weights, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_where_conjugate_gradients_give_up_factorisations_take_over():
    scales = np.geomspace(1e-2, 30, 70)
    batch = np.stack([mixture((160, 70)) * scales, mixture((160, 70), 1)])
    gradients_alone = polish_path(
        jnp.asarray(batch),
        jnp.arange(2),
        jnp.asarray(2),
        jnp.zeros((2, 1, 70)),
        jnp.asarray([0.01]),
        jnp.asarray(1e-6),
        loss=LOGISTIC,
    )
    np.testing.assert_array_equal(gradients_alone[1][:, 0] <= 1e-6, [False, True])
    result = train_logistic(batch, 0.01)
    assert result.converged.all()
    for u, w in zip(batch, result.weights, strict=True):
        assert difference(w, scikit_weights(LOGISTIC, u, 0.01)) < EXACT


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4])
def test_a_loose_tolerance_takes_the_quick_way_and_keeps_its_promise(tolerance):
    u = np.stack([mixture(TALL, seed) for seed in range(3)])
    best = train_logistic(u, 0.05, 1e-8).weights
    rough = train_logistic(u, 0.05, tolerance)
    assert rough.converged.all()
    for w, exact in zip(rough.weights, best, strict=True):
        assert 1e-8 < difference(w, exact) < tolerance


def test_factorisations_alone():
    loss = LOGISTIC
    u = mixture(WIDE) * np.geomspace(1e-3, 30, WIDE[1])
    everything = jnp.zeros(1, int), jnp.asarray(1)
    limits = jnp.asarray(1e-6), jnp.asarray(50)
    weights, error, _, _ = sure_path(
        jnp.asarray(u)[None], *everything, jnp.asarray(LAMBDAS), *limits, loss=loss
    )
    assert (error <= 1e-6).all()
    for w, lam in zip(weights[0], LAMBDAS, strict=True):
        assert difference(w, scikit_weights(loss, u, lam)) < EXACT


@pytest.mark.slow
def test_programs_compile_inside_jit_and_vmap():
    u = jnp.asarray(mixture(TALL))
    inside: Trained = jax.jit(lambda rows: train_ridge(rows, 0.1))(u)
    np.testing.assert_allclose(inside.weights, train_ridge(u, 0.1).weights, rtol=1e-6)


def test_an_optimum_that_is_not_certified_is_reported():
    with pytest.warns(UncertifiedOptimum, match=r"1 of 1 optima"):
        result = train(HINGE, mixture(TALL), 0.1, max_iterations=3)
    assert not result.converged
    assert result.weight_error > 3e-5
    with pytest.warns(UncertifiedOptimum):
        assert not train(LOGISTIC, mixture(TALL), 1e-12, tolerance=1e-9, max_iterations=2).converged


def rotation(seed, d):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0]


@pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))
@hypothesis_settings(max_examples=12)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.1, 10), lam=st.sampled_from([0.3, 0.03]))
def test_laws_of_every_learner(loss, seed, scale, lam):
    u = mixture(TALL, seed)
    w = np.asarray(train(loss, u, lam).weights)
    close = {"rtol": 0, "atol": EXACT * np.linalg.norm(w)}
    turn = rotation(seed, TALL[1])
    np.testing.assert_allclose(train(loss, u @ turn, lam).weights, w @ turn, **close)
    shuffled = np.random.default_rng(seed).permutation(u)
    np.testing.assert_allclose(train(loss, shuffled, lam).weights, w, **close)
    # Features in another unit: the penalty is in the inverse square of it.
    np.testing.assert_allclose(scale * train(loss, scale * u, lam * scale**2).weights, w, **close)


def test_more_regularisation_shrinks_weights():
    u = mixture(TALL)
    for loss in LOSSES.values():
        norms = [np.linalg.norm(train(loss, u, lam).weights) for lam in np.geomspace(1e-3, 10, 6)]
        assert (np.diff(norms) < 0).all()


def test_samples_of_a_mixture_have_its_law():
    d = 3
    sources = (
        Source([1.0, 0, 0], 2.0),
        Source([0, 1.0, 0], np.diag([1.0, 2, 3])),
        Source(np.ones(d), [1.0, 1, 4]),
    )
    u = np.asarray(draw_mixture(jax.random.key(0), sources, (6000, 0, 9000)))
    assert u.shape == (15000, d)
    for part, source in ((u[:6000], sources[0]), (u[6000:], sources[2])):
        variances = np.broadcast_to(np.asarray(source.covariance), (d,))
        assert (np.abs(part.mean(0) - source.mean) < 4.5 * np.sqrt(variances / len(part))).all()
        np.testing.assert_allclose(part.var(0), variances, rtol=4.5 * np.sqrt(2 / len(part)))
    full = np.asarray(draw_mixture(jax.random.key(1), sources[1:2], (9000,)))
    np.testing.assert_allclose(np.cov(full.T), np.diag([1, 2, 3]), atol=0.25)
    np.testing.assert_array_equal(u, draw_mixture(jax.random.key(0), sources, (6000, 0, 9000)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda u: train_ridge(u, -0.1), r">= 0, got -0\.1"),
        (lambda u: train_logistic(u, 0.0), r"logistic loss must be a finite number > 0, got 0\.0"),
        (lambda u: train_hinge(u, [0.1, np.nan]), "> 0, got nan"),
        (lambda u: train_hinge(u, [[0.1]]), r"got shape \(1, 1\)"),
        (lambda u: train_ridge(u[0], 0.1), r"\(\.\.\., n, d\).* got shape \(12,\)"),
        (lambda u: train_ridge(u[:0], 0.1), r"got shape \(0, 12\)"),
        (lambda u: train_ridge(u, 0.1, tolerance=2.0), r"tolerance must lie in \(0, 1\), got 2\.0"),
        (lambda u: train_lda(u, (30, 30)), r"sum to the 90 samples, got \[30, 30\]"),
        (lambda u: train_lda(u[:12]), "n - S >= d = 12"),
        (
            lambda u: train(Loss("zero", *[jnp.zeros_like] * 4, smooth=False), u, 0.1),
            "no solver for the loss 'zero'",
        ),
        (lambda u: draw_mixture(jax.random.key(0), [Source([1.0])], (1.5,)), r"whole number.* got \[1\.5\]"),
        (lambda u: draw_mixture(jax.random.key(0), [Source([1.0])], [0]), r"got \[0\]"),
        (lambda u: train_ridge(np.c_[u, u], 0.0), "linearly dependent"),
    ],
)
def test_input_out_of_domain_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(mixture(TALL))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(
    "call",
    [
        train_ridge,
        train_logistic,
        train_hinge,
        lambda u, _: train_hard_margin(np.stack([u, u])),
        lambda u, _: train_lda(u),
    ],
)
def test_the_row_that_is_not_finite_is_named(call, bad):
    u = mixture(TALL)
    u[41, 3] = bad
    with pytest.raises(ValueError, match=rf"row 41 of .* holds {bad}"):
        call(u, 0.1)


def test_the_problem_that_holds_the_row_is_named():
    batch = np.stack([mixture(TALL, seed) for seed in range(6)]).reshape(2, 3, *TALL)
    batch[1, 2, 41, 3] = np.nan
    with pytest.raises(ValueError, match="row 41 of problem 1, 2 holds nan"):
        train_hinge(batch, 0.1)

"""Exact limits of ridge, logistic and hinge on mixtures: known formulas, the audit's settings, laws, and trained twins."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_cases import dense, random_covariance
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import norm, ortho_group
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.svm import LinearSVC

from theory import asymptotics_solver
from theory.asymptotics import (
    asymptotics,
    asymptotics_sweep,
    hard_margin_asymptotics,
    minimum_norm_asymptotics,
    population_solution,
)
from theory.gaussian import Source, Target
from theory.losses import HINGE, LOGISTIC, LOSSES, SQUARE
from theory.mixing import mixture_place
from theory.separability import separability_threshold
from theory.source_law import DenseLaw

LOSS_NAMES = ("square", "logistic", "hinge")


def padded(d: int, *entries: float, rest: float = 0.0) -> np.ndarray:
    return np.r_[np.asarray(entries, float), np.full(d - len(entries), rest)]


def two_sources(d: int) -> list[Source]:
    return [Source(padded(d, 1.2, 0.3), 1.0), Source(padded(d, 0.4, 1.4), 2.25)]


D = 40
PAIR = two_sources(D)
REF, SHIFT = Target(padded(D, 1.0, 0.6)), Target(padded(D, 0.2, 1.2), 1.5)
SHARES = np.array([0.4, 0.6])


# --- known formulas -------------------------------------------------------------------------------------------------


def test_ridge_on_one_isotropic_source_is_the_marchenko_pastur_formula():
    # (Dobriban and Wager 2018): w ∝ (S + λ)⁻¹ū with the centred covariance S independent of ū ~ N(ν, γ²I/n), so with
    # g = ∫dF/(x + λ), g2 = ∫dF/(x + λ)² the margin is ν·μ g / sqrt((‖ν‖² + cγ²)g2), c = d/n.
    mu, nu = np.asarray(REF.mean), np.asarray(PAIR[0].mean)
    ratio, lam = (x.ravel() for x in np.meshgrid([0.3, 0.9, 1.5, 6.0], [0.01, 0.1, 1.0, 10.0]))
    c = 1 / ratio

    def stieltjes(lam):
        return (-(1 - c + lam) + np.sqrt((1 - c + lam) ** 2 + 4 * c * lam)) / (2 * c * lam)

    step = 1e-5 * lam
    second = -(stieltjes(lam + step) - stieltjes(lam - step)) / (2 * step)
    expected = nu @ mu * stieltjes(lam) / np.sqrt((nu @ nu + c) * second * (mu @ mu > 0))
    found = asymptotics(PAIR[:1], [1.0], ratio * D, lam, SQUARE)
    np.testing.assert_allclose(found.margins([Target(mu)])[:, 0], expected, rtol=1e-7)
    np.testing.assert_allclose(found.susceptibilities[:, 0], c * stieltjes(lam), rtol=1e-10)


def test_least_squares_and_minimum_norm_on_one_source_in_closed_form():
    mu, nu = np.asarray(REF.mean), np.asarray(PAIR[0].mean)
    a, length = nu @ mu, nu @ nu
    n = np.array([1.5, 3.0, 10.0]) * D
    # λ = 0: g = 1/(1 − c), g2 = 1/(1 − c)³.
    found = asymptotics(PAIR[:1], [1.0], n, 0, SQUARE).margins([Target(mu)])[:, 0]
    c = D / n
    np.testing.assert_allclose(found, a * np.sqrt((1 - c) / (length + c)), rtol=1e-10)
    # n < d: w ∝ Uᵀ(UUᵀ)⁻¹1; UUᵀ = ZZᵀ + (‖ν‖² + ...)11ᵀ with ZZᵀ ~ d I − ..., the limit of small λ.
    few = np.array([0.2, 0.5, 0.9]) * D
    found = minimum_norm_asymptotics(PAIR[:1], [1.0], few).margins([Target(mu)])[:, 0]
    nearly = asymptotics(PAIR[:1], [1.0], few, 1e-8, SQUARE).margins([Target(mu)])[:, 0]
    np.testing.assert_allclose(found, nearly, rtol=1e-5)
    delta = few / D
    np.testing.assert_allclose(found, a * np.sqrt(delta * (1 - delta) / (delta * length + 1)), rtol=1e-9)


@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_strong_regularisation_is_averaging(loss):
    n = np.array([0.5, 3.0]) * D
    found = asymptotics(PAIR, SHARES, n, 1e7, loss).margins([REF, SHIFT])
    expected = [mixture_place(PAIR, SHARES, target, n) for target in (REF, SHIFT)]
    np.testing.assert_allclose(found, np.stack(expected, 1), rtol=1e-5)


@pytest.mark.parametrize(
    ("share", "square", "logistic"), [(1.0, 0.143, 0.5), (0.0, 0.5, 0.5), (0.5, 0.676, 0.18)]
)
def test_the_settings_that_escape_dilution(share, square, logistic):
    # Mixtures at d = 400, n = 4000 were simulated to ± .002; single sources are exact.
    d, p = 400, [share, 1 - share]
    slopes = np.array([square, logistic])
    subtracting = [Source(padded(d, 1, 6)), Source(padded(d, 1, 1))]
    first = asymptotics(subtracting, p, 4000, 0.001, SQUARE)
    whitening = [
        Source(padded(d, 2, 0, 1), padded(d, 1, 9, 1, rest=1)),
        Source(padded(d, 0, 2, 1), padded(d, 9, 1, 1, rest=1)),
    ]
    second = asymptotics(whitening, p, 4000, 0.01, LOGISTIC)
    found = [
        float(first.slope(Target(padded(d, 1, 1)), Target(padded(d, 1, 0)))),
        float(second.slope(Target(padded(d, 0.5, 0.5, 1)), Target(padded(d, 0.5, 0.5, 0)))),
    ]
    np.testing.assert_allclose(found, slopes, atol=5e-4 if share != 0.5 else 6e-3)
    # The averaging classifier does what the mediant says.
    averaging = [asymptotics(s, p, 4000, 1e7, SQUARE) for s in (subtracting, whitening)]
    if share == 0.5:
        found = float(averaging[0].slope(Target(padded(d, 1, 1)), Target(padded(d, 1, 0))))
        assert found == pytest.approx(2 / 9, abs=1e-4)
        found = averaging[1].slope(Target(padded(d, 0.5, 0.5, 1)), Target(padded(d, 0.5, 0.5, 0)))
        assert float(found) == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_the_population_solution_is_the_minimiser_of_the_population_loss(loss):
    sources = [Source([1.5, 0.2, 0.0], [1.0, 2.0, 0.5]), Source([0.1, 1.0, -0.5], 0.7)]
    lam, p = 0.05, np.array([0.3, 0.7])
    z, weight = np.polynomial.hermite_e.hermegauss(120)
    value = jax.jit(LOSSES[loss].value)

    def expected(m, spread):
        if loss == "hinge":
            t = (1 - m) / spread
            return spread * (t * norm.cdf(t) + norm.pdf(t))
        return weight @ np.asarray(value(jnp.asarray(m + spread * z))) / weight.sum()

    def objective(w):
        total = lam / 2 * w @ w
        for share, source in zip(p, sources, strict=True):
            spread = np.sqrt(w**2 @ np.broadcast_to(source.covariance, 3))
            total += share * expected(w @ np.asarray(source.mean), spread)
        return total

    best = minimize(objective, np.ones(3), method="BFGS", options={"gtol": 1e-8}).x
    mean, noise = population_solution(sources, p, lam, loss).weights()
    np.testing.assert_allclose(mean, best, rtol=2e-4, atol=2e-5)
    assert not np.asarray(noise).any()
    # The limit of plenty data is the same.
    plenty, noise = asymptotics(sources, p, 1e9, lam, loss).weights()
    np.testing.assert_allclose(plenty, mean, rtol=1e-6)
    assert np.all(np.asarray(noise) < 1e-7)


def test_hard_margin_and_minimum_norm_are_limits_of_small_penalties():
    n = np.array([0.3, 0.8, 1.6]) * D
    hard = hard_margin_asymptotics(PAIR, SHARES, n).margins([REF, SHIFT])
    np.testing.assert_allclose(
        asymptotics(PAIR, SHARES, n, 1e-5, HINGE).margins([REF, SHIFT]), hard, rtol=1e-4
    )
    # Logistic approaches it as 1/log(1/λ) only.
    apart = [
        np.abs(asymptotics(PAIR, SHARES, n, lam, LOGISTIC).margins([REF, SHIFT]) - hard).max()
        for lam in (1e-1, 1e-2)
    ]
    assert apart[0] > 1.5 * apart[1] > 0


# --- laws -----------------------------------------------------------------------------------------------------------


def test_the_limit_depends_on_d_through_the_ratio_only():
    small, large = (
        asymptotics(two_sources(d), SHARES, 1.5 * d, 0.1, LOGISTIC).margins(
            [Target(padded(d, 1.0, 0.6)), Target(padded(d, 0.2, 1.2), 1.5)]
        )
        for d in (D, 100 * D)
    )
    np.testing.assert_allclose(small, large, rtol=1e-9)


@given(seed=st.integers(0, 10_000), loss=st.sampled_from(LOSS_NAMES), scale=st.floats(0.2, 5))
@settings(max_examples=12)
def test_permuting_sources_merging_equal_ones_and_scaling_features_change_nothing(seed, loss, scale):
    rng = np.random.default_rng(seed)
    d, n, lam = 12, rng.uniform(0.3, 4) * 12, 10 ** rng.uniform(-2, 0)
    means, levels = rng.standard_normal((2, d)), rng.uniform(0.4, 3, (2, d))
    sources = [Source(m, c) for m, c in zip(means, levels, strict=True)]
    targets = [Target(rng.standard_normal(d)), Target(rng.standard_normal(d), rng.uniform(0.5, 2, d))]
    p = rng.dirichlet(np.ones(2))
    base = np.asarray(asymptotics(sources, p, n, lam, loss).margins(targets))
    swapped = asymptotics(sources[::-1], p[::-1], n, lam, loss).margins(targets)
    np.testing.assert_allclose(swapped, base, rtol=1e-8)
    scaled = [Source(scale * np.asarray(s.mean), scale**2 * np.asarray(s.covariance)) for s in sources]
    unit = [Target(scale * np.asarray(t.mean), scale**2 * np.asarray(t.covariance)) for t in targets]
    np.testing.assert_allclose(asymptotics(scaled, p, n, scale**2 * lam, loss).margins(unit), base, rtol=1e-7)
    # A source of share 0 counts for nothing.
    alone = asymptotics(sources, [1.0, 0.0], n, lam, loss)
    twice = asymptotics([sources[0], sources[0]], p, n, lam, loss)
    np.testing.assert_allclose(twice.margins(targets), alone.margins(targets), rtol=1e-7)


def test_rotation_leads_through_common_eigenvectors_and_dense_matrices():
    rng = np.random.default_rng(8)
    d, n = 10, np.array([4.0, 25.0])
    means = rng.standard_normal((2, d))
    levels = np.stack([rng.uniform(0.5, 2, d), rng.uniform(0.5, 2, d)])
    targets = [
        Target(rng.standard_normal(d), random_covariance(rng, f, d)) for f in ("scalar", "diagonal", "full")
    ]
    turn = ortho_group.rvs(d, random_state=8)

    def turned(item, mean, covariance):
        matrix = (
            turn @ np.diag(np.broadcast_to(covariance, (d,))) @ turn.T
            if np.ndim(covariance) < 2
            else (turn @ covariance @ turn.T)
        )
        return item(turn @ mean, (matrix + matrix.T) / 2)

    straight = [Source(m, c) for m, c in zip(means, levels, strict=True)]
    rotated = [turned(Source, m, c) for m, c in zip(means, levels, strict=True)]
    seen = [turned(Target, np.asarray(t.mean), np.asarray(t.covariance)) for t in targets]
    for loss in ("square", "logistic"):
        first, second = (asymptotics(s, SHARES, n, 0.1, loss) for s in (straight, rotated))
        np.testing.assert_allclose(first.margins(targets), second.margins(seen), rtol=1e-8)
        np.testing.assert_allclose(first.weights()[0] @ turn.T, second.weights()[0], rtol=1e-7, atol=1e-10)
        # The same law as d x d matrices, which sources without common eigenvectors need.
        law = DenseLaw(jnp.asarray(means), jnp.stack([jnp.diag(jnp.asarray(c)) for c in levels]))
        m, q, v, *_, residual = asymptotics_solver.solve(
            loss, law, jnp.asarray(SHARES), jnp.asarray(1 / n[1]), jnp.asarray(0.1), 128
        )
        assert float(residual) < 1e-9
        np.testing.assert_allclose(m, first.margins_by_source[1], rtol=1e-8)
        np.testing.assert_allclose(q, first.lengths_by_source[1], rtol=1e-8)
        np.testing.assert_allclose(v, first.susceptibilities[1], rtol=1e-8)


def test_a_batch_is_its_settings_one_by_one():
    shares = np.array([[0.2, 0.8], [0.5, 0.5], [1.0, 0.0]])
    n, lam = np.array([30.0, 80.0, np.inf])[:, None], np.array([0.05, 0.5, 2.0])
    batch = asymptotics(PAIR, shares, n, lam, LOGISTIC)
    assert batch.margins([REF, SHIFT]).shape == (3, 3, 2)
    assert batch.converged.all()
    one = asymptotics(PAIR, shares[1], 80.0, 0.5, LOGISTIC)
    np.testing.assert_allclose(one.margins([REF, SHIFT]), batch.margins([REF, SHIFT])[1, 1], rtol=1e-10)
    np.testing.assert_allclose(
        one.accuracies([REF]), jax.scipy.stats.norm.cdf(one.margins([REF])), rtol=1e-12
    )
    assert float(one.slope(REF, SHIFT)) == pytest.approx(float(batch.slope(REF, SHIFT)[1, 1]), rel=1e-10)
    # Settings with sources of their own, of different forms.
    other = [Source(padded(D, 0.3, 1.0), padded(D, 1, 4, rest=0.5)), Source(padded(D, 1.0), 1.0)]
    sweep = asymptotics_sweep([PAIR, other], SHARES, [30.0, 80.0], 0.1, LOGISTIC)
    for index, sources in enumerate((PAIR, other)):
        alone = asymptotics(sources, SHARES, [30.0, 80.0], 0.1, LOGISTIC)
        np.testing.assert_allclose(
            sweep.margins([REF, SHIFT])[index], alone.margins([REF, SHIFT])[index], rtol=1e-9
        )


def test_inside_jit_and_grad():
    def slope(share, penalty):
        return asymptotics(PAIR, jnp.stack([share, 1 - share]), 60.0, penalty, SQUARE).slope(REF, SHIFT)

    found = jax.jit(slope)(0.4, 0.1)
    assert float(found) == pytest.approx(
        float(asymptotics(PAIR, SHARES, 60.0, 0.1, SQUARE).slope(REF, SHIFT))
    )


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("loss", ["logistic", "hinge"])
def test_single_precision(loss):
    sources = [Source(np.asarray(s.mean, np.float32), np.float32(s.covariance)) for s in PAIR]
    targets = [Target(np.asarray(t.mean, np.float32), np.float32(t.covariance)) for t in (REF, SHIFT)]
    found = asymptotics(sources, SHARES, [20.0, 80.0, 400.0], 0.1, loss)
    assert found.residual.dtype == jnp.float32
    margins = np.asarray(found.margins(targets))
    with jax.enable_x64(True):
        expected = asymptotics(two_sources(D), SHARES, [20.0, 80.0, 400.0], 0.1, loss).margins(
            [Target(padded(D, 1.0, 0.6)), Target(padded(D, 0.2, 1.2), 1.5)]
        )
        np.testing.assert_allclose(margins, expected, rtol=2e-4)


# --- trained twins --------------------------------------------------------------------------------------------------


def trained(loss: str, samples: np.ndarray, lam: float) -> np.ndarray:
    """Weights from scikit-learn, which shares nothing with this package."""
    n = len(samples)
    labels = np.where(np.arange(n) % 2, 1.0, -1.0)
    model = {
        "square": Ridge(alpha=n * lam, fit_intercept=False),
        "logistic": LogisticRegression(C=1 / (n * lam), fit_intercept=False, tol=1e-6, max_iter=1000),
        "hinge": LinearSVC(loss="hinge", C=1 / (n * lam), fit_intercept=False, tol=1e-4, max_iter=20_000),
    }[loss]
    return np.ravel(model.fit(samples * labels[:, None], labels).coef_)


@pytest.mark.parametrize("name", ["isotropic", "diagonal", "without common eigenvectors"])
def test_trained_learners_have_the_margins_of_the_limit(name):
    d, trials, counts = 60, 80, [36, 54]
    rng = np.random.default_rng(12)
    forms = {
        "isotropic": (1.0, 2.25),
        "diagonal": (padded(d, 1, 4, rest=0.6), np.linspace(0.3, 2.0, d)),
        "without common eigenvectors": (random_covariance(rng, "full", d), np.linspace(0.3, 2.0, d)),
    }[name]
    sources = [Source(padded(d, 1.2, 0.3), forms[0]), Source(padded(d, 0.4, 1.4), forms[1])]
    targets = [Target(padded(d, 1.0, 0.6)), Target(padded(d, 0.2, 1.2), np.linspace(0.5, 1.5, d))]
    n = sum(counts)
    roots = [np.linalg.cholesky(dense(s.covariance, d)) for s in sources]
    draws = [
        np.concatenate(
            [
                np.asarray(s.mean) + rng.standard_normal((k, d)) @ root.T
                for s, k, root in zip(sources, counts, roots, strict=True)
            ]
        )
        for _ in range(trials)
    ]
    for loss, lam in (("square", 0.03), ("logistic", 0.03), ("hinge", 0.3)):
        if loss == "hinge" and name != "isotropic":
            continue
        weights = np.stack([trained(loss, samples, lam) for samples in draws])
        limit = np.asarray(asymptotics(sources, np.asarray(counts) / n, n, lam, loss).margins(targets))
        for index, target in enumerate(targets):
            sigma = np.broadcast_to(np.asarray(target.covariance), (d,))
            values = weights @ np.asarray(target.mean) / np.sqrt(weights**2 @ sigma)
            error = values.std(ddof=1) / np.sqrt(trials)
            # The gap of finite d is O(1/d).
            assert abs(values.mean() - limit[index]) < 4 * error + 1 / d


# --- what is refused ------------------------------------------------------------------------------------------------


def test_one_target_needs_no_list():
    found, target = asymptotics(PAIR, SHARES, [30, 60], 0.1, SQUARE), Target(np.ones(D))
    assert found.margins(target).shape == (2, 1)
    assert np.array_equal(found.margins(target), found.margins([target]))
    assert np.array_equal(found.accuracies(target), found.accuracies([target]))
    with pytest.raises(ValueError, match="at least one Target"):
        found.margins([])


def test_bad_input_raises_with_the_value():
    with pytest.raises(ValueError, match=r"num_samples must be a number > 0 .*got -3"):
        asymptotics(PAIR, SHARES, -3, 0.1, SQUARE)
    with pytest.raises(ValueError, match=r"penalty must be a finite number >= 0, got -0.1"):
        asymptotics(PAIR, SHARES, 30, -0.1, SQUARE)
    with pytest.raises(ValueError, match=r"shares must sum to 1"):
        asymptotics(PAIR, [0.4, 0.4], 30, 0.1, SQUARE)
    with pytest.raises(ValueError, match=r"loss must be one of square, logistic, hinge, got 'absolute'"):
        asymptotics(PAIR, SHARES, 30, 0.1, "absolute")
    with pytest.raises(ValueError, match=r"λ = 0 needs more samples than the 40 features.*got 40"):
        asymptotics(PAIR, SHARES, 40, 0, SQUARE)
    with pytest.raises(ValueError, match=r"fewer samples than the 40 features, got 40"):
        minimum_norm_asymptotics(PAIR, SHARES, [20, 40])
    with pytest.raises(ValueError, match=r"below the separability threshold 3.4\d+ of this mixture, got 4"):
        hard_margin_asymptotics(PAIR, SHARES, [1.0 * D, 4.0 * D])
    with pytest.raises(
        ValueError, match=r"λ = 0 needs n/d above the separability threshold 3.4\d+ .* got 3 "
    ):
        asymptotics(PAIR, SHARES, 3 * D, 0, LOGISTIC)
    with pytest.raises(ValueError, match=r"targets must have the sources' 40 features, got 3"):
        asymptotics(PAIR, SHARES, 30, 0.1, SQUARE).margins([Target(np.ones(3))])
    with pytest.raises(ValueError, match=r"at most one axis of settings"):
        asymptotics_sweep([PAIR], SHARES, np.ones((1, 1)), 0.1, SQUARE)


def test_an_unsolved_fixed_point_raises_with_its_residual(monkeypatch):
    def unsolved(learner, law, stacked, shares, inverse_n, penalty):
        ones = np.ones_like(shares)
        return (*(ones for _ in range(6)), np.array([1e-12, 0.2]))

    # The function of the same name hides the module from `import theory.asymptotics`.
    monkeypatch.setattr(sys.modules[asymptotics.__module__], "solve_settings", unsolved)
    with pytest.raises(
        RuntimeError, match=r"logistic was not found for 1 of 2 settings; .* n = 60, λ = 0.1 has residual 0.2"
    ):
        asymptotics(PAIR, SHARES, [30.0, 60.0], 0.1, LOGISTIC)


@pytest.mark.slow
def test_hard_problems_converge():
    # Long, over-fitted sources, tiny and huge penalties, few and many samples.
    sources = [
        Source(padded(D, 8, 0, 1), 1.0),
        Source(padded(D, 0, 0.2, 3), 0.1),
        Source(padded(D, -0.5, 1), 4.0),
    ]
    lam, ratio = (x.ravel() for x in np.meshgrid([1e-4, 1e-2, 1.0, 1e4], [0.05, 0.9, 1.1, 8.0, 50.0, np.inf]))
    for loss in LOSS_NAMES:
        found = asymptotics(sources, [0.3, 0.3, 0.4], ratio * D, lam, loss)
        assert float(found.residual.max()) < 1e-9
    # Hard margins whose length diverges.
    star = float(separability_threshold(sources, [0.3, 0.3, 0.4]))
    near = hard_margin_asymptotics(sources, [0.3, 0.3, 0.4], np.array([0.01, 0.5, 0.95, 0.99]) * star * D)
    assert float(near.residual.max()) < 1e-9

"""The line fit against closed forms, against naive references, and its intervals by simulation."""

import numpy as np
import pytest

from empirical.line_fits import LineFit, fit_line


def simulate(rng: np.random.Generator, shared: float, scatter: float, n: int = 8) -> tuple[np.ndarray, ...]:
    """Points about y = -0.3 + 0.8 x with measurement errors 0.04, a share `shared` of their variance common to all."""
    x = np.linspace(0.2, 1.6, n)
    y = -0.3 + 0.8 * x + scatter * rng.standard_normal(n)
    error = [
        0.04 * (np.sqrt(shared) * rng.standard_normal() + np.sqrt(1 - shared) * rng.standard_normal(n))
        for _ in "xy"
    ]
    return x + error[0], y + error[1], np.full(n, 0.04), np.full(n, 0.04)


def fitted(*points: np.ndarray, through_origin: bool = False) -> LineFit:
    fit = fit_line(*points, through_origin=through_origin)
    assert fit is not None
    return fit


def test_without_errors_in_x_it_is_ordinary_least_squares_with_its_t_interval():
    import statsmodels.api as sm

    rng = np.random.default_rng(3)
    x = rng.normal(size=10)
    y = 0.4 + 1.3 * x + 0.2 * rng.normal(size=10)
    zero = np.zeros(10)
    fit = fitted(x, y, zero, zero)
    reference = sm.OLS(y, sm.add_constant(x)).fit()
    assert fit.parameters == pytest.approx(reference.params, abs=1e-9)
    assert fit.interval((0.0, 1.0)) == pytest.approx(reference.conf_int()[1], abs=1e-9)
    assert fit.interval((1.0, 0.0)) == pytest.approx(reference.conf_int()[0], abs=1e-9)
    assert fit.r2 == pytest.approx(reference.rsquared, abs=1e-9)
    ray = fitted(x, y, zero, zero, through_origin=True)
    assert ray.slope == pytest.approx(sm.OLS(y, x).fit().params[0], abs=1e-9)
    assert ray.interval((0.0, 1.0)) == pytest.approx(sm.OLS(y, x).fit().conf_int()[0], abs=1e-9)
    assert ray.interval((1.0, 0.0)) == (0.0, 0.0)


def test_equal_errors_and_no_extra_scatter_give_orthogonal_regression():
    rng = np.random.default_rng(4)
    x, y, x_stderr, y_stderr = simulate(rng, 0.0, 0.0, n=12)
    fit = fitted(
        x, y, 10 * x_stderr, 10 * y_stderr
    )  # errors stated far larger than they are: no room for extra
    assert fit.extra_variance == 0.0
    axis = np.linalg.svd(np.stack([x - x.mean(), y - y.mean()]))[0][:, 0]
    assert fit.slope == pytest.approx(axis[1] / axis[0], rel=1e-8)


def test_points_on_a_line_are_read_exactly():
    x = np.array([0.1, 0.5, 0.9, 1.4])
    fit = fitted(x, 0.2 + 0.7 * x, np.full(4, 0.03), np.full(4, 0.05))
    assert fit.parameters == pytest.approx([0.2, 0.7], abs=1e-12)
    assert fit.read(2.0) == pytest.approx(1.6)
    assert fit.r2 == pytest.approx(1.0)
    # Residuals of zero do not make the line certain: the images' binomial error remains.
    low, high = fit.interval((0.0, 1.0))
    assert high - low > 0.1


def test_shared_errors_are_what_moving_all_points_does_to_the_line():
    rng = np.random.default_rng(6)
    x, y, _, _ = simulate(rng, 0.0, 0.1)
    even = np.full(8, 0.04)
    fit, step = fitted(x, y, even, even), 1e-3
    # All points moved alike: the same line, shifted.
    assert fit.shared_x == pytest.approx([-0.04 * fit.slope, 0.0], abs=1e-9)
    assert fit.shared_y == pytest.approx([0.04, 0.0], abs=1e-9)
    x_stderr, y_stderr = np.linspace(0.002, 0.01, 8), np.linspace(0.06, 0.02, 8)
    for through_origin in (False, True):
        fit = fitted(x, y, x_stderr, y_stderr, through_origin=through_origin)
        for shared, move_x, move_y in ((fit.shared_x, step, 0.0), (fit.shared_y, 0.0, step)):
            there, back = (
                fitted(
                    x + s * move_x * x_stderr,
                    y + s * move_y * y_stderr,
                    x_stderr,
                    y_stderr,
                    through_origin=through_origin,
                )
                for s in (1, -1)
            )
            moved = (there.parameters - back.parameters) / (2 * step)
            assert np.linalg.norm(moved) > 1e-3
            assert np.linalg.norm(shared - moved) < 0.1 * np.linalg.norm(moved), (
                through_origin,
                shared,
                moved,
            )


def test_swapping_the_axes_inverts_the_slope():
    rng = np.random.default_rng(5)
    x, y, u, v = simulate(rng, 0.0, 0.0)
    forward, backward = fitted(x, y, 5 * u, 5 * v), fitted(y, x, 5 * v, 5 * u)
    assert forward.slope * backward.slope == pytest.approx(1.0, rel=1e-8)


@pytest.mark.parametrize(
    "points",
    [([0.1, 0.2], [0.3, 0.4]), ([0.5] * 4, [0.1, 0.2, 0.3, 0.4]), ([], [])],
    ids=["two models", "one place", "none"],
)
def test_too_few_models_or_no_spread_give_no_fit(points):
    x, y = (np.asarray(v, float) for v in points)
    assert fit_line(x, y, np.full(len(x), 0.01), np.full(len(x), 0.01)) is None


def test_infinite_links_are_refused_not_clipped():
    with pytest.raises(ValueError, match="leave such points out"):
        fit_line(np.array([0.1, 0.2, np.inf]), np.zeros(3), np.ones(3), np.ones(3))


def coverage(shared: float, scatter: float, draws: int, n: int = 8, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    hits = np.zeros(3)
    for _ in range(draws):
        fit = fitted(*simulate(rng, shared, scatter, n))
        for j, (direction, truth) in enumerate([((0.0, 1.0), 0.8), ((1.0, 0.0), -0.3), ((1.0, 1.0), 0.5)]):
            low, high = fit.interval(direction)
            hits[j] += low <= truth <= high
    return hits / draws


@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
def test_intervals_of_slope_intercept_and_height_cover_the_truth(shared):
    draws = 1000
    below = 0.95 - 4 * np.sqrt(0.95 * 0.05 / draws)
    assert np.all(coverage(shared, 0.1, draws) >= below)


def test_intervals_are_not_uselessly_wide():
    # Where scatter between models rules, the interval is the t interval: coverage near 95%, not 100%.
    draws = 1000
    assert np.all(coverage(0.0, 0.3, draws, seed=1) <= 0.95 + 4 * np.sqrt(0.95 * 0.05 / draws) - 0.005)


@pytest.mark.slow
@pytest.mark.parametrize("n", [3, 5, 8, 20])
@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("scatter", [0.0, 0.05, 0.3])
def test_coverage_everywhere(n, shared, scatter):
    draws = 2000
    assert np.all(coverage(shared, scatter, draws, n) >= 0.95 - 4 * np.sqrt(0.95 * 0.05 / draws))

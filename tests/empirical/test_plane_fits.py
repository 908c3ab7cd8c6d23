"""The plane fit against ordinary least squares, the line fit, and its intervals by simulation."""

import numpy as np
import pytest

from empirical.line_fits import fit_line
from empirical.plane_fits import PlaneFit, fit_plane

TRUE = np.array([-0.2, 0.6, 0.3])


def points(
    rng: np.random.Generator, n: int = 20, error: float = 0.04, scatter: float = 0.0
) -> tuple[np.ndarray, ...]:
    x = rng.uniform(0, 2, (n, 2))
    y = TRUE[0] + x @ TRUE[1:] + scatter * rng.standard_normal(n)
    noisy = x + error * rng.standard_normal(x.shape), y + error * rng.standard_normal(n)
    return *noisy, np.full(x.shape, error), np.full(n, error)


def fitted(*values: np.ndarray) -> PlaneFit:
    fit = fit_plane(*values)
    assert fit is not None
    return fit


def test_without_errors_in_x_it_is_ordinary_least_squares():
    import statsmodels.api as sm

    rng = np.random.default_rng(0)
    x, y, *_ = points(rng, error=0.0, scatter=0.3)
    fit = fitted(x, y, np.zeros_like(x), np.zeros_like(y))
    reference = sm.OLS(y, sm.add_constant(x)).fit()
    assert fit.parameters == pytest.approx(reference.params, abs=1e-9)
    assert [fit.interval(i) for i in range(3)] == [
        pytest.approx(row, abs=1e-8) for row in reference.conf_int()
    ]
    assert fit.r2 == pytest.approx(reference.rsquared, abs=1e-9)
    place = np.array([[0.7, 1.4]])
    mean = reference.get_prediction(np.array([[1.0, 0.7, 1.4]]))
    assert fit.read(place) == pytest.approx(mean.predicted_mean)
    assert fit.variances(place)[0] == pytest.approx(mean.se_mean**2)


def test_one_x_is_the_line_fit():
    rng = np.random.default_rng(1)
    x, y = np.linspace(0, 2, 9), np.linspace(0.1, 1.5, 9) + 0.1 * rng.standard_normal(9)
    x_stderr, y_stderr = rng.uniform(0.02, 0.08, 9), rng.uniform(0.02, 0.08, 9)
    line = fit_line(x, y, x_stderr, y_stderr)
    assert line is not None
    plane = fitted(x[:, None], y, x_stderr[:, None], y_stderr)
    assert plane.parameters == pytest.approx(line.parameters, abs=1e-9)
    assert plane.covariance == pytest.approx(line.covariance, rel=1e-7)
    assert plane.interval(1) == pytest.approx(line.interval((0.0, 1.0)), abs=1e-9)
    assert plane.extra_variance == pytest.approx(line.extra_variance, abs=1e-10)


def test_errors_in_x_do_not_flatten_the_plane():
    """Least squares shrinks slopes by 1 / (1 + error^2 / spread^2), here 16%; the fit does not."""
    rng = np.random.default_rng(2)
    found = np.array([fitted(*points(rng, n=60, error=0.25)).parameters for _ in range(150)])
    error = found.std(0, ddof=1) / np.sqrt(len(found))
    assert np.all(np.abs(found.mean(0) - TRUE) < 4 * error + 0.02 * np.abs(TRUE))
    x, y, *_ = points(rng, n=9000, error=0.25)
    naive = np.linalg.lstsq(np.column_stack([np.ones(9000), x]), y, rcond=None)[0]
    assert np.all(naive[1:] < 0.9 * TRUE[1:])


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(3)
    held = np.zeros(3)
    for _ in range(300):
        fit = fitted(*points(rng, n=10, error=0.03, scatter=0.08))
        ends = [fit.interval(i) for i in range(3)]
        held += [low <= true <= high for (low, high), true in zip(ends, TRUE, strict=True)]
    # Shared errors are added once more, so coverage is 95% or above; 3 standard errors of 300 draws are 3.8%.
    assert np.all(held / 300 > 0.95 - 0.038)


def test_a_place_outside_the_points_is_known_as_such():
    fit = fitted(*points(np.random.default_rng(4)))
    assert fit.beyond(np.array([[1.0, 1.0], [3.5, 1.0], [1.0, -1.5]])).tolist() == [False, True, True]


def test_what_cannot_be_fitted_gives_no_plane():
    x, y, x_stderr, y_stderr = points(np.random.default_rng(5), n=6)
    assert fit_plane(x[:3], y[:3], x_stderr[:3], y_stderr[:3]) is None
    twice = np.stack([x[:, 0], 2 * x[:, 0] + 1], axis=1)
    assert fit_plane(twice, y, x_stderr, y_stderr) is None
    constant = np.stack([x[:, 0], np.ones(6)], axis=1)
    assert fit_plane(constant, y, x_stderr, y_stderr) is None
    with pytest.raises(ValueError, match="x must be finite"):
        fit_plane(np.where(x > 1, np.inf, x), y, x_stderr, y_stderr)
    with pytest.raises(ValueError, match="non-negative"):
        fit_plane(x, y, -x_stderr, y_stderr)

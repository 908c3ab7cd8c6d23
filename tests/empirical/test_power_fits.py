"""Power laws fitted to d' itself, against growth that is known."""

import numpy as np
import pytest

from empirical.power_fits import fit_power

SIZES = np.repeat([170, 205, 256, 341, 410, 512, 683, 820, 1024, 1638, 2048, 3277, 4096, 8192], 6).astype(
    float
)
"""Sizes and seeds of a study whose smallest models are hardly better than chance."""
SCATTER = 0.13
"""Of d' over seeds, at every size."""


def growing(exponent: float, at_1024: float, rng: np.random.Generator) -> np.ndarray:
    return at_1024 * (SIZES / 1024) ** exponent + SCATTER * rng.standard_normal(len(SIZES))


@pytest.mark.parametrize("at_1024", [0.35, 0.6])
def test_square_root_growth_out_of_chance_is_one_half(at_1024: float) -> None:
    """d' = c sqrt(n) exactly, with small models at chance: no bias upward, and the interval holds 1/2."""
    rng = np.random.default_rng(3)
    fits, of_logarithms, held = [], [], []
    for _ in range(200):
        value = growing(0.5, at_1024, rng)
        fit = fit_power(SIZES, value, np.full(len(SIZES), 0.03))
        assert fit is not None
        fits.append(fit.exponent)
        held.append(abs(fit.exponent - 0.5) < 1.99 * fit.stderr)
        on_axis = value > 0
        of_logarithms.append(np.polyfit(np.log(SIZES[on_axis]), np.log(value[on_axis]), 1)[0])
    error = np.std(fits, ddof=1) / np.sqrt(len(fits))
    # the fit is nonlinear: its own bias is a tenth of a standard error of one study
    assert abs(np.mean(fits) - 0.5) < 3 * error + 0.1 * np.std(fits)
    assert 0.90 < np.mean(held) <= 1
    assert np.mean(of_logarithms) - 0.5 > 3 * np.std(of_logarithms) / np.sqrt(len(fits)), (
        "logarithms are biased here"
    )


def test_a_power_law_without_noise_is_found_exactly() -> None:
    n = np.array([100.0, 200.0, 800.0, 3200.0])
    fit = fit_power(n, 0.02 * n**0.7, np.zeros(4))
    assert fit is not None
    assert (fit.exponent, fit.coefficient, fit.num_models) == (pytest.approx(0.7), pytest.approx(0.02), 4)
    assert fit.read(400) == pytest.approx(0.02 * 400**0.7)
    low, high = fit.interval()
    assert high - low < 1e-3


def test_errors_are_those_of_repeated_studies() -> None:
    rng = np.random.default_rng(4)
    fits = [fit_power(SIZES, growing(0.4, 1.0, rng), np.zeros(len(SIZES))) for _ in range(300)]
    spread = np.std([fit.exponent for fit in fits if fit], ddof=1)
    told = np.sqrt(np.mean([fit.stderr**2 for fit in fits if fit]))
    assert told == pytest.approx(spread, rel=0.15)


def test_images_that_all_models_share_widen_the_interval() -> None:
    value = growing(0.5, 1.0, np.random.default_rng(5))
    alone, shared = (fit_power(SIZES, value, np.full(len(SIZES), e)) for e in (0.0, 0.1))
    assert alone is not None
    assert shared is not None
    assert alone.shared_stderr == 0 < shared.shared_stderr
    assert np.ptp(shared.interval()) > np.ptp(alone.interval())
    moved = fit_power(SIZES, value + 1e-3, np.full(len(SIZES), 0.1))
    assert moved is not None
    assert abs(moved.exponent - shared.exponent) == pytest.approx(shared.shared_stderr * 1e-2, rel=0.05)


def test_what_has_no_growth_has_no_exponent() -> None:
    rng = np.random.default_rng(6)
    assert fit_power(np.array([1.0, 2.0]), np.array([1.0, 2.0]), np.zeros(2)) is None
    assert fit_power(np.full(5, 64.0), rng.random(5), np.zeros(5)) is None
    assert fit_power(SIZES, -growing(0.5, 1.0, rng), np.zeros(len(SIZES))) is None
    step = np.where(SIZES.max() == SIZES, 1.0, 0.0)
    assert fit_power(SIZES, step, np.zeros(len(SIZES))) is None


@pytest.mark.parametrize("place", [0, 1, 2])
def test_values_that_are_not_finite_are_named(place: int) -> None:
    arguments = [np.arange(1.0, 5), np.arange(4.0), np.ones(4)]
    arguments[place] = np.array([1.0, np.inf, 3.0, 4.0])
    with pytest.raises(ValueError, match="must be finite"):
        fit_power(*arguments)
    with pytest.raises(ValueError, match="sizes must be positive"):
        fit_power(np.zeros(4), np.ones(4), np.ones(4))

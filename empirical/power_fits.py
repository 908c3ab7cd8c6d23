"""Power laws y = c n^e through points with errors, fitted to y itself.

Use `fit_power`. A line through log y would have to leave out y <= 0, which noise makes of small values: those that it keeps are
too large, and near 0 the errors of logarithms are large and skewed, which the line does not know.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import ndtri, stdtrit

from empirical.line_fits import LEVEL, MIN_MODELS, paule_mandel

_EXPONENTS = np.linspace(-2.0, 4.0, 121)
"""Exponents among which the fit starts; one at an end is no fit."""


@dataclass(frozen=True)
class PowerFit:
    """A fitted y = coefficient n^exponent.

    stderr is the exponent's standard error from what differs between points, with `degrees` degrees of freedom; shared_stderr is
    the exponent's change when all points move by one known standard error together, as test images that all share move them.
    """

    coefficient: float
    exponent: float
    stderr: float
    shared_stderr: float
    degrees: int
    num_models: int

    def read(self, n: float | int) -> float:
        """Height of the curve at n."""
        return self.coefficient * float(n) ** self.exponent

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Confidence interval of the exponent, half-width sqrt(t^2 stderr^2 + z^2 shared_stderr^2), as `LineFit.interval`."""
        t, z = float(stdtrit(self.degrees, 0.5 + level / 2)), float(ndtri(0.5 + level / 2))
        half = float(np.hypot(t * self.stderr, z * self.shared_stderr))
        return self.exponent - half, self.exponent + half


def fit_power(n: np.ndarray, y: np.ndarray, y_stderr: np.ndarray) -> PowerFit | None:
    """Weighted least squares of y = c n^e, c > 0, on y itself, so that values at or below 0 count like any other.

    Minimises sum (y_i - c n_i^e)^2/(y_stderr_i^2 + tau^2) with tau^2 >= 0 by Paule and Mandel: what seeds scatter beyond the
    known errors, of the same size at every n. Errors of c and e are those of the model linearised at the fit.

    Args: n > 0, y, y_stderr of shape (N,). Returns None where no exponent is found: fewer than 3 points, one size, c <= 0, or an
    exponent outside [-2, 4] (no growth above the noise). Raises ValueError for input that is not finite, n <= 0, negative errors.
    """
    n, y, y_stderr = (np.asarray(values, float) for values in (n, y, y_stderr))
    for name, values in (("n", n), ("y", y), ("y_stderr", y_stderr)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name} must be finite, got {values}; leave such points out of the fit")
    if (n <= 0).any() or (y_stderr < 0).any():
        raise ValueError("sizes must be positive and standard errors non-negative")
    if len(n) < MIN_MODELS or np.ptp(n) == 0:
        return None
    centre = np.exp(np.log(n).mean())  # c is the height here: nearly independent of the exponent
    x, degrees = np.log(n / centre), len(n) - 2
    extra, exponent, height, power = 0.0, np.inf, 0.0, np.ones_like(x)
    for _ in range(100):
        variance, previous = np.maximum(y_stderr**2 + extra, 1e-24), exponent
        losses = [_profile(e, x, y, variance)[1] for e in _EXPONENTS]
        start = int(np.argmin(losses))
        if start in (0, len(losses) - 1):
            return None
        ends = (float(_EXPONENTS[start - 1]), float(_EXPONENTS[start + 1]))
        found = minimize_scalar(
            lambda e, v=variance: _profile(e, x, y, v)[1],
            bounds=ends,
            method="bounded",
            options={"xatol": 1e-9},
        )
        exponent = float(found.x)  # pyright: ignore[reportAttributeAccessIssue]
        height = _profile(exponent, x, y, variance)[0]
        power = np.exp(exponent * x)
        extra = paule_mandel(y - height * power, y_stderr**2, degrees)
        if abs(exponent - previous) < 1e-7:
            break
    if height <= 0:
        return None
    variance = np.maximum(y_stderr**2 + extra, 1e-24)
    steps = np.stack([power, height * x * power], axis=1)
    covariance = np.linalg.inv(steps.T @ (steps / variance[:, None]))
    moved = covariance @ (steps.T @ (y_stderr / variance))
    return PowerFit(
        coefficient=height / centre**exponent, exponent=exponent, stderr=float(np.sqrt(covariance[1, 1])),
        shared_stderr=abs(float(moved[1])), degrees=degrees, num_models=len(n),
    )  # fmt: skip


def _profile(exponent: float, x: np.ndarray, y: np.ndarray, variance: np.ndarray) -> tuple[float, float]:
    """The best height at log size x = 0 with this exponent, and the weighted sum of squares that it leaves."""
    power = np.exp(exponent * x)
    height = float(np.sum(power * y / variance) / np.sum(power**2 / variance))
    return height, float(np.sum((y - height * power) ** 2 / variance))

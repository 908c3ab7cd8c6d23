"""Straight lines through points that carry errors in both coordinates.

Use `fit_line` for a line (slope and intercept) or a ray through the origin; it returns a `LineFit`, which knows its
intervals and can be read at any place. `empirical.robustness` applies it to tables of accuracies; `empirical.plane_fits`
does the same for several x.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

LEVEL = 0.95
MIN_MODELS = 3


@dataclass(frozen=True)
class LineFit:
    """A fitted line y = intercept + slope x, with its error split into what is and is not shared by the points.

    parameters (2,) = (intercept, slope); covariance (2, 2) of the part that averages over points, known with
    `degrees` degrees of freedom; shared_x, shared_y (2,) the change of the parameters when all x (all y) move together
    by one standard error. num_models is the number of points and r2 = 1 - sum (y - fit)^2 / sum (y - mean y)^2.
    """

    parameters: np.ndarray
    covariance: np.ndarray
    shared_x: np.ndarray
    shared_y: np.ndarray
    degrees: int
    r2: float
    num_models: int
    extra_variance: float

    @property
    def intercept(self) -> float:
        """Value at x = 0."""
        return float(self.parameters[0])

    @property
    def slope(self) -> float:
        """Change of y per unit of x."""
        return float(self.parameters[1])

    def read(self, x: float) -> float:
        """Height of the line at x."""
        return float(self.parameters[0] + self.parameters[1] * x)

    def interval(self, direction: tuple[float, float], level: float = LEVEL) -> tuple[float, float]:
        """Confidence interval of direction . (intercept, slope): (0, 1) is the slope, (1, x) the height at x.

        Half-width sqrt(t^2 V + z^2 W): V = direction' covariance direction with the fit's t quantile, W = (direction .
        shared_x)^2 + (direction . shared_y)^2 with the normal one. (One quantile at Welch-Satterthwaite degrees covers
        too little for 3 models, where V is small by chance too often.)
        """
        v = np.asarray(direction, dtype=float)
        scatter = float(v @ self.covariance @ v)
        shared = float((v @ self.shared_x) ** 2 + (v @ self.shared_y) ** 2)
        t, z = (
            float(quantile) for quantile in (stdtrit(self.degrees, 0.5 + level / 2), ndtri(0.5 + level / 2))
        )
        half = (t**2 * scatter + z**2 * shared) ** 0.5
        middle = float(v @ self.parameters)
        return middle - half, middle + half


def fit_line(
    x: np.ndarray, y: np.ndarray, x_stderr: np.ndarray, y_stderr: np.ndarray, through_origin: bool = False
) -> LineFit | None:
    """York's line through points with errors in both coordinates, plus extra scatter estimated from the residuals.

    Minimises sum W_i (y_i - a - b x_i)^2 with 1/W_i = y_stderr_i^2 + b^2 x_stderr_i^2 + tau^2; tau^2 >= 0 is the
    Paule-Mandel estimate (weighted residuals sum to their degrees of freedom) and stands for what the known errors do
    not explain: seeds and models. a = 0 for a ray. The parameters' covariance (X'WX)^-1 uses the adjusted x of York et
    al. (2004) and t quantiles with the fit's degrees of freedom (Knapp-Hartung). The points are measured on the same
    test images, so a part of the known errors moves them all together and does not show in the residuals; how large a
    part is unknown, hence all of it is added once more as shared. That covers any correlation between 0 and 1.

    Args: x, y, x_stderr, y_stderr of shape (n,). Returns None where no fit is possible: fewer than 3 points, or all x
    equal (all x zero for a ray). Raises ValueError for non-finite input or negative errors.
    Source: York, Evensen, Martinez, Delgado (2004), Am. J. Phys. 72:367; Paule, Mandel (1982).
    """
    x, y, x_stderr, y_stderr = (np.asarray(v, dtype=float) for v in (x, y, x_stderr, y_stderr))
    for name, values in (("x", x), ("y", y), ("x_stderr", x_stderr), ("y_stderr", y_stderr)):
        if not np.all(np.isfinite(values)):
            raise ValueError(f"{name} must be finite, got {values}; leave such points out of the fit")
    if np.any(x_stderr < 0) or np.any(y_stderr < 0):
        raise ValueError("standard errors must be non-negative")
    n = len(x)
    spread = np.max(np.abs(x)) if through_origin and n else (np.ptp(x) if n else 0.0)
    if n < MIN_MODELS or spread < 1e-9:
        return None
    design = np.stack([np.zeros(n) if through_origin else np.ones(n), x], axis=1)
    used = slice(1, 2) if through_origin else slice(0, 2)
    degrees = n - design[:, used].shape[1]

    parameters = np.zeros(2)
    parameters[used] = np.linalg.lstsq(design[:, used], y, rcond=None)[0]
    extra, previous, centre_x = 0.0, np.inf, 0.0
    weight = moved = np.ones(n)
    for _ in range(200):
        b = parameters[1]
        known = y_stderr**2 + b**2 * x_stderr**2
        residual = y - design @ parameters
        extra = paule_mandel(residual, known, degrees)
        weight = 1.0 / np.maximum(known + extra, 1e-24)
        # York's step: move each point along its error direction to the line, then regress on the moved x.
        centre_x = 0.0 if through_origin else np.average(x, weights=weight)
        centre_y = 0.0 if through_origin else np.average(y, weights=weight)
        u, v = x - centre_x, y - centre_y
        moved = weight * ((y_stderr**2 + extra) * u + b * x_stderr**2 * v)
        moved = np.where(known + extra < 1e-24, u, moved)
        denominator = float(np.sum(weight * moved * u))
        if denominator <= 0.0:  # x scatters no more than its own errors allow: no slope is identified
            return None
        slope = float(np.sum(weight * moved * v)) / denominator
        parameters = np.array([centre_y - slope * centre_x, slope])
        if abs(slope - previous) < 1e-11 * (1 + abs(slope)):
            break
        previous = slope

    adjusted = np.stack([design[:, 0], centre_x + moved], axis=1)[:, used]
    normal = np.linalg.inv(adjusted.T @ (weight[:, None] * adjusted))
    estimator = np.zeros((2, n))  # parameters = estimator @ y to first order
    estimator[used] = normal @ (adjusted.T * weight)
    covariance = np.zeros((2, 2))
    covariance[used, used] = normal
    residual = y - design @ parameters
    total = float(np.sum((y - y.mean()) ** 2))
    r2 = 1.0 - float(np.sum(residual**2)) / total if total > 0 else np.nan
    return LineFit(
        parameters=parameters,
        covariance=covariance,
        shared_x=-parameters[1] * (estimator @ x_stderr),
        shared_y=estimator @ y_stderr,
        degrees=degrees,
        r2=r2,
        num_models=n,
        extra_variance=extra,
    )


def paule_mandel(residual: np.ndarray, known: np.ndarray, degrees: int) -> float:
    """Extra variance tau^2 >= 0 that makes sum residual^2 / (known + tau^2) equal the degrees of freedom."""

    # The sum is convex and falls with tau^2: Newton's steps approach the root from below. The start is the root if all
    # known errors were the largest of them, which is never above it.
    square = residual**2
    extra = max(0.0, float(np.sum(square)) / degrees - float(np.max(known)))
    for _ in range(50):
        variance = np.maximum(known + extra, 1e-24)
        excess = float(np.sum(square / variance)) - degrees
        if excess <= 1e-12 * degrees:
            break
        extra += excess / float(np.sum(square / variance**2))
    return extra

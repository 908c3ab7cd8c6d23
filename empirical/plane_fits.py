"""Planes through points that carry errors in every coordinate: `fit_line` for several x.

Use `fit_plane`; it returns a `PlaneFit`, which knows its height and error at any place. With one x it is `fit_line`'s line.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri, stdtrit

from empirical.line_fits import LEVEL, paule_mandel

_ROUNDING = 1e-10


@dataclass(frozen=True, eq=False)
class PlaneFit:
    """A fitted plane y = b_0 + sum_r b_r x_r, with its error split into what is and is not shared by the points.

    parameters (R + 1,) = (b_0, b_1, ...); covariance (R + 1, R + 1) of the part that averages over points, known with
    `degrees` degrees of freedom; shared (R + 1, R + 1), column j the change of the parameters when coordinate j of all
    points (y first, then each x) moves by one standard error. num_models is the number of points, r2 = 1 - sum (y - fit)^2
    / sum (y - mean y)^2, extra_variance tau^2 the scatter about the plane that known errors do not explain, and
    largest_leverage max_i v_i' covariance v_i over the points, v = (1, x).
    """

    parameters: Float[np.ndarray, " r"]
    covariance: Float[np.ndarray, "r r"]
    shared: Float[np.ndarray, "r r"]
    degrees: int
    r2: float
    num_models: int
    extra_variance: float
    largest_leverage: float

    def read(self, x: Float[np.ndarray, "n r"]) -> Float[np.ndarray, " n"]:
        """Height of the plane at each place x (n, R)."""
        return self.parameters[0] + x @ self.parameters[1:]

    def variances(
        self, x: Float[np.ndarray, "n r"]
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Variance of the height at each place: the part that averages over points (times a t quantile), the shared part."""
        v = np.concatenate([np.ones((len(x), 1)), x], axis=1)
        return np.einsum("ni,ij,nj->n", v, self.covariance, v), ((v @ self.shared) ** 2).sum(1)

    def beyond(self, x: Float[np.ndarray, "n r"]) -> np.ndarray:
        """Whether each place lies outside the fitted points: its leverage exceeds that of every one of them."""
        return self.variances(x)[0] > self.largest_leverage * (1 + 1e-9)

    def interval(self, index: int, level: float = LEVEL) -> tuple[float, float]:
        """Confidence interval of one parameter (0 is the intercept), half-width sqrt(t^2 V + z^2 W) as in `LineFit`."""
        t, z = quantiles(self.degrees, level)
        half = float(
            np.sqrt(t**2 * self.covariance[index, index] + z**2 * float((self.shared[index] ** 2).sum()))
        )
        return float(self.parameters[index]) - half, float(self.parameters[index]) + half


def quantiles(degrees: int, level: float = LEVEL) -> tuple[float, float]:
    """Two-sided t quantile for `degrees` degrees of freedom, and the normal one."""
    return float(stdtrit(degrees, 0.5 + level / 2)), float(ndtri(0.5 + level / 2))


def fit_plane(
    x: Float[np.ndarray, "n r"],
    y: Float[np.ndarray, " n"],
    x_stderr: Float[np.ndarray, "n r"],
    y_stderr: Float[np.ndarray, " n"],
) -> PlaneFit | None:
    """York's fit for several x, each with errors, plus extra scatter estimated from the residuals.

    Minimises sum W_i (y_i - v_i' b)^2, v = (1, x), with 1/W_i = y_stderr_i^2 + sum_r b_r^2 x_stderr_ir^2 + tau^2. Each step
    moves the points along their error direction to the plane, z_ir = x_ir + W_i b_r x_stderr_ir^2 (y_i - v_i' b), and solves
    (1, z)' W (1, x) b = (1, z)' W y. tau^2 is the Paule-Mandel estimate; what the common test images move together is added
    once more as shared (see `fit_line`).

    Returns None where no fit is possible: fewer than R + 2 points, or x that do not span R dimensions.
    Raises ValueError for non-finite input or negative errors.
    Source: York et al. (2004), Am. J. Phys. 72:367, carried to several x; Paule, Mandel (1982).
    """
    for name, values in (("x", x), ("y", y), ("x_stderr", x_stderr), ("y_stderr", y_stderr)):
        if not np.all(np.isfinite(values)):
            raise ValueError(f"{name} must be finite; leave such points out of the fit")
    if np.any(x_stderr < 0) or np.any(y_stderr < 0):
        raise ValueError("standard errors must be non-negative")
    n, num_x = x.shape
    design = np.concatenate([np.ones((n, 1)), x], axis=1)
    degrees = n - num_x - 1
    if degrees < 1 or not _spans(x):
        return None
    parameters = np.linalg.lstsq(design, y, rcond=None)[0]
    extra, weight, moved = 0.0, np.ones(n), design
    for _ in range(200):
        slopes = parameters[1:]
        known = y_stderr**2 + x_stderr**2 @ slopes**2
        residual = y - design @ parameters
        extra = paule_mandel(residual, known, degrees)
        weight = 1.0 / np.maximum(known + extra, 1e-24)
        shift = np.where(known + extra < 1e-24, 0.0, weight * residual)[:, None] * slopes * x_stderr**2
        moved = np.concatenate([np.ones((n, 1)), x + shift], axis=1)
        if not _spans(moved[:, 1:]):
            return None
        found = np.linalg.solve(moved.T @ (weight[:, None] * design), moved.T @ (weight * y))
        change = float(np.abs(found - parameters).max())
        parameters = found
        if change < 1e-11 * (1 + float(np.abs(parameters).max())):
            break
    normal = np.linalg.inv(moved.T @ (weight[:, None] * moved))
    estimator = normal @ (moved.T * weight)  # parameters = estimator @ y to first order
    shared = np.stack(
        [
            estimator @ y_stderr,
            *(-b * (estimator @ e) for b, e in zip(parameters[1:], x_stderr.T, strict=True)),
        ]
    )
    residual = y - design @ parameters
    total = float(np.sum((y - y.mean()) ** 2))
    return PlaneFit(
        parameters=parameters,
        covariance=normal,
        shared=shared.T,
        degrees=degrees,
        r2=1.0 - float(np.sum(residual**2)) / total if total > 0 else float("nan"),
        num_models=n,
        extra_variance=extra,
        largest_leverage=float(np.einsum("ni,ij,nj->n", design, normal, design).max()),
    )


def _spans(x: Float[np.ndarray, "n r"]) -> bool:
    """Whether the points spread in every direction, judged after each x is scaled by its own spread."""
    centred = x - x.mean(0)
    spread = np.abs(centred).max(0)
    if np.any(spread < 1e-9):
        return False
    values = np.linalg.svd(centred / spread, compute_uv=False)
    return bool(values[-1] > _ROUNDING * values[0]) and len(values) == x.shape[1]

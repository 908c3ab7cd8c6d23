"""Masks of simple shapes on a common canvas, the parts silhouettes are made of; combine them with `|`, `&` and `~`."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float

CANVAS = 128  # pixels along the canvas's side
EXTENT = 1.25  # half the canvas's side, in units of the object

Real = float | int
Mask = Bool[np.ndarray, "canvas canvas"]

_AXIS = ((np.arange(CANVAS) + 0.5) / CANVAS * 2 - 1) * EXTENT
X, Y = np.meshgrid(_AXIS, -_AXIS)


def between(low: Real, high: Real, share: Real) -> Real:
    """Linear interpolation from low (share 0) to high (share 1)."""
    return low + (high - low) * share


def polygon(corners: Sequence[tuple[Real, Real]]) -> Mask:
    """Even-odd rule: a pixel is inside when a ray to the right crosses the boundary an odd number of times."""
    inside = np.zeros(X.shape, bool)
    for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
        if y0 == y1:
            continue
        crosses = (y0 > Y) != (y1 > Y)
        inside ^= crosses & (x0 + (x1 - x0) * (Y - y0) / (y1 - y0) > X)
    return inside


def ellipse(x: Real, y: Real, width: Real, height: Real) -> Mask:
    """Filled axis-parallel ellipse with the given half-axes."""
    return ((X - x) / width) ** 2 + ((Y - y) / height) ** 2 < 1


def disk(x: Real, y: Real, radius: Real) -> Mask:
    """Filled disk."""
    return ellipse(x, y, radius, radius)


def annulus(x: Real, y: Real, radius: Real, hole: Real) -> Mask:
    """Disk with a round hole."""
    return disk(x, y, radius) & ~disk(x, y, hole)


def box(left: Real, right: Real, bottom: Real, top: Real) -> Mask:
    """Filled axis-parallel rectangle."""
    return (left < X) & (right > X) & (bottom < Y) & (top > Y)


def stroke(points: Sequence[tuple[Real, Real]], width: Real) -> Mask:
    """All pixels within half a width of the polyline through the points."""
    mask = np.zeros(X.shape, bool)
    for (x0, y0), (x1, y1) in pairwise(points):
        dx, dy = x1 - x0, y1 - y0
        along = np.clip(((X - x0) * dx + (Y - y0) * dy) / (dx * dx + dy * dy), 0, 1)
        mask |= (X - x0 - along * dx) ** 2 + (Y - y0 - along * dy) ** 2 < (width / 2) ** 2
    return mask


def radial(radius: Callable[[Float[np.ndarray, "..."]], Float[np.ndarray, "..."]]) -> Mask:
    """Pixels nearer to the centre than radius(angle), the angle measured clockwise from the top."""
    return np.hypot(X, Y) < radius(np.arctan2(X, Y))


def mirrored(mask: Mask) -> Mask:
    """The mask with left and right exchanged."""
    return mask[:, ::-1]

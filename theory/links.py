r"""Links between accuracy and margin: the probit for two classes and d′ for K classes, with inverses.

Use `dprime(accuracy, num_classes)` wherever classes are more than two: it is the margin the theory speaks of.
If the right score is $\mathcal N(m,1)$ and the $K-1$ others are $\mathcal N(0,1)$, all independent, the accuracy
of the largest score is

$$A_K(m)=\int\varphi(z-m)\,\Phi(z)^{K-1}\,dz,\qquad d'=A_K^{-1}(\text{accuracy}),$$

so that $d'(1/K)=0$, $d'<0$ below chance and $d'=\sqrt2\,\text{probit}$ for $K=2$. Accuracies 0 and 1 have no
finite link: the functions give -inf and inf and never clip (draw such points from `theory.counts`).
Everything is vectorised, works inside `jit`, `vmap` and `grad`, and follows the precision of its input.

Method: the integrand is analytic and log-concave with curvature >= 1, so a trapezoid rule over ±9 around its
mode converges exponentially; nodes lie on one fixed grid where log Φ is tabulated. The smaller of A and 1-A is
computed, so neither tail cancels. The inverse takes Newton steps on the probit scale, where $A_K$ is nearly linear.
"""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Float

from theory.arrays import ArrayLike, as_float_array, is_concrete

_STEP = 1 / 16
_HALF_WIDTH = round(9 / _STEP)
_GRID_END = 40.0
_GRID = np.arange(-_GRID_END - 9, _GRID_END + 9 + _STEP / 2, _STEP)
_OFFSETS = np.arange(-_HALF_WIDTH, _HALF_WIDTH + 1, dtype=np.int32)
_BISECTIONS = int(np.ceil(np.log2(len(_GRID))))
_NEWTON_STEPS = 5  # 4 reach rounding everywhere in the stated range
_MANY = 512  # accuracies at one K from which on a table pays
_CHUNK = 2048  # elements integrated at once: 2048 x 289 nodes are 5 MB in float64


def probit(accuracy: ArrayLike) -> Float[Array, "..."]:
    r"""$\Phi^{-1}$ of an accuracy: the margin of a binary linear classifier.

    Args:
        accuracy: fractions in [0, 1], any shape.

    Returns:
        Numbers without unit of the same shape; -inf at 0, inf at 1; not a number where the input is.

    Raises:
        ValueError: an accuracy outside [0, 1] (inside `jit` the result is not a number instead).
    """
    return ndtri(_checked_accuracy(accuracy))


def probit_inverse(z: ArrayLike) -> Float[Array, "..."]:
    r"""$\Phi(z)$, the accuracy (a fraction) of a margin z of any shape."""
    return ndtr(as_float_array(z))


def dprime(accuracy: ArrayLike, num_classes: ArrayLike) -> Float[Array, "..."]:
    r"""d′ = $A_K^{-1}$(accuracy), the margin of an accuracy among K classes (see the module's formula).

    In float64 the absolute error stays below 1e-8 for K from 2 to 100,000 and accuracies from 1e-6 to 1-1e-6.
    Derivatives with respect to the accuracy follow from $1/A_K'(d')$; K is a count and carries none.

    Args:
        accuracy: fractions in [0, 1], any shape.
        num_classes: K >= 2, a number or an array that broadcasts with `accuracy`.

    Returns:
        Numbers without unit (standard deviations of one score); -inf at accuracy 0, inf at 1.

    Raises:
        ValueError: an accuracy outside [0, 1] or K < 2 (inside `jit` the result is not a number instead).
    """
    checked = _checked_accuracy(accuracy)
    if checked.size >= _MANY and is_concrete(checked, num_classes) and np.ndim(num_classes) == 0:
        from theory.links_table import LEAST_TAIL, dprime_by_table

        tails = np.asarray(jnp.minimum(checked, 1 - checked))
        if not np.any((tails > 0) & (tails < LEAST_TAIL)):
            padded = jnp.pad(checked.ravel(), (0, _power_of_two(checked.size) - checked.size), mode="edge")
            found = dprime_by_table(padded, float(_checked_num_classes(num_classes, checked.dtype)))
            return found[: checked.size].reshape(checked.shape)
    return _elementwise(_dprime, checked, num_classes)


def dprime_inverse(dprime: ArrayLike, num_classes: ArrayLike) -> Float[Array, "..."]:
    r"""$A_K(d')$, the accuracy (a fraction) of a margin d′ among K classes (see the module's formula).

    Args:
        dprime: margins of any shape; -inf and inf are allowed.
        num_classes: K >= 2, a number or an array that broadcasts with `dprime`.

    Raises:
        ValueError: K < 2 (inside `jit` the result is not a number instead).
    """
    return _elementwise(_accuracy, as_float_array(dprime), num_classes)


def _power_of_two(size: int) -> int:
    """The least power of two that is at least `size`."""
    return 1 << (size - 1).bit_length()


def _checked_accuracy(accuracy: ArrayLike) -> Array:
    array = as_float_array(accuracy)
    outside = (array < 0) | (array > 1)
    if is_concrete(array):
        if np.any(outside):
            raise ValueError(f"an accuracy is a fraction in [0, 1], got {np.asarray(array)[outside].flat[0]}")
        return array
    return jnp.where(outside, jnp.nan, array)


def _checked_num_classes(num_classes: ArrayLike, dtype: Any) -> Array:
    array = jax.lax.stop_gradient(as_float_array(num_classes).astype(dtype))
    too_few = ~(array >= 2) | jnp.isinf(array)
    if is_concrete(array):
        if np.any(too_few):
            raise ValueError(f"num_classes must be a number >= 2, got {np.asarray(array)[too_few].flat[0]}")
        return array
    return jnp.where(too_few, jnp.nan, array)


def _elementwise(function: Any, values: Array, num_classes: ArrayLike) -> Array:
    classes = _checked_num_classes(num_classes, values.dtype)
    values, classes = jnp.broadcast_arrays(values, classes)
    size = values.size
    if size == 0:
        return values
    # Sizes are rounded up, so that many different lengths share one compilation.
    padded = next((step for step in (1, 16, 256, _CHUNK) if size <= step), _power_of_two(size))
    flat = [jnp.pad(x.ravel(), (0, padded - size), mode="edge") for x in (values, classes)]
    return function(*flat)[:size].reshape(values.shape)


class _Tables(NamedTuple):
    grid: Array
    log_cdf: Array
    hazard: Array  # φ/Φ, the slope of log Φ


@cache
def _float64_tables() -> tuple[np.ndarray, np.ndarray]:
    from scipy.special import log_ndtr  # a slow import, so it waits for the first use

    log_cdf = log_ndtr(_GRID)
    return log_cdf, np.exp(-(_GRID**2) / 2 - 0.5 * np.log(2 * np.pi) - log_cdf)


def _tables(dtype: Any) -> _Tables:
    return _Tables(*(jnp.asarray(table, dtype) for table in (_GRID, *_float64_tables())))


class _Tail(NamedTuple):
    probability: Array  # A or 1 - A
    score: Array  # derivative of its logarithm in m


def _window(slope_at: Any, centre_shape: tuple[int, ...]) -> Array:
    """Indices of the nodes around the mode of a log-concave integrand whose log-slope is `slope_at(index)`."""
    low = jnp.full(centre_shape, _HALF_WIDTH, jnp.int32)
    high = jnp.full(centre_shape, len(_GRID) - 1 - _HALF_WIDTH, jnp.int32)

    def halve(_: Any, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = (low + high) // 2
        rising = slope_at(middle) > 0
        return jnp.where(rising, middle, low), jnp.where(rising, high, middle)

    low, _ = jax.lax.fori_loop(0, _BISECTIONS, halve, (low, high))
    return low[..., None] + _OFFSETS


def _tail(m: Array, k: Array, upper: Array) -> _Tail:
    """1 - A_K(m) where `upper`, else A_K(m), with the derivative of its logarithm; k = K - 1."""
    grid, log_cdf, hazard = _tables(m.dtype)

    def slope_at(index: Array) -> Array:
        power = k * log_cdf[index]
        missing = jnp.maximum(-jnp.expm1(power), jnp.finfo(m.dtype).tiny)
        lost = jnp.exp(power) / missing
        return m - grid[index] + k * hazard[index] * jnp.where(upper, -lost, 1)

    nodes = _window(slope_at, m.shape)
    power = k[..., None] * log_cdf[nodes]
    kept = jnp.where(upper[..., None], jnp.log(-jnp.expm1(power)), power)
    distance = grid[nodes] - m[..., None]
    exponent = kept - distance**2 / 2
    peak = exponent.max(-1, keepdims=True)
    weight = jnp.exp(exponent - peak)
    total = weight.sum(-1)
    probability = _STEP / np.sqrt(2 * np.pi) * total * jnp.exp(peak[..., 0])
    return _Tail(probability, (weight * distance).sum(-1) / total)


def _density(m: Array, k: Array) -> Array:
    r"""$A_K'(m)=(K-1)\int\varphi(z-m)\varphi(z)\Phi(z)^{K-2}dz$: positive, so exact in both tails; differentiable."""
    grid, log_cdf, hazard = _tables(m.dtype)
    finite = jnp.isfinite(m)
    m = jnp.where(finite, m, 0)
    fixed, power = jax.lax.stop_gradient(m), k - 1
    nodes = _window(lambda index: fixed - 2 * grid[index] + power * hazard[index], m.shape)
    z = grid[nodes]
    exponent = power[..., None] * log_cdf[nodes] - (z - m[..., None]) ** 2 / 2 - z**2 / 2
    return jnp.where(finite, k * _STEP / (2 * np.pi) * jnp.exp(exponent).sum(-1), 0)


def _in_chunks(function: Any, *arrays: Array) -> Array:
    if arrays[0].size <= _CHUNK:
        return function(*arrays)
    # Sizes above one chunk are powers of two here, so chunks divide them.
    chunked = jax.lax.map(lambda x: function(*x), tuple(x.reshape(-1, _CHUNK) for x in arrays))
    return chunked.ravel()


@jax.custom_jvp
@jax.jit
def _accuracy(m: Array, num_classes: Array) -> Array:
    def forward(m: Array, k: Array) -> Array:
        infinite = jnp.isinf(m)
        inside = jnp.where(infinite, 0, m)
        # A_K(m) > 1/2 exactly where m exceeds the median of (largest other score - own noise); any split
        # near it serves, since both branches are accurate around 1/2.
        upper = inside > _typical_maximum(k)[0]
        tail = _tail(inside, k, upper).probability
        return jnp.where(infinite, jnp.where(m > 0, 1.0, 0.0), jnp.where(upper, 1 - tail, tail))

    return _in_chunks(forward, m, num_classes - 1)


@_accuracy.defjvp
def _accuracy_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    m, num_classes = primals
    return _accuracy(m, num_classes), _in_chunks(_density, m, num_classes - 1) * tangents[0]


def _typical_maximum(k: Array) -> tuple[Array, Array]:
    """Median and half the central 68% width of the largest of k scores: exact for k = 1, a start for Newton."""
    # P(largest <= x) = p at Φ(x) = p^(1/k); one stacked call, since this function is slow to compile.
    log_levels = np.log([0.5, 0.15865525393145707, 0.8413447460685429]).astype(k.dtype)
    middle, low, high = -ndtri(-jnp.expm1(log_levels[:, None] / k.ravel())).reshape(3, *k.shape)
    return middle, (high - low) / 2


@jax.custom_jvp
@jax.jit
def _dprime(accuracy: Array, num_classes: Array) -> Array:
    def solve(accuracy: Array, k: Array) -> Array:
        upper = accuracy > 0.5
        inside = (accuracy > 0) & (accuracy < 1)
        tail = jnp.where(inside, jnp.where(upper, 1 - accuracy, accuracy), 0.25)
        sign = jnp.where(upper, -1, 1)
        wanted = sign * ndtri(tail)
        centre, spread = _typical_maximum(k)

        def newton(_: Any, m: Array) -> Array:
            now = _tail(m, k, upper)
            reached = ndtri(now.probability)
            # d probit / d m = p' / φ(probit) with p' = p dlog p / dm; the sign turns the upper tail around.
            per_unit = now.probability * now.score * jnp.exp(reached**2 / 2) * np.sqrt(2 * np.pi)
            return m + jnp.clip((wanted - sign * reached) / (sign * per_unit), -2, 2)

        m = jax.lax.fori_loop(0, _NEWTON_STEPS, newton, centre + wanted * jnp.sqrt(1 + spread**2))
        m = jnp.where(accuracy == 0, -jnp.inf, jnp.where(accuracy == 1, jnp.inf, m))
        return jnp.where(jnp.isnan(accuracy), jnp.nan, m)

    return _in_chunks(solve, accuracy, num_classes - 1)


@_dprime.defjvp
def _dprime_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    accuracy, num_classes = primals
    m = _dprime(accuracy, num_classes)
    return m, tangents[0] / _in_chunks(_density, m, num_classes - 1)

r"""Linear learners trained for real on u = y x, to a certified optimum, over many problems and regularisations at once.

All minimise, without intercept,

$$P(w)=\frac1n\sum_i\ell(u_i\cdot w)+\frac\lambda2\|w\|^2.$$

Use `train(loss, ...)` for the loss as a value, or `train_ridge`, `train_logistic` and `train_hinge` by name; `train_ridge` with
λ = 0 is least squares (n > d) or the minimum-norm interpolator (n <= d), `train_hard_margin` the limit λ → 0 of logistic and
hinge on separable data, `train_lda` pooled linear discriminant analysis. `draw_mixture` makes the samples. The weights depend on
the samples through their optimum only: each call says how far from it they can be (`Trained.weight_error`), and warns where
that is more than was asked for.

In scikit-learn's terms (targets y, `fit_intercept=False`): Ridge(alpha=nλ), LogisticRegression(C=1/(nλ)),
LinearSVC(loss="hinge", C=1/(nλ)).
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int, Key

from theory import covariance as cov
from theory.arrays import ArrayLike, Scalar, as_float_array, check_whole_counts, is_concrete, require
from theory.gaussian import Source, check_dimensions
from theory.learners_batches import on_all_cores
from theory.learners_hinge import hard_margin, soft_margin
from theory.learners_smooth import TIGHT, polish_path, quick_path, sure_path
from theory.losses import HINGE, LOGISTIC, SQUARE, Loss

_MAX_ITERATIONS = 100
_LARGE = 1 << 20  # numbers in the samples of one problem


class UncertifiedOptimum(UserWarning):
    """Some weights may be further from the optimum than the tolerance asked for."""


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["weights", "weight_error", "duality_gap", "iterations", "converged"],
    meta_fields=[],
)
@dataclass(frozen=True, eq=False)
class Trained:
    r"""Trained linear classifiers and how far from their optimum they can be.

    The objective is λ-strongly convex, so $\|w-w^*\|\le\sqrt{2\,\text{gap}/\lambda}$; for a smooth loss the gap is
    $\|\nabla P(w)\|^2/(2\lambda)$ and the bound $\|\nabla P(w)\|/\lambda$.

    Attributes:
        weights: w, shape (..., d) for one regularisation, (..., L, d) for L of them.
        weight_error: upper bound on ‖w − w*‖/‖w‖, shape of `weights` without d.
        duality_gap: P(w) minus a lower bound on the minimum, the same shape.
        iterations: steps of the solver, the same shape.
        converged: whether `weight_error` is at most the tolerance.
    """

    weights: Float[Array, "... d"]
    weight_error: Float[Array, "..."]
    duality_gap: Float[Array, "..."]
    iterations: Int[Array, "..."]
    converged: Bool[Array, "..."]


def draw_mixture(key: Key[Array, ""], sources: Sequence[Source], counts: ArrayLike) -> Float[Array, "n d"]:
    """Samples u = y x ~ N(ν_s, Γ_s) of a mixture with fixed counts, ordered by source.

    Many problems: `jax.vmap(lambda key: draw_mixture(key, sources, counts))(jax.random.split(key, B))`.

    Args:
        key: random key.
        sources: S training distributions.
        counts: n_s, whole numbers, shape (S,).

    Returns:
        u, shape (n, d) with n = Σ n_s.

    Raises:
        ValueError: counts that are not one whole number >= 0 for each source, or all 0.
    """
    d = check_dimensions(*sources)
    whole = check_whole_counts(counts, len(sources))
    keys = jax.random.split(key, len(sources))
    parts = [
        source.mean + cov.sample(part_key, source.covariance.astype(source.mean.dtype), (int(number), d))
        for source, part_key, number in zip(sources, keys, whole, strict=True)
        if number
    ]
    return jnp.concatenate(parts)


def train(
    loss: Loss,
    samples: ArrayLike,
    regularisation: ArrayLike,
    tolerance: Scalar | None = None,
    max_iterations: int = _MAX_ITERATIONS,
) -> Trained:
    r"""Minimise $\frac1n\sum_i\ell(u_i\cdot w)+\frac\lambda2\|w\|^2$ for every problem and every λ.

    Samples may have more features than rows or fewer. Give all λ of one data set in one call: factorisations are shared.

    Args:
        loss: `SQUARE`, `LOGISTIC` or `HINGE`.
        samples: u = y x, shape (..., n, d); leading axes are problems.
        regularisation: λ, a number or a vector (L,), the same for every problem; > 0, or >= 0 for the square loss.
        tolerance: bound asked for on ‖w − w*‖/‖w‖. Default 1e-6 in float64 and 1e-3 in float32; for the hinge, where the
            bound is the square root of a gap that rounding limits, 3e-5 and 3e-2 (the weights themselves are closer).
        max_iterations: steps after which a problem is given up (not reached by data in general position).

    Returns:
        `Trained`; outside of `jit` a warning `UncertifiedOptimum` tells of weights that missed the tolerance.

    Raises:
        ValueError: samples that are not finite (the row is named) or not (..., n, d); λ out of range or not a number or vector;
            λ = 0 with linearly dependent samples; a loss that none of the solvers knows.

    Source: Section 9 (learners that whiten).
    """
    u, lambdas = _checked_samples(samples), _checked_regularisation(regularisation, loss)
    lambdas = lambdas.astype(u.dtype)
    flat, path = u.reshape(-1, *u.shape[-2:]), jnp.atleast_1d(lambdas)
    goal = _tolerance(tolerance, loss, u.dtype)
    if loss.smooth:
        results = _train_smooth(loss, flat, path, goal, max_iterations)
    elif loss.name == HINGE.name:
        # A program for one λ serves any number of them; nothing but the span is shared.
        each = [on_all_cores(soft_margin, flat, lam, goal, jnp.asarray(max_iterations)) for lam in path]
        results = jax.tree.map(lambda *values: jnp.stack(values, 1), *each)
    else:
        raise ValueError(f"no solver for the loss {loss.name!r}: a smooth loss or the hinge is needed")
    return _finish(results, u, lambdas, goal)


def train_ridge(
    samples: ArrayLike, regularisation: ArrayLike = 0.0, tolerance: Scalar | None = None
) -> Trained:
    """Ridge regression on targets y; at λ = 0 least squares (n > d) or the minimum-norm interpolator (n <= d). See `train`."""
    return train(SQUARE, samples, regularisation, tolerance)


def train_logistic(samples: ArrayLike, regularisation: ArrayLike, tolerance: Scalar | None = None) -> Trained:
    """L2-regularised logistic regression (λ > 0). See `train`."""
    return train(LOGISTIC, samples, regularisation, tolerance)


def train_hinge(samples: ArrayLike, regularisation: ArrayLike, tolerance: Scalar | None = None) -> Trained:
    """L2-regularised hinge, the soft-margin support vector machine (λ > 0). See `train`."""
    return train(HINGE, samples, regularisation, tolerance)


def train_hard_margin(
    samples: ArrayLike, tolerance: Scalar | None = None, max_iterations: int = _MAX_ITERATIONS
) -> Trained:
    r"""The hard-margin support vector machine: minimise ‖w‖ subject to $u_i\cdot w\ge1$ for all i.

    Its direction is the limit λ → 0 of hinge and logistic weights on separable data. The solver finds the point v of the
    samples' convex hull closest to the origin, $w=v/\|v\|^2$; every feasible pair bounds the other.

    Args:
        samples: u = y x, shape (..., n, d).
        tolerance: as in `train` (the default of the hinge).
        max_iterations: as in `train`.

    Returns:
        `Trained`; `weight_error` bounds the error of v; `duality_gap` is that of ½‖w‖².

    Raises:
        ValueError: samples that no hyperplane through the origin separates (always so for large n/d), or as in `train`.
    """
    u = _checked_samples(samples)
    goal = _tolerance(tolerance, HINGE, u.dtype)
    flat = u.reshape(-1, *u.shape[-2:])
    *results, margins = on_all_cores(hard_margin, flat, goal, jnp.asarray(max_iterations))
    if is_concrete(margins):
        _check_finite(results[0], u)
        failed = np.flatnonzero(~(np.asarray(margins[:, 0]) > 0))
        if failed.size:
            raise ValueError(
                f"a hard margin needs separable samples: in {_problem(failed[0], u)} (n = {u.shape[-2]}, d = {u.shape[-1]}) no "
                f"direction has a margin above {float(margins[failed[0], 1]):.2g} times the samples' length and none above 0 "
                "was found; use train_hinge with a regularisation > 0"
            )
    return _finish([r[:, None] for r in results], u, jnp.zeros((), u.dtype), goal)


def train_lda(samples: ArrayLike, counts: Sequence[int] | None = None) -> Float[Array, "... d"]:
    r"""Pooled linear discriminant analysis, $w=W^{-1}\sum_sp_s\bar u_s$ with W the pooled covariance within sources.

    With one source it is least squares at λ = 0 up to length: $w_{LS}=w/(1+\bar u\cdot w)$ for W normalised by n.

    Args:
        samples: u = y x, shape (..., n, d), ordered by source; n − S >= d.
        counts: n_s of the S sources (None: one source).

    Returns:
        Weights (..., d); W is normalised by n − S.

    Raises:
        ValueError: samples as in `train`, counts that do not sum to n, or fewer than d + S samples.
    """
    u = _checked_samples(samples)
    n, d = u.shape[-2:]
    numbers = [n] if counts is None else [int(count) for count in counts]
    if sum(numbers) != n or min(numbers) < 1:
        raise ValueError(f"counts must be positive and sum to the {n} samples, got {numbers}")
    if n - len(numbers) < d:
        raise ValueError(
            f"a pooled covariance needs n - S >= d = {d} samples, got n = {n} and S = {len(numbers)}"
        )
    parts = jnp.split(u, np.cumsum(numbers)[:-1].tolist(), axis=-2)
    centred = jnp.concatenate([part - part.mean(-2, keepdims=True) for part in parts], axis=-2)
    within = jnp.einsum("...ni,...nj->...ij", centred, centred) / (n - len(numbers))
    weights = jnp.linalg.solve(within, u.mean(-2)[..., None])[..., 0]
    _check_finite(weights.reshape(-1, d), u)
    return weights


def _train_smooth(
    loss: Loss, samples: Array, lambdas: Array, tolerance: Array, max_iterations: int
) -> tuple[Array, ...]:
    """The quickest program that may meet the tolerance first; where it misses, the next one."""
    quick, polish, sure = (partial(program, loss=loss) for program in (quick_path, polish_path, sure_path))
    (num_problems, n, d), everything = samples.shape, jnp.arange(samples.shape[0])
    starts = jnp.zeros((num_problems, len(lambdas), d), samples.dtype)
    if is_concrete(lambdas) and not np.asarray(lambdas).any():
        programs = [sure]
    elif is_concrete(tolerance) and float(tolerance) < TIGHT and n * d < _LARGE:
        programs = [polish, sure]  # float32 would not do, and is too little work to be worth compiling
    else:
        programs = [quick, polish, sure]
    results: tuple[Array, ...] = ()
    for program in programs:
        rest = {quick: (lambdas, tolerance), polish: (starts, lambdas, tolerance)}.get(
            program, (lambdas, tolerance, jnp.asarray(max_iterations))
        )
        if not results:
            results = on_all_cores(program, samples, *rest)
        else:
            missed = ~(results[1] <= tolerance).all(1)
            if is_concrete(missed):
                (places,) = np.nonzero(np.asarray(missed))
                if not places.size:
                    break
                again = on_all_cores(program, samples, *rest, places=places)
                results = jax.tree.map(lambda old, new, at=places: old.at[at].set(new), results, again)
            else:
                again = partial(program, samples, everything, jnp.asarray(num_problems), *rest)
                results = jax.lax.cond(missed.any(), again, lambda results=results: results)
        starts = results[0]
    return results


def _checked_samples(samples: ArrayLike) -> Array:
    array = as_float_array(samples)
    if array.ndim < 2 or 0 in array.shape:
        raise ValueError(
            f"samples u = y x must have shape (..., n, d) with n, d >= 1, got shape {array.shape}"
        )
    return array


def _checked_regularisation(regularisation: ArrayLike, loss: Loss) -> Array:
    array = as_float_array(regularisation)
    if array.ndim > 1 or array.size == 0:
        raise ValueError(f"regularisation must be a number or a vector of numbers, got shape {array.shape}")
    if loss.name == SQUARE.name:
        require(
            jnp.isfinite(array) & (array >= 0), array, "every regularisation must be a finite number >= 0"
        )
    else:
        require(
            jnp.isfinite(array) & (array > 0),
            array,
            f"every regularisation of the {loss.name} loss must be a finite number > 0",
        )
    return array


def _tolerance(tolerance: Scalar | None, loss: Loss, dtype: Any) -> Array:
    if tolerance is None:
        smooth, kinked = (1e-6, 3e-5) if dtype == jnp.float64 else (1e-3, 3e-2)
        tolerance = smooth if loss.smooth else kinked
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance must lie in (0, 1), got {tolerance}")
    return jnp.asarray(tolerance, dtype)


def _problem(index: Any, samples: Array) -> str:
    if samples.ndim == 2:
        return "the problem"
    place = [int(i) for i in np.unravel_index(index, samples.shape[:-2])]
    return f"problem {', '.join(map(str, place))}"


def _check_finite(values: Array, samples: Array) -> None:
    """Name the row that spoils results (B, ...); the samples, which are many, are only searched if one does."""
    bad = np.flatnonzero(~np.isfinite(np.asarray(values)).all(tuple(range(1, values.ndim))))
    if not bad.size:
        return
    rows = np.asarray(samples).reshape(-1, *samples.shape[-2:])
    for index in range(len(rows)):
        spoiled = np.flatnonzero(~np.isfinite(rows[index]).all(-1))
        if spoiled.size:
            row = rows[index][spoiled[0]]
            raise ValueError(
                f"samples must be finite: row {spoiled[0]} of {_problem(index, samples)} holds "
                f"{row[~np.isfinite(row)][0]}"
            )
    raise ValueError(
        f"the samples of {_problem(bad[0], samples)} are linearly dependent or too close to it "
        f"(n = {samples.shape[-2]}, d = {samples.shape[-1]}): use a larger regularisation"
    )


def _finish(results: Sequence[Array], samples: Array, lambdas: Array, tolerance: Array) -> Trained:
    weights, error, gap, count = results
    converged = error <= tolerance
    if is_concrete(weights):
        _check_finite(weights, samples)
        _check_finite(gap, samples)
        missed = int((~np.asarray(converged)).sum())
        if missed:
            worst = float(np.max(np.asarray(error)))
            warnings.warn(
                f"{missed} of {converged.size} optima are certified to a relative error of {worst:.2g} only, "
                f"tolerance {float(tolerance):.2g}: see Trained.weight_error",
                UncertifiedOptimum,
                stacklevel=3,
            )
    shape = (*samples.shape[:-2], *lambdas.shape)
    return Trained(
        weights.reshape(*shape, samples.shape[-1]),
        error.reshape(shape),
        gap.reshape(shape),
        count.reshape(shape),
        converged.reshape(shape),
    )

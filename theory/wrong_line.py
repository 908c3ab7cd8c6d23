r"""Accuracy on the wrong line: when a family of models gets worse under shift as it gets better on the reference.

A shift turns up the variance of some features, $\Sigma_\text{shift}(s)=\Sigma_0+s^2\Pi$. A model w of the family then has

$$\frac1{m_\text{shift}^2}=P+s^2N,\qquad P=\frac{w^\top\Sigma_0w}{(w\cdot\mu_\text{shift})^2},\quad
  N=\frac{w^\top\Pi w}{(w\cdot\mu_\text{shift})^2}.$$

Models that improve on the reference while they lean more on the nuisance features (P falls, N rises) lie on a line of positive
slope for small s and of negative slope for large s. Use `ModelFamily` for k models with known or simulated $(m_\text{ref},P,N)$,
`model_family` for `NoisyRidgeLaw`s, `turning_point` for the s² at which the correlation changes sign:

* between two models, at $s^2=-\Delta P/\Delta N$;
* of $1/m_\text{ref}^2$ and $1/m_\text{shift}^2$ over any family, at $s^2=-\operatorname{Cov}(m_\text{ref}^{-2},P)/
  \operatorname{Cov}(m_\text{ref}^{-2},N)$, exactly;
* of the margins (probit accuracies) themselves, between the smallest and the largest pairwise value, by bisection.

Averaging classifiers never leave the positive side: every margin rises with n (Theorem 1) and falls with label noise.
`NuisanceWorld` is the setting of Sanyal et al. (2024) within ours: signal in few features, none in many weak ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from theory import covariance as cov
from theory.arrays import ArrayLike, Scalar, as_float_array
from theory.gaussian import Source, Target
from theory.noisy_ridge import NoisyRidgeLaw, check_models, solve_blocks

_BISECTIONS = 100


@dataclass(frozen=True, init=False, eq=False)
class ModelFamily:
    """k models as the reference and a shift of adjustable strength see them.

    Args:
        reference: m_ref > 0, shape (k,).
        base: P > 0, 1/m² on the shift at strength 0, shape (k,).
        nuisance: N >= 0, what a unit of s² adds to it, shape (k,).

    Raises:
        ValueError: shapes that differ or are not (k,) with k >= 2, or a number outside its range.
    """

    reference: Float[np.ndarray, " k"]
    base: Float[np.ndarray, " k"]
    nuisance: Float[np.ndarray, " k"]

    def __init__(self, reference: ArrayLike, base: ArrayLike, nuisance: ArrayLike):
        arrays = [np.asarray(x, np.float64) for x in (reference, base, nuisance)]
        if arrays[0].ndim != 1 or len({x.shape for x in arrays}) > 1 or len(arrays[0]) < 2:
            raise ValueError(
                "a family needs reference, base and nuisance of one shape (k,) with k >= 2, got shapes "
                + ", ".join(str(x.shape) for x in arrays)
            )
        names = ("reference", "base", "nuisance")
        for name, values, least in zip(names, arrays, ("> 0", "> 0", ">= 0"), strict=True):
            fine = np.isfinite(values) & ((values > 0) if least == "> 0" else (values >= 0))
            if not fine.all():
                raise ValueError(
                    f"every {name} of a family must be a finite number {least}, got {values[~fine][0]:g}"
                )
            object.__setattr__(self, name, values)

    def shifted(self, strength: ArrayLike) -> Float[np.ndarray, "... k"]:
        r"""Margins on the shift, $(P+s^2N)^{-1/2}$, at strengths s² >= 0 of any shape.

        Raises:
            ValueError: a negative strength.
        """
        s2 = np.asarray(strength, np.float64)
        if not np.all(s2 >= 0):
            raise ValueError(f"every strength s² must be >= 0, got {s2[~(s2 >= 0)].flat[0]:g}")
        return 1 / np.sqrt(self.base + s2[..., None] * self.nuisance)

    def correlation(self, strength: ArrayLike) -> Float[np.ndarray, "..."]:
        """Pearson's correlation over the models of the probit accuracies on reference and shift, at strengths s²."""
        return _correlation(self.reference, self.shifted(strength))


def _correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Over the last axis; not a number where one of them does not vary."""
    x, y = first - first.mean(-1, keepdims=True), second - second.mean(-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((x * y).sum(-1) / np.sqrt((x * x).sum(-1) * (y * y).sum(-1)))


def model_family(
    laws: Sequence[NoisyRidgeLaw], ref: Target, shift: Target, nuisance: ArrayLike
) -> ModelFamily:
    r"""The family of trained models with these laws.

    Args:
        laws: k >= 2 models, from `theory.noisy_ridge.noisy_ridge_law`, all on the same features.
        ref: the reference.
        shift: the shift at strength 0, N(yμ_shift, Σ_0).
        nuisance: Π, what the strength s² multiplies, as a variance, (d,) or (d, d).

    Raises:
        ValueError: fewer than two models, a margin that is not > 0, or a Π that is no covariance.

    Source: Wrong line.
    """
    pi = cov.validate_covariance(nuisance, shift.dimension, "nuisance")
    for target in (ref, shift):
        behind = [float(law.margin(target)) for law in laws]
        if not all(margin > 0 for margin in behind):
            raise ValueError(
                f"every model of a family needs a margin > 0 on {target.name or 'a target'}, got {behind}"
            )
    return ModelFamily(
        np.asarray([float(law.margin(ref)) for law in laws]),
        np.asarray([float(law.inverse_square(shift)) for law in laws]),
        np.asarray([float(law.inverse_square(shift, pi)) for law in laws]),
    )


@dataclass(frozen=True)
class TurningPoint:
    """The strengths s² at which the correlation of a family changes its sign from + to −.

    Attributes:
        inverse_squares: of 1/m_ref² and 1/m_shift², closed form.
        margins: of the probit accuracies; lies in [low, high].
        low: up to here every pair of models is ordered alike on both: the correlation is > 0.
        high: from here on every pair is ordered oppositely: the correlation is < 0.

    ∞ means never, 0 that the family is on the wrong line already at strength 0.
    """

    inverse_squares: float
    margins: float
    low: float
    high: float


def turning_point(family: ModelFamily) -> TurningPoint:
    r"""Where a family leaves the line: the nuisance strength s² at which its correlation changes sign.

    $$s^2=-\frac{\operatorname{Cov}(m_\text{ref}^{-2},P)}{\operatorname{Cov}(m_\text{ref}^{-2},N)}\quad\text{(inverse squares)},
      \qquad\min_{i,j}\frac{P_i-P_j}{N_j-N_i}\le s^2\le\max_{i,j}\frac{P_i-P_j}{N_j-N_i}\quad\text{(margins)}$$

    A pair that improves on the reference with N falling too is never turned (∞), one with P rising and N rising always is (0).

    Args:
        family: k >= 2 models with different reference margins.

    Raises:
        ValueError: all models have the same reference margin.

    Source: Wrong line (criterion and turning point).
    """
    m, p, n = family.reference, family.base, family.nuisance
    if np.ptp(m) == 0:
        raise ValueError(f"a correlation needs models that differ on the reference, all have margin {m[0]:g}")
    order = np.argsort(m)
    worse, better = np.triu_indices(len(m), 1)
    worse, better = order[worse], order[better]
    apart = m[better] > m[worse]
    gain, lean = (p[worse] - p[better])[apart], (n[better] - n[worse])[apart]
    with np.errstate(divide="ignore", invalid="ignore"):
        even = gain / lean
    # A pair is ordered alike on both while gain > s² lean.
    alike_until = np.where(
        gain > 0, np.where(lean > 0, even, np.inf), np.where((gain < 0) | (lean > 0), 0.0, np.inf)
    )
    opposed_from = np.where(lean > 0, np.maximum(even, 0.0), np.where((lean == 0) & (gain <= 0), 0.0, np.inf))
    low, high = float(alike_until.min()), float(opposed_from.max())
    q = m**-2.0 - np.mean(m**-2.0)
    with_base, with_nuisance = float(q @ p), float(q @ n)
    inverse = (
        -with_base / with_nuisance if with_base > 0 > with_nuisance else np.inf if with_base > 0 else 0.0
    )
    return TurningPoint(inverse, _sign_change(family, low, high), low, high)


def _sign_change(family: ModelFamily, low: float, high: float) -> float:
    """The smallest s² in [low, high] at which the covariance of the margins stops being positive."""
    if not low < high:
        return low
    top = high
    if not np.isfinite(high):
        top = 1e9 * max(low, float(family.base.max()) / max(float(family.nuisance.max()), 1e-100))
    grid = np.r_[low, np.geomspace(max(low, 1e-12 * top), top, 400)]
    values = family.correlation(grid)
    behind = np.flatnonzero(~(values > 0))
    if not len(behind):
        return np.inf
    if behind[0] == 0:
        return low
    bottom, top = grid[behind[0] - 1], grid[behind[0]]
    for _ in range(_BISECTIONS):
        middle = 0.5 * (bottom + top)
        if family.correlation(middle) > 0:
            bottom = middle
        else:
            top = middle
    return float(0.5 * (bottom + top))


@dataclass(frozen=True, eq=False)
class NuisanceWorld:
    r"""Signal in a few core features, none in D nuisance features of small variance, which a shift turns up.

    Attributes:
        core: ν and Γ on the core features; reference and shift have the same there.
        num_nuisance: D.
        nuisance_variance: g > 0, each nuisance feature's variance in training and on the reference.
    """

    core: Source
    num_nuisance: int
    nuisance_variance: Scalar

    def __post_init__(self) -> None:
        if self.num_nuisance < 1:
            raise ValueError(f"num_nuisance must be at least 1, got {self.num_nuisance}")
        if not (np.isfinite(self.nuisance_variance) and self.nuisance_variance > 0):
            raise ValueError(f"nuisance_variance must be a finite number > 0, got {self.nuisance_variance}")
        if self.core.covariance.ndim == 2:
            raise ValueError("the core needs a scalar or diagonal covariance, got a matrix: rotate it first")

    @property
    def num_core(self) -> int:
        """The number of core features."""
        return self.core.dimension

    def source(self, label: int = 1) -> Source:
        """The training distribution on all features; `label` = −1 is its part with flipped labels."""
        return Source(label * self._mean(), self._variances(self.nuisance_variance))

    def target(self, strength: Scalar | None = None, name: str = "") -> Target:
        """The reference (no strength), or the shift on which every nuisance feature has variance s² = `strength`."""
        variance = self.nuisance_variance if strength is None else strength
        return Target(self._mean(), self._variances(variance), name)

    def nuisance(self) -> Float[np.ndarray, " d"]:
        """Π, the nuisance features' identity: the shift of strength s² is `target(0)` plus s²Π."""
        return np.r_[np.zeros(self.num_core), np.ones(self.num_nuisance)]

    def family(
        self, num_samples: ArrayLike, penalty: ArrayLike = 0.0, label_noise: ArrayLike = 0.0
    ) -> ModelFamily:
        """Models trained in this world, at a cost that does not depend on D (see `theory.noisy_ridge.noisy_ridge_law`).

        Args:
            num_samples: n of each model; broadcasts with the others to shape (k,).
            penalty: λ of each; 0 is the interpolator.
            label_noise: ε of each, the probability that a training label is flipped.

        Raises:
            ValueError: as `noisy_ridge_law`, or fewer than two models.
        """
        models = jnp.broadcast_arrays(
            *(jnp.atleast_1d(as_float_array(x)) for x in (num_samples, penalty, label_noise))
        )
        if models[0].ndim > 1:
            raise ValueError(f"a family is a list of models, got arrays of shape {models[0].shape}")
        check_models(*models, num_features=self.num_core + self.num_nuisance)
        core = jnp.broadcast_to(self.core.covariance, (self.num_core,))
        dtype = core.dtype
        variances = jnp.append(core, jnp.asarray(self.nuisance_variance, dtype))
        counts = jnp.append(jnp.ones_like(core), jnp.asarray(self.num_nuisance, dtype))
        nu = jnp.append(self.core.mean, jnp.zeros((), dtype))
        # One compiled program for all families: a batch would compile anew for each number of models.
        each = zip(*(np.asarray(x) for x in models), strict=True)
        solved = [solve_blocks(variances, counts, nu, *model)[:2] for model in each]
        mean, noise = (np.stack(parts) for parts in zip(*solved, strict=True))
        signal = (mean @ np.asarray(nu)) ** 2
        base = (mean[:, :-1] ** 2 + noise[:, :-1]) @ np.asarray(core) / signal
        nuisance = noise[:, -1] * self.num_nuisance / signal
        return ModelFamily(
            *(np.asarray(x) for x in ((base + self.nuisance_variance * nuisance) ** -0.5, base, nuisance))
        )

    def _mean(self) -> np.ndarray:
        return np.r_[np.asarray(self.core.mean), np.zeros(self.num_nuisance)].astype(self.core.mean.dtype)

    def _variances(self, nuisance: Scalar) -> np.ndarray:
        core = np.broadcast_to(np.asarray(self.core.covariance), (self.num_core,))
        return np.r_[core, np.full(self.num_nuisance, nuisance)].astype(self.core.mean.dtype)

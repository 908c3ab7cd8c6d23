r"""Ridge, logistic and hinge classifiers of a mixture of sources, exactly in the limit of many features at n/d = δ.

Learners minimise $\frac1n\sum_i\ell(u_i\cdot w)+\frac\lambda2\|w\|^2$ with u = y x. Use `asymptotics` (broadcasts over shares,
n and λ: one call for a whole sweep), `asymptotics_sweep` where the sources vary too, `population_solution` for n = ∞, and for
the limits λ → 0 on data that can be fitted `minimum_norm_asymptotics` (n < d) and `hard_margin_asymptotics` (n below the
threshold of `theory.separability`). `theory.learned_weights` says what follows for robustness (Theorem 4).

With $\omega=m_s+\sqrt{q_s}Z$, $h=\operatorname{prox}_{V_s\ell}(\omega)$ and $f=-\ell'(h)$ the limit solves

$$F_s=E f,\quad K_s=p_sE\frac{\ell''}{1+V_s\ell''},\quad X_s=p_sE f^2,\quad
R=\Bigl(\lambda I+\sum_sK_s\Gamma_s\Bigr)^{-1},\quad c=\sum_sp_sF_s\nu_s,$$
$$m_s=\nu_s^\top Rc,\qquad V_s=\tfrac1n\operatorname{tr}(\Gamma_sR),\qquad
q_s=c^\top R\Gamma_sRc+\tfrac1n\sum_tX_t\operatorname{tr}(\Gamma_sR\Gamma_tR).$$

Exact as d → ∞ at fixed n/d; at finite d the error of an accuracy is O(1/d).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import ndtr
from jaxtyping import Bool, Float

from theory.arrays import ArrayLike, as_float_array, check_shares, is_concrete, require
from theory.asymptotics_batches import solve_settings
from theory.asymptotics_solver import tolerance
from theory.gaussian import Source, Target, check_dimensions
from theory.loss_moments import LIMITS, Learner
from theory.losses import LOSSES, Loss
from theory.separability import threshold_of
from theory.source_geometry import Batched, Geometry, geometry_of, stack_geometries


@dataclass(frozen=True, eq=False)
class Asymptotics:
    r"""The limit of a learner on a mixture, or of a batch of them (leading axes "...").

    Attributes:
        learner: "square", "logistic", "hinge", "minimum_norm" or "hard_margin".
        shares: p_s, shape (..., S).
        num_samples: n, shape (...).
        penalty: λ, shape (...); 0 for the limits "minimum_norm" and "hard_margin", whose F, K, X and V count λ as 1.
        margins_by_source: m_s = ν_s·w, shape (..., S).
        lengths_by_source: q_s = wᵀΓ_sw, shape (..., S).
        susceptibilities: V_s, how far a sample of the source moves its own margin, shape (..., S).
        pulls: F_s = −E ℓ′, shape (..., S).
        curvatures: K_s (with the share), shape (..., S).
        energies: X_s (with the share), shape (..., S).
        residual: relative residual of the fixed point, shape (...).
        geometry: the sources as the fixed point sees them.
        stacked: whether each setting has sources of its own.
    """

    learner: Learner
    shares: Float[Array, "*batch s"]
    num_samples: Float[Array, "*batch"]
    penalty: Float[Array, "*batch"]
    margins_by_source: Float[Array, "*batch s"]
    lengths_by_source: Float[Array, "*batch s"]
    susceptibilities: Float[Array, "*batch s"]
    pulls: Float[Array, "*batch s"]
    curvatures: Float[Array, "*batch s"]
    energies: Float[Array, "*batch s"]
    residual: Float[Array, "*batch"]
    geometry: Geometry
    stacked: bool

    @property
    def converged(self) -> Bool[Array, "*batch"]:
        """Whether the fixed point is solved; always true outside `jit`, where an unsolved one raises."""
        return self.residual <= tolerance(self.residual.dtype)

    def weights(self) -> tuple[Float[Array, "*batch d"], Float[Array, "..."]]:
        r"""The law of a trained classifier as all targets see it: its mean $Rc$ and the covariance of its noise.

        Returns:
            The mean, shape (..., d), and the covariance $\frac1n R(\sum_tX_t\Gamma_t)R$, its diagonal (..., d) or (..., d, d),
            both in the features' own coordinates.
        """
        mean, noise = (jnp.asarray(x) for x in self._in_basis())
        basis, batch = self.geometry.basis, self.num_samples.shape
        if basis is not None:
            mean, noise = mean @ basis.T, jnp.einsum("ik,bk,jk->bij", basis, noise, basis)
        return mean.reshape(*batch, *mean.shape[1:]), noise.reshape(*batch, *noise.shape[1:])

    def margins(self, targets: Sequence[Target] | Target) -> Float[Array, "*batch t"]:
        r"""Margins on targets, whose Φ is the accuracy.

        $$\frac{\mu^\top Rc}{\sqrt{c^\top R\Sigma Rc+\frac1n\sum_tX_t\operatorname{tr}(\Sigma R\Gamma_tR)}}$$

        Args:
            targets: T test distributions, or one (T = 1).

        Raises:
            ValueError: no target, or targets that differ from the sources in the number of features.

        Source: Section 9.
        """
        targets = [targets] if isinstance(targets, Target) else list(targets)
        if not targets:
            raise ValueError("targets must hold at least one Target")
        d = check_dimensions(*targets)
        if d != self.geometry.num_features:
            raise ValueError(f"targets must have the sources' {self.geometry.num_features} features, got {d}")
        mean, noise = self._in_basis()
        columns = [self._margin(mean, noise, target) for target in targets]
        table = (np if all(isinstance(x, np.ndarray) for x in columns) else jnp).stack(columns, axis=-1)
        return jnp.asarray(table.reshape(*self.num_samples.shape, len(targets)))

    def accuracies(self, targets: Sequence[Target] | Target) -> Float[Array, "*batch t"]:
        """Accuracies on targets, Φ of `margins`."""
        return ndtr(self.margins(targets))

    def slope(self, ref: Target, shift: Target) -> Float[Array, "*batch"]:
        """The ratio of the margins on shift and reference (±inf or not a number where the reference's is 0)."""
        both = self.margins([ref, shift])
        return both[..., 1] / both[..., 0]

    def _in_basis(self) -> tuple[Batched, Batched]:
        """Mean weights (B, d) and noise of all settings in a row, NumPy arrays where values are known."""
        lam = jnp.ones_like(self.penalty) if self.learner in LIMITS else self.penalty
        inputs = [lam, self.curvatures, self.shares, self.pulls, self.energies, self.num_samples]
        known = is_concrete(inputs, self.geometry)
        depth = self.num_samples.ndim
        lam, curvatures, shares, pulls, energies, n = (
            (np.asarray(x) if known else x).reshape(-1, *x.shape[depth:]) for x in inputs
        )
        return self.geometry.classifiers(lam, curvatures, shares * pulls, energies / n[:, None])

    def _margin(self, mean: Batched, noise: Batched, target: Target) -> Batched:
        known = isinstance(mean, np.ndarray) and is_concrete(target)
        xp: Any = np if known else jnp
        mu, sigma = xp.asarray(target.mean), xp.asarray(target.covariance)
        if self.geometry.basis is not None:
            basis = xp.asarray(self.geometry.basis)
            full = sigma if sigma.ndim == 2 else xp.diag(xp.broadcast_to(sigma, mu.shape))
            mu, sigma = mu @ basis, sigma if sigma.ndim == 0 else basis.T @ full @ basis
        seen = mean @ sigma if sigma.ndim == 2 else mean * sigma
        if noise.ndim == 2:
            # The noise is diagonal here: of Σ it sees the diagonal.
            diagonal = xp.diagonal(sigma) if sigma.ndim == 2 else xp.broadcast_to(sigma, mu.shape)
            noise_length = noise @ diagonal
        elif sigma.ndim == 2:
            noise_length = (noise * sigma).sum((-2, -1))
        else:
            noise_length = (xp.diagonal(noise, axis1=-2, axis2=-1) * sigma).sum(-1)
        return mean @ mu / xp.sqrt((seen * mean).sum(-1) + noise_length)


def asymptotics(
    sources: Sequence[Source],
    shares: ArrayLike,
    num_samples: ArrayLike,
    penalty: ArrayLike,
    loss: Loss | str,
) -> Asymptotics:
    r"""The exact limit of an L2-regularised learner on a mixture.

    Args:
        sources: S training distributions with d features; any covariances, but not 0.
        shares: p_s, shape (..., S), summing to one.
        num_samples: n > 0, of which source s gives p_sn; `inf` is the population. Broadcasts with the batch of `shares`.
        penalty: λ >= 0; broadcasts likewise. λ = 0 is allowed where a minimiser exists: for the square loss n > d, for logistic
            and hinge n/d above the separability threshold.
        loss: `SQUARE`, `LOGISTIC`, `HINGE` or their names.

    Returns:
        `Asymptotics` with the broadcast batch shape.

    Raises:
        ValueError: anything outside its range, with the value.
        RuntimeError: the fixed point was not found to the tolerance (never returned silently; inside `jit` look at `converged`).

    Source: Section 9.
    """
    return _solve(_learner(loss), geometry_of(sources), False, shares, num_samples, penalty)


def asymptotics_sweep(
    settings: Sequence[Sequence[Source]],
    shares: ArrayLike,
    num_samples: ArrayLike,
    penalty: ArrayLike,
    loss: Loss | str,
) -> Asymptotics:
    """`asymptotics` for B settings with sources of their own, solved together.

    Args:
        settings: B times S sources, isotropic or diagonal, all with d features.
        shares: (S,) or (B, S).
        num_samples: n, () or (B,).
        penalty: λ, () or (B,).
        loss: as `asymptotics`.

    Returns:
        `Asymptotics` with batch shape (B,); its targets are common to all settings.

    Raises:
        ValueError: as `asymptotics`; settings that differ in S or d; a full covariance matrix.
        RuntimeError: as `asymptotics`.
    """
    stacked = stack_geometries([geometry_of(sources) for sources in settings])
    return _solve(_learner(loss), stacked, True, shares, num_samples, penalty)


def population_solution(
    sources: Sequence[Source], shares: ArrayLike, penalty: ArrayLike, loss: Loss | str
) -> Asymptotics:
    r"""The minimiser of $\sum_sp_sE\,\ell(u\cdot w)+\frac\lambda2\|w\|^2$: `asymptotics` at n = ∞, exact at every d.

    Args:
        sources: S training distributions.
        shares: (..., S).
        penalty: λ >= 0, broadcasts with the batch of `shares`.
        loss: `SQUARE`, `LOGISTIC`, `HINGE` or their names.

    Raises:
        ValueError: as `asymptotics`.
        RuntimeError: as `asymptotics`.

    Source: Theorem 4 (population).
    """
    return asymptotics(sources, shares, np.inf, penalty, loss)


def minimum_norm_asymptotics(
    sources: Sequence[Source], shares: ArrayLike, num_samples: ArrayLike
) -> Asymptotics:
    """The limit of the minimum-norm interpolator, $u_i·w = 1$ for all i: ridge with λ → 0 and n < d.

    Args:
        sources: S training distributions.
        shares: (..., S).
        num_samples: 0 < n < d, broadcasts with the batch of `shares`.

    Raises:
        ValueError: n >= d (no classifier interpolates), or as `asymptotics`.
        RuntimeError: as `asymptotics`.

    Source: Section 9, λ → 0.
    """
    geometry = geometry_of(sources)
    n, d = as_float_array(num_samples), geometry.num_features
    require(n < d, n, f"the minimum-norm interpolator needs fewer samples than the {d} features")
    return _solve("minimum_norm", geometry, False, shares, n, 0.0)


def hard_margin_asymptotics(
    sources: Sequence[Source], shares: ArrayLike, num_samples: ArrayLike
) -> Asymptotics:
    """The limit of the hard-margin classifier, the shortest w with $u_i·w ≥ 1$: logistic or hinge with λ → 0 on separable data.

    Args:
        sources: S training distributions.
        shares: (..., S).
        num_samples: n with n/d below `separability_threshold`, broadcasts with the batch of `shares`.

    Raises:
        ValueError: n/d at or above the threshold (the data cannot be separated), or as `asymptotics`.
        RuntimeError: as `asymptotics`.

    Source: Section 9, λ → 0.
    """
    return _solve("hard_margin", geometry_of(sources), False, shares, num_samples, 0.0)


def _learner(loss: Loss | str) -> Learner:
    name = loss if isinstance(loss, str) else loss.name
    if name not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {name!r}")
    return name  # pyright: ignore[reportReturnType]


def _solve(
    learner: Learner,
    geometry: Geometry,
    stacked: bool,
    shares: ArrayLike,
    num_samples: ArrayLike,
    penalty: ArrayLike,
) -> Asymptotics:
    num_sources = geometry.rows.shape[-2]
    p, n, lam = check_shares(shares, num_sources), as_float_array(num_samples), as_float_array(penalty)
    require(n > 0, n, "num_samples must be a number > 0 (inf is the population)")
    require(jnp.isfinite(lam) & (lam >= 0), lam, "the penalty must be a finite number >= 0")
    batch = jnp.broadcast_shapes(
        p.shape[:-1], n.shape, lam.shape, *([geometry.rows.shape[:1]] if stacked else [])
    )
    if stacked and len(batch) != 1:
        raise ValueError(
            f"shares, num_samples and penalty must have at most one axis of settings, got {batch}"
        )
    dtype = jnp.result_type(p, n, lam, geometry.rows)
    known = is_concrete(p, n, lam, geometry)
    xp: Any = np if known else jnp
    p = xp.broadcast_to(xp.asarray(p, dtype), (*batch, num_sources))
    n, lam = (xp.broadcast_to(xp.asarray(x, dtype), batch) for x in (n, lam))
    if known:
        _check_existence(learner, geometry, stacked, p, n, lam)
    flat = p.reshape(-1, num_sources), (1 / n).reshape(-1), lam.reshape(-1)
    solution = solve_settings(learner, geometry.law, stacked, *flat)
    m, q, v, mean, curvature, square = (x.reshape(p.shape) for x in solution[:-1])
    residual = solution[-1].reshape(batch)
    if known:
        _check_convergence(learner, residual, n, lam)
    return Asymptotics(
        learner=learner,
        shares=jnp.asarray(p),
        num_samples=jnp.asarray(n),
        penalty=jnp.asarray(lam),
        margins_by_source=jnp.asarray(m),
        lengths_by_source=jnp.asarray(q),
        susceptibilities=jnp.asarray(v),
        pulls=jnp.asarray(mean),
        curvatures=jnp.asarray(p * curvature),
        energies=jnp.asarray(p * square),
        residual=jnp.asarray(residual),
        geometry=geometry,
        stacked=stacked,
    )


def _check_existence(
    learner: Learner, geometry: Geometry, stacked: bool, p: Batched, n: Batched, lam: Batched
) -> None:
    d = geometry.num_features
    free = (lam == 0) & (learner != "minimum_norm")
    if learner == "square":
        message = f"λ = 0 needs more samples than the {d} features (minimum_norm_asymptotics has the limit for fewer)"
        require((n > d) | ~free, n, message)
        return
    # Beyond both bounds of the threshold there is nothing to compute: without signal data are separable up to n = 2d.
    if not free.any() or (learner != "hard_margin" and np.isinf(n[free]).all()):
        return
    threshold = np.asarray(threshold_of(geometry.law, jnp.asarray(p), stacked)).reshape(n.shape)
    ratio = n / d
    wrong = free & (ratio >= threshold if learner == "hard_margin" else ratio <= threshold)
    if wrong.any():
        delta, star = ratio[wrong].flat[0], threshold[wrong].flat[0]
        if learner == "hard_margin":
            raise ValueError(
                f"a hard margin needs n/d below the separability threshold {star:.6g} of this mixture, got {delta:.6g}"
            )
        raise ValueError(
            f"λ = 0 needs n/d above the separability threshold {star:.6g} of this mixture, got {delta:.6g} "
            "(hard_margin_asymptotics has the limit below)"
        )


def _check_convergence(learner: Learner, residual: Batched, n: Batched, lam: Batched) -> None:
    limit = tolerance(residual.dtype)
    failed = ~(residual <= limit)
    if failed.any():
        at = tuple(np.argwhere(failed)[0])
        raise RuntimeError(
            f"the fixed point of {learner} was not found for {int(failed.sum())} of {failed.size} settings; the first at "
            f"n = {float(n[at]):.6g}, λ = {float(lam[at]):.6g} has residual {float(residual[at]):.3g} (allowed {limit:.0e})"
        )

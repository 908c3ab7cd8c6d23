r"""Up to how many samples a mixture's training data can be separated by a linear classifier (and a hard margin exists).

As d → ∞ a $w$ with $u_i\cdot w>0$ for all n samples exists with probability 1 if $n/d<\delta^*$ and with probability 0 if
$n/d>\delta^*$. Use `separability_threshold`: any means, noise levels and covariances. Without signal it is Cover's 2; it grows
with the distance of the means. Limits that need separable data (`theory.asymptotics.hard_margin_asymptotics`) ask it.

For $\Gamma_s=\gamma_s^2I$ only the rows' directions count, so divide row i by its γ: then all noise is standard, and Gordon's
comparison (CGMT) gives, with $a$ the part of $w$ in the span of the means in units of the rest,

$$\frac1{\delta^*}=\min_a\sum_sp_s\,E\Bigl(-\frac{\nu_s\cdot a}{\gamma_s}-\sqrt{1+\|a\|^2}\,Z\Bigr)_+^2.$$

For any $\Gamma_s$ the same comparison, one block per source, gives the stationary point that is solved here: the equations of
the hard margin as its length diverges. There the constraint $u\cdot w\ge1$ becomes $u\cdot w\ge0$ and $\lambda I$ drops out of
$R=(\sum_sK_s\Gamma_s)^{-1}$, so they fix (m, √q) and V up to scale, and $1/\delta^*=\sum_sp_s\Phi(-m_s/\sqrt{q_s})$.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from theory.arrays import ArrayLike, check_shares, is_concrete
from theory.asymptotics_solver import newton, solve_square, tolerance
from theory.gaussian import Source
from theory.loss_moments import below, parabola, ramp
from theory.source_geometry import geometry_of
from theory.source_law import Law


def separability_threshold(sources: Sequence[Source], shares: ArrayLike) -> Float[Array, "*batch"]:
    r"""The $\delta^*$ below which n = δd samples of a mixture can be separated (through the origin), as d → ∞.

    Args:
        sources: S training distributions, any means and covariances with full-rank $\sum_sp_s\Gamma_s$.
        shares: (..., S) fractions that sum to one.

    Returns:
        (...) numbers n/d >= 2.

    Raises:
        ValueError: shares are negative or do not sum to 1; a direction without noise in any source (data are then separable
            whatever n, or never).
        RuntimeError: the stationary point was not found.

    Source: Section 9 (hard margin); CGMT with rows divided by γ_s.
    """
    return threshold_of(geometry_of(sources).law, check_shares(shares, len(sources)), stacked=False)


def threshold_of(law: Law, shares: Array, stacked: bool) -> Float[Array, "*batch"]:
    """`separability_threshold` for a law, or for one along the leading axis of shares (B, S) if `stacked`."""
    flat = shares.reshape(-1, shares.shape[-1])
    ratios, residuals = _thresholds(law, flat, stacked)
    if is_concrete(residuals):
        failed = ~(np.asarray(residuals) <= tolerance(residuals.dtype))
        if failed.any():
            raise RuntimeError(
                f"the separability threshold was not found for {int(failed.sum())} of {failed.size} mixtures; the first, "
                f"shares {np.asarray(flat)[failed][0].tolist()}, has residual {np.asarray(residuals)[failed][0]:.3g}"
            )
    return ratios.reshape(shares.shape[:-1])


@partial(jax.jit, static_argnames=("stacked",))
def _thresholds(law: Law, shares: Array, stacked: bool) -> tuple[Array, Array]:
    return jax.vmap(_threshold, in_axes=(0 if stacked else None, 0))(law, shares)


def _threshold(law: Law, shares: Array) -> tuple[Array, Array]:
    none = jnp.zeros_like(shares[0])

    def missed(state: Array) -> Array:
        m, q, _ = jnp.split(state, 3)
        return shares @ below(-m / jnp.sqrt(q))

    def step(state: Array) -> Array:
        m, q, v = jnp.split(state, 3)
        root = jnp.sqrt(q)
        t = -m / root
        pulls = shares * root * ramp(t) / v
        energies = shares * q * parabola(t) / v**2
        inverse_n = missed(state) / law.num_features
        tables = law.tables(none, shares * below(t) / v)
        return _normalised(
            tables.signal @ pulls,
            jnp.einsum("rst,s,t->r", tables.lengths, pulls, pulls) + inverse_n * tables.noise @ energies,
            inverse_n * tables.traces,
        )

    m, q, _ = solve_square(law, shares, none, none, jnp.ones_like(none))
    # Least squares on the population points the right way; without signal it is 0 and any length will do.
    start = _normalised(m, q + 1e-3 * law.traces(none, shares), law.traces(none, shares))
    state, residual = newton(step, start, 0.5)
    return 1 / missed(state), residual


def _normalised(m: Array, q: Array, v: Array) -> Array:
    """The state with scales fixed: geometric means of q and V equal to 1."""
    length, softness = jnp.exp(jnp.mean(jnp.log(q))), jnp.exp(jnp.mean(jnp.log(v)))
    return jnp.concatenate([m / jnp.sqrt(length), q / length, v / softness])

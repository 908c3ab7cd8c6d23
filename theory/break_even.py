r"""When is more, worse data worth adding? $n_1$ samples are kept, $n_2$ of another source are added (section 4).

With $G_{su}=\nu_s^\top\Sigma\nu_u$ and $T_s=\operatorname{tr}(\Gamma_s\Sigma)$ the leading-order margin is

$$m(n_2)=\frac{n_1a_1+n_2a_2}{\sqrt{\kappa+\beta n_2+\alpha n_2^2}},\qquad
  \alpha=G_{22},\quad\beta=2n_1G_{12}+T_2,\quad\kappa=n_1^2G_{11}+n_1T_1,$$

for **any** Σ and Γ, not only for proportional Σ and a common Γ. The sign of $dm/dn_2$ is that of $P-n_2Q$ with
$P=a_2\kappa-A\beta/2$, $Q=A\alpha-a_2\beta/2$, $A=n_1a_1$, so there is at most one stationary point $n_2^*=P/Q$ and there
are four regions (`REGIONS`):

* P > 0, Q > 0: **add some**, exactly $n_2^*$; past the break-even amount it hurts, if the limit lies below the start.
* P > 0, Q <= 0 (or P = 0, Q < 0): **always add**.
* P <= 0, Q >= 0: **add nothing** (P = Q = 0: it makes no difference).
* P < 0, Q < 0: **hurts first, helps later**: pays from the break-even amount on, if the limit lies above the start.

Use `break_even` for one decision (what is kept may itself be a mixture: `theory.mixing.mixture_source`), `addition_map` for
phase diagrams (arrays, jit), `break_even_bar` for the bar that the first sample must pass, and `marginal_values` for
"which source should I add to next". For the best counts of several sources use `theory.portfolio`. Leading order: the
expected margin differs by a relative O(1/d_eff), see `theory.classifiers.AveragingLaw.expected_margin`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from theory import covariance as cov
from theory.arrays import ArrayLike, Scalar, as_float_array, check_counts, is_concrete, require
from theory.gaussian import Source, Target, check_dimensions
from theory.mixing import alignments

Region: TypeAlias = Literal["add nothing", "add some", "always add", "hurts first, helps later"]

REGIONS: tuple[Region, ...] = get_args(Region)
"""The four regions in the order of the codes of `addition_map`."""
NOTHING, SOME, ALWAYS, LATER = range(4)


class AdditionMap(NamedTuple):
    """What adding a second source does, one entry per setting.

    Attributes:
        region: index into `REGIONS`.
        best_amount: the best n_2 without a budget: 0, n_2*, or ∞ (always add; hurts first and pays later).
        stationary: n_2* where the margin has a maximum (add some) or a minimum (hurts first) at n_2 > 0, else not a number.
        break_even: n_2 > 0 at which the margin is back at its start: it pays up to there (add some) or from there on
            (hurts first); not a number where it never returns.
        margin: at n_2 = 0.
        limit: the margin for n_2 → ∞, $a_2/\\sqrt{G_{22}}$.
    """

    region: Int[Array, "..."]
    best_amount: Float[Array, "..."]
    stationary: Float[Array, "..."]
    break_even: Float[Array, "..."]
    margin: Float[Array, "..."]
    limit: Float[Array, "..."]


def addition_map(
    kept_signal: ArrayLike,
    added_signal: ArrayLike,
    kept_length: ArrayLike,
    overlap: ArrayLike,
    added_length: ArrayLike,
    kept_noise: ArrayLike,
    added_noise: ArrayLike,
    num_kept: ArrayLike,
) -> AdditionMap:
    r"""Region, best amount and break-even amount for arrays of settings; works under `jit` and `vmap`.

    $$n_2^*=\frac PQ,\qquad n_\text{be}=\frac{-2AP}{a_2^2\kappa-A^2\alpha}$$

    The second is the one nonzero root of $m(n_2)^2=m(0)^2$; it counts only where $m$ itself, not $-m$, is back, that is
    where the limit lies on the other side of the start than the stationary point.

    Args:
        kept_signal: $a_1$, any sign.
        added_signal: $a_2$, any sign.
        kept_length: $G_{11}\ge0$.
        overlap: $G_{12}$.
        added_length: $G_{22}\ge0$, with $G_{12}^2\le G_{11}G_{22}$.
        kept_noise: $T_1\ge0$, per sample.
        added_noise: $T_2\ge0$, per sample.
        num_kept: $n_1>0$. All arguments broadcast.

    Raises:
        ValueError: n_1 not > 0, a negative length or noise, an overlap beyond Cauchy and Schwarz, or kept data without
            length ($G_{11}=T_1=0$), which has no margin.

    Source: Section 4.
    """
    arrays = [as_float_array(x) for x in (kept_signal, added_signal, kept_length, overlap, added_length)]
    a1, a2, g11, g12, g22 = arrays
    t1, t2, n1 = as_float_array(kept_noise), as_float_array(added_noise), check_counts(num_kept, "num_kept")
    for name, value in (("kept_length", g11), ("added_length", g22), ("kept_noise", t1), ("added_noise", t2)):
        require(jnp.isfinite(value) & (value >= 0), value, f"{name} must be a finite number >= 0")
    eps = float(jnp.finfo(jnp.result_type(*arrays, t1, t2, n1)).eps)
    widest = jnp.sqrt(g11) * jnp.sqrt(g22) * (1 + 1024 * eps)
    require(jnp.abs(g12) <= widest, g12, "overlap must be at most sqrt(kept_length * added_length) in size")
    require(
        (g11 > 0) | (t1 > 0),
        g11,
        "the kept data must have length or noise > 0 on the target (kept_length + kept_noise)",
    )
    return AdditionMap(*_addition(a1, a2, g11, g12, g22, t1, t2, n1))


@jax.jit
def _addition(
    a1: Array, a2: Array, g11: Array, g12: Array, g22: Array, t1: Array, t2: Array, n1: Array
) -> tuple[Array, ...]:
    """The fields of `AdditionMap`; compiled as one, it costs a call what a single operation does."""
    eps = float(jnp.finfo(jnp.result_type(a1, a2, g11, g12, g22, t1, t2, n1)).eps)
    # In units of n_1, y = n_2/n_1: nothing overflows however large n_1 is.
    k, b, g = g11 + t1 / n1, 2 * g12 + t2 / n1, g22
    # Differences of products, zero where they are zero up to rounding: the borders of the regions are not drawn by chance.
    p = _difference(a2 * k, a1 * b / 2, jnp.abs(a1) * (jnp.abs(g12) + t2 / n1 / 2), eps)
    q = _difference(a1 * g, a2 * b / 2, jnp.abs(a2) * (jnp.abs(g12) + t2 / n1 / 2), eps)
    rises, sinks = (p > 0) | ((p == 0) & (q < 0)), p < 0
    region = jnp.where(rises, jnp.where(q > 0, SOME, ALWAYS), jnp.where(sinks & (q < 0), LATER, NOTHING))
    turns = (region == SOME) | (region == LATER)
    stationary = jnp.where(turns, n1 * p / jnp.where(turns, q, 1), jnp.nan)
    margin = a1 / jnp.sqrt(k)
    limit = _limit(a1, a2, k, b, g)
    gain = jnp.where(jnp.isclose(limit, margin, rtol=8 * eps, atol=0), 0, limit - margin)
    returns = ((region == SOME) & (gain < 0)) | ((region == LATER) & (gain > 0))
    squares = a2**2 * k - a1**2 * g
    root = n1 * -2 * a1 * p / jnp.where(returns & (squares != 0), squares, 1)
    # A limit within rounding of the start: the way back has no end that could be told from infinity.
    back = jnp.where(returns, jnp.where(squares != 0, root, jnp.inf), jnp.nan)
    pays_late = (region == LATER) & returns
    best = jnp.where(region == SOME, stationary, jnp.where((region == ALWAYS) | pays_late, jnp.inf, 0.0))
    shape = jnp.broadcast_shapes(region.shape, back.shape)
    return tuple(jnp.broadcast_to(field, shape) for field in (region, best, stationary, back, margin, limit))


def _difference(first: Array, second: Array, size: Array, eps: float) -> Array:
    value = first - second
    return jnp.where(jnp.abs(value) <= 8 * eps * (jnp.abs(first) + size), 0.0, value)


def _limit(a1: Array, a2: Array, k: Array, b: Array, g: Array) -> Array:
    """The margin for n_2 → ∞; added data without length on the target (G_22 = 0) leave noise b, or nothing at all."""
    flat = jnp.where(a2 == 0, jnp.where(b > 0, 0.0, a1 / jnp.sqrt(k)), jnp.sign(a2) * jnp.inf)
    return jnp.where(g > 0, a2 / jnp.sqrt(jnp.where(g > 0, g, 1)), flat)


@dataclass(frozen=True)
class BreakEven:
    """What adding samples of a second source does to the margin on one target.

    Attributes:
        region: one of `REGIONS`.
        num_kept: n_1.
        signal_ratio: a_2/a_1 (±inf or not a number if a_1 = 0).
        bar: the first added sample helps iff a_2 > bar · a_1 (see `break_even_bar`).
        stationary: n_2*, the best amount (add some) or the worst (hurts first), else not a number.
        stationary_margin: the margin there.
        break_even: where the margin is back at its start (see `AdditionMap`), else not a number.
        margin: without added data.
        limit: the margin for n_2 → ∞.
        coefficients: (a_1, a_2, κ/n_1², β/n_1, α), what `margin_at` needs.
    """

    region: Region
    num_kept: float
    signal_ratio: float
    bar: float
    stationary: float
    stationary_margin: float
    break_even: float
    margin: float
    limit: float
    coefficients: tuple[float, float, float, float, float]

    @property
    def first_sample_helps(self) -> bool:
        """Whether the margin rises from n_2 = 0 on."""
        return self.region in ("add some", "always add")

    def margin_at(self, num_added: ArrayLike) -> Float[Array, "..."]:
        """The leading-order margin with n_2 >= 0 added samples (any shape).

        Raises:
            ValueError: n_2 < 0 or not finite.
        """
        number = as_float_array(num_added)
        require(jnp.isfinite(number) & (number >= 0), number, "num_added must be a finite number >= 0")
        a1, a2, k, b, g = self.coefficients
        # Divided by the larger of n_1 and n_2, so that neither end overflows.
        unit = jnp.maximum(number / self.num_kept, 1.0)
        y, one = number / self.num_kept / unit, 1 / unit
        return (a1 * one + a2 * y) / jnp.sqrt(k * one**2 + b * y * one + g * y**2)

    def best_amount(self, budget: Scalar = math.inf) -> float:
        """The best n_2 if at most `budget` samples can be had; ∞ where it pays to take all of an endless supply.

        In "hurts first, helps later" the end point is compared with adding nothing: it pays only if budget > break_even.

        Raises:
            ValueError: a budget that is not a number >= 0.
        """
        if not budget >= 0:
            raise ValueError(f"budget must be a number >= 0, got {budget}")
        if self.region == "add some":
            return float(min(self.stationary, budget))
        if self.region == "always add" or (self.region != "add nothing" and budget > self.break_even):
            return float(budget)
        return 0.0

    def describe(self) -> str:
        """The finding in words."""
        start, end = f"{self.margin:.4g}", f"{self.limit:.4g}"
        turn = f"{self.stationary_margin:.4g} at {self.stationary:.4g} added samples"
        if self.region == "always add":
            return f"always add: the margin rises from {start} to {end}"
        if self.region == "add some":
            tail = f", falls after it and is worse than nothing past {self.break_even:.4g}"
            tail = (
                tail
                if self.break_even < math.inf
                else f" and falls towards {end} after it, never below the start"
            )
            return f"add some: the margin rises from {start} to {turn}{tail}"
        if self.region == "add nothing":
            return f"add nothing: the margin never exceeds {start} and tends to {end}"
        pays = f"is back at the start at {self.break_even:.4g} and rises to {end}"
        back = pays if self.break_even < math.inf else f"recovers to {end} only: it never pays"
        return f"hurts first, helps later: the margin falls from {start} to {turn}, {back}"


def break_even(kept: Source, added: Source, target: Target, num_kept: ArrayLike) -> BreakEven:
    r"""Whether, from where and how much of a second source is worth adding to $n_1$ samples that are kept.

    Args:
        kept: source 1; a mixture works too (`theory.mixing.mixture_source`, n_1 its total).
        added: source 2.
        target: the reference or a shift; the answer can differ between them.
        num_kept: $n_1>0$, one number.

    Returns:
        A `BreakEven` with `describe()` and `best_amount(budget)`. $n_2$ is a real number; round it as you like, the margin
        has one turning point.

    Raises:
        ValueError: n_1 not > 0, kept data without length on the target, the numbers of features differ, or the call is
            inside `jit` (use `addition_map` there).

    Source: Section 4.
    """
    if not is_concrete(kept, added, target, num_kept):
        raise ValueError("break_even reports numbers and cannot be called inside jit: use addition_map there")
    a, gram, noise = _statistics([kept, added], target)
    a1, a2 = (float(x) for x in a)
    g11, g12, g22 = float(gram[0, 0]), float(gram[0, 1]), float(gram[1, 1])
    t1, t2 = (float(x) for x in noise)
    n1 = float(check_counts(num_kept, "num_kept"))
    found = addition_map(a1, a2, g11, g12, g22, t1, t2, n1)
    ratio = a2 / a1 if a1 != 0 else math.copysign(math.inf, a2) if a2 != 0 else math.nan
    result = BreakEven(
        region=REGIONS[int(found.region)],
        num_kept=n1,
        signal_ratio=ratio,
        bar=float(break_even_bar(kept, added, target, n1)),
        stationary=float(found.stationary),
        stationary_margin=math.nan,
        break_even=float(found.break_even),
        margin=float(found.margin),
        limit=float(found.limit),
        coefficients=(a1, a2, g11 + t1 / n1, 2 * g12 + t2 / n1, g22),
    )
    if math.isnan(result.stationary):
        return result
    return replace(result, stationary_margin=float(result.margin_at(result.stationary)))


def break_even_bar(kept: Source, added: Source, target: Target, num_kept: ArrayLike) -> Float[Array, "..."]:
    r"""The bar: the first added sample helps iff $a_2>\text{bar}\cdot a_1$ (for $a_1>0$ iff $a_2/a_1>$ bar).

    $$\text{bar}=\frac{n_1G_{12}+T_2/2}{n_1G_{11}+T_1}$$

    It moves from $T_2/(2T_1)$ when data are scarce (1/2 for a common Γ: noise is averaged away by any sample) to
    $G_{12}/G_{11}$ when they are plenty (what the added mean shares with the kept one).

    Args:
        kept: source 1.
        added: source 2.
        target: the reference or a shift.
        num_kept: $n_1>0$, any shape.

    Raises:
        ValueError: n_1 not > 0, or the numbers of features differ.

    Source: Section 4 (marginal condition).
    """
    n1 = check_counts(num_kept, "num_kept")
    _, gram, noise = _statistics([kept, added], target)
    return (gram[0, 1] + noise[1] / 2 / n1) / (gram[0, 0] + noise[0] / n1)


def marginal_values(sources: Sequence[Source], counts: ArrayLike, target: Target) -> Float[Array, "... s"]:
    r"""What one more sample of each source adds to the leading-order margin: which source to add to next.

    $$\frac{\partial m}{\partial n_s}=\frac1n\,\frac{a_sq-(a\cdot p)\bigl((Gp)_s+T_s/(2n)\bigr)}{q^{3/2}},\qquad
      q=p^\top Gp+\frac{p\cdot T}n,\quad p_s=\frac{n_s}n$$

    At the best mixture of a fixed total all sources in use (and not at their budget) have the same value, none a larger one.

    Args:
        sources: S training distributions.
        counts: (..., S) samples of each now, >= 0; a source with none of them has a value too.
        target: the reference or a shift.

    Returns:
        (..., S) changes of the margin per sample.

    Raises:
        ValueError: counts of another shape, negative, not finite or all 0, or the numbers of features differ.

    Source: Section 4 (marginal condition, any number of sources).
    """
    a, gram, noise = _statistics(sources, target)
    n = as_float_array(counts)
    if n.ndim == 0 or n.shape[-1] != len(sources):
        raise ValueError(f"counts must hold one number for each of the {len(sources)} sources, got {n.shape}")
    require(jnp.isfinite(n) & (n >= 0), n, "every count must be a finite number >= 0")
    total = n.sum(-1, keepdims=True)
    require(total > 0, total, "the counts must sum to more than 0")
    p = n / total
    turned = p @ gram
    squared = jnp.sum(turned * p, -1, keepdims=True) + (p @ noise)[..., None] / total
    signal = (p @ a)[..., None]
    return (a * squared - signal * (turned + noise / (2 * total))) / squared**1.5 / total


def _statistics(sources: Sequence[Source], target: Target) -> tuple[Array, Array, Array]:
    """Signals (S,), overlaps (S, S) and noise per sample (S,) on one target; traceable."""
    dimension = check_dimensions(*sources, target)
    means = jnp.stack([source.mean for source in sources])
    noise = jnp.stack([cov.trace_product(s.covariance, target.covariance, dimension) for s in sources])
    return alignments(sources, target), means @ cov.apply(target.covariance, means).T, noise

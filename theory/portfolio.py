r"""The best mixture of sources is a portfolio (section 5): maximise the margin of n samples over the shares.

$$m_t(p)=\frac{a_t\cdot p}{\sqrt{p^\top G_tp+p\cdot T_t/n}},\qquad G_{su,t}=\nu_s^\top\Sigma_t\nu_u,\quad
  T_{s,t}=\operatorname{tr}(\Gamma_s\Sigma_t)$$

is a Sharpe ratio: signal is the return, length the risk. Use `best_mixture` on `Source` and `Target` objects (one target, or
the worst of several), `best_mixture_from_statistics` on measured signals and overlaps, `unconstrained_mixture` for the closed
form that may subtract sources, and `theory.portfolio_frontier` for the trade-off between two targets.

What is best here is the **margin** (the accuracy on the target), a matter of hedging and averaging. The *slope*, margin on a
shift over margin on the reference, is a mediant and therefore best at a **single** source (`theory.mixing.mixture_slope`).

How it is solved. For noise that is the same for every source (and whenever $G_t+\tfrac1{2n}(T_t1^\top+1T_t^\top)$ has no
negative eigenvalue) the problem is convex: one QP for one target or proportional forms, Dinkelbach's iteration on SOCPs for
any others. Noise that differs between sources and a total that is free make it non-convex: branch and bound over the
mixture's noise. Every result carries an upper bound on **all** mixtures that is computed from the solver's multipliers by
weak duality in `theory.portfolio_certificates`, so that `gap` holds whatever the solver did. Leading order in n, fixed counts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from theory.arrays import ArrayLike, Scalar, require
from theory.gaussian import Source, Target
from theory.portfolio_cone import best_worst_signal
from theory.portfolio_problem import MixtureProblem, mixture_problem
from theory.portfolio_search import search
from theory.source_statistics import SourceStatistics, source_statistics

Total = Literal["exactly", "at most"]


@dataclass(frozen=True, eq=False)
class BestMixture:
    """The best mixture found and the proof of how good it is.

    Attributes:
        shares: p_s, shape (S,).
        counts: n_s = p_s · num_samples, shape (S,), real numbers.
        num_samples: samples used in all (less than were allowed only for "at most").
        margins: leading-order margin on every target, shape (T,).
        levels: what each margin is divided by before the worst is taken, shape (T,).
        margin: the objective, the smallest of margins / levels.
        upper_bound: no mixture within the budgets has a larger objective (weak duality, computed from the multipliers).
        tolerance: the relative gap that was asked for.
        at_budget: indices of sources whose budget is used up.
        num_boxes: 1 for a convex problem, boxes of the branch and bound otherwise.
        num_solved: convex programs solved.
        source_names: S names.
        target_names: T names.
    """

    shares: Float[np.ndarray, " s"]
    counts: Float[np.ndarray, " s"]
    num_samples: float
    margins: Float[np.ndarray, " t"]
    levels: Float[np.ndarray, " t"]
    margin: float
    upper_bound: float
    tolerance: float
    at_budget: tuple[int, ...]
    num_boxes: int
    num_solved: int
    source_names: tuple[str, ...]
    target_names: tuple[str, ...]

    @property
    def gap(self) -> float:
        """How far, relative to it, any mixture can at most be ahead of this one."""
        return self.upper_bound / self.margin - 1

    @property
    def certified(self) -> bool:
        """Whether the gap is within the tolerance."""
        return self.gap <= self.tolerance

    @property
    def worst_target(self) -> int:
        """Index of the target with the smallest margin over its level."""
        return int(np.argmin(self.margins / self.levels))

    def describe(self) -> str:
        """The finding in words."""
        used = [i for i in np.argsort(-self.shares, kind="stable") if self.shares[i] > 0]
        parts = ", ".join(
            f"{self.shares[i]:.1%} {self.source_names[i]}"
            + (" (all there is)" if i in self.at_budget else "")
            for i in used
        )
        where = f"on {self.target_names[self.worst_target]}"
        if len(self.margins) > 1:
            where += f", the worst of {len(self.margins)} targets"
        proof = (
            "no mixture is ahead by more than"
            if self.certified
            else "not certified: mixtures may be ahead by up to"
        )
        return (
            f"{self.num_samples:.6g} samples, {parts}: margin {self.margins[self.worst_target]:.4g} {where}; "
            f"{proof} {max(self.gap, 0.0):.1e} of it"
        )


def best_mixture(
    sources: Sequence[Source],
    targets: Sequence[Target] | Target,
    num_samples: Scalar,
    budgets: ArrayLike | None = None,
    total: Total = "exactly",
    levels: ArrayLike | None = None,
    tolerance: float = 1e-6,
    max_boxes: int = 1000,
) -> BestMixture:
    r"""The mixture with the largest margin on a target, or on the worst of several.

    $$\max_{p\ge0,\ 1\cdot p=1,\ p_sn\le N_s}\ \min_t\ m_t(p)/l_t$$

    Args:
        sources: S training distributions, of any covariances.
        targets: T test distributions, or one, of any covariances.
        num_samples: n > 0.
        budgets: N_s >= 0, the samples there are of each source, shape (S,); None or ∞ for no limit.
        total: "exactly" n samples, or "at most" n (more data can hurt: `theory.break_even`; n may then be ∞ if every budget
            is finite).
        levels: $l_t>0$, the margins wanted on the targets in relation to each other, shape (T,); 1 where left out.
        tolerance: largest relative gap between the result and the certified bound.
        max_boxes: where branch and bound stops whatever the gap; `certified` tells.

    Raises:
        ValueError: no mixture has a positive margin on every target; budgets that hold fewer than n samples; numbers out of
            range; sources that cancel each other to rounding.

    Source: Section 5.
    """
    statistics = source_statistics(sources, targets)
    return best_mixture_from_statistics(statistics, num_samples, budgets, total, levels, tolerance, max_boxes)


def best_mixture_from_statistics(
    statistics: SourceStatistics,
    num_samples: Scalar,
    budgets: ArrayLike | None = None,
    total: Total = "exactly",
    levels: ArrayLike | None = None,
    tolerance: float = 1e-6,
    max_boxes: int = 1000,
) -> BestMixture:
    """`best_mixture` from signals, overlaps and noise, as they can be measured on models of single sources.

    Args:
        statistics: a_st, G_sut and T_st.
        num_samples: as in `best_mixture`, and so are the others.
        budgets: as in `best_mixture`.
        total: as in `best_mixture`.
        levels: as in `best_mixture`.
        tolerance: as in `best_mixture`.
        max_boxes: as in `best_mixture`.

    Raises:
        ValueError: as `best_mixture`.

    Source: Section 5.
    """
    available = _checked_budgets(statistics, num_samples, budgets, total)
    wanted = np.ones(statistics.num_targets) if levels is None else np.asarray(levels, np.float64)
    if wanted.shape != (statistics.num_targets,):
        raise ValueError(
            f"levels must hold one number for each of the {statistics.num_targets} targets, got {wanted.shape}"
        )
    require(np.isfinite(wanted) & (wanted > 0), wanted, "every level must be a finite number > 0")
    if not 0 < tolerance < 1 or max_boxes < 1:
        raise ValueError(
            f"tolerance must lie in (0, 1) and max_boxes be >= 1, got {tolerance} and {max_boxes}"
        )
    unit = float(min(num_samples, available.sum()))
    caps = np.minimum(available / unit, 1.0)
    # Of the same mixture more is always better, so the best one uses a whole budget, or all samples there may be.
    low = 1.0 if total == "exactly" else float(caps[caps > 0].min())
    problem = mixture_problem(statistics, unit, caps, (low, 1.0), wanted)
    found = search(problem, _start(problem, statistics), tolerance, max_boxes)
    filled = float(found.point.sum())
    counts = found.point * unit
    margins = statistics.margins(counts)
    # The same number in the sources' own units; what differs is rounding.
    objective = float((margins / wanted).min())
    if not abs(objective / found.level - 1) <= 1e-6:
        raise ValueError(
            "the sources cancel each other to rounding on a target, so that margins have no accurate value "
            f"({objective:.6g} or {found.level:.6g}): drop one of the opposite sources"
        )
    return BestMixture(
        shares=found.point / filled,
        counts=counts,
        num_samples=unit * filled,
        margins=margins,
        levels=wanted,
        margin=objective,
        upper_bound=found.upper_bound,
        tolerance=tolerance,
        at_budget=tuple(int(s) for s in np.flatnonzero((counts > 0) & (counts >= available * (1 - 1e-6)))),
        num_boxes=found.num_boxes,
        num_solved=found.num_solved,
        source_names=statistics.source_names,
        target_names=statistics.target_names,
    )


@dataclass(frozen=True, eq=False)
class UnconstrainedMixture:
    """The best signed combination of sources.

    Attributes:
        shares: p*, shape (S,), of sum 1; a negative share subtracts a source.
        margin: its margin $\\sqrt{a^\\top M^{-1}a}$, which no mixture exceeds.
    """

    shares: Float[np.ndarray, " s"]
    margin: float

    @property
    def is_mixture(self) -> bool:
        """Whether no share is negative, so that this is the best mixture."""
        return bool((self.shares >= 0).all())


def unconstrained_mixture(
    sources: Sequence[Source], target: Target, num_samples: Scalar
) -> UnconstrainedMixture:
    r"""The closed form without the constraint p >= 0: $p^*\propto M^{-1}a$, $M=G+\tfrac1{2n}(T1^\top+1T^\top)$.

    For a common noise M = G + (T/n)11ᵀ. Where no share is negative this is the best mixture; elsewhere it is what subtracting
    a source (negative labels) would reach.

    Args:
        sources: S training distributions.
        target: one test distribution.
        num_samples: n > 0.

    Raises:
        ValueError: n is not > 0; M is singular or has a negative eigenvalue; $1^\top M^{-1}a\le0$, so that the best direction
            is no combination with sum 1.

    Source: Section 5 (unconstrained).
    """
    if not (math.isfinite(num_samples) and num_samples > 0):
        raise ValueError(f"num_samples must be a finite number > 0, got {num_samples}")
    found = source_statistics(sources, target)
    a, noise = found.signals[0], found.noises[0] / num_samples
    matrix = found.grams[0] + (noise[:, None] + noise) / 2
    lengths = np.sqrt(np.diagonal(matrix))
    safe = np.where(lengths > 0, lengths, 1.0)
    scaled = matrix / safe[:, None] / safe
    smallest = float(np.linalg.eigvalsh(scaled)[0])
    if smallest <= 64 * len(a) * np.finfo(np.float64).eps:
        raise ValueError(
            f"the closed form needs a positive definite M, got the eigenvalue {smallest:.3g} (sources scaled to length 1): "
            "use best_mixture"
        )
    direction = np.linalg.solve(scaled, a / safe) / safe
    if not direction.sum() > 0:
        raise ValueError(
            f"the best direction must have a positive sum to be made of shares, got {direction.sum():.6g}: use best_mixture"
        )
    return UnconstrainedMixture(direction / direction.sum(), float(np.sqrt(a @ direction)))


def _checked_budgets(
    statistics: SourceStatistics, num_samples: Scalar, budgets: ArrayLike | None, total: str
) -> Float[np.ndarray, " s"]:
    """The samples there are of each source, checked against what is asked for."""
    if total not in ("exactly", "at most"):
        raise ValueError(f"total must be 'exactly' or 'at most', got {total!r}")
    if not num_samples > 0 or (total == "exactly" and not math.isfinite(num_samples)):
        raise ValueError(f"num_samples must be a finite number > 0, got {num_samples}")
    names = statistics.source_names
    available = np.full(len(names), np.inf) if budgets is None else np.asarray(budgets, np.float64)
    if available.shape != (len(names),):
        raise ValueError(
            f"budgets must hold one number for each of the {len(names)} sources, got {available.shape}"
        )
    require(available >= 0, available, "every budget must be a number >= 0")
    held = float(available.sum())
    if total == "exactly" and held < num_samples * (1 - 1e-12):
        raise ValueError(
            f"the budgets hold {held:.12g} samples in all, fewer than the {num_samples:.12g} asked for"
        )
    if held == 0 or math.isinf(min(held, num_samples)):
        raise ValueError(
            f"the number of samples must be > 0 and bounded by num_samples or budgets, got {held:g}"
        )
    return available


def _start(problem: MixtureProblem, statistics: SourceStatistics) -> Float[np.ndarray, " s"]:
    """A mixture with a positive margin on every target.

    Raises:
        ValueError: there is none.
    """
    signal, found = best_worst_signal(problem, problem.initial_box())
    if found is None or not signal > 1e-12:
        best = statistics.signals.max(1)
        listed = ", ".join(f"{name} {a:.6g}" for name, a in zip(statistics.target_names, best, strict=True))
        raise ValueError(
            "no mixture within the budgets has a positive margin on every target; the largest signal a_s of a source must "
            f"be > 0, and on all targets at once; got, by target, at most: {listed}"
        )
    level = problem.level(found.point)
    if not level > 0:
        raise ValueError(
            "a mixture has a signal but no length on a target (neither mean nor noise), so that its margin has no bound, got "
            f"{level:g}: the target's covariance must not vanish where its mean does not"
        )
    return found.point

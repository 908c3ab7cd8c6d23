r"""What the leading-order margin of any mixture depends on: signals, overlaps and noise of S sources as T targets see them.

$$m_t(n_1,\dots,n_S)=\frac{\sum_sn_sa_{s,t}}{\sqrt{\sum_{s,u}n_sn_uG_{su,t}+\sum_sn_sT_{s,t}}},\qquad
  a_{s,t}=\nu_s\cdot\mu_t,\quad G_{su,t}=\nu_s^\top\Sigma_t\nu_u,\quad T_{s,t}=\operatorname{tr}(\Gamma_s\Sigma_t)$$

Use `source_statistics` on `Source` and `Target` objects; build a `SourceStatistics` yourself from measured signals and
overlaps. `theory.portfolio` takes both. Counts are fixed (source s gives exactly n_s samples). NumPy in float64 whatever
JAX's precision is: a convex solver reads these numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from theory import covariance as cov
from theory.arrays import ArrayLike, is_concrete, require
from theory.gaussian import Source, Target, check_dimensions


@dataclass(frozen=True, init=False, eq=False)
class SourceStatistics:
    """Signals, overlaps and noise of S sources on T targets, checked.

    Args:
        signals: a, shape (T, S), or (S,) for one target.
        grams: G, shape (T, S, S), or (S, S) for every target alike.
        noises: T, shape (T, S), (S,) for every target alike, or one number.
        source_names: S names for messages; "source 1", ... where left out or empty.
        target_names: T names for messages.

    Raises:
        ValueError: shapes that do not fit; an entry that is not finite; noise below 0; a gram that is not symmetric or has
            a negative eigenvalue beyond rounding (overlaps that were measured one by one may have: project them first).
    """

    signals: Float[np.ndarray, "t s"]
    grams: Float[np.ndarray, "t s s"]
    noises: Float[np.ndarray, "t s"]
    source_names: tuple[str, ...]
    target_names: tuple[str, ...]

    def __init__(
        self,
        signals: ArrayLike,
        grams: ArrayLike,
        noises: ArrayLike,
        source_names: Sequence[str] = (),
        target_names: Sequence[str] = (),
    ):
        a = np.atleast_2d(np.asarray(signals, np.float64))
        if a.ndim != 2 or a.size == 0:
            raise ValueError(f"signals must have shape (T, S) or (S,), got {np.shape(signals)}")
        num_targets, num_sources = a.shape
        g = _expanded(grams, (num_targets, num_sources, num_sources), "grams")
        t = _expanded(noises, (num_targets, num_sources), "noises")
        for name, array in (("signals", a), ("grams", g), ("noises", t)):
            require(np.isfinite(array), array, f"every entry of {name} must be finite")
        require(t >= 0, t, "every entry of noises must be >= 0")
        for target, gram in enumerate(g):
            _check_gram(gram, target)
        object.__setattr__(self, "signals", a)
        object.__setattr__(self, "grams", (g + np.swapaxes(g, 1, 2)) / 2)
        object.__setattr__(self, "noises", t)
        object.__setattr__(self, "source_names", _named(source_names, num_sources, "source"))
        object.__setattr__(self, "target_names", _named(target_names, num_targets, "target"))

    @property
    def num_sources(self) -> int:
        """S."""
        return self.signals.shape[1]

    @property
    def num_targets(self) -> int:
        """T."""
        return self.signals.shape[0]

    def margins(self, counts: ArrayLike) -> Float[np.ndarray, "... t"]:
        """Leading-order margins (..., T) of counts (..., S); not a number where a classifier has no length.

        Raises:
            ValueError: counts of another shape, negative, not finite, or all 0.
        """
        n = np.asarray(counts, np.float64)
        if n.ndim == 0 or n.shape[-1] != self.num_sources:
            raise ValueError(
                f"counts must hold one number for each of the {self.num_sources} sources, got {n.shape}"
            )
        require(np.isfinite(n) & (n >= 0), n, "every count must be a finite number >= 0")
        total = n.sum(-1, keepdims=True)
        require(total > 0, total, "the counts must sum to more than 0")
        p = n / total
        squared = np.einsum("...s,tsu,...u->...t", p, self.grams, p) + (p @ self.noises.T) / total
        with np.errstate(divide="ignore", invalid="ignore"):
            return (p @ self.signals.T) / np.sqrt(squared)


def source_statistics(sources: Sequence[Source], targets: Sequence[Target] | Target) -> SourceStatistics:
    r"""Signals $\nu_s\cdot\mu_t$, overlaps $\nu_s^\top\Sigma_t\nu_u$ and noise $\operatorname{tr}(\Gamma_s\Sigma_t)$.

    Args:
        sources: S training distributions.
        targets: T test distributions, or one.

    Raises:
        ValueError: the numbers of features differ, there is no source or target, or the call is inside `jit`.
    """
    tests = [targets] if isinstance(targets, Target) else list(targets)
    if not sources or not tests:
        raise ValueError(
            f"at least one source and one target are needed, got {len(sources)} and {len(tests)}"
        )
    if not is_concrete(list(sources), tests):
        raise ValueError("source_statistics reports numbers and cannot be called inside jit")
    dimension = check_dimensions(*sources, *tests)
    means = np.stack([np.asarray(source.mean, np.float64) for source in sources])
    tested = np.stack([np.asarray(target.mean, np.float64) for target in tests])
    grams = []
    for target in tests:
        sigma = np.asarray(target.covariance, np.float64)
        grams.append((means @ sigma if sigma.ndim == 2 else means * sigma) @ means.T)
    noises = [
        [float(cov.trace_product(source.covariance, target.covariance, dimension)) for source in sources]
        for target in tests
    ]
    names = [[item.name for item in group] for group in (sources, tests)]
    return SourceStatistics(tested @ means.T, np.stack(grams), np.asarray(noises), *names)


def _expanded(values: ArrayLike, shape: tuple[int, ...], name: str) -> np.ndarray:
    array = np.asarray(values, np.float64)
    try:
        return np.broadcast_to(array, shape).copy()
    except ValueError:
        raise ValueError(f"{name} must have shape {shape} or fit it, got {array.shape}") from None


def _check_gram(gram: np.ndarray, target: int) -> None:
    """Symmetric and positive semi-definite, judged after scaling every source to length 1."""
    lengths = np.sqrt(np.clip(np.diagonal(gram), 0, None))
    scaled = gram / np.where(lengths > 0, lengths, 1)[:, None] / np.where(lengths > 0, lengths, 1)
    rounding = 256 * len(gram) * np.finfo(np.float64).eps
    asymmetry = np.abs(scaled - scaled.T).max()
    if asymmetry > rounding:
        raise ValueError(
            f"the gram of target {target + 1} must be symmetric, got entries that differ by {asymmetry:.3g}"
        )
    smallest = np.linalg.eigvalsh((scaled + scaled.T) / 2)[0]
    if smallest < -rounding:
        raise ValueError(
            f"the gram of target {target + 1} must have no negative eigenvalue (sources scaled to length 1), "
            f"got {smallest:.6g}"
        )


def _named(names: Sequence[str], number: int, kind: str) -> tuple[str, ...]:
    if len(names) not in (0, number):
        raise ValueError(f"one name for each {kind} is needed, {number} in all, got {len(names)}")
    given = list(names) or [""] * number
    return tuple(name or f"{kind} {index + 1}" for index, name in enumerate(given))

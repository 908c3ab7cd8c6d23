r"""What Theorem 3 says about a filtered pool, told only single-source models and the filter's scores of the pool.

A pool's clean pairs of source s have mean $\nu_s$, its shuffled captions are right with probability 1/K (mean $\nu_s$) and
wrong otherwise (mean $-\nu_s/(K-1)$). A filter f that keeps scores of at least $\tau$ leaves of component j the share
$1-\Phi(t_j)$ with mean $\nu_j+h(t_j)\gamma f/\lVert f\rVert$, so that what is trained on the kept pairs has on target t

$$A_t=\sum_j\pi'_j\,\nu_j\!\cdot\mu_t+H\,d_f(t),\qquad H=\sum_j\pi'_jh(t_j),$$

in units of the scores' spread $\gamma=1$, with $d_f$ the filter's own d'. Everything on the right is measured:
$t_j=(\tau-m_j)/\sigma$ from the filter's scores of clean and shuffled pairs (means $m$, spread $\sigma$); and
$\nu_s\!\cdot\mu_t=d_s(t)L_s$ with the length of source s's classifier $L_s=\delta_{fs}/r_{fs}$: the separation
$\delta_{fs}=(m_\text{clean}-m_\text{shuffled})/\sigma=f\!\cdot\nu_s/\lVert f\rVert$ over the overlap $r_{fs}$ of the two models.
The predicted d' ratio is $A_\text{shift}/A_\text{ref}$, the predicted place

$$d'_t=A_t\Big/\sqrt{\textstyle\sum_{jk}\pi'_j\pi'_k\nu_j\!\cdot\nu_k+2H\sum_j\pi'_jf\!\cdot\nu_j/\lVert f\rVert
+H^2+T/n_\text{kept}},$$

with $\nu_s\!\cdot\nu_u=r_{su}L_sL_u$, $T_s=n(1-r_{ss})L_s^2$. Source: Theorem 3 (filtering with a pre-trained model).

Use `FilteredPool`; `empirical.filter_prediction` makes it from a study's tables.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import log_ndtr, ndtr


@dataclass(frozen=True)
class FilterAccount:
    """One source's pairs in a pool as a filter scores them: counts, means and the common spread of the scores."""

    source: str
    clean: int
    junk: int
    clean_score: float
    junk_score: float
    spread: float
    threshold: float

    @property
    def separation(self) -> float:
        """f·ν / ‖f‖ in units of the spread: right captions against shuffled ones."""
        return (self.clean_score - self.junk_score) / self.spread


def kept_signal(
    parts: Iterable[FilterAccount],
    num_classes: int,
    signals: Mapping[str, Float[np.ndarray, " t"]],
    overlaps: Mapping[tuple[str, str], float],
    noise: Mapping[str, float],
    filter_dprime: Float[np.ndarray, " t"],
) -> tuple[Float[np.ndarray, " t"], float, float, float]:
    """A_t, its squared length without noise, T, and the share kept, in units of the scores' spread.

    signals: (T,) ν_s·μ_t; overlaps: ν_s·ν_u; noise: T_s; filter_dprime: (T,) the filter's d'.
    """
    parts = list(parts)
    total = sum(part.clean + part.junk for part in parts)
    weights: dict[str, float] = {}
    along, kept, kick = 0.0, 0.0, 0.0
    for part in parts:
        wrong_score = (num_classes * part.junk_score - part.clean_score) / (num_classes - 1)
        for count, score, sign in (
            (part.clean + part.junk / num_classes, part.clean_score, 1.0),
            (part.junk * (1 - 1 / num_classes), wrong_score, -1 / (num_classes - 1)),
        ):
            if not count:
                continue
            t = (part.threshold - score) / part.spread
            share = count / total * float(ndtr(-t))
            # phi/(1 - Phi) by logarithms: far in the tail both underflow.
            hazard = float(np.exp(-(t**2) / 2 - log_ndtr(-t)) / np.sqrt(2 * np.pi))
            kept += share
            kick += share * hazard
            weights[part.source] = weights.get(part.source, 0.0) + sign * share
            along += sign * share * part.separation
    kick, along = kick / kept, along / kept
    weights = {name: weight / kept for name, weight in weights.items()}
    signal = sum((w * signals[name] for name, w in weights.items()), np.zeros_like(filter_dprime))
    square = sum(a * b * overlaps[s, u] for s, a in weights.items() for u, b in weights.items())
    counts = {part.source: (part.clean + part.junk) / total for part in parts}
    return (
        signal + kick * filter_dprime,
        float(square + 2 * kick * along + kick**2),
        sum(counts[name] * noise[name] for name in counts),
        kept,
    )


@dataclass(frozen=True, eq=False)
class FilteredPool:
    """Everything that Theorem 3 is told of one pool and one filter; all of it was measured without a filtered run.

    Attributes:
        parts: the pool's sources as the filter scores them.
        num_classes: K.
        test_sets: names behind the arrays.
        dprime: source -> (T,) mean d' of its models of n_train samples.
        overlaps: pair of the parts' sources and of the filter's source with each -> r, both orders.
        filter_name: the filter's source.
        filter_dprime: (T,) mean d' of the filter's own models.
        n_train: samples of the single-source models.
    """

    parts: tuple[FilterAccount, ...]
    num_classes: int
    test_sets: tuple[str, ...]
    dprime: Mapping[str, Float[np.ndarray, " t"]]
    overlaps: Mapping[tuple[str, str], float]
    filter_name: str
    filter_dprime: Float[np.ndarray, " t"]
    n_train: int

    @property
    def lengths(self) -> dict[str, float]:
        """L_s of every source in the pool."""
        return {
            part.source: part.separation / self.overlaps[self.filter_name, part.source] for part in self.parts
        }

    def kept_share(self) -> float:
        """The share that the parts' thresholds keep, by the normal law of the scores."""
        return self._kept_signal()[3]

    def dprimes(self, n_kept: float | int) -> Float[np.ndarray, " t"]:
        """Predicted d' of a model trained on `n_kept` samples that pass the parts' thresholds."""
        signal, square, noise, _ = self._kept_signal()
        return signal / np.sqrt(square + noise / n_kept)

    def _kept_signal(self) -> tuple[np.ndarray, float, float, float]:
        length, names = self.lengths, [part.source for part in self.parts]
        return kept_signal(
            self.parts, self.num_classes, {s: self.dprime[s] * length[s] for s in names},
            {(s, u): self.overlaps[s, u] * length[s] * length[u] for s in names for u in names},
            {s: self.n_train * (1 - self.overlaps[s, s]) * length[s] ** 2 for s in names},
            self.filter_dprime,
        )  # fmt: skip

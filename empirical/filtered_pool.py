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

In the theory $d_s(t;n)V_s(n)$ with $V_s(n)^2=L_s^2\big(r_{ss}+(1-r_{ss})\,n_0/n\big)$, $n_0$ the size at which overlaps were
measured, is the same $\nu_s\cdot\mu_t$ whatever n the models of s were trained on. Networks leave the theory there: their d'
under shift grows with n faster than on the reference. A `Reading` says at which size the pool's sources are read. The size of
equal signal is the one at which models of the pool's clean pairs have the signal-to-noise ratio of a model of the kept pairs,

$$n_*=n_\text{kept}\,\lVert\nu'\rVert^2/\lVert\bar\nu\rVert^2,\qquad
\nu'=\textstyle\sum_j\pi'_j\nu_j+Hf/\lVert f\rVert,\quad \bar\nu=\sum_j\pi'_j\nu_j\big/\sum_sw_s,$$

with $w_s$ the share of right captions of s among the kept, less that of wrong ones over K-1. Without a filter it is
$n(1-\varepsilon)^2$ for n pairs of which the share $\varepsilon$ was shuffled.

Use `FilteredPool`; `empirical.filter_prediction` makes it from a study's tables.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

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


@dataclass(frozen=True)
class Reading:
    """At which size single-source models are read, and whether the filter pulls.

    Attributes:
        size: of the pool's sources. "filter": the size of the filter's models, n_0, as Theorem 3 alone may; "kept": n_kept;
            "clean": n_kept W^2 with W = sum_s w_s (the junk that is left costs, the pull is no signal); "signal": n_*.
        pull: H as the scores say, or 0.
        filter_too: the filter's d' is read at that size as well, d_f(t; n) V_f(n)/V_f(n_0); otherwise it is its own.
    """

    size: Literal["filter", "kept", "clean", "signal"] = "filter"
    pull: bool = True
    filter_too: bool = False


PLAIN = Reading()
"""Theorem 3 with every model read at the filter's size."""


@dataclass(frozen=True, eq=False)
class SizeCurve:
    """Mean d' of one source's models by size: sizes (S,) ascending, dprimes (S, T)."""

    sizes: Float[np.ndarray, " s"]
    dprimes: Float[np.ndarray, "s t"]

    def at(self, n: float | int) -> tuple[float, Float[np.ndarray, " t"]]:
        """The size that is read and d' (T,) there: linear in log n between measured sizes, the nearest end outside.

        NaN where no size was measured.
        """
        if not len(self.sizes):
            return np.nan, np.full(self.dprimes.shape[1], np.nan)
        n = float(np.clip(n, self.sizes[0], self.sizes[-1]))
        return n, np.array([np.interp(np.log(n), np.log(self.sizes), column) for column in self.dprimes.T])


@dataclass(frozen=True)
class KeptPairs:
    """What passes a filter, in units of the scores' spread: signed = w_s by source, pull = H, along = Σ_j π'_j f·ν_j/‖f‖, and
    the share of the pool that is kept.
    """

    signed: Mapping[str, float]
    pull: float
    along: float
    share: float

    def signal(
        self, signals: Mapping[str, Float[np.ndarray, " t"]], filter_dprime: Float[np.ndarray, " t"]
    ) -> Float[np.ndarray, " t"]:
        """A_t (T,), of signals ν_s·μ_t (T,) and the filter's d' (T,)."""
        own = self.pull * np.asarray(filter_dprime, float)
        return sum((w * signals[name] for name, w in self.signed.items()), own)

    def clean_square(self, products: Mapping[tuple[str, str], float]) -> float:
        """‖Σ_j π'_jν_j‖², of the products ν_s·ν_u."""
        return sum(a * b * products[s, u] for s, a in self.signed.items() for u, b in self.signed.items())

    def square(self, products: Mapping[tuple[str, str], float]) -> float:
        """‖ν'‖², the squared length of the kept mean."""
        return self.clean_square(products) + 2 * self.pull * self.along + self.pull**2


def kept_pairs(parts: Iterable[FilterAccount], num_classes: int) -> KeptPairs:
    """Theorem 3's weights of what is kept, from the normal law of the scores."""
    parts = list(parts)
    total = sum(part.clean + part.junk for part in parts)
    signed: dict[str, float] = {}
    along, kept, pull = 0.0, 0.0, 0.0
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
            pull += share * hazard
            signed[part.source] = signed.get(part.source, 0.0) + sign * share
            along += sign * share * part.separation
    return KeptPairs(
        {name: weight / kept for name, weight in signed.items()}, pull / kept, along / kept, kept
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
        n_train: n_0, samples of the single-source models behind dprime and overlaps.
        curves: source -> d' by size, of the pool's sources and the filter's; needed where a `Reading` asks for another size.
    """

    parts: tuple[FilterAccount, ...]
    num_classes: int
    test_sets: tuple[str, ...]
    dprime: Mapping[str, Float[np.ndarray, " t"]]
    overlaps: Mapping[tuple[str, str], float]
    filter_name: str
    filter_dprime: Float[np.ndarray, " t"]
    n_train: int
    curves: Mapping[str, SizeCurve] = field(default_factory=dict)

    @property
    def lengths(self) -> dict[str, float]:
        """L_s of every source in the pool."""
        return {
            part.source: part.separation / self.overlaps[self.filter_name, part.source] for part in self.parts
        }

    @property
    def products(self) -> dict[tuple[str, str], float]:
        """ν_s·ν_u of every two sources of the pool."""
        length = self.lengths
        return {(s, u): self.overlaps[s, u] * length[s] * length[u] for s in length for u in length}

    def kept(self) -> KeptPairs:
        """What passes the parts' thresholds."""
        return kept_pairs(self.parts, self.num_classes)

    def kept_share(self) -> float:
        """The share that the parts' thresholds keep, by the normal law of the scores."""
        return self.kept().share

    def raw(self) -> "FilteredPool":
        """The same pool, of which everything is kept."""
        return replace(self, parts=tuple(replace(part, threshold=-np.inf) for part in self.parts))

    def size(self, n_kept: float | int, reading: Reading = PLAIN) -> float:
        """The size at which a reading takes the pool's sources; 0 where junk leaves nothing of them (W = 0)."""
        kept, products = self.kept(), self.products
        total = sum(kept.signed.values())
        if reading.size == "filter":
            return float(self.n_train)
        if reading.size == "kept":
            return float(n_kept)
        if abs(total) < 1e-9:
            return 0.0
        gain = kept.square(products) / kept.clean_square(products) if reading.size == "signal" else 1.0
        return n_kept * total**2 * gain

    def dprimes(self, n_kept: float | int, reading: Reading = PLAIN) -> Float[np.ndarray, " t"]:
        """Predicted d' of a model trained on `n_kept` samples that pass the parts' thresholds."""
        kept, length, own = self.kept(), self.lengths, self.filter_dprime
        kept = kept if reading.pull else replace(kept, pull=0.0)
        if reading.size == "filter":
            signals = {s: self.dprime[s] * length[s] for s in length}
        else:
            n = self.size(n_kept, reading)
            signals = {s: self._read(s, n) * length[s] for s in length}
            own = self._read(self.filter_name, n) if reading.filter_too else own
        total = sum(part.clean + part.junk for part in self.parts)
        noise = 0.0
        for part in self.parts:
            share = (part.clean + part.junk) / total
            overlap = self.overlaps[part.source, part.source]
            noise += share * self.n_train * (1 - overlap) * length[part.source] ** 2
        return kept.signal(signals, own) / np.sqrt(kept.square(self.products) + noise / n_kept)

    def _read(self, source: str, n: float | int) -> Float[np.ndarray, " t"]:
        """d_s(t; n) V_s(n)/L_s (T,), at the measured size nearest to n where n lies outside."""
        n, dprime = self.curves[source].at(n)
        overlap = self.overlaps[source, source]
        return dprime * np.sqrt(overlap + (1 - overlap) * self.n_train / n)

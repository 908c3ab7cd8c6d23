r"""The best-mixture problem in numbers, and its convex relaxations: what `theory.portfolio_search` searches.

$$\max_{p\in\mathcal P}\ \min_t\ \frac{a_t\cdot p}{\sqrt{p^\top G_tp+N_t\cdot p}},\qquad
  \mathcal P=\{0\le p\le\text{caps},\ \text{low}\le\textstyle\sum p\le\text{high}\}$$

with noise per unit of p, $N_{ts}=T_{ts}/n$. At a fixed total ($\sum p=1$) the noise is the quadratic form
$p^\top\tfrac12(N_t1^\top+1N_t^\top)p$; where $M_t=G_t+\tfrac12(N_t1^\top+1N_t^\top)$ has no negative eigenvalue (always for
noise that is the same for every source) the denominator is a norm and the problem is quasi-convex as it stands.

Otherwise the square root of $\tau=N_t\cdot p$ is the trouble: it is concave. On an interval $l\le\tau\le u$ its chord

$$\sqrt\tau\ \ge\ \frac{\tau+\sqrt{lu}}{\sqrt l+\sqrt u}$$

is affine in p, exact at both ends, and makes the denominator a norm of an affine map: a relaxation that can only raise the
margin, by a relative $O(\log^2(u/l)/32)$ at most. Targets whose noise rows are proportional share one interval (a group).

Everything here is NumPy; nothing is public. Targets are scaled so that their lengths are about 1.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from theory.source_statistics import SourceStatistics

_ROUNDING = 64 * np.finfo(np.float64).eps


@dataclass(frozen=True, eq=False)
class MixtureProblem:
    """A best-mixture problem, see the module.

    Attributes:
        signals: a_t over the target's level, shape (T, S).
        grams: G_t, shape (T, S, S).
        noises: N_t, shape (T, S).
        caps: largest p_s, shape (S,).
        total: (low, high), the range of Σp; equal for a fixed total.
        factors: per target F_t with $F_t^\\top F_t=M_t$ (group -1) or $G_t$, shape (r, S).
        groups: per target the index of its interval, -1 where the form is exact.
        shapes: one noise row per group, shape (K, S), N_t = noise_scales_t · shapes[groups_t].
        noise_scales: per target, shape (T,).
        proportionality: c_t with form_t = c_t² form_0, or None if there is none.
    """

    signals: Float[np.ndarray, "t s"]
    grams: Float[np.ndarray, "t s s"]
    noises: Float[np.ndarray, "t s"]
    caps: Float[np.ndarray, " s"]
    total: tuple[float, float]
    factors: tuple[Float[np.ndarray, "r s"], ...]
    groups: tuple[int, ...]
    shapes: Float[np.ndarray, "k s"]
    noise_scales: Float[np.ndarray, " t"]
    proportionality: Float[np.ndarray, " t"] | None

    @property
    def lengths(self) -> Float[np.ndarray, " s"]:
        """The largest length of each source over the targets, 1 for a source that has none: the scale of its share."""
        squared = (np.diagonal(self.grams, axis1=1, axis2=2) + self.noises).max(0)
        return np.sqrt(np.where(squared > 0, squared, 1.0))

    def levels(self, p: Float[np.ndarray, " s"]) -> Float[np.ndarray, " t"]:
        """The true margins over their levels at one p; -inf where p has no length on a target."""
        squared = np.einsum("s,tsu,u->t", p, self.grams, p) + self.noises @ p
        return np.where(squared > 0, (self.signals @ p) / np.sqrt(np.where(squared > 0, squared, 1)), -np.inf)

    def level(self, p: Float[np.ndarray, " s"]) -> float:
        """What is maximised: the smallest of `levels`."""
        return float(self.levels(p).min())

    def maximise_linear(self, c: Float[np.ndarray, " s"]) -> Float[np.ndarray, " s"]:
        """argmax of c·p over the polytope, exactly: fill the largest entries first."""
        p, room = np.zeros_like(c), self.total[1]
        for s in np.argsort(-c, kind="stable"):
            # Up to the least total whatever it costs, beyond it only what pays.
            left = room if c[s] > 0 else room - (self.total[1] - self.total[0])
            p[s] = min(self.caps[s], max(left, 0.0))
            room -= p[s]
        return p

    def initial_box(self) -> Float[np.ndarray, "k 2"]:
        """The range of every group's noise over the polytope."""
        ends = [
            [shape @ self.maximise_linear(-shape), shape @ self.maximise_linear(shape)]
            for shape in self.shapes
        ]
        return np.asarray(ends, np.float64).reshape(-1, 2)

    def chords(
        self, box: Float[np.ndarray, "k 2"]
    ) -> tuple[Float[np.ndarray, "t s"], Float[np.ndarray, " t"]]:
        """Rows h_t and offsets o_t with $(h_t\\cdot p+o_t)^2\\le N_t\\cdot p$ on the box; 0 for exact forms."""
        rows, offsets = np.zeros_like(self.signals), np.zeros(len(self.signals))
        for t, group in enumerate(self.groups):
            if group < 0:
                continue
            low, high = np.sqrt(box[group])
            if low + high > 0:
                scale = np.sqrt(self.noise_scales[t]) / (low + high)
                rows[t], offsets[t] = scale * self.shapes[group], scale * low * high
        return rows, offsets

    def relaxed_lengths(
        self, p: Float[np.ndarray, " s"], box: Float[np.ndarray, "k 2"]
    ) -> tuple[Float[np.ndarray, " t"], Float[np.ndarray, "t s"], Float[np.ndarray, " t"]]:
        """Relaxed denominators at p, with slopes g_t and constants h_t of their tangents: length_t(x) >= g_t·x + h_t."""
        rows, offsets = self.chords(box)
        chord = rows @ p + offsets
        turned = [factor @ p for factor in self.factors]
        lengths = np.sqrt([y @ y + x * x for y, x in zip(turned, chord, strict=True)])
        safe = np.where(lengths > 0, lengths, 1.0)
        slopes = np.stack([factor.T @ y for factor, y in zip(self.factors, turned, strict=True)])
        return lengths, (slopes + rows * chord[:, None]) / safe[:, None], offsets * chord / safe

    def repaired(self, p: Float[np.ndarray, " s"]) -> Float[np.ndarray, " s"]:
        """The nearest thing to a solver's answer that is in the polytope exactly, without dust."""
        # A small share of a long source is no dust: it counts in its length.
        shares, effects = p / p.max(), p * self.lengths / (p * self.lengths).max()
        clean = np.where((shares > 1e-9) | (effects > 1e-9), np.minimum(p, self.caps), 0.0)
        if self.total[0] < self.total[1]:
            # More of everything always helps: go to the edge.
            used = clean > 0
            reach = min(self.total[1] / clean.sum(), float((self.caps[used] / clean[used]).min()))
            return np.minimum(clean * reach, self.caps)
        for _ in range(100):
            missing = self.total[1] - clean.sum()
            if abs(missing) <= 4 * _ROUNDING:
                break
            free = (clean > 0) & (clean < self.caps) if missing > 0 else clean > 0
            if not free.any():
                free = clean < self.caps
                clean = np.where(free, clean + missing / free.sum(), clean)
            else:
                clean = np.where(free, clean * (1 + missing / clean[free].sum()), clean)
            clean = np.minimum(clean, self.caps)
        return clean


def mixture_problem(
    statistics: SourceStatistics,
    unit: float,
    caps: Float[np.ndarray, " s"],
    total: tuple[float, float],
    levels: Float[np.ndarray, " t"],
) -> MixtureProblem:
    """Scale a problem and factor its forms; p_s = n_s/unit."""
    noises = statistics.noises / unit
    squared = np.diagonal(statistics.grams, axis1=1, axis2=2) + noises
    # The geometric mean of the sources' lengths: a target's units do not matter to its margin.
    scales = np.asarray([np.exp(np.log(row[row > 0]).mean()) if (row > 0).any() else 1.0 for row in squared])
    signals = statistics.signals / np.sqrt(scales)[:, None] / levels[:, None]
    grams, noises = statistics.grams / scales[:, None, None], noises / scales[:, None]
    fixed = total[0] == total[1]
    factors, groups, shapes, noise_scales = [], [], [], np.ones(len(signals))
    for t in range(len(signals)):
        mixed = (noises[t][:, None] + noises[t]) / (2 * total[1])
        factor = _factor(grams[t] + mixed) if fixed else None
        if factor is not None or not noises[t].any():
            factors.append(_factor(grams[t]) if factor is None else factor)
            groups.append(-1)
            continue
        factors.append(_factor(grams[t]))
        shape = noises[t] / noises[t].max()
        known = [k for k, other in enumerate(shapes) if np.abs(other - shape).max() <= _ROUNDING]
        groups.append(known[0] if known else len(shapes))
        noise_scales[t] = noises[t].max()
        if not known:
            shapes.append(shape)
    return MixtureProblem(
        signals=signals,
        grams=grams,
        noises=noises,
        caps=np.minimum(caps, total[1]),
        total=total,
        factors=tuple(factors),
        groups=tuple(groups),
        shapes=np.asarray(shapes, np.float64).reshape(-1, signals.shape[1]),
        noise_scales=noise_scales,
        proportionality=_proportionality(grams, noises),
    )


def _factor(matrix: Float[np.ndarray, "s s"]) -> Float[np.ndarray, "r s"] | None:
    """F with FᵀF = matrix, or None if it has a negative eigenvalue (judged with every source scaled to length 1)."""
    lengths = np.sqrt(np.clip(np.diagonal(matrix), 0, None))
    safe = np.where(lengths > 0, lengths, 1.0)
    values, vectors = np.linalg.eigh(matrix / safe[:, None] / safe)
    if values[0] < -4 * len(matrix) * _ROUNDING:
        return None
    return np.sqrt(np.clip(values, 0, None))[:, None] * vectors.T * safe


def _proportionality(
    grams: Float[np.ndarray, "t s s"], noises: Float[np.ndarray, "t s"]
) -> Float[np.ndarray, " t"] | None:
    """c_t with G_t = c_t²G_0 and N_t = c_t²N_0 for every target, or None."""
    rows = np.concatenate([grams.reshape(len(grams), -1), noises], 1)
    # Judged per entry relative to what bounds it, so that short sources count as much as long ones.
    squared = np.diagonal(grams, axis1=1, axis2=2) + noises
    if not (squared[0] > 0).all():
        return np.ones(1) if len(grams) == 1 else None
    ratios = squared / squared[0]
    if np.abs(ratios - ratios[:, :1]).max() > _ROUNDING * ratios.max():
        return None
    root = np.sqrt(squared[0])
    bound = np.concatenate([np.outer(root, root).ravel(), squared[0]])
    difference = np.abs(rows - ratios[:, :1] * rows[0]) / bound
    return np.sqrt(ratios[:, 0]) if (difference.max(1) <= _ROUNDING * ratios[:, 0]).all() else None

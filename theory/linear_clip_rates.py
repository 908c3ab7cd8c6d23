r"""Rates of filtered linear CLIP when part of the pairs is mismatched: the setting of Pareek, Oh and Du (2025).

Images $x=Uz+\xi$ and captions $\tilde x=\tilde U\tilde z+\tilde\xi$ of d features share r latent ones: $\tilde z=z$ with
probability η, otherwise $\tilde z$ is independent; $z,\tilde z\sim\mathcal N(0,I_r)$ and all noise has standard deviation σ.
Linear CLIP of rank r learns the row and column space of the cross-covariance; its error is their distance from U and
$\tilde U$. A teacher scores every pair by $x^\top G\tilde x$, pairs with a score > 0 are kept, and a model is trained on
them; it may teach the next.

Use `training_errors` to simulate the unfiltered model and any number of filter passes over the same pairs,
`unfiltered_error` and `filtered_error` for their closed forms (leading order in 1/n), and `theory.linear_clip_exponents` to
fit rates with intervals.

By rotation the first r axes are U and $\tilde U$. Pairs are drawn anew from the same keys in every pass, so memory does not grow
with n; they are drawn in float32 whatever JAX's precision, whose rounding is far below the error of any estimate here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import jax
import numpy as np
from jax import Array
from jaxtyping import Float, Key

from theory.arrays import ArrayLike, Scalar

#: Who filters first: the unfiltered model ("learned") or the truth ("oracle").
Teacher = Literal["learned", "oracle"]

_CHUNK_ROWS = 1 << 12


@dataclass(frozen=True)
class MatchedPairs:
    """The distribution of pairs.

    Attributes:
        num_features: d of images and captions alike.
        rank: r < d latent features that a matched pair shares.
        noise: σ > 0, standard deviation of every feature's noise.
    """

    num_features: int = 20
    rank: int = 2
    noise: Scalar = 0.5

    def __post_init__(self):
        if not 1 <= self.rank < self.num_features:
            raise ValueError(
                f"rank must lie between 1 and num_features − 1 = {self.num_features - 1}, got {self.rank}"
            )
        if not 0 < self.noise < np.inf:
            raise ValueError(f"noise must be a finite standard deviation > 0, got {self.noise}")


def _checked(num_pairs: ArrayLike, matched_shares: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    n, eta = np.asarray(num_pairs, np.float64), np.asarray(matched_shares, np.float64)
    if not np.all(np.isfinite(n) & (n >= 2)):
        raise ValueError(f"num_pairs must be finite numbers >= 2, got {num_pairs}")
    if not np.all((eta >= 0) & (eta <= 1)):
        raise ValueError(f"matched shares must lie in [0, 1], got {matched_shares}")
    return n, eta


def unfiltered_error(
    setting: MatchedPairs, num_pairs: ArrayLike, matched_shares: ArrayLike
) -> Float[np.ndarray, "..."]:
    r"""Root mean squared error of training on all pairs, $\frac1{\eta\sqrt n}\,\sigma\sqrt{(1+\sigma^2)\,r(d-r)}$.

    The error is $\sqrt{(\lVert\sin\Theta\rVert_F^2+\lVert\sin\tilde\Theta\rVert_F^2)/2}$ over both spaces; the formula is
    its leading order where it is small.

    Args:
        setting: d, r and σ.
        num_pairs: n >= 2, any shape.
        matched_shares: η in (0, 1], broadcasts with n; infinite at 0.

    Raises:
        ValueError: an argument out of range.

    Source: Section 8 (rates).
    """
    n, eta = _checked(num_pairs, matched_shares)
    r, noise = setting.rank, float(setting.noise)
    with np.errstate(divide="ignore"):
        return np.asarray(noise * np.sqrt((1 + noise**2) * r * (setting.num_features - r) / n) / eta)


def _positive_part(setting: MatchedPairs, correlation: float) -> tuple[float, float, float]:
    """P(s > 0), E[s; s > 0]/r and E[|v|²; s > 0]/r of the latent score s = u·v of embeddings with this correlation."""
    from scipy.special import betainc  # a slow import, so it waits for the first use

    # s/((1 + σ²) T) = q − q0 with T ~ χ²(2r) and q ~ Beta(r/2, r/2) independent.
    half, variance = setting.rank / 2, 1 + float(setting.noise) ** 2
    cut = (1 - correlation) / 2
    kept = float(betainc(half, half, 1 - cut))
    first = 0.5 * (1 - float(betainc(half + 1, half, cut)))
    return kept, 2 * variance * (first - cut * kept), 2 * variance * (correlation * first + cut * kept)


@dataclass(frozen=True, eq=False)
class FilterPass:
    """What one filter pass with a nearly right teacher does, to leading order.

    Attributes:
        kept_share: κ, share of the pairs that pass.
        contraction: c, what is left of the teacher's error in its pupil.
        noise: root mean squared error that the kept pairs' own noise adds: all of the error under an oracle teacher.
        overlap: mean product of that noise with the error of the unfiltered model on the same pairs.
    """

    kept_share: Float[np.ndarray, "..."]
    contraction: Float[np.ndarray, "..."]
    noise: Float[np.ndarray, "..."]
    overlap: Float[np.ndarray, "..."]


def filter_pass(setting: MatchedPairs, num_pairs: ArrayLike, matched_shares: ArrayLike) -> FilterPass:
    r"""Keep pairs with a score > 0 and train on them: the pupil's error is $c\,\delta_\text{teacher}+\varepsilon$.

    With $P=P(s>0)$, $S=E[s_+]/r$ and $V=E[|v|^2;s>0]/r$ of the latent score $s=u\cdot v$ of matched (1) and mismatched (0)
    pairs, all incomplete beta functions, $\kappa=\eta P_1+(1-\eta)P_0$ and $\rho=1/(1+\sigma^2)$,

    $$E\varepsilon^2=\frac{\sigma^2\,r(d-r)}n\,\frac{\eta V_1+(1-\eta)V_0}{(\eta S_1+(1-\eta)S_0)^2},\qquad
      c=\frac{\sigma^2}{1+\sigma^2}\,\frac{\eta(S_1-\rho V_1)/(1-\rho^2)+(1-\eta)S_0}{\eta S_1+(1-\eta)S_0}.$$

    Mismatched pairs that pass agree with the teacher (S_0 > 0), so ε stays of order $1/\sqrt n$ as η → 0; between η = 1 and
    that limit it falls about like $1/\sqrt{\eta n}$. They agree with the teacher's error as well: a kept image is pulled along
    the teacher's embedding of it, in which the error has the variance σ² of noise and the truth 1 + σ², whence c.

    Args:
        setting: d, r and σ.
        num_pairs: n >= 2, any shape.
        matched_shares: η in [0, 1], broadcasts with n.

    Raises:
        ValueError: an argument out of range.

    Source: Section 8 (rates); the constants are derived here.
    """
    n, eta = np.broadcast_arrays(*_checked(num_pairs, matched_shares))
    variance, r = 1 + float(setting.noise) ** 2, setting.rank
    matched, mismatched = _positive_part(setting, 1 / variance), _positive_part(setting, 0.0)
    kept, lead, length = (eta * one + (1 - eta) * none for one, none in zip(matched, mismatched, strict=True))
    residual = (matched[1] - matched[2] / variance) / (1 - variance**-2)
    entries = float(setting.noise) ** 2 * r * (setting.num_features - r) / n
    with np.errstate(divide="ignore"):
        overlap = entries * length / (lead * eta)
    pulled = eta * residual + (1 - eta) * mismatched[1]
    values = kept, (1 - 1 / variance) * pulled / lead, np.sqrt(entries * length) / lead, overlap
    return FilterPass(*(np.asarray(value) for value in values))


def filtered_error(
    setting: MatchedPairs,
    num_pairs: ArrayLike,
    matched_shares: ArrayLike,
    num_filters: int = 1,
    teacher: Teacher = "learned",
) -> Float[np.ndarray, "..."]:
    r"""Root mean squared error after T filter passes over the same pairs, each model teaching the next.

    $$\delta_T=c^T\delta_0+\frac{1-c^T}{1-c}\,\varepsilon,$$

    with c and ε from `filter_pass`, the same ε in every pass because the pairs are the same, and $\delta_0$ the error of the
    unfiltered model ("learned") or 0 ("oracle"). Many passes end at $\varepsilon/(1-c)$, up to $1+\sigma^2$ times the error
    under an oracle teacher. Leading order where the first teacher's error is small.

    Args:
        setting: d, r and σ.
        num_pairs: n >= 2, any shape.
        matched_shares: η in (0, 1], broadcasts with n.
        num_filters: T >= 0 passes.
        teacher: who filters first.

    Raises:
        ValueError: an argument out of range.

    Source: Section 8 (rates); derived here.
    """
    if num_filters < 0 or teacher not in ("learned", "oracle"):
        raise ValueError(
            f"num_filters >= 0 and a teacher 'learned' or 'oracle' are needed, got {num_filters} and {teacher!r}"
        )
    first = unfiltered_error(setting, num_pairs, matched_shares)
    if num_filters == 0:
        return first
    one = filter_pass(setting, num_pairs, matched_shares)
    left = one.contraction**num_filters
    added = (1 - left) / (1 - one.contraction)
    if teacher == "oracle":
        return np.asarray(added * one.noise)
    crossed = 2 * left * added * one.overlap
    return np.asarray(np.sqrt((left * first) ** 2 + crossed + (added * one.noise) ** 2))


def _cross_covariances(
    seeds: Sequence[int],
    setting: MatchedPairs,
    num_pairs: int,
    shares: np.ndarray,
    teachers: tuple[np.ndarray, np.ndarray] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Ĉ (E, d, d) of the pairs that E teachers keep, left @ right.T being their matrices, and how many they are (E,)."""
    d, r, noise = setting.num_features, setting.rank, np.float32(setting.noise)
    count, sums = np.zeros(len(shares)), np.zeros((len(shares), 2, d))
    products = np.zeros((len(shares), d, d))
    for chunk, start in enumerate(range(0, num_pairs, _CHUNK_ROWS)):
        size = min(_CHUNK_ROWS, num_pairs - start)
        generator = np.random.default_rng([*seeds, chunk])
        latent = generator.standard_normal((2, size, r), np.float32)
        images, captions = noise * generator.standard_normal((2, size, d), np.float32)
        images[:, :r] += latent[0]
        # The same draws for every share: a pair that is matched at one share stays so at every larger one.
        luck, base = generator.random(size), captions[:, :r].copy()
        for e, share in enumerate(shares):
            captions[:, :r] = base + np.where((luck < share)[:, None], latent[0], latent[1])
            x, z = images, captions
            if teachers is not None:
                kept = ((x @ teachers[0][e]) * (z @ teachers[1][e])).sum(1) > 0
                x, z = x[kept], z[kept]
            count[e] += len(x)
            sums[e] += x.sum(0), z.sum(0)
            products[e] += x.T @ z
    with np.errstate(divide="ignore", invalid="ignore"):
        outer = sums[:, 0, :, None] * sums[:, 1, None, :] / count[:, None, None]
        return (products - outer) / (count[:, None, None] - 1), count


def training_errors(
    key: Key[Array, ""],
    setting: MatchedPairs,
    num_pairs: int,
    matched_shares: ArrayLike,
    num_filters: int = 1,
    teacher: Teacher = "learned",
) -> tuple[Float[np.ndarray, "t e"], Float[np.ndarray, "t e"]]:
    r"""Errors of models trained on n pairs: unfiltered, then after each of a number of filter passes over the same pairs.

    The first teacher is the unfiltered model itself ("learned") or the truth ("oracle"); the model of each pass teaches the
    next, which filters all pairs again. All matched shares see the same images and noise.

    Args:
        key: random key; the same key draws the same pairs.
        setting: d, r and σ.
        num_pairs: n >= 2.
        matched_shares: η, shape (E,).
        num_filters: filter passes T >= 0.
        teacher: who filters first.

    Returns:
        Errors $\sqrt{(\lVert\sin\Theta\rVert_F^2+\lVert\sin\tilde\Theta\rVert_F^2)/2}$ and shares of pairs trained on, shape
        (T + 1, E); row 0 is the unfiltered model. Not a number where fewer than two pairs were kept.

    Raises:
        ValueError: an argument out of range.

    Source: Section 8 (rates).
    """
    _checked(num_pairs, matched_shares)
    eta = np.atleast_1d(np.asarray(matched_shares, np.float64))
    if eta.ndim != 1 or num_filters < 0:
        raise ValueError(
            f"a vector of matched shares and num_filters >= 0 are needed, got shape {eta.shape} and {num_filters}"
        )
    if teacher not in ("learned", "oracle"):
        raise ValueError(f"teacher must be 'learned' or 'oracle', got {teacher!r}")
    d, r = setting.num_features, setting.rank
    seeds = np.asarray(jax.random.key_data(key)).ravel().tolist()
    truth = np.broadcast_to(np.eye(d, r, dtype=np.float32), (len(eta), d, r))
    teachers = truth, truth
    errors, shares = [], []
    for step in range(num_filters + 1):
        covariances, count = _cross_covariances(
            seeds, setting, int(num_pairs), eta, teachers if step else None
        )
        found = _leading_spaces(covariances, r)
        errors.append(_distance(found, r))
        shares.append(count / num_pairs)
        if step or teacher == "learned":
            teachers = _balanced(found)
    return np.stack(errors), np.stack(shares)


_Spaces = tuple[np.ndarray, np.ndarray, np.ndarray]


def _leading_spaces(covariances: np.ndarray, rank: int) -> _Spaces:
    """The rank-r optima of linear CLIP: left directions (E, d, r), strengths (E, r) and right directions (E, d, r)."""
    fine = np.all(np.isfinite(covariances), axis=(1, 2))
    left, singular, right = np.linalg.svd(np.where(fine[:, None, None], covariances, 0))
    left, right = left[..., :rank], np.swapaxes(right, 1, 2)[..., :rank]
    singular = np.where(fine[:, None], singular[:, :rank], np.nan)
    return left, singular, right


def _balanced(spaces: _Spaces) -> tuple[np.ndarray, np.ndarray]:
    left, singular, right = spaces
    root = np.sqrt(singular)[:, None, :]
    return (left * root).astype(np.float32), (right * root).astype(np.float32)


def _distance(spaces: _Spaces, rank: int) -> np.ndarray:
    """Root of the mean squared sinΘ distance of both spaces from the first r axes."""
    left, singular, right = spaces
    squared = ((left[:, rank:] ** 2).sum((1, 2)) + (right[:, rank:] ** 2).sum((1, 2))) / 2
    return np.where(np.isfinite(singular[:, 0]), np.sqrt(squared), np.nan)

r"""Accuracies of K-class prototypes from the law of their scores, also where classes are unequal or counts are random.

A test image of class j has K Gaussian scores. Use `score_accuracy` for trained prototypes (the accuracy of one classifier,
by noise draws in the K-dimensional score space), `averaging_score_law` for what training sets of fixed counts lead to,
`random_counts_accuracy` when class counts are drawn, and `two_variance_accuracy` for the accuracy of a right score that
varies more or less than the others.

Methods and errors. `score_accuracy` is unbiased for fresh noise, with a standard error of at most sqrt(a(1 − a)/m) for m draws
that all K classes share. `ScoreLaw.accuracy` is one integral for each class: exact (to 1e-10) if all rivals of a class are
equally correlated, within about 0.015 for random class means, up to 0.05 too high where class means differ along few axes.
`ScoreLaw.sample_accuracy` draws from the law as it stands.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import log_ndtr
from jaxtyping import Bool, Float, Key

from theory import covariance as cov
from theory.arrays import ArrayLike, Scalar, as_float_array, require
from theory.multiclass import (
    MulticlassSource,
    MulticlassTarget,
    check_shapes,
    class_gram,
    class_noise,
)

#: "mean": the mean of a class's images; "sum": their sum times K/n, the averaging classifier when counts are unequal.
Prototypes = Literal["mean", "sum"]

_CHUNK_ELEMENTS = 1 << 20
_NODES = np.arange(
    -9, 9 + 1 / 32, 1 / 16
)  # the trapezoid rule converges exponentially on analytic integrands


def two_variance_accuracy(
    signal: ArrayLike, right_variance: ArrayLike, other_variance: ArrayLike, num_classes: int
) -> Float[Array, "..."]:
    r"""Accuracy if the right score is $\mathcal N(m,v_r)$ and the others are $\mathcal N(0,v_o)$, up to common noise.

    $$P=\int\varphi(g)\,\Phi\bigl((m+\sqrt{v_r}\,g)/\sqrt{v_o}\bigr)^{K-1}dg,$$

    which is $A_K(m/\sqrt v)$ for $v_r=v_o=v$.

    Args:
        signal: m, the mean by which the right score leads.
        right_variance: v_r >= 0.
        other_variance: v_o > 0; the three broadcast.
        num_classes: K >= 2.

    Returns:
        Fractions.

    Raises:
        ValueError: fewer than 2 classes or a variance out of range.
    """
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, got {num_classes}")
    m, right, other = (as_float_array(x)[..., None] for x in (signal, right_variance, other_variance))
    require(right >= 0, right, "right_variance must be >= 0")
    require(other > 0, other, "other_variance must be > 0")
    return _two_variances(m, right, other, num_classes)


@jax.jit
def _two_variances(m: Array, right: Array, other: Array, num_classes: Array | int) -> Array:
    g = jnp.asarray(_NODES, m.dtype)
    weights = jnp.exp(-(g**2) / 2)
    powers = (num_classes - 1) * log_ndtr((m + jnp.sqrt(right) * g) / jnp.sqrt(other))
    return (weights * jnp.exp(powers)).sum(-1) / weights.sum()


@dataclass(frozen=True, eq=False)
class ScoreLaw:
    """Means and covariances of the K scores of a test image, for each true class, over test images and training sets.

    Attributes:
        means: (K, K), [j, k] the mean score of class k on images of class j.
        covariances: (K, K, K), [j] the covariance of the scores on images of class j.
    """

    means: Float[Array, "k k"]
    covariances: Float[Array, "k k k"]

    @property
    def signal(self) -> Float[Array, ""]:
        """The mean score difference between right and wrong classes, over ordered pairs."""
        k = self.means.shape[0]
        return (k * jnp.trace(self.means) - self.means.sum()) / (k * (k - 1))

    def variances(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Mean variances v_r of the right score and v_o of the others, both less what all scores share."""
        return _variances(self.covariances)

    @property
    def dprime(self) -> Float[Array, ""]:
        """Mean score difference over the root of half its mean variance: the d′ if all pairs of classes are alike."""
        right, other = self.variances()
        return self.signal / jnp.sqrt((right + other) / 2)

    def accuracy(self) -> Float[Array, ""]:
        r"""The accuracy if, for each true class, all rivals have the same correlation with the right score (one factor).

        $$P=\frac1K\sum_j\int\varphi(g)\prod_{k\ne j}\Phi\Bigl(\frac{M_{jj}-M_{jk}+\sqrt{r_j}\,g}{\sqrt{v_{jk}-r_j}}\Bigr)dg,$$

        with $v_{jk}$ the variance of $z_j-z_k$ and $r_j$ the mean covariance of two such differences. Means and variances may
        differ from pair to pair; where the covariances do, this is an approximation (see `sample_accuracy`).
        """
        return _one_factor(self.means, self.covariances)

    def sample_accuracy(self, key: Key[Array, ""], num_draws: int) -> tuple[float, float]:
        """Accuracy and its standard error from `num_draws` score vectors of every class, drawn from this law."""
        means, k = np.asarray(self.means), self.means.shape[0]
        noise = generator_of(key).standard_normal((k, num_draws, k), means.dtype)
        right = right_answers(means, noise @ np.asarray(symmetric_root(self.covariances))).mean(1)
        return float(right.mean()), float(np.sqrt((right * (1 - right)).mean() / (k * num_draws)))


@jax.jit
def _variances(covariances: Array) -> tuple[Array, Array]:
    k = covariances.shape[0]
    right = jnp.einsum("jjj->j", covariances)
    crossed = (jnp.einsum("jjk->j", covariances) - right) / (k - 1)
    others = (jnp.einsum("jkk->j", covariances) - right) / (k - 1)
    if k == 2:  # one other score: only the variance of the difference means anything
        half = (right + others - 2 * crossed).mean() / 2
        return half, half
    everything = covariances.sum((1, 2))
    pairs = everything - right - 2 * (k - 1) * crossed - (k - 1) * others
    shared = pairs / ((k - 1) * (k - 2))
    return (right - 2 * crossed + shared).mean(), (others - shared).mean()


@jax.jit
def _one_factor(means: Array, covariances: Array) -> Array:
    k = means.shape[0]
    g = jnp.asarray(_NODES, means.dtype)
    weights = jnp.exp(-(g**2) / 2)

    def on_class(j: Array) -> Array:
        c = covariances[j]
        own = jnp.arange(k) == j
        variances = c[j, j] + jnp.diagonal(c) - 2 * c[j]
        pairs = c[j, j] - c[j][:, None] - c[j][None, :] + c
        others = ~own[:, None] & ~own[None, :] & ~jnp.eye(k, dtype=bool)
        # With one rival only the variance of the difference means anything: half of it serves as well as any other share.
        shared = jnp.where(others, pairs, 0).sum() / ((k - 1) * (k - 2)) if k > 2 else variances.sum() / 2
        shared = jnp.clip(shared, 0, 0.98 * jnp.where(own, jnp.inf, variances).min())
        rest = jnp.where(own, 1, variances - shared)
        leads = (means[j, j] - means[j] + jnp.sqrt(shared) * g[:, None]) / jnp.sqrt(rest)
        return (weights * jnp.exp(jnp.where(own, 0, log_ndtr(leads)).sum(-1))).sum() / weights.sum()

    return jax.lax.map(on_class, jnp.arange(k)).mean()


def generator_of(key: Key[Array, ""]) -> np.random.Generator:
    """NumPy's generator seeded by a JAX key: normals as fast as JAX's on a CPU, without seconds of compilation per shape."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel().tolist())


def symmetric_root(matrix: ArrayLike) -> Float[np.ndarray, "*b k k"]:
    """The symmetric square root of covariances: unlike a Cholesky factor it exists for singular ones and is unique."""
    eigenvalues, vectors = np.linalg.eigh(np.asarray(matrix))
    return (vectors * np.sqrt(np.clip(eigenvalues, 0, None))[..., None, :]) @ np.swapaxes(vectors, -1, -2)


def right_answers(
    means: Float[np.ndarray, "*b k k"], noise: Float[np.ndarray, "*c m k"]
) -> Bool[np.ndarray, "*d k m"]:
    """For every class and draw whether the class's own score is the largest; a tie counts as wrong.

    Args:
        means: (..., K, K), [j, k] the mean score of class k on images of class j.
        noise: (..., m, K) score noise, or (K, m, K) with draws of its own for every class.
    """
    k = means.shape[-1]
    right = []
    for j in range(k):  # class by class, so that (..., m, K) scores are held at a time
        own = noise[j] if noise.ndim == 3 and means.ndim == 2 else noise
        scores = means[..., j, None, :] + own
        lead = scores[..., j].copy()
        scores[..., j] = -np.inf
        right.append(lead > scores.max(-1))
    return np.stack(right, axis=-2)


def score_accuracy(means: ArrayLike, covariances: ArrayLike, noise: ArrayLike) -> Float[Array, "..."]:
    r"""K-way accuracy of trained classifiers from their score means and covariance, by a given set of noise.

    A classifier is right on draw i of class j if $\arg\max_k(M_{jk}+(C^{1/2}g_i)_k)=j$, with the symmetric root, so that the
    result is a function of (M, C) and the noise alone.

    Args:
        means: (..., K, K), [j, k] the mean score of class k on images of class j.
        covariances: (..., K, K) covariance of the scores given the class, the same for all classes.
        noise: (m, K) standard normal draws, used for every class and classifier.

    Returns:
        (...) fractions of the K m draws.

    Raises:
        ValueError: the shapes do not match.
    """
    m, c, g = (as_float_array(x) for x in (means, covariances, noise))
    k = g.shape[-1]
    if g.ndim != 2 or m.shape != c.shape or m.shape[-2:] != (k, k):
        raise ValueError(
            f"means and covariances (..., K, K) and noise (m, K) are needed, got shapes {m.shape}, {c.shape} and {g.shape}"
        )
    flat = np.asarray(m).reshape(-1, k, k)
    roots = symmetric_root(c).reshape(-1, k, k)
    size = max(1, _CHUNK_ELEMENTS // g.size)
    shares = [
        right_answers(flat[i : i + size], np.asarray(g) @ roots[i : i + size]).mean((-1, -2))
        for i in range(0, len(flat), size)
    ]
    return jnp.asarray(np.concatenate(shares), m.dtype).reshape(m.shape[:-2])


def prototype_accuracy(
    key: Key[Array, ""], prototypes: ArrayLike, target: MulticlassTarget, num_draws: int = 1 << 12
) -> Float[Array, "..."]:
    r"""K-way accuracy of linear classifiers $\arg\max_kx\cdot w_k$ on a target, by noise in their score space.

    Args:
        key: random key of the noise.
        prototypes: (..., K, d) one weight vector for each class.
        target: the test distribution.
        num_draws: m, drawn afresh for every classifier; the standard error of each accuracy is at most sqrt(a(1 − a)/m).

    Returns:
        (...) fractions.

    Raises:
        ValueError: the prototypes are not K vectors of d entries.
    """
    weights = as_float_array(prototypes)
    if weights.shape[-2:] != target.means.shape:
        raise ValueError(
            f"prototypes must have shape (..., {target.num_classes}, {target.dimension}), got {weights.shape}"
        )
    k, generator = target.num_classes, generator_of(key)
    means, covariances = (np.asarray(x).reshape(-1, k, k) for x in prototype_scores(weights, target))
    roots = symmetric_root(covariances)
    size = max(1, _CHUNK_ELEMENTS // (num_draws * k))
    shares = []
    for i in range(0, len(means), size):
        noise = generator.standard_normal((len(means[i : i + size]), num_draws, k), means.dtype)
        shares.append(right_answers(means[i : i + size], noise @ roots[i : i + size]).mean((-1, -2)))
    return jnp.asarray(np.concatenate(shares), weights.dtype).reshape(weights.shape[:-2])


def prototype_scores(
    prototypes: Float[Array, "*b k d"], target: MulticlassTarget
) -> tuple[Float[Array, "*b k k"], Float[Array, "*b k k"]]:
    r"""Score means $\mu_j\cdot w_k$ and covariance $w_k^\top\Sigma w_l$ of linear classifiers on a target."""
    means = jnp.einsum("jd,...kd->...jk", target.means, prototypes)
    turned = cov.apply(target.covariance, prototypes)
    return means, jnp.einsum("...kd,...ld->...kl", prototypes, turned)


def averaging_score_law(
    sources: Sequence[MulticlassSource],
    class_counts: ArrayLike,
    target: MulticlassTarget,
    prototypes: Prototypes = "mean",
) -> ScoreLaw:
    r"""The law of the scores of averaging prototypes for fixed counts, exact in mean and covariance.

    With $N_k=\sum_sn_{sk}$ the prototypes are independent $\mathcal N(\sum_sn_{sk}\nu_{sk}/N_k,\ \sum_sn_{sk}\Gamma_s/N_k^2)$
    ("sum": times $N_kK/n$), and over training sets and images of class j

    $$E\,z_k=m_k\cdot\mu_j,\qquad\operatorname{Cov}(z_k,z_l)=m_k^\top\Sigma m_l
      +\delta_{kl}\bigl(\operatorname{tr}C_k\Sigma+\mu_j^\top C_k\mu_j\bigr).$$

    Args:
        sources: S training distributions.
        class_counts: n_sk, shape (S, K), every class with at least one sample.
        target: the test distribution.
        prototypes: "mean" or "sum".

    Raises:
        ValueError: counts of another shape, negative, or a class without samples; shapes that differ.

    Source: Section 8.
    """
    num_classes, d = check_shapes(*sources, target)
    counts = as_float_array(class_counts)
    if counts.shape != (len(sources), num_classes):
        raise ValueError(f"class_counts must have shape ({len(sources)}, {num_classes}), got {counts.shape}")
    require(jnp.isfinite(counts) & (counts >= 0), counts, "every class count must be a finite number >= 0")
    totals = counts.sum(0)
    require(totals > 0, totals, "every class needs at least one sample")
    scale = 1 / totals if prototypes == "mean" else jnp.full_like(totals, num_classes) / totals.sum()
    means = jnp.einsum("sk,skd->kd", counts * scale, jnp.stack([source.means for source in sources]))
    traces = jnp.stack([cov.trace_product(s.covariance, target.covariance, d) for s in sources])
    along = jnp.stack([cov.quadratic_form(s.covariance, target.means) for s in sources])  # (S, K)
    noise = jnp.einsum("sk,sj->jk", counts * scale**2, traces[:, None] + along)
    score_means, shared = prototype_scores(means, target)
    return ScoreLaw(score_means, shared + jnp.eye(num_classes, dtype=shared.dtype) * noise[:, None, :])


def random_counts_accuracy(
    source: MulticlassSource,
    target: MulticlassTarget,
    num_samples: Scalar,
    prototypes: Prototypes = "mean",
) -> float:
    r"""Accuracy when every training image picks its class at random: classes with few images have noisy prototypes.

    Counts $n_k\sim\text{Bin}(n,1/K)$ are treated as independent, the classes as alike. With $c=Kn_k/n$, $a_r$ the mean of
    $\nu_j\cdot\mu_j$, $a_o$ that of $\nu_k\cdot\mu_j$, q the limit of `multiclass_dprime` and τ the noise of one sample,

    $$z\mid c\sim\mathcal N\bigl(a,\ q+\tau K/(nc)\bigr)\ \text{(mean)},\qquad
      \mathcal N\bigl(ca,\ c^2q+c\,\tau K/n\bigr)\ \text{(sum)},\qquad
      P=E_{c}\int\varphi(g)\Bigl[E_{c'}\Phi\Bigl(\tfrac{z_r(c,g)-E[z_o|c']}{\operatorname{sd}[z_o|c']}\Bigr)\Bigr]^{K-1}dg.$$

    A class without images has the score 0.

    Args:
        source: the training distribution, or a mixture's pooled one.
        target: the test distribution.
        num_samples: n > 0.
        prototypes: "mean" (each class divided by its own count) or "sum" (all by n/K).

    Returns:
        The accuracy, a fraction.

    Raises:
        ValueError: n is not > 0, an unknown kind of prototype, or the shapes differ.

    Source: Section 8 (random class counts cost accuracy).
    """
    from scipy.special import ndtr  # a slow import, so it waits for the first use

    k, _ = check_shapes(source, target)
    if not 0 < num_samples < np.inf:
        raise ValueError(f"num_samples must be a finite number > 0, got {num_samples}")
    if prototypes not in ("mean", "sum"):
        raise ValueError(f"prototypes must be 'mean' or 'sum', got {prototypes!r}")
    counts, chances = _binomial_nodes(float(num_samples), 1 / k)
    c = k * counts / num_samples
    table = np.asarray(target.means @ source.means.T, np.float64)
    right = np.trace(table) / k
    other = (table.sum() - np.trace(table)) / (k * (k - 1))
    length = float(class_gram([source], target)[0, 0])
    noise = float(class_noise([source], target)[0]) * k / num_samples
    if prototypes == "mean":
        seen = np.where(c > 0, 1.0, 0.0)
        variance = np.where(c > 0, length + noise / np.maximum(c, 1e-300), 0)
    else:
        seen, variance = c, c**2 * length + c * noise
    deviation = np.sqrt(np.maximum(variance, 1e-300))
    scores = (seen * right)[:, None] + deviation[:, None] * _NODES
    beaten = sum(
        p * ndtr((scores - s * other) / sd) for p, s, sd in zip(chances, seen, deviation, strict=True)
    )
    weights = np.exp(-(_NODES**2) / 2)
    return float(chances @ (np.asarray(beaten) ** (k - 1) @ weights) / weights.sum())


def _binomial_nodes(n: float, p: float, most: int = 129) -> tuple[np.ndarray, np.ndarray]:
    """Values and probabilities of a binomial count: its support within 8 deviations, or normal nodes where that is long."""
    from scipy.special import gammaln

    mean, deviation = n * p, np.sqrt(n * p * (1 - p))
    low, high = max(0.0, np.floor(mean - 8 * deviation)), min(n, np.ceil(mean + 8 * deviation + 8))
    if high - low >= most:
        nodes = np.linspace(-8, 8, most)
        values, logs = np.maximum(mean + deviation * nodes, 0), -(nodes**2) / 2
    else:
        values = np.arange(low, high + 0.5)
        logs = gammaln(n + 1) - gammaln(values + 1) - gammaln(n - values + 1)
        logs = logs + values * np.log(p) + (n - values) * np.log1p(-p)
    weights = np.exp(logs - logs.max())
    return values, weights / weights.sum()

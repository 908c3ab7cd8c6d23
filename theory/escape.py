r"""Where mixing dilutes robustness and where a learner escapes it: by over-fitting subtraction or by changed whitening.

Theorem 2 says that no mixture leaves the interval of its sources' slopes, for the averaging classifier. Learners that whiten have
two ways out. **Subtraction**: the square loss pulls back a source that is fitted beyond its label (margin ν_s·w > 1), so that it
enters the mediant with a negative weight. **Changed whitening**: sources whose noise differs in shape are not whitened
as their mixture is, and the mixture weighs features as no source alone would. Either may beat the best source or fall below
the worst. Decreasing losses (logistic, hinge) never subtract, and common noise is never whitened anew (Theorem 4).

Use `square_loss_pulls` for the closed form of subtraction at any λ and n/d (isotropic noise of one level), `verdict` to say on
which side of the sources' interval a mixture lies, `predict` and `simulate` for an `EscapeSetting` of any kind, and
`theory.escape_settings` for settings of every kind, each explained.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Key

from theory import covariance as cov
from theory.arrays import ArrayLike, Scalar, as_float_array, check_shares, require
from theory.brute_force_learners import draw_rows, solve_square
from theory.exact_geometry import generator_of
from theory.gaussian import Source, Target, check_dimensions, margin
from theory.learners import train
from theory.limit_rows import LimitRow, limit_margins
from theory.losses import LOSSES, SQUARE
from theory.mixing import alignments, mediant

#: Where a mixture's slope lies: above or below every source's, between them, or on a reference margin that is not positive.
Verdict: TypeAlias = Literal["above", "inside", "below", "reversed"]
_CHUNK_ELEMENTS = 1 << 24
_TOLERANCE = (
    1e-3  # relative error of trained weights in float64; margins are then within 1e-5 of the optimum's
)

#: How a learner can leave the interval; "none" for settings in which it cannot.
Mechanism: TypeAlias = Literal["subtraction", "whitening", "none"]


def effective_noise(
    variance: ArrayLike, penalty: ArrayLike, samples_per_feature: ArrayLike
) -> Float[Array, "..."]:
    r"""The noise κ that the mean of a ridge classifier sees: it points along the population's at λ = 0 and variance κ.

    $$(\kappa-\gamma^2)(\kappa-\gamma^2/\delta)=\lambda\kappa,\qquad\kappa\ge\gamma^2\max(1,1/\delta)$$

    At λ = 0 that is γ² for n >= d and γ²/δ for the minimum-norm interpolator; at δ = ∞ it is γ² + λ.

    Args:
        variance: γ² > 0, common to all sources.
        penalty: λ >= 0; arguments broadcast.
        samples_per_feature: δ = n/d > 0, `inf` for the population.

    Returns:
        κ, in the square of the features' unit.

    Raises:
        ValueError: an argument outside its range.

    Source: Section 9 for the square loss (κ = γ² + λ(1 + V)).
    """
    g, lam, delta = (as_float_array(x) for x in (variance, penalty, samples_per_feature))
    require(jnp.isfinite(g) & (g > 0), g, "the variance must be a finite number > 0")
    require(jnp.isfinite(lam) & (lam >= 0), lam, "the penalty must be a finite number >= 0")
    require(delta > 0, delta, "the number of samples per feature must be > 0")
    centre = (g + g / delta + lam) / 2
    # centre² − γ⁴/δ as a sum of squares: nothing cancels where both roots are close.
    spread = ((g - g / delta) / 2) ** 2 + lam * (g + g / delta) / 2 + lam**2 / 4
    return centre + jnp.sqrt(spread)


def square_loss_pulls(
    sources: Sequence[Source],
    shares: ArrayLike,
    penalty: ArrayLike = 0.0,
    samples_per_feature: ArrayLike = np.inf,
) -> Float[Array, "*batch s"]:
    r"""How hard each source pulls a ridge classifier, up to a common factor: the weights F_s of Theorem 4 in closed form.

    $$\bar w\propto\sum_sp_sF_s\nu_s,\qquad F=(\kappa I+GP)^{-1}1,\quad G_{st}=\nu_s\cdot\nu_t,\ P=\mathrm{diag}(p).$$

    For two sources $F_1\propto\kappa+p_2(\|\nu_2\|^2-\nu_1\cdot\nu_2)$: the first is subtracted iff
    $p_2(\nu_1\cdot\nu_2-\|\nu_2\|^2)>\kappa$. It takes a long source that points along the other, not one that disagrees with it.

    Args:
        sources: S training distributions with one isotropic noise γ²I.
        shares: p_s, shape (..., S).
        penalty: λ >= 0, broadcasts with the batch of `shares`.
        samples_per_feature: δ = n/d, likewise; `inf` is the population.

    Returns:
        F_s scaled to Σ p_s|F_s| = 1, shape (..., S); negative for a source that is subtracted.

    Raises:
        ValueError: sources that are not isotropic with one variance > 0; shares, λ or δ outside their range.

    Source: Theorem 4 (square loss).
    """
    check_dimensions(*sources)
    covariances = [source.covariance for source in sources]
    if any(c.ndim for c in covariances) or len({float(c) for c in covariances}) > 1:
        listed = ", ".join(str(float(c)) if c.ndim == 0 else f"shape {c.shape}" for c in covariances)
        raise ValueError(f"the closed form needs one isotropic variance common to all sources, got {listed}")
    p = check_shares(shares, len(sources))
    kappa = effective_noise(covariances[0], penalty, samples_per_feature)
    rows = jnp.stack([source.mean for source in sources])
    return pulls_of_gram(rows @ rows.T, p, kappa)


def pulls_of_gram(gram: Array, shares: Array, kappa: Array) -> Float[Array, "*batch s"]:
    """`square_loss_pulls` from Gram matrices (..., S, S), shares (..., S) and κ (...); no checks, for whole maps."""
    size = gram.shape[-1]
    matrix = kappa[..., None, None] * jnp.eye(size, dtype=gram.dtype) + gram * shares[..., None, :]
    pulls = jnp.linalg.solve(matrix, jnp.ones((*matrix.shape[:-1], 1), matrix.dtype))[..., 0]
    return pulls / jnp.sum(shares * jnp.abs(pulls), axis=-1, keepdims=True)


def verdict(mixture_slope: Scalar, source_slopes: ArrayLike, reference_margin: Scalar = 1.0) -> Verdict:
    """On which side of its sources' slopes a mixture's slope lies (rounding of 1e-6 counts as inside).

    Args:
        mixture_slope: the slope of the mixture.
        source_slopes: slopes of the same learner on each source alone, shape (S,).
        reference_margin: the mixture's margin on the reference; where it is not positive the slope says nothing.

    Raises:
        ValueError: slopes that are not finite.
    """
    slopes = np.asarray(source_slopes, np.float64)
    if not (np.isfinite(slopes).all() and np.isfinite(mixture_slope)):
        raise ValueError(f"slopes must be finite, got {mixture_slope} for the mixture and {slopes.tolist()}")
    if not reference_margin > 0:
        return "reversed"
    rounding = 1e-6 * max(1.0, float(np.abs(slopes).max()))
    if mixture_slope > slopes.max() + rounding:
        return "above"
    return "below" if mixture_slope < slopes.min() - rounding else "inside"


@dataclass(frozen=True, eq=False)
class EscapeSetting:
    """Two sources, two targets and a learner.

    Attributes:
        name: short, as tables call it.
        mechanism: how the learner leaves the sources' interval, or "none".
        expected: on which side of it the theory says the mixture lies.
        why: one sentence.
        sources: the two sources.
        reference: the reference test distribution.
        shift: the shifted one.
        loss: "square", "logistic" or "hinge".
        penalty: λ.
        samples_per_feature: δ = n/d.
        share: share of the first source.
    """

    name: str
    mechanism: Mechanism
    expected: Verdict
    why: str
    sources: tuple[Source, Source]
    reference: Target
    shift: Target
    loss: str
    penalty: Scalar
    samples_per_feature: Scalar
    share: Scalar = 0.5

    def __post_init__(self):
        check_dimensions(*self.sources, self.reference, self.shift)
        if self.loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {self.loss!r}")
        if not 0 < self.share < 1:
            raise ValueError(f"the share of the first source must lie in (0, 1), got {self.share}")

    @property
    def num_samples(self) -> int:
        """n = δd, rounded to a whole number."""
        return round(self.samples_per_feature * self.reference.dimension)

    @property
    def counts(self) -> tuple[int, int]:
        """Samples of each source in the mixture."""
        first = round(self.share * self.num_samples)
        return first, self.num_samples - first

    @property
    def targets(self) -> tuple[Target, Target]:
        """Reference and shift."""
        return self.reference, self.shift


@dataclass(frozen=True, eq=False)
class EscapePrediction:
    """What the exact asymptotics say of a setting.

    Attributes:
        source_slopes: slopes of the learner on n samples of each source alone, shape (2,).
        slope: the mixture's.
        averaging_slope: that of the averaging classifier on the same mixture (the mediant of Theorem 2).
        margins: the mixture's margins on reference and shift, shape (2,).
        pulls: p_sF_s of the mixture, scaled to absolute sum 1, shape (2,); a negative one is subtracted.
        verdict: where the mixture's slope lies.
    """

    source_slopes: Float[np.ndarray, " s"]
    slope: float
    averaging_slope: float
    margins: Float[np.ndarray, " t"]
    pulls: Float[np.ndarray, " s"]
    verdict: Verdict


def predict(settings: Sequence[EscapeSetting]) -> list[EscapePrediction]:
    """Slopes of settings in the limit of many features at their n/d, for the mixture and for each source alone.

    All settings of one loss are solved together. The targets' noise is isotropic.

    Raises:
        ValueError: no setting, settings that differ in the number of features, or targets whose noise is not isotropic.

    Source: Section 9 and Theorem 2 (averaging).
    """
    found: dict[int, EscapePrediction] = {}
    for loss in dict.fromkeys(setting.loss for setting in settings):
        chosen = [index for index, setting in enumerate(settings) if setting.loss == loss]
        # Sources whose line is known beforehand are left out: alone they can be separable, and their classifiers long.
        places = [(index, settings[index].share) for index in chosen]
        places += [
            (index, alone)
            for index in chosen
            for source, alone in zip(settings[index].sources, (1.0, 0.0), strict=True)
            if not points_along_its_mean(source)
        ]
        rows = [
            LimitRow(own.sources, own.targets, share, own.num_samples, own.penalty)
            for own, share in ((settings[index], share) for index, share in places)
        ]
        margins, pulls = limit_margins(rows, loss)
        slopes = dict(zip(places, margins[:, 1] / margins[:, 0], strict=True))
        for number, index in enumerate(chosen):
            known = _projection_slopes(settings[index])
            ends = np.asarray([slopes.get((index, alone), known[s]) for s, alone in enumerate((1.0, 0.0))])
            found[index] = _prediction(settings[index], ends, margins[number], pulls[number])
    return [found[index] for index in range(len(settings))]


def points_along_its_mean(source: Source) -> bool:
    r"""Whether every learner here, trained on this source alone, points along ν on average: ν is an eigenvector of Γ.

    The law of the samples is then unchanged by every rotation or reflection of the features that fixes ν and commutes with Γ
    (in particular −1 off ν), so the mean of w and its limit lie along ν: the slope is $a_s/(c\,b_s)$, whatever n and λ.
    """
    mean = np.asarray(source.mean, np.float64)
    turned = np.asarray(cov.apply(source.covariance, source.mean), np.float64)
    length = mean @ mean
    return bool(
        length > 0 and np.abs(turned - (turned @ mean) / length * mean).max() <= 1e-6 * np.abs(turned).max()
    )


def _projection_slopes(setting: EscapeSetting) -> np.ndarray:
    b, a = (np.asarray(alignments(setting.sources, target), np.float64) for target in setting.targets)
    return a / b * np.sqrt(float(setting.reference.covariance) / float(setting.shift.covariance))


def _prediction(
    setting: EscapeSetting, ends: np.ndarray, margins: np.ndarray, pulls: np.ndarray
) -> EscapePrediction:
    slope = float(margins[1] / margins[0])
    shares = np.asarray([setting.share, 1 - setting.share])
    b, a = (alignments(setting.sources, target) for target in setting.targets)
    scale = np.sqrt(float(setting.reference.covariance) / float(setting.shift.covariance))
    return EscapePrediction(
        source_slopes=ends,
        slope=slope,
        averaging_slope=float(mediant(a, b, shares) * scale),
        margins=margins,
        pulls=pulls / np.abs(pulls).sum(),
        verdict=verdict(slope, ends, float(margins[0])),
    )


def simulate(
    key: Key[Array, ""], setting: EscapeSetting, num_trials: int, counts: tuple[int, int] | None = None
) -> Float[np.ndarray, "trials t"]:
    """Margins on reference and shift of classifiers that are trained on fresh samples of a setting.

    Args:
        key: random key.
        setting: sources, targets, learner and sizes.
        num_trials: classifiers to train.
        counts: samples of each source; the setting's mixture if left out.

    Returns:
        Margins, shape (num_trials, 2).

    Raises:
        ValueError: fewer than one trial.
    """
    if num_trials < 1:
        raise ValueError(f"num_trials must be at least 1, got {num_trials}")
    numbers = counts or setting.counts
    generator = generator_of(key)
    batch = max(1, _CHUNK_ELEMENTS // (sum(numbers) * setting.reference.dimension))
    results = []
    for start in range(0, num_trials, batch):
        rows = draw_rows(generator, setting.sources, numbers, min(batch, num_trials - start))
        weights = train_rows(rows, setting.loss, setting.penalty)
        results.append(np.stack([np.asarray(margin(weights, target)) for target in setting.targets], axis=-1))
    return np.concatenate(results)


def train_rows(
    rows: Float[np.ndarray, "trials n d"], loss: str, penalty: Scalar
) -> Float[np.ndarray, "trials d"]:
    """Weights that minimise the mean loss plus (λ/2)‖w‖² on samples y x, for many data sets.

    Args:
        rows: samples (trials, n, d).
        loss: "square", "logistic" or "hinge".
        penalty: λ > 0, or 0 for the square loss (least squares, or the minimum norm if n < d).

    Raises:
        ValueError: a loss or penalty outside its range.
    """
    if loss != SQUARE.name:
        tolerance = _TOLERANCE if jnp.result_type(float) == jnp.float64 else None
        return np.asarray(train(LOSSES[loss], rows, penalty, tolerance).weights, np.float64)
    # NumPy's solver needs no compilation for every new shape.
    unpenalised = "least_squares" if rows.shape[1] >= rows.shape[2] else "minimum_norm"
    return solve_square("ridge" if penalty > 0 else unpenalised, rows, (), penalty)

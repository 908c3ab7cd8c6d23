r"""Interpolators and averaging classifiers on flipped labels, drawn exactly at any size, and really trained.

Use `sample_noisy_classifiers` for a `NuisanceWorld` of any number of samples and features (cost per classifier O(k³), k core
features), and `train_noisy_classifiers`, which draws every sample and solves for the weights, as its judge.

Derivation. Rows $u_i=\tilde y_ix_i=(c_i,z_i)$ with core part c_i ~ N(±ν, Γ) and nuisance part z_i ~ N(0, gI). The shortest
w = (u, v) with $u_i\cdot w=1$ has $v=Z^\top G^{-1}(1-Cu)$, $G=ZZ^\top$, and u minimises $\|u\|^2+(1-Cu)^\top G^{-1}(1-Cu)$. So
only $M=E^\top G^{-1}E$ with E = (1, C) counts:

$$u=(I+M_{CC})^{-1}M_{C1},\qquad\|v\|^2=(1,-u)\,M\,(1,-u)^\top,\qquad
  M=\tfrac1gA^\top S^{-1}A,\quad S\sim\text{Wishart}_{k+1}(I,D-n+k+1),$$

with $A^\top A=E^\top E$, because n rows of pure noise look the same from every direction. $E^\top E$ itself needs the sums over
clean and flipped rows (two Gaussian rows) and a Wishart matrix for what is left. Nothing of size n or D is drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import jax
import numpy as np
from jax import Array
from jaxtyping import Float, Key

from theory.arrays import ArrayLike, Scalar
from theory.brute_force import brute_force_classifiers
from theory.brute_force_learners import brute_force_weights
from theory.exact_geometry import bartlett_rows, generator_of
from theory.wrong_line import NuisanceWorld

NoisyLearner: TypeAlias = Literal["interpolating", "averaging"]

_WEIGHTS_AT_ONCE = 1 << 21


@dataclass(frozen=True, eq=False)
class NoisyDraws:
    """Trained classifiers of a `NuisanceWorld`, as every target of it sees them.

    Attributes:
        projections: w·μ, shape (trials,).
        core_lengths: uᵀΓu on the core features, shape (trials,).
        nuisance_lengths: ‖v‖² on the nuisance features, shape (trials,).
    """

    projections: Float[np.ndarray, " trials"]
    core_lengths: Float[np.ndarray, " trials"]
    nuisance_lengths: Float[np.ndarray, " trials"]

    def margins(self, nuisance_variances: ArrayLike) -> Float[np.ndarray, "trials *batch"]:
        """Margins on targets whose nuisance features have these variances (the world's own: the reference)."""
        variances = np.asarray(nuisance_variances, np.float64)
        expand = (..., *[None] * variances.ndim)
        lengths = self.core_lengths[expand] + self.nuisance_lengths[expand] * variances
        return self.projections[expand] / np.sqrt(lengths)


def sample_noisy_classifiers(
    key: Key[Array, ""],
    world: NuisanceWorld,
    num_samples: int,
    label_noise: Scalar,
    num_trials: int,
    learner: NoisyLearner = "interpolating",
) -> NoisyDraws:
    """Classifiers trained on n samples of which exactly εn have flipped labels, drawn without drawing the samples.

    Args:
        key: random key.
        world: core and nuisance features.
        num_samples: n; interpolating needs k + 2 <= n <= D.
        label_noise: ε in [0, 1/2) with εn whole.
        num_trials: classifiers to draw.
        learner: "interpolating" (minimum norm) or "averaging".

    Returns:
        `NoisyDraws`.

    Raises:
        ValueError: an unknown learner, εn that is not whole, n outside the learner's range, or fewer than one trial.
    """
    counts = _counts(num_samples, label_noise, num_trials, learner)
    k, extra = world.num_core, world.num_nuisance
    generator = generator_of(key)
    mean = np.asarray(world.core.mean, np.float64)
    variances = np.broadcast_to(np.asarray(world.core.covariance, np.float64), (k,))
    n, g = sum(counts), float(world.nuisance_variance)
    if learner == "averaging":
        noise = generator.standard_normal((num_trials, k)) * np.sqrt(variances / n)
        weights = (counts[0] - counts[1]) / n * mean + noise
        return _judge(weights, g / n * generator.chisquare(extra, num_trials), mean, variances)
    if not k + 2 <= n <= extra:
        raise ValueError(f"interpolating needs between {k + 2} and {extra} samples, got {n}")
    # E after a rotation of its rows: two rows of sums over the clean and the flipped samples, k rows for the rest.
    rows = np.zeros((num_trials, k + 2, k + 1))
    for row, (count, sign) in enumerate(zip(counts, (1, -1), strict=True)):
        rows[:, row, 0] = np.sqrt(count)
        noise = generator.standard_normal((num_trials, k)) * np.sqrt(variances)
        rows[:, row, 1:] = np.sqrt(count) * sign * mean + noise if count else 0.0
    rest = n - sum(count > 0 for count in counts)
    rows[:, 2:, 1:] = bartlett_rows(generator, num_trials, k, rest).swapaxes(1, 2) * np.sqrt(variances)
    half = np.linalg.cholesky(rows.swapaxes(1, 2) @ rows).swapaxes(1, 2)
    wishart = bartlett_rows(generator, num_trials, k + 1, extra - n + k + 1)
    root = np.linalg.solve(wishart, half)
    gram = root.swapaxes(1, 2) @ root / g
    weights = np.linalg.solve(np.eye(k) + gram[:, 1:, 1:], gram[:, 1:, :1])[..., 0]
    residual = np.concatenate([np.ones((num_trials, 1)), -weights], axis=1)
    lengths = np.einsum("bi,bij,bj->b", residual, gram, residual)
    return _judge(weights, lengths, mean, variances)


def train_noisy_classifiers(
    key: Key[Array, ""],
    world: NuisanceWorld,
    num_samples: int,
    label_noise: Scalar,
    num_trials: int,
    learner: NoisyLearner = "interpolating",
) -> NoisyDraws:
    """The same classifiers trained on samples that are really drawn; the slow twin of `sample_noisy_classifiers`.

    Args:
        key: random key.
        world: core and nuisance features.
        num_samples: n; interpolating needs n <= k + D.
        label_noise: ε in [0, 1/2) with εn whole.
        num_trials: classifiers to train.
        learner: "interpolating" (minimum norm) or "averaging".

    Returns:
        `NoisyDraws`.

    Raises:
        ValueError: as `sample_noisy_classifiers`.
    """
    counts = _counts(num_samples, label_noise, num_trials, learner)
    sources = [world.source(), world.source(-1)]
    # The weights of all trials need not fit into memory at once.
    size = max(1, min(num_trials, _WEIGHTS_AT_ONCE // (world.num_core + world.num_nuisance)))
    starts = range(0, num_trials, size)
    parts = []
    for start, part in zip(starts, jax.random.split(key, len(starts)), strict=True):
        trials = min(size, num_trials - start)
        if learner == "averaging":
            weights = brute_force_classifiers(part, sources, counts, trials)
        else:
            weights = brute_force_weights(part, sources, counts, trials, "minimum_norm")
        parts.append(_split(np.asarray(weights, np.float64), world))
    return NoisyDraws(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _split(weights: np.ndarray, world: NuisanceWorld) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    k = world.num_core
    mean = np.asarray(world.core.mean, np.float64)
    variances = np.broadcast_to(np.asarray(world.core.covariance, np.float64), (k,))
    draws = _judge(weights[:, :k], (weights[:, k:] ** 2).sum(1), mean, variances)
    return draws.projections, draws.core_lengths, draws.nuisance_lengths


def _judge(weights: np.ndarray, lengths: np.ndarray, mean: np.ndarray, variances: np.ndarray) -> NoisyDraws:
    return NoisyDraws(weights @ mean, (weights**2) @ variances, lengths)


def _counts(num_samples: int, label_noise: Scalar, num_trials: int, learner: str) -> Sequence[int]:
    """Clean and flipped samples."""
    if learner not in get_args(NoisyLearner):
        raise ValueError(f"learner must be one of {get_args(NoisyLearner)}, got {learner!r}")
    if not 0 <= label_noise < 0.5:
        raise ValueError(f"label_noise must lie in [0, 1/2), got {label_noise}")
    flipped = label_noise * num_samples
    if num_samples < 1 or abs(flipped - round(flipped)) > 1e-9 * num_samples:
        raise ValueError(
            f"label_noise times num_samples must be a whole number of flipped labels, got {label_noise} x {num_samples}"
        )
    if num_trials < 1:
        raise ValueError(f"num_trials must be at least 1, got {num_trials}")
    return [num_samples - round(flipped), round(flipped)]

r"""The world of the panel `wrong_line` and its families of models, by closed form and by the exact sampler."""

from dataclasses import dataclass

import jax
import numpy as np
from jax import Array

from theory.gaussian import Source
from theory.noisy_ridge_sampling import NoisyDraws, NoisyLearner, sample_noisy_classifiers
from theory.wrong_line import ModelFamily, NuisanceWorld

#: Sizes of a family as multiples of the smallest.
FAMILY = (1, 2, 4, 8)


@dataclass(frozen=True)
class WrongLineOptions:
    """Families of models of four sizes in a world with nuisance features."""

    smallest: int = 10_000
    """n of the smallest model; the others have 2, 4 and 8 times as many samples, and 500 n nuisance features."""
    label_noise: tuple[float, ...] = (0.0, 0.05, 0.2)
    """Probabilities ε that a training label is flipped; ε times the smallest n must be whole."""
    strengths: tuple[float, ...] = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.3, 1.0, 3.0)
    """Variances s² of each nuisance feature under shift (0.002 in training and on the reference)."""
    num_models: int = 400
    """Models of each size, drawn by the exact sampler."""
    trained_smallest: int = 40
    """Smallest n of the models that are really trained, sizes n, 2n, 4n."""
    num_trained: int = 24
    """Really trained models of each size."""
    bend_strengths: tuple[float, ...] = (0.01, 0.1, 1.0)
    """Variances s² for the bending line."""
    bend_sizes: tuple[int, ...] = (100, 300, 1_000, 3_000, 10_000, 100_000, 1_000_000)
    """Samples n along the bending line."""
    turn_noise: tuple[float, ...] = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2)
    """Noise rates at which the turning point is measured."""
    separations: tuple[float, ...] = (1.0, 3.0)
    """Squared lengths of the signal, relative to the default, for which it is measured."""

    def check(self) -> None:
        """Refuse options that would fail later.

        Raises:
            ValueError: naming the option, its value and what is allowed.
        """
        for name in ("num_models", "num_trained"):
            if getattr(self, name) < 3:
                raise ValueError(
                    f"--{name.replace('_', '-')} must be at least 3 for a standard error, got {getattr(self, name)}"
                )
        for name in ("smallest", "trained_smallest"):
            if getattr(self, name) < 10:
                raise ValueError(f"--{name.replace('_', '-')} must be at least 10, got {getattr(self, name)}")
        for rate in (*self.label_noise, *self.turn_noise):
            flips = rate * self.smallest
            if not 0 <= rate < 0.5 or abs(flips - round(flips)) > 1e-9 * self.smallest:
                raise ValueError(
                    f"--label-noise and --turn-noise must lie in [0, 0.5) and flip whole numbers of "
                    f"{self.smallest} labels, got {rate}"
                )
        for strength in (*self.strengths, *self.bend_strengths):
            if not strength > 0:
                raise ValueError(f"--strengths and --bend-strengths must be > 0, got {strength}")


def nuisance_world(smallest: int, separation: float | int = 1.0) -> NuisanceWorld:
    """The panel's world, scaled so that the smallest model of a family has `smallest` samples.

    A coarse feature of variance 1 and a fine one of variance 0.05 carry the signal; the nuisance features have total variance
    `smallest`, spread so thinly that each has 0.002.

    Raises:
        ValueError: a separation that is not > 0.
    """
    if not separation > 0:
        raise ValueError(f"separation must be > 0, got {separation}")
    mean = np.sqrt(np.asarray([1.0, 0.4]) * separation)
    return NuisanceWorld(Source(mean, np.asarray([1.0, 0.05]), "core"), 500 * smallest, 0.002)


def whole_flips(rate: float, n: int) -> float:
    """The nearest noise rate that flips a whole number of n labels."""
    return round(rate * n) / n


def families_of(options: WrongLineOptions) -> list[tuple[NoisyLearner, float]]:
    """Interpolators at every noise rate, and averaging at the highest."""
    interpolating: list[tuple[NoisyLearner, float]] = [
        ("interpolating", rate) for rate in options.label_noise
    ]
    return [*interpolating, ("averaging", max(options.label_noise))]


def draw_family(
    key: Array, world: NuisanceWorld, rate: float, options: WrongLineOptions, learner: NoisyLearner
) -> list[NoisyDraws]:
    """One `NoisyDraws` for each size of a family."""
    unit = world.num_nuisance // 500
    return [
        sample_noisy_classifiers(
            jax.random.fold_in(key, n), world, n, whole_flips(rate, n), options.num_models, learner
        )
        for n in (unit * multiple for multiple in FAMILY)
    ]


def predicted_family(
    world: NuisanceWorld, rate: float, learner: NoisyLearner = "interpolating"
) -> ModelFamily:
    """The closed form of the same family; averaging is ridge with an endless penalty."""
    sizes = world.num_nuisance // 500 * np.asarray(FAMILY, np.float64)
    return world.family(sizes, 0.0 if learner == "interpolating" else 1e9, rate)

r"""The sweeps behind the panel `wrong_line`: one world with nuisance features, its families of models, where they turn.

Each function returns tidy rows, predictions beside simulations. `theory.panels.wrong_line` binds them to the panel's options.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np
from jax import Array
from jaxtyping import Float, Key

from theory.gaussian import Source, Target
from theory.noisy_ridge_sampling import NoisyDraws, sample_noisy_classifiers, train_noisy_classifiers
from theory.panels.panel import Progress, silent
from theory.panels.wrong_line_world import (
    FAMILY,
    WrongLineOptions,
    draw_family,
    families_of,
    nuisance_world,
    predicted_family,
    whole_flips,
)
from theory.single_source import bending, slope_at
from theory.trial_statistics import summarise
from theory.wrong_line import ModelFamily, NuisanceWorld, turning_point

if TYPE_CHECKING:
    import pandas as pd

# --- (a) averaging: the line bends ------------------------------------------------------------------------------------


def _averaging_world(world: NuisanceWorld, rate: float, strength: float) -> tuple[Source, Target, Target]:
    """Source, reference and shift with the lengths and signals of averaging on flipped labels, in k + 1 features.

    Flips scale the mean; of all nuisance features together the lengths see only their total variance.
    """
    core = np.asarray(world.core.covariance)
    mean = np.r_[(1 - 2 * rate) * np.asarray(world.core.mean), 0.0]
    source = Source(mean, np.r_[core, world.nuisance_variance * world.num_nuisance])
    return source, Target(mean, np.r_[core, world.nuisance_variance]), Target(mean, np.r_[core, strength])


def bend_tables(key: Key[Array, ""], options: WrongLineOptions) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Slopes of averaging classifiers on noisy labels against n, predicted by Theorem 1 and simulated; the smooth prediction."""
    import pandas as pd

    world, rate = nuisance_world(options.smallest), max(options.label_noise)
    rows, curves = [], []
    for number, n in enumerate(options.bend_sizes):
        kept = whole_flips(rate, n)
        stream = jax.random.fold_in(key, number)
        draws = sample_noisy_classifiers(stream, world, n, kept, options.num_models, "averaging")
        for strength in options.bend_strengths:
            simulated = summarise(draws.margins([world.nuisance_variance, strength]))
            rows.append(
                {
                    "label_noise": rate,
                    "strength": strength,
                    "n": n,
                    "slope_predicted": float(slope_at(*_averaging_world(world, kept, strength), n)),
                    "slope_simulated": simulated.slope[1],
                    "slope_stderr": simulated.slope_stderr[1],
                }
            )
    sizes = np.geomspace(min(options.bend_sizes), max(options.bend_sizes), 60)
    for strength in options.bend_strengths:
        targets = _averaging_world(world, rate, strength)
        ends = bending(*targets)
        columns = {
            "label_noise": rate,
            "strength": strength,
            "n": sizes,
            "scarce": ends.scarce,
            "plentiful": ends.plentiful,
        }
        curves.append(pd.DataFrame({**columns, "slope_predicted": np.asarray(slope_at(*targets, sizes))}))
    return pd.DataFrame(rows), pd.concat(curves, ignore_index=True)


# --- (b) models on both targets ---------------------------------------------------------------------------------------


def _model_rows(
    head: dict[str, object],
    sizes: Sequence[int],
    predicted: Float[np.ndarray, "k s"],
    draws: Sequence[NoisyDraws],
    variances: Sequence[float],
) -> list[dict[str, object]]:
    """Rows of the table of models: predicted and simulated margins on the reference (first variance) and on each shift."""
    rows = []
    for n, theory, models in zip(sizes, predicted, draws, strict=True):
        simulated = summarise(models.margins(variances))
        reference = {
            "probit_ref_predicted": theory[0],
            "probit_ref_simulated": simulated.mean[0],
            "probit_ref_stderr": simulated.stderr[0],
        }
        rows += [
            {
                **head,
                "n": n,
                "strength": strength,
                **reference,
                "probit_shift_predicted": theory[j],
                "probit_shift_simulated": simulated.mean[j],
                "probit_shift_stderr": simulated.stderr[j],
            }
            for j, strength in enumerate(variances)
            if j > 0
        ]
    return rows


def _jackknife(margins: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Correlations over sizes of mean margins on the first target with the others, and their jackknife errors.

    Args:
        margins: one array (models, 1 + s) for each size.
    """
    trials = len(margins[0])

    def correlations(means: np.ndarray) -> np.ndarray:
        centred = means - means.mean(-2, keepdims=True)
        first, others = centred[..., :1], centred[..., 1:]
        return (first * others).sum(-2) / np.sqrt((first**2).sum(-2) * (others**2).sum(-2))

    stacked = np.stack(margins)
    total = stacked.sum(1)
    left_out = correlations((total - stacked.swapaxes(0, 1)) / (trials - 1))
    spread = ((left_out - left_out.mean(0)) ** 2).sum(0)
    return correlations(total / trials), np.sqrt((trials - 1) / trials * spread)


def family_tables(
    key: Key[Array, ""], options: WrongLineOptions, progress: Progress = silent
) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Models of every family, and the correlation of each against the strength of the shift."""
    import pandas as pd

    world = nuisance_world(options.smallest)
    variances = [world.nuisance_variance, *options.strengths]
    sizes = [options.smallest * multiple for multiple in FAMILY]
    families = families_of(options)
    models, correlations = [], []
    for number, (learner, rate) in enumerate(families):
        draws = draw_family(jax.random.fold_in(key, number), world, rate, options, learner)
        family = predicted_family(world, rate, learner)
        theory = np.column_stack([family.reference, family.shifted(np.asarray(options.strengths)).T])
        head: dict[str, object] = {"learner": learner, "label_noise": rate, "sampler": "exact"}
        models += _model_rows(head, sizes, theory, draws, variances)
        estimate, error = _jackknife([model.margins(variances) for model in draws])
        correlations += [
            {
                "learner": learner,
                "label_noise": rate,
                "strength": strength,
                "correlation_predicted": float(family.correlation(strength)),
                "correlation_simulated": estimate[j],
                "correlation_stderr": error[j],
            }
            for j, strength in enumerate(options.strengths)
        ]
        progress(
            f"{learner}, {rate:.0%} of labels flipped: {len(sizes)} sizes of {options.num_models} models"
        )
    return pd.DataFrame(models), pd.DataFrame(correlations)


def trained_tables(
    key: Key[Array, ""], options: WrongLineOptions, progress: Progress = silent
) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Really trained interpolators of noisy labels: rows for `wrong_line_models`, and every model (`wrong_line_cloud`).

    They live in a smaller copy of the world, and are predicted by the exact sampler at their own size: the closed form is
    their limit, with an error O(1/n).
    """
    import pandas as pd

    world, rate = nuisance_world(options.trained_smallest), max(options.label_noise)
    variances = [world.nuisance_variance, *_shown(options)]
    rows, cloud = [], []
    for number, multiple in enumerate(FAMILY[:-1]):
        n = options.trained_smallest * multiple
        stream = jax.random.fold_in(key, number)
        draws = train_noisy_classifiers(stream, world, n, whole_flips(rate, n), options.num_trained)
        many = sample_noisy_classifiers(stream, world, n, whole_flips(rate, n), 50 * options.num_models)
        head: dict[str, object] = {"learner": "interpolating", "label_noise": rate, "sampler": "trained"}
        rows += _model_rows(head, [n], many.margins(variances).mean(0)[None], [draws], variances)
        cloud += [
            {
                "n": n,
                "label_noise": rate,
                "strength": strength,
                "probit_ref": on_ref,
                "probit_shift": on_shift,
            }
            for on_ref, *others in draws.margins(variances)
            for strength, on_shift in zip(variances[1:], others, strict=True)
        ]
        progress(
            f"{options.num_trained} interpolators of {n} samples in {world.num_nuisance + 2} features, trained"
        )
    return pd.DataFrame(rows), pd.DataFrame(cloud)


def _shown(options: WrongLineOptions) -> list[float]:
    """A weak and a strong shift for the scatter: the weakest of all, and the one on which clean and noisy labels disagree."""
    strengths = np.asarray(options.strengths)
    clean, noisy = (
        predicted_family(nuisance_world(options.smallest), r)
        for r in (min(options.label_noise), max(options.label_noise))
    )
    gap = clean.correlation(strengths) - noisy.correlation(strengths)
    return [float(strengths[strengths > 0.002][0]), float(strengths[gap.argmax()])]


# --- (c) and (d): smooth predictions, turning points --------------------------------------------------------------------


def curve_tables(options: WrongLineOptions) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Smooth predictions: correlations against strength (`wrong_line_curves`), margins against n (`wrong_line_paths`)."""
    import pandas as pd

    world = nuisance_world(options.smallest)
    strengths = np.geomspace(min(options.strengths), max(options.strengths), 80)
    families = families_of(options)
    curves = [
        pd.DataFrame(
            {
                "learner": learner,
                "label_noise": rate,
                "strength": strengths,
                "correlation_predicted": predicted_family(world, rate, learner).correlation(strengths),
            }
        )
        for learner, rate in families
    ]
    sizes = np.geomspace(options.smallest, FAMILY[-1] * options.smallest, 60)
    paths = []
    for rate in options.label_noise:
        family = world.family(sizes, 0.0, rate)
        for strength in _shown(options):
            columns = {
                "label_noise": rate,
                "strength": strength,
                "n": sizes,
                "probit_ref_predicted": family.reference,
            }
            paths.append(pd.DataFrame({**columns, "probit_shift_predicted": family.shifted(strength)}))
    return pd.concat(curves, ignore_index=True), pd.concat(paths, ignore_index=True)


def turn_table(key: Key[Array, ""], options: WrongLineOptions, progress: Progress = silent) -> "pd.DataFrame":
    """The strength at which interpolators of noisy labels leave the line, predicted and measured, for each noise rate.

    The measured one is the root of the simulated correlation; its error is the jackknife error there over the slope.
    """
    import pandas as pd

    rows = []
    for number, separation in enumerate(options.separations):
        world = nuisance_world(options.smallest, separation)
        for other, rate in enumerate(options.turn_noise):
            expected = turning_point(predicted_family(world, rate))
            if not 0 < expected.margins < np.inf:
                continue
            stream = jax.random.fold_in(jax.random.fold_in(key, number), other)
            draws = draw_family(stream, world, rate, options, "interpolating")
            root, error = _measured_turn(draws, world.nuisance_variance, expected.margins)
            rows.append(
                {
                    "separation": separation,
                    "label_noise": rate,
                    "log_turn_predicted": np.log(expected.margins),
                    "log_turn_simulated": root,
                    "log_turn_stderr": error,
                    "turn_inverse_squares": expected.inverse_squares,
                    "turn_low": expected.low,
                    "turn_high": expected.high,
                }
            )
        progress(f"turning points at {len(options.turn_noise)} noise rates")
    return pd.DataFrame(rows)


def _measured_turn(draws: Sequence[NoisyDraws], reference: float, guess: float) -> tuple[float, float]:
    """log s² at which the simulated correlation is 0, and its standard error; not a number if it has no root near the guess."""
    strengths = guess * np.exp(np.linspace(-1.5, 1.5, 121))
    estimate, error = _jackknife([model.margins([reference, *strengths]) for model in draws])
    crossing = np.flatnonzero((estimate[:-1] > 0) & (estimate[1:] <= 0))
    if not len(crossing):
        return np.nan, np.nan
    k = crossing[0]
    # Linear between two neighbours, 2.5% apart.
    share = estimate[k] / (estimate[k] - estimate[k + 1])
    step = np.log(strengths[k + 1] / strengths[k])
    return float(np.log(strengths[k]) + share * step), float(
        error[k] * step / (estimate[k] - estimate[k + 1])
    )


def kinds_table(options: WrongLineOptions) -> "pd.DataFrame":
    """Where families that vary one thing turn, by the closed form alone: sizes, penalties, noise rates, nuisance features."""
    import pandas as pd

    world, rate = nuisance_world(options.smallest), max(options.label_noise)
    middle = 4.0 * options.smallest
    more = [
        NuisanceWorld(world.core, world.num_nuisance * k // 4, world.nuisance_variance) for k in (2, 4, 8, 16)
    ]
    single = [w.family([middle, middle], 0.0, rate) for w in more]
    features = ModelFamily(
        *(np.asarray([getattr(f, name)[0] for f in single]) for name in ("reference", "base", "nuisance"))
    )
    families = {
        "training sizes": predicted_family(world, rate),
        "training sizes, averaging": predicted_family(world, rate, "averaging"),
        "penalties": world.family(middle, [0.0, 0.01, 0.1, 1.0, 10.0], rate),
        "noise rates": world.family(middle, 0.0, [0.0, 0.05, 0.1, 0.2, 0.3]),
        "numbers of nuisance features": features,
    }
    rows = []
    for kind, family in families.items():
        point = turning_point(family)
        rows.append({"vary": kind, "turn": point.margins, "turn_inverse_squares": point.inverse_squares})
    return pd.DataFrame(rows)

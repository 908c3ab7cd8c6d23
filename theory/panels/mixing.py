"""The mixing sweep behind the dilution experiment: predictions beside simulations, as a tidy table.

`mixing_table` (Theorems 1, 2 and 2b) returns one pandas row per configuration and shift.
`default_setting` is the world that the experiment shows. Filtering is swept in
`theory.panels.filtering`, the bias of the closed form in `theory.panels.finite_size`.

Every prediction is computed without looking at a simulation. Slopes are ratios of mean margins; where the leading order
would be off by more than the standard errors (normalised heads, filtered data), the prediction carries the next order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Key

from theory import covariance as cov
from theory.arrays import ArrayLike
from theory.brute_force import brute_force_averaging
from theory.classifiers import AveragingLaw
from theory.gaussian import Source, Target
from theory.monte_carlo import MarginDraws, sample_averaging, sample_ensemble
from theory.panels.panel import Progress, silent
from theory.reduced_problem import ReducedProblem, reduce_problem
from theory.trial_statistics import summarise

if TYPE_CHECKING:
    import pandas as pd

CLASSIFIERS = ("averaging", "ensemble_heads_each", "ensemble_heads_share", "normalised_ensemble")


@dataclass(frozen=True, eq=False)
class Setting:
    """Two sources, a reference and its shifts, all with covariances proportional to I.

    Attributes:
        sources: the two sources that are mixed, both with reference signal.
        reference: the reference test distribution.
        shifts: shifted ones, each with a name.
    """

    sources: tuple[Source, Source]
    reference: Target
    shifts: tuple[Target, ...]

    @property
    def targets(self) -> tuple[Target, ...]:
        """The reference followed by the shifts."""
        return (self.reference, *self.shifts)


def default_setting(num_features: int) -> Setting:
    """The world of the experiment in d = `num_features` dimensions: features for content, style, viewpoint and texture.

    One source has twice the reference signal of the other, so weighting by share and by signal differ; each source is the more
    robust one on one of the shifts.

    Raises:
        ValueError: fewer than 8 features.
    """
    if num_features < 8:
        raise ValueError(f"the setting needs at least 8 features, got {num_features}")

    def vector(*entries: float) -> np.ndarray:
        return np.r_[np.asarray(entries), np.zeros(num_features - len(entries))]

    # Axes: content, style, viewpoint, texture.
    return Setting(
        sources=(
            Source(vector(1.6, 0.3, 1.0, 0.4), 1.0, "stock"),
            Source(vector(0.7, 0.9, 0.1, 0.2), 1.0, "snapshots"),
        ),
        reference=Target(vector(1.0, 0.4, 0.4, 0.3), 1.0, "reference"),
        shifts=(
            Target(vector(0.5, 1.0, 0.0, 0.0), 1.0, "style"),
            Target(vector(0.5, 0.0, 1.0, 0.2), 1.44, "viewpoint"),
        ),
    )


# --- mixing -----------------------------------------------------------------------------------------------------------


def _heads(classifier: str, share: float | int, n: float | int) -> tuple[np.ndarray, np.ndarray]:
    """Weights α of the heads and the samples behind each."""
    alpha = np.asarray([share, 1.0 - share])
    return alpha, alpha * n if classifier == "ensemble_heads_share" else np.full(2, float(n))


def predicted_margins(
    setting: Setting,
    classifier: str,
    share: float | int,
    n: float | int,
    second_order: bool = True,
    problem: ReducedProblem | None = None,
) -> np.ndarray:
    """Mean margins of one configuration on (reference, shifts...), from theory alone.

    Averaging and plain ensembles are Gaussian (Theorems 2 and 2b), so Theorem 1's place applies, with the O(1/d) correction
    if `second_order`. Normalised heads: margins of the heads by Theorem 1, then the mediant; the length of the combined
    classifier needs the cosine between heads, and its O(1/d) correction is a delta method over the heads' coordinates.

    Args:
        setting: sources and targets.
        classifier: one of `CLASSIFIERS`.
        share: share (or head weight) of the first source.
        n: training samples; per head where the classifier says so.
        second_order: add the O(1/d) correction.
        problem: the setting in its reduced form, if at hand.

    Returns:
        Margins, shape (T,).

    Raises:
        ValueError: an unknown classifier.
    """
    if classifier not in CLASSIFIERS:
        raise ValueError(f"classifier must be one of {CLASSIFIERS}, got {classifier!r}")
    alpha, counts = _heads(classifier, share, n)
    if classifier == "normalised_ensemble":
        problem = problem or reduce_problem(setting.sources, setting.targets)
        return normalised_ensemble_margins(problem, alpha, counts, second_order)
    per_head = alpha**2 / np.where(alpha > 0, counts, 1.0)
    noise = alpha / n if classifier == "averaging" else per_head
    return np.asarray(
        _gaussian_margins(
            setting.sources, jnp.asarray(alpha), jnp.asarray(noise), setting.targets, second_order
        )
    )


@partial(jax.jit, static_argnames="second_order")
def _gaussian_margins(
    sources: tuple[Source, ...],
    weights: Array,
    noise_weights: Array,
    targets: tuple[Target, ...],
    second_order: bool,
) -> Array:
    """Mean margins of w ~ N(Σ_s weights_s ν_s, Σ_s noise_weights_s Γ_s)."""
    mean = weights @ jnp.stack([source.mean for source in sources])
    noise = cov.weighted_sum(noise_weights, tuple(source.covariance for source in sources), mean.shape[0])
    law = AveragingLaw(mean, noise)
    return jnp.stack([law.expected_margin(t) if second_order else law.place(t) for t in targets])


def normalised_ensemble_margins(
    problem: ReducedProblem, weights: ArrayLike, head_counts: ArrayLike, second_order: bool = True
) -> np.ndarray:
    """Mean margins of an ensemble of heads normalised by their length on the reference (target 0).

    With c_s the head's coordinates in the span and W_st the inner products of what lies off it, both independent with known
    means and variances (the reduced problem), the margins are a smooth g(c, W), and

        E g = g(E c, E W) + ½ Σ_i (∂²g/∂z_i²) Var z_i + O(1/d²),   z = (c, W).

    Args:
        problem: from `reduce_problem`.
        weights: α_s, shape (S,).
        head_counts: samples behind each head, shape (S,).
        second_order: False gives g(E c, E W).

    Returns:
        Margins, shape (T,).

    Source: Theorem 2b (normalised heads) and the delta method.
    """
    alpha = np.asarray(weights, np.float64)
    used = np.flatnonzero(alpha > 0)
    noise = (
        np.asarray(problem.source_variances)
        / np.broadcast_to(np.asarray(head_counts, np.float64), alpha.shape)
    )[used]
    d, rank = problem.num_orthogonal, problem.source_means.shape[1]
    pairs = [(i, j) for i in range(len(used)) for j in range(i + 1)]
    centre = jnp.concatenate(
        [problem.source_means[used].ravel(), jnp.asarray([noise[i] * d if i == j else 0.0 for i, j in pairs])]
    )
    spread = np.r_[
        np.repeat(noise, rank), [noise[i] * noise[j] * d * (2.0 if i == j else 1.0) for i, j in pairs]
    ]
    reduced = (problem.target_means, problem.target_blocks, problem.target_variances)
    return np.asarray(
        _normalised_delta(centre, jnp.asarray(spread), jnp.asarray(alpha[used]), reduced, second_order)
    )


@partial(jax.jit, static_argnames="second_order")
def _normalised_delta(
    centre: Array, spread: Array, alpha: Array, targets: tuple[Array, Array, Array], second_order: bool
) -> Array:
    target_means, blocks, off_span = targets
    heads, rank = alpha.shape[0], target_means.shape[1]
    rows, columns = np.tril_indices(heads)

    def margins(z: Array) -> Array:
        span, flat = z[: heads * rank].reshape(heads, rank), z[heads * rank :]
        gram = jnp.zeros((heads, heads), z.dtype).at[rows, columns].set(flat).at[columns, rows].set(flat)
        lengths = jnp.einsum("hr,rq,hq->h", span, blocks[0], span)
        scale = alpha / jnp.sqrt(lengths + off_span[0] * jnp.diag(gram))
        mean = scale @ span
        squared = jnp.einsum("r,trq,q->t", mean, blocks, mean)
        return target_means @ mean / jnp.sqrt(squared + off_span * (scale @ gram @ scale))

    value = margins(centre)
    if second_order:
        value = value + 0.5 * jnp.einsum("tii,i->t", jax.hessian(margins)(centre), spread)
    return value


def predicted_slopes(
    setting: Setting, classifier: str, share: float | int, margins: np.ndarray
) -> np.ndarray:
    """Slopes on (reference, shifts...): the mediant where it is exact for the mean margins, else their predicted ratio."""
    if classifier == "normalised_ensemble":
        return margins / margins[0]
    # For isotropic noise E ŵ/‖ŵ‖ points exactly along E ŵ, so the mediant has no finite-d bias at all.
    first, second = (np.asarray(source.mean, np.float64) for source in setting.sources)
    scales = np.sqrt([float(target.covariance) for target in setting.targets])
    projections = (
        np.stack([np.asarray(t.mean) for t in setting.targets])
        @ (share * first + (1.0 - share) * second)
        / scales
    )
    return projections / projections[0]


def mixing_table(
    key: Key[Array, ""],
    setting: Setting,
    shares: Sequence[float | int],
    sizes: Sequence[int],
    brute_force_sizes: Sequence[int],
    num_trials: int,
    num_brute_force_trials: int,
    classifiers: Sequence[str] = CLASSIFIERS,
    progress: Progress = silent,
) -> "pd.DataFrame":
    """Predicted and simulated slopes and places of mixtures of two sources.

    Args:
        key: random key; every configuration draws its own stream.
        setting: sources and targets.
        shares: shares of the first source (input mixing) or weights of its head (output mixing).
        sizes: n for the reduced sampler.
        brute_force_sizes: n for brute force (averaging only); share times n must be whole.
        num_trials: trials of the reduced sampler.
        num_brute_force_trials: trials of brute force.
        classifiers: which of `CLASSIFIERS`.
        progress: called with a line of text after every configuration.

    Returns:
        One row per classifier, sampler, share, n and shift, with the columns of mixing.csv.
    """
    import pandas as pd

    problem = reduce_problem(setting.sources, setting.targets)
    jobs = [(c, "reduced", n, p) for c in classifiers for n in sizes for p in shares]
    jobs += [("averaging", "brute_force", n, p) for n in brute_force_sizes for p in shares]
    rows: list[dict[str, object]] = []
    for number, (classifier, sampler, n, share) in enumerate(jobs):
        stream = jax.random.fold_in(key, number)
        draws = _simulate(
            stream, setting, problem, classifier, sampler, n, share, num_trials, num_brute_force_trials
        )
        simulated = summarise(draws.margins)
        margins = predicted_margins(setting, classifier, share, n, problem=problem)
        slopes = predicted_slopes(setting, classifier, share, margins)
        for t, shift in enumerate(setting.shifts, start=1):
            rows.append(
                {
                    "classifier": classifier,
                    "sampler": sampler,
                    "share": share,
                    "n": n,
                    "d": setting.reference.dimension,
                    "shift": shift.name,
                    "trials": len(draws.margins),
                    "slope_predicted": slopes[t],
                    "slope_simulated": simulated.slope[t],
                    "slope_stderr": simulated.slope_stderr[t],
                    "probit_ref_predicted": margins[0],
                    "probit_ref_simulated": simulated.mean[0],
                    "probit_ref_stderr": simulated.stderr[0],
                }
            )
        progress(f"{classifier}, {sampler}, n = {n:g}, share {share:g}")
    return pd.DataFrame(rows)


def place_curves(
    setting: Setting,
    share: float | int,
    sizes: Sequence[float | int],
    classifiers: Sequence[str] = CLASSIFIERS,
) -> "pd.DataFrame":
    """Smooth predictions of the place on the reference for the figure: columns classifier, share, n, probit_ref_predicted."""
    import pandas as pd

    problem = reduce_problem(setting.sources, setting.targets)
    rows = [
        {
            "classifier": classifier,
            "share": share,
            "n": n,
            "probit_ref_predicted": predicted_margins(setting, classifier, share, n, problem=problem)[0],
        }
        for classifier in classifiers
        for n in sizes
    ]
    return pd.DataFrame(rows)


def num_mixing_jobs(
    shares: int, sizes: int, brute_force_sizes: int, classifiers: int = len(CLASSIFIERS)
) -> int:
    """How often `mixing_table` calls its progress function."""
    return shares * (sizes * classifiers + brute_force_sizes)


def _simulate(
    key: Array,
    setting: Setting,
    problem: ReducedProblem,
    classifier: str,
    sampler: str,
    n: int,
    share: float | int,
    num_trials: int,
    num_brute_force_trials: int,
) -> MarginDraws:
    alpha, counts = _heads(classifier, share, n)
    if sampler == "brute_force":
        whole = np.rint(alpha * n)
        return brute_force_averaging(key, setting.sources, whole, setting.targets, num_brute_force_trials)
    if classifier == "averaging":
        return sample_averaging(key, problem, alpha * n, num_trials)
    normalise_on = 0 if classifier == "normalised_ensemble" else None
    return sample_ensemble(key, problem, alpha, counts, num_trials, normalise_on)

r"""Trials of `theory.learner_limits`: data drawn for each, trained for all regularisations, judged exactly on all targets.

Trials come in chunks of fixed size, so that they can be shared out over processes and devices, and what is known of a cell is
the `Moments` of its accuracies. A trial's data depend on the seed, the job and the trial's number alone: neither the chunks nor
the device that trains them change the table beyond the solvers' tolerance.
"""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
from jax import Array
from jaxtyping import Float

from theory.arrays import Scalar
from theory.gaussian import accuracy
from theory.learner_limits import Job, LimitLearner, mixtures
from theory.learners import train, train_hard_margin
from theory.losses import LOSSES

if TYPE_CHECKING:
    import pandas as pd

_BATCH_ELEMENTS = 1 << 22
_LARGEST_BATCH = 64
_CHUNK_SECONDS = 6.0
_LARGEST_CHUNK = 512
# Bounds on the relative error of w; the accuracies are then within 1e-5 of the optimum's.
_TOLERANCE = {"square": 1e-4, "logistic": 1e-4, "hinge": 1e-3, "hard_margin": 1e-3}
#: Smooth losses need passes over the samples, the others factorisations.
SMOOTH = ("square", "logistic")


@dataclass(frozen=True, eq=False)
class Moments:
    """Count, mean and spread of accuracies over trials, for every regularisation and target.

    Attributes:
        count: trials.
        mean: shape (L, T).
        squares: sums of squared deviations from the mean, shape (L, T).
    """

    count: int
    mean: Float[np.ndarray, "l t"]
    squares: Float[np.ndarray, "l t"]

    @classmethod
    def of(cls, values: Float[np.ndarray, "trials l t"]) -> "Moments":
        """Moments of accuracies, shape (trials, L, T)."""
        mean = values.mean(0)
        return cls(len(values), mean, ((values - mean) ** 2).sum(0))

    def __add__(self, other: "Moments") -> "Moments":
        count = self.count + other.count
        apart = other.mean - self.mean
        return Moments(
            count,
            self.mean + apart * (other.count / count),
            self.squares + other.squares + apart**2 * (self.count * other.count / count),
        )

    @property
    def stderr(self) -> Float[np.ndarray, "l t"]:
        """Standard errors of the means (not a number for a single trial)."""
        if self.count < 2:
            return np.full_like(self.mean, np.nan)
        return np.sqrt(self.squares / (self.count - 1) / self.count)


def seconds_per_trial(job: Job) -> float:
    """About how long one core trains on one data set (three regularisations)."""
    n, d = sum(job.counts), job.num_features
    if job.learner in SMOOTH:
        return 2e-3 + 2.5e-8 * n * d
    return 3e-3 + 1.1e-9 * n * min(n, d) ** 2 + 2e-10 * d * min(n, d) ** 2


def batch_size(job: Job) -> int:
    """Trials that are trained in one call: a power of two, the same for all calls of a job, so that one program serves them."""
    most = _BATCH_ELEMENTS // (sum(job.counts) * job.num_features)
    return 1 << max(0, min(most, _LARGEST_BATCH).bit_length() - 1)


def chunk_size(job: Job) -> int:
    """Trials in a chunk: whole batches, a few seconds of one core or 512 trials."""
    batch = batch_size(job)
    wanted = min(_CHUNK_SECONDS / seconds_per_trial(job), _LARGEST_CHUNK)
    return batch * max(1, round(wanted / batch))


def draw_trials(job: Job, seed: int, first: int, number: int) -> Float[np.ndarray, "trials n d"]:
    """Samples u = y x of trials first, first + 1, ..., each from a generator of its own.

    NumPy's single-precision normals: drawing costs more than training where losses are smooth.
    """
    mixture = mixtures(job.num_features)[job.mixture]
    shape = (sum(job.counts), job.num_features)
    samples = np.empty((number, *shape))
    ends = np.cumsum(job.counts)
    for rows, trial in zip(samples, range(first, first + number), strict=True):
        generator = np.random.default_rng([seed, zlib.crc32(job.name.encode()), trial])
        normals = generator.standard_normal(shape, np.float32)
        for source, end, count in zip(mixture.sources, ends, job.counts, strict=True):
            part = slice(end - count, end)
            np.multiply(normals[part], np.sqrt(np.asarray(source.covariance, np.float64)), out=rows[part])
            rows[part] += np.asarray(source.mean, np.float64)
    return samples


def simulate(
    job: Job, penalties: Sequence[float], seed: int, first: int, number: int
) -> Float[np.ndarray, "trials l t"]:
    """Accuracies of trials first, ..., first + number − 1 for every regularisation and target; whole batches.

    Raises:
        ValueError: a number of trials that does not fill its batches.
    """
    size = batch_size(job)
    if number < 1 or number % size:
        raise ValueError(
            f"{job.name} is trained in batches of {size}: the number of trials must be a multiple, got {number}"
        )
    targets = mixtures(job.num_features)[job.mixture].targets
    results = []
    for start in range(first, first + number, size):
        weights = _train(job.learner, draw_trials(job, seed, start, size), penalties)
        results.append(np.stack([np.asarray(accuracy(weights, target)) for target in targets], -1))
    return np.concatenate(results)


def _train(learner: LimitLearner, samples: np.ndarray, penalties: Sequence[float]) -> Array:
    if learner == "hard_margin":
        return train_hard_margin(samples, _TOLERANCE[learner]).weights[:, None]
    return train(LOSSES[learner], samples, list(penalties), _TOLERANCE[learner]).weights


def chunks_wanted(job: Job, done: Sequence[Moments], min_trials: int, largest_stderr: Scalar) -> int:
    """How many chunks a job needs, as far as its first chunks can say: never fewer than are done.

    Trials are added (never dropped) by the spread seen so far, until the worst cell has `largest_stderr`.

    Args:
        job: what is trained.
        done: moments of chunks 0, 1, ... without a gap.
        min_trials: trials to begin with, at least 2.
        largest_stderr: of an accuracy.
    """
    size = chunk_size(job)
    least = -(-min_trials // size)
    if len(done) < least:
        return least
    total = sum_of(done)
    worst = float(total.stderr.max())
    if worst <= largest_stderr:
        return len(done)
    return max(len(done) + 1, math.ceil(total.count * (1.05 * worst / largest_stderr) ** 2 / size))


def sum_of(chunks: Sequence[Moments]) -> Moments:
    """Moments of all chunks together, added in their order."""
    return reduce(lambda total, part: total + part, chunks)


def cells(job: Job, moments: Moments, penalties: Sequence[float]) -> "pd.DataFrame":
    """The rows of one job: one per regularisation (0 for the hard margin) and target."""
    import pandas as pd

    mixture = mixtures(job.num_features)[job.mixture]
    shown = [0.0] if job.learner == "hard_margin" else list(penalties)
    rows = [
        {
            "mixture": mixture.name,
            "learner": job.learner,
            "samples_per_feature": job.samples_per_feature,
            "penalty": penalty,
            "target": target.name,
            "d": job.num_features,
            "n": sum(job.counts),
            "num_trials": moments.count,
            "accuracy_simulated": moments.mean[i, t],
            "accuracy_stderr": moments.stderr[i, t],
        }
        for i, penalty in enumerate(shown)
        for t, target in enumerate(mixture.targets)
    ]
    return pd.DataFrame(rows)

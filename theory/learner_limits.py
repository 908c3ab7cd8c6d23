r"""Really trained learners held against their exact limits: settings, cells, and what counts as agreement.

A `Job` is one learner on one mixture at one n/d and d: fresh data for every trial, trained for all regularisations by
`theory.learners` and judged exactly on all targets. Use `jobs` for the list, `run_job` to train one, `with_predictions` to put
the limits beside, `verdict` for the finding. The script `experiments/learner_limits.py` runs and records them.
"""

import itertools
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from theory.arrays import Scalar
from theory.asymptotics import asymptotics, hard_margin_asymptotics
from theory.gaussian import Source, Target, accuracy
from theory.learners import draw_mixture, train, train_hard_margin
from theory.losses import LOSSES
from theory.separability import separability_threshold

if TYPE_CHECKING:
    import pandas as pd

LimitLearner: TypeAlias = Literal["square", "logistic", "hinge", "hard_margin"]
LEARNERS: tuple[LimitLearner, ...] = ("square", "logistic", "hinge", "hard_margin")

#: A hard margin is trained only where n/d is at most this share of the threshold: nearer, finite data often have none.
SAFELY_SEPARABLE = 0.8
_BATCH_ELEMENTS = 1 << 22
_LARGEST_BATCH = 32
# Bounds on the relative error of w; the accuracies are then within 1e-5 of the optimum's.
_TOLERANCE = {"square": 1e-4, "logistic": 1e-4, "hinge": 1e-3, "hard_margin": 1e-3}


@dataclass(frozen=True, eq=False)
class Mixture:
    """Sources with different means and noise, their shares, and what the classifiers are tested on.

    Attributes:
        name: as tables call it.
        sources: S training distributions.
        shares: (S,).
        targets: the reference and shifts.
    """

    name: str
    sources: tuple[Source, ...]
    shares: tuple[float, ...]
    targets: tuple[Target, ...]


def mixtures(num_features: int) -> tuple[Mixture, ...]:
    """The three mixtures of the validation in d features: two noise levels, three sources, noise of different shape.

    Raises:
        ValueError: fewer than 8 features.
    """
    d = num_features
    if d < 8:
        raise ValueError(f"the mixtures need at least 8 features, got {d}")

    def vector(*entries: float) -> np.ndarray:
        return np.r_[np.asarray(entries), np.zeros(d - len(entries))]

    def diagonal(first: Sequence[float], low: float, high: float) -> np.ndarray:
        half = (d - 3) // 2
        return np.r_[np.asarray(first), np.full(half, low), np.full(d - 3 - half, high)]

    return (
        Mixture(
            "two noise levels",
            (Source(vector(1.2, 0.3), 1.0), Source(vector(0.4, 1.4), 2.25)),
            (0.5, 0.5),
            (Target(vector(1.0, 0.6), name="reference"), Target(vector(0.2, 1.2), 1.5, "shift")),
        ),
        Mixture(
            "three sources",
            (
                Source(vector(1.5, 0.0, 0.3), 0.5),
                Source(vector(0.2, 1.2, 0.5), 1.0),
                Source(vector(0.6, 0.6, -0.4), 3.0),
            ),
            (0.3, 0.3, 0.4),
            (Target(vector(1.0, 0.7, 0.2), name="reference"), Target(vector(0.2, 1.0, 0.8), 1.5, "shift")),
        ),
        Mixture(
            "anisotropic noise",
            (
                Source(vector(1.5, 0.0, 0.8), diagonal((1, 4, 1), 0.5, 1.5)),
                Source(vector(0.0, 1.5, 0.8), diagonal((4, 1, 1), 2.0, 0.5)),
            ),
            (0.5, 0.5),
            (
                Target(vector(0.5, 0.5, 1.0), name="reference"),
                Target(vector(0.8, 0.6, 0.1), diagonal((1, 1, 1), 0.5, 1.5), "shift"),
            ),
        ),
    )


@dataclass(frozen=True)
class Job:
    """One learner on one mixture at one size.

    Attributes:
        mixture: index in `mixtures`.
        learner: what is trained.
        samples_per_feature: δ = n/d.
        num_features: d.
    """

    mixture: int
    learner: LimitLearner
    samples_per_feature: float
    num_features: int

    @property
    def name(self) -> str:
        """A name that is fit for a file."""
        return (
            f"d{self.num_features}_mixture{self.mixture + 1}_{self.learner}_delta{self.samples_per_feature:g}"
        )

    @property
    def counts(self) -> list[int]:
        """n_s: shares of δd, rounded so that they sum to n."""
        shares = mixtures(self.num_features)[self.mixture].shares
        total = round(self.samples_per_feature * self.num_features)
        ends = [round(total * x) for x in np.cumsum(shares)]
        return np.diff([0, *ends]).tolist()


def jobs(
    samples_per_feature: Sequence[float], num_features: Sequence[int], learners: Sequence[str] = LEARNERS
) -> list[Job]:
    """All jobs, the longest first; hard margins only where data are safely separable.

    Raises:
        ValueError: an unknown learner, n/d <= 0 or fewer than 8 features.
    """
    unknown = [name for name in learners if name not in LEARNERS]
    if unknown:
        raise ValueError(f"learners must be among {', '.join(LEARNERS)}, got {unknown[0]!r}")
    found = []
    for d in num_features:
        for index, mixture in enumerate(mixtures(d)):
            most = SAFELY_SEPARABLE * float(separability_threshold(mixture.sources, mixture.shares))
            for delta in samples_per_feature:
                if not delta * d >= len(mixture.sources):
                    raise ValueError(f"n/d must give every source a sample, got {delta} at d = {d}")
                found += [
                    Job(index, learner, float(delta), d)
                    for learner in LEARNERS
                    if learner in learners and (learner != "hard_margin" or delta <= most)
                ]
    cost = {"square": 0.02, "logistic": 0.03, "hinge": 1.0, "hard_margin": 0.5}
    return sorted(found, key=lambda job: -cost[job.learner] * job.samples_per_feature * job.num_features**2.5)


def with_predictions(cells: "pd.DataFrame") -> "pd.DataFrame":
    """The cells of any jobs with a column `accuracy_predicted`, the exact limit at their n/d, λ and realised shares."""
    predicted = cells["accuracy_simulated"] * math.nan
    for (name, learner, d), rows in cells.groupby(["mixture", "learner", "d"]):
        index, mixture = next((i, x) for i, x in enumerate(mixtures(int(d))) if x.name == name)
        settings = rows[["samples_per_feature", "penalty"]].drop_duplicates()
        counts = np.asarray(
            [Job(index, learner, delta, int(d)).counts for delta in settings["samples_per_feature"]], float
        )
        n = counts.sum(1)
        shares = counts / n[:, None]
        if learner == "hard_margin":
            limit = hard_margin_asymptotics(mixture.sources, shares, n)
        else:
            limit = asymptotics(mixture.sources, shares, n, settings["penalty"].to_numpy(), str(learner))
        accuracies = np.asarray(limit.accuracies(mixture.targets))
        place = {key: i for i, key in enumerate(settings.itertuples(index=False, name=None))}
        column = {target.name: i for i, target in enumerate(mixture.targets)}
        keys = zip(rows["samples_per_feature"], rows["penalty"], rows["target"], strict=True)
        predicted[rows.index] = [accuracies[place[delta, lam], column[target]] for delta, lam, target in keys]
    return cells.assign(accuracy_predicted=predicted)


def batch_size(job: Job) -> int:
    """Trials that are trained in one call: a power of two, the same for all calls of a job, so that one program serves them."""
    most = _BATCH_ELEMENTS // (sum(job.counts) * job.num_features)
    return 1 << max(0, min(most, _LARGEST_BATCH).bit_length() - 1)


def simulate(job: Job, penalties: Sequence[float], seed: int, first: int, num_batches: int) -> np.ndarray:
    """Accuracies of trials first, first + 1, ... in whole batches, each on data of its own, shape (trials, L, T)."""
    mixture = mixtures(job.num_features)[job.mixture]
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(job.name.encode()))
    size = batch_size(job)

    @jax.jit
    def draw(start: Array) -> Array:
        keys = jax.vmap(lambda trial: jax.random.fold_in(key, start + trial))(jnp.arange(size))
        return jax.vmap(lambda own: draw_mixture(own, mixture.sources, job.counts))(keys)

    results = []
    for batch in range(num_batches):
        weights = _train(job.learner, draw(jnp.asarray(first + batch * size)), penalties)
        results.append(np.stack([np.asarray(accuracy(weights, t)) for t in mixture.targets], -1))
    return np.concatenate(results)


def _train(learner: LimitLearner, samples: Array, penalties: Sequence[float]) -> Array:
    if learner == "hard_margin":
        return train_hard_margin(samples, _TOLERANCE[learner]).weights[:, None]
    return train(LOSSES[learner], samples, list(penalties), _TOLERANCE[learner]).weights


def run_job(
    job: Job, penalties: Sequence[float], seed: int, min_trials: int, largest_stderr: Scalar
) -> "pd.DataFrame":
    """Train until every cell's standard error is small enough; one row per regularisation and target.

    Trials are added (never dropped) by the spread seen so far, until the worst cell has `largest_stderr`.

    Args:
        job: what to train.
        penalties: λ, for all learners but the hard margin.
        seed: of all draws; equal seeds give equal tables.
        min_trials: trials to begin with, at least 2.
        largest_stderr: of an accuracy.
    """
    import pandas as pd

    size = batch_size(job)
    values = simulate(job, penalties, seed, 0, -(-min_trials // size))
    while True:
        stderr = values.std(0, ddof=1) / math.sqrt(len(values))
        worst = float(stderr.max())
        if worst <= largest_stderr:
            break
        wanted = math.ceil(len(values) * (1.05 * worst / largest_stderr) ** 2)
        missing = -(-(wanted - len(values)) // size)
        values = np.concatenate([values, simulate(job, penalties, seed, len(values), missing)])
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
            "num_trials": len(values),
            "accuracy_simulated": values[:, i, t].mean(),
            "accuracy_stderr": stderr[i, t],
        }
        for i, penalty in enumerate(shown)
        for t, target in enumerate(mixture.targets)
    ]
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Gap:
    """How far finite d is from the limit, over all cells at one d.

    Attributes:
        num_features: d.
        rms: root mean square of (simulated − predicted) beyond what standard errors explain; 0 if they explain it all.
        low: lower end of its 95% interval (jackknife over independent data draws).
        high: upper end.
    """

    num_features: int
    rms: float
    low: float
    high: float


@dataclass(frozen=True)
class Shrinkage:
    """How the gap of one d compares with the gap of a smaller d, cell by cell.

    Attributes:
        small: the smaller d.
        large: the larger d.
        ratio: the slope of the larger d's gaps on the smaller d's, their noise taken off; small/large if the gap is O(1/d).
        stderr: its standard error (jackknife over independent data draws).
    """

    small: int
    large: int
    ratio: float
    stderr: float


@dataclass(frozen=True)
class Verdict:
    """What the cells say about the limits.

    Attributes:
        num_features: the largest d, at which agreement is judged.
        num_cells: cells there.
        beyond_3: cells further than 3 standard errors from the limit.
        beyond_5: further than 5.
        largest_stderr: of any cell.
        gaps: at every d.
        shrinkages: from each d to the next.
    """

    num_features: int
    num_cells: int
    beyond_3: int
    beyond_5: int
    largest_stderr: float
    gaps: tuple[Gap, ...]
    shrinkages: tuple[Shrinkage, ...]

    @property
    def agrees(self) -> bool:
        """At most 1% of the cells beyond 3 standard errors and none beyond 5."""
        return self.beyond_3 <= 0.01 * self.num_cells and self.beyond_5 == 0

    @property
    def falls(self) -> bool:
        """Whether the gap at the largest d is smaller than at the d before, by two standard errors."""
        if not self.shrinkages:
            return False
        last = self.shrinkages[-1]
        return self.gaps[-1].rms < self.gaps[-2].rms and last.ratio + 2 * last.stderr < 1


def z_scores(table: "pd.DataFrame") -> np.ndarray:
    """(simulated − predicted) / standard error of every cell."""
    gap = table["accuracy_simulated"] - table["accuracy_predicted"]
    return (gap / table["accuracy_stderr"]).to_numpy()


def verdict(table: "pd.DataFrame") -> Verdict:
    """The finding over all cells of all d."""
    table = table.assign(gap=table["accuracy_simulated"] - table["accuracy_predicted"])
    sizes = sorted(int(d) for d in table["d"].unique())
    main = table[table["d"] == sizes[-1]]
    z = np.abs(z_scores(main))
    gaps = []
    for d in sizes:
        cells = table[table["d"] == d]
        excess = (cells["gap"] ** 2 - cells["accuracy_stderr"] ** 2).to_numpy()
        mean, error = _jackknife(excess, np.ones_like(excess), _groups(cells))
        low, high = (math.sqrt(max(mean + side * 1.96 * error, 0)) for side in (-1, 1))
        gaps.append(Gap(d, math.sqrt(max(mean, 0)), low, high))
    return Verdict(
        num_features=sizes[-1],
        num_cells=len(main),
        beyond_3=int((z > 3).sum()),
        beyond_5=int((z > 5).sum()),
        largest_stderr=float(main["accuracy_stderr"].max()),
        gaps=tuple(gaps),
        shrinkages=tuple(_shrinkage(table, *pair) for pair in itertools.pairwise(sizes)),
    )


def _shrinkage(table: "pd.DataFrame", small: int, large: int) -> Shrinkage:
    both = table[table["d"] == large].merge(table[table["d"] == small], on=_CELL, suffixes=("", "_small"))
    weight = 1 / both["accuracy_stderr"] ** 2
    top = (weight * both["gap"] * both["gap_small"]).to_numpy()
    # The noise of the smaller d's gap would flatten the fit: its known variance is taken off.
    bottom = (weight * (both["gap_small"] ** 2 - both["accuracy_stderr_small"] ** 2)).to_numpy()
    return Shrinkage(small, large, *_jackknife(top, bottom, _groups(both)))


_CELL = ["mixture", "learner", "samples_per_feature", "penalty", "target"]


def _groups(table: "pd.DataFrame") -> np.ndarray:
    """A number for every set of cells that shares its data."""
    return table.groupby(["mixture", "learner", "samples_per_feature"]).ngroup().to_numpy()


def _jackknife(top: np.ndarray, bottom: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """Σ top / Σ bottom and its standard error, leaving out one group at a time."""
    names = np.unique(groups)
    value = top.sum() / bottom.sum()
    left = np.asarray([top[groups != g].sum() / bottom[groups != g].sum() for g in names])
    spread = math.sqrt((len(names) - 1) * np.mean((left - left.mean()) ** 2)) if len(names) > 1 else math.nan
    return float(value), spread

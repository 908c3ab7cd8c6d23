r"""Really trained learners held against their exact limits: settings, cells and predictions.

A `Job` is one learner on one mixture at one n/d and d. Use `jobs` for the list and `with_predictions` to put the limits beside;
`theory.learner_limits_trials` trains, `theory.learner_limits_verdict` says what counts as agreement.
`experiments/learner_limits.py` runs and records them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from theory.asymptotics import asymptotics, hard_margin_asymptotics
from theory.gaussian import Source, Target
from theory.separability import separability_threshold

if TYPE_CHECKING:
    import pandas as pd

LimitLearner: TypeAlias = Literal["square", "logistic", "hinge", "hard_margin"]
LEARNERS: tuple[LimitLearner, ...] = ("square", "logistic", "hinge", "hard_margin")

#: A hard margin is trained only where n/d is at most this share of the threshold and this many times 1/√d below it: nearer,
#: finite data sometimes have none.
SAFELY_SEPARABLE = 0.8, 12.0


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
                Source(vector(1.5, 0.0, 0.8), diagonal((1.0, 4.0, 1.0), 0.5, 1.5)),
                Source(vector(0.0, 1.5, 0.8), diagonal((4.0, 1.0, 1.0), 2.0, 0.5)),
            ),
            (0.5, 0.5),
            (
                Target(vector(0.5, 0.5, 1.0), name="reference"),
                Target(vector(0.8, 0.6, 0.1), diagonal((1.0, 1.0, 1.0), 0.5, 1.5), "shift"),
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
            threshold = float(separability_threshold(mixture.sources, mixture.shares))
            share, distance = SAFELY_SEPARABLE
            most = min(share * threshold, threshold - distance / math.sqrt(d))
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

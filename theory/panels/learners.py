"""Panel `learners`: classifiers side by side, slope and accuracy of mixtures of two sources.

In the first setting every learner dilutes. In the second the fragile source is long and points along the other one: the
square loss over-fits and subtracts it, so least squares and weak ridge regression leave the sources' interval, while a strong
penalty and the decreasing losses stay inside. Lines are the exact limit of many features (averaging: the law at this d), points
are classifiers trained on drawn samples.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import numpy as np
from jax import Array
from jaxtyping import Key

from theory.brute_force_learners import draw_rows
from theory.classifiers import averaging_law
from theory.escape import train_rows, verdict
from theory.exact_geometry import generator_of
from theory.gaussian import Source, Target, margin
from theory.limit_rows import LimitRow, limit_margins
from theory.panels.panel import Progress, check_at_least, silent
from theory.trial_statistics import agreement, summarise

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Learner:
    """A column of the panel: a loss ("averaging" for none) and its penalty λ."""

    name: str
    loss: str
    penalty: float


LEARNERS: tuple[Learner, ...] = (
    Learner("averaging", "averaging", 0.0),
    Learner("least squares (LDA)", "square", 0.0),
    Learner("ridge, small penalty", "square", 0.3),
    Learner("ridge, large penalty", "square", 5.0),
    Learner("logistic", "logistic", 0.1),
    Learner("hinge", "hinge", 0.1),
)


@dataclass(frozen=True)
class LearnersOptions:
    """Six learners on two settings."""

    num_features: int = 200
    """d (at least 8)."""
    samples_per_feature: int = 10
    """n/d, at least 2."""
    shares: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
    """Shares of the first source at which classifiers are trained, in (0, 1)."""
    num_trials: int = 40
    """Data sets per setting and share; every learner is trained on each."""
    curve_points: int = 31
    """Shares of the predicted lines."""

    def check(self) -> None:
        """Refuse options that would fail later, after the time has been spent.

        Raises:
            ValueError: naming the option, its value and what is allowed.
        """
        check_at_least(self, num_features=8, curve_points=3)
        check_at_least(self, "(least squares)", samples_per_feature=2)
        check_at_least(self, "for a standard error", num_trials=2)
        for share in self.shares:
            if not 0 < share < 1:
                raise ValueError(f"--shares must lie in (0, 1), got {share}")
        if not self.shares:
            raise ValueError("--shares needs at least one share")


@dataclass(frozen=True, eq=False)
class LearnersSetting:
    """Two sources with isotropic noise, a reference and a shift."""

    name: str
    sources: tuple[Source, Source]
    targets: tuple[Target, Target]


def learners_settings(num_features: int) -> tuple[LearnersSetting, LearnersSetting]:
    """The setting in which all dilute and the one in which least squares escapes; features: robust core, spurious, noise."""

    def vector(*entries: float) -> np.ndarray:
        return np.r_[entries, np.zeros(num_features - len(entries))]

    targets = Target(vector(1.0, 1.0), 1.0, "reference"), Target(vector(1.0, 0.0), 1.0, "shift")
    short = Source(vector(0.6, 1.4), 1.0, "fragile"), Source(vector(1.2, 0.3), 1.0, "robust")
    long = Source(vector(1.0, 6.0), 1.0, "fragile"), Source(vector(1.0, 1.0), 1.0, "robust")
    return (
        LearnersSetting("sources of moderate length", short, targets),
        LearnersSetting("a long fragile source", long, targets),
    )


def num_learners_steps(options: LearnersOptions) -> int:
    """How often `learners_tables` reports progress."""
    return 1 + 2 * len(options.shares)


def learners_tables(
    key: Key[Array, ""], options: LearnersOptions | None = None, progress: Progress = silent
) -> "dict[str, pd.DataFrame]":
    """Predictions and trained classifiers: tables `learners` (points) and `learners_curves` (lines).

    Args:
        key: random key.
        options: sizes.
        progress: told after the predictions and after every setting and share.

    Returns:
        `learners`: one row per setting, learner and share, with slope, probit_ref and probit_shift as _predicted, _simulated and
        _stderr. `learners_curves`: predictions on a finer grid of shares from 0 to 1.

    Raises:
        ValueError: options outside their range.
    """
    import pandas as pd

    options = options or LearnersOptions()
    options.check()
    settings = learners_settings(options.num_features)
    n = options.num_features * options.samples_per_feature
    # The predictions are for the shares that whole counts realise.
    shares = [round(share * n) / n for share in options.shares]
    # Closer together at the ends, where lines may be steep.
    grid = [float(share) for share in (1 - np.cos(np.linspace(0, np.pi, options.curve_points))) / 2]
    predicted = pd.DataFrame(predicted_rows(settings, [*shares, *grid], n))
    on_grid = predicted.groupby(["setting", "learner"]).cumcount() >= len(shares)
    progress("learners: exact limits")
    measured: list[dict[str, object]] = []
    for number, setting in enumerate(settings):
        for index, share in enumerate(shares):
            stream = jax.random.fold_in(jax.random.fold_in(key, number), index)
            first = round(share * n)
            rows = draw_rows(generator_of(stream), setting.sources, (first, n - first), options.num_trials)
            for learner in LEARNERS:
                weights = (
                    rows.mean(1)
                    if learner.loss == "averaging"
                    else train_rows(rows, learner.loss, learner.penalty)
                )
                found = summarise(
                    np.stack([np.asarray(margin(weights, t)) for t in setting.targets], axis=-1)
                )
                measured.append(
                    {
                        "setting": setting.name,
                        "learner": learner.name,
                        "share": share,
                        "d": options.num_features,
                        "n": n,
                        "trials": options.num_trials,
                        "slope_simulated": found.slope[1],
                        "slope_stderr": found.slope_stderr[1],
                        "probit_ref_simulated": found.mean[0],
                        "probit_ref_stderr": found.stderr[0],
                        "probit_shift_simulated": found.mean[1],
                        "probit_shift_stderr": found.stderr[1],
                    }
                )
            progress(f"learners: {setting.name}, share {share:g}")
    points = pd.DataFrame(measured).merge(
        predicted[~on_grid], on=["setting", "learner", "share"], validate="1:1"
    )
    return {"learners": points, "learners_curves": predicted[on_grid].reset_index(drop=True)}


def predicted_rows(
    settings: tuple[LearnersSetting, ...], shares: list[float], n: int
) -> list[dict[str, object]]:
    """Slope and margins of every learner on every setting at these shares, from theory alone."""
    rows: list[dict[str, object]] = []
    places = [(setting, share) for setting in settings for share in shares]
    by_loss = {
        loss: [x for x in LEARNERS if x.loss == loss] for loss in dict.fromkeys(x.loss for x in LEARNERS)
    }
    for loss, learners in by_loss.items():
        for learner, margins in zip(learners, _predicted_margins(loss, learners, places, n), strict=True):
            for (setting, share), (ref, shift) in zip(places, margins, strict=True):
                rows.append(
                    {
                        "setting": setting.name,
                        "learner": learner.name,
                        "penalty": learner.penalty,
                        "share": share,
                        "slope_predicted": shift / ref,
                        "probit_ref_predicted": ref,
                        "probit_shift_predicted": shift,
                    }
                )
    return rows


def _predicted_margins(
    loss: str, learners: list[Learner], places: list[tuple[LearnersSetting, float]], n: int
) -> np.ndarray:
    """Margins (learners, places, 2) on reference and shift."""
    if loss == "averaging":
        laws = [averaging_law(setting.sources, [share * n, (1 - share) * n]) for setting, share in places]
        expected = [
            [float(law.expected_margin(target)) for target in setting.targets]
            for law, (setting, _) in zip(laws, places, strict=True)
        ]
        return np.asarray([expected])
    rows = [
        LimitRow(s.sources, s.targets, share, n, learner.penalty)
        for learner in learners
        for s, share in places
    ]
    margins, _ = limit_margins(rows, loss)
    return margins.reshape(len(learners), len(places), 2)


def learners_summary(tables: "Mapping[str, pd.DataFrame]") -> list[str]:
    """What was found, in a few lines."""
    table, curves = tables["learners"], tables["learners_curves"]
    agrees = agreement(table)
    lines = [
        f"Classifiers side by side: {agrees.mean():.1%} of {len(agrees)} rows within 4 standard errors of theory "
        f"(d = {int(table['d'].iloc[0])}, n = {int(table['n'].iloc[0])})"
    ]
    for setting, rows in table.groupby("setting", sort=False):
        ends = curves[(curves["setting"] == setting) & (curves["learner"] == "averaging")].sort_values(
            "share"
        )
        slopes = ends["slope_predicted"].to_numpy()[[0, -1]]
        outside = {
            "theory": [
                str(name)
                for name, own in curves[curves["setting"] == setting].groupby("learner", sort=False)
                if any(verdict(slope, slopes) != "inside" for slope in own["slope_predicted"])
            ],
            "trained": [
                _outside(str(name), own, slopes) for name, own in rows.groupby("learner", sort=False)
            ],
        }
        said = {who: ", ".join(name for name in names if name) or "none" for who, names in outside.items()}
        lines.append(
            f"  {setting} (slopes {slopes.min():.3f} and {slopes.max():.3f}): outside by theory: {said['theory']}; trained, by "
            f"more than 2 s.e.: {said['trained']}"
        )
    return lines


def _outside(name: str, rows: "pd.DataFrame", slopes: np.ndarray) -> str:
    """The slope of a learner that is furthest outside of the sources', or nothing if none is clearly so."""
    measured, error = rows["slope_simulated"].to_numpy(), rows["slope_stderr"].to_numpy()
    distance = np.maximum(measured - slopes.max(), slopes.min() - measured)
    at = int(np.argmax(distance))
    return f"{name} ({measured[at]:.3f} ± {error[at]:.3f})" if distance[at] > 2 * error[at] else ""

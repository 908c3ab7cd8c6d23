"""Panel `escape`: where dilution holds and where a learner escapes it, as maps from theory and as trained classifiers.

Three maps: over-fitting subtraction of least squares in the plane of the first source's mean and in the plane of n/d and λ
(closed form), and changed whitening of logistic regression in the plane of anisotropy and λ (exact asymptotics). Beside
them every setting of `theory.escape_settings`, predicted and trained.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Key

from theory.escape import EscapeSetting, effective_noise, predict, pulls_of_gram, simulate, verdict
from theory.escape_settings import escape_settings
from theory.gaussian import Source
from theory.limit_rows import LimitRow, limit_margins
from theory.mixing import alignments
from theory.panels.panel import Progress, check_at_least, silent
from theory.trial_statistics import agreement, summarise

if TYPE_CHECKING:
    import pandas as pd

#: The maps: name, label of x, label of y.
MAPS: dict[str, tuple[str, str]] = {
    "mean": ("robust feature of source 1", "spurious feature of source 1"),
    "penalty": ("samples per feature n/d", "penalty λ"),
    "whitening": ("variance of the feature a source lacks", "penalty λ"),
}


@dataclass(frozen=True)
class EscapeOptions:
    """Maps of escape from dilution and the settings trained beside them."""

    num_features: int = 200
    """d of the trained settings (at least 8)."""
    num_trials: int = 12
    """Classifiers trained per setting."""
    map_points: int = 41
    """Points along each axis of the two closed-form maps."""
    whitening_points: int = 15
    """Points along each axis of the map of changed whitening."""

    def check(self) -> None:
        """Refuse options that would fail later, after the time has been spent.

        Raises:
            ValueError: naming the option, its value and what is allowed.
        """
        check_at_least(self, num_features=8, num_trials=2, map_points=5, whitening_points=5)


def num_escape_steps(options: EscapeOptions) -> int:
    """How often `escape_tables` reports progress."""
    return 2 + len(escape_settings(options.num_features))


def escape_tables(
    key: Key[Array, ""], options: EscapeOptions | None = None, progress: Progress = silent
) -> "dict[str, pd.DataFrame]":
    """Maps and trained settings: tables `escape_settings` and `escape_map`.

    Args:
        key: random key.
        options: sizes.
        progress: told after the maps, the predictions and every setting.

    Returns:
        `escape_settings`: one row per setting with its sources' slopes, the mixture's slope and probit_ref as _predicted,
        _simulated and _stderr, and on which side it lies (side_expected by its explanation, side_in_theory, side_found).
        `escape_map`: map, x, y, slopes of the sources and the mixture, `outside` (how far above the best source, negative if
        below the worst, 0 between them), `pull_first` (the first source's weight in the mediant).

    Raises:
        ValueError: options outside their range.
    """
    import pandas as pd

    options = options or EscapeOptions()
    options.check()
    settings = escape_settings(options.num_features)
    example, copies = settings[0], next(s for s in settings if s.name == "noisy copies, unequal sources")
    maps = [
        _mean_map(example, options.map_points),
        _penalty_map(example, options.map_points),
        _whitening_map(copies, options.whitening_points),
    ]
    progress("escape: maps")
    predictions = predict(settings)
    progress("escape: predictions")
    rows = []
    for number, (setting, predicted) in enumerate(zip(settings, predictions, strict=True)):
        found = summarise(simulate(jax.random.fold_in(key, number), setting, options.num_trials))
        slope, error = float(found.slope[1]), float(found.slope_stderr[1])
        low, high = float(predicted.source_slopes.min()), float(predicted.source_slopes.max())
        rows.append(
            {
                "setting": setting.name,
                "mechanism": setting.mechanism,
                "loss": setting.loss,
                "penalty": setting.penalty,
                "d": options.num_features,
                "n": setting.num_samples,
                "share": setting.share,
                "trials": options.num_trials,
                "first_slope": predicted.source_slopes[0],
                "second_slope": predicted.source_slopes[1],
                "averaging_slope": predicted.averaging_slope,
                "slope_predicted": predicted.slope,
                "slope_simulated": slope,
                "slope_stderr": error,
                "probit_ref_predicted": predicted.margins[0],
                "probit_ref_simulated": found.mean[0],
                "probit_ref_stderr": found.stderr[0],
                "pull_first": predicted.pulls[0],
                "side_expected": setting.expected,
                "side_in_theory": predicted.verdict,
                "side_found": verdict(slope, predicted.source_slopes, float(found.mean[0])),
                "stderr_from_interval": min(abs(slope - low), abs(slope - high)) / error,
                "why": setting.why,
            }
        )
        progress(f"escape: {setting.name}")
    return {"escape_settings": pd.DataFrame(rows), "escape_map": pd.concat(maps, ignore_index=True)}


def outside(mixture: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """How far slopes lie above both sources' (> 0) or below both (< 0); 0 between them."""
    high, low = np.maximum(first, second), np.minimum(first, second)
    return np.asarray(np.maximum(mixture - high, 0) - np.maximum(low - mixture, 0))


def _map_table(name: str, x: np.ndarray, y: np.ndarray, columns: Mapping[str, np.ndarray]) -> "pd.DataFrame":
    import pandas as pd

    flat = {key: np.broadcast_to(values, x.shape).ravel() for key, values in columns.items()}
    distance = outside(flat["mixture_slope"], flat["first_slope"], flat["second_slope"])
    return pd.DataFrame({"map": name, "x": x.ravel(), "y": y.ravel(), **flat, "outside": distance})


def _square_columns(setting: EscapeSetting, first: np.ndarray, kappa: np.ndarray) -> dict[str, np.ndarray]:
    """Slopes of least squares for means `first` (..., d) of the first source and noise κ (...), isotropic sources and targets."""
    second = np.broadcast_to(np.asarray(setting.sources[1].mean), first.shape)
    means = np.stack([first, second], axis=-2)
    shares = np.asarray([setting.share, 1 - setting.share])
    gram = jnp.asarray(means @ means.swapaxes(-1, -2))
    pulls = np.asarray(pulls_of_gram(gram, jnp.asarray(shares), jnp.asarray(kappa)))
    b, a = (means @ np.asarray(target.mean) for target in setting.targets)
    weights = shares * pulls
    return {
        "first_slope": a[..., 0] / b[..., 0],
        "second_slope": a[..., 1] / b[..., 1],
        "mixture_slope": np.sum(weights * a, -1) / np.sum(weights * b, -1),
        "pull_first": weights[..., 0],
    }


def _mean_map(setting: EscapeSetting, points: int) -> "pd.DataFrame":
    """Least squares (λ → 0, n > d) against the mean of the first source."""
    axis = np.linspace(0, 8, points)
    # The slope of a source without any signal is not defined.
    x, y = np.meshgrid(np.where(axis > 0, axis, 1e-3), axis)
    kappa = np.full(x.shape, float(effective_noise(1.0, 0.0, np.inf)))
    means = np.zeros((*x.shape, setting.reference.dimension))
    means[..., 0], means[..., 1] = x, y
    return _map_table("mean", x, y, _square_columns(setting, means, kappa))


def _penalty_map(setting: EscapeSetting, points: int) -> "pd.DataFrame":
    """Ridge regression against n/d and λ."""
    x, y = np.meshgrid(np.logspace(-1, 2, points), np.logspace(-3.5, 1, points))
    kappa = np.asarray(effective_noise(setting.sources[0].covariance, y, x))
    means = np.broadcast_to(np.asarray(setting.sources[0].mean), (*x.shape, setting.reference.dimension))
    return _map_table("penalty", x, y, _square_columns(setting, means, kappa))


def _whitening_map(setting: EscapeSetting, points: int) -> "pd.DataFrame":
    """A loss against the variance of each robust feature in the source that lacks it, and λ."""
    x, y = np.meshgrid(np.logspace(-1.5, 1.5, points), np.logspace(-3, 1, points))
    chosen = [_copies(setting, noise, penalty) for noise, penalty in zip(x.ravel(), y.ravel(), strict=True)]
    rows = [LimitRow(s.sources, s.targets, s.share, s.num_samples, s.penalty) for s in chosen]
    margins, pulls = limit_margins(rows, setting.loss)
    # A source alone has no signal where its variance is not 1: its classifiers point along its mean whatever that is.
    b, a = (np.asarray(alignments(setting.sources, target)) for target in setting.targets)
    columns = {
        "first_slope": np.asarray(a[0] / b[0]),
        "second_slope": np.asarray(a[1] / b[1]),
        "mixture_slope": (margins[:, 1] / margins[:, 0]).reshape(x.shape),
        "pull_first": (pulls[:, 0] / np.abs(pulls).sum(-1)).reshape(x.shape),
    }
    return _map_table("whitening", x, y, columns)


def _copies(setting: EscapeSetting, noise: float, penalty: float) -> EscapeSetting:
    """The setting with another variance of each source's missing feature."""
    rest = np.ones(setting.reference.dimension)
    first, second = rest.copy(), rest.copy()
    first[1], second[0] = noise, noise
    sources = Source(setting.sources[0].mean, first), Source(setting.sources[1].mean, second)
    return replace(setting, sources=sources, penalty=float(penalty))


def escape_summary(tables: "Mapping[str, pd.DataFrame]") -> list[str]:
    """What was found, in a few lines."""
    table = tables["escape_settings"]
    agrees = agreement(table)
    sides = (table["side_found"] == table["side_expected"]).mean()
    lines = [
        f"Escape from dilution: {agrees.mean():.1%} of {len(agrees)} trained settings within 4 standard errors of theory; "
        f"{sides:.1%} end on the side that their explanation says"
    ]
    for side, words in (("above", "beat the best source"), ("below", "fall below the worst")):
        rows = table[table["side_found"] == side]
        named = ", ".join(
            f"{row.setting} ({row.slope_simulated:.3f} ± {row.slope_stderr:.3f}; sources "
            f"{min(row.first_slope, row.second_slope):.3f}-{max(row.first_slope, row.second_slope):.3f})"
            for row in rows.itertuples()
        )
        lines.append(f"  {len(rows)} {words}: {named}")
    return lines

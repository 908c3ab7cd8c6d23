"""Panel `break_even`: when more, worse data is worth adding (section 4), as a phase diagram and as simulated classifiers.

Two sources of equal noise and length, at a fixed cosine. The diagram has the amount of kept data on one axis and how much the
added source knows of the target, relative to the kept one, on the other. Four settings, one per region, are followed from
nothing added to plenty; a grid of settings is simulated at a few amounts each, and the region is read off the simulation.

Simulated margins come from the exact reduced sampler; the terms of each margin that are linear in (ŵ·μ, ‖ŵ‖²), whose means are
known exactly, are subtracted from its draw, which changes no mean and lowers the standard error a hundredfold.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np
from jax import Array
from jaxtyping import Float, Key

from theory.break_even import REGIONS, AdditionMap, addition_map
from theory.gaussian import Source, Target
from theory.monte_carlo import MarginDraws, sample_averaging
from theory.panels.panel import Progress, check_at_least, silent
from theory.reduced_problem import ReducedProblem, reduce_problem
from theory.trial_statistics import agreement

if TYPE_CHECKING:
    import pandas as pd

#: One setting per region: kept samples per feature, signal ratio.
SHOWN: dict[str, tuple[float, float]] = {
    "hurts first, helps later": (0.005, 0.4),
    "always add": (0.005, 0.75),
    "add some": (10.0, 0.8),
    "add nothing": (10.0, 0.2),
}
_AMOUNTS = (0.0, 0.25, 0.5, 1.0, 1.5, 3.0, 10.0, 100.0, 3000.0)
_RATIOS = (0.1, 0.25, 0.37, 0.45, 0.6, 0.8, 1.2)
_PER_FEATURE = (0.002, 0.02, 0.2, 2.0, 20.0, 200.0)


@dataclass(frozen=True)
class BreakEvenOptions:
    """Adding worse data to data that are kept."""

    num_features: int = 1_000
    """d, at least 20: the closed form is right to a relative 1/d."""
    cosine: float = 0.3
    """Cosine of the two sources' means, in (0, 0.5)."""
    num_trials: int = 8_000
    """Classifiers per setting and amount."""
    map_points: int = 81
    """Points along each axis of the phase diagram."""

    def check(self) -> None:
        """Refuse options that would fail later, after the time has been spent.

        Raises:
            ValueError: naming the option, its value and what is allowed.
        """
        check_at_least(self, num_features=20, num_trials=2, map_points=5)
        if not 0 < self.cosine < 0.5:
            raise ValueError(f"--cosine must lie in (0, 0.5), got {self.cosine}")


class _Setting(NamedTuple):
    """Unit noise, unit means: ν_1 = (1, 0), ν_2 = (cosine, sine), a_1 = 1 and a_2 = ratio by the choice of μ."""

    problem: ReducedProblem
    num_kept: float
    told: AdditionMap
    target: Float[np.ndarray, " 2"]
    means: Float[np.ndarray, "2 2"]

    def predicted(self, counts: Float[np.ndarray, " 2"]) -> tuple[float, float, float, float]:
        """Signal, E‖ŵ‖², and the mean margin at leading and at second order, for counts (n_1, n_2)."""
        n, d = counts.sum(), self.problem.num_orthogonal + 2
        mean = counts @ self.means / n
        signal, length = float(mean @ self.target), float(mean @ mean)
        squared = length + d / n
        # The moments of Theorem 1 for Γ = Σ = I, as in AveragingLaw.expected_margin.
        spread = (4 * length / n + 2 * d / n**2) / squared**2
        leading = signal / math.sqrt(squared)
        return signal, squared, leading, leading * (1 + 3 / 8 * spread) - signal / n / squared**1.5


def num_break_even_steps(options: BreakEvenOptions) -> int:
    """How often `break_even_tables` reports progress."""
    return 1 + len(SHOWN) + len(_PER_FEATURE)


def break_even_tables(
    key: Key[Array, ""], options: BreakEvenOptions | None = None, progress: Progress = silent
) -> "dict[str, pd.DataFrame]":
    """Phase diagram and simulations: tables `break_even_map`, `break_even_lines`, `break_even_curves`, `break_even_checks`.

    Args:
        key: random key.
        options: sizes.
        progress: told after the diagram, every shown setting and every row of checks.

    Returns:
        `break_even_map`: kept_per_feature, signal_ratio, region, best_amount and break_even in units of n_1, and the two
        borders: the bar (P = 0, above it the first sample helps) and turn (Q = 0, above it the last sample helps).
        `break_even_lines`: smooth leading-order margins of the shown settings, with their turning points.
        `break_even_curves`: simulated margins of the shown settings, probit_predicted, _simulated and _stderr.
        `break_even_checks`: per setting of the grid the change of the margin by a first addition and by the last one, as
        first_change and last_change (_predicted, _simulated, _stderr), and the region in theory and as simulated.

    Raises:
        ValueError: options outside their range.
    """
    import pandas as pd

    options = options or BreakEvenOptions()
    options.check()
    phases = _map(options)
    progress("phase diagram of adding worse data")
    curve_key, check_key = jax.random.split(key)
    lines: list[pd.DataFrame] = []
    points: list[dict[str, object]] = []
    for number, (region, (per_feature, ratio)) in enumerate(SHOWN.items()):
        setting = _setting(options, per_feature, ratio)
        lines.append(_line(region, setting))
        stream = jax.random.fold_in(curve_key, number)
        points += [
            {
                "region": region,
                **_simulated(jax.random.fold_in(stream, i), setting, options, amount * setting.num_kept),
            }
            for i, amount in enumerate(_AMOUNTS)
        ]
        progress(f"adding data, {region}")
    checks: list[dict[str, object]] = []
    for row, per_feature in enumerate(_PER_FEATURE):
        stream = jax.random.fold_in(check_key, row)
        checks += [
            _check(jax.random.fold_in(stream, column), options, per_feature, ratio)
            for column, ratio in enumerate(_RATIOS)
        ]
        progress(f"regions at {per_feature:g} kept samples per feature")
    return {
        "break_even_map": phases,
        "break_even_lines": pd.concat(lines, ignore_index=True),
        "break_even_curves": pd.DataFrame(points),
        "break_even_checks": pd.DataFrame(checks),
    }


def break_even_summary(tables: "Mapping[str, pd.DataFrame]") -> list[str]:
    """What was found, in a few lines."""
    curves, checks = tables["break_even_curves"], tables["break_even_checks"]
    agrees = np.r_[agreement(curves), agreement(checks)]
    clear = checks[checks["is_clear"]]
    same = (clear["region_simulated"] == clear["region"]).sum()
    later = tables["break_even_lines"]
    later = later[later["region"] == "hurts first, helps later"]
    start, worst = later["probit_predicted"].iloc[0], later["stationary_probit"].iloc[0]
    kept = later["num_kept"].iloc[0]
    return [
        f"Break-even: {agrees.mean():.1%} of {len(agrees)} rows within 4 standard errors of theory; the region read off the "
        f"simulation is the predicted one in {same} of {len(clear)} settings where it is clear ({len(checks)} in all)",
        f"Hurts first, helps later: to {kept:g} samples of margin {start:.4f} add {later['stationary'].iloc[0]:.1f} worse ones "
        f"and it falls to {worst:.4f}; from {later['break_even'].iloc[0]:.1f} on it pays, towards {later['limit'].iloc[0]:.2f}",
    ]


def _map(options: BreakEvenOptions) -> "pd.DataFrame":
    import pandas as pd

    per_feature = np.geomspace(min(_PER_FEATURE) / 2, 2 * max(_PER_FEATURE), options.map_points)
    ratios = np.linspace(0, 1.4, options.map_points)
    x, y = (grid.ravel() for grid in np.meshgrid(per_feature, ratios))
    d = float(options.num_features)
    told = addition_map(1.0, y, 1.0, options.cosine, 1.0, d, d, x * d)
    return pd.DataFrame(
        {
            "kept_per_feature": x,
            "signal_ratio": y,
            "region": [REGIONS[int(code)] for code in np.asarray(told.region)],
            "best_amount": np.asarray(told.best_amount) / (x * d),
            "break_even": np.asarray(told.break_even) / (x * d),
            "bar": (options.cosine * x + 0.5) / (x + 1),
            "turn": x / (options.cosine * x + 0.5),
        }
    )


def _setting(options: BreakEvenOptions, per_feature: float, ratio: float) -> _Setting:
    sine = math.sqrt(1 - options.cosine**2)
    means = np.array([[1.0, 0.0], [options.cosine, sine]])
    target = np.array([1.0, (ratio - options.cosine) / sine])
    d = options.num_features
    problem = reduce_problem([Source(mean) for mean in means], [Target(target)], num_features=d)
    told = addition_map(1.0, ratio, 1.0, options.cosine, 1.0, float(d), float(d), per_feature * d)
    return _Setting(problem, per_feature * d, told, target, means)


def _line(region: str, setting: _Setting) -> "pd.DataFrame":
    import pandas as pd

    n1, told = setting.num_kept, setting.told
    amounts = np.r_[0, n1 * np.geomspace(0.03, 1e4, 200)]
    values = [setting.predicted(np.array([n1, amount]))[2] for amount in amounts]
    stationary = float(told.stationary)
    at = setting.predicted(np.array([n1, stationary]))[2] if math.isfinite(stationary) else math.nan
    return pd.DataFrame(
        {
            "region": region,
            "num_kept": n1,
            "num_added": amounts,
            "probit_predicted": values,
            "stationary": stationary,
            "stationary_probit": at,
            "break_even": float(told.break_even),
            "limit": float(told.limit),
        }
    )


def _simulated(key: Array, setting: _Setting, options: BreakEvenOptions, amount: float) -> dict[str, float]:
    counts = np.array([setting.num_kept, amount])
    draws = sample_averaging(key, setting.problem, counts, options.num_trials)
    signal, squared, leading, second = setting.predicted(counts)
    values = _controlled(draws, signal, squared)
    return {
        "num_kept": setting.num_kept,
        "num_added": amount,
        "trials": options.num_trials,
        "probit_leading": leading,
        "probit_predicted": second,
        "probit_simulated": float(values.mean()),
        "probit_stderr": float(values.std(ddof=1) / math.sqrt(len(values))),
    }


def _controlled(draws: MarginDraws, signal: float, squared: float) -> Float[np.ndarray, " n"]:
    """Margins less their linear terms, which have mean 0: the same mean, a far smaller spread."""
    projections = np.asarray(draws.projections[:, 0], np.float64) - signal
    lengths = np.asarray(draws.squared_lengths[:, 0], np.float64) - squared
    linear = projections / math.sqrt(squared) - signal * lengths / (2 * squared**1.5)
    return np.asarray(draws.margins[:, 0], np.float64) - linear


def _check(key: Array, options: BreakEvenOptions, per_feature: float, ratio: float) -> dict[str, object]:
    """Simulate a first and a last addition; their signs are the region."""
    setting = _setting(options, per_feature, ratio)
    n1, region = setting.num_kept, REGIONS[int(setting.told.region)]
    # The first addition stays on the near side of a turning point, the last lies past it.
    turn = float(setting.told.stationary)
    far = max(3 * n1, 3.0 * options.num_features, 2 * turn if math.isfinite(turn) else 0.0)
    amounts = (0.0, min(0.05 * n1, 0.5 * turn) if math.isfinite(turn) else 0.05 * n1, far, 4 * far)
    found = [
        _simulated(jax.random.fold_in(key, i), setting, options, amount) for i, amount in enumerate(amounts)
    ]
    row: dict[str, object] = {
        "kept_per_feature": per_feature,
        "signal_ratio": ratio,
        "region": region,
        "trials": options.num_trials,
    }
    signs, clear = [], True
    for name, before, after in (("first", found[0], found[1]), ("last", found[2], found[3])):
        change = after["probit_simulated"] - before["probit_simulated"]
        error = math.hypot(after["probit_stderr"], before["probit_stderr"])
        row[f"{name}_change_predicted"] = after["probit_predicted"] - before["probit_predicted"]
        row[f"{name}_change_simulated"], row[f"{name}_change_stderr"] = change, error
        signs.append(change > 0)
        clear = clear and abs(change) > 4 * error
    names = {
        (True, False): "add some",
        (True, True): "always add",
        (False, False): "add nothing",
        (False, True): "hurts first, helps later",
    }
    row["region_simulated"], row["is_clear"] = names[signs[0], signs[1]], clear
    return row

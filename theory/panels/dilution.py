"""Panel `dilution`: mixing turns the line (Theorems 1, 2 and 2b), and what the closed form leaves out at finite d.

Two sources are mixed as inputs (one classifier on both) and as outputs (an ensemble); `dilution_tables` holds every
configuration against its simulation, by the exact reduced sampler and by brute force.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import numpy as np
from jax import Array
from jaxtyping import Key

from theory.panels.finite_size import finite_size_bias_table
from theory.panels.mixing import default_setting, mixing_table, num_mixing_jobs
from theory.panels.panel import Progress, check_at_least, silent
from theory.trial_statistics import agreement

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class DilutionOptions:
    """Two sources, their mixtures and ensembles."""

    num_features: int = 400
    """d of the mixing simulations (at least 8)."""
    sizes: tuple[int, ...] = (40, 400, 4_000, 100_000, 1_000_000_000)
    """Training samples n for the reduced sampler; any size costs the same."""
    brute_force_sizes: tuple[int, ...] = (40, 400)
    """Training samples n for brute force, which really draws them; n / (shares - 1) must be a whole number."""
    num_shares: int = 11
    """Shares of the first source from 0 to 1, evenly spaced."""
    num_trials: int = 10_000
    """Classifiers per configuration of the reduced sampler."""
    num_brute_force_trials: int = 200
    """Classifiers per configuration of brute force."""
    bias_features: tuple[int, ...] = (8, 16, 32, 64, 128, 256, 512, 1024)
    """Values of d at which the closed form's bias is measured, at n = 2 d."""
    num_bias_trials: int = 40_000
    """Classifiers per d for the bias."""

    @property
    def shares(self) -> list[float]:
        """The shares of the first source."""
        return [round(float(share), 12) for share in np.linspace(0, 1, self.num_shares)]

    def check(self) -> None:
        """Refuse options that would fail later, after the time has been spent.

        Raises:
            ValueError: naming the option, its value and what is allowed.
        """
        check_at_least(self, num_features=8, num_shares=3)
        check_at_least(
            self, "for a standard error", num_trials=2, num_brute_force_trials=2, num_bias_trials=2
        )
        if not self.sizes:
            raise ValueError("--sizes needs at least one number of samples")
        for size in (*self.sizes, *self.brute_force_sizes):
            if size < 1:
                raise ValueError(f"--sizes and --brute-force-sizes must be at least 1, got {size}")
        for size in self.brute_force_sizes:
            if size % (self.num_shares - 1):
                raise ValueError(
                    f"--brute-force-sizes draws whole samples at every share: {size} is not a multiple of "
                    f"{self.num_shares - 1} (= num_shares - 1)"
                )


def num_dilution_steps(options: DilutionOptions) -> int:
    """How often `dilution_tables` reports progress."""
    return num_mixing_jobs(options.num_shares, len(options.sizes), len(options.brute_force_sizes)) + 1


def dilution_tables(
    key: Key[Array, ""], options: DilutionOptions | None = None, progress: Progress = silent
) -> "dict[str, pd.DataFrame]":
    """Sweep shares and sizes: tables `mixing` (see `mixing_table`) and `finite_d_bias` (see `finite_size_bias_table`).

    Args:
        key: random key.
        options: sizes of the sweep.
        progress: told after every configuration.

    Raises:
        ValueError: options outside their range.
    """
    options = options or DilutionOptions()
    options.check()
    mixing_key, bias_key = jax.random.split(key)
    mixing = mixing_table(
        mixing_key,
        default_setting(options.num_features),
        options.shares,
        options.sizes,
        options.brute_force_sizes,
        options.num_trials,
        options.num_brute_force_trials,
        progress=progress,
    )
    bias = finite_size_bias_table(
        bias_key, default_setting, options.bias_features, 2.0, 0.5, options.num_bias_trials
    )
    progress("finite-d bias")
    return {"mixing": mixing, "finite_d_bias": bias}


def dilution_summary(tables: "Mapping[str, pd.DataFrame]") -> list[str]:
    """What was found, in a few lines."""
    mixing, bias = tables["mixing"], tables["finite_d_bias"]
    agrees = agreement(mixing)
    exponent = np.polyfit(np.log(bias["d"]), np.log(bias["bias_leading"].abs()), 1)[0]
    first, last = bias.iloc[0], bias.iloc[-1]
    left = bias["bias_second_order"].abs().iloc[0]
    precise = (mixing["slope_stderr"] <= 0.01).mean()
    return [
        f"Mixing: {agrees.mean():.1%} of {len(agrees)} rows within 4 standard errors of theory; "
        f"slopes known to 0.01 or better in {precise:.1%}",
        f"Finite-d bias of the place: O(1/d) at fixed n/d; {first.bias_leading:+.1e} at d = {first.d:.0f}, "
        f"{last.bias_leading:+.1e} at d = {last.d:.0f}, measured exponent {exponent:.2f}; predictions carry it "
        f"(left at d = {first.d:.0f}: {left:.1e})",
    ]

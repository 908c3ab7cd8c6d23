r"""Panel `wrong_line`: label noise and nuisance features turn a line (Theorem 1's bend) into accuracy on the wrong line.

One world: a coarse and a fine feature carry the signal, many nuisance features carry none and have little variance, except
on the shift. Averaging classifiers bend there and stay on the line; interpolators of noisy labels leave it. The closed forms of
`theory.noisy_ridge` and `theory.wrong_line` stand beside classifiers drawn by the exact sampler, and beside ones that were
really trained in a smaller copy of the world (same n/d, same limit).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import jax
import numpy as np
from jax import Array
from jaxtyping import Key

from theory.panels.panel import Progress, silent
from theory.panels.wrong_line_sweeps import (
    bend_tables,
    curve_tables,
    family_tables,
    kinds_table,
    trained_tables,
    turn_table,
)
from theory.panels.wrong_line_world import FAMILY, WrongLineOptions
from theory.trial_statistics import agreement

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["WrongLineOptions", "num_wrong_line_steps", "wrong_line_summary", "wrong_line_tables"]


def num_wrong_line_steps(options: WrongLineOptions) -> int:
    """How often `wrong_line_tables` reports progress."""
    return len(options.label_noise) + 1 + len(FAMILY) - 1 + len(options.separations) + 2


def wrong_line_tables(
    key: Key[Array, ""], options: WrongLineOptions | None = None, progress: Progress = silent
) -> "dict[str, pd.DataFrame]":
    """All tables of the panel, each named `wrong_line_...`.

    bend and bend_curves (a), models, cloud and paths (b), correlation and curves (c), turn (d), kinds (what else may vary).

    Raises:
        ValueError: options outside their range.
    """
    import pandas as pd

    options = options or WrongLineOptions()
    options.check()
    keys = jax.random.split(key, 4)
    bend, bend_curves = bend_tables(keys[0], options)
    progress("averaging: the line bends")
    models, correlation = family_tables(keys[1], options, progress)
    trained, cloud = trained_tables(keys[2], options, progress)
    turn = turn_table(keys[3], options, progress)
    curves, paths = curve_tables(options)
    kinds = kinds_table(options)
    progress("smooth predictions")
    tables = {
        "bend": bend,
        "bend_curves": bend_curves,
        "models": pd.concat([models, trained], ignore_index=True),
        "cloud": cloud,
        "correlation": correlation,
        "curves": curves,
        "paths": paths,
        "turn": turn,
        "kinds": kinds,
    }
    return {f"wrong_line_{name}": table for name, table in tables.items()}


def wrong_line_summary(tables: "Mapping[str, pd.DataFrame]") -> list[str]:
    """Where models leave the line, and how well that was predicted."""
    agrees = {
        name: agreement(tables[f"wrong_line_{name}"]) for name in ("bend", "models", "correlation", "turn")
    }
    counted = ", ".join(f"{name} {rows.sum()} of {len(rows)}" for name, rows in agrees.items())
    turn = tables["wrong_line_turn"]
    own = turn[turn["separation"] == turn["separation"].iloc[0]]
    ends = [own.iloc[0], own.iloc[-1]]
    told = " and ".join(
        f"{np.exp(row['log_turn_simulated']):.3g} (predicted {np.exp(row['log_turn_predicted']):.3g}) "
        f"with {row['label_noise']:.0%}"
        for row in ends
    )
    correlation = tables["wrong_line_correlation"]
    averaging = correlation.loc[correlation["learner"] == "averaging", "correlation_simulated"]
    kinds = tables["wrong_line_kinds"]
    never = kinds.loc[np.isinf(kinds["turn"]) & ~kinds["vary"].str.contains("averaging"), "vary"]
    return [
        f"Wrong line: within 4 standard errors of theory: {counted}",
        "Wrong line: interpolators of more and more data correlate negatively once nuisance features have more variance under "
        f"shift than {told} of labels flipped",
        f"Wrong line: averaging classifiers never leave the line (smallest correlation {averaging.min():.3f}); nor do "
        f"interpolators that differ in {' or '.join(never)} only",
    ]

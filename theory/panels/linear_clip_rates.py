"""The sweep over rates of filtered training: errors beside their closed forms, and exponents with intervals.

`rate_tables` simulates the setting of `theory.linear_clip_rates`, `rate_curves` holds its closed forms on a fine grid.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np
from jax import Array

from theory.linear_clip_exponents import fit_exponents
from theory.linear_clip_rates import MatchedPairs, filtered_error, training_errors
from theory.panels.panel import Progress

if TYPE_CHECKING:
    import pandas as pd

#: Unfiltered errors are small, and a power law, where η√n is at least this.
LEAST_SIGNAL = 6.0
SETTING = MatchedPairs()


def rate_tables(
    key: Array,
    sizes: Sequence[int],
    matched_shares: Sequence[float],
    small_shares: Sequence[float],
    num_filters: int,
    num_replicates: int,
    progress: Progress,
) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Errors (root mean square over replicates) and fitted exponents of three models.

    Unfiltered models are measured at all matched shares, models filtered once at the large ones, and models filtered repeatedly
    at the small ones. Exponents are fitted to unfiltered errors where η√n >= 6, to the other two everywhere.

    Args:
        key: random key.
        sizes: n.
        matched_shares: large η.
        small_shares: small η.
        num_filters: passes of repeated filtering.
        num_replicates: independent pools for each n.
        progress: called once for each n and kind of share.

    Returns:
        The tables `linear_clip_rates` and `linear_clip_exponents`.
    """
    import pandas as pd

    rows = []
    for number, n in enumerate(sizes):
        for kind, (shares, passes) in enumerate(((matched_shares, 1), (small_shares, num_filters))):
            for replicate in range(num_replicates):
                stream = jax.random.fold_in(jax.random.fold_in(key, number), 2 * replicate + kind)
                errors, kept = training_errors(stream, SETTING, n, np.asarray(shares), passes)
                last = "filtered" if kind == 0 else "repeated"
                rows += [
                    {"model": model, "filters": t, "n": n, "share": eta, "replicate": replicate, "error": errors[t, e],
                     "kept": kept[t, e]}
                    for model, t in (("unfiltered", 0), (last, passes))
                    for e, eta in enumerate(shares)
                ]  # fmt: skip
            progress(f"linear_clip: rates, n = {n}, {'small' if kind else 'large'} matched shares")
    draws = pd.DataFrame(rows)
    return _summarised(draws), _fitted(draws, num_filters)


def _summarised(draws: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    rows = []
    for (model, filters, n, share), group in draws.groupby(["model", "filters", "n", "share"], sort=False):
        squared = group["error"].to_numpy() ** 2
        error = np.sqrt(squared.mean())
        rows.append(
            {
                "model": model,
                "filters": filters,
                "n": n,
                "share": share,
                "replicates": len(group),
                "kept_share": group["kept"].mean(),
                "error_predicted": float(filtered_error(SETTING, n, share, int(filters))),
                "error_simulated": error,
                "error_stderr": squared.std(ddof=1) / np.sqrt(len(squared)) / (2 * error),
            }
        )
    return pd.DataFrame(rows)


def _fitted(draws: "pd.DataFrame", num_filters: int) -> "pd.DataFrame":
    """Exponents of each model with intervals, those of its closed form on the same cells, and the rate in words."""
    import pandas as pd

    rates = {"unfiltered": (-1.0, -0.5, 0), "filtered": (-0.5, -0.5, 1), "repeated": (0.0, -0.5, num_filters)}
    rows = []
    for model, (in_share, in_n, passes) in rates.items():
        cells = draws[draws["model"] == model]
        if model == "unfiltered":
            cells = cells[cells["share"] * np.sqrt(cells["n"]) >= LEAST_SIGNAL]
        n, share = cells[["n", "share"]].to_numpy(np.float64).T
        closed = cells.assign(error=filtered_error(SETTING, n, share, passes))
        found, wanted = (fit_exponents(table, ["share", "n"]) for table in (cells, closed))
        for variable, rate in (("share", in_share), ("n", in_n)):
            rows.append(
                {
                    "model": model,
                    "variable": variable,
                    "rate": rate,
                    "closed_form": wanted[variable].value,
                    "exponent": found[variable].value,
                    "low": found[variable].low,
                    "high": found[variable].high,
                    "stderr": found[variable].stderr,
                    "least_share": share.min(),
                    "replicates": cells["replicate"].nunique(),
                }
            )
    return pd.DataFrame(rows)


def rate_curves(
    sizes: Sequence[int], matched_shares: Sequence[float], small_shares: Sequence[float], num_filters: int
) -> "pd.DataFrame":
    """Closed forms for the figure: errors against the matched share at the largest n, and against n at two shares.

    Args:
        sizes: n of the simulations.
        matched_shares: large η.
        small_shares: small η.
        num_filters: passes of repeated filtering.

    Returns:
        Columns axis ("share" or "n"), model, n, share, error.
    """
    import pandas as pd

    models: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
        "unfiltered": lambda n, eta: filtered_error(SETTING, n, eta, 0),
        "filtered": lambda n, eta: filtered_error(SETTING, n, eta, 1),
        "repeated": lambda n, eta: filtered_error(SETTING, n, eta, num_filters),
        "oracle": lambda n, eta: filtered_error(SETTING, n, eta, 1, "oracle"),
    }
    simulated = [*small_shares, *matched_shares]
    shares = np.unique([*np.geomspace(min(simulated), max(simulated), 40), *simulated])
    grid = np.geomspace(min(sizes), max(sizes), 20)
    frames = []
    for model, error in models.items():
        largest = np.full(len(shares), float(max(sizes)))
        frames.append(
            pd.DataFrame(
                {
                    "axis": "share",
                    "model": model,
                    "n": largest,
                    "share": shares,
                    "error": error(largest, shares),
                }
            )
        )
        for share in (min(matched_shares), min(small_shares)):
            fixed = np.full(len(grid), share)
            frames.append(
                pd.DataFrame(
                    {"axis": "n", "model": model, "n": grid, "share": fixed, "error": error(grid, fixed)}
                )
            )
    return pd.concat(frames, ignore_index=True)

"""The filtering sweep behind the dilution experiment: Theorem 3's predictions beside filtered pools that were really drawn.

`filtering_table` returns one pandas row per filter, threshold and shift; `default_filtering_setting` is the noisy pool that
the experiment shows, with a filter more robust than the pool and one less robust.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import numpy as np
from jax import Array
from jaxtyping import Float, Key

from theory.brute_force import brute_force_filtered
from theory.filtering import (
    Pool,
    direction_slope,
    filter_pool,
    filtered_place,
    filtered_slope,
    with_shuffled_captions,
)
from theory.gaussian import Source, Target
from theory.panels.panel import Progress, check_at_least, silent
from theory.thresholds import leading_places, threshold_for_kept_share
from theory.trial_statistics import agreement, summarise

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class FilteringOptions:
    """A noisy pool filtered by pre-trained models."""

    filter_features: int = 200
    """d of the filtering simulations (at least 8)."""
    pool_size: int = 2_000
    """Image-text pairs in the pool before filtering."""
    kept_shares: tuple[float, ...] = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05)
    """Shares of the pool to keep; 1 is the unfiltered pool."""
    num_pools: int = 200
    """Pools drawn per filter."""

    def check(self) -> None:
        """Refuse options that would fail later.

        Raises:
            ValueError: naming the option, its value and what is allowed.
        """
        check_at_least(self, "for a standard error", num_pools=2)
        shares = self.kept_shares
        if min(shares, default=0.0) * self.pool_size < 10 or max(shares) > 1:
            raise ValueError(
                f"--kept-shares must lie in (0, 1] and keep at least 10 of the {self.pool_size} pairs, got {list(shares)}"
            )


@dataclass(frozen=True, eq=False)
class FilteringSetting:
    """A pool, named filters, a reference and its shifts.

    Attributes:
        pool: the unfiltered data.
        filters: name -> f, shape (d,).
        reference: the reference test distribution.
        shifts: shifted ones, each with a name.
    """

    pool: Pool
    filters: dict[str, Float[np.ndarray, " d"]]
    reference: Target
    shifts: tuple[Target, ...]


def default_filtering_setting(num_features: int, shuffled_share: float | int = 0.4) -> FilteringSetting:
    """A web crawl of two sources with shuffled captions, a filter that is more robust to style than the pool (and less
    to viewpoint) and one for which it is the other way round.

    Args:
        num_features: d, at least 8.
        shuffled_share: share of each source's captions that belong to another image.

    Raises:
        ValueError: fewer than 8 features, or a share outside [0, 1].
    """
    if num_features < 8:
        raise ValueError(f"the setting needs at least 8 features, got {num_features}")

    def vector(*entries: float) -> np.ndarray:
        return np.r_[np.asarray(entries), np.zeros(num_features - len(entries))]

    # Axes: content, style, viewpoint, texture.
    crawl = (
        (Source(vector(1.2, 0.5, 0.5, 0.3), 1.0, "alt text"), 0.7),
        (Source(vector(0.8, 0.3, 0.7, 0.1), 1.0, "forum"), 0.3),
    )
    parts = [
        (part, weight * share)
        for source, weight in crawl
        for part, share in with_shuffled_captions(source, shuffled_share)
    ]
    return FilteringSetting(
        pool=Pool([part for part, _ in parts], np.asarray([weight for _, weight in parts])),
        filters={
            "filter that knows style": vector(0.6, 1.0, 0.2, 0.1),
            "filter that knows viewpoint": vector(1.0, 0.0, 0.5, 0.4),
        },
        reference=Target(vector(1.0, 0.4, 0.4, 0.3), 1.0, "reference"),
        shifts=(
            Target(vector(0.5, 1.0, 0.0, 0.0), 1.0, "style"),
            Target(vector(0.5, 0.0, 1.0, 0.2), 1.44, "viewpoint"),
        ),
    )


def filtering_table(
    key: Key[Array, ""],
    setting: FilteringSetting,
    kept_shares: Sequence[float],
    num_pool: int,
    num_trials: int,
    progress: Progress = silent,
) -> "pd.DataFrame":
    """Predicted and simulated kept shares, slopes and places of classifiers trained on filtered pools.

    Each trial draws `num_pool` pairs, scores them, keeps those above the threshold and averages what is left. Predicted places
    carry the O(1/n) correction; the predicted slope is the ratio of the two predicted places, as the simulated one is of means.

    Args:
        key: random key; every filter draws its own pools.
        setting: pool, filters and targets.
        kept_shares: shares of the pool to keep; 1 is the raw pool.
        num_pool: pairs in the pool.
        num_trials: pools drawn per filter.
        progress: called with a line of text after every filter.

    Returns:
        One row per filter, threshold and shift, with the columns of filtering.csv.
    """
    import pandas as pd

    targets = (setting.reference, *setting.shifts)
    rows: list[dict[str, object]] = []
    for number, (name, direction) in enumerate(setting.filters.items()):
        thresholds = threshold_for_kept_share(setting.pool, direction, np.asarray(kept_shares, np.float64))
        sample = brute_force_filtered(
            jax.random.fold_in(key, number),
            setting.pool,
            direction,
            thresholds,
            targets,
            num_pool,
            num_trials,
        )
        margins = np.asarray(sample.draws.margins)
        passed = np.asarray(sample.num_kept) / num_pool
        kept = np.asarray(filter_pool(setting.pool, direction, thresholds).kept_share)
        places = np.stack(
            [
                np.asarray(
                    filtered_place(setting.pool, direction, thresholds, t, num_pool, second_order=True)
                )
                for t in targets
            ],
            axis=-1,
        )
        for k, threshold in enumerate(np.asarray(thresholds)):
            simulated = summarise(margins[:, k])
            for t, shift in enumerate(setting.shifts, start=1):
                rows.append(
                    {
                        "filter_slope": float(direction_slope(direction, setting.reference, shift)),
                        "shift": shift.name,
                        "d": setting.pool.dimension,
                        "pool_size": num_pool,
                        "threshold": threshold,
                        "kept_predicted": kept[k],
                        "kept_simulated": passed[:, k].mean(),
                        "kept_stderr": passed[:, k].std(ddof=1) / np.sqrt(num_trials),
                        "slope_predicted": places[k, t] / places[k, 0],
                        "slope_simulated": simulated.slope[t],
                        "slope_stderr": simulated.slope_stderr[t],
                        "probit_shift_predicted": places[k, t],
                        "probit_shift_simulated": simulated.mean[t],
                        "probit_shift_stderr": simulated.stderr[t],
                    }
                )
        progress(f"{name}: {num_trials} pools of {num_pool} pairs at {len(kept)} thresholds")
    return pd.DataFrame(rows)


def filtering_curves(
    setting: FilteringSetting, num_pool: int, smallest_share: float | int, points: int = 60
) -> "pd.DataFrame":
    """Smooth predictions for the figure: per filter, threshold and shift the kept share, the slope and the place."""
    import pandas as pd

    # Even in the logarithm, and denser near 1, where curves are steep.
    shares = np.unique(
        np.r_[np.geomspace(smallest_share, 1.0, points), 1 - np.geomspace(1e-4, 0.1, points // 2)]
    )

    def curve(name: str, shift: Target) -> "pd.DataFrame":
        pool, reference, direction = setting.pool, setting.reference, setting.filters[name]
        thresholds = threshold_for_kept_share(pool, direction, shares)
        columns = {
            "filter": name,
            "filter_slope": float(direction_slope(direction, reference, shift)),
            "shift": shift.name,
            "kept": shares,
            "slope": np.asarray(filtered_slope(pool, direction, thresholds, reference, shift).slope),
            "probit_shift": np.asarray(leading_places(pool, direction, thresholds, shift, num_pool)),
        }
        return pd.DataFrame(columns)

    frames = [curve(name, shift) for name in setting.filters for shift in setting.shifts]
    return pd.concat(frames, ignore_index=True)


def num_filtering_steps(options: FilteringOptions) -> int:
    """How often `filtering_tables` reports progress."""
    return len(default_filtering_setting(options.filter_features).filters)


def filtering_tables(
    key: Key[Array, ""], options: FilteringOptions | None = None, progress: Progress = silent
) -> "dict[str, pd.DataFrame]":
    """The panel's table `filtering` (see `filtering_table`) for the default setting.

    Raises:
        ValueError: options outside their range.
    """
    options = options or FilteringOptions()
    options.check()
    setting = default_filtering_setting(options.filter_features)
    table = filtering_table(key, setting, options.kept_shares, options.pool_size, options.num_pools, progress)
    return {"filtering": table}


def filtering_summary(tables: "Mapping[str, pd.DataFrame]") -> list[str]:
    """How far each filter turned the line."""
    filtering = tables["filtering"]
    agrees = agreement(filtering)
    lines = [f"Filtering: {agrees.mean():.1%} of {len(agrees)} rows within 4 standard errors of Theorem 3"]
    for shift, rows in filtering.groupby("shift", sort=False):
        raw = rows[np.isneginf(rows["threshold"])]
        pool = f"pool {raw['slope_simulated'].iloc[0]:.2f}; " if len(raw) else ""
        ends = rows.loc[rows.groupby("filter_slope")["kept_predicted"].idxmin()].sort_values("filter_slope")
        told = [
            f"filter {row.filter_slope:.2f} -> {row.slope_simulated:.2f} at {row.kept_predicted:.0%} kept"
            for row in ends.itertuples()
        ]
        lines.append(f"Filtering, slope on “{shift}”: {pool}" + ", ".join(told))
    return lines

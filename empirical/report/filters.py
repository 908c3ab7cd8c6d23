"""What the page's filter slider is told: measured quantities where a study has them, an assumed agreement elsewhere.

Use `measured_pools` for pools that `empirical.filter_prediction` can predict, `assumed_filters` for the others.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from empirical.filter_prediction import filtered_pools, predict_filtering
from empirical.filtered_pool import FilteredPool
from empirical.robustness import group_labels, shifts

_JUNK = re.compile(r"\+junk:([\d.]+)")


def measured_pools(folder: Path, accuracies: pd.DataFrame, reference: str) -> list[dict[str, Any]]:
    """Per pool (its largest size) and filter, all that `empirical.filtered_pool.FilteredPool` holds, and what was measured.

    Needs filtering_account.csv and overlaps.csv beside the study's tables; empty without them.
    """
    paths = [folder / name for name in ("filtering_account.csv", "overlaps.csv")]
    if not all(path.exists() for path in paths):
        return []
    account, overlaps = (pd.read_csv(path) for path in paths)
    found = filtered_pools(accuracies, account, overlaps)
    measured = predict_filtering(accuracies, account, None, reference)
    sizes = account.groupby("sources")["pool_size"].max()
    return [
        pool_payload(pool, name, size, pools, measured)
        for (pool, name, size), pools in found.items()
        if size == sizes[pool]
    ]


def pool_payload(
    sources: str, name: str, size: int, pools: Sequence[FilteredPool], measured: pd.DataFrame
) -> dict[str, Any]:
    """One pool (all seeds) and filter as the page reads it; `measured` from `predict_filtering`."""
    first = pools[0]
    of_pool = measured[(measured["sources"] == sources) & (measured["pool_size"] == size)]
    half = of_pool["ratio_measured_stderr"] * stdtrit(np.maximum(of_pool["num_seeds"] - 1, 1), 0.975)
    of_pool = of_pool.assign(low=of_pool["ratio_measured"] - half, high=of_pool["ratio_measured"] + half)
    return {
        "pool": sources,
        "filter": name,
        "poolSize": size,
        "numClasses": first.num_classes,
        "trainedOn": first.n_train,
        "seeds": [
            [
                {
                    "source": part.source, "clean": part.clean, "junk": part.junk, "cleanScore": part.clean_score,
                    "junkScore": part.junk_score, "spread": part.spread,
                }
                for part in pool.parts
            ]
            for pool in pools
        ],
        "dprime": {s: dict(zip(first.test_sets, d.tolist(), strict=True)) for s, d in first.dprime.items()},
        "filterDprime": dict(zip(first.test_sets, first.filter_dprime.tolist(), strict=True)),
        "curves": _curves(first),
        "overlaps": {s: {u: first.overlaps[s, u] for u in (*first.dprime, name)} for s in (*first.dprime, name)},
        "measured": [
            {
                "shift": row.shift, "keptShare": row.kept_share, "raw": row.filter == "none", "numSeeds": row.num_seeds,
                "ratio": [row.ratio_measured, row.low, row.high],
            }
            for row in of_pool[of_pool["filter"].isin([name, "none"])].itertuples()
        ],
    }  # fmt: skip


def _curves(pool: FilteredPool) -> dict[str, Any] | None:
    """d' by size of the pool's sources; None where another size than the filter's cannot be read."""
    curves = {s: pool.curves[s] for s in pool.dprime if s in pool.curves}
    if len(curves) < len(pool.dprime) or not all(
        len(curve.sizes) and np.isfinite(curve.dprimes).all() for curve in curves.values()
    ):
        return None
    return {
        s: {
            "sizes": curve.sizes.tolist(),
            "dprime": dict(zip(pool.test_sets, curve.dprimes.T.tolist(), strict=True)),
        }
        for s, curve in curves.items()
    }


def assumed_filters(
    accuracies: pd.DataFrame,
    trends: pd.DataFrame,
    reference: str,
    num_classes: int,
    measured: Sequence[Mapping[str, Any]] = (),
) -> list[dict[str, Any]]:
    """Pools for which the page assumes an agreement of filter and pool: all that are not among `measured`.

    Per pool, filter and shift: the measured slopes and d' that Theorem 3 is told, and what was measured after filtering.

    dprimeFilter is the mean d'_ref of the filter's source at its largest n; slopes are those of rays in d', with 95% ends.
    """
    known = {(pool["pool"], pool["filter"]) for pool in measured}
    filtered = accuracies[accuracies["kind"] == "filtered"]
    names = filtered["filter"].fillna("none").replace("", "none")
    rays = trends[(trends["link"] == "dprime") & (trends["fit"] == "ray")].set_index(
        ["kind", "sources", "shift"]
    )
    labels = group_labels(filtered)
    out = []
    for (pool, name), rows in filtered.groupby([filtered["sources"], names], sort=False):
        own = accuracies[(accuracies["kind"] == "single") & (accuracies["sources"] == name)]
        own = own[own["test_set"] == reference]
        junk = _JUNK.search(str(pool))
        raw = labels[(filtered["sources"] == pool) & (names == "none")]
        if name == "none" or own.empty or junk is None or raw.empty or (str(pool), str(name)) in known:
            continue
        strength = float(own.loc[own["n_train"] == own["n_train"].max(), "dprime"].mean())
        for group, part in rows.groupby(labels[rows.index], sort=False):
            for shift in shifts(accuracies, reference):
                keys = {
                    "pool": ("filtered", raw.iloc[0], shift),
                    "filter": ("single", name, shift),
                    "kept": ("filtered", group, shift),
                }
                if not all(key in rays.index for key in keys.values()):
                    continue
                slopes = {
                    f"{what}Slope": [float(rays.loc[key, f"slope{end}"]) for end in ("", "_low", "_high")]
                    for what, key in keys.items()
                }
                out.append(
                    {
                        "pool": str(pool), "filter": str(name), "shift": shift, "junk": float(junk[1]), "numClasses": num_classes,
                        "dprimeFilter": strength, "keptShare": float(part["kept_share"].mean()), **slopes,
                    }
                )  # fmt: skip
    return out

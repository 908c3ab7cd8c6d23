"""Rules for filtered pools scored against measurements.

Use `score_filter_rules` for every rule's error beside the baselines, `turn_size` for how much of the turn that Theorem 3 expects
was measured. Predictions are those of `empirical.filter_prediction.predict_filter_rules`.
"""

import numpy as np
import pandas as pd

from empirical.filter_prediction import FILTER_RULES, TOLD_THE_POOL
from empirical.scoring import cluster_draws, score_clusters

FILTER_BASELINES = ("raw_pool", "filter_itself", "plain", "unturned")
"""What every rule's error is compared with: raw_pool is told a model trained on the pool, filter_itself the filter's models."""
_KEYS = ["sources", "filter", "pool_size", "kept_share"]


def score_filter_rules(predictions: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Error of every rule, and the paired difference to each baseline, as `empirical.scoring.score_rules` does it.

    A cluster is a pool of one size: its filters and kept shares are drawn together. Pools that differ in junk alone share their
    images, and all share test images and seeds, which no resampling of pools sees: intervals are rather too short.
    """
    rules = (*FILTER_RULES, TOLD_THE_POOL, "raw_pool", "filter_itself")
    clustered = predictions.assign(cluster=_pools(predictions))
    scores = score_clusters(clustered, _KEYS, rules, FILTER_BASELINES, seed)
    return scores.rename(columns={"num_mixtures": "num_pools"})


def turn_size(predictions: pd.DataFrame, seed: int = 0) -> tuple[float, float, float]:
    """How many times the turn that Theorem 3 expects was measured, and the ends of its 95% interval over pools.

    The least-squares slope through the origin of measured - unturned on clean_size - unturned: both read the pool's sources
    at the same size, so that their difference is the filter's pull alone. 1: the pull is of the right size; 0: there is none.
    """
    wide = predictions.pivot(index=[*_KEYS, "shift"], columns="rule", values="ratio_predicted")
    measured = predictions[predictions["rule"] == "unturned"].set_index([*_KEYS, "shift"])["ratio_measured"]
    expected = (wide["clean_size"] - wide["unturned"]).to_numpy(float)
    found = (measured.loc[wide.index] - wide["unturned"]).to_numpy(float)
    codes, pools = pd.factorize(_pools(wide.reset_index()))
    products, squares = (
        np.bincount(codes, weights=expected * other, minlength=len(pools)) for other in (found, expected)
    )
    draws = cluster_draws(len(pools), np.random.default_rng(seed))
    low, high = np.quantile((draws @ products) / (draws @ squares), [0.025, 0.975])
    return float(products.sum() / squares.sum()), float(low), float(high)


def _pools(table: pd.DataFrame) -> pd.Series:
    return table["sources"] + " of " + table["pool_size"].astype(str)

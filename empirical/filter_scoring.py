"""Rules for filtered pools scored against measurements.

Use `score_filter_rules` for every rule's error beside the baselines and how many turns it gets the direction of
(`turn_directions`), `turn_size` for how much of the turn that Theorem 3 expects was measured.
Predictions are those of `empirical.filter_prediction.predict_filter_rules`.
"""

import numpy as np
import pandas as pd

from empirical.filter_prediction import FILTER_RULES, TOLD_THE_POOL
from empirical.scoring import ALL_SHIFTS, cluster_draws, score_clusters

FILTER_BASELINES = ("raw_pool", "filter_itself", "plain", "unturned")
"""What every rule's error is compared with: raw_pool is told a model trained on the pool, filter_itself the filter's models."""
TURN_COLUMNS = (
    "num_turns", "turns_up", "turns_right", "turns_right_told_raw", "turns_beyond_up", "turns_beyond_up_low",
    "turns_beyond_up_high",
)  # fmt: skip
"""What `turn_directions` adds to a shift and rule."""
_KEYS = ["sources", "filter", "pool_size", "kept_share"]


def score_filter_rules(predictions: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Error of every rule, and the paired difference to each baseline, as `empirical.scoring.score_rules` does it.

    A cluster is a pool of one size: its filters and kept shares are drawn together. Pools that differ in junk alone share their
    images, and all share test images and seeds, which no resampling of pools sees: intervals are rather too short.
    The columns of `turn_directions` stand beside.
    """
    rules = (*FILTER_RULES, TOLD_THE_POOL, "raw_pool", "filter_itself")
    clustered = predictions.assign(cluster=_pools(predictions))
    scores = score_clusters(clustered, _KEYS, rules, FILTER_BASELINES, seed)
    scores = scores.rename(columns={"num_mixtures": "num_pools"})
    return scores.merge(turn_directions(predictions, seed), on=["shift", "rule"], how="left")


def turn_directions(predictions: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """How many measured turns each rule gets the direction of, beside the guess that filtering always raises the ratio.

    A turn is the change of the d' ratio by filtering, ratio_measured - ratio_of_pool; counted are the num_turns that are larger
    than two standard errors. turns_right: those whose sign is that of the rule's own turn, ratio_predicted - ratio_expected_raw,
    so that a rule told single-source models alone is told no more here. turns_up: those that go up, which is how many the
    baseline *always up* gets right. turns_right_told_raw takes the sign of ratio_predicted - ratio_of_pool instead: it is told a
    model trained on the pool, and that model's noise is on both sides of the comparison, which alone makes signs agree.
    turns_beyond_up = (turns_right - turns_up)/num_turns with a 95% bootstrap interval over pools, empty with one.

    Columns shift, rule and `TURN_COLUMNS`; rules that predict no turn have no turns_right. Needs the columns of
    `empirical.filter_prediction.predict_filter_rules`.
    """
    turn = predictions["ratio_measured"] - predictions["ratio_of_pool"]
    clear = predictions[turn.abs() > 2 * predictions["turn_stderr"]]
    rows = []
    for shift in [*pd.unique(predictions["shift"]), ALL_SHIFTS]:
        part = clear if shift == ALL_SHIFTS else clear[clear["shift"] == shift]
        rows += [
            (shift, str(rule), *_directions(found, seed)) for rule, found in part.groupby("rule", sort=False)
        ]
    return pd.DataFrame(rows, columns=["shift", "rule", *TURN_COLUMNS])


def _directions(clear: pd.DataFrame, seed: int) -> tuple:
    """`TURN_COLUMNS` of one shift and rule."""
    up = (clear["ratio_measured"] > clear["ratio_of_pool"]).to_numpy()

    def right(origin: str) -> np.ndarray | None:
        turn = clear["ratio_predicted"] - clear[origin]
        return (
            None if turn.isna().any() or not turn.any() else np.sign(turn.to_numpy()) == np.where(up, 1, -1)
        )

    own, told = right("ratio_expected_raw"), right("ratio_of_pool")
    counts = [np.nan if each is None else int(each.sum()) for each in (own, told)]
    if own is None:
        return (len(clear), int(up.sum()), *counts, *[np.nan] * 3)
    codes, pools = pd.factorize(_pools(clear))
    gains, turns = (
        np.bincount(codes, weights=v, minlength=len(pools)) for v in (1.0 * own - up, np.ones(len(up)))
    )
    low = high = np.nan
    if len(pools) > 1:
        draws = cluster_draws(len(pools), np.random.default_rng(seed))
        low, high = np.quantile((draws @ gains) / (draws @ turns), [0.025, 0.975])
    return (len(clear), int(up.sum()), *counts, float(gains.sum() / turns.sum()), float(low), float(high))


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

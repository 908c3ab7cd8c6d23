"""Theorem 3's predictions of a study's filtered pools (`empirical.filtered_pool`) beside what was measured.

Use `filtering_table` for what the filters did, `predict_filtering` for predictions beside measurements, `best_kept_shares` for
the share worth keeping.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from empirical.filtered_pool import FilterAccount, FilteredPool
from empirical.robustness import shifts

ACCOUNT_COLUMNS = (
    "run", "sources", "junk_share", "filter", "filter_n_train", "pool_size", "kept_share", "n_train", "seed", "threshold",
    "source", "clean", "clean_kept", "clean_score", "junk", "junk_kept", "junk_score", "score_spread",
)  # fmt: skip
PREDICTION_COLUMNS = (
    "sources", "filter", "pool_size", "kept_share", "n_train", "shift", "num_seeds", "ratio_measured",
    "ratio_measured_stderr", "ratio_predicted", "ratio_of_pool", "ratio_of_filter", "dprime_shift_measured",
    "dprime_shift_measured_stderr", "dprime_shift_predicted", "accuracy_shift_measured",
)  # fmt: skip


def filtering_table(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """One row per filtered run and source of its pool: what was in it, how the filter scored it, what was kept.

    Columns `ACCOUNT_COLUMNS`; scores are cosines, score_spread the standard deviation of clean pairs' scores. Raw pools have
    no filter ("none") and empty scores.
    """
    rows = []
    for record in records:
        account = record.get("filtering")
        if account is None:
            continue
        spec = record["spec"]["filter"]
        run = (
            record["run"], record["sources"], spec["junk_share"], spec["scorer_source"], _filter_size(spec["scorer"]),
            spec["pool_size"], spec["kept_share"], record["n_train"], record["seed"], account.get("threshold", np.nan),
        )  # fmt: skip
        rows += [
            (*run, part["source"], part["clean"], part["clean_kept"], part.get("clean_score", np.nan), part["junk"],
             part["junk_kept"], part.get("junk_score", np.nan), part.get("clean_spread", np.nan))
            for part in account.get("components", [])
        ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(ACCOUNT_COLUMNS))


def _filter_size(scorer: str | None) -> int:
    """n_train of the filter's run, from its name; 0 without a filter."""
    parts = [part for part in (scorer or "").split("-") if part.startswith("n") and part[1:].isdigit()]
    return int(parts[0][1:]) if parts else 0


def predict_filtering(
    accuracies: pd.DataFrame,
    account: pd.DataFrame,
    overlaps: pd.DataFrame | None = None,
    reference: str = "reference",
) -> pd.DataFrame:
    """Measured d' ratios and places of filtered pools beside Theorem 3's, means over seeds.

    `account` is `filtering_table`'s. Predictions need `overlaps` (`empirical.overlap.measure_overlaps`) of the filter's and the
    pool's sources at the filter's size, and a filter trained on a single source; elsewhere they are empty.
    ratio_of_pool and ratio_of_filter are measured too: the raw pool of that size, and the filter's own models.
    Standard errors are over seeds (empty with one). Columns `PREDICTION_COLUMNS`.
    """
    filtered = accuracies[accuracies["kind"] == "filtered"]
    if filtered.empty or account.empty:
        return pd.DataFrame(columns=list(PREDICTION_COLUMNS))
    sizes = account.drop_duplicates("run").set_index("run")["pool_size"]
    filtered = filtered.assign(
        pool_size=filtered["run"].map(sizes), filter=filtered["filter"].replace("", "none")
    )
    filtered = filtered[filtered["pool_size"].notna()]
    filter_sizes = account.groupby("filter")["filter_n_train"].max()
    models = accuracies.pivot_table(index="run", columns="test_set", values="dprime")
    mean_dprime = _mean_dprimes(accuracies)
    keys = ["sources", "filter", "pool_size", "kept_share", "n_train"]
    groups = dict(iter(filtered.groupby(keys, sort=False)))
    rows = []
    for (sources, name, pool_size, kept, n), part in groups.items():
        runs = list(pd.unique(part["run"]))
        values = models.loc[runs]
        raw = groups.get((sources, "none", pool_size, 1.0, pool_size))
        own = mean_dprime(str(name), int(filter_sizes.get(name, 0)))
        predicted = None
        if own is not None and overlaps is not None:
            parts = account[account["run"].isin(runs)]
            predicted = _predict(parts, overlaps, mean_dprime, own, int(part["num_classes"].iloc[0]), int(n))
        for shift in shifts(accuracies, reference):
            ratio = (values[shift] / values[reference]).to_numpy()
            right = part.loc[part["test_set"] == shift, "accuracy"]
            pool_ratio = np.nan
            if raw is not None:
                of_pool = models.loc[list(pd.unique(raw["run"]))].mean()
                pool_ratio = _ratio(of_pool, shift, reference)
            rows.append(
                (sources, name, int(pool_size), kept, n, shift, len(runs), _ratio(values.mean(), shift, reference),
                 _stderr(ratio), np.nan if predicted is None else _ratio(predicted, shift, reference), pool_ratio,
                 np.nan if own is None else _ratio(own, shift, reference), values[shift].mean(), _stderr(values[shift]),
                 np.nan if predicted is None else predicted[shift], right.mean())
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(PREDICTION_COLUMNS))


def _ratio(dprime: Mapping[str, float], shift: str, reference: str) -> float:
    """d' under shift over d' on the reference; nan where one of them is infinite (all images right, or all wrong) or 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.float64(dprime[shift]) / np.float64(dprime[reference])
    return float(ratio) if np.isfinite(ratio) and np.isfinite(dprime[reference]) else np.nan


def _stderr(values: Any) -> float:
    values = np.asarray(values, float)
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else np.nan


def _predict(
    account: pd.DataFrame,
    overlaps: pd.DataFrame,
    mean_dprime: Callable[[str, int], pd.Series | None],
    own: pd.Series,
    num_classes: int,
    n_kept: int,
) -> pd.Series | None:
    """Predicted d' on every test set, the mean over the seeds' pools; None where something was not measured."""
    pools = [_pool(rows, overlaps, mean_dprime, own, num_classes) for _, rows in account.groupby("run")]
    known = [pool for pool in pools if pool is not None]
    if not known or len(known) < len(pools):
        return None
    return pd.Series(np.mean([pool.dprimes(n_kept) for pool in known], axis=0), index=own.index)


def _pool(
    account: pd.DataFrame,
    overlaps: pd.DataFrame,
    mean_dprime: Callable[[str, int], pd.Series | None],
    own: pd.Series,
    num_classes: int,
) -> FilteredPool | None:
    """One run's pool and filter from its account; None where something was not measured."""
    name, size = str(account["filter"].iloc[0]), int(account["filter_n_train"].iloc[0])
    table = overlaps[overlaps["n_train"] == size]
    # Without junk nothing separates right from wrong: the separation is not measured on this pool.
    if not (account["junk"] > 0).all():
        return None
    parts = tuple(
        FilterAccount(row.source, row.clean, row.junk, row.clean_score, row.junk_score, row.score_spread, row.threshold)
        for row in account.itertuples()
    )  # fmt: skip
    sources = [part.source for part in parts]
    r = {(s, u): _mean_overlap(table, s, u) for s in {*sources, name} for u in {*sources, name}}
    dprimes = {s: found.to_numpy() for s in sources if (found := mean_dprime(s, size)) is not None}
    if len(dprimes) < len(set(sources)) or not all(np.isfinite(v) and v > 0 for v in r.values()):
        return None
    return FilteredPool(
        parts, num_classes, tuple(map(str, own.index)), dprimes, r, name, own.to_numpy(), size
    )


def filtered_pools(
    accuracies: pd.DataFrame, account: pd.DataFrame, overlaps: pd.DataFrame
) -> dict[tuple[str, str, int], list[FilteredPool]]:
    """(pool, filter, pool size) -> what Theorem 3 is told of each seed's pool, seeds ascending.

    Pools of which a quantity was not measured are absent.

    The thresholds are those of the strictest filtered run of each pool; `dataclasses.replace` of the parts gives any other.
    Arguments as `predict_filtering` takes them.
    """
    mean_dprime = _mean_dprimes(accuracies)
    classes = int(accuracies["num_classes"].iloc[0])
    out: dict[tuple[str, str, int], list[FilteredPool]] = {}
    chosen = account[account["filter"] != "none"]
    for (sources, name, pool_size), rows in chosen.groupby(["sources", "filter", "pool_size"], sort=False):
        own = mean_dprime(str(name), int(rows["filter_n_train"].max()))
        strictest = rows[rows["kept_share"] == rows["kept_share"].min()]
        if own is None:
            continue
        pools = [
            _pool(of_run, overlaps, mean_dprime, own, classes)
            for _, of_run in strictest.groupby(["seed", "run"])
        ]
        if all(pool is not None for pool in pools):
            out[str(sources), str(name), int(pool_size)] = [pool for pool in pools if pool is not None]
    return out


def _mean_dprimes(accuracies: pd.DataFrame) -> Callable[[str, int], pd.Series | None]:
    """Mean d' on every test set of the models of a source or mixture and size; None where there are none."""
    models = accuracies.pivot_table(index="run", columns="test_set", values="dprime")
    trained = accuracies[accuracies["kind"].isin(["single", "input_mixing"])].drop_duplicates("run")
    of_runs = trained.groupby(["sources", "n_train"])["run"].agg(list)

    def mean_dprime(sources: str, n: int) -> pd.Series | None:
        runs = of_runs.get((sources, n))
        return models.loc[runs].mean() if runs is not None else None

    return mean_dprime


def _mean_overlap(table: pd.DataFrame, first: str, second: str) -> float:
    """Mean correlation over test sets and pairs of different runs of two sources."""
    both = ((table["first"] == first) & (table["second"] == second)) | (
        (table["first"] == second) & (table["second"] == first)
    )
    different = (table["first"] != table["second"]) | (table["first_seed"] != table["second_seed"])
    return float(table.loc[both & different, "correlation"].mean())


def best_kept_shares(predictions: pd.DataFrame) -> pd.DataFrame:
    """Which share was best to keep per pool, filter and shift: the measured d' on the shift, and the predicted one.

    Columns sources, filter, pool_size, shift, best_measured, best_predicted (empty without predictions), and lead_measured,
    the measured best's d' less that of the share predicted.
    """
    rows = []
    for key, part in predictions[predictions["filter"] != "none"].groupby(
        ["sources", "filter", "pool_size", "shift"], sort=False
    ):
        measured = part.loc[part["dprime_shift_measured"].idxmax()]
        guess = part["dprime_shift_predicted"]
        chosen = part.loc[guess.idxmax()] if guess.notna().any() else None
        rows.append(
            (*key, measured["kept_share"], np.nan if chosen is None else chosen["kept_share"],
             np.nan if chosen is None else measured["dprime_shift_measured"] - chosen["dprime_shift_measured"])
        )  # fmt: skip
    return pd.DataFrame(
        rows,
        columns=[
            "sources",
            "filter",
            "pool_size",
            "shift",
            "best_measured",
            "best_predicted",
            "lead_measured",
        ],
    )

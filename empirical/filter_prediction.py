r"""Theorem 3's predictions of a study's filtered pools (`empirical.filtered_pool`) beside what was measured.

All rules predict the d' ratio $A_\text{shift}/A_\text{ref}$ of what is trained on the kept pairs, with
$A_t=\sum_sw_s\,\nu_s\!\cdot\mu_t+H\,d_f(t)$, and differ in the size n at which they read the pool's sources,
$\nu_s\!\cdot\mu_t=d_s(t;n)V_s(n)$:

* plain: $n_0$, the size of the filter's models. In the theory the size does not matter.
* kept_size: $n_\text{kept}$. A model cannot know more than its samples show.
* clean_size: $n_\text{kept}W^2$, $W=\sum_sw_s$. Junk shrinks the signal to W, and a W-fold signal is worth $W^2$-fold samples.
* **matched, the frozen rule**: $n_*=n_\text{kept}\lVert\nu'\rVert^2/\lVert\bar\nu\rVert^2$. Equal signal to noise: $W^2$,
  with the filter's pull as part of the signal.
* filter_matched: $n_*$ for the filter's d' as well, as if the pull were learned like the rest.
* unturned: $n_\text{kept}W^2$ and H = 0. What the size does without Theorem 3's turn.

Every one of them is told single-source models, their overlaps and the filter's scores of the pool with the captions that were
shuffled; no model trained on the pool or a part of it. Baselines: filter_itself (the ratio of the filter's models), and raw_pool,
which is told more: a model trained on that very pool. raw_pool_turned is told it as well: its ratio, plus what matched expects
filtering to change, $\rho_\text{raw}+\rho_*(\tau)-\rho_*(-\infty)$.

The frozen rule was chosen on records that had been seen; what later studies say of it must not change it. The first of them, on
fresh pools and seeds, confirmed the size and not the turn: README.md has the numbers.

Use `filtering_table` for what the filters did, `predict_filtering` for predictions beside measurements, `predict_filter_rules`
for all rules (`empirical.filter_scoring` has their errors), `best_kept_shares` for the share worth keeping.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from empirical.filtered_pool import PLAIN, FilterAccount, FilteredPool, Reading, SizeCurve
from empirical.robustness import shifts

ACCOUNT_COLUMNS = (
    "run", "sources", "junk_share", "filter", "filter_n_train", "pool_size", "kept_share", "n_train", "seed", "threshold",
    "source", "clean", "clean_kept", "clean_score", "junk", "junk_kept", "junk_score", "score_spread",
)  # fmt: skip
PREDICTION_COLUMNS = (
    "sources", "filter", "pool_size", "kept_share", "n_train", "shift", "num_seeds", "ratio_measured",
    "ratio_measured_stderr", "ratio_predicted", "ratio_of_pool", "ratio_of_filter", "dprime_shift_measured",
    "dprime_shift_measured_stderr", "dprime_shift_predicted", "accuracy_shift_measured", "turn_stderr", "ratio_matched",
    "dprime_shift_matched",
)  # fmt: skip
RULE_COLUMNS = (
    "sources", "filter", "pool_size", "kept_share", "n_train", "shift", "rule", "num_seeds", "ratio_predicted",
    "ratio_measured", "difference_stderr", "ratio_expected_raw", "ratio_of_pool", "turn_stderr",
)  # fmt: skip
FILTER_RULES = {
    "plain": PLAIN,
    "kept_size": Reading("kept"),
    "clean_size": Reading("clean"),
    "matched": Reading("signal"),
    "filter_matched": Reading("signal", filter_too=True),
    "unturned": Reading("clean", pull=False),
}
"""Rules told single-source models and the filter's scores alone, as the module's table has them."""
FROZEN_FILTER_RULE = "matched"
TOLD_THE_POOL = "raw_pool_turned"
"""The frozen rule's change on top of the raw pool's measured ratio: another class of rule, for raw_pool to be held against."""
TOLD_MORE = ("raw_pool", TOLD_THE_POOL)
"""Those that are told a model trained on the pool."""


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


@dataclass(frozen=True)
class _Cell:
    """One pool, filter and kept share: runs, what was measured of each, what each rule predicts, of the raw pool too."""

    key: tuple[str, str, int, float, int]
    part: pd.DataFrame
    values: pd.DataFrame
    raw: pd.DataFrame | None
    own: pd.Series | None
    predicted: Mapping[str, pd.Series]
    of_raw: Mapping[str, pd.Series]

    def ratio_of_pool(self, shift: str, reference: str) -> float:
        return np.nan if self.raw is None else _ratio(self.raw.mean(), shift, reference)

    def turn_stderr(self, shift: str, reference: str) -> float:
        """Of the change of the ratio by filtering: differences within the seeds that both have, otherwise both errors."""
        if self.raw is None:
            return np.nan
        kept, raw = ((runs[shift] / runs[reference]) for runs in (self.values, self.raw))
        kept, raw = (ratios.set_axis(runs["seed"]) for ratios, runs in ((kept, self.values), (raw, self.raw)))
        shared = kept.index.intersection(raw.index)
        if len(shared) > 1:
            return _stderr(kept[shared] - raw[shared])
        return float(np.hypot(_stderr(kept), _stderr(raw)))


def _cells(accuracies: pd.DataFrame, account: pd.DataFrame, overlaps: pd.DataFrame | None) -> Iterator[_Cell]:
    filtered = accuracies[accuracies["kind"] == "filtered"]
    if filtered.empty or account.empty:
        return
    sizes = account.drop_duplicates("run").set_index("run")["pool_size"]
    filtered = filtered.assign(
        pool_size=filtered["run"].map(sizes), filter=filtered["filter"].replace("", "none")
    )
    filtered = filtered[filtered["pool_size"].notna()]
    filter_sizes = account.groupby("filter")["filter_n_train"].max()
    models = accuracies.pivot_table(index="run", columns="test_set", values="dprime")
    models["seed"] = accuracies.drop_duplicates("run").set_index("run")["seed"]
    singles, means = SingleSources(accuracies), None if overlaps is None else _mean_overlaps(overlaps)
    keys = ["sources", "filter", "pool_size", "kept_share", "n_train"]
    groups = dict(iter(filtered.groupby(keys, sort=False)))
    for (sources, name, pool_size, kept, n), part in groups.items():
        runs = list(pd.unique(part["run"]))
        raw = groups.get((sources, "none", pool_size, 1.0, pool_size))
        own = singles.mean_dprime(str(name), int(filter_sizes.get(name, 0)))
        predicted, of_raw = {}, {}
        if own is not None and means is not None:
            parts = account[account["run"].isin(runs)]
            predicted, of_raw = _predict(parts, means, singles, own, int(part["num_classes"].iloc[0]), int(n))
        yield _Cell(
            (str(sources), str(name), int(pool_size), float(kept), int(n)), part, models.loc[runs],
            None if raw is None else models.loc[list(pd.unique(raw["run"]))], own, predicted, of_raw,
        )  # fmt: skip


def predict_filtering(
    accuracies: pd.DataFrame,
    account: pd.DataFrame,
    overlaps: pd.DataFrame | None = None,
    reference: str = "reference",
) -> pd.DataFrame:
    """Measured d' ratios and places of filtered pools beside Theorem 3's, means over seeds.

    `account` is `filtering_table`'s. Predictions need `overlaps` (`empirical.overlap.measure_overlaps`) of the filter's and the
    pool's sources at the filter's size, and a filter trained on a single source; elsewhere they are empty. *_predicted are
    those of the rule plain, *_matched those of the frozen rule (the same where sources were trained at the filter's size alone).
    ratio_of_pool and ratio_of_filter are measured too: the raw pool of that size, and the filter's own models.
    Standard errors are over seeds (empty with one); turn_stderr is that of ratio_measured - ratio_of_pool, paired by seed.
    Columns `PREDICTION_COLUMNS`.
    """
    rows = []
    for cell in _cells(accuracies, account, overlaps):
        values = cell.values
        plain, matched = (cell.predicted.get(rule) for rule in ("plain", FROZEN_FILTER_RULE))
        for shift in shifts(accuracies, reference):
            right = cell.part.loc[cell.part["test_set"] == shift, "accuracy"]
            rows.append(
                (*cell.key[:5], shift, len(values), _ratio(values.mean(), shift, reference),
                 _stderr((values[shift] / values[reference]).to_numpy()), _ratio_or_nan(plain, shift, reference),
                 cell.ratio_of_pool(shift, reference), _ratio_or_nan(cell.own, shift, reference),
                 values[shift].mean(), _stderr(values[shift]), np.nan if plain is None else plain[shift], right.mean(),
                 cell.turn_stderr(shift, reference), _ratio_or_nan(matched, shift, reference),
                 np.nan if matched is None else matched[shift])
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(PREDICTION_COLUMNS))


def predict_filter_rules(
    accuracies: pd.DataFrame, account: pd.DataFrame, overlaps: pd.DataFrame, reference: str = "reference"
) -> pd.DataFrame:
    """One row per filtered cell that can be predicted, shift and rule: all of `FILTER_RULES`, the baselines, and `TOLD_THE_POOL`.

    ratio_expected_raw is what the same rule expects of the raw pool, so that ratio_predicted - ratio_expected_raw is the turn
    that it predicts; raw_pool and filter_itself predict none, and `TOLD_THE_POOL` is told the raw pool's ratio. ratio_of_pool is
    that pool's measured ratio and turn_stderr the error of ratio_measured - ratio_of_pool, as in `predict_filtering`.
    difference_stderr is that of the measured ratio alone. Columns `RULE_COLUMNS`; arguments as `predict_filtering` takes them.
    """
    rows = []
    for cell in _cells(accuracies, account, overlaps):
        if not cell.predicted:
            continue
        for shift in shifts(accuracies, reference):
            measured = _ratio(cell.values.mean(), shift, reference)
            stderr = _stderr((cell.values[shift] / cell.values[reference]).to_numpy())
            ratios = {rule: _ratio(d, shift, reference) for rule, d in cell.predicted.items()}
            expected = {rule: _ratio(d, shift, reference) for rule, d in cell.of_raw.items()}
            raw, turn_stderr = cell.ratio_of_pool(shift, reference), cell.turn_stderr(shift, reference)
            ratios[TOLD_THE_POOL] = raw + ratios[FROZEN_FILTER_RULE] - expected[FROZEN_FILTER_RULE]
            ratios |= {"raw_pool": raw, "filter_itself": _ratio_or_nan(cell.own, shift, reference)}
            expected[TOLD_THE_POOL] = raw
            rows += [
                (*cell.key, shift, rule, len(cell.values), ratio, measured, stderr, expected.get(rule, np.nan), raw, turn_stderr)
                for rule, ratio in ratios.items()
            ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(RULE_COLUMNS))


def _ratio_or_nan(dprime: pd.Series | None, shift: str, reference: str) -> float:
    return np.nan if dprime is None else _ratio(dprime, shift, reference)


def _ratio(dprime: pd.Series, shift: str, reference: str) -> float:
    """d' under shift over d' on the reference; nan where one of them is infinite (all images right, or all wrong) or 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.float64(dprime[shift]) / np.float64(dprime[reference])
    return float(ratio) if np.isfinite(ratio) and np.isfinite(dprime[reference]) else np.nan


def _stderr(values: Any) -> float:
    """Over seeds; nan with one, or where a seed's value is infinite (all of a small test set right, or all wrong)."""
    values = np.asarray(values, float)
    if len(values) < 2 or not np.isfinite(values).all():
        return np.nan
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def _predict(
    account: pd.DataFrame,
    overlaps: Mapping[tuple[int, str, str], float],
    singles: "SingleSources",
    own: pd.Series,
    num_classes: int,
    n_kept: int,
) -> tuple[dict[str, pd.Series], dict[str, pd.Series]]:
    """Predicted d' on every test set by rule, of the kept pairs and of the raw pool, means over the seeds' pools.

    Both are empty where something was not measured.
    """
    pools = [_pool(rows, overlaps, singles, own, num_classes) for _, rows in account.groupby("run")]
    known = [pool for pool in pools if pool is not None]
    if not known or len(known) < len(pools):
        return {}, {}

    def mean(dprimes: Iterable[np.ndarray]) -> pd.Series:
        return pd.Series(np.mean(list(dprimes), axis=0), index=own.index)

    pool_size = int(account["pool_size"].iloc[0])
    raws = [pool.raw() for pool in known]
    return (
        {
            rule: mean(pool.dprimes(n_kept, reading) for pool in known)
            for rule, reading in FILTER_RULES.items()
        },
        {
            rule: mean(pool.dprimes(pool_size, reading) for pool in raws)
            for rule, reading in FILTER_RULES.items()
        },
    )


def _pool(
    account: pd.DataFrame,
    overlaps: Mapping[tuple[int, str, str], float],
    singles: "SingleSources",
    own: pd.Series,
    num_classes: int,
) -> FilteredPool | None:
    """One run's pool and filter from its account; None where something was not measured."""
    name, size = str(account["filter"].iloc[0]), int(account["filter_n_train"].iloc[0])
    # Without junk nothing separates right from wrong: the separation is not measured on this pool.
    if not (account["junk"] > 0).all():
        return None
    parts = tuple(
        FilterAccount(row.source, row.clean, row.junk, row.clean_score, row.junk_score, row.score_spread, row.threshold)
        for row in account.itertuples()
    )  # fmt: skip
    sources = [part.source for part in parts]
    r = {(s, u): overlaps.get((size, s, u), np.nan) for s in {*sources, name} for u in {*sources, name}}
    dprimes = {s: found.to_numpy() for s in sources if (found := singles.mean_dprime(s, size)) is not None}
    if len(dprimes) < len(set(sources)) or not all(np.isfinite(v) and v > 0 for v in r.values()):
        return None
    curves = {s: singles.curve(s) for s in {*sources, name}}
    return FilteredPool(
        parts, num_classes, tuple(map(str, own.index)), dprimes, r, name, own.to_numpy(), size, curves
    )


def filtered_pools(
    accuracies: pd.DataFrame, account: pd.DataFrame, overlaps: pd.DataFrame
) -> dict[tuple[str, str, int], list[FilteredPool]]:
    """(pool, filter, pool size) -> what Theorem 3 is told of each seed's pool, seeds ascending.

    Pools of which a quantity was not measured are absent.

    The thresholds are those of the strictest filtered run of each pool; `dataclasses.replace` of the parts gives any other.
    Arguments as `predict_filtering` takes them.
    """
    singles, means = SingleSources(accuracies), _mean_overlaps(overlaps)
    classes = int(accuracies["num_classes"].iloc[0])
    out: dict[tuple[str, str, int], list[FilteredPool]] = {}
    chosen = account[account["filter"] != "none"]
    for (sources, name, pool_size), rows in chosen.groupby(["sources", "filter", "pool_size"], sort=False):
        own = singles.mean_dprime(str(name), int(rows["filter_n_train"].max()))
        strictest = rows[rows["kept_share"] == rows["kept_share"].min()]
        if own is None:
            continue
        pools = [
            _pool(of_run, means, singles, own, classes) for _, of_run in strictest.groupby(["seed", "run"])
        ]
        if all(pool is not None for pool in pools):
            out[str(sources), str(name), int(pool_size)] = [pool for pool in pools if pool is not None]
    return out


class SingleSources:
    """Mean d' on every test set of the models of a source (or mixture) and size, over seeds."""

    def __init__(self, accuracies: pd.DataFrame) -> None:
        models = accuracies.pivot_table(index="run", columns="test_set", values="dprime")
        trained = accuracies[accuracies["kind"].isin(["single", "input_mixing"])].drop_duplicates("run")
        of_run = trained.set_index("run")[["sources", "n_train"]]
        joined = models.join(of_run, how="inner")
        self._means = joined.groupby(["sources", "n_train"]).mean()

    def mean_dprime(self, sources: str, n: int) -> pd.Series | None:
        """(T,) of one size; None where there are no such models."""
        return self._means.loc[(sources, n)] if (sources, n) in self._means.index else None

    def curve(self, source: str) -> SizeCurve:
        """By size, where all d' are finite."""
        means = self._means.loc[source]
        means = means[np.isfinite(means).all(axis=1)].sort_index()
        return SizeCurve(means.index.to_numpy(float), means.to_numpy())


def _mean_overlaps(overlaps: pd.DataFrame) -> Mapping[tuple[int, str, str], float]:
    """(size, source, source), both orders -> mean correlation over test sets and pairs of different runs."""
    apart = (overlaps["first"] != overlaps["second"]) | (overlaps["first_seed"] != overlaps["second_seed"])
    pairs = overlaps.loc[apart, ["n_train", "first", "second", "correlation"]]
    turned = pairs[pairs["first"] != pairs["second"]].rename(columns={"first": "second", "second": "first"})
    means = pd.concat([pairs, turned]).groupby(["n_train", "first", "second"])["correlation"].mean()
    return {(int(n), str(s), str(u)): float(r) for (n, s, u), r in means.items()}


def best_kept_shares(predictions: pd.DataFrame, rule: str = "predicted") -> pd.DataFrame:
    """Which share was best to keep per pool, filter and shift: the measured d' on the shift, and the predicted one.

    rule: "predicted" (plain) or "matched", by whose column of `predict_filtering` the share is chosen.
    Columns sources, filter, pool_size, shift, best_measured, best_predicted (empty without predictions), and lead_measured,
    the measured best's d' less that of the share predicted.
    """
    keys, rows = ["sources", "filter", "pool_size", "shift"], []
    filtered = predictions[predictions["filter"] != "none"]
    for key, part in filtered.groupby(keys, sort=False):
        measured = part.loc[part["dprime_shift_measured"].idxmax()]
        guess = part[f"dprime_shift_{rule}"]
        chosen = part.loc[guess.idxmax()] if guess.notna().any() else None
        rows.append(
            (*key, measured["kept_share"], np.nan if chosen is None else chosen["kept_share"],
             np.nan if chosen is None else measured["dprime_shift_measured"] - chosen["dprime_shift_measured"])
        )  # fmt: skip
    return pd.DataFrame(rows, columns=[*keys, "best_measured", "best_predicted", "lead_measured"])

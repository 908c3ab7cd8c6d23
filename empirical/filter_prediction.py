r"""What Theorem 3 says about filtered pools, told only single-source models and the filter's scores of the pool.

A pool's clean pairs of source s have mean $\nu_s$, its shuffled captions are right with probability 1/K (mean $\nu_s$) and
wrong otherwise (mean $-\nu_s/(K-1)$). A filter f that keeps scores of at least $\tau$ leaves of component j the share
$1-\Phi(t_j)$ with mean $\nu_j+h(t_j)\gamma f/\lVert f\rVert$, so that what is trained on the kept pairs has on target t

$$A_t=\sum_j\pi'_j\,\nu_j\!\cdot\mu_t+H\,d_f(t),\qquad H=\sum_j\pi'_jh(t_j),$$

in units of the scores' spread $\gamma=1$, with $d_f$ the filter's own d'. Everything on the right is measured:
$t_j=(\tau-m_j)/\sigma$ from the filter's scores of clean and shuffled pairs (means $m$, spread $\sigma$); and
$\nu_s\!\cdot\mu_t=d_s(t)L_s$ with the length of source s's classifier $L_s=\delta_{fs}/r_{fs}$: the separation
$\delta_{fs}=(m_\text{clean}-m_\text{shuffled})/\sigma=f\!\cdot\nu_s/\lVert f\rVert$ over the overlap $r_{fs}$ of the two models.
The predicted d' ratio is $A_\text{shift}/A_\text{ref}$, the predicted place

$$d'_t=A_t\Big/\sqrt{\textstyle\sum_{jk}\pi'_j\pi'_k\nu_j\!\cdot\nu_k+2H\sum_j\pi'_jf\!\cdot\nu_j/\lVert f\rVert
+H^2+T/n_\text{kept}},$$

with $\nu_s\!\cdot\nu_u=r_{su}L_sL_u$, $T_s=n(1-r_{ss})L_s^2$. Source: Theorem 3 (filtering with a pre-trained model).

Use `filtering_table` for what the filters did, `predict_filtering` for predictions beside measurements, `best_kept_shares` for
the share worth keeping.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.special import log_ndtr, ndtr

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


@dataclass(frozen=True)
class FilterAccount:
    """One source's pairs in a pool as a filter scores them: counts, means and the common spread of the scores."""

    source: str
    clean: int
    junk: int
    clean_score: float
    junk_score: float
    spread: float
    threshold: float

    @property
    def separation(self) -> float:
        """f·ν / ‖f‖ in units of the spread: right captions against shuffled ones."""
        return (self.clean_score - self.junk_score) / self.spread


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


def kept_signal(
    parts: Iterable[FilterAccount],
    num_classes: int,
    signals: Mapping[str, Float[np.ndarray, " t"]],
    overlaps: Mapping[tuple[str, str], float],
    noise: Mapping[str, float],
    filter_dprime: Float[np.ndarray, " t"],
) -> tuple[Float[np.ndarray, " t"], float, float, float]:
    """A_t, its squared length without noise, T, and the share kept, in units of the scores' spread.

    signals: (T,) ν_s·μ_t; overlaps: ν_s·ν_u; noise: T_s; filter_dprime: (T,) the filter's d'.
    """
    parts = list(parts)
    total = sum(part.clean + part.junk for part in parts)
    weights: dict[str, float] = {}
    along, kept, kick = 0.0, 0.0, 0.0
    for part in parts:
        wrong_score = (num_classes * part.junk_score - part.clean_score) / (num_classes - 1)
        for count, score, sign in (
            (part.clean + part.junk / num_classes, part.clean_score, 1.0),
            (part.junk * (1 - 1 / num_classes), wrong_score, -1 / (num_classes - 1)),
        ):
            if not count:
                continue
            t = (part.threshold - score) / part.spread
            share = count / total * float(ndtr(-t))
            # phi/(1 - Phi) by logarithms: far in the tail both underflow.
            hazard = float(np.exp(-(t**2) / 2 - log_ndtr(-t)) / np.sqrt(2 * np.pi))
            kept += share
            kick += share * hazard
            weights[part.source] = weights.get(part.source, 0.0) + sign * share
            along += sign * share * part.separation
    kick, along = kick / kept, along / kept
    weights = {name: weight / kept for name, weight in weights.items()}
    signal = sum((w * signals[name] for name, w in weights.items()), np.zeros_like(filter_dprime))
    square = sum(a * b * overlaps[s, u] for s, a in weights.items() for u, b in weights.items())
    counts = {part.source: (part.clean + part.junk) / total for part in parts}
    return (
        signal + kick * filter_dprime,
        float(square + 2 * kick * along + kick**2),
        sum(counts[name] * noise[name] for name in counts),
        kept,
    )


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
    single = accuracies[accuracies["kind"] == "single"].drop_duplicates("run")
    mixed = accuracies[accuracies["kind"] == "input_mixing"].drop_duplicates("run")
    of_runs = pd.concat([single, mixed]).groupby(["sources", "n_train"])["run"].agg(list)

    def mean_dprime(sources: str, n: int) -> pd.Series | None:
        runs = of_runs.get((sources, n))
        return models.loc[runs].mean() if runs is not None else None

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
                pool_ratio = of_pool[shift] / of_pool[reference]
            rows.append(
                (sources, name, int(pool_size), kept, n, shift, len(runs), values[shift].mean() / values[reference].mean(),
                 _stderr(ratio), np.nan if predicted is None else predicted[shift] / predicted[reference], pool_ratio,
                 np.nan if own is None else own[shift] / own[reference], values[shift].mean(), _stderr(values[shift]),
                 np.nan if predicted is None else predicted[shift], right.mean())
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(PREDICTION_COLUMNS))


def _stderr(values: Any) -> float:
    values = np.asarray(values, float)
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else np.nan


def _predict(
    account: pd.DataFrame,
    overlaps: pd.DataFrame,
    mean_dprime: Any,
    own: pd.Series,
    num_classes: int,
    n_kept: int,
) -> pd.Series | None:
    """Predicted d' on every test set, the mean over the seeds' pools; None where something was not measured."""
    name, size = str(account["filter"].iloc[0]), int(account["filter_n_train"].iloc[0])
    table = overlaps[overlaps["n_train"] == size]
    found = []
    for _, rows in account.groupby("run"):
        parts = [
            FilterAccount(row.source, row.clean, row.junk, row.clean_score, row.junk_score if row.junk else row.clean_score,
                          row.score_spread, row.threshold)
            for row in rows.itertuples()
        ]  # fmt: skip
        # Without junk nothing separates right from wrong: the separation is not measured on this pool.
        if any(not part.junk for part in parts):
            return None
        sources = [part.source for part in parts]
        r = {(s, u): _mean_overlap(table, s, u) for s in {*sources, name} for u in {*sources, name}}
        dprimes = {s: mean_dprime(s, size) for s in sources}
        if any(d is None for d in dprimes.values()) or not all(np.isfinite(v) and v > 0 for v in r.values()):
            return None
        length = {part.source: part.separation / r[name, part.source] for part in parts}
        signal, square, noise, _ = kept_signal(
            parts, num_classes,
            {s: dprimes[s].to_numpy() * length[s] for s in sources},
            {(s, u): r[s, u] * length[s] * length[u] for s in sources for u in sources},
            {s: size * (1 - r[s, s]) * length[s] ** 2 for s in sources},
            own.to_numpy(),
        )  # fmt: skip
        found.append(pd.Series(signal / np.sqrt(square + noise / n_kept), index=own.index))
    return pd.concat(found, axis=1).mean(axis=1)


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

"""Theorem 3 on measured quantities, against linear classifiers of K classes really trained on really filtered pools."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from empirical.execution import pool_component
from empirical.filter_prediction import best_kept_shares, filtered_pools, filtering_table, predict_filtering
from empirical.filtered_pool import FilterAccount, kept_signal
from empirical.filtering import keep_share, shuffled_captions
from empirical.overlap import score_overlaps
from empirical.tables import accuracies_table

K, WIDTH, N, POOL = 6, 80, 1500, 3000
TARGETS = {"reference": (1.0, 1.0), "shift": (1.6, 0.3)}
SOURCES = {"robust": (2.4, 0.6), "brittle": (0.6, 2.4)}
JUNK, KEPT = 0.3, (0.8, 0.5, 0.25)


def prototypes(weights: tuple[float, float]) -> np.ndarray:
    directions = np.eye(K, WIDTH)
    return np.concatenate([weights[0] * directions, weights[1] * directions], axis=1)


def train(images: np.ndarray, captions: np.ndarray) -> np.ndarray:
    """Mean image of each caption, centred over the captions: the averaging classifier."""
    means = np.stack([images[captions == k].mean(axis=0) for k in range(K)])
    return means - means.mean(axis=0)


class World:
    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.tests = {t: self.draw(w, 6000) for t, w in TARGETS.items()}
        self.records, self.logits = [], {}

    def draw(self, weights: tuple[float, float], n: int) -> tuple[np.ndarray, np.ndarray]:
        labels = self.rng.permutation(np.arange(n) % K)
        return prototypes(weights)[labels] + self.rng.standard_normal((n, 2 * WIDTH)), labels

    def add(self, run: str, w: np.ndarray, **record: object) -> None:
        results = {}
        for name, (x, y) in self.tests.items():
            logits = x @ w.T
            self.logits[run, name] = logits.astype(np.float32)
            correct = int((logits.argmax(axis=1) == y).sum())
            results[name] = {"num_classes": K, "num_images": len(y), "num_correct": correct}
        base = {"run": run, "heads_n_train": "", "filter": "", "kept_share": 1.0, "results": results}
        self.records.append(base | record)


def study(seeds: range, junk: float = JUNK) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Accuracies, accounts and overlaps: pools of the brittle source, filtered by the robust one's model."""
    world = World(seeds.start)
    heads = []
    for seed in seeds:
        for source, weights in SOURCES.items():
            x, y = world.draw(weights, N)
            world.add(
                f"single-{source}-n{N}-seed{seed}",
                train(x, y),
                kind="single",
                sources=source,
                n_train=N,
                seed=seed,
            )
            heads.append((source, seed, train(x, y)))
        f = heads[-2][2]
        x, y = world.draw(SOURCES["brittle"], POOL)
        donors = shuffled_captions(POOL, junk, seed)
        captions, is_junk = y[donors], donors != np.arange(POOL)
        scores = (x * f[captions]).sum(axis=1)
        for kept_share in (1.0, *KEPT):
            raw = kept_share == 1.0
            kept = np.arange(POOL) if raw else keep_share(scores, kept_share)
            name = "none" if raw else "robust"
            account = {
                "threshold": float(scores[kept].min()),
                "components": [
                    pool_component("brittle", np.ones(POOL, bool), is_junk, kept, None if raw else scores)
                ],
            }
            spec = {"junk_share": junk, "scorer_source": name, "pool_size": POOL, "kept_share": kept_share,
                    "scorer": None if raw else f"single-robust-n{N}-seed{seed}"}  # fmt: skip
            world.add(
                f"filtered-{name}-{kept_share}-{seed}", train(x[kept], captions[kept]), kind="filtered",
                sources=f"brittle+junk:{junk:g}", n_train=len(kept), seed=seed, filter=name, kept_share=kept_share,
                filtering=account, spec={"filter": spec},
            )  # fmt: skip
    rows = []
    for name, (_, labels) in world.tests.items():
        found = score_overlaps([world.logits[f"single-{s}-n{N}-seed{i}", name] for s, i, _ in heads], labels)
        rows += [
            (N, name, *heads[a][:2], *heads[b][:2], found.correlation[a, b], found.stderr[a, b], 0, len(labels))
            for a in range(len(heads)) for b in range(a)
        ]  # fmt: skip
    columns = [
        "n_train",
        "test_set",
        "first",
        "first_seed",
        "second",
        "second_seed",
        "correlation",
        "correlation_stderr",
    ]
    overlaps = pd.DataFrame(rows, columns=[*columns, "both_correct", "num_images"])
    return accuracies_table(world.records), filtering_table(world.records), overlaps


@pytest.fixture(scope="module")
def tables() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    return study(range(12))


@pytest.fixture(scope="module")
def found(tables) -> pd.DataFrame:
    return predict_filtering(*tables)


def test_predicted_ratios_are_those_measured(found: pd.DataFrame) -> None:
    """The turn of the line towards the filter, from single-source models and scores alone."""
    filtered = found[found["filter"] == "robust"].sort_values("kept_share", ascending=False)
    assert list(filtered["kept_share"]) == list(KEPT)
    for row in filtered.itertuples():
        # the predictions' own error (overlaps, d' of 12 single models) is of the size of the measurement's
        error = 4 * np.hypot(row.ratio_measured_stderr, 0.012)
        assert abs(row.ratio_predicted - row.ratio_measured) < error, row
        assert row.ratio_of_pool < row.ratio_measured < row.ratio_of_filter
        assert abs(row.dprime_shift_predicted / row.dprime_shift_measured - 1) < 0.08
    turns = filtered["ratio_predicted"].to_numpy() - filtered["ratio_of_pool"].to_numpy()
    assert turns.min() > 0.05, "the test would not notice a prediction that says nothing turns"
    assert np.all(np.diff(filtered["ratio_predicted"]) > 0), "the more is dropped, the more it turns"


def test_what_was_not_measured_is_not_predicted(found: pd.DataFrame) -> None:
    assert found.loc[found["filter"] == "none", "ratio_predicted"].isna().all()
    accuracies, account, _ = study(range(20, 21))
    alone = predict_filtering(accuracies, account, None)
    assert alone["ratio_predicted"].isna().all()
    assert alone["ratio_measured"].notna().all()
    assert alone["ratio_measured_stderr"].isna().all(), "one seed has no standard error"


def test_pools_at_other_thresholds_are_those_predicted(tables, found: pd.DataFrame) -> None:
    """The strictest run's scores, cut where another run was cut, give that run's prediction."""
    accuracies, account, overlaps = tables
    (key,) = (pools := filtered_pools(accuracies, account, overlaps))
    assert key == (f"brittle+junk:{JUNK:g}", "robust", POOL)
    for kept in KEPT:
        row = found[(found["filter"] == "robust") & (found["kept_share"] == kept)].iloc[0]
        cuts = account[(account["filter"] == "robust") & (account["kept_share"] == kept)].set_index("seed")
        predicted, shares = [], []
        for seed, pool in enumerate(pools[key]):
            (part,) = pool.parts
            here = replace(pool, parts=(replace(part, threshold=float(cuts.loc[seed, "threshold"])),))
            predicted.append(here.dprimes(int(row["n_train"])))
            shares.append(here.kept_share())
        reference, shift = np.mean(predicted, axis=0)
        assert here.test_sets == ("reference", "shift")
        assert shift / reference == pytest.approx(row["ratio_predicted"], rel=1e-9)
        assert shift == pytest.approx(row["dprime_shift_predicted"], rel=1e-9)
        assert np.mean(shares) == pytest.approx(kept, abs=0.02), "scores are nearly normal"
    assert filtered_pools(accuracies, account.assign(junk=0), overlaps) == {}


def test_the_best_share_is_the_measured_one(found: pd.DataFrame) -> None:
    best = best_kept_shares(found)
    assert len(best) == 1
    row = best.iloc[0]
    part = found[found["filter"] == "robust"].set_index("kept_share")
    assert row["best_measured"] == part["dprime_shift_measured"].idxmax()
    assert row["best_predicted"] == part["dprime_shift_predicted"].idxmax()
    assert row["lead_measured"] >= 0


def test_a_filter_that_keeps_everything_changes_nothing() -> None:
    parts = [FilterAccount("s", 700, 300, 0.5, 0.1, 0.2, threshold=-50.0)]
    signals, own = {"s": np.array([1.5, 0.6])}, np.array([2.0, 1.9])
    signal, square, noise, kept = kept_signal(parts, 5, signals, {("s", "s"): 4.0}, {"s": 9.0}, own)
    assert kept == pytest.approx(1)
    assert signal == pytest.approx(0.7 * signals["s"]), "shuffled captions carry nothing on average"
    assert (square, noise) == (pytest.approx(0.49 * 4), pytest.approx(9))


def test_a_strict_filter_leaves_its_own_slope() -> None:
    parts = [FilterAccount("s", 1000, 0, 0.5, 0.5, 0.2, threshold=0.5 + 0.2 * 30)]
    own = np.array([2.0, 1.9])
    signal, *_ = kept_signal(parts, 5, {"s": np.array([1.5, 0.6])}, {("s", "s"): 4.0}, {"s": 9.0}, own)
    assert signal[1] / signal[0] == pytest.approx(own[1] / own[0], rel=0.03)
    assert np.all(np.isfinite(signal))

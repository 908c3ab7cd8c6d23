"""Theorem 3 on measured quantities, against linear classifiers of K classes really trained on really filtered pools."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from empirical.execution import pool_component
from empirical.filter_prediction import (
    FILTER_RULES,
    PREDICTION_COLUMNS,
    TOLD_THE_POOL,
    best_kept_shares,
    filtered_pools,
    filtering_table,
    predict_filter_rules,
    predict_filtering,
)
from empirical.filter_scoring import score_filter_rules, turn_directions, turn_size
from empirical.filtered_pool import FilterAccount, kept_pairs
from empirical.filtering import keep_share, shuffled_captions
from empirical.overlap import score_overlaps
from empirical.study_folder import StudyFolder
from empirical.tables import accuracies_table

RECORDS = Path(__file__).resolve().parents[2] / "paper_figures" / "records"
K, WIDTH, N, POOL = 6, 80, 1500, 3000
TARGETS = {"reference": (1.0, 1.0), "shift": (1.6, 0.3)}
SOURCES = {"robust": (2.4, 0.6), "brittle": (0.6, 2.4)}
JUNK, KEPT = 0.3, (0.8, 0.5, 0.25)
SINGLE = {"kind": "single", "sources": "brittle", "n_train": 1, "seed": 0}


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


def test_a_pool_with_one_source_without_junk_is_not_predicted(tables, found: pd.DataFrame) -> None:
    """What separates right from wrong must be measured on every part of a pool, not on one of them."""
    accuracies, account, overlaps = tables
    other = account.assign(source="robust")
    for junk, known in ((other["junk"], True), (0, False)):
        mixed = pd.concat([account, other.assign(junk=junk, clean=other["clean"] + other["junk"] - junk)])
        again = predict_filtering(accuracies, mixed, overlaps)
        kept = again["filter"] == "robust"
        assert again.loc[kept, "ratio_predicted"].notna().eq(known).all()
        assert again.loc[kept, "ratio_measured"].equals(found.loc[kept, "ratio_measured"])
        assert bool(filtered_pools(accuracies, mixed, overlaps)) is known


@pytest.mark.parametrize("value", [-0.01, 0.0, np.nan])
def test_an_overlap_that_is_not_positive_is_not_predicted_from(tables, value: float) -> None:
    accuracies, account, overlaps = tables
    for first, second in (("robust", "brittle"), ("brittle", "brittle")):
        pairs = [
            {a, b} == {first, second} for a, b in zip(overlaps["first"], overlaps["second"], strict=True)
        ]
        assert any(pairs)
        changed = overlaps.assign(correlation=overlaps["correlation"].mask(pairs, value))
        assert predict_filtering(accuracies, account, changed)["ratio_predicted"].isna().all()
        assert filtered_pools(accuracies, account, changed) == {}


def test_a_test_set_that_one_seed_gets_all_wrong_has_no_standard_error(tables, found: pd.DataFrame) -> None:
    accuracies, account, overlaps = tables
    wrong = (
        (accuracies["kind"] == "filtered") & (accuracies["seed"] == 3) & (accuracies["test_set"] == "shift")
    )
    changed = accuracies.assign(dprime=accuracies["dprime"].mask(wrong, -np.inf))
    again = predict_filtering(changed, account, overlaps)
    kept = again["filter"] == "robust"
    assert again.loc[kept, ["ratio_measured", "ratio_measured_stderr", "turn_stderr"]].isna().all(axis=None)
    assert again.loc[kept, "ratio_predicted"].equals(found.loc[kept, "ratio_predicted"])


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
        assert pools[key][0].test_sets == ("reference", "shift")
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
    kept = kept_pairs([FilterAccount("s", 700, 300, 0.5, 0.1, 0.2, threshold=-np.inf)], 5)
    signals = {"s": np.array([1.5, 0.6])}
    assert kept.share == pytest.approx(1)
    assert kept.signal(signals, np.array([2.0, 1.9])) == pytest.approx(0.7 * signals["s"]), (
        "shuffled captions carry nothing on average"
    )
    assert kept.square({("s", "s"): 4.0}) == pytest.approx(0.49 * 4)


def test_a_strict_filter_leaves_its_own_slope() -> None:
    kept = kept_pairs([FilterAccount("s", 1000, 0, 0.5, 0.5, 0.2, threshold=0.5 + 0.2 * 30)], 5)
    own = np.array([2.0, 1.9])
    signal = kept.signal({"s": np.array([1.5, 0.6])}, own)
    assert signal[1] / signal[0] == pytest.approx(own[1] / own[0], rel=0.03)
    assert np.all(np.isfinite(signal))


def test_junk_costs_a_trained_classifier_as_many_samples_as_theory_says() -> None:
    """n pairs with the share ε shuffled reach the d' of n(1 - ε)² clean ones, not of n(1 - ε)."""
    n, junk = 480, 0.5
    world = World(3)
    for seed in range(12):
        x, y = world.draw(SOURCES["brittle"], n)
        world.add(f"j{seed}", train(x, y[shuffled_captions(n, junk, seed)]), **SINGLE)
        for name, size in (("square", n // 4), ("share", n // 2)):
            x, y = world.draw(SOURCES["brittle"], size)
            world.add(f"{name[0:2]}{seed}", train(x, y), **SINGLE)
    table = accuracies_table(world.records)
    table = table[table["test_set"] == "reference"]
    found = {
        name: table.loc[table["run"].str.startswith(start), "dprime"].to_numpy(float)
        for name, start in (("junk", "j"), ("square", "sq"), ("share", "sh"))
    }
    mean = {name: values.mean() for name, values in found.items()}
    error = np.sqrt((found["junk"].var(ddof=1) + found["square"].var(ddof=1)) / 12)
    assert abs(mean["junk"] - mean["square"]) < 4 * error
    assert mean["share"] - mean["junk"] > 8 * error, "the test would not notice another law"


def test_one_size_leaves_the_frozen_rule_at_the_plain_one(found: pd.DataFrame) -> None:
    filtered = found[found["filter"] == "robust"]
    assert filtered["ratio_matched"].to_numpy() == pytest.approx(filtered["ratio_predicted"].to_numpy())


def test_the_turns_error_is_paired_by_seed(tables, found: pd.DataFrame) -> None:
    accuracies, account, _ = tables
    wide = accuracies[accuracies["kind"] == "filtered"].pivot_table(
        index=["kept_share", "seed"], columns="test_set", values="dprime"
    )
    ratios = (wide["shift"] / wide["reference"]).unstack("kept_share")
    for row in found[found["filter"] == "robust"].itertuples():
        turn = ratios[row.kept_share] - ratios[1.0]
        assert row.turn_stderr == pytest.approx(turn.std(ddof=1) / np.sqrt(len(turn)))
    raw = found[found["filter"] == "none"].iloc[0]
    assert raw["turn_stderr"] == 0
    seeds = np.where(accuracies["filter"] == "none", accuracies["seed"] + 100, accuracies["seed"])
    apart = predict_filtering(accuracies.assign(seed=seeds), account)
    for row, was in zip(apart.itertuples(), found.itertuples(), strict=True):
        if row.filter == "robust":
            of_raw = raw["ratio_measured_stderr"]
            assert row.turn_stderr == pytest.approx(np.hypot(was.ratio_measured_stderr, of_raw))


def test_rules_and_their_scores_are_those_of_the_wide_table(tables, found: pd.DataFrame) -> None:
    rules = predict_filter_rules(*tables)
    cells = rules.pivot(index="kept_share", columns="rule", values="ratio_predicted")
    wide = found[found["filter"] == "robust"].set_index("kept_share").sort_index()
    columns = {
        "plain": "predicted",
        "matched": "matched",
        "raw_pool": "of_pool",
        "filter_itself": "of_filter",
    }
    for rule, column in columns.items():
        assert cells[rule].to_numpy() == pytest.approx(wide[f"ratio_{column}"].to_numpy())
    again = predict_filter_rules(*tables)
    pd.testing.assert_frame_equal(rules, again)
    two = pd.concat([rules, rules.assign(sources="other", ratio_predicted=rules["ratio_predicted"] + 0.1)])
    scores = score_filter_rules(two).set_index(["shift", "rule"])
    for rule, part in two.groupby("rule"):
        error = part["ratio_predicted"] - part["ratio_measured"]
        row = scores.loc[("all shifts", rule)]
        assert row["rms"] == pytest.approx(np.sqrt((error**2).mean()))
        assert (row["num_pools"], row["num_predictions"]) == (2, 6)
        assert row["difference_to_raw_pool"] == pytest.approx(
            row["rms"] - scores.loc[("all shifts", "raw_pool"), "rms"]
        )
    assert set(rules["rule"]) == {*FILTER_RULES, TOLD_THE_POOL, "raw_pool", "filter_itself"}


def test_the_turn_in_a_linear_world_is_the_expected_one(tables) -> None:
    rules = predict_filter_rules(*tables)
    cells = rules.pivot(index="kept_share", columns="rule", values="ratio_predicted")
    expected = (cells["clean_size"] - cells["unturned"]).to_numpy()
    noise = rules[rules["rule"] == "unturned"].set_index("kept_share")["difference_stderr"].loc[cells.index]
    # the cells' errors as if of one sign (they share filters and pools), with the predictions' own as in the test above
    error = np.abs(expected) @ np.hypot(noise.to_numpy(), 0.012) / (expected @ expected)
    assert abs(turn_size(rules)[0] - 1) < 3 * error
    assert 3 * error < 1, "the test would not notice that nothing turns"
    unturned = rules[rules["rule"] == "unturned"].set_index("kept_share")["ratio_predicted"]
    nothing = rules.assign(ratio_measured=rules["kept_share"].map(unturned))
    value, low, high = turn_size(pd.concat([nothing, nothing.assign(sources="other")]))
    assert (value, low, high) == pytest.approx((0, 0, 0), abs=1e-12)


def turning_cells(turn: float, expected_turn: float, noise: float, num_cells: int = 2000) -> pd.DataFrame:
    """Predictions of one rule for pools of ratio .5: of both ratios right up to what it expects of the turn."""
    rng = np.random.default_rng(5)
    raw, kept = 0.5 + noise * rng.standard_normal((2, num_cells)) + np.array([[0.0], [turn]])
    return pd.DataFrame(
        {
            "sources": "pool", "filter": "f", "pool_size": np.arange(num_cells) // 100, "kept_share": np.arange(num_cells) % 100,
            "n_train": 1, "shift": "style", "rule": "plain", "ratio_expected_raw": 0.5, "ratio_predicted": 0.5 + expected_turn,
            "ratio_measured": kept, "ratio_of_pool": raw, "turn_stderr": noise * np.sqrt(2), "difference_stderr": noise,
        }
    )  # fmt: skip


def test_a_rule_earns_no_direction_from_the_raw_pools_noise() -> None:
    """Nothing turns: a rule's own turn is right as often as a coin, told the measured raw pool it seems to know more."""
    row = turn_directions(turning_cells(turn=0.0, expected_turn=0.01, noise=0.1)).set_index("shift").iloc[-1]
    assert row.name == "all shifts"
    spread = np.sqrt(row["num_turns"]) / 2
    assert abs(row["turns_right"] - row["num_turns"] / 2) < 3 * spread
    assert row["turns_right_told_raw"] - row["num_turns"] / 2 > 5 * spread
    assert row["turns_right"] == row["turns_up"], "a rule that always says up is the baseline"
    assert (row["turns_beyond_up"], row["turns_beyond_up_low"], row["turns_beyond_up_high"]) == (0, 0, 0)


def test_a_rule_that_knows_the_turns_beats_always_up() -> None:
    both = [turning_cells(turn, 0.5 * turn, noise=0.1).assign(filter=f"f{turn}") for turn in (0.3, -0.3)]
    row = turn_directions(pd.concat(both)).set_index("shift").loc["all shifts"]
    assert row["num_turns"] > 1000
    assert row["turns_right"] == row["num_turns"]
    assert row["turns_beyond_up_low"] > 0.4


def test_rules_without_a_turn_have_no_direction(tables) -> None:
    found = turn_directions(predict_filter_rules(*tables).assign(turn_stderr=0.0)).set_index(
        ["shift", "rule"]
    )
    overall = found.loc["all shifts"]
    assert set(overall.index[overall["turns_right"].isna()]) == {"raw_pool", "filter_itself"}
    assert (overall["num_turns"] == 3).all()
    assert overall["turns_right_told_raw"].isna().sum() == 1


def test_the_committed_tables_of_filters_are_those_of_the_committed_models() -> None:
    """filtering.csv and filter_scores.csv of the study that the rule was chosen on, from accuracies, accounts and overlaps."""
    folder = StudyFolder(RECORDS / "gpu_study")
    told = folder.accuracies(), folder.table("filtering_account"), folder.table("overlaps")
    kept, again = folder.table("filtering"), predict_filtering(*told)
    assert tuple(kept.columns) == PREDICTION_COLUMNS
    for column in kept.select_dtypes("number"):
        # large tables are kept with five digits
        assert kept[column].to_numpy() == pytest.approx(again[column].to_numpy(), abs=2e-4, nan_ok=True), (
            column
        )
    scores, new = folder.table("filter_scores"), score_filter_rules(predict_filter_rules(*told))
    assert list(scores["rule"]) == list(new["rule"])
    assert scores["rms"].to_numpy() == pytest.approx(new["rms"].to_numpy(), abs=2e-4)
    for column in ("num_turns", "turns_up", "turns_right", "turns_right_told_raw"):
        assert scores[column].to_numpy() == pytest.approx(new[column].to_numpy(), nan_ok=True), column

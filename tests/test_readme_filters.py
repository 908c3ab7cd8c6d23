"""What the README says of filtered pools is what the records say."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from readme_words import GPU_STUDY, README, ROOT, short

from empirical.filter_prediction import SingleSources, best_kept_shares, predict_filter_rules
from empirical.filter_scoring import turn_size
from empirical.records import read_json
from empirical.study_folder import StudyFolder


def filter_cells(folder: Path) -> pd.DataFrame:
    """The filtered cells that are predicted."""
    table = pd.read_csv(folder / "filtering.csv")
    return table[(table["filter"] != "none") & table["ratio_predicted"].notna()]


def filter_scores(folder: Path) -> pd.DataFrame:
    """Errors over all shifts by rule."""
    scores = pd.read_csv(folder / "filter_scores.csv")
    return scores[scores["shift"] == "all shifts"].set_index("rule")


def paired(scores: pd.DataFrame, rule: str, baseline: str) -> str:
    """`-.041 [-.068, -.019]`: the rule's error less the baseline's."""
    values = [scores.loc[rule, f"difference_to_{baseline}{end}"] for end in ("", "_low", "_high")]
    value, low, high = (short(float(v)) for v in values)
    return f"{value} [{low}, {high}]"


def test_the_gpu_studys_filters_are_those_of_its_records() -> None:
    words, table, scores = " ".join(README.split()), filter_cells(GPU_STUDY), filter_scores(GPU_STUDY)
    plain, matched = scores.loc["plain"], scores.loc["matched"]
    assert f"direction of {plain['turns_right']:.0f} of {plain['num_turns']:.0f} turns right" in words
    assert f"raises the ratio has {plain['turns_up']:.0f}, and no rule has more at 95%" in words
    assert f"(*matched*, below, {matched['turns_right']:.0f})" in words
    assert not (scores["turns_beyond_up_low"] > 0).any()
    assert f"Over all {len(table)} cells" in words
    told = [short(scores.loc[rule, "rms"]) for rule in ("plain", "filter_itself", "raw_pool")]
    assert (
        "plain's d′ ratio is {}, against {} for the filter's ratio and {} for the raw pool's".format(*told)
        in words
    )
    for guess, rule in (("predicted", "plain"), ("matched", "matched"), ("of_pool", "raw_pool")):
        error = ((table[f"ratio_{guess}"] - table["ratio_measured"]) ** 2).mean() ** 0.5
        assert error == pytest.approx(scores.loc[rule, "rms"], rel=1e-3)
    left = (scores.loc["matched", "rms"] / scores.loc["plain", "rms"]) ** 2
    assert "Nine tenths of its squared error" in words
    assert left == pytest.approx(0.1, abs=0.01)
    for rule in ("predicted", "matched"):
        best = best_kept_shares(table, rule)
        named = (best["best_measured"] == best["best_predicted"]).sum()
        assert f"{named} of {len(best)}" in words, rule
        assert best["lead_measured"].mean() == pytest.approx(0.02, abs=0.005)


def test_the_frozen_rules_fresh_seeds_are_those_of_its_records() -> None:
    words, folder = " ".join(README.split()), ROOT / "paper_figures/records/filter_rule"
    table, scores = filter_cells(folder), filter_scores(folder)
    rms = {rule: short(scores.loc[rule, "rms"]) for rule in scores.index}
    seeds = read_json(folder / "provenance.json")["seeds"]
    assert f"seeds {seeds[0]} to {seeds[-1]}" in words
    assert f"Over {len(table)} cells its rms error is {rms['matched']}, at a measurement noise of" in words
    assert f"95% over {scores.loc['matched', 'num_pools']} pools" in words
    assert f"but {paired(scores, 'matched', 'raw_pool')} against the raw pool's {rms['raw_pool']}" in words
    assert f"{paired(scores, 'matched', 'plain')} against plain's {rms['plain']}" in words
    assert f"and {paired(scores, 'matched', 'unturned')} against the same without a turn" in words
    assert f"noise of {short(scores.loc['matched', 'noise_floor'])}" in words
    right, turns, up = (
        f"{scores.loc['matched', name]:.0f}" for name in ("turns_right", "num_turns", "turns_up")
    )
    plain = f"{scores.loc['plain', 'turns_right']:.0f}"
    assert f"It has the direction of {right} of {turns} turns right, plain of {plain}, the guess" in words
    assert f"always raises the ratio of {up}: no rule beats that guess" in words
    assert scores["turns_right"].max() < float(up)
    study = StudyFolder(folder)
    measured = study.accuracies(), study.table("filtering_account"), study.table("overlaps")
    rules = predict_filter_rules(*measured)
    value, low, high = (short(v, 2) for v in turn_size(rules))
    small, large = (short(turn_size(rules[rules["pool_size"] == n])[0], 2) for n in (1024, 4096))
    assert (
        f"the turn is {value} [{low}, {high}] times the one expected ({small} in pools of 1,024, {large}"
        in words
    )
    errors = [
        short(((part[f"ratio_{name}"] - part["ratio_measured"]) ** 2).mean() ** 0.5)
        for part in (table[table["pool_size"] == 1024], table[table["pool_size"] == 4096])
        for name in ("matched", "of_pool")
    ]
    assert "1,024 ({}, the raw pool's ratio {}) and leads in those of 4,096 ({}, {})".format(*errors) in words
    four = scores.loc[["kept_size", "clean_size", "matched", "filter_matched"], "rms"]
    assert four.idxmin() == "filter_matched"
    assert f"would have done best ({rms['filter_matched']})" in words
    left = (scores.loc["matched", "rms"] / scores.loc["plain", "rms"]) ** 2
    assert "(three quarters on the fresh seeds below)" in words
    assert left == pytest.approx(0.25, abs=0.01)
    before = filter_scores(GPU_STUDY)
    assert f"{short(before.loc['matched', 'rms'])} there" in words


def test_what_junk_costs_and_how_far_filters_turn_is_what_the_gpu_study_measured() -> None:
    words, folder = " ".join(README.split()), StudyFolder(GPU_STUDY)
    accuracies, account, overlaps = (
        folder.accuracies(),
        folder.table("filtering_account"),
        folder.table("overlaps"),
    )
    rules = predict_filter_rules(accuracies, account, overlaps)
    value, low, high = (short(v, 2) for v in turn_size(rules))
    sizes = [short(turn_size(rules[rules["pool_size"] == n])[0], 2) for n in (2048, 8192)]
    assert (
        f"{value} [{low}, {high}] times the one expected ({sizes[0]} in pools of 2,048, {sizes[1]}" in words
    )
    raw = accuracies[(accuracies["filter"] == "none") & (accuracies["test_set"] == "reference")]
    raw = raw[raw["sources"].str.startswith("alt_text+junk:") & ~raw["sources"].str.endswith("junk:0")]
    single = accuracies[(accuracies["sources"] == "alt_text") & (accuracies["kind"] == "single")]
    curve = SingleSources(single[single["test_set"] == "reference"]).curve("alt_text")
    errors = []
    for (sources, n), part in raw.groupby(["sources", "n_train"]):
        right = 1 - float(str(sources).partition("junk:")[2])
        expected = [curve.at(float(n) * right**power)[1][0] for power in (2, 1, 0)]
        errors.append(np.log(np.array(expected) / part["dprime"].mean()))
    square, share, whole = (short(v, 2) for v in np.sqrt(np.mean(np.square(errors), axis=0)))
    assert f"log d′ {square} over {len(errors)} pools; {share} with n(1−ε), {whole} with n" in words

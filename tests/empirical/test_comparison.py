"""Two studies compared: nothing where they are the same, everything where they differ, and the command."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tyro
from printed_commands import next_line, parsed
from synthetic_accuracies import synthetic_study

from empirical.comparison import COMPARISON_COLUMNS, compare_studies, summarise_comparison
from empirical.errors import DataError
from empirical.summary import format_summary
from empirical.tables import ACCURACY_COLUMNS, write_table
from experiments.compare_studies import Arguments, main


def test_repetitions_differ_as_often_as_chance_lets_them():
    apart, judged = 0, 0
    for seed in range(4):
        a, b = synthetic_study(seed=2 * seed), synthetic_study(seed=2 * seed + 1)
        table = compare_studies(a, b)
        assert tuple(table.columns) == COMPARISON_COLUMNS
        apart += (table["verdict"] != "not told apart").sum()
        judged += len(table)
    # Groups of one study share their pooled covariance; 5% is the most they may err, image errors counted in full.
    assert apart / judged < 0.08


def test_a_shifted_group_is_told_apart():
    a, b = (
        synthetic_study(scatter=0.02, num_images=10**5),
        synthetic_study(seed=1, scatter=0.02, num_images=10**5),
    )
    moved = (b["test_set"] == "v2") & (b["sources"] == "stock") & (b["kind"] == "single")
    b.loc[moved, "dprime"] += 0.5
    table = compare_studies(a, b).set_index(["quantity", "test_set", "group"]).sort_index()
    for quantity in ("accuracy", "d'", "d' ratio"):
        assert set(table.loc[(quantity, "v2", "stock"), "verdict"]) == {"b higher"}
        assert table.loc[(quantity, "v2", "stock"), "seeds_needed"].isna().all()
    assert "b higher" not in set(table.loc[("d'", "sketch", "stock"), "verdict"])
    one = table.loc[("d'", "v2", "stock")].query("n_train == 2048").iloc[0]
    values = [
        t.query("kind == 'single' and sources == 'stock' and n_train == 2048 and test_set == 'v2'")[
            "dprime"
        ].mean()
        for t in (a, b)
    ]
    assert one["difference"] == pytest.approx(values[1] - values[0])
    turned = compare_studies(b, a).set_index(["quantity", "test_set", "group"]).sort_index()
    assert set(turned.loc[("d'", "v2", "stock"), "verdict"]) == {"a higher"}


def test_only_what_both_have_is_compared():
    a = synthetic_study(sources=("stock", "snapshots"), mixtures=("stock:0.5+snapshots:0.5",))
    b = synthetic_study(sizes=(2048, 4096), sources=("stock", "forum"), mixtures=("stock:0.5+forum:0.5",))
    table = compare_studies(a, b)
    assert set(table["group"]) == {"stock"}
    assert set(table["n_train"]) == {2048}
    assert compare_studies(a, synthetic_study(sizes=(64,), seeds=(0,))).empty
    one_seed = compare_studies(a[a["seed"] == 0], b)
    assert set(one_seed["verdict"]) == {"no interval"}
    other = b.assign(num_classes=10)
    with pytest.raises(DataError, match="has 20 classes in one study and 10 in the other"):
        compare_studies(a, other)


def test_filtered_pools_are_kept_apart_by_their_filter():
    a = synthetic_study(mixtures=())
    pools = a[a["sources"] == "forum"].copy()
    filters = [
        pools.assign(
            kind="filtered",
            filter=name,
            kept_share=0.5,
            run=pools["run"] + name,
            dprime=pools["dprime"] + step,
        )
        for name, step in (("stock", 0.0), ("snapshots", 1.0))
    ]
    both = np.concatenate([t["dprime"].to_numpy() for t in filters])
    assert np.ptp(both) > 1
    table = compare_studies(pd.concat([a, *filters]), pd.concat([a, *filters]))
    filtered = table[table["kind"] == "filtered"]
    assert set(filtered["group"]) == {"forum [filter=stock]", "forum [filter=snapshots]"}
    assert np.allclose(table["difference"], 0)
    assert set(table["seeds_needed"]) == {math.inf}


def test_the_summary_counts_verdicts():
    table = compare_studies(synthetic_study(), synthetic_study(seed=1))
    summary = summarise_comparison(table)
    assert len(summary) == 3 + 3 + 2
    assert summary["num_groups"].sum() == len(table)
    assert (
        summary[["b_higher", "a_higher", "not_told_apart", "no_interval"]].sum(axis=1)
        == summary["num_groups"]
    ).all()


def test_the_command_writes_tables_and_a_figure(tmp_path: Path, capsys):
    for seed, name in enumerate("ab"):
        write_table(synthetic_study(seed=seed)[list(ACCURACY_COLUMNS)], tmp_path / name / "accuracies.csv")
    out = tmp_path / "out"
    arguments = tyro.cli(Arguments, args=[str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(out)])
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    script, then = parsed(next_line(printed))  # neither overlaps.csv nor logits: no design
    assert (script, then.accuracies) == ("predict_mixtures", tmp_path / "b" / "accuracies.csv")
    assert (out / "comparison.png").stat().st_size > 20_000
    header = (out / "comparison.csv").read_text().splitlines()[0]
    assert header == ",".join(COMPARISON_COLUMNS)
    one = synthetic_study(seed=1)
    write_table(
        one.loc[one["seed"] == one["seed"].min(), list(ACCURACY_COLUMNS)], tmp_path / "b" / "accuracies.csv"
    )
    assert main(arguments) == 0
    assert "b has one seed of everything: how much seeds differ is unknown" in capsys.readouterr().out
    assert (pd.read_csv(out / "comparison_summary.csv")["no_interval"] > 0).all()
    (tmp_path / "b" / "accuracies.csv").write_text("run\nx\n")
    assert main(arguments) == 2
    assert "lacks the column" in capsys.readouterr().err
    write_table(synthetic_study(sizes=(64, 128), sources=("moon", "sun"), mixtures=())[list(ACCURACY_COLUMNS)],
                tmp_path / "b" / "accuracies.csv")  # fmt: skip
    assert main(arguments) == 2
    assert "no group in common" in capsys.readouterr().err


def test_the_study_summary_says_what_inconclusive_cells_need():
    from empirical.prediction import predict_mixtures
    from empirical.robustness import fit_trends
    from empirical.scoring import score_rules

    study = synthetic_study(scatter=0.3)
    predictions = predict_mixtures(study)
    text = format_summary(study, fit_trends(study), predictions, score_rules(predictions))
    assert "Seeds that would decide the inconclusive ones" in text
    assert "decided by 6 seeds" in text
    told = predictions.assign(inside_range="yes", seeds_needed=np.nan)
    assert "Seeds that would decide" not in format_summary(study, fit_trends(study), told, score_rules(told))
    old = predictions.drop(columns="seeds_needed")
    assert "Seeds that would decide" not in format_summary(study, fit_trends(study), old, score_rules(old))

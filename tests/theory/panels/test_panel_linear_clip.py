import dataclasses

import jax
import numpy as np
import pandas as pd
import pytest

from theory.panels.linear_clip import (
    LinearClipOptions,
    linear_clip_summary,
    linear_clip_tables,
    num_linear_clip_steps,
)
from theory.panels.linear_clip_figure import draw_linear_clip
from theory.trial_statistics import agreement

KEY = jax.random.key(4)
OPTIONS = LinearClipOptions(
    num_classes=(2, 5),
    num_features=400,
    sizes=(100, 10_000),
    num_trials=200,
    caption_shares=(0.0, 0.5),
    num_caption_trials=20,
    ranks=(2, 8, 19),
    rank_sizes=(100, 10_000),
    rate_sizes=(8_192, 16_384),
    matched_shares=(1.0, 0.4),
    small_shares=(0.2, 0.1),
    num_filters=3,
    num_replicates=4,
)


@pytest.fixture(scope="module")
def tables():
    calls = []
    found = linear_clip_tables(KEY, OPTIONS, calls.append)
    assert len(calls) == num_linear_clip_steps(OPTIONS)
    return found


def test_predictions_and_simulations_agree(tables):
    for name in ("places", "captions", "rates"):
        table = tables[f"linear_clip_{name}"]
        assert agreement(table, 4.5).all(), table[~agreement(table, 4.5)]
    places = tables["linear_clip_places"]
    assert len(places) == 5 * 2
    fixed, random = (
        places[(places["num_classes"] == 5) & (places["share"] == 0.5) & (places["counts"] == c)]
        for c in ("fixed", "random")
    )
    assert random["dprime_simulated"].iloc[0] < fixed["dprime_simulated"].iloc[0]


def test_tables_say_what_the_theory_says(tables):
    captions = tables["linear_clip_captions"].set_index(["damage", "amount"])["accuracy_simulated"]
    assert captions["missing", 0.5] > captions["wrong", 0.5] + 0.05
    ranks = tables["linear_clip_ranks"]
    full = ranks[ranks["rank"] == 19]
    error = np.hypot(full["accuracy_stderr"], full["full_rank_stderr"])
    assert (np.abs(full["accuracy_simulated"] - full["full_rank"]) < 4.5 * error + 0.005).all()
    best = ranks[ranks["n"] == 10_000]
    assert np.all(np.abs(best["accuracy_simulated"] - best["limit"]) < 0.06)
    exponents = tables["linear_clip_exponents"].set_index(["model", "variable"])
    assert len(exponents) == 6
    assert abs(exponents.loc[("unfiltered", "share"), "exponent"] + 1) < 0.15
    assert (exponents["low"] < exponents["exponent"]).all()
    assert (exponents["exponent"] < exponents["high"]).all()
    rates = tables["linear_clip_rates"]
    small = rates[(rates["share"] == 0.1) & (rates["n"] == 16_384)].set_index("model")["error_simulated"]
    assert small["repeated"] < 0.5 * small["unfiltered"]


def test_the_figure_is_drawn_from_tables_read_back_and_the_finding_told(tables, tmp_path):
    read = {}
    for name, table in tables.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
        read[name] = pd.read_csv(tmp_path / f"{name}.csv")
    paths = draw_linear_clip(read, tmp_path / "linear_clip")
    assert [p.suffix for p in paths] == [".png", ".pdf"]
    assert all(p.stat().st_size > 10_000 for p in paths)
    lines = linear_clip_summary(read)
    assert len(lines) == 4
    assert "within 4 standard errors of theory: places 10 of 10" in lines[0]


def test_the_same_key_gives_the_same_tables(tables):
    few = dataclasses.replace(
        OPTIONS, sizes=(100, 200), rank_sizes=(100,), rate_sizes=(1_024, 2_048), num_trials=20
    )
    first, again = (linear_clip_tables(KEY, few) for _ in range(2))
    for name in first:
        pd.testing.assert_frame_equal(first[name], again[name])


def test_out_of_domain_is_refused():
    for options, message in (
        (LinearClipOptions(num_trials=1), r"num_trials must be at least 2 for a standard error, got 1"),
        (LinearClipOptions(num_classes=(5,)), r"two or more numbers >= 2, got \(5,\)"),
        (LinearClipOptions(num_features=20), r"at least 3 times the largest K, got 20 for 50"),
        (LinearClipOptions(ranks=(20,)), r"ranks must lie between 1 and 19, got \(20,\)"),
        (LinearClipOptions(rate_sizes=(100,)), r"at least two rate_sizes"),
        (LinearClipOptions(num_filters=1), r"num_filters must be at least 2, got 1"),
    ):
        with pytest.raises(ValueError, match=message):
            linear_clip_tables(KEY, options)

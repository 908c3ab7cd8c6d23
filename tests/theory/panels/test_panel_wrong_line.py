"""The panel `wrong_line`: predictions beside simulations, the figure from tables alone."""

import dataclasses
import io

import jax
import numpy as np
import pandas as pd
import pytest

from theory.panels.wrong_line import (
    WrongLineOptions,
    num_wrong_line_steps,
    wrong_line_summary,
    wrong_line_tables,
)
from theory.panels.wrong_line_figure import draw_wrong_line
from theory.panels.wrong_line_sweeps import family_tables
from theory.panels.wrong_line_world import nuisance_world
from theory.trial_statistics import agreement

KEY = jax.random.key(81)
SMALL = WrongLineOptions(
    smallest=4000,
    label_noise=(0.0, 0.2),
    strengths=(0.005, 0.02, 0.1, 1.0),
    num_models=150,
    trained_smallest=20,
    num_trained=6,
    bend_strengths=(0.01, 1.0),
    bend_sizes=(1000, 100_000),
    turn_noise=(0.0, 0.1),
    separations=(1.0,),
)


@pytest.fixture(scope="module")
def tables():
    calls = []
    result = wrong_line_tables(KEY, SMALL, calls.append)
    assert len(calls) == num_wrong_line_steps(SMALL)
    return result


def test_tables_are_tidy_and_agree_with_theory(tables):
    rows = {name.removeprefix("wrong_line_"): len(table) for name, table in tables.items()}
    assert rows["bend"] == 2 * 2
    assert rows["models"] == 3 * 4 * 4 + 3 * 2
    assert rows["cloud"] == 3 * 6 * 2
    assert rows["correlation"] == 3 * 4
    assert rows["turn"] == 2
    for table in tables.values():
        numbers = table.select_dtypes("number")
        assert not numbers.isna().any().any()
    for name in ("bend", "models", "correlation", "turn"):
        assert agreement(tables[f"wrong_line_{name}"], 4.5).all(), name


def test_more_label_noise_turns_positive_into_negative(tables):
    correlation = tables["wrong_line_correlation"].set_index(["learner", "label_noise", "strength"])
    found = correlation["correlation_simulated"]
    assert found["interpolating", 0.0, 0.1] > 0.9
    assert found["interpolating", 0.2, 0.1] < -0.9
    assert (found["averaging"] > 0.5).all()
    turn = tables["wrong_line_turn"]
    assert turn["log_turn_simulated"].is_monotonic_decreasing
    assert (np.exp(turn["log_turn_predicted"]).between(turn["turn_low"], turn["turn_high"])).all()


def test_jackknife_error_is_the_spread_of_the_correlation(tables):
    errors = tables["wrong_line_correlation"].query(
        "learner == 'interpolating' and strength == 0.02 and label_noise == 0.2"
    )
    repeats = []
    for seed in range(24):
        options = dataclasses.replace(SMALL, strengths=(0.02,), label_noise=(0.2,))
        table = family_tables(jax.random.key(seed), options)[1]
        repeats.append(table.query("learner == 'interpolating'")["correlation_simulated"].iloc[0])
    assert np.std(repeats) == pytest.approx(errors["correlation_stderr"].iloc[0], rel=0.45)


def test_figure_and_summary_come_from_saved_tables(tables, tmp_path):
    saved = {name: pd.read_csv(io.StringIO(table.to_csv(index=False))) for name, table in tables.items()}
    paths = draw_wrong_line(saved, tmp_path / "wrong_line")
    assert [path.suffix for path in paths] == [".png", ".pdf"]
    assert all(path.stat().st_size > 10_000 for path in paths)
    lines = wrong_line_summary(saved)
    assert lines == wrong_line_summary(tables)
    assert "correlation 12 of 12" in lines[0]
    assert "with 0% and" in lines[1]
    assert "noise rates only" in lines[2]


def test_same_key_same_tables(tables):
    options = dataclasses.replace(SMALL, num_models=20, num_trained=3)
    first, second = (wrong_line_tables(KEY, options) for _ in range(2))
    for name in tables:
        pd.testing.assert_frame_equal(first[name], second[name])


@pytest.mark.slow
def test_defaults_agree():
    tables = wrong_line_tables(KEY)
    for name in ("bend", "models", "correlation", "turn"):
        assert agreement(tables[f"wrong_line_{name}"]).mean() > 0.98


def test_bad_options_raise_with_the_value():
    for change, words in (
        ({"num_models": 2}, r"--num-models must be at least 3 for a standard error, got 2"),
        ({"num_trained": 1}, r"--num-trained must be at least 3"),
        ({"smallest": 5}, r"--smallest must be at least 10, got 5"),
        ({"label_noise": (0.0, 0.6)}, r"must lie in \[0, 0.5\).*got 0.6"),
        ({"turn_noise": (0.00013,)}, r"flip whole numbers of 4000 labels, got 0.00013"),
        ({"strengths": (0.0,)}, r"--strengths and --bend-strengths must be > 0, got 0.0"),
    ):
        with pytest.raises(ValueError, match=words):
            wrong_line_tables(KEY, dataclasses.replace(SMALL, **change))
    with pytest.raises(ValueError, match=r"separation must be > 0, got 0"):
        nuisance_world(100, 0)

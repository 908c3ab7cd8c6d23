import dataclasses

import jax
import numpy as np
import pandas as pd
import pytest

from theory.escape import predict
from theory.escape_settings import escape_settings
from theory.panels.escape import (
    MAPS,
    EscapeOptions,
    escape_summary,
    escape_tables,
    num_escape_steps,
    outside,
)
from theory.panels.escape_figure import draw_escape

KEY = jax.random.key(6)
OPTIONS = EscapeOptions(num_features=60, num_trials=24, map_points=17, whitening_points=5)


@pytest.fixture(scope="module")
def tables():
    calls = []
    found = escape_tables(KEY, OPTIONS, calls.append)
    assert len(calls) == num_escape_steps(OPTIONS)
    return found


def test_every_setting_ends_on_its_side(tables):
    table = tables["escape_settings"]
    assert len(table) == 15
    assert (table["side_in_theory"] == table["side_expected"]).all()
    # At d = 60 the limit is off by O(1/d).
    distance = (table["slope_simulated"] - table["slope_predicted"]).abs()
    assert (distance < 4.5 * table["slope_stderr"] + 1 / 60).all()
    clear = table["stderr_from_interval"] > 4
    assert clear.sum() >= 8
    assert (table["side_found"] == table["side_expected"])[clear].all()
    # All averaging classifiers dilute, whatever the noise.
    low, high = (
        table[["first_slope", "second_slope"]].min(axis=1),
        table[["first_slope", "second_slope"]].max(axis=1),
    )
    assert table["averaging_slope"].between(low - 1e-9, high + 1e-9).all()


def test_maps_have_the_borders_that_the_closed_form_draws(tables):
    maps = tables["escape_map"]
    assert list(maps["map"].unique()) == list(MAPS)
    assert not maps.isna().any().any()
    mean = maps[maps["map"] == "mean"]
    # ν₂ = (1, 1), p = 1/2, γ = 1: subtracted iff ν₁·ν₂ − 2 > 2; above the best source iff the subtracted one is the worse.
    total = mean["x"] + mean["y"]
    assert ((mean["pull_first"] < -1e-9) == (total > 4 + 1e-9)).all()
    escapes = (total > 4 + 1e-6) & (mean["x"] - mean["y"]).abs().gt(1e-6)
    sign = np.where(escapes, np.sign(mean["y"] - mean["x"]), 0)
    np.testing.assert_array_equal(np.where(mean["outside"].abs() < 1e-9, 0, np.sign(mean["outside"])), sign)
    penalty = maps[maps["map"] == "penalty"]
    few, strong = penalty["x"] <= 0.4, penalty["y"] >= 1.5
    assert (penalty.loc[few | strong, "outside"] == 0).all()
    assert penalty.loc[(penalty["x"] > 3) & (penalty["y"] < 0.5), "outside"].gt(0).all()


def test_whitening_escapes_on_either_side_of_common_noise(tables):
    rows = tables["escape_map"].query("map == 'whitening' and y < 0.1")
    assert rows.loc[rows["x"] < 0.1, "outside"].gt(0.02).all()
    assert rows.loc[rows["x"] > 10, "outside"].lt(-0.1).all()
    assert (rows.loc[np.isclose(rows["x"], 1), "outside"] == 0).all()
    # A map point is the asymptotics of that setting.
    setting = next(s for s in escape_settings(60) if s.name == "noisy copies, unequal sources")
    (found,) = predict([setting])
    np.testing.assert_allclose(rows["first_slope"], found.source_slopes[0], rtol=1e-9)
    np.testing.assert_allclose(rows["second_slope"], found.source_slopes[1], rtol=1e-9)


def test_distance_outside():
    values = outside(np.asarray([0.7, 0.3, 0.0]), np.asarray(0.1), np.asarray(0.5))
    np.testing.assert_allclose(values, [0.2, 0.0, -0.1])


def test_the_summary_names_who_escaped(tables):
    lines = escape_summary(tables)
    assert "15 trained settings" in lines[0]
    assert "beat the best source: over-fitted spurious source" in lines[1]
    assert "fall below the worst: noisy copies" in lines[2]


def test_the_figure_is_drawn_from_csv(tables, tmp_path):
    for name, table in tables.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    paths = draw_escape({name: pd.read_csv(tmp_path / f"{name}.csv") for name in tables}, tmp_path / "escape")
    assert [path.suffix for path in paths] == [".png", ".pdf"]
    assert all(path.stat().st_size > 10_000 for path in paths)


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [("num_features", 4, 8), ("num_trials", 1, 2), ("map_points", 2, 5), ("whitening_points", 2, 5)],
)
def test_out_of_domain_is_refused(name, value, least):
    flag = name.replace("_", "-")
    with pytest.raises(ValueError, match=f"--{flag} must be at least {least}, got {value}"):
        escape_tables(KEY, dataclasses.replace(OPTIONS, **{name: value}))

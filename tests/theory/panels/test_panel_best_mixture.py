import dataclasses

import jax
import numpy as np
import pandas as pd
import pytest

from theory.panels.best_mixture import (
    RIVALS,
    WORST,
    BestMixtureOptions,
    best_mixture_setting,
    best_mixture_summary,
    best_mixture_tables,
    num_best_mixture_steps,
)
from theory.panels.best_mixture_figure import draw_best_mixture
from theory.source_statistics import source_statistics
from theory.trial_statistics import agreement

KEY = jax.random.key(9)
OPTIONS = BestMixtureOptions(
    num_features=60,
    sizes=(10.0, 1_000.0, 100_000.0),
    path_points=6,
    map_steps=12,
    frontier_points=5,
    num_trials=4_000,
)
SHARES = ["share_stock", "share_snapshots", "share_curated"]


@pytest.fixture(scope="module")
def tables():
    calls = []
    found = best_mixture_tables(KEY, OPTIONS, calls.append)
    assert len(calls) == num_best_mixture_steps(OPTIONS)
    return found


def test_every_optimum_is_certified_and_beats_its_rivals(tables):
    path = tables["best_mixture_path"]
    assert set(path["objective"]) == {"style", "viewpoint", WORST}
    assert (path["gap"] <= 1e-6).all()
    np.testing.assert_allclose(path[SHARES].sum(axis=1), 1, atol=1e-9)
    for column in ("margin_equal", "margin_single"):
        assert (path[column] <= path["upper_bound"]).all()
    for _, rows in path.groupby("objective"):
        assert (np.diff(rows.sort_values("n")["margin"]) > 0).all()
    assert (tables["best_mixture_frontier"]["gap"] <= 1e-6).all()


def test_no_mixture_of_the_map_beats_the_certificate(tables):
    grid, path = tables["best_mixture_map"], tables["best_mixture_path"]
    assert len(grid) == 13 * 14 / 2
    here = path[path["n"] == OPTIONS.map_samples].set_index("objective")["upper_bound"]
    assert grid["margin_style"].max() <= here["style"]
    assert grid["margin_viewpoint"].max() <= here["viewpoint"]
    assert grid[["margin_style", "margin_viewpoint"]].min(axis=1).max() <= here[WORST]
    sources, shifts = best_mixture_setting(OPTIONS.num_features)
    expected = source_statistics(sources, shifts).margins(OPTIONS.map_samples * grid[SHARES].to_numpy())
    np.testing.assert_allclose(grid[["margin_style", "margin_viewpoint"]], expected)


def test_simulations_agree_and_the_best_mixture_is_best(tables):
    margins, frontier = tables["best_mixture_margins"], tables["best_mixture_frontier"]
    seen = frontier[frontier["probit_simulated"].notna()]
    assert len(seen) == 6
    # At d = 60 the second order leaves O(1/d²).
    for table in (margins, seen):
        error = (table["probit_simulated"] - table["probit_predicted"]).abs()
        assert (error < 4.5 * table["probit_stderr"] + 5 / 60**2).all()
    assert set(margins["mixture"]) == set(RIVALS)
    worst = margins.groupby(["n", "mixture"])["probit_simulated"].min().unstack()
    assert (worst["best mixture"] > worst[["equal shares", "best single source"]].max(axis=1) - 0.01).all()
    assert worst["best mixture"].iloc[-1] > worst.iloc[-1].drop("best mixture").max() + 0.05


def test_figure_and_summary_from_csv(tables, tmp_path):
    for name, table in tables.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    read = {name: pd.read_csv(tmp_path / f"{name}.csv") for name in tables}
    paths = draw_best_mixture(read, tmp_path / "best_mixture")
    assert [path.suffix for path in paths] == [".png", ".pdf"]
    assert all(path.stat().st_size > 10_000 for path in paths)
    assert best_mixture_summary(read) == best_mixture_summary(tables)
    assert "For the worst of both shifts" in best_mixture_summary(read)[1]
    assert agreement(read["best_mixture_margins"], 12).all()


def test_options_out_of_range_are_refused():
    for name, value in (("num_features", 4), ("num_trials", 1), ("map_steps", 2), ("path_points", 1)):
        with pytest.raises(
            ValueError, match=rf"--{name.replace('_', '-')} must be at least \d+, got {value}"
        ):
            dataclasses.replace(OPTIONS, **{name: value}).check()
    with pytest.raises(ValueError, match=r"--sizes must be finite numbers > 0, got \[10.0, 0.0\]"):
        best_mixture_tables(KEY, dataclasses.replace(OPTIONS, sizes=(10.0, 0.0)))
    with pytest.raises(ValueError, match=r"--map-samples must be finite"):
        dataclasses.replace(OPTIONS, map_samples=float("inf")).check()

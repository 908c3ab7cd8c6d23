import dataclasses

import jax
import numpy as np
import pandas as pd
import pytest

from theory.break_even import REGIONS, break_even
from theory.classifiers import averaging_law
from theory.gaussian import Source, Target
from theory.panels.break_even import (
    SHOWN,
    BreakEvenOptions,
    break_even_summary,
    break_even_tables,
    num_break_even_steps,
)
from theory.panels.break_even_figure import draw_break_even
from theory.trial_statistics import agreement

KEY = jax.random.key(5)
OPTIONS = BreakEvenOptions(num_features=200, num_trials=3_000, map_points=15)


@pytest.fixture(scope="module")
def tables():
    calls = []
    found = break_even_tables(KEY, OPTIONS, calls.append)
    assert len(calls) == num_break_even_steps(OPTIONS)
    return found


def test_simulations_agree_and_show_the_predicted_regions(tables):
    curves, checks = tables["break_even_curves"], tables["break_even_checks"]
    assert agreement(curves, 4.5).all()
    assert agreement(checks, 4.5).all()
    assert set(checks["region"]) == set(REGIONS)
    clear = checks[checks["is_clear"]]
    assert len(clear) > 0.8 * len(checks)
    assert (clear["region_simulated"] == clear["region"]).all()
    # The standard error resolves what each region is about.
    assert (curves["probit_stderr"] < 2e-4).all()


def test_shown_settings_lie_in_their_regions_and_predictions_are_those_of_the_theory(tables):
    curves = tables["break_even_curves"]
    sine = np.sqrt(1 - OPTIONS.cosine**2)
    d = OPTIONS.num_features
    for region, (per_feature, ratio) in SHOWN.items():
        kept = Source(np.r_[1.0, np.zeros(d - 1)])
        added = Source(np.r_[OPTIONS.cosine, sine, np.zeros(d - 2)])
        target = Target(np.r_[1.0, (ratio - OPTIONS.cosine) / sine, np.zeros(d - 2)])
        assert break_even(kept, added, target, per_feature * d).region == region
        rows = curves[curves["region"] == region]
        row = rows.iloc[3]
        law = averaging_law([kept, added], [row["num_kept"], row["num_added"]])
        assert row["probit_leading"] == pytest.approx(float(law.place(target)), rel=1e-9)
        assert row["probit_predicted"] == pytest.approx(float(law.expected_margin(target)), rel=1e-9)


def test_map_has_all_regions_and_its_borders(tables):
    phases = tables["break_even_map"]
    assert len(phases) == OPTIONS.map_points**2
    assert set(phases["region"]) == set(REGIONS)
    helps = phases["region"].isin(["add some", "always add"])
    assert (helps == (phases["signal_ratio"] > phases["bar"] + 1e-12)).all()
    ends_rising = phases["region"].isin(["always add", "hurts first, helps later"])
    assert (ends_rising == (phases["signal_ratio"] > phases["turn"])).all()


def test_figure_and_summary_from_csv(tables, tmp_path):
    for name, table in tables.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    read = {name: pd.read_csv(tmp_path / f"{name}.csv") for name in tables}
    paths = draw_break_even(read, tmp_path / "break_even")
    assert [path.suffix for path in paths] == [".png", ".pdf"]
    assert all(path.stat().st_size > 10_000 for path in paths)
    assert break_even_summary(read) == break_even_summary(tables)
    assert "Hurts first, helps later" in break_even_summary(read)[1]


def test_options_out_of_range_are_refused():
    for name, value in (("num_features", 5), ("num_trials", 1), ("map_points", 2)):
        with pytest.raises(
            ValueError, match=rf"--{name.replace('_', '-')} must be at least \d+, got {value}"
        ):
            dataclasses.replace(OPTIONS, **{name: value}).check()
    with pytest.raises(ValueError, match=r"--cosine must lie in \(0, 0.5\), got 0.7"):
        break_even_tables(KEY, dataclasses.replace(OPTIONS, cosine=0.7))

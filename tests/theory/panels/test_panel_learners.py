import dataclasses

import jax
import numpy as np
import pandas as pd
import pytest

from theory.panels import learners
from theory.panels.learners import (
    LEARNERS,
    LearnersOptions,
    learners_settings,
    learners_summary,
    learners_tables,
    num_learners_steps,
)
from theory.panels.learners_figure import draw_learners
from theory.trial_statistics import agreement

KEY = jax.random.key(5)
OPTIONS = LearnersOptions(num_features=60, shares=(0.25, 0.5), num_trials=16, curve_points=9)
# What needs no compilation to speak of; the slow test has all of them.
QUICK = tuple(learner for learner in LEARNERS if learner.loss in ("averaging", "square"))


@pytest.fixture(scope="module")
def tables():
    calls = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learners, "LEARNERS", QUICK)
        found = learners_tables(KEY, OPTIONS, calls.append)
    assert len(calls) == num_learners_steps(OPTIONS)
    return found


@pytest.fixture(scope="module")
def all_tables():
    return learners_tables(KEY, OPTIONS)


def check_tidy_and_agree(tables, number):
    points, curves = tables["learners"], tables["learners_curves"]
    assert len(points) == 2 * 2 * number
    assert len(curves) == 2 * 9 * number
    assert not points.isna().any().any()
    assert not curves.isna().any().any()
    # At d = 60 the limit is off by O(1/d): the slopes, where it cancels to first order, must agree.
    slopes = points[[column for column in points if not str(column).startswith("probit")]]
    assert agreement(slopes).all()
    assert ((points["probit_ref_predicted"] - points["probit_ref_simulated"]).abs() < 0.1).all()


def check_who_escapes(curves):
    for setting, rows in curves.groupby("setting"):
        for learner, own in rows.groupby("learner"):
            slopes = own.sort_values("share")["slope_predicted"].to_numpy()
            ends = slopes[[0, -1]]
            # Isotropic noise: alone, every learner has the same line.
            np.testing.assert_allclose(
                ends, (0.8, 0.3) if "moderate" in str(setting) else (0.5, 1 / 7), rtol=1e-6
            )
            escapes = slopes.max() > ends.max() + 1e-6 or slopes.min() < ends.min() - 1e-6
            expected = "long" in str(setting) and learner in ("least squares (LDA)", "ridge, small penalty")
            assert escapes == expected, (setting, learner)


def test_tables_are_tidy_and_agree(tables):
    check_tidy_and_agree(tables, len(QUICK))


def test_all_dilute_in_the_first_setting_and_only_weak_ridges_escape_in_the_second(tables):
    check_who_escapes(tables["learners_curves"])


@pytest.mark.slow
def test_all_learners(all_tables):
    check_tidy_and_agree(all_tables, len(LEARNERS))
    check_who_escapes(all_tables["learners_curves"])


def test_the_summary_says_who_escaped(tables):
    lines = learners_summary(tables)
    assert len(lines) == 3
    assert "outside by theory: none; trained, by more than 2 s.e.: none" in lines[1]
    assert "outside by theory: least squares (LDA), ridge, small penalty; trained" in lines[2]


def test_the_figure_is_drawn_from_csv(tables, tmp_path):
    for name, table in tables.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    paths = draw_learners(
        {name: pd.read_csv(tmp_path / f"{name}.csv") for name in tables}, tmp_path / "learners"
    )
    assert [path.suffix for path in paths] == [".png", ".pdf"]
    assert all(path.stat().st_size > 10_000 for path in paths)


def test_settings_share_their_targets():
    first, second = learners_settings(8)
    assert first.targets is second.targets
    assert {source.dimension for s in (first, second) for source in s.sources} == {8}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_features": 4}, r"--num-features must be at least 8, got 4"),
        ({"samples_per_feature": 1}, r"--samples-per-feature must be at least 2 \(least squares\), got 1"),
        ({"num_trials": 1}, r"--num-trials must be at least 2 for a standard error, got 1"),
        ({"curve_points": 2}, r"--curve-points must be at least 3, got 2"),
        ({"shares": (0.5, 1.0)}, r"--shares must lie in \(0, 1\), got 1.0"),
        ({"shares": ()}, r"--shares needs at least one share"),
    ],
)
def test_out_of_domain_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        learners_tables(KEY, dataclasses.replace(OPTIONS, **change))

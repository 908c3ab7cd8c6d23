"""The study of learners' limits: its arguments, and its committed record against what it claims."""

import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from experiments import learner_limits
from experiments.learner_limits import Arguments, check, run, summary
from paper_figures.committed import RECORDS, Records
from theory.learner_limits import LimitLearner, jobs, mixtures, with_predictions
from theory.learner_limits_trials import Moments, batch_size, simulate
from theory.learner_limits_verdict import verdict, z_scores

CELL = ["mixture", "learner", "samples_per_feature", "penalty", "target", "d"]


@pytest.fixture(scope="module")
def record() -> pd.DataFrame:
    if not (RECORDS / "learner_limits").exists():
        pytest.skip("no record of the limits is committed")
    return Records("learner_limits")["learner_limits"]


def test_the_record_covers_what_it_should(record):
    assert not record.duplicated(CELL).any()
    large = record[record["d"] == 1000]
    wanted = {
        (mixture.name, learner, delta, lam, target.name)
        for mixture in mixtures(1000)
        for learner in ("square", "logistic", "hinge")
        for delta in (0.5, 1.0, 2.0, 8.0)
        for lam in (0.01, 0.1, 1.0)
        for target in mixture.targets
    }
    assert wanted <= set(large[CELL[:-1]].itertuples(index=False, name=None))
    assert {250, 1000} <= set(record["d"])
    assert (large["accuracy_stderr"] <= 0.002).all()
    assert (large["num_trials"] >= 20).all()


def test_the_record_agrees_with_the_limits(record):
    z = np.abs(z_scores(record[record["d"] == 1000]))
    assert (z > 3).mean() <= 0.01
    assert z.max() <= 5
    assert verdict(record).agrees


def test_the_gap_of_finite_d_falls(record):
    both = verdict(record[record["d"].isin([250, 1000])])
    assert both.falls, (both.gaps, both.shrinkages)


def test_predictions_in_the_record_are_those_of_the_code(record):
    some = record[(record["d"] == 250) & (record["learner"].isin(["square", "hard_margin"]))][::4]
    again = with_predictions(some.drop(columns="accuracy_predicted"))
    np.testing.assert_allclose(again["accuracy_predicted"], some["accuracy_predicted"], atol=1e-8)


def test_the_recorded_curves_pass_through_the_predictions(record):
    curves = Records("learner_limits")["learner_limits_curves"]
    large = record[record["d"] == record["d"].max()]
    lines = dict(iter(curves.groupby(["mixture", "learner", "penalty"])))
    first = {mixture.name: mixture.targets[0].name for mixture in mixtures(1000)}
    seen = 0
    for cell in large[large["target"] == large["mixture"].map(first)].itertuples():
        penalty = 0.0 if cell.learner == "hard_margin" else cell.penalty
        line = lines[cell.mixture, cell.learner, penalty]
        x = np.log(line["samples_per_feature"])
        if np.log(cell.samples_per_feature) > x.max():
            continue  # a hard margin beyond the last point of its line
        found = norm.cdf(np.interp(np.log(cell.samples_per_feature), x, line["margin"]))
        assert found == pytest.approx(cell.accuracy_predicted, abs=2e-3)
        seen += 1
    assert seen > 100


def test_the_summary_is_that_of_the_record(record):
    kept = (RECORDS / "learner_limits" / "summary.txt").read_text(encoding="utf-8")
    assert kept.strip() == summary(record).strip()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("learner", "delta", "mixture"),
    [("square", 2.0, 0), ("logistic", 0.5, 2), ("hinge", 1.0, 1), ("hard_margin", 0.5, 0)],
)
def test_training_again_on_other_data_gives_the_recorded_accuracies(
    record, learner: LimitLearner, delta, mixture
):
    (job,) = (job for job in jobs((delta,), (250,), (learner,)) if job.mixture == mixture)
    number = batch_size(job) * max(1, 128 // batch_size(job))
    penalties = (0.01, 0.1, 1.0)
    found = Moments.of(simulate(job, penalties, 12345, 0, number))
    rows = record[
        (record["mixture"] == mixtures(250)[mixture].name)
        & (record["learner"] == learner)
        & (record["samples_per_feature"] == delta)
        & (record["d"] == 250)
    ]
    shown = (0.0,) if learner == "hard_margin" else penalties
    for index, lam in enumerate(shown):
        for t, target in enumerate(mixtures(250)[mixture].targets):
            (row,) = rows[(rows["penalty"] == lam) & (rows["target"] == target.name)].itertuples()
            for expected, error in (
                (row.accuracy_simulated, row.accuracy_stderr),
                (row.accuracy_predicted, 5e-4),  # what d = 250 may differ from its limit
            ):
                assert abs(found.mean[index, t] - expected) < 4.5 * np.hypot(found.stderr[index, t], error)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"largest_stderr": (0.1,)}, "--largest-stderr needs one number for each of the 3 --num-features, got 1"),
        ({"penalties": (0.0,)}, "--penalties needs numbers > 0"),
        ({"samples_per_feature": ()}, "--samples-per-feature needs numbers > 0"),
        ({"min_trials": 1}, "--min-trials must be at least 2"),
        ({"kinked_factor": 0.5}, "--kinked-factor must be at least 1"),
        ({"workers": 0}, "at least one worker is needed"),
        ({"workers": -1}, "at least one worker is needed"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        check(Arguments(**change))


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="there is a GPU here")
def test_gpu_workers_without_a_gpu_are_refused(tmp_path):
    tiny = Arguments(
        out=tmp_path,
        num_features=(16,),
        largest_stderr=(0.05,),
        samples_per_feature=(2.0,),
        learners=("square",),
        workers=1,
        gpu_workers=1,
    )
    with pytest.raises(ValueError, match="no GPU for --gpu-workers 1"):
        run(tiny)


def test_help_explains_every_argument():
    script = Path(learner_limits.__file__)
    result = subprocess.run(
        [sys.executable, str(script), "--help"], capture_output=True, text=True, check=True
    )
    for flag in ("--out", "--workers", "--gpu-workers", "--largest-stderr", "--min-trials"):
        assert flag in result.stdout

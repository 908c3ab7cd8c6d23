"""What the comparisons say of their numbers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from empirical.benchmarks.evaluation_comparison import check_equal
from empirical.benchmarks.evaluation_task import Accuracies
from empirical.benchmarks.fresh_process import run_driver
from empirical.benchmarks.loss_curves import difference_table, loss_table, same_to_noise
from empirical.benchmarks.made_up_shards import write_made_up
from empirical.benchmarks.training_comparison import Compared
from empirical.benchmarks.training_task import Outcome, TrainingTask
from empirical.errors import DataError, StudyError
from empirical.figures.loss_curves import draw_loss_curves
from empirical.shards import read_pairs

EPOCHS = 5


def curves(rng: np.random.Generator, seeds: int, shift: float = 0.0) -> pd.DataFrame:
    falling = np.linspace(4, 2, EPOCHS)
    return loss_table(
        {
            name: {seed: (falling + offset + rng.normal(0, 0.05, EPOCHS)).tolist() for seed in range(seeds)}
            for name, offset in (("ours", 0.0), ("peer", shift))
        }
    )


def test_differences_are_students_t() -> None:
    table = curves(np.random.default_rng(0), 4)
    found = difference_table(table, "ours", "peer")
    for epoch, row in zip(range(1, EPOCHS + 1), found.itertuples(), strict=True):
        here = table[table["epoch"] == epoch]
        ours, peer = (here[here["trainer"] == name]["loss"] for name in ("ours", "peer"))
        statistic, chance = stats.ttest_rel(ours, peer)
        assert row.difference / row.standard_error == pytest.approx(statistic)
        assert row.within == (chance >= 2 * stats.norm.sf(3))


def test_equal_trainers_are_told_apart_as_rarely_as_three_standard_errors_say() -> None:
    rng = np.random.default_rng(1)
    outside = np.array(
        [(~difference_table(curves(rng, 3), "ours", "peer")["within"]).sum() for _ in range(600)]
    )
    epochs, chance = 600 * EPOCHS, 2 * stats.norm.sf(3)
    assert outside.sum() <= epochs * chance + 4 * np.sqrt(epochs * chance)
    other = difference_table(curves(rng, 4, shift=2.0), "ours", "peer")
    assert not other["within"].any()
    assert same_to_noise(other).startswith("not the same: 0 of 5 epochs")


def test_one_seed_has_no_spread() -> None:
    with pytest.raises(StudyError, match="at least two seeds"):
        difference_table(curves(np.random.default_rng(0), 1), "ours", "peer")
    table = curves(np.random.default_rng(0), 3)
    with pytest.raises(StudyError, match="different seeds or epochs"):
        difference_table(table[(table["trainer"] == "ours") | (table["seed"] < 2)], "ours", "peer")


def test_loss_curves_are_drawn(tmp_path: Path) -> None:
    table = curves(np.random.default_rng(0), 3)
    paths = draw_loss_curves(table, difference_table(table, "ours", "peer"), tmp_path / "losses")
    assert [path.suffix for path in paths] == [".png", ".pdf"]
    assert all(path.stat().st_size > 5000 for path in paths)


def test_rows_hold_medians_over_seeds_and_the_steady_state_leaves_out_the_first_epoch() -> None:
    def outcome(seconds: float, later: float) -> Outcome:
        return Outcome([100.0, later, later], 500, [2.0, 1.0, 0.5], {}, seconds, 2 * seconds)

    ours = [outcome(1.0, 0.1), outcome(2.0, 0.2), outcome(30.0, 3.0)]
    peer = [outcome(10.0, 1.0), outcome(8.0, 2.0), outcome(9.0, 9.0)]
    task = TrainingTask("c.json", "{}", "s.tar", 500, 32)
    rows = list(Compared("x", task, ours, peer, {0: 1.0}).rows())
    assert [(r["ours_seconds"], r["peer_seconds"]) for r in rows[:2]] == [(2, 9), (4, 18)]
    assert rows[0]["ratio"] == 4.5
    assert rows[2]["ours_seconds"] == pytest.approx(1000 / 2500)  # 500 images in 0.2 s
    assert rows[2]["peer_seconds"] == pytest.approx(1000 / 250)


def test_a_process_that_fails_names_its_log_and_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"nothing_here failed: .*No module named.*log\.txt.*; install it"):
        run_driver("empirical.benchmarks.nothing_here", tmp_path, 1, way_out="; install it")


def test_an_outcome_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outcome.json").write_text('{"epoch_seconds": []}')
    with pytest.raises(DataError, match="does not hold a Outcome"):
        Outcome.read(tmp_path / "outcome.json")


def test_evaluators_that_disagree_are_an_error_not_a_ratio() -> None:
    ours = Accuracies({"reference": 0.500, "sketch": 0.300}, 1.0)
    check_equal(ours, Accuracies({"reference": 0.501, "sketch": 0.300}, 1.0), 1000)  # one image: rounding
    with pytest.raises(StudyError, match=r"test set sketch: accuracy 0\.3000 here, 0\.31 by"):
        check_equal(ours, Accuracies({"reference": 0.500, "sketch": 0.310}, 1.0), 1000)
    with pytest.raises(StudyError, match="test set sketch"):
        check_equal(ours, Accuracies({"reference": 0.5}, 1.0), 1000)


def test_made_up_shards_are_read_as_any(tmp_path: Path) -> None:
    pattern = write_made_up(tmp_path / "a", 6, 2, image_size=48, seed=1)
    pairs = read_pairs(pattern, 48)
    assert pairs.images.shape == (6, 3, 48, 48)
    assert all(8 <= len(caption.split()) <= 16 for caption in pairs.captions)
    assert pairs.images.std() > 30  # pictures, not grey
    again = read_pairs(write_made_up(tmp_path / "b", 6, 2, image_size=48, seed=1), 48)
    np.testing.assert_array_equal(pairs.images, again.images)
    with pytest.raises(ValueError, match="evenly"):
        write_made_up(tmp_path / "c", 7, 2, image_size=48)

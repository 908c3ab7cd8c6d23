"""Trained learners beside their limits: trials, the ledger of finished chunks, and what counts as agreement."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.learner_limits import Job, jobs, mixtures
from theory.learner_limits_trials import (
    Moments,
    batch_size,
    chunk_size,
    chunks_wanted,
    draw_trials,
    simulate,
    sum_of,
)
from theory.learner_limits_verdict import verdict, z_scores

PENALTIES = (0.1, 1.0)
SMALL = Job(0, "square", 2.0, 16)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 2**31))
def test_moments_of_parts_are_those_of_the_whole(sizes, seed):
    values = np.random.default_rng(seed).normal(0.7, 0.1, (sum(sizes), 2, 3))
    parts = np.split(values, np.cumsum(sizes)[:-1])
    total, whole = sum_of([Moments.of(part) for part in parts]), Moments.of(values)
    assert total.count == whole.count
    np.testing.assert_allclose(total.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(total.squares, whole.squares, atol=1e-12)
    if len(values) > 1:
        np.testing.assert_allclose(whole.stderr, values.std(0, ddof=1) / np.sqrt(len(values)))


@pytest.mark.parametrize("mixture", range(3))
def test_samples_have_their_sources_law(mixture):
    job = Job(mixture, "square", 8.0, 16)
    samples = draw_trials(job, 5, 0, 200)
    start = 0
    for source, count in zip(mixtures(16)[mixture].sources, job.counts, strict=True):
        rows = samples[:, start : start + count].reshape(-1, 16)
        variance = np.broadcast_to(np.asarray(source.covariance), 16)
        z = (rows.mean(0) - np.asarray(source.mean)) / np.sqrt(variance / len(rows))
        assert np.abs(z).max() < 4.5
        ratio = (rows.var(0, ddof=1) / variance - 1) / np.sqrt(2 / len(rows))
        assert np.abs(ratio).max() < 4.5
        correlation = np.corrcoef(rows.T) - np.eye(16)
        assert np.abs(correlation).max() < 5 / np.sqrt(len(rows))
        start += count
    assert start == samples.shape[1]


def test_a_trial_depends_on_its_number_alone():
    several = draw_trials(SMALL, 5, 0, 4)
    np.testing.assert_array_equal(draw_trials(SMALL, 5, 2, 1)[0], several[2])
    assert not np.array_equal(draw_trials(SMALL, 6, 2, 1)[0], several[2])
    assert not np.array_equal(several[1], several[2])
    size = batch_size(SMALL)
    both = simulate(SMALL, PENALTIES, 5, 0, 2 * size)
    np.testing.assert_array_equal(simulate(SMALL, PENALTIES, 5, size, size), both[size:])
    with pytest.raises(ValueError, match="must be a multiple"):
        simulate(SMALL, PENALTIES, 5, 0, size + 1)


def test_trained_ridge_is_the_naive_one():
    samples = draw_trials(SMALL, 5, 0, batch_size(SMALL))
    n, d = samples.shape[1:]
    found = simulate(SMALL, PENALTIES, 5, 0, len(samples))
    from scipy.stats import norm

    for index, lam in enumerate(PENALTIES):
        for trial in (0, 5):
            u = samples[trial]
            w = np.linalg.solve(u.T @ u / n + lam * np.eye(d), u.mean(0))
            for t, target in enumerate(mixtures(d)[0].targets):
                length = np.sqrt(w @ (np.asarray(target.covariance) * w))
                assert found[trial, index, t] == pytest.approx(
                    norm.cdf(w @ np.asarray(target.mean) / length), abs=2e-5
                )


def test_chunks_are_added_until_the_standard_error_is_small_enough():
    rng = np.random.default_rng(0)
    size = chunk_size(SMALL)
    chunks = [Moments.of(rng.normal(0.7, 0.1, (size, 2, 2))) for _ in range(3)]
    assert chunks_wanted(SMALL, [], 10, 0.1) == 1
    assert chunks_wanted(SMALL, [], size + 1, 0.1) == 2
    assert chunks_wanted(SMALL, chunks, 10, 1.0) == 3  # never fewer than are done
    worst = sum_of(chunks).stderr.max()
    assert chunks_wanted(SMALL, chunks, 10, worst / 2) == pytest.approx(3 * (2 * 1.05) ** 2, abs=1)


def test_hard_margins_only_where_data_are_safely_separable():
    found = jobs((0.5, 2.0, 8.0), (64, 250))
    hard = [job for job in found if job.learner == "hard_margin"]
    first = {(job.num_features, job.samples_per_feature) for job in hard if job.mixture == 0}
    assert first == {(64, 0.5), (250, 0.5), (250, 2.0)}  # the threshold of this mixture is 3.49
    assert all(job.samples_per_feature <= 2 for job in hard)
    assert len(found) == 2 * 3 * 3 * 3 + len(hard)
    assert len({job.name for job in found}) == len(found)
    with pytest.raises(ValueError, match=r"learners must be among .* got 'boosting'"):
        jobs((1.0,), (64,), ("boosting",))
    with pytest.raises(ValueError, match="at least 8 features, got 4"):
        jobs((1.0,), (4,))
    with pytest.raises(ValueError, match="must give every source a sample"):
        jobs((0.01,), (64,))


def synthetic(seed, stderr=2e-4, gap=0.06, power=1.0, spoiled=0.0):
    """Cells whose gap is gap/d^power times a number of their own."""
    rng = np.random.default_rng(seed)
    strength = rng.normal(1.0, 0.5, (20, 3))
    rows = [
        {"mixture": f"m{group % 3}", "learner": f"l{group}", "samples_per_feature": 1.0, "penalty": lam, "target": "shift",
         "d": d, "accuracy_predicted": 0.7, "accuracy_stderr": stderr,
         "accuracy_simulated": 0.7 + gap * strength[group, lam] / d**power + stderr * rng.normal()}
        for d in (250, 1000)
        for group in range(20)
        for lam in range(3)
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    table.loc[table.index[-1], "accuracy_simulated"] += spoiled
    return table


def test_the_verdict_sees_agreement_and_a_falling_gap():
    found = verdict(synthetic(0))
    assert found.agrees
    assert found.falls
    assert found.num_cells == 60
    assert found.shrinkages[0].ratio == pytest.approx(0.25, abs=3 * found.shrinkages[0].stderr)
    assert found.gaps[0].rms == pytest.approx(0.06 / 250 * np.sqrt(1.25), rel=0.3)
    assert np.abs(z_scores(synthetic(0))).shape == (120,)


def test_the_verdict_sees_one_cell_beyond_five_and_a_gap_that_stays():
    assert not verdict(synthetic(0, spoiled=8 * 2e-4)).agrees
    stays = verdict(synthetic(1, gap=4e-4, power=0.0))
    assert not stays.falls
    assert stays.shrinkages[0].ratio == pytest.approx(1, abs=4 * stays.shrinkages[0].stderr)

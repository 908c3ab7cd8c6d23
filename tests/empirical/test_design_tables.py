"""Tables of designs against naive counts over draws, several designs at once, and the sizes they are measured at."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from empirical.design import (
    DesignTask,
    candidates_table,
    design_mixture,
    design_mixtures,
    nearest_measured_size,
    rounded_shares,
)
from empirical.measured_sources import MeasuredSources

SOURCES, TEST_SETS = ("first", "second", "third"), ("reference", "even", "odd")
DRAWS = 24


@pytest.fixture(scope="module")
def measured() -> MeasuredSources:
    """Three sources of about equal strength, each with a test set of its own to be good at, and wide draws."""
    rng = np.random.default_rng(0)
    signals = np.array([[2.0, 2.0, 1.9], [2.0, 1.4, 1.5], [1.3, 2.0, 1.6]])
    overlaps = np.repeat(np.array([[0.8, 0.5, 0.5], [0.5, 0.8, 0.5], [0.5, 0.5, 0.8]])[None], 3, axis=0)
    return MeasuredSources(
        512, SOURCES, TEST_SETS, np.full(3, 10), np.full(3, 4), signals, overlaps,
        signals + 0.3 * rng.standard_normal((DRAWS, 3, 3)), np.repeat(overlaps[None], DRAWS, axis=0),
    )  # fmt: skip


def first_draws(measured: MeasuredSources, count: int) -> MeasuredSources:
    return replace(
        measured, drawn_signals=measured.drawn_signals[:count], drawn_overlaps=measured.drawn_overlaps[:count]
    )


def naive_dprime(measured: MeasuredSources, shares: np.ndarray, draw: int, test_set: str) -> float:
    """sum p d over the root of sum p p' r + n0 sum p (1 - r) / N, for N = n0."""
    t = TEST_SETS.index(test_set)
    d, r = measured.drawn_signals[draw, t], measured.drawn_overlaps[draw, t]
    return float(shares @ d / np.sqrt(shares @ r @ shares + shares @ (1 - np.diagonal(r))))


@pytest.mark.parametrize("target", [("even",), ("even", "odd")], ids=["one", "the worst of two"])
def test_designed_ahead_counts_the_draws_of_the_targets_worst(measured, target):
    design = design_mixture(measured, target, 512)
    table = candidates_table([design])
    on_target = table[table["test_set"] == "reference"].set_index("candidate")["designed_ahead"]
    candidates = {"equal shares": np.full(3, 1 / 3)} | {
        f"{s} alone": np.eye(3)[i] for i, s in enumerate(SOURCES)
    }

    def worst(shares: np.ndarray, draw: int) -> float:
        return min(naive_dprime(measured, shares, draw, name) for name in target)

    for candidate, shares in candidates.items():
        ahead = [worst(design.weights, draw) > worst(shares, draw) for draw in range(DRAWS)]
        assert on_target[candidate] == pytest.approx(np.mean(ahead)), candidate
    assert on_target.drop("designed").between(0.05, 0.95).any(), "the test would not notice another count"
    assert np.isnan(on_target["designed"])


def test_candidates_without_samples_enough_are_told(measured):
    measured = first_draws(measured, 0)
    available = {"first": 300, "second": 160, "third": 100}
    design = design_mixture(measured, ["even", "odd"], 512, available)
    enough = candidates_table([design]).groupby("candidate")["within_available"].agg(set)
    # 512 / 3 = 170.7 of each: more than there are of the second and third, less than twice as many.
    assert enough["equal shares"] == {False}
    assert enough["designed"] == {True}
    assert enough["first alone"] == {False}
    plenty = design_mixture(measured, ["even", "odd"], 512, {"first": 512, "second": 171, "third": 171})
    enough = candidates_table([plenty]).groupby("candidate")["within_available"].agg(set)
    assert enough["equal shares"] == {True}
    assert enough["first alone"] == {True}
    assert enough["second alone"] == {False}
    unlimited = candidates_table([design_mixture(measured, ["even"], 512)])
    assert unlimited["within_available"].all()


def test_designs_made_together_are_those_made_alone(measured):
    measured = first_draws(measured, 5)
    tasks = [
        DesignTask(measured, ("even",), 512),
        DesignTask(measured, ("odd",), 512, {"second": 100}),
        DesignTask(measured, ("even", "odd"), 2048),
    ]
    together = design_mixtures(tasks, workers=1)
    for task, design in zip(tasks, together, strict=True):
        alone = design_mixture(measured, task.shifts, task.num_samples, task.available)
        assert np.array_equal(design.drawn_shares, alone.drawn_shares)
        assert design.sources == alone.sources
    assert np.nanmax(together[1].drawn_shares[:, 1]) <= 100 / 512 + 1e-6, "limits hold in every draw"
    assert not np.allclose(together[0].drawn_shares, together[1].drawn_shares)


def test_shares_under_half_a_percent_are_not_written():
    assert rounded_shares(["a", "b", "c"], np.array([0.986, 0.006, 0.008])) == (
        ("a", 0.986),
        ("b", 0.006),
        ("c", 0.008),
    )
    assert rounded_shares(["a", "b"], np.array([0.9955, 0.0045])) == (("a", 1.0),)


def test_the_nearest_size_is_nearest_on_a_logarithmic_scale():
    pairs = [(n, s, s) for n in (256, 1024, 16384) for s in SOURCES]
    overlaps = pd.DataFrame(pairs, columns=["n_train", "first", "second"])
    # Between 256 and 1024: geometric middle 512 (a tie goes to the larger), arithmetic middle 640.
    found = {n: nearest_measured_size(overlaps, n) for n in (100, 500, 512, 600, 1024, 4000, 5000, 10**6)}
    assert found == {
        100: 256, 500: 256, 512: 1024, 600: 1024, 1024: 1024, 4000: 1024, 5000: 16384, 10**6: 16384,
    }  # fmt: skip

"""Measured sources: means as defined, draws that scatter as repeated measurements do, and clear refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_study import linear_study, noise, true_overlap

from empirical.errors import DataError
from empirical.measured_sources import measure_sources, nearest_gram, sources_by_size
from empirical.overlap import measure_overlaps


@pytest.fixture(scope="module")
def study():
    return linear_study(seeds=(0, 1, 2), sizes=(256, 512), mixtures=())


@pytest.fixture(scope="module")
def overlaps(study):
    return measure_overlaps(study.accuracies, study.load, study.labels)


def test_signals_and_overlaps_are_means_over_models(study, overlaps):
    found = measure_sources(study.accuracies, overlaps, 512, num_draws=3)
    assert found.test_sets == ("reference", "even", "odd")
    single = study.accuracies.query("kind == 'single' and n_train == 512")
    signals = single.groupby(["test_set", "sources"])["dprime"].mean()
    at_size = overlaps[overlaps["n_train"] == 512].groupby(["test_set", "first", "second"])["correlation"]
    for t, test_set in enumerate(found.test_sets):
        for s, source in enumerate(found.sources):
            assert found.signals[t, s] == pytest.approx(signals[test_set, source])
            for u, other in enumerate(found.sources):
                pairs = at_size.get_group((test_set, *sorted([source, other])))
                assert len(pairs) == (3 if s == u else 9)
                assert found.overlaps[t, s, u] == pytest.approx(pairs.mean())
    statistics = found.statistics(["odd"])
    assert statistics.margins(512 * np.eye(3)).ravel() == pytest.approx(found.signals[2], rel=1e-6)
    assert found.drawn_signals.shape == (3, 3, 3)
    counts = np.array([100.0, 300.0, 50.0])
    one_by_one = [found.drawn_statistics(b, ["odd", "reference"]).margins(counts) for b in range(3)]
    assert found.drawn_margins(counts, ["odd", "reference"]) == pytest.approx(np.stack(one_by_one), rel=1e-9)
    assert found.drawn_overlaps.shape == (3, 3, 3, 3)


def test_draws_scatter_as_repeated_studies_do():
    signals, overlaps, stated_signals, stated_overlaps = [], [], [], []
    for repeat in range(40):
        study = linear_study(seed=repeat, seeds=(0, 1, 2), sizes=(256,), mixtures=(), num_images=400)
        table = measure_overlaps(study.accuracies, study.load, study.labels)
        found = measure_sources(study.accuracies, table, 256, num_draws=200, seed=repeat)
        signals.append(found.signals)
        overlaps.append(found.overlaps)
        stated_signals.append(found.drawn_signals.var(axis=0))
        stated_overlaps.append(found.drawn_overlaps.var(axis=0))
    # Standard deviations of 40 repetitions have relative error .11; pooled over the entries less.
    for values, stated in ((signals, stated_signals), (overlaps, stated_overlaps)):
        ratio = np.std(values, axis=0) / np.sqrt(np.mean(stated, axis=0))
        assert np.all(ratio < 1 + 5 * 0.11)
        # Image errors are counted as if they averaged over no seeds: stated errors are too large rather than too small.
        assert 0.5 < np.median(ratio) < 1.25
    expected = true_overlap("first", "second") / (true_overlap("first", "first") + noise(256))
    value = np.array([each[:, 0, 1] for each in overlaps])
    assert np.all(np.abs(value.mean(axis=0) - expected) < 4 * value.std(axis=0) / np.sqrt(40) + 0.005)


@given(st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_nearest_gram_is_a_gram_and_leaves_grams_alone(size, seed):
    rng = np.random.default_rng(seed)
    symmetric = rng.uniform(-1, 1, (size, size))
    symmetric = (symmetric + symmetric.T) / 2
    found = nearest_gram(symmetric)
    assert np.linalg.eigvalsh(found).min() > -1e-12
    gram = symmetric @ symmetric.T
    assert np.allclose(nearest_gram(gram), gram, atol=1e-12)
    # No Gram matrix is nearer: try random ones.
    for _ in range(5):
        root = rng.standard_normal((size, size)) / size
        assert np.linalg.norm(symmetric - found) <= np.linalg.norm(symmetric - root @ root.T) + 1e-12


def test_what_cannot_be_measured_is_refused(study, overlaps):
    one_seed = study.accuracies[(study.accuracies["seed"] == 0) | (study.accuracies["sources"] != "second")]
    with pytest.raises(DataError, match="second has one seed at n_train 512"):
        measure_sources(one_seed, overlaps, 512)
    with pytest.raises(DataError, match="no single-source model of any at n_train 300"):
        measure_sources(study.accuracies, overlaps, 300)
    with pytest.raises(DataError, match="no overlap of"):
        measure_sources(study.accuracies, overlaps.iloc[5:], 256)
    with pytest.raises(DataError, match="lacks the column"):
        measure_sources(study.accuracies, overlaps.drop(columns="both_correct"), 256)
    perfect = study.accuracies.copy()
    moved = (perfect["sources"] == "third") & (perfect["test_set"] == "even")
    perfect.loc[moved, "num_correct"] = perfect.loc[moved, "num_images"]
    perfect.loc[moved, "dprime"] = np.inf
    with pytest.raises(DataError, match="third has an infinite d' on even"):
        measure_sources(perfect, overlaps, 512)
    assert sources_by_size(overlaps) == {256: ["first", "second", "third"], 512: ["first", "second", "third"]}
    with pytest.raises(DataError, match="no test set 'moon'"):
        measure_sources(study.accuracies, overlaps, 512, num_draws=0).statistics(["moon"])

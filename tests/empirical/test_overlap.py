"""Overlaps: against a naive reference, against the linear world's closed form, and from a study's files."""

import numpy as np
import pandas as pd
import pytest
from linear_study import SOURCES, linear_study, noise, true_overlap

from empirical.errors import DataError
from empirical.overlap import OVERLAP_COLUMNS, measure_overlaps, score_overlaps, within_class_spread


def naive_scores(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    rows = []
    for label in np.unique(labels):
        z = logits[labels == label]
        wrong = [k for k in range(z.shape[1]) if k != label]
        difference = z[:, [label]] - z[:, wrong]
        rows.append((difference - difference.mean(axis=0)).ravel())
    return np.concatenate(rows)


@pytest.fixture(scope="module")
def random_logits() -> tuple[list[np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, size=400)
    common = rng.standard_normal((400, 5))
    return [common + rng.standard_normal((400, 5)) * (i + 1) / 2 for i in range(3)], labels


def test_correlations_and_counts_are_the_naive_ones(random_logits):
    logits, labels = random_logits
    found = score_overlaps(logits, labels)
    scores = [naive_scores(z, labels) for z in logits]
    for i, a in enumerate(scores):
        right = logits[i].argmax(axis=1) == labels
        for j, b in enumerate(scores):
            assert found.correlation[i, j] == pytest.approx(a @ b / np.sqrt(a @ a * (b @ b)), abs=1e-6)
            both = int((right & (logits[j].argmax(axis=1) == labels)).sum())
            assert found.both_correct[i, j] == both
    assert np.allclose(np.diagonal(found.correlation), 1)
    assert np.allclose(np.diagonal(found.stderr), 0, atol=1e-6)
    assert within_class_spread(logits[1], labels) == pytest.approx(np.sqrt(np.mean(scores[1] ** 2)), rel=1e-9)


def test_temperature_and_per_image_offsets_cancel(random_logits):
    logits, labels = random_logits
    rng = np.random.default_rng(1)
    changed = [7.0 * (i + 1) * z + rng.standard_normal((len(z), 1)) for i, z in enumerate(logits)]
    assert np.allclose(
        score_overlaps(changed, labels).correlation, score_overlaps(logits, labels).correlation, atol=1e-5
    )


def test_standard_error_is_the_spread_over_images():
    rng = np.random.default_rng(2)
    values, stated = [], []
    for _ in range(200):
        labels = np.arange(300) % 4
        shared = rng.standard_normal((300, 4))
        pair = [shared + rng.standard_normal((300, 4)) for _ in range(2)]
        found = score_overlaps(pair, labels)
        values.append(found.correlation[0, 1])
        stated.append(found.stderr[0, 1])
    # a standard deviation of 200 draws has relative error 1 / sqrt(2 * 199) = .05
    assert np.std(values) == pytest.approx(np.mean(stated), rel=4 * 0.05)
    assert np.mean(values) == pytest.approx(0.5, abs=4 * np.std(values) / np.sqrt(200) + 0.005)


def test_standard_error_of_unlike_models_is_the_spread_over_images_whichever_comes_first():
    """One model's noise is heavy on a few images: its products with itself vary far more than the other's."""
    rng = np.random.default_rng(4)
    labels, values, stated = np.arange(600) % 3, [], []
    for _ in range(400):
        shared = rng.standard_normal((600, 3))
        heavy = np.where(rng.random((600, 1)) < 0.1, 3.0, 0.3) * rng.standard_normal((600, 3))
        found = score_overlaps([shared + heavy, shared + 0.3 * rng.standard_normal((600, 3))], labels)
        values.append(found.correlation[0, 1])
        stated.append(found.stderr)
    assert np.allclose(stated, np.swapaxes(stated, 1, 2), rtol=1e-6)
    # a standard deviation of 400 draws has relative error 1 / sqrt(2 * 399) = .035
    assert np.mean(stated, axis=0)[0, 1] == pytest.approx(np.std(values), rel=4 * 0.035)


def test_overlaps_of_the_linear_world_are_its_closed_form():
    study = linear_study(seeds=tuple(range(6)), mixtures=(), sizes=(256,))
    table = measure_overlaps(study.accuracies, study.load, study.labels)
    assert tuple(table.columns) == OVERLAP_COLUMNS
    assert len(table) == 3 * (18 * 17 // 2)
    for (a, b), part in table[table["test_set"] == "even"].groupby(["first", "second"]):
        expected = true_overlap(str(a), str(b)) / (true_overlap("first", "first") + noise(256))
        values = part["correlation"].to_numpy()
        # Models are shared by pairs: the error of the mean is at most that of six independent ones.
        assert values.mean() == pytest.approx(
            expected, abs=4 * (values.std() / np.sqrt(6) + part["correlation_stderr"].mean() / 2)
        )


def test_only_single_source_models_of_one_size_are_paired():
    study = linear_study(seeds=(0, 1))
    table = measure_overlaps(study.accuracies, study.load, study.labels)
    assert set(table["first"]) | set(table["second"]) == set(SOURCES)
    sizes = (
        study.accuracies[study.accuracies["kind"] == "single"]
        .drop_duplicates("run")
        .groupby("n_train")
        .size()
    )
    for n, count in sizes.items():
        assert (table["n_train"] == n).sum() == 3 * count * (count - 1) / 2
    assert measure_overlaps(study.accuracies.iloc[:0], study.load, study.labels).empty
    alone = study.accuracies.query("kind == 'single' and sources == 'first' and seed == 0 and n_train == 512")
    assert tuple(measure_overlaps(alone, study.load, study.labels).columns) == OVERLAP_COLUMNS


def test_bad_logits_are_named():
    labels = np.arange(12) % 3
    good = np.random.default_rng(0).standard_normal((12, 3))
    broken = good.copy()
    broken[4, 1] = np.nan
    with pytest.raises(DataError, match="model 1 are not numbers"):
        score_overlaps([good, broken], labels)
    with pytest.raises(DataError, match="do not vary within classes"):
        score_overlaps([good, np.zeros((12, 3))], labels)
    with pytest.raises(DataError, match="one common shape"):
        score_overlaps([good, good[:, :2]], labels)
    with pytest.raises(DataError, match="0 to 2"):
        score_overlaps([good], labels + 1)
    study = linear_study(seeds=(0, 1), sizes=(256,), mixtures=())
    run = study.accuracies.iloc[0]["run"]
    study.logits[run, "odd"] = np.full_like(study.logits[run, "odd"], np.inf)
    with pytest.raises(DataError, match="odd, n_train 256"):
        measure_overlaps(study.accuracies, study.load, study.labels)
    with pytest.raises(DataError, match="lacks the column"):
        measure_overlaps(pd.DataFrame({"run": ["a"], "test_set": ["b"]}), study.load, study.labels)

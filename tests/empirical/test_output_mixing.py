"""Output mixing: kinds against their definitions, Theorem 2b in the linear world, and the comparison with input mixing."""

import numpy as np
import pytest
from linear_study import SOURCES, TEST_SETS, linear_study, noise, prototypes

from empirical.errors import DataError, StudyError
from empirical.output_mixing import average_embeddings, input_mixing_weights, measure_ensembles, mix_outputs
from empirical.output_vs_input import (
    CELL_COLUMNS,
    SUMMARY_COLUMNS,
    compare_with_input,
    summarise_output_mixing,
)
from empirical.overlap import measure_overlaps, within_class_spread
from empirical.scoring import ALL_SHIFTS

MIXTURES = ("first:0.5+second:0.5", "first:0.25+third:0.75")


@pytest.fixture(scope="module")
def study():
    return linear_study(seeds=(0, 1, 2), sizes=(256, 512), mixtures=MIXTURES)


@pytest.fixture(scope="module")
def ensembles(study):
    overlaps = measure_overlaps(study.accuracies, study.load, study.labels)
    return measure_ensembles(study.accuracies, study.load, study.labels, study.temperatures, overlaps)


def test_averaged_cosines_are_those_of_concatenated_embeddings():
    rng = np.random.default_rng(0)
    alpha, scales = np.array([0.3, 0.7]), [12.0, 30.0]
    f = [rng.standard_normal((7, d)) for d in (3, 5)]
    g = [rng.standard_normal((d, 4)) for d in (3, 5)]
    f = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in f]
    g = [v / np.linalg.norm(v, axis=0) for v in g]
    logits = [scale * a @ b for scale, a, b in zip(scales, f, g, strict=True)]
    images = np.concatenate([np.sqrt(a) * v for a, v in zip(alpha, f, strict=True)], axis=1)
    classes = np.concatenate([np.sqrt(a) * v for a, v in zip(alpha, g, strict=True)], axis=0)
    assert np.allclose(np.linalg.norm(images, axis=1), 1)
    assert np.allclose(mix_outputs(logits, alpha, scales), images @ classes, atol=1e-6)


def test_averaged_vectors_carry_cross_terms():
    rng = np.random.default_rng(1)
    f, g = [rng.standard_normal((6, 8)) for _ in range(2)], [rng.standard_normal((8, 3)) for _ in range(2)]
    found = average_embeddings(f, g, [0.5, 0.5])
    unit = (
        [v / np.linalg.norm(v, axis=1, keepdims=True) for v in f],
        [v / np.linalg.norm(v, axis=0) for v in g],
    )
    a, b = (unit[0][0] + unit[0][1]) / 2, (unit[1][0] + unit[1][1]) / 2
    expected = a @ b / np.linalg.norm(a, axis=1, keepdims=True) / np.linalg.norm(b, axis=0)
    assert np.allclose(found, expected, atol=1e-6)
    assert np.allclose(average_embeddings(f[:1], g[:1], [1.0]), unit[0][0] @ unit[1][0], atol=1e-6)
    with pytest.raises(StudyError, match="of one width"):
        average_embeddings([f[0], f[1][:, :4]], g, [0.5, 0.5])
    with pytest.raises(StudyError, match="finite numbers > 0"):
        mix_outputs([f[0]], [1.0], [0.0])


def test_theory_weights_make_normalised_share_heads_the_input_mixture():
    p, n = np.array([0.2, 0.8]), 512
    vectors = np.array([SOURCES["first"], SOURCES["second"]])
    squared = (vectors**2).sum(axis=1)
    own = squared / (squared + noise(n))
    # Equal lengths at n: heads on p n samples have squared length G + T / (p n), so alpha / length must be p.
    lengths = np.sqrt(squared + noise(n) / p)
    ratio = input_mixing_weights(p, own) / lengths
    assert ratio / ratio.sum() == pytest.approx(p, rel=1e-12)
    assert input_mixing_weights([0.5, 0.5], [0.3, 0.3]) == pytest.approx([0.5, 0.5])


def test_counts_are_those_of_mixing_one_by_one(study, ensembles):
    runs = {kind: f"{kind}-n512-seed1" for kind in ("single-first", "single-third")}
    mixture = "input_mixing-first_0.25+third_0.75-n512-seed1"
    alpha = np.array([0.25, 0.75])
    spreads = [
        within_class_spread(study.load(run, "reference"), study.labels["reference"]) for run in runs.values()
    ]
    lengths = {
        "logits": None,
        "embeddings": [study.temperatures[r] for r in runs.values()],
        "normalised": spreads,
    }
    rows = ensembles[(ensembles["heads_n_train"] == "each") & (ensembles["mixture"] == mixture)]
    rows = rows.set_index(["mixing", "test_set"])
    for test_set in TEST_SETS:
        truth = study.labels[test_set]
        by_mixture = study.load(mixture, test_set).argmax(axis=1) == truth
        for mixing, length in lengths.items():
            scores = mix_outputs([study.load(run, test_set) for run in runs.values()], alpha, length)
            right = scores.argmax(axis=1) == truth
            assert rows.loc[(mixing, test_set), "num_correct"] == right.sum()
            assert rows.loc[(mixing, test_set), "both_correct"] == (right & by_mixture).sum()


def test_every_kind_and_size_of_heads_has_its_rows(study, ensembles):
    assert len(ensembles) == 3 * 2 * 3 * 2 * 3  # kinds, heads, test sets, mixtures, seeds
    without = measure_ensembles(study.accuracies, study.load, study.labels, {}, measure_overlaps(
        study.accuracies[study.accuracies["seed"] == 0], study.load, study.labels
    ))  # fmt: skip
    kinds = set(zip(without["mixing"], without["heads_n_train"], strict=True))
    assert kinds == {("logits", "each"), ("logits", "share"), ("normalised", "each")}
    singles = study.accuracies[study.accuracies["kind"] == "single"]
    few = study.accuracies[~study.accuracies["run"].isin(singles.loc[singles["sources"] == "third", "run"])]
    left = measure_ensembles(
        few, study.load, study.labels, {}, measure_overlaps(few, study.load, study.labels)
    )
    assert set(left["sources"]) == {MIXTURES[0]}


def test_normalised_share_heads_agree_with_input_mixing_where_theory_holds(study, ensembles):
    cells = compare_with_input(study.accuracies, ensembles)
    assert tuple(cells.columns) == CELL_COLUMNS
    assert len(cells) == 3 * 2 * 2 * 2
    share = cells.query("mixing == 'normalised' and heads == 'share'")
    assert (share["difference"].abs() / share["difference_stderr"]).max() < 3.5
    # On the same line and, with n samples in all, at the same place; with n samples each further up.
    summary = summarise_output_mixing(cells).set_index(["mixing", "heads", "shift"])
    assert tuple(summary.reset_index().columns) == SUMMARY_COLUMNS
    assert abs(summary.loc[("normalised", "share", ALL_SHIFTS), "place_gain"]) < 0.12
    assert summary.loc[("normalised", "each", ALL_SHIFTS), "place_gain"] > 0.1
    assert summary.loc[("normalised", "share", ALL_SHIFTS), "agreement_share"] >= 0.75
    row = cells.query(
        "mixing == 'logits' and heads == 'each' and shift == 'even' and sources == @MIXTURES[0]"
    ).iloc[0]
    wide = {
        name: table.query("sources == @MIXTURES[0] and n_train == 512").pivot(
            index="seed", columns="test_set", values="dprime"
        )
        for name, table in (
            ("ensemble", ensembles.query("mixing == 'logits' and heads_n_train == 'each'")),
            ("input", study.accuracies.query("kind == 'input_mixing'")),
        )
    }
    ratio = {name: (table["even"] / table["reference"]).mean() for name, table in wide.items()}
    assert row["difference"] == pytest.approx(ratio["ensemble"] - ratio["input"])


def test_stated_errors_of_differences_are_their_spread():
    values, stated = [], []
    for repeat in range(25):
        study = linear_study(
            seed=repeat, seeds=(0, 1, 2), sizes=(256,), mixtures=MIXTURES[:1], num_images=400
        )
        overlaps = measure_overlaps(study.accuracies, study.load, study.labels)
        found = measure_ensembles(study.accuracies, study.load, study.labels, study.temperatures, overlaps)
        cells = compare_with_input(study.accuracies, found).query(
            "mixing == 'normalised' and heads == 'each'"
        )
        values.append(cells["difference"].to_numpy())
        stated.append(cells["difference_stderr"].to_numpy() ** 2)
    ratio = np.std(values, axis=0) / np.sqrt(np.mean(stated, axis=0))
    assert np.all(ratio < 1 + 4 / np.sqrt(2 * 24))
    assert np.all(ratio > 0.4)


def test_one_seed_gives_differences_without_errors(study, ensembles):
    cells = compare_with_input(
        study.accuracies[study.accuracies["seed"] == 0], ensembles[ensembles["seed"] == 0]
    )
    assert cells["difference"].notna().all()
    assert cells["difference_stderr"].isna().all()
    assert set(cells["agrees"]) == {""}
    assert summarise_output_mixing(cells)["agreement_share"].isna().all()
    assert compare_with_input(study.accuracies, ensembles.iloc[:0]).empty
    assert summarise_output_mixing(cells.iloc[:0]).empty
    with pytest.raises(DataError, match="lacks the column 'mixing'"):
        compare_with_input(study.accuracies, study.accuracies)


def test_prototypes_are_of_equal_length():
    lengths = [np.linalg.norm(prototypes(weights)) for weights in SOURCES.values()]
    assert lengths == pytest.approx([lengths[0]] * 3, rel=2e-3)

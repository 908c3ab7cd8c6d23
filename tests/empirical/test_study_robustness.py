"""Effective robustness of a study: the definition, what the data show, and refusals."""

import numpy as np
import pytest
from synthetic_accuracies import synthetic_study

from empirical.effective_robustness import effective_robustness
from empirical.errors import DataError
from empirical.figures.study_robustness import draw_study_robustness
from empirical.study_robustness import STUDY_COLUMNS, reference_sets, study_effective_robustness


@pytest.fixture(scope="module")
def accuracies():
    return synthetic_study(scatter=0.03)


def test_groups_have_the_mean_of_their_models(accuracies, tmp_path):
    table = study_effective_robustness(accuracies)
    assert tuple(table.columns) == STUDY_COLUMNS
    assert set(table["references"]) == {"reference", "reference+v2", "reference+sketch"}
    runs = list(accuracies.loc[accuracies["kind"] == "single", "run"].unique())
    models = effective_robustness(accuracies, runs)
    row = table.query("references == 'reference' and shift == 'v2' and group == 'stock'").iloc[0]
    own = models.query("shift == 'v2' and group == 'stock'")["effective_robustness"]
    assert row["effective_robustness"] == pytest.approx(own.mean())
    assert row["num_models"] == len(own) == 8
    assert row["in_baseline"]
    # The sources' ratios on v2 are .35, .60 and .85: below, on and above the line of all of them.
    verdicts = table.query("references == 'reference' and shift == 'v2' and kind == 'single'").set_index(
        "group"
    )["verdict"]
    assert verdicts["stock"] == "below"
    assert verdicts["forum"] == "above"
    mixed = table.query("references == 'reference' and shift == 'v2' and kind == 'input_mixing'")
    assert len(mixed) == 2
    ends = table[["effective_robustness_low", "effective_robustness", "effective_robustness_high"]].to_numpy()
    assert (np.diff(ends, axis=1) > 0).all()
    png, _ = draw_study_robustness(table, tmp_path / "figure")
    assert png.stat().st_size > 20_000


def test_a_named_baseline_is_on_its_own_line(accuracies):
    table = study_effective_robustness(accuracies, baseline=["stock"], kinds=("single",))
    own = table.query("references == 'reference' and group == 'stock'")
    assert set(own["verdict"]) == {"not told apart"}
    assert own["in_baseline"].all()
    assert not table.query("group == 'forum'")["in_baseline"].any()
    with pytest.raises(DataError, match="no single-source models of 'moon'; the sources are"):
        study_effective_robustness(accuracies, baseline=["moon"])


def test_one_shift_has_one_set_of_references():
    study = synthetic_study(shifts=("v2",))
    assert reference_sets(study) == [("reference",)]
    assert reference_sets(synthetic_study(shifts=("v2", "sketch")))[1:] == [
        ("reference", "v2"),
        ("reference", "sketch"),
    ]

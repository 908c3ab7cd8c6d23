"""A study's analysis from its folder: every table written, notes instead of failures, records instead of logits."""

import shutil

import numpy as np
import pandas as pd
import pytest
from linear_study import linear_study

from empirical.arrays import TestSet, save_test_set
from empirical.errors import DataError, StudyError
from empirical.records import FORMAT, write_json
from empirical.study_analysis import analyse_study, design_study
from empirical.study_folder import StudyFolder
from empirical.tables import write_table
from empirical.zero_shot import save_logits

FROM_LOGITS = {"output_mixing", "output_vs_input", "class_errors"}
TABLES = {"overlaps", "places", "designs", "designed", "diagnosis", "effective_robustness"} | FROM_LOGITS


def save_study(study, path) -> StudyFolder:
    for (run, test_set), logits in study.logits.items():
        save_logits(logits, path / "logits" / run / f"{test_set}.npy")
    for name, labels in study.labels.items():
        images = np.zeros((len(labels), 3, 2, 2), dtype=np.uint8)
        keys = [str(i) for i in range(len(labels))]
        test_set = TestSet(name, images, labels.astype(np.int64), keys, [f"class {k}" for k in range(6)])
        save_test_set(path / "arrays" / f"test-{name}", test_set)
    for run, temperature in study.temperatures.items():
        record = {"format": FORMAT, "results": {}, "training": {"logit_scale": temperature}}
        write_json(path / "records" / f"{run}.json", record)
    write_table(study.accuracies, path / "accuracies.csv")
    return StudyFolder(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> StudyFolder:
    study = linear_study(seeds=(0, 1), sizes=(128, 256), mixtures=("first:0.5+second:0.5",), num_images=300)
    return save_study(study, tmp_path_factory.mktemp("study"))


def test_every_table_is_written_and_read_again(folder):
    steps = []
    found = analyse_study(
        folder, num_draws=5, on_progress=lambda part, done, total: steps.append((part, done, total))
    )
    assert set(found.tables) == TABLES
    assert found.notes == ()
    for name, table in found.tables.items():
        kept = pd.read_csv(folder.path / f"{name}.csv")
        assert list(kept.columns) == list(table.columns)
        assert len(kept) == len(table) > 0
    assert {part for part, *_ in steps} == {"overlaps", "designs", "ensembles", "class errors"}
    text = (folder.path / "analysis.txt").read_text()
    assert text == found.summary + "\n"
    for words in (
        "designed mixtures",
        "Places of mixtures",
        "Output mixing",
        "Effective robustness",
        "What the theory assumes",
    ):
        assert words in text
    assert "nan" not in text
    for name in ("diagnosis", "effective_robustness"):
        assert (folder.path / f"{name}.png").stat().st_size > 20_000
    assert set(found.tables["designs"]["shift"]) == {"even", "odd", "worst of even, odd"}
    assert set(found.tables["designs"]["budget"]) == {256}
    assert set(found.tables["output_mixing"]["mixing"]) == {"logits", "embeddings", "normalised"}


def test_designs_are_kept_once_they_are_made(folder):
    table = design_study(folder, budgets=[256], targets=[["odd"]], num_draws=3)
    assert set(table["shift"]) == {"odd"}
    assert set(analyse_study(folder, num_draws=3).tables["designed"]["shift"]) == {"odd"}
    assert len(set(analyse_study(folder, num_draws=3, redesign=True).tables["designed"]["shift"])) == 3


def test_committed_records_need_no_logits(folder, tmp_path):
    analyse_study(folder, num_draws=3)
    for name in ("accuracies.csv", "overlaps.csv"):
        shutil.copy(folder.path / name, tmp_path / name)
    found = analyse_study(StudyFolder(tmp_path), num_draws=3)
    assert set(found.tables) == TABLES - FROM_LOGITS
    with_logits = pd.read_csv(folder.path / "places.csv")
    again = pd.read_csv(tmp_path / "places.csv")
    pd.testing.assert_frame_equal(again, with_logits, rtol=1e-6)
    (tmp_path / "overlaps.csv").unlink()
    with pytest.raises(StudyError, match=r"overlaps\.csv: no such table, and no logits"):
        analyse_study(StudyFolder(tmp_path))


def test_models_that_came_later_are_measured(folder):
    kept = folder.overlaps()
    write_table(kept.iloc[:-3], folder.path / "overlaps.csv")
    assert len(folder.overlaps()) == len(kept)


def test_one_seed_gives_notes_and_the_other_tables(tmp_path):
    study = linear_study(seeds=(0,), sizes=(128, 256), num_images=120)
    found = analyse_study(save_study(study, tmp_path), num_draws=2)
    assert any("two seeds" in note for note in found.notes)
    assert len(found.tables["output_mixing"]) > 0
    assert found.tables["places"].empty


def test_a_damaged_file_is_named(tmp_path):
    study = linear_study(seeds=(0, 1), sizes=(128,), mixtures=(), num_images=60)
    folder = save_study(study, tmp_path)
    run = study.accuracies["run"].iloc[0]
    (tmp_path / "logits" / run / "odd.npy").write_bytes(b"not an array")
    with pytest.raises(DataError, match=f"{run}/odd.npy cannot be read"):
        folder.overlaps()
    (tmp_path / "accuracies.csv").write_text("run,kind\na,b\n")
    with pytest.raises(StudyError, match=r"accuracies\.csv: lacks the column 'sources'"):
        folder.accuracies()

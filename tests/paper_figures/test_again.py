"""Committed tables are those that the present code makes of the committed models."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from empirical.study_folder import StudyFolder
from paper_figures.again import retold
from paper_figures.committed import RECORDS

SOURCES_OF_TABLES = ("accuracies.csv", "overlaps.csv", "filtering_account.csv", "provenance.json")
EXPECTED = {"trends", "predictions", "scores", "scores_by_source", "filtering", "filter_scores"}


@pytest.mark.parametrize("name", ["clip_mixtures", "gpu_study"])
def test_committed_tables_are_made_of_the_committed_models(name: str, tmp_path: Path) -> None:
    """Every column and row of every table; where this fails, run `python -m paper_figures.again paper_figures/records/NAME`."""
    for file in SOURCES_OF_TABLES:
        shutil.copy(RECORDS / name / file, tmp_path / file)
    fresh = retold(StudyFolder(tmp_path))
    assert set(fresh) == EXPECTED
    committed = StudyFolder(RECORDS / name)
    for table, made in fresh.items():
        kept = committed.table(table)
        assert list(kept.columns) == list(made.columns), table
        texts = made.select_dtypes(exclude="number").columns
        pd.testing.assert_frame_equal(
            kept[texts].fillna("").astype(str),
            made[texts].fillna("").astype(str).reset_index(drop=True),
            obj=table,
        )
        numbers = made.select_dtypes("number").columns
        assert len(texts) + len(numbers) == made.shape[1]
        # accuracies.csv, that all is made of, holds nine digits
        pd.testing.assert_frame_equal(
            kept[numbers].astype(float), made[numbers].astype(float).reset_index(drop=True), rtol=1e-6, atol=3e-7, obj=table
        )  # fmt: skip
    assert (tmp_path / "summary.txt").read_text() == (RECORDS / name / "summary.txt").read_text()

"""A study with designs does its work in two passes: what the second one mends has not failed."""

from pathlib import Path
from typing import Any

import pytest

from empirical import study as studies
from empirical.progress import StudyProgress
from empirical.study_plan import StudyOptions, plan_study
from empirical.task_graph import Task


def run_once_space_is_free(name: str, sign: Path) -> dict[str, Any]:
    if not sign.exists():
        sign.touch()
        raise OSError(28, "No space left on device")
    return {"run": name}


def test_a_run_that_fails_before_the_designs_and_succeeds_after_them_has_not_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = {"sizes": (32, 64), "epochs": 1, "test_images": 60}
    options = StudyOptions(out=tmp_path, preset="smoke", overrides=overrides, jobs=1, tables_later=True)
    study = plan_study(options)
    first, second = study.runs[0].name, study.runs[1].name
    tasks = [
        Task(first, run_once_space_is_free, (first, tmp_path / "tried")),
        Task(second, run_once_space_is_free, (second, tmp_path / "tried"), (first,)),
    ]
    monkeypatch.setattr(studies, "tasks_to_do", lambda study, finished: tasks)
    records: dict[str, dict[str, Any]] = {}
    failures: dict[str, str] = {}
    progress = StudyProgress(quiet=True)
    assert studies._carry_out(study, options, records, failures, progress)
    assert failures.keys() == {first, second}
    assert "No space left" in failures[first]
    assert studies._carry_out(study, options, records, failures, progress)
    assert records.keys() == {first, second}
    assert not failures
    assert not list((tmp_path / "failed").iterdir())

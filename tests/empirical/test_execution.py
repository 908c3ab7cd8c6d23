"""What one run does and what its record says: classifiers built once, realised shares, samples never seen."""

import json
from pathlib import Path
from typing import Any

import pytest
from small_study import EVEN, SOURCES, single, small_context

from empirical import zero_shot
from empirical.errors import DataError
from empirical.execution import StudyContext, execute_run
from empirical.plan import Draw, FilterSpec, RunSpec
from empirical.tokenizer import WordTokenizer


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> StudyContext:
    return small_context(tmp_path_factory.mktemp("study"))


def test_the_classifier_of_equal_classes_is_built_once(
    context: StudyContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []
    original = zero_shot.zero_shot_classifier

    def counting(model: Any, tokenizer: Any, names: Any, templates: Any, device: Any) -> Any:
        built.append(list(names))
        return original(model, tokenizer, names, templates, device)

    monkeypatch.setattr(zero_shot, "zero_shot_classifier", counting)
    record = execute_run(context, single("stock", 16))
    assert len(built) == 1
    assert {name: r["num_images"] for name, r in record["results"].items()} == {"reference": 40, "sketch": 40}
    assert record["skipped"] == {"stock": {}}


def test_shares_are_those_of_the_samples_drawn(context: StudyContext) -> None:
    """A draw that is not what was asked for must show."""
    draws = (Draw("snapshots", 0, 8), Draw("stock", 0, 16), Draw("snapshots", 8, 8))
    record = execute_run(context, RunSpec("input_mixing", (("snapshots", 0.6), ("stock", 0.4)), 32, 0, draws))
    assert record["shares"] == [
        {"source": "snapshots", "requested": 0.6, "samples": 16, "realised": 0.5},
        {"source": "stock", "requested": 0.4, "samples": 16, "realised": 0.5},
    ]


def test_an_ensembles_shares_are_those_of_its_heads_samples(context: StudyContext) -> None:
    heads = (single("snapshots", 24), single("stock", 8))
    for head in heads:
        execute_run(context, head)
    names = tuple(head.name for head in heads)
    for label, realised in (("share", [0.75, 0.25]), ("each", [None, None])):
        record = execute_run(context, RunSpec("output_mixing", EVEN, 32, 0, heads=names, heads_n_train=label))
        assert [row["realised"] for row in record["shares"]] == realised
        assert [row["samples"] for row in record["shares"]] == [24, 8]
        assert [row["requested"] for row in record["shares"]] == [0.5, 0.5]
        assert set(record["skipped"]) == set(SOURCES)


def test_a_filtered_run_says_how_many_of_each_source_were_kept(context: StudyContext) -> None:
    scorer = single("stock", 16)
    execute_run(context, scorer)
    draws = (Draw("snapshots", 0, 24), Draw("stock", 24, 16))
    spec = FilterSpec(0.25, 0.5, 40, scorer.name, "stock")
    record = execute_run(
        context, RunSpec("filtered", (("snapshots", 0.6), ("stock", 0.4)), 20, 0, draws, filter=spec)
    )
    kept = [row["kept"] for row in record["shares"]]
    assert sum(kept) == record["filtering"]["kept"] == 20
    assert dict(zip(SOURCES, kept, strict=True)) == record["filtering"]["kept_by_source"]
    assert [row["realised"] for row in record["shares"]] == [0.6, 0.4]


def test_records_say_which_samples_no_run_saw(context: StudyContext, tmp_path: Path) -> None:
    stamp = context.folder / "arrays" / "stock-seed0.json"
    before = stamp.read_text()
    described = json.loads(before)
    described["account"]["skipped"] = {"caption is empty": 7}
    stamp.write_text(json.dumps(described))
    try:
        draws = (Draw("snapshots", 0, 8), Draw("stock", 0, 8))
        record = execute_run(context, RunSpec("input_mixing", EVEN, 16, 0, draws))
    finally:
        stamp.write_text(before)
    assert record["skipped"] == {"snapshots": {}, "stock": {"caption is empty": 7}}
    written = json.loads(context.record_path(record["run"]).read_text())
    assert written["skipped"] == record["skipped"]


def test_classes_that_the_tokenizer_cannot_name_stop_a_run_before_training(
    context: StudyContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def training(*_: Any, **__: Any) -> None:
        raise AssertionError("trained in vain")

    monkeypatch.setattr("empirical.train.train", training)
    path = context.folder / "tokenizer.json"
    before = path.read_text()
    path.write_text(WordTokenizer(["a", "photo", "of"], 12).to_json())
    try:
        with pytest.raises(
            DataError, match=r"test set reference: the classes .* are the same to the tokenizer"
        ):
            execute_run(context, single("stock", 12))
    finally:
        path.write_text(before)

"""A folder remembers what it was asked for."""

import json
from pathlib import Path

import pytest
from metadata_cases import write_headerless, write_redcaps

from empirical.errors import DataError, StudyError
from empirical.sources.cleaning import CaptionRules
from empirical.sources.metadata import ReadOptions
from empirical.sources.request import Selection, open_request


@pytest.fixture
def metadata(tmp_path: Path) -> Path:
    return write_headerless(tmp_path / "m.tsv", [(f"http://a.org/{i}", f"caption {i}") for i in range(20)])


def test_an_opened_request_is_found_again_without_reading_the_metadata(
    tmp_path: Path, metadata: Path
) -> None:
    first = open_request(tmp_path / "out", Selection("cc12m", subset=5), [metadata])
    metadata.write_bytes(
        bytes(metadata.stat().st_size)
    )  # same name and size: what it holds is on record by its sha256
    again = open_request(tmp_path / "out", Selection("cc12m", subset=5), [metadata])
    assert again == first
    assert len(first.inputs[0]["sha256"]) == 64
    assert (first.account["usable"], first.account["asked"]) == (20, 5)


@pytest.mark.parametrize(
    ("selection", "different"),
    [
        (Selection("yfcc"), "source"),
        (Selection("cc12m", subset=5), "subset"),
        (Selection("cc12m", seed=1), "seed"),
        (Selection("cc12m", shuffle=True), "shuffle"),
        (Selection("cc12m", longer_side=512), "longer_side"),
        (Selection("cc12m", captions=CaptionRules(min_words=3)), "captions"),
        (Selection("cc12m", reading=ReadOptions(caption_column="0")), "reading"),
        (Selection("cc12m", samples_per_shard=10), "samples_per_shard"),
    ],
)
def test_another_request_needs_another_folder(
    selection: Selection, different: str, tmp_path: Path, metadata: Path
) -> None:
    open_request(tmp_path / "out", Selection("cc12m"), [metadata])
    with pytest.raises(StudyError, match=rf"another request \(different: {different}\); .*another --out"):
        open_request(tmp_path / "out", selection, [metadata])


def test_other_metadata_is_another_request(tmp_path: Path, metadata: Path) -> None:
    open_request(tmp_path / "out", Selection("cc12m"), [metadata])
    longer = write_headerless(tmp_path / "n.tsv", [("http://a.org/1", "one")])
    with pytest.raises(StudyError, match="different: inputs"):
        open_request(tmp_path / "out", Selection("cc12m"), [metadata, longer])


def test_defaults_are_the_sources(tmp_path: Path) -> None:
    path = write_redcaps(tmp_path / "r.json", [("http://a.org/1", "one")])
    request = open_request(tmp_path / "a", Selection("redcaps"), [path])
    assert (request.selection.shuffle, request.selection.longer_side, request.selection.shorter_side) == (
        True,
        1000,
        0,
    )
    request = open_request(tmp_path / "b", Selection("redcaps", shorter_side=224, shuffle=False), [path])
    assert (request.selection.shuffle, request.selection.longer_side, request.selection.shorter_side) == (
        False,
        0,
        224,
    )


def test_what_a_kill_left_behind_is_cleared_away(tmp_path: Path, metadata: Path) -> None:
    out = tmp_path / "out"
    (out / "table").mkdir(parents=True)
    (out / "table" / "00007.parquet").write_bytes(b"half")  # a table whose request was never written
    request = open_request(out, Selection("cc12m"), [metadata])
    assert [part.name for part in request.table.iterdir()] == ["00000.parquet"]
    (out / "table" / "00001.parquet").write_bytes(b"half")  # a pass that was about to begin
    open_request(out, Selection("cc12m"), [metadata])
    assert [part.name for part in request.table.iterdir()] == ["00000.parquet"]


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1}', '{"format": 9}', '{"format": 1, "wanted": 3}'])
def test_a_damaged_request_is_said(text: str, tmp_path: Path, metadata: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "request.json").write_text(text)
    with pytest.raises(StudyError, match=r"request\.json"):
        open_request(tmp_path / "out", Selection("cc12m"), [metadata])


def test_strange_shards_are_not_mixed_with(tmp_path: Path, metadata: Path) -> None:
    (tmp_path / "out" / "shards").mkdir(parents=True)
    (tmp_path / "out" / "shards" / "00000.tar").write_bytes(b"x")
    with pytest.raises(StudyError, match=r"no request\.json"):
        open_request(tmp_path / "out", Selection("cc12m"), [metadata])


def test_no_request_is_kept_of_metadata_that_cannot_be_used(tmp_path: Path) -> None:
    path = write_redcaps(tmp_path / "r.json", [("ftp://a.org/1", "one")])
    with pytest.raises(DataError, match="no usable row"):
        open_request(tmp_path / "out", Selection("redcaps"), [path])
    path = write_redcaps(tmp_path / "r.json", [("http://a.org/1", "one")])
    request = open_request(tmp_path / "out", Selection("redcaps"), [path])
    assert (
        json.loads((tmp_path / "out" / "request.json").read_text())["passes"]
        == request.passes
        == [["00000.parquet"]]
    )

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from empirical.errors import StudyError
from empirical.records import FORMAT, environment, exclusive, fingerprint, load_records, read_json, write_json


def write_for_ever(path: str) -> None:
    for i in range(10**9):
        write_json(Path(path), {"format": FORMAT, "results": {}, "i": i, "padding": "x" * 20_000})


def test_a_record_is_whole_whenever_its_writer_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    context = multiprocessing.get_context("spawn")
    for delay in (0.0, 0.01, 0.03, 0.05):
        process = context.Process(target=write_for_ever, args=(str(path),))
        process.start()
        while not path.exists():
            assert process.is_alive(), "the writer never came to write"
            time.sleep(0.01)
        time.sleep(delay)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        process.close()
        assert read_json(path)["padding"] == "x" * 20_000
        path.unlink()


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_damaged_records_are_named_and_the_others_kept(tmp_path: Path) -> None:
    write_json(tmp_path / "good.json", {"format": FORMAT, "results": {}})
    (tmp_path / "broken.json").write_text('{"format": 1, "resu')
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "old.json").write_text(json.dumps({"format": FORMAT - 1, "results": {}}))
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    messages: list[str] = []
    assert set(load_records(tmp_path, messages.append)) == {"good"}
    assert sorted(Path(message.split(": ")[0]).name for message in messages) == [
        "broken.json",
        "bytes.json",
        "list.json",
        "old.json",
    ]


def test_two_studies_cannot_share_a_folder(tmp_path: Path) -> None:
    with (
        exclusive(tmp_path),
        pytest.raises(StudyError, match="another study is running"),
        exclusive(tmp_path),
    ):
        pass
    with exclusive(tmp_path):
        pass


def test_fingerprints_follow_content_not_order() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_environment_names_versions_and_device() -> None:
    found = environment()
    assert found["versions"]["torch"][0].isdigit()
    assert found["device"] == "cpu"

"""Damage to finished shards is found, whichever of the three files has it; placeholders are taken out cleanly."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from web_server import encoded, picture

from empirical.shards import read_pairs
from empirical.sources.settled import Plan, Settled
from empirical.sources.verify import DamagedShard, ShardFiles, check_shard, drop_placeholders

COUNT, FAILED = 8, 3  # rows, of which row 3 failed
ROWS = list(range(100, 100 + COUNT))


def image_of(i: int) -> bytes:
    return encoded(picture(i // 2))  # two of each


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def members_of(i: int) -> list[tuple[str, bytes]]:
    return [
        (f"{i:09d}.jpg", image_of(i)),
        (f"{i:09d}.txt", f"caption {i} 😀".encode()),
        (f"{i:09d}.json", b"{}"),
    ]


def table() -> pd.DataFrame:
    good = [i != FAILED for i in range(COUNT)]
    return pd.DataFrame(
        {
            "url": [f"http://a.org/{i}" for i in range(COUNT)],
            "caption": [f"caption {i} 😀" for i in range(COUNT)],
            "row": ROWS,
            "key": [f"{i:09d}" for i in range(COUNT)],
            "status": ["success" if ok else "failed_to_download" for ok in good],
            "error_message": [None if ok else "HTTP Error 404: Not Found" for ok in good],
            "width": pd.array([24 if ok else None for ok in good], dtype="Int32"),
            "height": pd.array([24 if ok else None for ok in good], dtype="Int32"),
            "sha256": [hashlib.sha256(image_of(i)).hexdigest() if ok else None for i, ok in enumerate(good)],
        }
    )


@pytest.fixture
def files(tmp_path: Path) -> ShardFiles:
    """A shard as img2dataset leaves it."""
    files = ShardFiles(tmp_path, 0)
    write_tar(files.tar, [m for i in range(COUNT) if i != FAILED for m in members_of(i)])
    table().to_parquet(files.table)
    files.stats.write_text(json.dumps({"count": COUNT, "successes": COUNT - 1}))
    return files


def test_a_whole_shard_passes(files: ShardFiles) -> None:
    check = check_shard(files, ROWS)
    assert (check.fetched, check.lost) == (COUNT - 1, 0)


def cut(path: Callable[[ShardFiles], Path], share: float) -> Callable[[ShardFiles], None]:
    def damage(files: ShardFiles) -> None:
        data = path(files).read_bytes()
        path(files).write_bytes(data[: int(share * len(data))])

    return damage


def changed_table(**columns: list) -> Callable[[ShardFiles], None]:
    return lambda files: table().assign(**columns).to_parquet(files.table)


def changed_tar(
    change: Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]],
) -> Callable[[ShardFiles], None]:
    members = [m for i in range(COUNT) if i != FAILED for m in members_of(i)]
    return lambda files: write_tar(files.tar, change(members))


DAMAGE: dict[str, Callable[[ShardFiles], object]] = {
    "tar half-written": cut(lambda files: files.tar, 0.5),
    "tar without its last pair": changed_tar(lambda members: members[:-3]),
    "tar of another shard": changed_tar(lambda members: [("9" + name[1:], data) for name, data in members]),
    "tar empty": cut(lambda files: files.tar, 0.0),
    "tar missing": lambda files: files.tar.unlink(),
    "table half-written": cut(lambda files: files.table, 0.5),
    "table empty": cut(lambda files: files.table, 0.0),
    "table missing": lambda files: files.table.unlink(),
    "table of other rows": changed_table(row=[row + 1 for row in ROWS]),
    "table with a row twice": changed_table(row=[*ROWS[:-1], ROWS[0]]),
    "table lacks a row": lambda files: table().iloc[:-1].to_parquet(files.table),
    "table lacks a column": lambda files: table().drop(columns="sha256").to_parquet(files.table),
    "stats half-written": cut(lambda files: files.stats, 0.5),
    "stats missing": lambda files: files.stats.unlink(),
    "stats of another length": lambda files: files.stats.write_text('{"count": 9, "successes": 7}'),
    "stats no object": lambda files: files.stats.write_text("[]"),
    "a caption changed": changed_tar(
        lambda members: [(n, b"other" if n == "000000000.txt" else d) for n, d in members]
    ),
    "a caption missing": changed_tar(lambda members: [m for m in members if m[0] != "000000001.txt"]),
    "an image is no image": changed_tar(
        lambda members: [(n, b"x" if n.endswith("0.jpg") else d) for n, d in members]
    ),
    "an image of another size": changed_tar(
        lambda members: [(n, encoded(picture(0, (9, 9))) if n.endswith("0.jpg") else d) for n, d in members]
    ),
    "a pair twice": changed_tar(lambda members: members + members[:3]),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_found_and_named(what: str, files: ShardFiles) -> None:
    DAMAGE[what](files)
    with pytest.raises(DamagedShard, match=r"00000"):
        check_shard(files, ROWS)


@pytest.mark.parametrize("position", range(0, 100, 7))
def test_a_flipped_byte_in_the_tar_is_found_or_lies_in_padding_or_pixels(
    position: int, files: ShardFiles
) -> None:
    data = bytearray(files.tar.read_bytes())
    data[position * len(data) // 100] ^= 0xFF
    files.tar.write_bytes(data)
    try:
        check_shard(files, ROWS)
    except DamagedShard:
        return
    pairs = read_pairs(str(files.tar), 8)
    assert len(pairs) + pairs.account.samples_read >= COUNT - 1


def test_lost_rows_are_accepted_where_allowed(files: ShardFiles) -> None:
    table().drop(index=FAILED).to_parquet(files.table)
    with pytest.raises(DamagedShard, match="1 of 8 rows are missing"):
        check_shard(files, ROWS)
    check = check_shard(files, ROWS, allow_lost=True)
    assert (check.fetched, check.lost) == (COUNT - 1, 1)


def test_placeholders_are_taken_out_of_tar_and_table_together(files: ShardFiles) -> None:
    assert drop_placeholders(files, {"0" * 64}) == 0
    sha256 = hashlib.sha256(image_of(4)).hexdigest()
    assert drop_placeholders(files, {sha256}) == 2
    assert drop_placeholders(files, {sha256}) == 0
    check = check_shard(files, ROWS)
    assert check.fetched == COUNT - 3
    assert read_pairs(str(files.tar), 8).captions == [f"caption {i} 😀" for i in (0, 1, 2, 6, 7)]
    outcomes = pd.read_parquet(files.table)
    assert outcomes["status"].value_counts().to_dict() == {
        "success": 5,
        "dropped": 2,
        "failed_to_download": 1,
    }
    every = {hashlib.sha256(image_of(i)).hexdigest() for i in range(COUNT)}
    assert drop_placeholders(files, every) == 5
    assert not files.tar.exists()
    assert check_shard(files, ROWS).fetched == 0


def test_settled_remembers_what_was_whole_and_looks_again_at_what_changed(
    files: ShardFiles, tmp_path: Path
) -> None:
    plan = Plan(files, 0, pd.Series(ROWS).to_numpy())
    settled = Settled(tmp_path / "verified.json", [plan], ())
    settled.settle()
    settled.save()
    assert not settled.todo
    assert (settled.progress.shards, settled.progress.rows, settled.progress.fetched) == (1, COUNT, COUNT - 1)
    again = Settled(tmp_path / "verified.json", [plan], ())
    files.stats.touch()
    cut(lambda f: f.tar, 0.5)(files)
    again.settle()
    assert list(again.todo) == [0]
    assert "00000.tar" in again.damage[0]
    assert again.remove_damaged() == ["00000"]
    assert not list(tmp_path.glob("00000*"))
    again.settle()
    assert list(again.todo) == [0]

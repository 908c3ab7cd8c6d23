"""Whole downloads by img2dataset from a server on localhost: nothing good is lost, everything bad is counted."""

import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from metadata_cases import write_headerless
from PIL import Image
from web_server import GOOD, REMOVED, Web, encoded, picture, png_of

from empirical.errors import StudyError
from empirical.shard_index import load_index
from empirical.shards import read_pairs
from empirical.sources.data_card import write_data_card
from empirical.sources.download import Settings, download_source, index_shards, plan_shards, require_packages
from empirical.sources.http import HttpRules
from empirical.sources.request import Request, Selection, open_request

pytest.importorskip("img2dataset", reason="pip install -e '.[download]', with Python 3.11 or 3.12")

ROOT = Path(__file__).resolve().parents[3]
PLACEHOLDER = hashlib.sha256(REMOVED).hexdigest()
RULES = HttpRules(timeout=4.0, total_timeout=5.0, longest_wait=5.0, max_bytes=4 << 20)
SETTINGS = Settings(http=RULES, threads=16, processes=1, placeholders=(PLACEHOLDER,))
SELECTION = Selection("cc12m", samples_per_shard=25)

GREY16 = Image.fromarray(np.full((20, 30), 0x4040, np.uint16))
BODIES = {
    "cmyk": encoded(picture(11).convert("CMYK")),
    "grey": encoded(picture(12).convert("L")),
    "grey16": encoded(GREY16, "PNG"),
    "palette": encoded(picture(13).convert("P"), "PNG"),
    "rgba": encoded(picture(14).convert("RGBA"), "PNG"),
    "la": encoded(picture(15).convert("LA"), "PNG"),
    "bits": encoded(picture(16).convert("1"), "PNG"),
    "gif": encoded(picture(17).convert("P"), "GIF"),
    "webp": encoded(picture(18), "WEBP"),
    "placeholder": REMOVED,
    "bomb": png_of(20_000, 20_000),
    "html": b"<html>not found</html>",
    "truncated": encoded(picture(19, (200, 200)))[:-300],
    "empty": b"",
}
GOOD_PATHS = (
    *(f"good/{i}" for i in range(30)), "cmyk", "grey", "grey16", "palette", "rgba", "la", "bits", "gif", "webp", "busy",
    "busy-until", "flaky", "to-good", "text-label", "no-label", "zipped", "noai",
)  # fmt: skip
BAD_PATHS = {
    "404": "HTTP 404",
    "410": "HTTP 410",
    "500": "HTTP 500",
    "busy-for-an-hour": "HTTP 429",
    "to-removed": "leads to a placeholder",
    "placeholder": "placeholder image (by sha256)",
    "to-ftp": "redirect to another scheme refused",
    "to-file": "redirect to another scheme refused",
    "round": "redirect loop",
    "cut": "connection closed early",
    "cut-chunks": "connection closed early",
    "no-answer": "connection closed early",
    "nonsense": "reply is not valid HTTP",
    "silent": "timed out",
    "drip": "reply took too long",
    "huge": "reply is too large",
    "endless": "reply is too large",
    "empty": "reply is empty",
    "bomb": "image has too many pixels",
    "truncated": "image is damaged or cut off",
    "html": "not an image of a known format",
}
CAPTIONS = (
    'a "quoted" caption', '"open', "tab\tinside", "emoji 😀👩‍👩‍👧", "NUL \x00 inside", "naïve \u2028 letters", "'; DROP",
)  # fmt: skip


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with Web() as server:
        server.bodies = BODIES
        yield server


def metadata_of(web: Web, folder: Path) -> Path:
    """A TSV with good and bad URLs, difficult captions, and rows that cannot be asked for."""
    paths = [path for pair in zip(GOOD_PATHS, [*BAD_PATHS] * 3, strict=False) for path in pair]
    paths = list(dict.fromkeys([*paths, *GOOD_PATHS, *BAD_PATHS]))
    pairs = [(f"{web.root}/{path}", CAPTIONS[i % len(CAPTIONS)] + f" {i}") for i, path in enumerate(paths)]
    unusable = [
        ("ftp://127.0.0.1/x", "ftp"),
        ("file:///etc/hostname", "file"),
        (f"{web.root}/good/0", ""),
        ("", "no URL"),
    ]
    return write_headerless(folder / "m.tsv", [*unusable, *pairs])


@pytest.fixture(scope="module")
def downloaded(web: Web, tmp_path_factory: pytest.TempPathFactory) -> tuple[Request, Path]:
    folder = tmp_path_factory.mktemp("download")
    metadata = metadata_of(web, folder)
    return download_source([metadata], folder / "out", SELECTION, SETTINGS), metadata


def contents(request: Request) -> dict[str, tuple[bytes, str, dict]]:
    """URL path -> image, caption and metadata of every pair in the shards."""
    found = {}
    for path in sorted((request.folder / "shards").glob("*.tar")):
        with tarfile.open(path) as tar:
            members = {m.name: tar.extractfile(m).read() for m in tar.getmembers()}  # type: ignore[union-attr]
        for name in members:
            if name.endswith(".json"):
                key, meta = name[:-5], json.loads(members[name])
                place = meta["url"].split("/", 3)[3]
                assert place not in found
                found[place] = (members[key + ".jpg"], members[key + ".txt"].decode(), meta)
    return found


def test_shards_hold_a_thousand_rows_unless_something_else_is_asked_for(tmp_path: Path) -> None:
    metadata = write_headerless(tmp_path / "m.tsv", [(f"http://a.org/{i}", f"text {i}") for i in range(2300)])
    request = open_request(tmp_path / "out", Selection("cc12m"), [metadata])
    assert [len(plan.rows) for plan in plan_shards(request)] == [1000, 1000, 300]


def test_nothing_good_is_lost(downloaded: tuple[Request, Path]) -> None:
    assert set(contents(downloaded[0])) == set(GOOD_PATHS)


def test_every_caption_is_that_of_its_image(downloaded: tuple[Request, Path]) -> None:
    request, metadata = downloaded
    rows = [
        line.split(b"\t", 1) for line in metadata.read_bytes().splitlines(keepends=False) if b"\t" in line
    ]
    captions = {
        url.decode().split("/", 3)[-1]: text.decode().replace("\x00", "") for url, text in rows if text
    }
    for place, (_, caption, meta) in contents(request).items():
        assert caption == meta["caption"] == captions[place]
        assert meta["file"] == "m.tsv"
        line = metadata.read_bytes().split(b"\n")[meta["file_row"] - 1]
        assert line.split(b"\t")[0].decode() == meta["url"]


def test_jpegs_are_kept_as_served_and_others_look_the_same(downloaded: tuple[Request, Path]) -> None:
    found = contents(downloaded[0])
    for place in ("text-label", "zipped", "busy", "flaky"):
        assert found[place][0] == GOOD
        assert found[place][2]["sha256"] == hashlib.sha256(GOOD).hexdigest()
    for place in ("cmyk", "palette", "rgba", "la", "bits", "gif", "webp", "grey"):
        # JPEG smears the dots of dithered pictures, so colours are compared in blocks.
        served, stored = (
            np.asarray(
                Image.open(io.BytesIO(data)).convert("RGB").resize((4, 4), Image.Resampling.BOX)
            ).astype(int)
            for data in (BODIES[place], found[place][0])
        )
        assert np.abs(served - stored).max() <= 12, place
        assert found[place][2]["sha256"] == hashlib.sha256(BODIES[place]).hexdigest()
    with Image.open(io.BytesIO(found["grey16"][0])) as stored:
        assert abs(np.asarray(stored.convert("L")).astype(int).mean() - 0x40) < 2


def test_the_projects_reader_reads_every_pair(downloaded: tuple[Request, Path]) -> None:
    pairs = read_pairs(str(downloaded[0].folder / "shards"), 16)
    assert len(pairs) == len(GOOD_PATHS)
    assert not pairs.account.skipped


def test_the_index_holds_every_pair(downloaded: tuple[Request, Path]) -> None:
    request, _ = downloaded
    folder = index_shards(request)
    assert folder is not None
    index = load_index(folder)
    assert len(index) == len(GOOD_PATHS)
    assert not index.account.skipped
    assert {suffix for suffix, *_ in index.locate(0).members} == {"jpg", "txt", "json"}


def test_everything_bad_is_counted_by_reason(downloaded: tuple[Request, Path]) -> None:
    request, _ = downloaded
    card, paths = write_data_card(request)
    assert all(path.stat().st_size for path in paths)
    asked = len(GOOD_PATHS) + len(BAD_PATHS)
    assert card["metadata"]["rows_read"] == asked + 4
    assert card["metadata"]["dropped"] == {"URL is not http or https": 2, "null caption": 1, "no URL": 1}
    assert card["download"]["asked"] == asked
    assert card["download"]["fetched"] == len(GOOD_PATHS)
    assert card["download"]["failed"] == pd.Series(BAD_PATHS).value_counts().to_dict()
    # Passing reasons were given a second chance, which "flaky" took.
    assert card["download"]["passes"] == 2
    assert card["download"]["asked_again"] >= 8
    assert card["placeholders_by_sha256"] == {PLACEHOLDER: 1}
    # good/1 comes under seven further addresses, good/7 behind a redirect as well.
    assert (card["duplicates"]["images"], card["duplicates"]["groups"]) == (8, 2)
    assert card["duplicates"]["most_frequent"][0]["count"] == 8
    assert card["duplicates"]["most_frequent"][0]["sha256"] == hashlib.sha256(GOOD).hexdigest()
    assert card["captions"]["words"]["max"] == 4
    assert card["images"]["width"]["max"] == 30
    text = paths[1].read_text(encoding="utf-8")
    assert f"**{len(GOOD_PATHS)}**" in text
    assert "HTTP 404" in text
    assert PLACEHOLDER in text


def test_the_same_command_does_nothing_twice(web: Web, downloaded: tuple[Request, Path]) -> None:
    request, metadata = downloaded
    before = dict(web.seen)
    again = download_source([metadata], request.folder, SELECTION, SETTINGS)
    assert again.passes == request.passes
    assert dict(web.seen) == before
    with pytest.raises(StudyError, match=r"another request \(different: subset, seed\)"):
        open_request(request.folder, Selection("cc12m", samples_per_shard=25, seed=1, subset=3), [metadata])


def test_shards_that_are_not_whole_are_done_again_and_no_others(
    web: Web, downloaded: tuple[Request, Path], tmp_path: Path
) -> None:
    request, metadata = downloaded
    shutil.copytree(request.folder, tmp_path / "out", copy_function=shutil.copy2)
    (tmp_path / "out" / "verified.json").unlink()
    shards = tmp_path / "out" / "shards"
    expected = contents(request)
    tar = (shards / "00001.tar").read_bytes()
    (shards / "00001.tar").write_bytes(tar[: len(tar) // 2])  # half-written, with every other file in place
    others = {path.name: path.stat().st_mtime_ns for path in shards.glob("00000*")}
    said: list[str] = []
    again = download_source([metadata], tmp_path / "out", SELECTION, SETTINGS, say=said.append)
    assert "shard 00001 is not whole and is done again" in said
    assert sum("done again" in sentence for sentence in said) == 1
    assert {path.name: path.stat().st_mtime_ns for path in shards.glob("00000*")} == others
    found = contents(again)
    assert {place: (image, caption) for place, (image, caption, _) in found.items()} == {
        place: (image, caption) for place, (image, caption, _) in expected.items()
    }
    write_data_card(again)


def test_a_placeholder_named_later_is_taken_out_of_finished_shards(
    web: Web, downloaded: tuple[Request, Path], tmp_path: Path
) -> None:
    request, metadata = downloaded
    shutil.copytree(request.folder, tmp_path / "out", copy_function=shutil.copy2)
    before, seen = contents(request), dict(web.seen)
    good = hashlib.sha256(GOOD).hexdigest()
    settings = Settings(http=RULES, placeholders=(PLACEHOLDER, good), processes=1)
    again = download_source([metadata], tmp_path / "out", SELECTION, settings)
    gone = {place for place, (_, _, meta) in before.items() if meta["sha256"] == good}
    assert set(contents(again)) == set(before) - gone
    assert dict(web.seen) == seen
    card, _ = write_data_card(again)
    assert card["placeholders_by_sha256"] == {good: len(gone), PLACEHOLDER: 1}
    assert card["download"]["fetched"] + sum(card["download"]["failed"].values()) == card["download"]["asked"]


def test_a_source_of_which_nothing_can_be_fetched_has_no_tar(web: Web, tmp_path: Path) -> None:
    metadata = write_headerless(tmp_path / "m.tsv", [(f"{web.root}/404/{i}", "gone") for i in range(3)])
    request = download_source([metadata], tmp_path / "out", SELECTION, SETTINGS)
    card, _ = write_data_card(request)
    assert card["download"]["failed"] == {"HTTP 404": 3}
    assert card["shards"] == {"count": 0, "bytes": 0, "samples_per_shard": 25}
    assert card["captions"]["words"] is None
    assert not list((tmp_path / "out" / "shards").glob("*.tar"))
    assert index_shards(request) is None


def test_a_missing_package_is_said_with_the_way_out() -> None:
    require_packages("pyarrow", "img2dataset")
    with pytest.raises(StudyError, match=r"no_such_package is not installed: pip install .*\[download\]"):
        require_packages("pyarrow", "no_such_package")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(threads=0), "--threads 0"),
        (Settings(max_pixels=10**9), "--max-pixels"),
        (Settings(placeholders=("abc",)), "64 digits"),
        (Settings(http=HttpRules(timeout=0.0)), "--timeout 0"),
    ],
)
def test_settings_out_of_range_are_said_before_anything_is_read(
    settings: Settings, message: str, tmp_path: Path
) -> None:
    with pytest.raises(StudyError, match=message):
        download_source([tmp_path / "none.tsv"], tmp_path / "out", SELECTION, settings)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection("flickr"), "there is no source 'flickr'; there are yfcc, laion"),
        (Selection("cc12m", longer_side=100, shorter_side=100), "contradict"),
        (Selection("cc12m", samples_per_shard=0), "--samples-per-shard 0"),
        (Selection("cc12m", longer_side=-1), "numbers of pixels"),
    ],
)
def test_selections_that_make_no_sense_are_said(selection: Selection, message: str, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=message):
        download_source([tmp_path], tmp_path / "out", selection, SETTINGS, table_only=True)


def test_importing_the_worker_takes_torch_from_nobody() -> None:
    script = "import empirical.sources.img2dataset_worker, torch; print(torch.ones(2).sum().item())"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "2.0\n"

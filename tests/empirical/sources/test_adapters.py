"""Each source's metadata format, and the faults that its files come with."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from metadata_cases import (
    WIT_COLUMNS,
    pairs_of,
    read,
    wit_row,
    write_headerless,
    write_laion,
    write_redcaps,
    write_wit,
)

from empirical.errors import DataError
from empirical.sources import SOURCES, ReadOptions, metadata_files

HEADERLESS = ("yfcc", "cc12m", "shutterstock")
PAIRS = [("http://a.org/1", "a cat"), ("http://a.org/2", "a dog 😀")]


def test_there_are_the_papers_six_sources_with_its_settings() -> None:
    assert set(SOURCES) == {"yfcc", "laion", "cc12m", "wit", "redcaps", "shutterstock"}
    assert [name for name, spec in SOURCES.items() if spec.shuffle] == ["redcaps"]
    assert {name: spec.longer_side for name, spec in SOURCES.items() if spec.longer_side} == {"redcaps": 1000}
    wit = SOURCES["wit"]
    assert wit.processes == 1
    assert wit.threads <= 4
    assert [name for name, spec in SOURCES.items() if spec.polite] == ["wit"]


# ---------------------------------------------------------------- headerless TSV


@pytest.mark.parametrize("source", HEADERLESS)
def test_headerless_tsv_is_url_then_caption(source: str, tmp_path: Path) -> None:
    rows, account = read(source, write_headerless(tmp_path / "m.tsv", PAIRS))
    assert pairs_of(rows) == PAIRS
    assert [row.number for row in rows] == [1, 2]
    assert not account.skipped


@pytest.mark.parametrize("source", HEADERLESS)
def test_quotation_marks_merge_no_rows(source: str, tmp_path: Path) -> None:
    pairs = [
        (f"http://a.org/{i}", caption)
        for i, caption in enumerate(['"open', 'mid "quote', 'close"', '"whole"', '""', '"'])
    ]
    rows, _ = read(source, write_headerless(tmp_path / "m.tsv", pairs))
    assert pairs_of(rows) == pairs


def test_only_a_line_feed_ends_a_row(tmp_path: Path) -> None:
    pairs = [("http://a.org/1", "a\u2028b\x85c\x0bd\x0ce\rf"), ("http://a.org/2", "NUL \x00 here")]
    rows, _ = read("cc12m", write_headerless(tmp_path / "m.tsv", pairs))
    assert pairs_of(rows) == pairs
    (tmp_path / "dos.tsv").write_bytes(b"\xef\xbb\xbfhttp://a.org/1\tcat\r\n\r\n\nhttp://a.org/2\tdog")
    rows, _ = read("cc12m", tmp_path / "dos.tsv")
    assert pairs_of(rows) == [("http://a.org/1", "cat"), ("http://a.org/2", "dog")]


def test_tabs_in_the_last_column_belong_to_the_caption(tmp_path: Path) -> None:
    rows, _ = read("cc12m", write_headerless(tmp_path / "m.tsv", [*PAIRS, ("http://a.org/3", "a\ttab\t")]))
    assert rows[2].caption == "a\ttab\t"


def test_further_columns_are_left_alone_and_odd_rows_counted(tmp_path: Path) -> None:
    (tmp_path / "m.tsv").write_bytes(b"u1\tc1\tx\ty\nu2\tc2\tx\ty\nu3\tc3\nu4\tc4\tx\ty\tz\n\xff\tc5\tx\ty\n")
    rows, account = read("yfcc", tmp_path / "m.tsv")
    assert pairs_of(rows) == [("u1", "c1"), ("u2", "c2")]
    assert account.skipped == {"row does not have 4 columns": 2, "row is not UTF-8 text": 1}
    assert any(example.endswith("m.tsv: row 3") for example in account.examples)
    swapped, _ = read("yfcc", tmp_path / "m.tsv", ReadOptions(url_column="2", caption_column="0"))
    assert pairs_of(swapped) == [("x", "u1"), ("x", "u2")]


def test_too_few_columns_are_said(tmp_path: Path) -> None:
    (tmp_path / "m.txt").write_text("http://a.org/1\nhttp://a.org/2\n")
    with pytest.raises(DataError, match=r"m\.txt: rows have 1 .*--caption-column"):
        read("cc12m", tmp_path / "m.txt")
    with pytest.raises(DataError, match="numbered from 0"):
        read("cc12m", write_headerless(tmp_path / "m.tsv", PAIRS), ReadOptions(url_column="url"))
    (tmp_path / "none.tsv").write_text("")
    with pytest.raises(DataError, match="empty"):
        read("cc12m", tmp_path / "none.tsv")


def test_gzip_is_seen_by_content_and_a_cut_off_file_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(b"http://a.org/%d\tcaption %d\n" % (i, i) for i in range(5000)))
    (tmp_path / "m.tsv").write_bytes(whole)
    rows, _ = read("cc12m", tmp_path / "m.tsv")
    assert len(rows) == 5000
    (tmp_path / "m.tsv").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"m\.tsv: cannot be read beyond row \d+ .*fetch the file again"):
        read("cc12m", tmp_path / "m.tsv")


def test_a_row_without_end_costs_only_itself(tmp_path: Path) -> None:
    with (tmp_path / "m.tsv").open("wb") as file:
        file.write(b"http://a.org/1\tcat\n" + b"x" * (9 << 20) + b"\nhttp://a.org/2\tdog\n")
    rows, account = read("cc12m", tmp_path / "m.tsv")
    assert pairs_of(rows) == [("http://a.org/1", "cat"), ("http://a.org/2", "dog")]
    assert account.skipped == {"row longer than 4 MiB": 1}


# ---------------------------------------------------------------- LAION


def test_laion_keeps_unlikely_rows_with_their_columns(tmp_path: Path) -> None:
    pairs: list[tuple[str | None, str | None]] = [(f"http://a.org/{i}", f"caption {i}") for i in range(5)]
    path = write_laion(tmp_path / "p.parquet", pairs, ["UNLIKELY", "NSFW", None, "UNSURE", "UNLIKELY"])
    rows, account = read("laion", path)
    assert pairs_of(rows) == [pairs[0], pairs[4]]
    assert [row.extra for row in rows] == [("UNLIKELY", 0.3), ("UNLIKELY", pytest.approx(0.34))]
    assert account.skipped == {"NSFW rating not kept": 3}
    assert len(read("laion", path, ReadOptions(nsfw=()))[0]) == 5
    assert len(read("laion", path, ReadOptions(nsfw=("UNLIKELY", "UNSURE")))[0]) == 3


def test_laion_null_and_wrongly_typed_cells_stay_rows(tmp_path: Path) -> None:
    rows, _ = read("laion", write_laion(tmp_path / "p.parquet", [("http://a.org/1", None), (None, "cat")]))
    assert pairs_of(rows) == [("http://a.org/1", None), (None, "cat")]
    table = pa.table({"url": [1, 2], "text": [b"cat", b"\xff"], "NSFW": ["UNLIKELY"] * 2})
    pq.write_table(table, tmp_path / "q.parquet")
    rows, _ = read("laion", tmp_path / "q.parquet")
    assert pairs_of(rows) == [(1, b"cat"), (2, b"\xff")]
    assert rows[0].extra == ("UNLIKELY", None)


def test_laion_text_that_is_not_utf8_costs_its_own_row(tmp_path: Path) -> None:
    text = pa.array([b"cat", b"\xff\xfe", b"dog"], pa.binary())
    text = pa.StringArray.from_buffers(3, text.buffers()[1], text.buffers()[2])
    table = pa.table({"URL": ["http://a.org/1"] * 3, "TEXT": text, "NSFW": ["UNLIKELY"] * 3})
    pq.write_table(table, tmp_path / "p.parquet")
    rows, _ = read("laion", tmp_path / "p.parquet")
    assert [row.caption for row in rows] == ["cat", None, "dog"]


def test_laion_missing_columns_and_damage_are_said(tmp_path: Path) -> None:
    pq.write_table(pa.table({"URL": ["x"], "caption": ["y"], "NSFW": ["UNLIKELY"]}), tmp_path / "p.parquet")
    with pytest.raises(
        DataError, match=r"no column 'TEXT'; the columns are URL, caption, NSFW.*--caption-column"
    ):
        read("laion", tmp_path / "p.parquet")
    assert len(read("laion", tmp_path / "p.parquet", ReadOptions(caption_column="caption"))[0]) == 1
    pq.write_table(pa.table({"URL": ["x"], "TEXT": ["y"]}), tmp_path / "q.parquet")
    with pytest.raises(DataError, match=r"no column NSFW.*--nsfw"):
        read("laion", tmp_path / "q.parquet")
    assert len(read("laion", tmp_path / "q.parquet", ReadOptions(nsfw=()))[0]) == 1
    data = (tmp_path / "p.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(data[:-20])
    with pytest.raises(DataError, match=r"cut\.parquet: cannot be read as parquet"):
        read("laion", tmp_path / "cut.parquet")


# ---------------------------------------------------------------- RedCaps


def test_redcaps_annotations_and_the_bare_lists_of_the_shuffle_step(tmp_path: Path) -> None:
    rows, _ = read("redcaps", write_redcaps(tmp_path / "r.json", [*PAIRS, (None, 5)]))
    assert pairs_of(rows) == [*PAIRS, (None, 5)]
    assert rows[0].extra == ("pics",)
    (tmp_path / "list.json").write_text(json.dumps([{"url": "u", "caption": "c"}, "text", None]))
    rows, account = read("redcaps", tmp_path / "list.json")
    assert pairs_of(rows) == [("u", "c")]
    assert account.skipped == {"annotation is not an object": 2}
    raw = ReadOptions(caption_column="raw_caption")
    assert read("redcaps", tmp_path / "list.json", raw)[0][0].caption is None


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, '{"info": 1}', '{"annotations": {}}', "5", "9" * 5000, "\xff"]
)
def test_redcaps_damage_is_said(text: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"r\.json: "):
        read("redcaps", tmp_path / "r.json")


def test_a_redcaps_file_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("empirical.sources.redcaps._LARGEST", 1 << 20)
    (tmp_path / "r.json.gz").write_bytes(gzip.compress(b'{"annotations": []' + b" " * (2 << 20) + b"}"))
    with pytest.raises(DataError, match=r"r\.json\.gz: larger than 1 MiB when unpacked"):
        read("redcaps", tmp_path / "r.json.gz")
    rows, _ = read("redcaps", write_redcaps(tmp_path / "r.json", [*PAIRS]))
    assert pairs_of(rows) == PAIRS


# ---------------------------------------------------------------- WIT


def test_wit_keeps_english_and_reads_the_reference_caption(tmp_path: Path) -> None:
    rows = [
        wit_row("http://a.org/1", "a cat", caption_alt_text_description="alt"),
        wit_row("http://a.org/2", "ein Hund", "de"),
        wit_row("http://a.org/3", ""),
    ]
    path = write_wit(tmp_path / "w.tsv", rows)
    kept, account = read("wit", path)
    assert pairs_of(kept) == [("http://a.org/1", "a cat"), ("http://a.org/3", "")]
    assert kept[0].extra == ("A page",)
    assert account.skipped == {"language is not en": 1}
    assert len(read("wit", path, ReadOptions(language=""))[0]) == 3
    alt = ReadOptions(caption_column="caption_alt_text_description")
    assert read("wit", path, alt)[0][0].caption == "alt"


def test_wit_undoes_the_quoting_of_its_own_files(tmp_path: Path) -> None:
    """As in WIT: a field with a line break or a quotation mark stands in quotes, inner ones doubled."""
    rows = [
        wit_row("http://a.org/1", '"He said ""hi"" to it"'),
        wit_row("http://a.org/2", "two", context_page_description='"First ""line"".\nSecond\tline."'),
        wit_row("http://a.org/3", "three", context_section_description='"First.\n\nLast."'),
        wit_row("http://a.org/4", "four"),
    ]
    kept, account = read("wit", write_wit(tmp_path / "w.tsv", rows))
    assert [row.caption for row in kept] == ['He said "hi" to it', "two", "three", "four"]
    assert not account.skipped


def test_a_stray_quotation_mark_in_wit_costs_nothing(tmp_path: Path) -> None:
    rows = [
        wit_row("http://a.org/1", '"open'),
        wit_row("http://a.org/2", "plain"),
        wit_row("http://a.org/3", 'close"'),
        wit_row("http://a.org/4", "last", context_section_description='"open at the end'),
        wit_row("http://a.org/5", 'mid "quoted" word'),
        wit_row("http://a.org/6", "six", context_section_description='ends with "'),
        wit_row("http://a.org/7", '"open') + '\t"',
        wit_row("http://a.org/8", "eight"),
    ]
    kept, account = read("wit", write_wit(tmp_path / "w.tsv", rows))
    assert [row.url for row in kept] == [f"http://a.org/{i}" for i in (1, 2, 3, 4, 5, 6, 8)]
    assert [row.caption for row in kept[:3]] == ['"open', "plain", 'close"']
    assert kept[4].caption == 'mid "quoted" word'
    assert account.skipped == {"row does not have 17 columns": 1}


def test_wit_without_its_header_is_said(tmp_path: Path) -> None:
    (tmp_path / "w.tsv").write_text(wit_row("http://a.org/1", "x") + "\n")
    with pytest.raises(DataError, match="no column 'image_url' in the header"):
        read("wit", tmp_path / "w.tsv")
    (tmp_path / "v.tsv").write_text("\t".join(WIT_COLUMNS[1:]) + "\n")
    with pytest.raises(DataError, match=r"no column 'language'.*--language"):
        read("wit", tmp_path / "v.tsv")


# ---------------------------------------------------------------- finding files


def test_metadata_files_expands_folders_in_order_and_names_what_is_missing(tmp_path: Path) -> None:
    for name in ("b.tsv", "a.tsv.gz", "notes.md"):
        (tmp_path / name).write_text("x")
    suffixes = SOURCES["cc12m"].suffixes
    assert [p.name for p in metadata_files([tmp_path], suffixes)] == ["a.tsv.gz", "b.tsv"]
    assert [p.name for p in metadata_files([tmp_path / "notes.md"], suffixes)] == ["notes.md"]
    with pytest.raises(DataError, match="named twice"):
        metadata_files([tmp_path, tmp_path / "b.tsv"], suffixes)
    with pytest.raises(DataError, match="no such file"):
        metadata_files([tmp_path / "none.tsv"], suffixes)
    with pytest.raises(DataError, match=r"holds no \*\.parquet"):
        metadata_files([tmp_path], SOURCES["laion"].suffixes)
    with pytest.raises(DataError, match="no metadata given"):
        metadata_files([], suffixes)

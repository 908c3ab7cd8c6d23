"""Whatever a metadata file holds, an adapter yields rows or raises the project's own error."""

import gzip
import io
import json
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metadata_cases import WIT_COLUMNS, wit_row

from empirical.errors import DataError
from empirical.sources import SOURCES, CaptionRules, ReadOptions, TableAccount
from empirical.sources.table import clean_rows

TEXT = st.text(st.characters(exclude_categories=()), max_size=30)
CELL = st.one_of(
    TEXT, st.sampled_from(['"', '""', '"a', 'a"', "", "\t", "\n", "\r", "\x00", "http://a.org/1", "en", "😀"])
)
LINES = st.lists(st.lists(CELL, max_size=5).map("\t".join), max_size=8).map("\n".join)


def utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


HEADER = utf8("\t".join(WIT_COLUMNS) + "\n")
WIT_LINES = st.lists(
    st.one_of(st.builds(wit_row, CELL, CELL), CELL, st.lists(CELL, min_size=15, max_size=18).map("\t".join)),
    max_size=8,
).map(lambda rows: HEADER + utf8("\n".join(rows)))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), TEXT),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(TEXT, st.sampled_from(["url", "caption", "annotations", "subreddit"])),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)
ANNOTATIONS = st.lists(
    st.fixed_dictionaries(
        {}, optional={"url": st.one_of(CELL, JSON), "caption": st.one_of(CELL, JSON), "subreddit": JSON}
    ),
    max_size=4,
)


def parquet(columns: dict) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


PARQUET = [
    parquet(
        {
            "URL": ["http://a.org/1", None],
            "TEXT": ["cat", None],
            "NSFW": ["UNLIKELY"] * 2,
            "similarity": [0.3, None],
        }
    ),
    parquet({"URL": [1.5, 2.0], "TEXT": [[1], []], "NSFW": ["UNLIKELY"] * 2}),
    parquet(
        {
            "URL": [b"http://a.org/1"] * 3,
            "TEXT": [b"\xff"] * 3,
            "NSFW": pa.array(["UNLIKELY"] * 3).dictionary_encode(),
        }
    ),
]


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A few bytes changed, a piece cut off, or zipped and then damaged."""
    data = bytearray(gzip.compress(whole, mtime=0) if draw(st.booleans()) else whole)
    for _ in range(draw(st.integers(0, 4))):
        if data:
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


FILES: dict[str, st.SearchStrategy[bytes]] = {
    "cc12m": st.one_of(LINES.map(utf8), st.binary(max_size=200)),
    "wit": st.one_of(WIT_LINES, LINES.map(utf8), st.binary(max_size=200).map(HEADER.__add__)),
    "redcaps": st.one_of(
        ANNOTATIONS.map(lambda value: json.dumps({"annotations": value}).encode()),
        JSON.map(lambda value: json.dumps(value).encode()),
        st.binary(max_size=200),
    ),
    "laion": st.one_of(st.sampled_from(PARQUET), st.binary(max_size=200)),
}


def read_all(source: str, data: bytes, reading: ReadOptions, rules: CaptionRules) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "metadata"
        path.write_bytes(data)
        account = TableAccount()
        try:
            rows = list(clean_rows(SOURCES[source], [path], reading, rules, account))
        except DataError:
            return
        assert account.rows_read == len(rows) + sum(account.reading.skipped.values())
        for url, caption, name, number, *_ in rows:
            assert url.startswith(("http://", "https://"))
            assert url.isascii()
            assert caption
            caption.encode()
            assert name == "metadata"
            assert number >= 1


COLUMNS = st.sampled_from([None, None, None, "0", "2", "TEXT", "url", "caption", "x"])
READING = st.tuples(COLUMNS, COLUMNS, st.sampled_from([("UNLIKELY",), ()]), st.sampled_from(["en", ""]))
RULES = st.tuples(
    st.sampled_from([("ohcb01",), (), ("a", "")]),
    st.integers(0, 3),
    st.sampled_from([None, 2]),
    st.booleans(),
)


@pytest.mark.parametrize("source", FILES)
@settings(max_examples=60)
@given(st.data())
def test_any_file_gives_rows_or_our_own_error(source: str, data: st.DataObject) -> None:
    check(source, data)


@pytest.mark.slow
@pytest.mark.parametrize("source", FILES)
@settings(max_examples=10_000)
@given(st.data())
def test_ten_thousand_files_give_rows_or_our_own_error(source: str, data: st.DataObject) -> None:
    check(source, data)


def check(source: str, data: st.DataObject) -> None:
    whole = data.draw(FILES[source])
    content = data.draw(st.one_of(st.just(whole), damaged(whole)))
    read_all(source, content, ReadOptions(*data.draw(READING)), CaptionRules(*data.draw(RULES)))

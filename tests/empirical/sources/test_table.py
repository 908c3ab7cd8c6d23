"""The clean table: every row accounted for, subsets nested and uniform, the shuffle global and seeded."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from metadata_cases import write_headerless, write_laion, write_redcaps
from scipy.stats import chi2

from empirical.errors import DataError
from empirical.sources import SOURCES, write_table
from empirical.sources.table import places_of_rows


def rows_of(parts: list[Path]) -> list[dict]:
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def test_rows_keep_their_order_and_say_where_they_come_from(tmp_path: Path) -> None:
    first = write_headerless(
        tmp_path / "a.tsv", [("http://a.org/1", "one"), ("ftp://a.org/2", "two"), ("http://a.org/3", "")]
    )
    second = write_headerless(
        tmp_path / "b.tsv", [("http://a.org/1", 'four "and'), ("http://a.org/5", "ohcb01")]
    )
    parts, account = write_table(SOURCES["cc12m"], [first, second], tmp_path / "table")
    assert rows_of(parts) == [
        {"url": "http://a.org/1", "caption": "one", "row": 0, "file": "a.tsv", "file_row": 1},
        {"url": "http://a.org/1", "caption": 'four "and', "row": 1, "file": "b.tsv", "file_row": 1},
    ]
    assert account.reading.skipped == {
        "URL is not http or https": 1,
        "null caption": 1,
        "caption contains 'ohcb01'": 1,
    }
    assert (account.rows_read, account.clean, account.asked, account.repeated_urls) == (5, 2, 2, 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tsv", "b.tsv", "table"]


def test_laion_columns_travel_along(tmp_path: Path) -> None:
    path = write_laion(tmp_path / "p.parquet", [("http://a.org/1", "cat"), ("http://a.org/2", None)])
    parts, account = write_table(SOURCES["laion"], [path], tmp_path / "table")
    (row,) = rows_of(parts)
    assert row["NSFW"] == "UNLIKELY"
    assert row["similarity"] == pytest.approx(0.3)
    assert account.reading.skipped == {"null caption": 1}


def test_redcaps_is_shuffled_over_all_files_by_the_seed(tmp_path: Path) -> None:
    files = [
        write_redcaps(tmp_path / f"{k}.json", [(f"http://a.org/{k}/{i}", f"caption {i}") for i in range(100)])
        for k in range(5)
    ]
    orders = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        parts, _ = write_table(
            SOURCES["redcaps"], files, tmp_path / name, seed=seed, samples_per_shard=10, rows_per_part=120
        )
        assert [pq.read_metadata(part).num_rows for part in parts] == [120, 120, 120, 120, 20]
        orders[name] = [(row["file"], row["url"]) for row in rows_of(parts)]
    assert orders["a"] == orders["b"] != orders["c"]
    assert sorted(orders["a"]) == sorted(orders["c"])
    # Each file's rows are spread over the whole: within the first half, 50 of 100 +- 4.6 standard errors (hypergeometric).
    for k in range(5):
        count = sum(file == f"{k}.json" for file, _ in orders["a"][:250])
        assert abs(count - 50) < 4.6 * np.sqrt(250 * 0.2 * 0.8 * 250 / 499)
    kept, _ = write_table(SOURCES["redcaps"], files, tmp_path / "d", shuffle=False)
    assert [row["row"] for row in rows_of(kept)] == list(range(500))


def test_parts_hold_whole_shards_and_the_subset_spans_them(tmp_path: Path) -> None:
    path = write_headerless(tmp_path / "m.tsv", [(f"http://a.org/{i}", f"caption {i}") for i in range(1000)])
    parts, account = write_table(
        SOURCES["cc12m"], [path], tmp_path / "t", subset=330, samples_per_shard=50, rows_per_part=120
    )
    assert [pq.read_metadata(part).num_rows for part in parts] == [150, 150, 30]
    rows = [row["row"] for row in rows_of(parts)]
    assert rows == sorted(rows)
    assert (account.clean, account.asked) == (1000, 330)
    more, _ = write_table(SOURCES["cc12m"], [path], tmp_path / "u", subset=5000, samples_per_shard=50)
    assert [row["row"] for row in rows_of(more)] == list(range(1000))


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 300), st.booleans(), st.integers(0, 2**32))
def test_subsets_of_a_seed_are_nested(count: int, few: int, many: int, shuffle: bool, seed: int) -> None:
    few, many = sorted((few, many))
    small, large = (places_of_rows(count, n, shuffle, seed) for n in (few, many))
    whole = places_of_rows(count, None, shuffle, seed)
    assert (small >= 0).sum() == min(few, count)
    assert ((small < 0) | (large >= 0)).all()
    for places in (small, large, whole):
        there = places[places >= 0]
        assert sorted(there) == list(range(len(there)))
        if not shuffle:
            assert (np.diff(there) > 0).all()
    # The shuffled subset is the beginning of the shuffled whole.
    order = np.argsort(places_of_rows(count, None, True, seed))
    assert set(np.flatnonzero(small >= 0)) == set(order[:few])


def test_every_row_is_equally_likely_to_be_in_a_subset_and_at_any_place() -> None:
    trials, count, subset = 2000, 10, 3
    chosen, first = np.zeros(count), np.zeros(count)
    for seed in range(trials):
        places = places_of_rows(count, subset, True, seed)
        chosen += places >= 0
        first += places == 0
    for observed, expected in ((chosen, trials * subset / count), (first, trials / count)):
        # Draws without replacement vary less than the chi-square law allows, so the bound holds for both.
        assert ((observed - expected) ** 2 / expected).sum() < chi2.ppf(1 - 1e-6, count - 1)


def test_nothing_usable_is_an_error_that_says_why(tmp_path: Path) -> None:
    path = write_headerless(tmp_path / "m.tsv", [("caption first", "http://a.org/1")] * 3)
    with pytest.raises(
        DataError, match=r"m\.tsv: no usable row for cc12m.*URL in column 0.*3 x URL is not http"
    ):
        write_table(SOURCES["cc12m"], [path], tmp_path / "table")
    assert not (tmp_path / "table").exists()
    with pytest.raises(DataError, match="at least one row"):
        write_table(SOURCES["cc12m"], [path], tmp_path / "table", subset=0)


def test_an_interrupted_table_leaves_nothing_behind(tmp_path: Path) -> None:
    good = write_redcaps(tmp_path / "a.json", [("http://a.org/1", "one")])
    (tmp_path / "b.json").write_text(json.dumps({"annotations": 3}))
    with pytest.raises(DataError, match=r"b\.json"):
        write_table(SOURCES["redcaps"], [good, tmp_path / "b.json"], tmp_path / "table")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "b.json"]

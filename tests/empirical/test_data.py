import numpy as np
import pytest

from empirical.data import EMBEDDED, SourceData, gather, prepare_source, prepare_test_set, sample_order
from empirical.errors import StudyError
from empirical.plan import Draw


def source(path: str = "shards", seed: int = 0, needed: int = 10) -> SourceData:
    return SourceData("stock", path, seed, (0, 1, 2), needed, 32)


def test_seeds_of_a_users_source_do_not_overlap_when_there_is_enough() -> None:
    orders = [sample_order(source(seed=seed), available=35) for seed in (0, 1, 2)]
    drawn = np.concatenate(orders)
    assert len(set(drawn.tolist())) == 30
    assert drawn.max() < 35


def test_seeds_share_samples_only_when_there_are_too_few() -> None:
    orders = [sample_order(source(seed=seed), available=12) for seed in (0, 1, 2)]
    for order in orders:
        assert len(set(order.tolist())) == 10
    assert not np.array_equal(orders[0], orders[1])
    assert np.array_equal(orders[1], sample_order(source(seed=1), available=12))


def test_the_embedded_world_has_a_stream_per_seed() -> None:
    assert np.array_equal(sample_order(source(EMBEDDED, seed=2), available=99), np.arange(10))


def test_embedded_sources_go_through_shards_and_come_back_bit_for_bit(tmp_path) -> None:
    from empirical.world import render_source

    stock = SourceData("stock", EMBEDDED, 1000, (1000,), 40, 32)
    account = prepare_source(tmp_path, stock)
    assert account == {"samples": 40, "skipped": {}, "examples": []}
    images, captions = gather(tmp_path, {"stock": stock}, [Draw("stock", 30, 5), Draw("stock", 0, 3)])
    rendered = render_source("stock", 1000, 0, 40)
    where = [*range(30, 35), 0, 1, 2]
    assert np.array_equal(images, rendered.images[where])
    assert captions == [rendered.captions[i] for i in where]
    assert list((tmp_path / "shards" / "stock-seed1000").glob("*.tar"))


def test_preparing_twice_reads_once_and_a_larger_request_is_done_again(tmp_path) -> None:
    stock = SourceData("stock", EMBEDDED, 1000, (1000,), 40, 32)
    prepare_source(tmp_path, stock)
    arrays = tmp_path / "arrays" / "stock-seed1000" / "images.npy"
    before = arrays.stat().st_mtime_ns
    prepare_source(tmp_path, stock)
    assert arrays.stat().st_mtime_ns == before
    larger = SourceData("stock", EMBEDDED, 1000, (1000,), 50, 32)
    assert prepare_source(tmp_path, larger)["samples"] == 50


def test_too_few_samples_say_how_many_are_needed(tmp_path) -> None:
    prepare_source(tmp_path, SourceData("stock", EMBEDDED, 1000, (1000,), 40, 32))
    shards = str(tmp_path / "shards" / "stock-seed1000")
    with pytest.raises(StudyError, match=r"has 40 usable samples; the study draws 60 per seed"):
        prepare_source(tmp_path, SourceData("mine", shards, 0, (0,), 60, 32))


def test_test_sets_are_written_in_the_public_layout_and_read_back(tmp_path) -> None:
    account = prepare_test_set(tmp_path, "sketch", EMBEDDED, 32, 60)
    assert account["images"] == 60
    assert len(account["class_names"]) == 20
    folder = tmp_path / "shards" / "test-sketch"
    assert (folder / "classnames.txt").read_text().splitlines() == account["class_names"]

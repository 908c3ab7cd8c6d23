"""Pairs and test sets survive a trip to disk, and a bad folder is refused with the way out."""

import json

import numpy as np
import pytest

from empirical.arrays import (
    Pairs,
    ReadAccount,
    TestSet,
    load_pairs,
    load_test_set_arrays,
    save_pairs,
    save_test_set,
)
from empirical.errors import DataError


def pairs(n: int = 5) -> Pairs:
    rng = np.random.default_rng(0)
    account = ReadAccount(shards=2, samples_read=n)
    account.skip("empty caption", "0.tar: 000")
    images = rng.integers(0, 256, (n, 3, 8, 8), np.uint8)
    captions = [f"a «{i}» \n photo" for i in range(n)]
    return Pairs(images, captions, [f"k{i}" for i in range(n)], None, account, [{"i": i} for i in range(n)])


def labelled() -> TestSet:
    p = pairs(5)
    labels = np.arange(5, dtype=np.int64) % 2
    return TestSet("v2", p.images, labels, p.keys, ["star", "heart"], ["a {}"], p.account)


@pytest.mark.parametrize("mmap", [True, False])
def test_pairs_come_back_equal(tmp_path, mmap):
    saved = pairs()
    loaded = load_pairs(save_pairs(tmp_path / "a" / "stock", saved), mmap=mmap)
    assert isinstance(loaded.images, np.memmap) == mmap
    assert np.array_equal(loaded.images, saved.images)
    assert (loaded.captions, loaded.keys, loaded.labels) == (saved.captions, saved.keys, None)
    assert (loaded.account, loaded.metadata) == (saved.account, saved.metadata)
    assert len(loaded) == 5


def test_test_sets_come_back_equal(tmp_path):
    saved = labelled()
    loaded = load_test_set_arrays(save_test_set(tmp_path / "v2", saved))
    assert np.array_equal(loaded.images, saved.images)
    assert np.array_equal(loaded.labels, saved.labels)
    assert (loaded.name, loaded.keys, loaded.class_names) == (saved.name, saved.keys, saved.class_names)
    assert loaded.templates == ["a {}"]


def test_saving_again_replaces_and_leaves_nothing_else(tmp_path):
    save_pairs(tmp_path / "p", pairs(5))
    save_pairs(tmp_path / "p", pairs(3))
    assert len(load_pairs(tmp_path / "p")) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["p"]


def test_a_failed_save_leaves_the_older_one(tmp_path):
    save_pairs(tmp_path / "p", pairs(5))
    broken = pairs(3)
    broken.metadata = [{"not json": object()}]
    with pytest.raises(TypeError):
        save_pairs(tmp_path / "p", broken)
    assert len(load_pairs(tmp_path / "p")) == 5
    assert [p.name for p in tmp_path.iterdir()] == ["p"]


def test_a_folder_that_is_not_a_save_is_never_replaced(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "thesis.tex").write_text("do not lose me")
    with pytest.raises(OSError, match="not empty"):
        save_pairs(tmp_path / "p", pairs())
    assert (tmp_path / "p" / "thesis.tex").exists()


def test_bad_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match="not a readable Pairs folder"):
        load_pairs(tmp_path / "nothing")
    save_pairs(tmp_path / "p", pairs())
    with pytest.raises(DataError, match="does not describe a TestSet"):
        load_test_set_arrays(tmp_path / "p")
    (tmp_path / "p" / "texts.json").write_text("{")
    with pytest.raises(DataError, match="delete it to have it made again"):
        load_pairs(tmp_path / "p")


def test_half_a_save_is_refused(tmp_path):
    folder = save_pairs(tmp_path / "p", pairs())
    texts = json.loads((folder / "texts.json").read_text())
    texts["keys"] = texts["keys"][:3]
    (folder / "texts.json").write_text(json.dumps(texts))
    with pytest.raises(DataError, match="5 images but 3 keys"):
        load_pairs(folder)


def test_pickled_arrays_are_never_loaded(tmp_path):
    folder = save_pairs(tmp_path / "p", pairs())
    np.save(folder / "images.npy", np.array([{"object": 1}], dtype=object), allow_pickle=True)
    for mmap in (True, False):
        with pytest.raises(DataError, match="not a readable Pairs folder"):
            load_pairs(folder, mmap=mmap)


def test_the_account_names_reasons_and_keeps_few_examples():
    account = ReadAccount(shards=1, samples_read=7)
    assert account.summary() == "7 samples read, none skipped"
    for i in range(100):
        account.skip("empty caption", f"0.tar: {i}")
    account.skip("no image", "1.tar: x")
    assert account.skipped == {"empty caption": 100, "no image": 1}
    assert len(account.examples) == 6
    assert account.summary() == (
        "7 samples read, 101 skipped: 100 x empty caption (such as 0.tar: 0); 1 x no image (such as 1.tar: x)"
    )

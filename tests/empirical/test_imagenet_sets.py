"""ImageNet's test sets in exactly their layouts: labels, class subsets, ObjectNet's protocols, and what is missing."""

import io
import json

import numpy as np
import pytest
from imagenet_folders import OBJECTNET, labelled_shards, objectnet, picture, v2_folders, wnid_folders
from PIL import Image

from empirical.errors import DataError
from empirical.imagenet_classes import class_name, imagenet_wnids, read_objectnet_mapping, subset_indices
from empirical.imagenet_sets import EvaluationSet, open_imagenet_set
from empirical.published import TEST_SETS
from empirical.shards import decode_image


def labels_of(test_set: EvaluationSet) -> list[int]:
    return [label for _, label, _ in test_set.samples()]


def test_wnids_and_their_names_belong_together():
    assert len(imagenet_wnids()) == 1000
    assert [len(subset_indices(name)) for name in ("imagenet_r", "imagenet_a", "imagenet_sketch")] == [
        200,
        200,
        1000,
    ]
    known = {"n01443537": "goldfish", "n02129165": "lion", "n07753592": "banana", "n04604644": "worm fence"}
    for wnid, name in known.items():
        index = imagenet_wnids().index(wnid)
        assert class_name(index) in (name, "split-rail fence")
    assert subset_indices("imagenet_r")[:3] == (1, 2, 4)


def test_imagenet_and_sketch_are_1000_way_by_wnid(tmp_path):
    for name in ("imagenet", "imagenet_sketch"):
        test_set = open_imagenet_set(name, wnid_folders(tmp_path / name, name, {7: 2, 999: 1, 0: 1}))
        assert labels_of(test_set) == [0, 7, 7, 999]
        assert test_set.num_classes == len(test_set.class_names) == 1000
        assert test_set.class_names[7] == class_name(7)
        assert test_set.border == 0


def test_v2_folders_are_sorted_as_numbers(tmp_path):
    """As strings 10 comes before 9; the label is the number."""
    test_set = open_imagenet_set("imagenet_v2", v2_folders(tmp_path, {9: 1, 10: 2, 100: 1, 999: 1, 0: 1}))
    assert labels_of(test_set) == [0, 9, 10, 10, 100, 999]
    by_wnid = open_imagenet_set("imagenet_v2", wnid_folders(tmp_path / "w", "imagenet", {3: 1}))
    assert labels_of(by_wnid) == [3]


@pytest.mark.parametrize("name", ["imagenet_r", "imagenet_a"])
def test_r_and_a_are_200_way_by_wnid(tmp_path, name):
    test_set = open_imagenet_set(name, wnid_folders(tmp_path, name, {199: 1, 3: 2}))
    assert labels_of(test_set) == [3, 3, 199]
    assert test_set.num_classes == len(test_set.class_names) == 200
    index = subset_indices(name)[3]
    assert test_set.class_names[3] == class_name(index)
    assert test_set.imagenet_labels[3] == (index,)
    outside = next(w for w in imagenet_wnids() if w not in imagenet_wnids(name))
    (tmp_path / outside).mkdir()
    assert (
        f"1 of 3 folders are no class of {name} ({outside})" in open_imagenet_set(name, tmp_path).warnings[0]
    )


def test_what_is_missing_is_named(tmp_path):
    found = open_imagenet_set("imagenet_v2", v2_folders(tmp_path, dict.fromkeys(range(1000), 0) | {1: 3}))
    labels = np.repeat(np.arange(1000), 10)
    assert found.count_warnings(labels) == []
    fewer = np.delete(labels, [10, 11, 20])
    assert found.count_warnings(fewer) == [
        "imagenet_v2: 9,997 images, the published set has 10,000",
        "imagenet_v2: 2 of 1000 classes with too few images: n01443537 (goldfish) (8 of 10), "
        f"n01484850 ({class_name(2)}) (9 of 10)",
    ]
    (_, whole) = found.count_warnings(labels[100:])
    assert whole.startswith(
        "imagenet_v2: 10 of 1000 classes with too few images: n01440764 (tench) (0 of 10), "
    )
    assert whole.endswith(", and 5 more")


def test_clip_benchmarks_webdataset(tmp_path):
    root = labelled_shards(tmp_path / "wds_imagenet-r", [(5, picture(1)), (199, picture(2)), (0, picture(3))])
    test_set = open_imagenet_set("imagenet_r", root)
    assert labels_of(test_set) == [5, 199, 0]
    assert test_set.class_names[5] == class_name(subset_indices("imagenet_r")[5])
    with pytest.raises(DataError, match=r"0\.tar: s0000: label 200 is outside 0\.\.199"):
        labels_of(open_imagenet_set("imagenet_r", labelled_shards(tmp_path / "x", [(200, picture(1))])))


def test_objectnets_own_mapping_files(tmp_path):
    root = objectnet(tmp_path, dict.fromkeys(OBJECTNET, 1))
    mapping = read_objectnet_mapping(root / "mappings")
    assert mapping.folders == ("banana", "band_aid", "chair")
    assert mapping.names == ("banana", "band aid", "chair")
    assert mapping.imagenet_labels == ((954,), (419,), (423, 559, 765))


def test_objectnet_has_113_classes_for_125_of_imagenets(tmp_path):
    """At its full size: nine classes stand for several of ImageNet's, as in its own mapping files."""
    ids = iter(range(0, 1000, 7))
    sizes = [1] * 104 + [2] * 6 + [3] * 3
    own = {f"folder_{k:03d}": (f"Thing {k}", [next(ids) for _ in range(n)]) for k, n in enumerate(sizes)}
    root = objectnet(tmp_path, {"banana": 1})
    (root / "images" / "banana").rename(root / "images" / "folder_112")
    (root / "mappings" / "folder_to_objectnet_label.json").write_text(
        json.dumps({f: n for f, (n, _) in own.items()})
    )
    (root / "mappings" / "objectnet_to_imagenet_1k.json").write_text(
        json.dumps({name: "; ".join(map(class_name, labels)) for name, labels in own.values()})
    )
    by_name, by_prompt = (open_imagenet_set("objectnet", root, names) for names in ("own", "imagenet"))
    assert (
        by_name.num_classes
        == by_prompt.num_classes
        == len(by_name.class_names)
        == TEST_SETS["objectnet"].num_classes
        == 113
    )
    assert len(by_prompt.class_names) == 125
    assert by_prompt.class_of_column is not None
    assert np.bincount(by_prompt.class_of_column).tolist() == sizes
    assert labels_of(by_name) == labels_of(by_prompt) == [112]
    assert "the published set has 18,574" in by_name.count_warnings(np.array([112]))[0]


@pytest.mark.parametrize(
    ("name", "count"),
    [("imagenet", 50_000), ("imagenet_v2", 10_000), ("imagenet_r", 30_000), ("imagenet_a", 7_500), ("imagenet_sketch", 50_889)],
)  # fmt: skip
def test_the_expected_sizes_raise_no_warning_and_one_image_less_does(tmp_path, name, count):
    classes = 200 if name in ("imagenet_r", "imagenet_a") else 1000
    found = open_imagenet_set(name, labelled_shards(tmp_path, [(0, picture(1))]))
    labels = np.arange(count) % classes
    assert found.count_warnings(labels) == []
    assert f"{count - 1:,} images, the published set has {count:,}" in found.count_warnings(labels[:-1])[0]


def test_objectnet_by_its_own_names(tmp_path):
    test_set = open_imagenet_set(
        "objectnet", objectnet(tmp_path, {"chair": 2, "banana": 1, "air_freshener": 3})
    )
    assert labels_of(test_set) == [0, 2, 2]
    assert test_set.class_names == ["banana", "band aid", "chair"]
    assert test_set.class_of_column is None
    assert test_set.account.notes == ["objectnet: 1 of 3 folders are no ImageNet class and left out"]


def test_objectnet_by_imagenets_prompts(tmp_path):
    test_set = open_imagenet_set(
        "objectnet", objectnet(tmp_path, {"chair": 2, "banana": 1}), names="imagenet"
    )
    assert test_set.class_names == [class_name(i) for i in (419, 423, 559, 765, 954)]
    assert test_set.class_of_column is not None
    assert test_set.class_of_column.tolist() == [1, 2, 2, 2, 0]
    logits = np.random.default_rng(0).normal(size=(50, 5)).astype(np.float32)
    found = test_set.class_logits(logits)
    assert found.shape == (50, 3)
    # The protocol: a hit if the best column maps to the class.
    assert np.array_equal(found.argmax(1), test_set.class_of_column[logits.argmax(1)])


def test_objectnets_border_is_cut_before_resizing(tmp_path):
    test_set = open_imagenet_set("objectnet", objectnet(tmp_path / "a", {"chair": 1}, border=2))
    plain = open_imagenet_set("objectnet", objectnet(tmp_path / "b", {"chair": 1}, border=0))
    assert (test_set.border, plain.border) == (2, 2)
    (framed, _, _), (bare, _, _) = next(test_set.samples()), next(plain.samples())
    assert np.array_equal(decode_image(framed, 32, 2), decode_image(bare, 32))
    assert not np.array_equal(decode_image(framed, 32), decode_image(bare, 32))
    assert open_imagenet_set("objectnet", tmp_path / "a", border=0).border == 0
    tiny = io.BytesIO()
    Image.new("RGB", (4, 4)).save(tiny, "PNG")
    with pytest.raises(ValueError, match="smaller than its border"):
        decode_image(tiny.getvalue(), 32, 2)


def test_objectnet_shards_know_their_names(tmp_path):
    root = labelled_shards(tmp_path, [(1, picture(1)), (0, picture(2))], ["banana", "chair"])
    test_set = open_imagenet_set("objectnet", root)
    assert test_set.class_names == ["banana", "chair"]
    assert (test_set.border, labels_of(test_set)) == (0, [1, 0])
    assert (
        test_set.count_warnings(np.array([1]))[1]
        == "objectnet: 1 of 2 classes without an image: class 0 (banana)"
    )
    with pytest.raises(DataError, match="ObjectNet's mapping files are not there"):
        open_imagenet_set("objectnet", root, names="imagenet")


def test_layouts_that_are_none_say_the_way_out(tmp_path):
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "ILSVRC2012_val_00000001.JPEG").write_bytes(picture(0, kind="JPEG"))
    with pytest.raises(DataError, match="its images lie flat: sort them into one folder per class"):
        open_imagenet_set("imagenet", tmp_path / "flat")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        DataError, match=r"no class folders and no \.tar shards; give imagenet_r as an ImageFolder"
    ):
        open_imagenet_set("imagenet_r", tmp_path / "empty")
    v2_folders(tmp_path / "v2", {5: 1})
    with pytest.raises(
        DataError, match=r"1 of 1 folders are no class of imagenet \(5\); its folders are wnids"
    ):
        open_imagenet_set("imagenet", tmp_path / "v2")
    with pytest.raises(DataError, match="no such file or folder"):
        open_imagenet_set("imagenet", tmp_path / "absent")
    with pytest.raises(DataError, match="there is no test set 'imagenet-r'; known are imagenet, imagenet_v2"):
        open_imagenet_set("imagenet-r", tmp_path)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("folder_to_objectnet_label.json", "{", "folder_to_objectnet_label.json: cannot be read as JSON"),
        ("folder_to_objectnet_label.json", "[]", r"an object \{\.\.\.\} is needed, this is list"),
        ("folder_to_objectnet_label.json", "{}", "no folder for 'Band Aid'"),
        ("objectnet_to_imagenet_1k.json", json.dumps({"Chair": "a throne"}), "no line 'a throne'"),
        ("objectnet_to_imagenet_1k.json", "{}", "maps no class"),
        ("pytorch_to_imagenet_2012_id.json", json.dumps({"1000": 5}), "'1000' is no label of ImageNet"),
    ],
)
def test_mapping_files_that_do_not_fit(tmp_path, file, text, message):
    root = objectnet(tmp_path, {"chair": 1})
    (root / "mappings" / file).write_text(text)
    with pytest.raises(DataError, match=message):
        open_imagenet_set("objectnet", root)

"""A user's test sets: both layouts, where class names come from, subsets of a reference, and what is refused."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from webdataset.writer import TarWriter

from empirical.arrays import load_test_set_arrays
from empirical.data import EMBEDDED, prepare_test_set
from empirical.errors import DataError
from empirical.evaluation_sets import load_test_set
from empirical.shards import write_test_set
from empirical.world import class_names, render_test_set, templates


def file_of(value: int, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def image_folder(root: Path, folders: dict[str, list[int]]) -> Path:
    """An ImageFolder whose images are flat grey of the given values."""
    for name, values in folders.items():
        (root / name).mkdir(parents=True)
        for i, value in enumerate(values):
            (root / name / f"{i}.png").write_bytes(file_of(value))
    return root


def labelled_shard(path: Path, samples: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file, TarWriter(file, encoder=False) as writer:
        for i, sample in enumerate(samples):
            writer.write({"__key__": f"s{i}", **sample})
    return path


def greys(test_set) -> list[int]:
    return test_set.images[:, 0, 0, 0].tolist()


def test_a_rendered_test_set_comes_back_bit_for_bit(tmp_path):
    made = render_test_set("rendition", 250, seed=1000)
    write_test_set(made, tmp_path / "rendition", samples_per_shard=100)
    back = load_test_set("rendition", tmp_path / "rendition", 32)
    assert np.array_equal(back.images, made.images)
    assert np.array_equal(back.labels, made.labels)
    assert (back.keys, back.class_names, back.templates) == (made.keys, class_names(), templates())
    assert back.account.skipped == {}
    assert back.account.samples_read == 250
    root = tmp_path / "rendition"
    assert (root / "test" / "nshards.txt").read_text() == "3\n"
    assert (root / "classnames.txt").read_text().splitlines() == class_names()
    assert "a photo of a {c}" in (root / "zeroshot_classification_templates.txt").read_text().splitlines()


def test_classes_come_from_folder_names(tmp_path):
    image_folder(tmp_path, {"star": [1, 2], "heart": [3], "moon": []})
    (tmp_path / ".cache").mkdir()
    (tmp_path / "readme.txt").write_text("hello")
    t = load_test_set("mine", tmp_path, 8)
    assert t.class_names == ["heart", "star"]
    assert t.labels.tolist() == [0, 1, 1]
    assert greys(t) == [3, 1, 2]
    assert t.keys == ["heart/0.png", "star/0.png", "star/1.png"]
    assert t.templates is None
    assert t.name == "mine"


def test_numbered_folders_are_sorted_as_numbers(tmp_path):
    image_folder(tmp_path, {str(i): [i] for i in range(12)})
    names = [f"class {chr(97 + i)}" for i in range(12)]
    (tmp_path / "classnames.txt").write_text("\n".join(names))
    t = load_test_set("v2", tmp_path, 8)
    assert greys(t) == list(range(12))
    assert t.class_names == names
    assert t.labels.tolist() == list(range(12))


@pytest.mark.parametrize("beside", [False, True])
def test_class_names_lie_in_or_beside_the_set(tmp_path, beside):
    root = image_folder(tmp_path / "set", {"n01": [1], "n02": [2]})
    ((tmp_path if beside else root) / "classnames.txt").write_text("tench\ngoldfish\n")
    assert load_test_set("imagenet", root, 8).class_names == ["tench", "goldfish"]


def test_a_set_follows_the_references_order_of_its_own_classes(tmp_path):
    image_folder(tmp_path, {"moon": [1], "anchor": [2, 3], "star": [4]})
    t = load_test_set("r", tmp_path, 8, class_names=["star", "heart", "moon", "anchor"])
    assert t.class_names == ["star", "moon", "anchor"]
    assert [t.class_names[k] for k in t.labels] == ["anchor", "anchor", "moon", "star"]


def test_numbered_folders_index_the_references_classes(tmp_path):
    image_folder(tmp_path, {"10": [1], "2": [2]})
    reference = [f"c{i}" for i in range(12)]
    t = load_test_set("v2", tmp_path, 8, class_names=reference)
    assert t.class_names == ["c2", "c10"]
    assert [t.class_names[k] for k in t.labels] == ["c2", "c10"]
    assert greys(t) == [2, 1]


def test_two_classes_may_share_a_name_where_labels_tell_them_apart(tmp_path):
    names = ["missile", "crane", "missile"]
    samples = [{"png": file_of(k), "cls": str(k).encode()} for k in (2, 0)]
    labelled_shard(tmp_path / "0.tar", samples)
    (tmp_path / "classnames.txt").write_text("\n".join(names))
    assert load_test_set("imagenet", tmp_path, 8).labels.tolist() == [2, 0]
    subset = load_test_set("imagenet", tmp_path, 8, class_names=names)
    assert (subset.class_names, subset.labels.tolist()) == (["missile", "missile"], [1, 0])
    once = load_test_set("imagenet", tmp_path, 8, class_names=["missile", "crane"])
    assert (once.class_names, once.labels.tolist()) == (["missile", "missile"], [1, 0])


def test_webdatasets_of_any_image_format_are_read(tmp_path):
    samples = [
        {"jpg": file_of(10, "JPEG"), "cls": b"1"},
        {"webp": file_of(20, "WEBP"), "cls": b" 0\n"},
        {"png": file_of(30), "cls": b"2"},
    ]
    labelled_shard(tmp_path / "0.tar", samples)
    (tmp_path / "classnames.txt").write_text("a\nb\nc\n")
    t = load_test_set("w", tmp_path, 8)
    assert t.labels.tolist() == [1, 0, 2]
    assert np.abs(np.array(greys(t)) - [10, 20, 30]).max() <= 2
    assert load_test_set("w", str(tmp_path / "{0..0}.tar"), 8).labels.tolist() == [1, 0, 2]


def test_references_classes_serve_a_webdataset_without_names(tmp_path):
    labelled_shard(
        tmp_path / "test" / "0.tar", [{"png": file_of(1), "cls": b"2"}, {"png": file_of(2), "cls": b"0"}]
    )
    t = load_test_set("w", tmp_path, 8, class_names=["a", "b", "c"])
    assert t.class_names == ["a", "c"]
    assert t.labels.tolist() == [1, 0]


def test_unreadable_images_are_counted(tmp_path):
    image_folder(tmp_path, {"star": [1], "heart": [2]})
    (tmp_path / "star" / "bad.jpg").write_bytes(file_of(1, "JPEG")[:100])
    t = load_test_set("mine", tmp_path, 8)
    assert len(t) == 2
    assert t.account.skipped == {"image is damaged or of an unknown format": 1}
    assert str(tmp_path / "star" / "bad.jpg") in t.account.examples[0]


def test_unreadable_samples_are_counted(tmp_path):
    samples = [
        {"png": file_of(1), "cls": b"0"},
        {"png": file_of(1)},
        {"png": file_of(1), "cls": b"tench"},
        {"png": file_of(1), "cls": b"-1"},
        {"cls": b"0"},
        {"png": file_of(1), "cls": b"\xff\xfe"},
    ]
    labelled_shard(tmp_path / "0.tar", samples)
    (tmp_path / "classnames.txt").write_text("a\nb\n")
    t = load_test_set("w", tmp_path, 8)
    assert len(t) == 1
    assert t.account.skipped == {
        "no label (.cls)": 1,
        "label is not a whole number": 2,
        "no image (.jpg, .jpeg, .png, .webp)": 1,
        "label is not UTF-8 text": 1,
    }


def make_bad(tmp_path: Path, case: str) -> Path:
    root = tmp_path / "set"
    if case == "missing":
        return root
    root.mkdir()
    if case == "no images":
        (root / "star").mkdir()
    elif case == "numbers":
        image_folder(root, {"0": [1], "1": [2]})
    elif case == "webdataset":
        labelled_shard(root / "0.tar", [{"png": file_of(1), "cls": b"0"}])
    elif case == "label":
        labelled_shard(root / "0.tar", [{"png": file_of(1), "cls": b"7"}])
        (root / "classnames.txt").write_text("a\nb\n")
    elif case == "count":
        image_folder(root, {"n1": [1], "n2": [2], "n3": [3]})
        (root / "classnames.txt").write_text("a\nb\n")
    elif case == "no names":
        image_folder(root, {"n1": [1]})
        (root / "classnames.txt").write_text("\n\n")
    elif case == "binary names":
        image_folder(root, {"n1": [1]})
        (root / "classnames.txt").write_bytes(b"\xff\xfe\x00")
    elif case == "template":
        image_folder(root, {"a": [1], "b": [1]})
        (root / "zeroshot_classification_templates.txt").write_text("a photo of a {c.__class__}\n")
    elif case == "all damaged":
        for name in "ab":
            (root / name).mkdir()
            (root / name / "x.png").write_bytes(b"not an image")
    elif case == "one class":
        image_folder(root, {"star": [1, 2]})
    elif case == "one label":
        labelled_shard(root / "0.tar", [{"png": file_of(1), "cls": b"0"}])
        (root / "classnames.txt").write_text("star\n")
    elif case == "wnids":
        image_folder(root, {"n01440764": [1], "n01443537": [2]})
    return root


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("missing", "no such file or folder"),
        ("no images", "neither class folders with images"),
        ("numbers", "class folders are numbers .* put a classnames.txt"),
        ("webdataset", "classes of this webdataset are unknown; put a classnames.txt"),
        ("label", "0.tar: s0: label 7 is outside 0..1"),
        ("count", "3 class folders but classnames.txt has 2 names"),
        ("no names", "classnames.txt is empty"),
        ("binary names", "not a readable UTF-8 text file"),
        ("template", "exactly once"),
        ("all damaged", "no readable labelled image: .*x.png"),
        ("one class", r"1 class \(star\); .* give the folder above the class folders"),
        ("one label", r"1 class \(star\)"),
        (
            "wnids",
            "class name n01440764 is a WordNet number.*put a classnames.txt into it, one name per line",
        ),
    ],
)
def test_bad_test_sets_are_refused_with_the_way_out(tmp_path, case, message):
    root = make_bad(tmp_path, case)
    with pytest.raises(DataError, match=message) as error:
        load_test_set("bad", root, 8)
    assert str(root) in str(error.value)


def test_classes_unknown_to_the_reference_are_kept_and_noted(tmp_path):
    image_folder(tmp_path, {"moon": [1], "star": [2], "zebra": [3], "anchor": [4]})
    t = load_test_set("r", tmp_path, 8, class_names=["star", "heart", "moon"])
    assert t.class_names == ["star", "moon", "anchor", "zebra"]
    assert greys(t) == [4, 1, 2, 3]
    assert [t.class_names[k] for k in t.labels] == ["anchor", "moon", "star", "zebra"]
    assert t.account.notes == ["2 of 4 classes are not among the reference's: anchor, zebra"]


def test_one_class_of_the_reference_is_too_few(tmp_path):
    image_folder(tmp_path, {"0": [1]})
    with pytest.raises(DataError, match=r"1 class \(star\)"):
        load_test_set("r", tmp_path, 8, class_names=["star", "heart"])
    labelled_shard(tmp_path / "shards" / "0.tar", [{"png": file_of(1), "cls": b"1"}])
    with pytest.raises(DataError, match=r"1 class \(heart\)"):
        load_test_set("r", tmp_path / "shards", 8, class_names=["star", "heart"])


def study_with_reference(tmp_path: Path) -> tuple[Path, str]:
    """A study whose reference has four classes, two of them with one name, read from wnid folders."""
    folders = {f"n0144076{i}": [i] for i in range(4)}
    root = image_folder(tmp_path / "imagenet", folders)
    (root / "classnames.txt").write_text("tench\nmissile\nstar\nmissile\n")
    study = tmp_path / "study"
    account = prepare_test_set(study, "imagenet", str(root), 8, 0, seed=3, reference="imagenet")
    assert account["class_names"] == ["tench", "missile", "star", "missile"]
    return study, "imagenet"


def test_numbered_folders_of_a_shift_take_the_references_names(tmp_path):
    study, reference = study_with_reference(tmp_path)
    v2 = image_folder(tmp_path / "v2", {"0": [10], "1": [11], "2": [12], "3": [13]})
    with pytest.raises(DataError, match="class folders are numbers"):
        prepare_test_set(study, "v2", str(v2), 8, 0)
    account = prepare_test_set(study, "v2", str(v2), 8, 0, reference=reference)
    t = load_test_set_arrays(study / "arrays" / "test-v2")
    assert account["class_names"] == t.class_names
    by_grey = {int(x): t.class_names[k] for x, k in zip(greys(t), t.labels, strict=True)}
    assert by_grey == {10: "tench", 11: "missile", 12: "star", 13: "missile"}
    assert len(set(t.labels.tolist())) == 4
    assert "note" not in account


def test_a_shift_of_some_classes_keeps_only_its_own(tmp_path):
    study, reference = study_with_reference(tmp_path)
    sketch = image_folder(tmp_path / "sketch", {"star": [1], "tench": [2]})
    account = prepare_test_set(study, "sketch", str(sketch), 8, 0, reference=reference)
    assert account["class_names"] == ["tench", "star"]
    account = prepare_test_set(
        study,
        "odd",
        str(image_folder(tmp_path / "odd", {"yak": [1], "star": [2]})),
        8,
        0,
        reference=reference,
    )
    assert account["class_names"] == ["star", "yak"]
    assert account["note"] == "1 of 2 classes are not among the reference's: yak"


def test_a_changed_reference_has_its_shifts_read_again(tmp_path):
    study, reference = study_with_reference(tmp_path)
    v2 = str(image_folder(tmp_path / "v2", {"0": [10], "2": [12]}))
    assert prepare_test_set(study, "v2", v2, 8, 0, reference=reference)["class_names"] == ["tench", "star"]
    other = image_folder(tmp_path / "imagenet2", {"goldfish": [0], "moon": [1], "sun": [2], "yak": [3]})
    prepare_test_set(study, reference, str(other), 8, 0)
    assert prepare_test_set(study, "v2", v2, 8, 0, reference=reference)["class_names"] == ["goldfish", "sun"]


def test_the_seed_of_a_rendered_test_set_decides_its_images(tmp_path):
    made = {}
    for seed in (0, 5, 5):
        prepare_test_set(tmp_path, "sketch", EMBEDDED, 32, 40, seed=seed)
        made[seed] = np.array(load_test_set_arrays(tmp_path / "arrays" / "test-sketch").images)
        assert np.array_equal(made[seed], render_test_set("sketch", 40, seed=seed).images)
    assert not np.array_equal(made[0], made[5])


def test_numbers_beyond_the_reference_are_refused(tmp_path):
    image_folder(tmp_path, {"0": [1], "5": [2]})
    with pytest.raises(DataError, match=r"5: the label is outside 0\.\.1"):
        load_test_set("r", tmp_path, 8, class_names=["star", "heart"])

"""ImageNet and its shifted test sets as they lie on disk, streamed image by image with the field's class subsets.

Use `open_imagenet_set` for `imagenet`, `imagenet_v2`, `imagenet_r`, `imagenet_a`, `imagenet_sketch` and `objectnet`, from
ImageFolders or clip-benchmark's webdatasets; `empirical.evaluation_sets.load_test_set` is for sets of your own. A set knows its
protocol: which classes its logits have as columns, and which columns stand for one class.

| set | folders | columns |
|---|---|---|
| imagenet, imagenet_sketch | wnids | 1000 ImageNet classes |
| imagenet_v2 | numbers, sorted as numbers: the labels | 1000 ImageNet classes |
| imagenet_r, imagenet_a | wnids | the 200 classes of the set |
| objectnet, its own names | its folders, by its mapping files | 113 names of ObjectNet |
| objectnet, ImageNet prompts | the same | the ImageNet classes they map to; the best of a class's columns is its logit |
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from empirical.arrays import ReadAccount
from empirical.errors import DataError
from empirical.imagenet_classes import (
    class_name,
    find_objectnet_mapping,
    imagenet_wnids,
    read_objectnet_mapping,
    subset_indices,
)
from empirical.published import TEST_SETS
from empirical.shards import (
    IMAGE_SUFFIXES,
    SHARD_SUFFIXES,
    UnreadableSample,
    class_label,
    expand_shards,
    member,
    read_samples,
)

Names = Literal["own", "imagenet"]
_PER_CLASS = {"imagenet": 50, "imagenet_v2": 10}
_MOST_NAMED = 5
OBJECTNET_BORDER = 2
"""Pixels of red border on every side of ObjectNet's images, cut off before anything else."""


@dataclass
class EvaluationSet:
    """A test set that is read when asked for: files and labels are known, no image is in memory.

    Attributes:
        name: one of `TEST_SETS`.
        class_names: prompt name of each column of its logits, shape (C,).
        class_of_column: class of each column, shape (C,), or None where columns are the classes.
        num_classes: K.
        imagenet_labels: for each class the ImageNet labels it stands for.
        border: pixels to cut off on every side.
        warnings: what is missing, in words.
        account: what was read and skipped so far.
    """

    name: str
    class_names: list[str]
    class_of_column: np.ndarray | None
    num_classes: int
    imagenet_labels: tuple[tuple[int, ...], ...]
    border: int
    files: list[tuple[Path, int, str]] = field(default_factory=list, repr=False)
    shards: list[str] = field(default_factory=list, repr=False)
    warnings: list[str] = field(default_factory=list)
    account: ReadAccount = field(default_factory=ReadAccount)

    def samples(self) -> Iterator[tuple[bytes, int, str]]:
        """(image file, label, id) of every image, in order; unreadable ones are counted in `account`."""
        for path, label, key in self.files:
            try:
                data = path.read_bytes()
            except OSError as error:
                self.account.skip("file cannot be opened", f"{path} ({error.strerror})")
                continue
            yield data, label, key
        for shard in self.shards:
            for sample in read_samples(shard, self.account):
                try:
                    yield *_labelled(sample, self.num_classes, shard), sample["__key__"]
                except UnreadableSample as reason:
                    self.account.skip(str(reason), f"{shard}: {sample['__key__']}")

    def class_logits(self, logits: np.ndarray) -> np.ndarray:
        """Logits of the classes (n, K) from those of the columns (n, C): the largest of each class's columns."""
        if self.class_of_column is None:
            return logits
        found = np.full((len(logits), self.num_classes), -np.inf, np.float32)
        for column, label in enumerate(self.class_of_column):
            found[:, label] = np.maximum(found[:, label], logits[:, column])
        return found

    def count_warnings(self, labels: np.ndarray) -> list[str]:
        """What is missing among the labels read: images, whole classes, classes with fewer images than the set has."""
        known = TEST_SETS[self.name]
        counts = Counter(labels.tolist())
        found = []
        if len(labels) != known.num_images:
            found.append(f"{self.name}: {len(labels):,} images, the published set has {known.num_images:,}")
        usual = _PER_CLASS.get(self.name, 1)
        few = [label for label in range(self.num_classes) if counts.get(label, 0) < usual]
        if few:
            named = ", ".join(
                f"{self._label_name(label)} ({counts.get(label, 0)} of {usual})"
                if usual > 1
                else self._label_name(label)
                for label in few[:_MOST_NAMED]
            )
            more = f", and {len(few) - _MOST_NAMED} more" if len(few) > _MOST_NAMED else ""
            words = "with too few images" if usual > 1 else "without an image"
            found.append(f"{self.name}: {len(few)} of {self.num_classes} classes {words}: {named}{more}")
        return found

    def _label_name(self, label: int) -> str:
        ids = self.imagenet_labels[label]
        if not ids:
            return f"class {label} ({self.class_names[label]})"
        if self.name == "objectnet":
            return f"class {label} ({' or '.join(class_name(i) for i in ids)})"
        return f"{imagenet_wnids()[ids[0]]} ({class_name(ids[0])})"


def open_imagenet_set(
    name: str, path: str | Path, names: Names = "own", border: int | None = None
) -> EvaluationSet:
    """One of ImageNet's test sets from an ImageFolder or a clip-benchmark webdataset; nothing is decoded yet.

    Args:
        name: a key of `empirical.published.TEST_SETS`.
        path: the folder of class folders (for ObjectNet also its root, with images/ and mappings/), or of shards (also in
            `test/`), or a pattern for `expand_shards`.
        names: for ObjectNet, its own 113 names or ImageNet's prompts; the latter needs the mapping files.
        border: pixels to cut off on every side; by default 2 for ObjectNet's own files and 0 otherwise.

    Raises DataError for a name that is not known, a folder that holds neither layout, folders that are no class of the set, or
    missing mapping files, with the way out.
    """
    if name not in TEST_SETS:
        raise DataError(f"there is no test set {name!r}; known are {', '.join(TEST_SETS)}")
    folder = Path(path)
    shards = _shards_of(path)
    if name == "objectnet":
        return _open_objectnet(folder, shards, names, border)
    labels = subset_indices(name)
    found = EvaluationSet(
        name,
        [class_name(i) for i in labels],
        None,
        len(labels),
        tuple((i,) for i in labels),
        border or 0,
        shards=shards,
    )
    if shards:
        return found
    wnids = imagenet_wnids(name) if name in ("imagenet_r", "imagenet_a") else imagenet_wnids()
    position = {wnid: i for i, wnid in enumerate(wnids)}
    folders = _class_folders(folder, name)
    if name == "imagenet_v2" and all(p.name.isascii() and p.name.isdigit() for p in folders):
        position = {p.name: int(p.name) for p in folders if int(p.name) < len(labels)}
    found.files, unknown = _labelled_files(folder, folders, position)
    if unknown:
        some = ", ".join(unknown[:_MOST_NAMED]) + (", ..." if len(unknown) > _MOST_NAMED else "")
        kind = "numbers from 0 to 999 or wnids" if name == "imagenet_v2" else "wnids"
        words = f"{len(unknown)} of {len(folders)} folders are no class of {name} ({some}); its folders are {kind}"
        if not found.files:
            raise DataError(f"{folder}: {words}")
        found.warnings.append(f"{name}: {words}; they are left out")
    return found


def _open_objectnet(folder: Path, shards: list[str], names: Names, border: int | None) -> EvaluationSet:
    root = folder.parent if folder.is_file() else folder
    try:
        mapping = read_objectnet_mapping(find_objectnet_mapping(root))
    except DataError:
        listed = root / "classnames.txt"
        if not shards or names == "imagenet" or not listed.is_file():
            raise
        own = [line.strip() for line in listed.read_text(encoding="utf-8").splitlines() if line.strip()]
        return EvaluationSet("objectnet", own, None, len(own), ((),) * len(own), border or 0, shards=shards)
    if names == "imagenet":
        ids = sorted({i for labels in mapping.imagenet_labels for i in labels})
        owner = {i: k for k, labels in enumerate(mapping.imagenet_labels) for i in labels}
        columns, class_of = [class_name(i) for i in ids], np.array([owner[i] for i in ids])
    else:
        columns, class_of = list(mapping.names), None
    cut = border if border is not None else (0 if shards else OBJECTNET_BORDER)
    found = EvaluationSet(
        "objectnet", columns, class_of, len(mapping.folders), mapping.imagenet_labels, cut, shards=shards
    )
    if not shards:
        images = next(
            (p for p in (folder / "images", folder / "objectnet-1.0" / "images") if p.is_dir()), folder
        )
        folders = _class_folders(images, "objectnet")
        found.files, unknown = _labelled_files(
            images, folders, {name: i for i, name in enumerate(mapping.folders)}
        )
        if not found.files:
            raise DataError(
                f"{images}: no folder is one of the {len(mapping.folders)} that ObjectNet shares with ImageNet "
                f"({', '.join(mapping.folders[:3])}, ...)"
            )
        if unknown:
            found.account.notes.append(
                f"objectnet: {len(unknown)} of {len(folders)} folders are no ImageNet class and left out"
            )
    return found


def _shards_of(path: str | Path) -> list[str]:
    folder = Path(path)
    for place in (folder, folder / "test"):
        if place.is_dir() and any(f.name.endswith(SHARD_SUFFIXES) for f in place.iterdir()):
            return expand_shards(str(place))
    return [] if folder.is_dir() else expand_shards(str(path))


def _class_folders(folder: Path, name: str) -> list[Path]:
    folders = [p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")]
    if not folders:
        flat = any(p.suffix.lower().lstrip(".") in IMAGE_SUFFIXES for p in folder.iterdir())
        raise DataError(
            f"{folder}: no class folders"
            + (
                "; its images lie flat: sort them into one folder per class (ImageNet's validation images: by their wnid)"
                if flat
                else f" and no .tar shards; give {name} as an ImageFolder or a clip-benchmark webdataset"
            )
        )
    return folders


def _labelled_files(
    root: Path, folders: Sequence[Path], label_of: dict[str, int]
) -> tuple[list[tuple[Path, int, str]], list[str]]:
    """Files in the order of labels, then names; and the folders that are no class."""
    suffixes = tuple("." + s for s in IMAGE_SUFFIXES)
    known = sorted((label_of[p.name], p) for p in folders if p.name in label_of)
    files = [
        (path, label, str(path.relative_to(root)))
        for label, place in known
        for path in sorted(place.rglob("*"))
        if path.suffix.lower() in suffixes and path.is_file()
    ]
    return files, sorted(p.name for p in folders if p.name not in label_of)


def _labelled(sample: dict, num_classes: int, shard: str) -> tuple[bytes, int]:
    image = member(sample, IMAGE_SUFFIXES)
    if image is None:
        raise UnreadableSample(f"no image (.{', .'.join(IMAGE_SUFFIXES)})")
    return image, class_label(sample, num_classes, shard, "the classes of this set")

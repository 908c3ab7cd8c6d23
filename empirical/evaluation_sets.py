"""A user's own test sets; use `load_test_set` for an ImageFolder or a clip-benchmark webdataset.

Class names come from classnames.txt inside or beside the set, else from the folder names. When the names of a reference's
classes are given, numbered folders and labels without names of their own take them by number, and the set keeps the classes
of which it has images, in the reference's order (ImageNet-R: 200 of ImageNet's 1000).
"""

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from empirical.arrays import ReadAccount, TestSet
from empirical.errors import DataError
from empirical.shards import (
    IMAGE_SUFFIXES,
    SHARD_SUFFIXES,
    UnreadableSample,
    class_label,
    decode_image,
    expand_shards,
    read_samples,
    sample_image,
)

__all__ = ["TestSet", "load_test_set"]

_CLASS_NAMES = "classnames.txt"
_TEMPLATES = ("zeroshot_classification_templates.txt", "templates.txt")
_WNID = re.compile(r"n\d{8}")  # ImageNet's folder names: numbers of WordNet synsets
_MOST_NAMED = 5


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable UTF-8 text file ({error})") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _find(folder: Path, names: Sequence[str]) -> Path | None:
    """The first of the files inside the folder or beside it."""
    return next((p for place in (folder, folder.parent) for n in names if (p := place / n).is_file()), None)


def _read_class_names(folder: Path) -> list[str] | None:
    path = _find(folder, (_CLASS_NAMES,))
    if path is None:
        return None
    names = _lines(path)
    if not names:
        raise DataError(f"{path} is empty; write one class name per line, in the order of the labels")
    return names


def _read_templates(folder: Path) -> list[str] | None:
    path = _find(folder, _TEMPLATES)
    if path is None:
        return None
    templates = [line.replace("{c}", "{}") for line in _lines(path)]
    for template in templates:
        if template.count("{}") != 1 or template.count("{") != 1 or template.count("}") != 1:
            raise DataError(
                f"{path}: template {template!r} must hold {{}} or {{c}} exactly once, where the class name goes"
            )
    return templates or None


def _class_folders(folder: Path) -> list[Path]:
    """The class folders in label order: as numbers when all are numbers (10 after 9), else by name."""
    folders = [p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")]
    if folders and all(p.name.isascii() and p.name.isdigit() for p in folders):
        return sorted(folders, key=lambda p: int(p.name))
    return sorted(folders, key=lambda p: p.name)


def _image_files(folder: Path) -> list[Path]:
    suffixes = tuple("." + s for s in IMAGE_SUFFIXES)
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in suffixes and p.is_file())


def _folder_class_names(folder: Path, folders: list[Path], reference: Sequence[str] | None) -> list[str]:
    """The name of each class folder; numbered folders index classnames.txt, or else the reference's classes."""
    listed = _read_class_names(folder)
    names = [p.name for p in folders]
    numbered = all(n.isascii() and n.isdigit() for n in names)
    if listed is not None and set(names) <= set(listed):
        return names
    if numbered:
        known, origin = (listed, _CLASS_NAMES) if listed is not None else (reference, "the reference set")
        if known is None:
            raise DataError(
                f"{folder}: class folders are numbers ({names[0]}, ...) and their classes are unknown; "
                f"put a {_CLASS_NAMES} into it (one class name per line, in the order of the numbers)"
            )
        if listed is not None and len(listed) == len(names):
            return list(listed)  # whatever the numbers start from
        beyond = next((n for n in names if int(n) >= len(known)), None)
        if beyond is not None:
            raise DataError(
                f"{folder}/{beyond}: the label is outside 0..{len(known) - 1}, the classes of {origin}"
            )
        return [known[int(n)] for n in names]
    if listed is not None:
        if len(listed) != len(names):
            raise DataError(
                f"{folder}: {len(names)} class folders but {_CLASS_NAMES} has {len(listed)} names; "
                "give one line per folder, in the folders' sorted order, or name the folders after the classes"
            )
        return listed
    return names


def _from_folders(
    folder: Path, image_size: int, reference: Sequence[str] | None, account: ReadAccount
) -> tuple[list[str], Iterator[tuple[np.ndarray, int, str]]]:
    folders = [p for p in _class_folders(folder) if _image_files(p)]
    names = _folder_class_names(folder, folders, reference)

    def images() -> Iterator[tuple[np.ndarray, int, str]]:
        for label, class_folder in enumerate(folders):
            for path in _image_files(class_folder):
                try:
                    yield decode_image(path.read_bytes(), image_size), label, str(path.relative_to(folder))
                except UnreadableSample as reason:
                    account.skip(str(reason), str(path))
                except OSError as error:
                    account.skip("file cannot be opened", f"{path} ({error.strerror})")

    return names, images()


def _from_shards(
    shards: list[str], folder: Path, image_size: int, reference: Sequence[str] | None, account: ReadAccount
) -> tuple[list[str], Iterator[tuple[np.ndarray, int, str]]]:
    names = _read_class_names(folder) or (list(reference) if reference is not None else None)
    if names is None:
        raise DataError(
            f"{folder}: the classes of this webdataset are unknown; put a {_CLASS_NAMES} into it "
            "(one class name per line, line k naming label k, counted from 0)"
        )

    known = f"the classes known from {_CLASS_NAMES}; give every class a line"

    def images() -> Iterator[tuple[np.ndarray, int, str]]:
        for path in shards:
            for sample in read_samples(path, account):
                try:
                    label = class_label(sample, len(names), path, known)
                    image = sample_image(sample, image_size)
                except UnreadableSample as reason:
                    account.skip(str(reason), f"{path}: {sample['__key__']}")
                    continue
                yield image, label, sample["__key__"]

    return names, images()


def _check_classes(names: list[str], path: str | Path) -> None:
    if len(names) < 2:
        raise DataError(
            f"{path}: {len(names)} class ({', '.join(names)}); accuracy means something from two classes on: add the others' "
            "images, or give the folder above the class folders"
        )
    wnid = next((name for name in names if _WNID.fullmatch(name)), None)
    if wnid is not None:
        raise DataError(
            f"{path}: the class name {wnid} is a WordNet number, and no model knows what a photo of a {wnid} is; put a "
            f"{_CLASS_NAMES} into it, one name per line in the order of the sorted folders (for all of ImageNet: "
            "open_clip.IMAGENET_CLASSNAMES)"
        )


def _follow_reference(
    names: list[str], labels: np.ndarray, reference: Sequence[str], account: ReadAccount
) -> tuple[list[str], np.ndarray]:
    """The classes that have images, in the reference's order, and labels to match; unknown ones come last and are noted."""
    rank: dict[str, int] = {}
    for name in reference:
        rank.setdefault(name, len(rank))
    unknown = [n for n in names if n not in rank]
    if unknown:
        more = ", ..." if len(unknown) > _MOST_NAMED else ""
        account.notes.append(
            f"{len(unknown)} of {len(names)} classes are not among the reference's: "
            f"{', '.join(unknown[:_MOST_NAMED])}{more}"
        )
    # Labels tell classes apart, so a name may occur twice (ImageNet: missile); the sort keeps those in label order.
    kept = sorted(np.unique(labels).tolist(), key=lambda label: rank.get(names[label], len(rank)))
    position = np.full(len(names), -1, np.int64)
    position[kept] = np.arange(len(kept))
    return [names[label] for label in kept], position[labels]


def load_test_set(
    name: str,
    path: str | Path,
    image_size: int,
    class_names: Sequence[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> TestSet:
    """A labelled test set of images uint8 (n, 3, image_size, image_size) from an ImageFolder or webdataset shards.

    Args: path, a folder of class folders, a folder of shards (also in its `test/`), or a pattern for `expand_shards`;
    class_names, the classes of a reference set: they name numbered classes without names, and the set keeps those of its
    classes that have images, in the reference's order; classes unknown to the reference come last and are noted in `account`.
    Shorter sides are resized (bicubic) and centres cropped. Unreadable images are skipped and counted in `account`.
    Raises: DataError when the path holds no images, or there are fewer than two classes, or their names are unknown or mere
    WordNet numbers, with the way out.
    """
    folder, account = Path(path), ReadAccount()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # refused by decode_image's own check
        places = [
            p
            for p in (folder, folder / "test")
            if p.is_dir() and any(f.name.endswith(SHARD_SUFFIXES) for f in p.iterdir())
        ]
        if places:
            names, stream = _from_shards(
                expand_shards(str(places[0])), folder, image_size, class_names, account
            )
        elif folder.is_dir():
            if not any(_image_files(p) for p in _class_folders(folder)):
                raise DataError(
                    f"{folder}: neither class folders with images (.{', .'.join(IMAGE_SUFFIXES)}) nor .tar shards; "
                    "give an ImageFolder (one folder per class) or a folder of webdataset shards"
                )
            names, stream = _from_folders(folder, image_size, class_names, account)
        else:
            shards = expand_shards(str(path))
            names, stream = _from_shards(shards, Path(shards[0]).parent, image_size, class_names, account)
        _check_classes(names, folder)
        images, labels, keys = [], [], []
        for image, label, key in stream:
            images.append(image)
            labels.append(label)
            keys.append(key)
            if progress is not None and len(images) % 1000 == 0:
                progress(len(images))
    account.samples_read = len(images)
    if not images:
        raise DataError(f"{path}: no readable labelled image: {account.summary()}")
    label_array = np.array(labels, np.int64)
    if class_names is not None:
        names, label_array = _follow_reference(names, label_array, class_names, account)
        _check_classes(names, folder)
    return TestSet(name, np.stack(images), label_array, keys, names, _read_templates(folder), account)

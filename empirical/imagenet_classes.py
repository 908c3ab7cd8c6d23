"""ImageNet's classes and the class subsets of its shifted test sets, by WordNet number (wnid).

Use `imagenet_wnids` for the 1000 of the reference in label order, `SUBSETS` for the 200 of ImageNet-R and -A, `class_name` for
OpenAI's prompt names, and `read_objectnet_mapping` for ObjectNet's own mapping files. The lists of wnids are those that timm
ships; names are open_clip's `IMAGENET_CLASSNAMES`.
"""

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from empirical.errors import DataError

_FILES = {
    "imagenet": "imagenet_synsets.txt",
    "imagenet_r": "imagenet_r_synsets.txt",
    "imagenet_a": "imagenet_a_synsets.txt",
}
SUBSETS = ("imagenet_r", "imagenet_a")
"""Test sets with a list of their own of 200 of ImageNet's classes."""

_MAPPING_FILES = (
    "folder_to_objectnet_label.json", "objectnet_to_imagenet_1k.json", "pytorch_to_imagenet_2012_id.json",
    "imagenet_to_label_2012_v2",
)  # fmt: skip


@cache
def imagenet_wnids(name: str = "imagenet") -> tuple[str, ...]:
    """Wnids of `imagenet` (1000), `imagenet_r` or `imagenet_a` (200 each), sorted: in the order of their labels."""
    package = importlib.util.find_spec("timm")
    assert package is not None
    assert package.submodule_search_locations is not None
    path = Path(package.submodule_search_locations[0]) / "data" / "_info" / _FILES[name]
    return tuple(sorted(path.read_text(encoding="utf-8").split()))


def class_name(index: int) -> str:
    """OpenAI's prompt name of ImageNet's class with this label."""
    from open_clip import IMAGENET_CLASSNAMES

    return IMAGENET_CLASSNAMES[index]


def subset_indices(name: str) -> tuple[int, ...]:
    """ImageNet labels of the classes of a test set, in the order of its own labels (all 1000 unless it is a subset)."""
    position = {wnid: i for i, wnid in enumerate(imagenet_wnids())}
    return tuple(position[wnid] for wnid in imagenet_wnids(name if name in SUBSETS else "imagenet"))


@dataclass(frozen=True)
class ObjectNetMapping:
    """ObjectNet's 113 classes that ImageNet has: folder, name, and the labels of ImageNet's classes each stands for.

    All three are in the order of the sorted folder names, which is the order of the labels.
    """

    folders: tuple[str, ...]
    names: tuple[str, ...]
    imagenet_labels: tuple[tuple[int, ...], ...]


def find_objectnet_mapping(root: Path) -> Path:
    """The folder of ObjectNet's mapping files: `mappings/` inside or beside `root`, or `root` itself.

    Raises DataError where they are not found, with where they come from.
    """
    for folder in (root / "mappings", root, root.parent / "mappings", root.parent.parent / "mappings"):
        if all((folder / name).is_file() for name in _MAPPING_FILES):
            return folder
    raise DataError(
        f"{root}: ObjectNet's mapping files are not there ({', '.join(_MAPPING_FILES)}); they come with its archive, "
        "in mappings/: keep that folder beside images/"
    )


def read_objectnet_mapping(folder: str | Path) -> ObjectNetMapping:
    """ObjectNet's classes from its own mapping files; see `find_objectnet_mapping`.

    Raises DataError for a file that cannot be read or does not fit the others, naming file and key.
    """
    folder = Path(folder)
    folder_names, to_imagenet, to_2012 = (_json_object(folder / name) for name in _MAPPING_FILES[:3])
    label_file = folder / _MAPPING_FILES[3]
    try:
        lines = [line.strip() for line in label_file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{label_file}: cannot be read as UTF-8 text ({error})") from error
    of_2012 = {str(value): key for key, value in to_2012.items()}
    label_of: dict[str, int] = {}
    for number, line in enumerate(lines):
        if line and str(number) in of_2012:
            label_of[line] = _label(of_2012[str(number)], folder / _MAPPING_FILES[2])
    folder_of = {str(name): str(key) for key, name in folder_names.items()}
    found = []
    for name, text in to_imagenet.items():
        if name not in folder_of:
            raise DataError(
                f"{folder / _MAPPING_FILES[0]}: no folder for {name!r}, which {_MAPPING_FILES[1]} maps"
            )
        labels = []
        for imagenet_name in str(text).split("; "):
            if imagenet_name not in label_of:
                raise DataError(
                    f"{label_file}: no line {imagenet_name!r}, to which {_MAPPING_FILES[1]} maps {name!r}"
                )
            labels.append(label_of[imagenet_name])
        found.append((folder_of[name], name.lower(), tuple(sorted(labels))))
    if not found:
        raise DataError(f"{folder / _MAPPING_FILES[1]}: maps no class")
    found.sort()
    folders, names, labels = zip(*found, strict=True)
    return ObjectNetMapping(folders, names, labels)


def _json_object(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(value, dict):
        raise DataError(f"{path}: an object {{...}} is needed, this is {type(value).__name__}")
    return value


def _label(text: str, path: Path) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 5 and int(text) < 1000):
        raise DataError(f"{path}: {text!r} is no label of ImageNet (0 to 999)")
    return int(text)

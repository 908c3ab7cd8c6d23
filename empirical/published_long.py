"""Results that come one row per model and data set: clip-benchmark's and DataComp's; `empirical.published_formats` uses them.

`read_json_objects` reads JSON (one object or a list) and JSON lines; `from_clip_benchmark` and `from_datacomp` turn objects
into rows with one accuracy per test set. Both know data sets by their usual names, with or without a `wds/` prefix.
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from empirical.errors import DataError

MODEL_KEYS = frozenset({"dataset", "model", "pretrained", "metrics"})
TASK_KEYS = frozenset({"key", "metrics"})
DATASETS: dict[str, str] = {
    "imagenet1k": "imagenet",
    "imagenet": "imagenet",
    "imagenetv2": "imagenet_v2",
    "imagenet-v2": "imagenet_v2",
    "imagenet-r": "imagenet_r",
    "imagenet-sketch": "imagenet_sketch",
    "imagenet-a": "imagenet_a",
    "objectnet": "objectnet",
}
"""Data set, in small letters with '-' for '_', -> role."""

_TASK = "zeroshot_classification"
_LARGEST = 1 << 28  # bytes; a results file is a few MB

Objects = list[tuple[str, dict[str, Any]]]


def read_json_objects(path: str | Path) -> Objects:
    """(place, object) of every object in a JSON or JSON-lines file; the place is "line 3" or "entry 3", for messages.

    Raises DataError for a file that cannot be read, is not JSON, holds something other than objects, or holds none.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _LARGEST:
            raise DataError(f"{path}: larger than {_LARGEST >> 20} MB, which no table of results is")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    try:
        whole = json.loads(text)
        entries = whole if isinstance(whole, list) else [whole]
        found = [(f"entry {i + 1}", entry) for i, entry in enumerate(entries)]
    except (ValueError, RecursionError):
        found = []
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                try:
                    found.append((f"line {number}", json.loads(line)))
                except (ValueError, RecursionError) as error:
                    raise DataError(f"{path}, line {number}: not JSON ({error})") from None
    for place, entry in found:
        if not isinstance(entry, dict):
            raise DataError(f"{path}, {place}: an object {{...}} is needed, this is {type(entry).__name__}")
    if not found:
        raise DataError(f"{path}: holds no results")
    return found


def from_clip_benchmark(objects: Objects, path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Rows of clip-benchmark's results: one per model and pretrained tag, and remarks on what was left aside.

    Other tasks than zero-shot classification, other languages than English and data sets that are not known are counted and
    left. Raises DataError for a missing key or an accuracy outside [0, 1], with file, place and value.
    """
    cells: dict[tuple[str, str], dict[str, float]] = {}
    aside: dict[str, int] = {}
    notes: list[str] = []
    for place, entry in objects:
        where = f"{path}, {place}"
        task, language = entry.get("task", _TASK), entry.get("language", "en")
        role = known_role(_text(entry, "dataset", where))
        if task not in (_TASK, ""):
            _count(aside, f"of the task {task}")
        elif language not in ("en", ""):
            _count(aside, f"in the language {language}")
        elif role is None:
            _count(aside, "on other data sets")
        else:
            model = (_text(entry, "model", where), str(entry.get("pretrained", "")))
            _enter(cells, model, role, _accuracy(entry, where), where, notes)
    notes += [f"{path}: {count} results {reason} left aside" for reason, count in aside.items()]
    return _frame(cells, path), notes


def from_datacomp(objects: Objects, path: Path, name: str = "") -> tuple[pd.DataFrame, list[str]]:
    """The row of one model from DataComp's results, a line per task; its name is `name` or the folder's.

    Tasks that are not known test sets are counted and left. Raises as `from_clip_benchmark`.
    """
    cells: dict[tuple[str, str], dict[str, float]] = {}
    other, notes = 0, []
    folder = path.resolve().parent.name
    generic = path.stem in ("eval_results", "results")
    model = name or (folder if generic else path.stem) or "DataComp"
    for place, entry in objects:
        where = f"{path}, {place}"
        role = known_role(_text(entry, "key", where))
        if role is None:
            other += 1
        else:
            _enter(cells, (model, model), role, _accuracy(entry, where), where, notes)
    if other:
        notes.append(f"{path}: {other} results of other tasks left aside")
    return _frame(cells, path), notes


def known_role(dataset: str) -> str | None:
    """The role of a data set's name (wds/imagenet1k, imagenet-r, imagenet_sketch, ...), or None."""
    return DATASETS.get(re.sub(r"^wds[/_-]", "", dataset.strip().lower()).replace("_", "-"))


def _text(entry: Mapping[str, Any], key: str, where: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: {key!r} must be a name, this is {_shown(value)}")
    return value.strip()


def _accuracy(entry: Mapping[str, Any], where: str) -> float | None:
    """metrics.acc1 as a fraction; None where it is there but empty."""
    metrics = entry.get("metrics")
    if not isinstance(metrics, Mapping) or "acc1" not in metrics:
        raise DataError(f"{where}: no metrics.acc1")
    value = metrics["acc1"]
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise DataError(f"{where}: metrics.acc1 must be a number, this is {_shown(value)}")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise DataError(f"{where}: metrics.acc1 must be a number, this is {_shown(value)}") from None
    if math.isnan(number) or not 0 <= number <= 1:
        raise DataError(f"{where}: accuracy {_shown(value)} lies outside [0, 1]")
    return number


def _enter(
    cells: dict[tuple[str, str], dict[str, float]],
    model: tuple[str, str],
    role: str,
    value: float | None,
    where: str,
    notes: list[str],
) -> None:
    if value is None:
        notes.append(f"{where}: {' '.join(model)} has an empty accuracy on {role}")
        return
    row = cells.setdefault(model, {})
    if role in row and row[role] != value:
        notes.append(
            f"{where}: {' '.join(model)} has a second accuracy on {role}, {value:.4f} after {row[role]:.4f}; the first is kept"
        )
    row.setdefault(role, value)


def _frame(cells: Mapping[tuple[str, str], Mapping[str, float]], path: Path) -> pd.DataFrame:
    if not cells:
        raise DataError(
            f"{path}: no accuracy on a known test set; known are {', '.join(DATASETS)} (with or without wds/)"
        )
    return pd.DataFrame(
        [{"model": model, "pretrained": pretrained, **row} for (model, pretrained), row in cells.items()]
    )


def _count(counts: dict[str, int], reason: str) -> None:
    counts[reason] = counts.get(reason, 0) + 1


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

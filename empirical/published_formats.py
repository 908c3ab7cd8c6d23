"""Published results in the formats they come in, as one table.

Use `read_results` on one file or several; the format of each is told by its content:

| format | file |
|---|---|
| open_clip | CSV, one row per model, fractions (`docs/openclip_results.csv`), or any such table with a column mapping |
| imagenet_testbed | CSV, one row per model, percent (`robustness_top1s.csv`); families from names or a table |
| clip_benchmark | CSV, JSON or JSON lines, one row per model, dataset and task (`empirical.published_long`) |
| datacomp | JSON lines, one per task of one model: `eval_results.jsonl`, or a folder of such (`empirical.published_long`) |
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from empirical.csv_cells import read_csv_cells
from empirical.errors import DataError
from empirical.published import KNOWN_SETS, PublishedTable, assemble, read_rows
from empirical.published_long import (
    MODEL_KEYS,
    TASK_KEYS,
    from_clip_benchmark,
    from_datacomp,
    read_json_objects,
)
from empirical.testbed_families import TESTBED, model_family

FORMATS = ("auto", "open_clip", "imagenet_testbed", "clip_benchmark", "datacomp")
_TESTBED_COLUMNS = {"model": "model", "pretrained": "model", "imagenet": "val"} | {
    "imagenet_v2": "imagenetv2-matched-frequency-format-val",
    "imagenet_r": "imagenet-r",
    "imagenet_sketch": "imagenet-sketch",
    "imagenet_a": "imagenet-a",
    "objectnet": "objectnet-1.0-beta",
}
_SUFFIXES = (".csv", ".json", ".jsonl")


def read_results(
    paths: Sequence[str | Path],
    columns: Mapping[str, str] | None = None,
    percent: bool = False,
    format: str = "auto",
    families: Mapping[str, str] | None = None,
) -> PublishedTable:
    """One table of all results in files and folders (a folder gives its .csv, .json and .jsonl files, subfolders too).

    Args:
        paths: files or folders; `NAME=PATH` names the model of a DataComp file, which does not say which model it is about
            (otherwise the folder it lies in does).
        columns: role -> column of open_clip-like tables, see `read_published`.
        percent: whether open_clip-like tables hold percentages, see `read_published`.
        format: one of `FORMATS` for every file, or "auto".
        families: model -> family for imagenet-testbed's table; by default names tell (`model_family`).

    Rows of imagenet-testbed have `pretrained` "imagenet-testbed: FAMILY". Raises DataError naming file, row or key.
    """
    if format not in FORMATS:
        raise DataError(f"there is no format {format!r}; the formats are {', '.join(FORMATS)}")
    tables: list[pd.DataFrame] = []
    long: list[pd.DataFrame] = []
    notes: list[str] = []
    for name, path in [found for each in paths for found in _files(each)]:
        kind = detect_format(path) if format == "auto" else format
        rows, remarks = _read_one(path, kind, name, columns, percent, families)
        (long if kind in ("clip_benchmark", "datacomp") else tables).append(rows)
        notes += remarks
    if long:
        tables.append(_one_row_per_model(pd.concat(long, ignore_index=True), notes))
    rows = pd.concat(tables, ignore_index=True)
    present = [role for role in KNOWN_SETS if role in rows]
    table = assemble(rows[["model", "pretrained", *present]], ", ".join(map(str, paths)), notes)
    alone = {tag for part in long for tag in part["pretrained"]} - {
        tag for part in tables[: len(tables) - bool(long)] for tag in part["pretrained"]
    }
    return replace(table, evaluated=tuple(tag for tag in pd.unique(table.rows["pretrained"]) if tag in alone))


def _one_row_per_model(rows: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Results of a model that lie in several files as one row; a second, different accuracy is noted and left."""
    keys = ["model", "pretrained"]
    groups = rows.groupby(keys, sort=False, dropna=False)
    for keys_of, different in (groups.nunique() > 1).iterrows():
        name = " ".join(keys_of) if isinstance(keys_of, tuple) else str(keys_of)
        notes += [
            f"{name} has several accuracies on {role} in different files; the first is kept"
            for role in different.index[different]
        ]
    return groups.first().reset_index()


def detect_format(path: str | Path) -> str:
    """The format of one file, by its suffix and the names in it. Raises DataError for a file that cannot be read."""
    path = Path(path)
    if path.suffix.lower() in (".json", ".jsonl"):
        first = next(iter(read_json_objects(path)))[1]
        for kind, keys in (("clip_benchmark", MODEL_KEYS), ("datacomp", TASK_KEYS)):
            if keys <= set(first):
                return kind
        raise DataError(
            f"{path}: neither clip-benchmark's results ({', '.join(sorted(MODEL_KEYS))}) nor DataComp's "
            f"({', '.join(sorted(TASK_KEYS))}); its first object has {', '.join(map(str, first)) or 'no key'}"
        )
    header = set(read_csv_cells(path).columns)
    if {"dataset", "model", "acc1"} <= header:
        return "clip_benchmark"
    if {"model", "val", _TESTBED_COLUMNS["imagenet_v2"]} <= header:
        return "imagenet_testbed"
    return "open_clip"


def _files(each: str | Path) -> list[tuple[str, Path]]:
    """(name of the model or "", path) of every file that an argument names."""
    text, name = str(each), ""
    if not Path(text).exists() and "=" in text:
        name, _, text = text.partition("=")
    path = Path(text)
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in _SUFFIXES and p.is_file())
        if not found:
            raise DataError(f"{path}: the folder holds no .csv, .json or .jsonl file")
        return [(name, p) for p in found]
    if not path.is_file():
        raise DataError(f"{path}: no such file or folder")
    return [(name, path)]


def _read_one(
    path: Path,
    kind: str,
    name: str,
    columns: Mapping[str, str] | None,
    percent: bool,
    families: Mapping[str, str] | None,
) -> tuple[pd.DataFrame, list[str]]:
    if kind == "imagenet_testbed":
        return _from_testbed(path, families), []
    if kind == "open_clip":
        return read_rows(path, columns, percent), []
    if kind == "datacomp":
        return from_datacomp(read_json_objects(path), path, name)
    if path.suffix.lower() in (".json", ".jsonl"):
        return from_clip_benchmark(read_json_objects(path), path)
    table = read_csv_cells(path)
    missing = [column for column in ("dataset", "model", "acc1") if column not in table.columns]
    if missing:
        raise DataError(
            f"{path}: no column {missing[0]!r}, which clip-benchmark's CSV has; the columns are "
            f"{', '.join(map(str, table.columns))}"
        )
    objects = [
        (f"row {line}", {**row, "metrics": {"acc1": row["acc1"].strip()}})
        for line, row in zip(table.index, table.to_dict(orient="records"), strict=True)
    ]
    return from_clip_benchmark(objects, path)


def _from_testbed(path: Path, families: Mapping[str, str] | None) -> pd.DataFrame:
    """imagenet-testbed's rows in percent; a model that the families table lacks counts by its name."""
    header = set(read_csv_cells(path).columns)
    needed = ("model", "pretrained", "imagenet")
    columns = {role: name for role, name in _TESTBED_COLUMNS.items() if name in header or role in needed}
    rows = read_rows(path, columns, percent=True)
    known = families or {}
    rows["pretrained"] = [TESTBED + known.get(model, model_family(model)) for model in rows["model"]]
    return rows

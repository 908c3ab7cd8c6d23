"""A user's own single-source accuracies, read into the tidy form that fits and predictions take.

Use `read_single_source`. The file is a CSV with the columns source, n, test_set, classes, images and accuracy, and a seed where
models were trained more than once; a study's own `accuracies.csv` is understood as well (its single-source rows).
"""

from pathlib import Path

import numpy as np
import pandas as pd

from empirical.csv_cells import read_csv_cells
from empirical.errors import DataError
from empirical.tables import ACCURACY_COLUMNS
from theory.counts import clopper_pearson
from theory.links import dprime, probit

COLUMNS = ("source", "n", "test_set", "classes", "images", "accuracy")
_STUDY = {
    "source": "sources", "n": "n_train", "test_set": "test_set", "classes": "num_classes", "images": "num_images",
    "accuracy": "accuracy", "seed": "seed",
}  # fmt: skip


def read_single_source(path: str | Path, percent: bool = False) -> pd.DataFrame:
    """Tidy accuracies (kind "single", columns of `accuracies.csv`) of models trained on one source each.

    n is the number of training samples (or of samples seen: whatever sizes mixtures are compared at), classes and images those
    of the test set, accuracy a fraction (or in percent, with `percent`). num_correct = round(accuracy images). Without a seed
    column, rows that repeat source, n and test set count as further seeds, in their order. Column names may be in capitals.

    Raises DataError naming file, row (its line in the file) and value: a missing column, no row, a number out of range, a name
    with '+' or ':' (they write mixtures), a test set whose classes differ between rows, a model that is there twice, seeds of a
    source and size of which some lack a test set that others have, or fractions that are called percent.
    """
    table = read_csv_cells(Path(path)).rename(columns=lambda name: str(name).strip().lower())
    doubled = table.columns[table.columns.duplicated()]
    if len(doubled):
        raise DataError(f"{path}: two columns are called {doubled[0]!r}")
    if {"kind", "sources", "n_train"} <= set(table.columns):
        absent = [name for name in _STUDY.values() if name not in table.columns]
        if absent:
            raise DataError(f"{path}: no column {absent[0]!r}, which a study's accuracies.csv has")
        rows = table[table["kind"] == "single"]
        table = rows[list(_STUDY.values())].rename(columns={name: role for role, name in _STUDY.items()})
    missing = [column for column in COLUMNS if column not in table.columns]
    if missing:
        raise DataError(
            f"{path}: no column {missing[0]!r}; it needs {', '.join(COLUMNS)} (and seed, for repeated models), it has "
            f"{', '.join(map(str, table.columns))}"
        )
    if table.empty:
        raise DataError(f"{path}: no row of a single-source model")
    top = 100.0 if percent else 1.0
    parsed = pd.DataFrame(
        {
            "sources": [_name(path, i, "source", cell) for i, cell in table["source"].items()],
            "test_set": [_name(path, i, "test_set", cell) for i, cell in table["test_set"].items()],
            "n_train": [_whole(path, i, "n", cell, 1.0) for i, cell in table["n"].items()],
            "num_classes": [_whole(path, i, "classes", cell, 2.0) for i, cell in table["classes"].items()],
            "num_images": [_whole(path, i, "images", cell, 1.0) for i, cell in table["images"].items()],
            "accuracy": [
                _number(path, i, "accuracy", cell, 0.0, top) / top for i, cell in table["accuracy"].items()
            ],
        },
        index=table.index,
    )
    if percent and (parsed["accuracy"] <= 0.01).all():
        raise DataError(
            f"{path}: no accuracy is above 1 percent; are these fractions? Then leave --percent out"
        )
    keys = ["sources", "n_train", "test_set"]
    if "seed" in table:
        parsed["seed"] = [_whole(path, i, "seed", cell, 0.0) for i, cell in table["seed"].items()]
    else:
        _check_repeats(path, parsed)
        parsed["seed"] = parsed.groupby(keys).cumcount()
    twice = parsed.duplicated([*keys, "seed"])
    if twice.any():
        row = parsed[twice].iloc[0]
        raise DataError(
            f"{path}: {row['sources']} with n = {row['n_train']} and seed {row['seed']} is there twice on {row['test_set']}; "
            "give each model a seed of its own"
        )
    if "seed" in table:
        _check_seeds(path, parsed)
    _check_test_sets(path, parsed)
    return _tidy(parsed)


def default_reference(accuracies: pd.DataFrame) -> str:
    """The reference test set where none is named: `reference`, else `imagenet`, else the table's first."""
    names = [str(name) for name in pd.unique(accuracies["test_set"])]
    return next((name for name in ("reference", "imagenet") if name in names), names[0])


def _tidy(parsed: pd.DataFrame) -> pd.DataFrame:
    images = parsed["num_images"].to_numpy()
    correct = np.rint(parsed["accuracy"].to_numpy(float) * images).astype(int)
    low, high = clopper_pearson(correct, images)
    table = parsed.assign(
        run=[f"single-{s}-n{n}-s{seed}" for s, n, seed in parsed[["sources", "n_train", "seed"]].itertuples(index=False)],
        kind="single", num_correct=correct, accuracy=correct / images, accuracy_low=np.asarray(low),
        accuracy_high=np.asarray(high), heads_n_train="", filter="", kept_share=1.0,
    )  # fmt: skip
    table["probit"] = np.asarray(probit(table["accuracy"].to_numpy()))
    table["dprime"] = np.asarray(dprime(table["accuracy"].to_numpy(), table["num_classes"].to_numpy()))
    return table[list(ACCURACY_COLUMNS)].reset_index(drop=True)


def _check_repeats(path: str | Path, parsed: pd.DataFrame) -> None:
    """Without a seed column: as many rows of a source and size on each test set, and no model pasted twice."""
    for (source, n), part in parsed.groupby(["sources", "n_train"], sort=False):
        counts = part["test_set"].value_counts(sort=False)
        if counts.nunique() > 1:
            most, least = counts.idxmax(), counts.idxmin()
            lines = part.index[part["test_set"] == most]
            raise DataError(
                f"{path}: {source}, n = {n:,}: {counts[most]} rows on {most} (rows {_listed(lines)}), {counts[least]} on {least}"
                ": a row twice, or one missing? Seeds without a seed column need a row each on every test set"
            )
        models = part.assign(seed=part.groupby("test_set").cumcount()).groupby("seed")
        seen: dict[tuple, pd.Index] = {}
        for _, model in models:
            numbers = tuple(sorted(zip(model["test_set"], model["accuracy"], strict=True)))
            if numbers in seen:
                raise DataError(
                    f"{path}: {source}, n = {n:,}: rows {_listed(model.index)} repeat rows {_listed(seen[numbers])} with equal "
                    "accuracies: pasted twice? Remove them, or give a seed column if they are models of their own"
                )
            seen[numbers] = model.index


def _check_seeds(path: str | Path, parsed: pd.DataFrame) -> None:
    for (source, n), part in parsed.groupby(["sources", "n_train"], sort=False):
        has = part.groupby("seed")["test_set"].agg(set)
        everything = set[str]().union(*has)
        for seed, names in has.items():
            if lacking := sorted(everything - names):
                other = next(other for other, theirs in has.items() if lacking[0] in theirs)
                raise DataError(
                    f"{path}: {source}, n = {n:,}, seed {seed}: no row on {lacking[0]}, which seed {other} has; add it, or take "
                    "this seed out"
                )


def _listed(lines: pd.Index) -> str:
    return ", ".join(map(str, lines))


def _check_test_sets(path: str | Path, parsed: pd.DataFrame) -> None:
    for name, part in parsed.groupby("test_set", sort=False):
        classes = pd.unique(part["num_classes"])
        if len(classes) > 1:
            raise DataError(
                f"{path}: test set {name} has {classes[0]} classes in one row and {classes[1]} in another; name test sets apart"
            )
    if parsed["test_set"].nunique() < 2:
        raise DataError(
            f"{path}: one test set only ({parsed['test_set'].iloc[0]}); robustness needs a reference and a shift"
        )


def _where(path: str | Path, index: object, column: str) -> str:
    return f"{path}, row {index}, column {column!r}"


def _name(path: str | Path, index: object, column: str, cell: str) -> str:
    text = cell.strip()
    if not text or "+" in text or ":" in text:
        raise DataError(
            f"{_where(path, index, column)}: {text!r} is no name; a name is not empty and has no '+' or ':'"
        )
    return text


def _number(path: str | Path, index: object, column: str, cell: str, low: float, high: float) -> float:
    try:
        value = float(cell)
    except ValueError:
        raise DataError(f"{_where(path, index, column)}: {cell.strip()!r} is not a number") from None
    if not low <= value <= high:
        hint = (
            "; if accuracies are in percent, say so with --percent"
            if column == "accuracy" and 1 < value <= 100
            else ""
        )
        raise DataError(
            f"{_where(path, index, column)}: {cell.strip()} lies outside [{low:g}, {high:g}]{hint}"
        )
    return value


def _whole(path: str | Path, index: object, column: str, cell: str, low: float) -> int:
    value = _number(path, index, column, cell, low, 1e15)
    if value != int(value):
        raise DataError(f"{_where(path, index, column)}: {cell.strip()} is not a whole number")
    return int(value)

"""Published tables of zero-shot accuracies, read into the project's tidy form.

Use `read_published` for open_clip's `openclip_results.csv` or any CSV with one row per model (a mapping names its columns)
and `accuracies_of_groups` for the table that `empirical.robustness.fit_trends` reads; `empirical.published_formats` reads the
other formats and several files at once. `TEST_SETS` holds each test set's own number of classes and images,
`REFERENCE_SUBSETS` ImageNet on the classes of a shift, `DEFAULT_GROUPS` the groups of models of open_clip's table.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from empirical.csv_cells import read_csv_cells
from empirical.errors import DataError
from theory.counts import clopper_pearson
from theory.links import dprime, probit

REFERENCE = "imagenet"


@dataclass(frozen=True)
class PublishedTestSet:
    """A test set of the table: its column in open_clip's CSV, its number of classes and of images, its name in words."""

    column: str
    num_classes: int
    num_images: int
    label: str


TEST_SETS: dict[str, PublishedTestSet] = {
    "imagenet": PublishedTestSet("ImageNet 1k", 1000, 50000, "ImageNet"),
    "imagenet_v2": PublishedTestSet("ImageNet v2", 1000, 10000, "ImageNet-V2"),
    "imagenet_r": PublishedTestSet("ImageNet-R", 200, 30000, "ImageNet-R"),
    "imagenet_sketch": PublishedTestSet("ImageNet Sketch", 1000, 50889, "ImageNet-Sketch"),
    "imagenet_a": PublishedTestSet("ImageNet-A", 200, 7500, "ImageNet-A"),
    "objectnet": PublishedTestSet("ObjectNet", 113, 18574, "ObjectNet"),
}
REFERENCE_SUBSETS: dict[str, PublishedTestSet] = {
    "imagenet_on_r": PublishedTestSet("val-on-imagenet-r-classes", 200, 10000, "ImageNet, R's classes"),
    "imagenet_on_a": PublishedTestSet("val-on-imagenet-a-classes", 200, 10000, "ImageNet, A's classes"),
    "imagenet_on_objectnet": PublishedTestSet(
        "val-on-objectnet-classes", 113, 6250, "ImageNet, ObjectNet's classes"
    ),
}
"""ImageNet's validation images of a shift's classes alone, by imagenet-testbed's columns: references on equal terms."""

KNOWN_SETS = TEST_SETS | REFERENCE_SUBSETS
DEFAULT_COLUMNS: dict[str, str] = {"model": "name", "pretrained": "pretrained"} | {
    role: test_set.column for role, test_set in KNOWN_SETS.items()
}
"""Role -> column of open_clip's CSV."""

DEFAULT_GROUPS: dict[str, str] = {
    "unfiltered pools": r"^commonpool_(s|m|l|xl)_s\d",
    "CLIP score": r"^commonpool_(s|m|l|xl)_clip_",
    "LAION filter": r"^commonpool_(s|m|l|xl)_laion_",
    "basic filter": r"^commonpool_(s|m|l|xl)_basic_",
    "text filter": r"^commonpool_(s|m|l|xl)_text_",
    "image filter": r"^commonpool_(s|m|l|xl)_image_",
    "DataComp best": r"^datacomp_(s|m|l|xl)_|^datacomp_s34b",
    "OpenAI": r"^openai$",
    "LAION": r"^laion(400m|2b|5b)_",
    "YFCC15M": r"^yfcc15m$",
    "CC12M": r"^cc12m$",
}
"""Group -> regular expression on `pretrained`, for open_clip's table."""

YOUR_MODELS = "your models"
"""Group of models whose evaluations were given as files of their own and that no other group claims."""

_BROKEN = {
    ("coca_ViT-B-32", "mscoco_finetuned_laion2b_s13b_b90k"): "a broken row (1% on ImageNet)",
}


@dataclass(frozen=True)
class PublishedTable:
    """Rows that stay, with columns model, pretrained and one accuracy (a fraction) per test set; and what was dropped.

    dropped holds one sentence per row that was left out, with its reason. An accuracy that the file leaves empty is nan in
    rows: that model is missing from that shift alone (`missing`). notes are remarks on what the files hold besides.
    evaluated holds the values of `pretrained` that come from evaluations of single models (clip-benchmark's, DataComp's and
    `experiments/evaluate.py`'s files) rather than from a table of many.
    """

    rows: pd.DataFrame
    test_sets: tuple[str, ...]
    dropped: tuple[str, ...]
    notes: tuple[str, ...] = ()
    evaluated: tuple[str, ...] = ()

    def missing(self) -> dict[str, list[str]]:
        """Models without an accuracy, per test set that lacks any."""
        names = self.rows["model"] + " " + self.rows["pretrained"]
        empty = {role: names[self.rows[role].isna()].tolist() for role in self.test_sets}
        return {role: models for role, models in empty.items() if models}


def read_published(
    path: str | Path, columns: Mapping[str, str] | None = None, percent: bool = False
) -> PublishedTable:
    """Read a CSV with one row per model.

    columns maps roles to columns of the file and updates `DEFAULT_COLUMNS`; a table without a `pretrained` column may map
    that role to the model's column. Known-broken rows, second evaluations of the same weights and rows that repeat
    another one are left out, each with a sentence in `dropped`. An empty cell under a shift leaves the model out of that
    shift alone; a row without an accuracy on the reference, or on any shift, is left out.
    Test sets whose default column is absent are left out; a column that the mapping names must exist.

    Raises DataError for a file that cannot be read, a missing column (naming the ones there are), an unknown role, a
    value that is no number, or an accuracy outside [0, 1] (outside [0, 100] with `percent`), with file, row and value.
    """
    return assemble(read_rows(Path(path), columns, percent), str(path))


def read_rows(path: Path, columns: Mapping[str, str] | None = None, percent: bool = False) -> pd.DataFrame:
    """The rows of `read_published` before any is left out: model, pretrained and a fraction (or nan) per test set found."""
    table = read_csv_cells(path)
    asked = dict(columns or {})
    unknown = [role for role in asked if role not in DEFAULT_COLUMNS]
    if unknown:
        raise DataError(f"there is no role {unknown[0]!r}; the roles are {', '.join(DEFAULT_COLUMNS)}")
    mapping = DEFAULT_COLUMNS | asked
    for role in ("model", "pretrained", REFERENCE, *asked):
        if mapping[role] not in table.columns:
            raise DataError(
                f"{path}: no column {mapping[role]!r} for {role}; the columns are {', '.join(map(str, table.columns))}. "
                f"Say which one it is with --column {role}=NAME"
            )
    test_sets = tuple(role for role in KNOWN_SETS if mapping[role] in table.columns)
    if not any(role in TEST_SETS and role != REFERENCE for role in test_sets):
        raise DataError(
            f"{path}: no column of a shifted test set; map one with --column, for example imagenet_v2=NAME"
        )
    rows = pd.DataFrame({role: table[mapping[role]].str.strip() for role in ("model", "pretrained")})
    for role in test_sets:
        rows[role] = _accuracies(table[mapping[role]], path, mapping[role], percent)
    return rows


def assemble(rows: pd.DataFrame, origin: str, notes: Sequence[str] = ()) -> PublishedTable:
    """A table of the rows that can be used; the others are told with their reason (see `read_published`).

    Raises DataError, naming `origin`, if no row is left.
    """
    test_sets = tuple(role for role in KNOWN_SETS if role in rows)
    if REFERENCE not in test_sets:
        raise DataError(f"{origin}: no result on {TEST_SETS[REFERENCE].label}, which every trend needs")
    kept, dropped = _without_duplicates(rows.reset_index(drop=True), test_sets)
    if kept.empty:
        reasons = f": {dropped[0]}" + (", ..." if len(dropped) > 1 else "") if dropped else ""
        raise DataError(f"{origin}: no usable row ({len(rows)} rows read, all left out{reasons})")
    return PublishedTable(kept, test_sets, dropped, tuple(notes))


def _accuracies(cells: pd.Series, path: Path, column: str, percent: bool) -> np.ndarray:
    """One column as fractions; empty cells become nan, everything else must be a number in range."""
    top = 100.0 if percent else 1.0
    values = np.full(len(cells), np.nan)
    for i, (line, cell) in enumerate(cells.items()):
        text = cell.strip()
        if text == "" or text.lower() in {"nan", "na", "none", "-"}:
            continue
        where = f"{path}, row {line}, column {column!r}"
        try:
            value = float(text)
        except ValueError:
            raise DataError(f"{where}: {text!r} is not a number") from None
        if not 0 <= value <= top:
            hint = (
                ""
                if percent or not 1 < value <= 100
                else "; if the table is in percent, say so with --percent"
            )
            raise DataError(f"{where}: accuracy {text} lies outside [0, {top:g}]{hint}")
        values[i] = value / top
    return values


def _without_duplicates(
    rows: pd.DataFrame, test_sets: tuple[str, ...]
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    dropped: list[str] = []
    shifted = set(TEST_SETS) - {REFERENCE}
    keep = np.ones(len(rows), dtype=bool)
    there = set(zip(rows["model"], rows["pretrained"], strict=True))
    first_with: dict[tuple, str] = {}
    for i, (model, pretrained) in enumerate(zip(rows["model"], rows["pretrained"], strict=True)):
        numbers = rows.loc[rows.index[i], list(test_sets)].to_numpy(float)
        values = tuple(None if np.isnan(number) else number for number in numbers)  # nan equals nothing
        plain = model.removesuffix("-quickgelu")
        reason = None
        if (model, pretrained) in _BROKEN:
            reason = _BROKEN[(model, pretrained)]
        elif values[test_sets.index(REFERENCE)] is None:
            reason = f"no accuracy on {TEST_SETS[REFERENCE].label}, which every trend needs"
        elif all(value is None or role not in shifted for role, value in zip(test_sets, values, strict=True)):
            reason = "no accuracy under any shift"
        elif pretrained.endswith("_e31") and (model, pretrained.replace("_e31", "_e32")) in there:
            reason = "one epoch before the row _e32 of the same training run"
        elif pretrained.startswith("laion400m_") and (f"{model}-quickgelu", pretrained) in there:
            reason = f"the same weights as {model}-quickgelu, which were trained with QuickGELU, evaluated without it"
        elif not pretrained.startswith("laion400m_") and plain != model and (plain, pretrained) in there:
            reason = f"the same weights as {plain}, evaluated with QuickGELU"
        elif values in first_with:
            reason = f"every accuracy equals that of {first_with[values]}: the same model under two names"
        if reason is None:
            first_with[values] = f"{model} {pretrained}"
        else:
            keep[i] = False
            dropped.append(f"{model} {pretrained}: {reason}")
    return rows[keep].reset_index(drop=True), tuple(dropped)


def group_rows(table: PublishedTable, groups: Mapping[str, str]) -> dict[str, pd.DataFrame]:
    """Rows of each group: those whose `pretrained` matches the group's regular expression (re.search).

    A row may belong to several groups. Raises DataError for an expression that is empty or invalid, or if no group
    matches any row; a single group without rows is simply empty.
    """
    found = {}
    for name, expression in groups.items():
        if not expression:
            raise DataError(
                f"group {name!r}: its regular expression is empty (it would match every row); write --group '{name}=REGEX'"
            )
        try:
            pattern = re.compile(expression)
        except re.error as error:
            raise DataError(f"group {name!r}: {expression!r} is not a regular expression ({error})") from None
        found[name] = table.rows[[bool(pattern.search(text)) for text in table.rows["pretrained"]]]
    if not any(len(rows) for rows in found.values()):
        tags = sorted(set(table.rows["pretrained"]))
        raise DataError(
            f"no group matches any row; `pretrained` holds {', '.join(tags[:12])}{', ...' if len(tags) > 12 else ''}. "
            "Write --group NAME=REGEX"
        )
    return found


def with_your_models(table: PublishedTable, groups: Mapping[str, str]) -> dict[str, str]:
    """The groups, and `YOUR_MODELS` for the evaluated models that are in none of them, where there are any."""
    own = [tag for tag in table.evaluated if not any(re.search(group, tag) for group in groups.values())]
    return {**groups, YOUR_MODELS: f"^({'|'.join(map(re.escape, own))})$"} if own else dict(groups)


def accuracies_of_groups(
    table: PublishedTable, groups: Mapping[str, str], test_sets: Sequence[str] = tuple(TEST_SETS)
) -> pd.DataFrame:
    """Tidy accuracies (kind "published", sources = group), one row per model and test set that it has an accuracy on.

    test_sets says which of `KNOWN_SETS` to keep (those that the table has).

    num_correct = round(accuracy num_images) with each test set's own size, for the binomial errors; probit and d' come
    from these counts, d' with each test set's own number of classes.
    """
    parts = []
    for name, rows in group_rows(table, groups).items():
        runs = name + ": " + rows["model"] + " " + rows["pretrained"]
        # A name and tag may stand on two rows of a file: count them, so that runs stay distinct.
        again = runs.groupby(runs).cumcount().to_numpy()
        runs = runs + np.where(again > 0, " #" + (again + 1).astype(str).astype(object), "")
        for role in table.test_sets:
            if role not in test_sets:
                continue
            test_set = KNOWN_SETS[role]
            there = rows[role].notna()
            correct = np.rint(rows.loc[there, role].to_numpy(float) * test_set.num_images).astype(int)
            parts.append(
                pd.DataFrame(
                    {
                        "run": runs[there].to_numpy(),
                        "kind": "published",
                        "sources": name,
                        "model": rows.loc[there, "model"].to_numpy(),
                        "pretrained": rows.loc[there, "pretrained"].to_numpy(),
                        "n_train": 0,
                        "seed": 0,
                        "test_set": role,
                        "num_classes": test_set.num_classes,
                        "num_images": test_set.num_images,
                        "num_correct": correct,
                        "accuracy": correct / test_set.num_images,
                    }
                )
            )
    tidy = pd.concat(parts, ignore_index=True)
    low, high = clopper_pearson(tidy["num_correct"].to_numpy(), tidy["num_images"].to_numpy())
    tidy["accuracy_low"], tidy["accuracy_high"] = np.asarray(low), np.asarray(high)
    tidy["probit"] = np.asarray(probit(tidy["accuracy"].to_numpy()))
    tidy["dprime"] = np.asarray(dprime(tidy["accuracy"].to_numpy(), tidy["num_classes"].to_numpy()))
    return tidy

"""A study's folder, or committed records, as something to read tables from.

Use `StudyFolder(path)`: `accuracies()`, `overlaps()` (measured from logits where they are at hand, otherwise read), `reference`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import Any

import pandas as pd

from empirical.errors import StudyError
from empirical.overlap import OVERLAP_COLUMNS, SavedLogits, measure_overlaps
from empirical.records import read_json
from empirical.tables import ACCURACY_COLUMNS, write_table


@dataclass(frozen=True)
class StudyFolder:
    """Tables of one study; `path` is the folder that `clip_mixtures.py --out` wrote, or a folder of committed records."""

    path: Path

    def table(self, name: str) -> pd.DataFrame:
        """NAME.csv. Raises StudyError where it is missing or cannot be read."""
        path = self.path / f"{name}.csv"
        if not path.exists():
            raise StudyError(f"{path}: no such table; {self.way_to(path.name)}")
        try:
            return pd.read_csv(path)
        except (ValueError, UnicodeDecodeError) as error:
            raise StudyError(
                f"{path}: not a readable table ({error}); delete it and start the study again"
            ) from error

    def way_to(self, name: str) -> str:
        """How a missing file of the folder comes about; never a command that would write over what lies there."""
        if (self.path / "study.json").exists():
            return (
                "the study in this folder is not finished, and the command that began it goes on; how far it is: "
                f"python experiments/study_status.py {self.path}"
            )
        if self.path.is_dir() and any(self.path.iterdir()):
            return (
                f"this folder holds a study's tables without its runs: copy {name} from where the study ran"
            )
        return f"a study writes it: python experiments/clip_mixtures.py --out {self.path}"

    def accuracies(self) -> pd.DataFrame:
        """accuracies.csv, its empty texts as empty texts."""
        table = self.table("accuracies")
        missing = [column for column in ACCURACY_COLUMNS if column not in table]
        if missing:
            raise StudyError(f"{self.path / 'accuracies.csv'}: lacks the column {missing[0]!r}")
        texts = {name: table[name].fillna("").astype(str) for name in ("heads_n_train", "filter")}
        return table.assign(**texts)

    def about(self) -> Mapping[str, Any]:
        """What study.json and provenance.json say, the latter first; empty where there are neither."""
        found: dict[str, Any] = {}
        for name in ("study.json", "provenance.json"):
            if (self.path / name).exists():
                content = read_json(self.path / name)
                found |= content if isinstance(content, dict) else {}
        return found

    @property
    def reference(self) -> str:
        """The reference test set, `reference` where nothing says otherwise."""
        return str(self.about().get("reference") or "reference")

    def logits(self) -> SavedLogits:
        """Logits of the study's runs."""
        return SavedLogits(self.path)

    def overlaps(
        self,
        accuracies: pd.DataFrame | None = None,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> pd.DataFrame:
        """overlaps.csv; measured from the logits (and written) where it is missing or lacks models of accuracies.csv.

        Raises StudyError where there are neither the table nor logits.
        """
        path = self.path / "overlaps.csv"
        models = self.accuracies() if accuracies is None else accuracies
        if path.exists():
            table = self.table("overlaps")
            complete = set(OVERLAP_COLUMNS) <= set(table.columns)
            if complete and (len(table) == _num_pairs(models) or not (self.path / "logits").is_dir()):
                return table
        if not (self.path / "logits").is_dir():
            raise StudyError(
                f"{path}: no such table, and no logits in {self.path} to measure overlaps from; "
                "give the folder that the study was run in"
            )
        logits = self.logits()
        labels = {str(name): logits.labels(str(name)) for name in pd.unique(models["test_set"])}
        table = measure_overlaps(models, logits, labels, on_progress)
        write_table(table, path)
        return self.table("overlaps")


def _num_pairs(accuracies: pd.DataFrame) -> int:
    single = accuracies[accuracies["kind"] == "single"]
    return sum(comb(int(size), 2) for size in single.groupby(["n_train", "test_set"]).size())

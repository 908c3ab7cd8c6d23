"""Committed records: small tables that the figures redraw from, each folder with its provenance.

Use `Records("clip_mixtures")` for the committed ones, `Records(folder)` for those of any finished study.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from empirical.errors import StudyError
from empirical.records import read_json

RECORDS = Path(__file__).parent / "records"
MEASURED = "clip_mixtures"
"""The records that the figures of measurements show."""
STUDIED = "gpu_study"
"""The records that figures of the larger study show: designed mixtures, overlaps, diagnoses, filters at every strength."""
JUDGED = "filter_rule"
"""The records that judge the frozen rule for filtered pools, on seeds that it had not seen."""
PUBLISHED = "published_trends"
"""The records that the figures of published results show."""
SIMULATED = "dilution_sim"
"""The records that the figures of theory show."""
MADE_BY = {
    "clip_mixtures": "python experiments/clip_mixtures.py && python -m paper_figures.keep runs/clip_mixtures",
    "gpu_study": (
        "python experiments/clip_mixtures.py --preset gpu --seed 20 --out runs/gpu_study && "
        "python -m paper_figures.keep runs/gpu_study"
    ),
    "filter_rule": (
        "python experiments/clip_mixtures.py --preset filters --seed 40 --out runs/filter_rule && "
        "python -m paper_figures.keep runs/filter_rule"
    ),
    "published_trends": (
        "python experiments/published_trends.py openclip_results.csv && python -m paper_figures.keep runs/published_trends"
    ),
    "dilution_sim": "python experiments/dilution_sim.py && python -m paper_figures.keep runs/dilution_sim",
    "learner_limits": "python experiments/learner_limits.py && python -m paper_figures.keep runs/learner_limits",
}
"""Records -> the command that makes them."""


class Records(Mapping[str, pd.DataFrame]):
    """The tables of one study by name, read when asked for.

    Attributes:
        folder: where they lie.
        notes: what a figure could not show, in words; figures add to it with `note`.

    Args:
        study: name of committed records, or a folder.
        made_by: the command that makes them; known for committed ones.
    """

    def __init__(self, study: str | Path, made_by: str = "") -> None:
        self.folder = RECORDS / study if isinstance(study, str) else study
        self.notes: list[str] = []
        self._made_by = made_by

    @property
    def made_by(self) -> str:
        """The command that makes these records."""
        if self._made_by or self.folder.name in MADE_BY:
            return self._made_by or MADE_BY[self.folder.name]
        return f"python experiments/clip_mixtures.py --out {self.folder}"

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Settings, seeds, versions and device behind the tables; a missing one raises `StudyError` as a table does."""
        path = self.folder / "provenance.json"
        if not path.exists():
            raise StudyError(f"{path}: this record is missing; make it with: {self.made_by}")
        return read_json(path)

    @property
    def reference(self) -> str:
        """Name of the reference test set of a CLIP study."""
        return str(self.provenance.get("reference", "reference"))

    def lacking(self, tables: Iterable[str]) -> list[str]:
        """Those of these tables that are not there."""
        return [name for name in tables if name not in self]

    def note(self, message: str, command: str = "") -> None:
        """Say what these records lack for a figure, and the command that makes it (their own by default)."""
        self.notes.append(f"{self.folder.name}: {message}; make it with: {command or self.made_by}")

    def __getitem__(self, name: str) -> pd.DataFrame:
        """One table; a missing one raises `StudyError` with the command that makes it."""
        path = self.folder / f"{name}.csv"
        if not path.exists():
            raise StudyError(f"{path}: this record is missing; make it with: {self.made_by}")
        return _table(path, path.stat().st_mtime_ns).copy()

    def optional(self, name: str) -> pd.DataFrame | None:
        """One table, None where it is missing."""
        return None if self.lacking([name]) else self[name]

    def __contains__(self, name: object) -> bool:
        return (self.folder / f"{name}.csv").exists()

    def __iter__(self) -> Iterator[str]:
        return (path.stem for path in sorted(self.folder.glob("*.csv")))

    def __len__(self) -> int:
        return sum(1 for _ in self)


@lru_cache(maxsize=16)
def _table(path: Path, changed: int) -> pd.DataFrame:
    """A table, read once for all figures that show it."""
    del changed  # part of the key: a table that was written again is read again
    return pd.read_csv(path, keep_default_na=True)

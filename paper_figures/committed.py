"""Committed records: small tables that the figures redraw from, each folder with its provenance."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from empirical.errors import StudyError

RECORDS = Path(__file__).parent / "records"
MADE_BY = {
    "clip_mixtures": "python experiments/clip_mixtures.py && python -m paper_figures.keep runs/clip_mixtures",
    "dilution_sim": "python experiments/dilution_sim.py && python -m paper_figures.keep runs/dilution_sim",
}


def read_table(study: str, name: str) -> pd.DataFrame:
    """One committed table; a missing one raises `StudyError` with the command that makes it."""
    path = RECORDS / study / f"{name}.csv"
    if not path.exists():
        raise StudyError(f"{path}: this record is missing; make it with: {MADE_BY[study]}")
    return pd.read_csv(path, keep_default_na=True)


class Records(Mapping[str, pd.DataFrame]):
    """The committed tables of one study by name, read when asked for."""

    def __init__(self, study: str) -> None:
        self._study = study

    def __getitem__(self, name: str) -> pd.DataFrame:
        return read_table(self._study, name)

    def __iter__(self) -> Iterator[str]:
        return (path.stem for path in sorted((RECORDS / self._study).glob("*.csv")))

    def __len__(self) -> int:
        return sum(1 for _ in self)

"""Committed records: small tables that the figures redraw from, each folder with its provenance."""

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

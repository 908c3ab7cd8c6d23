"""Keep a study's small tables as committed records.

python -m paper_figures.keep runs/clip_mixtures      ->  paper_figures/records/clip_mixtures
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from empirical.command import Command
from empirical.errors import StudyError

KEPT = (".csv", ".json", ".txt")
LEFT_OUT = ("study.json", "tokenizer.json")
IMAGES = ("world_images.png",)
#: Tables above this many bytes are maps for a picture: five digits are more than it shows.
LARGE = 200_000


@dataclass
class Arguments:
    """Copy the tables, the summary and the provenance of a finished study."""

    study: Annotated[Path, tyro.conf.Positional]
    """Folder of the study."""
    name: str = ""
    """Name of the records' folder; the study's own by default."""


def run(arguments: Arguments) -> None:
    """Copy and print the paths.

    Raises: StudyError for a folder without provenance.
    """
    from paper_figures.committed import RECORDS

    if not (arguments.study / "provenance.json").exists():
        raise StudyError(f"{arguments.study}: no provenance.json here, so no finished study")
    target = RECORDS / (arguments.name or arguments.study.name)
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(arguments.study.iterdir()):
        if (path.suffix in KEPT and path.name not in LEFT_OUT) or path.name in IMAGES:
            print(keep(path, target / path.name))


def keep(path: Path, kept: Path) -> Path:
    """Copy one file; large tables are rounded to five digits."""
    if path.suffix == ".csv" and path.stat().st_size > LARGE:
        import pandas as pd

        pd.read_csv(path).to_csv(kept, index=False, float_format="%.5g")
        return kept
    return Path(shutil.copyfile(path, kept))


main = Command(Arguments, run, __doc__)

if __name__ == "__main__":
    main.exit()

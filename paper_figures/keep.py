"""Keep a study's small tables as committed records.

python -m paper_figures.keep runs/clip_mixtures      ->  paper_figures/records/clip_mixtures
"""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from paper_figures.committed import RECORDS

KEPT = (".csv", ".json", ".txt")
LEFT_OUT = ("study.json", "tokenizer.json")


@dataclass
class Arguments:
    """Copy the tables, the summary and the provenance of a finished study."""

    study: Annotated[Path, tyro.conf.Positional]
    """Folder of the study."""
    name: str = ""
    """Name of the records' folder; the study's own by default."""


def main() -> int:
    """Copy and print the paths."""
    arguments = tyro.cli(Arguments, description=__doc__)
    if not (arguments.study / "provenance.json").exists():
        print(f"error: {arguments.study}: no provenance.json here, so no finished study", file=sys.stderr)
        return 2
    target = RECORDS / (arguments.name or arguments.study.name)
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(arguments.study.iterdir()):
        if path.suffix in KEPT and path.name not in LEFT_OUT:
            print(shutil.copyfile(path, target / path.name))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""What models are trained and tested on: pairs of every source of the embedded world, images of every test set."""

from pathlib import Path

import numpy as np
from PIL import Image

from empirical.errors import StudyError
from empirical.figures.contact_sheet import draw_contact_sheet
from paper_figures.captions import Caption
from paper_figures.committed import MEASURED, Records

STUDY = MEASURED
CAPTION = (
    "The embedded testbed: {sources} training sources, each in the role of a web source, with the styles, viewpoints and "
    "caption mistakes it has, and {test sets} test sets of {classes} classes, whose silhouettes no training image shows."
)


def draw(records: Records, stem: Path) -> None:
    """Draw from the images and captions that a study of the embedded world keeps."""
    path = records.folder / "world_images.png"
    if not path.exists():
        raise StudyError(f"{path}: this record is missing; make it with: {records.made_by}")
    table = records["world"].fillna({"caption": "", "description": ""})
    draw_contact_sheet(np.asarray(Image.open(path).convert("RGB")), table, stem)


def caption(records: Records) -> Caption:
    """What the figure shows, with its numbers."""
    table = records["world"]
    sets = table[table["kind"] == "test set"]
    numbers = {
        "sources": str(table.loc[table["kind"] == "source", "name"].nunique()),
        "test sets": str(sets["name"].nunique()),
        "classes": str(sets["caption"].nunique()),
    }
    return Caption(CAPTION, numbers)

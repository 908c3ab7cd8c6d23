"""Really trained ridge, logistic and hinge classifiers beside their exact limits, and the gap that finite d leaves."""

from pathlib import Path

from paper_figures.captions import Caption
from paper_figures.committed import Records
from theory.learner_limits_figure import draw_learner_limits
from theory.learner_limits_verdict import verdict

STUDY = "learner_limits"
CAPTION = (
    "Ridge, logistic and hinge classifiers trained at d = {features} (points) and their exact limits at n/d (lines, nothing "
    "fitted): {beyond three} of {cells} accuracies lie beyond three standard errors, {beyond five} beyond five; the largest "
    "standard error is {largest error} points."
)


def draw(records: Records, stem: Path) -> None:
    """Draw from the tables of `experiments/learner_limits.py`."""
    draw_learner_limits(records["learner_limits"], records["learner_limits_curves"], stem)


def caption(records: Records) -> Caption:
    """What the figure shows, with its numbers."""
    found = verdict(records["learner_limits"])
    numbers = {
        "features": str(found.num_features),
        "cells": str(found.num_cells),
        "beyond three": str(found.beyond_3),
        "beyond five": str(found.beyond_5),
        "largest error": f"{100 * found.largest_stderr:.2f}",
    }
    return Caption(CAPTION, numbers)

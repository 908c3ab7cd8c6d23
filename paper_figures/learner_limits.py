"""Really trained ridge, logistic and hinge classifiers beside their exact limits."""

from pathlib import Path

from paper_figures.committed import Records
from theory.learner_limits_figure import draw_learner_limits


def draw(stem: Path) -> None:
    """Draw from `records/learner_limits`."""
    draw_learner_limits(Records("learner_limits")["learner_limits"], stem)

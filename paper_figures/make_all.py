"""Redraw every figure from the committed records, without training anything.

python -m paper_figures.make_all                     all figures, into paper_figures/
python -m paper_figures.make_all --only dilution     one of them
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import jax
import tyro

from empirical.errors import StudyError
from paper_figures import (
    best_mixture,
    break_even,
    dilution,
    escape,
    filtering_measured,
    filtering_theory,
    first_pair,
    learners,
    linear_clip,
    predictions_vs_measurements,
    wrong_line,
)

FIGURES = {
    "predictions_vs_measurements": predictions_vs_measurements.draw,
    "first_pair": first_pair.draw,
    "filtering_measured": filtering_measured.draw,
    "dilution": dilution.draw,
    "filtering_theory": filtering_theory.draw,
    "break_even": break_even.draw,
    "best_mixture": best_mixture.draw,
    "linear_clip": linear_clip.draw,
    "learners": learners.draw,
    "escape": escape.draw,
    "wrong_line": wrong_line.draw,
}


@dataclass
class Arguments:
    """Redraw figures from committed records."""

    only: tuple[str, ...] = field(default=())
    """Names of the figures to draw; all of them by default."""
    out: Path = Path(__file__).parent
    """Folder for NAME.png and NAME.pdf."""


def main() -> int:
    """Draw and print the paths."""
    arguments = tyro.cli(Arguments, description=__doc__)
    jax.config.update("jax_enable_x64", True)
    unknown = [name for name in arguments.only if name not in FIGURES]
    if unknown:
        print(f"error: no figure {unknown[0]!r}; there are: {', '.join(FIGURES)}", file=sys.stderr)
        return 2
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.only or FIGURES:
        try:
            FIGURES[name](arguments.out / name)
        except StudyError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        print(arguments.out / f"{name}.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""One self-contained page about a finished study: theory's predictions move while you move a share or a threshold.

Choose the shift, the axes (probit or d') and the sources; hover over a model to see its record; move the mixing share and the
filter threshold. The page works offline and can be mailed.

Examples:
    python experiments/report.py runs/clip_mixtures
    python experiments/report.py paper_figures/records/clip_mixtures --out report.html
"""

import shlex
from dataclasses import dataclass
from pathlib import Path

import tyro

from empirical.command import Command, print_next


@dataclass
class Arguments:
    """Write a study's report as one HTML file."""

    study: tyro.conf.Positional[Path]
    """Folder of a finished study, or of its committed records."""
    out: Path | None = None
    """The file to write. Default: report.html in the study's folder."""


def run(arguments: Arguments) -> None:
    """Read, write, say where."""
    from empirical.report.page import write_report

    path = arguments.out or arguments.study / "report.html"
    write_report(arguments.study, path)
    print(f"{path}  ({path.stat().st_size / 1e6:.1f} MB, opens in any browser, works offline)")
    records = f"clip_mixtures={arguments.study}"
    print_next(
        shlex.join(
            ["python", "paper_figures/make_all.py", "--records", records, "--captions", "--out", "figures"]
        ),
        "the same results on paper",
    )


main = Command(Arguments, run, __doc__)

if __name__ == "__main__":
    main.exit()

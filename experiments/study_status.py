"""Where a study stands: what is done, running, failed (with its reason) and waiting, and how much time is left.

Reads the study's folder alone, so it works while the study runs, after it was killed, and on a cluster from any machine
that sees the folder.

Examples:
    python experiments/study_status.py runs/clip_mixtures                     once
    python experiments/study_status.py runs/clip_mixtures --watch 10          again every 10 seconds, until it ends
    python experiments/study_status.py runs/clip_mixtures --out status.csv    one row per run, for a spreadsheet
"""

import time
from dataclasses import dataclass
from pathlib import Path

import tyro

from empirical.command import Command, print_next, print_written


@dataclass
class Arguments:
    """Done, running, failed, waiting, time left."""

    folder: tyro.conf.Positional[Path] = Path("runs/clip_mixtures")
    """The study's folder: what was given to clip_mixtures.py as --out."""
    out: Path | None = None
    """Also write one row per run as CSV: run, kind, state, reason, seconds, where."""
    watch: float = 0.0
    """Look again every so many seconds until nothing runs any more (0: look once)."""


def run(arguments: Arguments) -> None:
    """Print the status, once or again and again."""
    from empirical.status import read_status, status_text

    while True:
        status = read_status(arguments.folder, time.time())
        if arguments.out is not None:
            from empirical.tables import write_table

            write_table(status.table(), arguments.out)
        print(status_text(status), flush=True)
        if arguments.out is not None:
            print_written([arguments.out])
        if not arguments.watch or not (status.is_running or status.count("running")):
            break
        print(flush=True)
        time.sleep(arguments.watch)
    if status.count("failed"):
        print_next("the command that started the study tries again what failed")
    elif status.count("waiting") and not status.is_running:
        print_next("the command that started the study goes on from here")


main = Command(Arguments, run, __doc__, only_prints=True)

if __name__ == "__main__":
    main.exit()

"""Both sides of a comparison run in processes of their own: `run_driver`, what it hands over, where the peer finds things."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from empirical.errors import DataError, StudyError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
else:
    DataclassInstance = object

REPOSITORY = Path(__file__).resolve().parents[2]
COLUMNS = ("name", "device", "ours_seconds", "peer", "peer_seconds", "ratio")
"""Of `benchmark.csv`; ratio is peer_seconds / ours_seconds: above 1 we are faster."""


@dataclass(frozen=True)
class PeerEnvironment:
    """Where a peer runs: an interpreter, and folders that come first on its path.

    Attributes:
        python: the interpreter.
        path: folders, separated as in PYTHONPATH, in front of this repository.
    """

    python: str = sys.executable
    path: str = ""


HERE = PeerEnvironment()
"""This process's own interpreter and path."""


Read = TypeVar(
    "Read", bound="JsonFile"
)  # Self would do, but runtime type checkers know it only inside decorated classes


class JsonFile(DataclassInstance):
    """What a dataclass needs to go from one process to another as a JSON file."""

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @classmethod
    def read(cls: type[Read], path: Path) -> Read:
        """What `write` wrote.

        Raises:
            DataError: no such file, or it holds something else.
        """
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"{path} does not hold a {cls.__name__}: {error}") from error


def row(name: str, device: str, ours: float, peer_name: str, peer: float) -> dict[str, str | float]:
    """One row of the table of ratios."""
    return dict(zip(COLUMNS, (name, device, ours, peer_name, peer, peer / ours), strict=True))


@dataclass(frozen=True)
class Spent:
    """What a process took: seconds on the wall clock, and processor seconds of it and its own processes together.

    The processor's seconds hardly change when the machine does something else besides. They are NaN on Windows, and those
    of all processes when several run at once.
    """

    seconds: float
    cpu_seconds: float


def run_driver(
    module: str, folder: Path, threads: int, environment: PeerEnvironment = HERE, way_out: str = ""
) -> Spent:
    """Run `python -m module folder/task.json folder` until it has written folder/outcome.json, and time it.

    Args:
        module: of this package; its output goes to folder/log.txt.
        threads: of OpenMP and its like.
        environment: interpreter and path.
        way_out: what to try when it fails.

    Raises:
        StudyError: it failed or left no outcome; ends with its last line, the log's place and the way out.
    """
    paths = (environment.path, os.environ.get("PYTHONPATH", ""), str(REPOSITORY))
    variables = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
    }
    command = [environment.python, "-m", module, str(folder / "task.json"), str(folder)]
    started, used = time.perf_counter(), _children_cpu_seconds()
    with (folder / "log.txt").open("wb") as log:
        done = subprocess.run(command, env=variables, stdout=log, stderr=subprocess.STDOUT, check=False)
    spent = Spent(time.perf_counter() - started, _children_cpu_seconds() - used)
    if done.returncode or not (folder / "outcome.json").is_file():
        lines = (folder / "log.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        said = lines[-1] if lines else "no output"
        raise StudyError(f"{module} failed: {said} (log in {folder / 'log.txt'}){way_out}")
    return spent


def _children_cpu_seconds() -> float:
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime

"""How every command of the project begins and ends: `Command`, and the last lines that each of them prints.

Importing this module loads neither torch nor jax, so that `--help` is there at once.
"""

import atexit
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NoReturn, TypeVar

import tyro

from empirical.errors import DataError, StudyError, TrainingError, in_one_line
from empirical.lasting_output import ReaderGone, lasting_output

FAILED = 2
"""Exit status after an error that the user can do something about; bad options have the same one."""
INTERRUPTED = 130
"""Exit status after Ctrl-C: 128 + SIGINT, as shells have it."""
UNREAD = 141
"""Exit status of a command that ended because its reader had left: 128 + SIGPIPE."""

A = TypeVar("A")


@dataclass(frozen=True)
class Command(Generic[A]):
    """A command of the command line: `main = Command(Arguments, run, __doc__)`, and `main.exit()` where it is the program.

    `main()` parses, runs and returns the exit status.

    Errors that the user can do something about become one line on standard error and status 2, Ctrl-C a line of its own and
    130. All others are bugs and keep their traceback.

    A reader that leaves (`| head -1`, a terminal that is closed) does not stop the work: a study of an hour must not be lost
    for its log, and the files it writes are complete when it ends, with the status that it would have had. Nothing
    is said of what could not be printed. Where the print is all there is (`only_prints`), the command ends with its reader,
    quietly, with status 141. `--help | head -3` is quiet either way.

    Attributes:
        arguments: dataclass of the options; their docstrings are the help.
        run: does the work. An int that it returns is the exit status; anything else, such as tables for callers in Python, is
            success.
        description: what `--help` says above the options.
        stopped: what Ctrl-C leaves, and how to go on: a sentence, or what makes it from the arguments.
        expected: errors of the user's making besides the project's own and those of the system.
        only_prints: nothing is left when nobody reads.
    """

    arguments: type[A]
    run: Callable[[A], object]
    description: str | None = None
    stopped: str | Callable[[A], str] = ""
    expected: tuple[type[Exception], ...] = ()
    only_prints: bool = False

    def __call__(self, arguments: A | None = None) -> int:
        """Run with `arguments`, or with those of the command line; returns the exit status.

        Raises:
            SystemExit: from the parser, after --help (0) or for options it does not understand (2).
        """
        try:
            with lasting_output(end=self.only_prints):
                return self._carried_out(arguments)
        except ReaderGone:
            return UNREAD

    def exit(self) -> NoReturn:
        """Be the whole program: run with the arguments of the command line and end the process with the status."""
        status = self()
        if status == INTERRUPTED:
            # Ctrl-C while a library in C loads leaves types half made, on which Python may crash when it takes itself apart
            # (seen with jaxlib): what wants to be cleaned up is, and the rest is left to the system.
            atexit._run_exitfuncs()
            os._exit(status)
        sys.exit(status)

    def _carried_out(self, arguments: A | None) -> int:
        try:
            if arguments is None:
                arguments = tyro.cli(self.arguments, description=self.description)
            prepare_libraries()
            status = self.run(arguments)
            print(
                end="", flush=True
            )  # what cannot be written is an error here, where there is somebody to tell it
        except KeyboardInterrupt:
            print(f"\n{self._stopped(arguments)}", file=sys.stderr)
            return INTERRUPTED
        except (DataError, StudyError, TrainingError, OSError, *self.expected) as error:
            print(f"error: {in_one_line(error, getattr(arguments, 'out', None))}", file=sys.stderr)
            return FAILED
        return status if isinstance(status, int) else 0

    def _stopped(self, arguments: A | None) -> str:
        if arguments is None or not self.stopped:
            return "stopped"
        return f"stopped; {self.stopped if isinstance(self.stopped, str) else self.stopped(arguments)}"


def prepare_libraries() -> None:
    """Double precision in JAX and figures without windows, for this process and those it starts; loads neither library."""
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_enable_x64", True)
    else:
        os.environ["JAX_ENABLE_X64"] = "true"
    # Not a default: a notebook hands its own backend on to the commands that it starts, which need not have it.
    os.environ["MPLBACKEND"] = "Agg"


def print_written(paths: Iterable[Path | str]) -> None:
    """The files that a command has written, one a line."""
    print("\nWritten:\n" + "\n".join(f"  {path}" for path in paths))


def print_next(command: str, why: str = "") -> None:
    """The one command worth trying next, and in brackets why."""
    print(f"\nNext: {command}" + (f"   ({why})" if why else ""))

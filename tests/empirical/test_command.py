"""How commands begin and end: one line for errors, Ctrl-C and its status, readers that leave, terminals that hang up."""

import errno
import os
import pty
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from empirical.command import FAILED, INTERRUPTED, UNREAD, Command
from empirical.errors import DataError, StudyError, TrainingError

COMMAND = '''
"""A command that writes a file.

What --help says of it.
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from empirical.command import Command


@dataclass
class Arguments:
    """Print lines, then write a file."""

    out: Path
    """The file."""
    lines: int = 3
    """Lines of 100 letters."""
    pause: float = 0.0
    """Seconds after each."""


def run(arguments: Arguments) -> None:
    for number in range(arguments.lines):
        print(number, "ε" * 100)
        if arguments.pause:
            sys.stdout.flush()
            time.sleep(arguments.pause)
    child = [sys.executable, "-c", "print('said by a child', flush=True)"]
    status = subprocess.run(child, check=False).returncode if arguments.lines > 1000 else "none"
    arguments.out.write_text(f"whole, child {status}")


if __name__ == "__main__":
    assert not {"jax", "torch", "numpy"} & set(sys.modules), "--help would have to wait for these"
    main = Command(Arguments, run, __doc__, stopped=lambda a: f"{a.out} is kept", only_prints="ONLY" in os.environ)
    main.exit()
'''


@dataclass
class Arguments:
    """Options."""

    out: Path = Path("out")
    """Folder."""


def failing(error: BaseException) -> Command[Arguments]:
    def run(arguments: Arguments) -> None:
        raise error

    return Command(Arguments, run, stopped=lambda arguments: f"{arguments.out} is kept", expected=(KeyError,))


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (DataError("a.csv, row 3: no number"), "a.csv, row 3: no number"),
        (StudyError("--sizes 1: too few"), "--sizes 1: too few"),
        (TrainingError("the loss became nan"), "the loss became nan"),
        (KeyError("expected here"), "'expected here'"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.csv"), "a.csv: No such file"),
        (OSError(errno.ENOSPC, "No space left on device"), "out: No space left on device"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "Connection refused"),
    ],
)
def test_errors_of_the_users_making_are_one_line(error: Exception, line: str, capsys) -> None:
    assert failing(error)(Arguments()) == FAILED
    assert capsys.readouterr().err == f"error: {line}\n"


def test_bugs_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        failing(ZeroDivisionError())(Arguments())


def test_ctrl_c_says_what_is_left(capsys) -> None:
    assert failing(KeyboardInterrupt())(Arguments(Path("here"))) == INTERRUPTED
    assert capsys.readouterr().err == "\nstopped; here is kept\n"


@pytest.mark.parametrize(("result", "status"), [(None, 0), ({"tables": 1}, 0), (0, 0), (1, 1)])
def test_an_int_is_the_status_and_all_else_success(result: object, status: int, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["command", "--out", "elsewhere"])
    seen: list[Path] = []

    def run(arguments: Arguments) -> object:
        seen.append(arguments.out)
        return result

    assert Command(Arguments, run)() == status
    assert seen == [Path("elsewhere")]


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("script") / "command.py"
    path.write_text(COMMAND, encoding="utf-8")
    return path


def start(
    script: Path, *arguments: str, environment: dict[str, str] | None = None, **options
) -> subprocess.Popen:
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    everything = {**os.environ, "PYTHONIOENCODING": "utf-8", **(environment or {})}
    return subprocess.Popen([sys.executable, str(script), *arguments], env=everything, **options)


def first_line(process: subprocess.Popen) -> str:
    """Read one line, then leave."""
    assert process.stdout is not None
    line = process.stdout.readline().decode()
    process.stdout.close()
    return line


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_work_goes_on_when_its_reader_leaves(script: Path, tmp_path: Path, unbuffered: str) -> None:
    """More lines than a pipe holds; a child that is started afterwards has nowhere to write either, and no error."""
    unbuffered_too = {"PYTHONUNBUFFERED": unbuffered}
    process = start(script, "--out", str(tmp_path / "file"), "--lines", "3000", environment=unbuffered_too)
    assert first_line(process) == f"0 {'ε' * 100}\n"
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait() == 0
    assert (tmp_path / "file").read_text() == "whole, child 0"
    process.stderr.close()


def test_standard_error_may_lose_its_reader_as_well(script: Path, tmp_path: Path) -> None:
    """`2>&1 | head -1`, and then an error to be said: its status is all that is left."""
    missing = tmp_path / "nowhere" / "file"
    process = start(script, "--out", str(missing), "--pause", "0.2", stderr=subprocess.STDOUT)
    first_line(process)
    assert process.wait() == FAILED


def test_a_command_that_only_prints_ends_with_its_reader(script: Path, tmp_path: Path) -> None:
    """However little it has left to say: the last lines may wait in a buffer until the end."""
    for lines in ("3", "3000"):
        process = start(script, "--out", str(tmp_path / lines), "--lines", lines, environment={"ONLY": "1"})
        process.stdout.close()  # pyright: ignore[reportOptionalMemberAccess]
        assert process.communicate()[1] == b""
        assert process.returncode == UNREAD
    assert not (tmp_path / "3000").exists()


def test_a_standard_output_that_was_never_there(script: Path, tmp_path: Path) -> None:
    """`>&-`, as some services start their programs."""
    words = ["bash", "-c", 'exec "$0" "$@" >&-', sys.executable, str(script), "--out", str(tmp_path / "file")]
    done = subprocess.run(words, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "file").exists()


def test_help_is_quiet_when_its_reader_leaves(script: Path) -> None:
    process = start(script, "--help")
    assert first_line(process).startswith("usage: ")
    assert process.communicate()[1] == b""
    assert process.returncode == 0


def test_work_goes_on_when_its_terminal_hangs_up(script: Path, tmp_path: Path) -> None:
    """As in the background of a shell that was closed, where writes fail with EIO."""
    leader, follower = pty.openpty()
    process = start(
        script, "--out", str(tmp_path / "file"), "--pause", "0.3", stdout=follower, start_new_session=True
    )
    os.close(follower)
    assert os.read(leader, 1)
    os.close(leader)
    assert process.communicate()[1] == b""
    assert process.returncode == 0
    assert (tmp_path / "file").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full here")
def test_a_full_disk_under_the_log_is_an_error(script: Path, tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        process = start(script, "--out", str(tmp_path / "file"), stdout=full)
        assert process.communicate()[1] == b"error: standard output: No space left on device\n"
    assert process.returncode == FAILED


def test_ctrl_c_in_a_running_command(script: Path, tmp_path: Path) -> None:
    process = start(script, "--out", str(tmp_path / "file"), "--pause", "60")
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    said, told = process.communicate()
    assert (process.returncode, said) == (INTERRUPTED, b"")
    assert told.decode() == f"\nstopped; {tmp_path / 'file'} is kept\n"

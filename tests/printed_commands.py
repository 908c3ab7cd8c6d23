"""The Next commands that the project prints, read by the parsers of the commands they name."""

import importlib
import shlex
from pathlib import Path
from typing import Any

import tyro

ROOT = Path(__file__).parents[1]


def next_line(printed: str) -> str:
    """The command of the last `Next:` line, without the words in brackets behind it."""
    (line,) = [line for line in printed.splitlines() if line.startswith("Next: ")][-1:]
    return line.removeprefix("Next: ").partition("   (")[0]


def parsed(command: str) -> tuple[str, Any]:
    """Name of the script and its arguments, as its own parser reads them; SystemExit for what it would refuse."""
    python, script, *words = shlex.split(command)
    assert python == "python"
    assert (ROOT / script).is_file(), command
    assert "..." not in words, command
    module = importlib.import_module(script.removesuffix(".py").replace("/", "."))
    return Path(script).stem, tyro.cli(module.Arguments, args=words)

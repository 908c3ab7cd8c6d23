"""The README promises only what is there."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_theorem_table_names_functions_and_tests_that_exist() -> None:
    rows = [line for line in README.splitlines() if "`tests/theory/" in line]
    assert len(rows) >= 6
    theory = importlib.import_module("theory")
    for row in rows:
        functions = re.findall(r"`theory\.(\w+)`", row)
        assert functions, row
        for function in functions:
            assert function in theory.__all__, f"{function} is not public"
        (test,) = re.findall(r"`(tests/[\w/]+\.py)`", row)
        text = (ROOT / test).read_text(encoding="utf-8")
        assert any(re.search(rf"\b{function}\b", text) for function in functions), (
            f"{test} tests none of {functions}"
        )


def test_figure_table_names_modules_records_and_commands_that_exist() -> None:
    rows = re.findall(
        r"^\| (\w+) \| `(paper_figures/\w+\.py)` \| `([\w/]+)` \| `python ([\w/.]+)` \|$", README, re.M
    )
    assert len(rows) >= 4
    from paper_figures.make_all import FIGURES

    assert {name for name, *_ in rows} == set(FIGURES)
    for _, module, records, script in rows:
        assert (ROOT / module).is_file()
        assert (ROOT / records / "provenance.json").is_file()
        assert (ROOT / script).is_file()


def test_links_lead_to_files() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_library_example_prints_what_it_says() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(code.strip().splitlines()) == 5
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("slope 0.4286")


@pytest.mark.parametrize("script", sorted(path.name for path in (ROOT / "experiments").glob("[a-z]*.py")))
def test_every_experiment_explains_itself(script: str) -> None:
    command = [sys.executable, str(ROOT / "experiments" / script), "--help"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--out" in result.stdout
    assert f"experiments/{script}" in README

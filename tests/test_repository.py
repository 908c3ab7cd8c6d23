"""The rules of the house, run as tests: lint, types, import direction, and what may not be in the tree."""

import importlib.util
import re
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(*command: str) -> None:
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout[-4000:]}\n{result.stderr[-2000:]}"


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]


def test_lint() -> None:
    run(sys.executable, "-m", "ruff", "check", ".")


def test_format() -> None:
    run(sys.executable, "-m", "ruff", "format", "--check", ".")


def test_types() -> None:
    run(sys.executable, "-m", "basedpyright", "--pythonpath", sys.executable)


def test_import_direction() -> None:
    script = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    run(sys.executable, "-c", script)


def test_commands_need_nothing_but_what_is_installed() -> None:
    """`python experiments/x.py` finds theory and empirical, which are installed; the folder it lies in is no package there."""
    for path in (ROOT / "experiments").glob("*.py"):
        found = re.search(r"^\s*(from|import) experiments\b", path.read_text(encoding="utf-8"), re.M)
        assert not found, path


def test_modules_stay_small() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in tracked_files()
        if path.suffix == ".py" and (lines := len(path.read_text().splitlines())) > 400
    }
    assert not long, f"split these: {long}"


def test_no_machine_paths_or_registries() -> None:
    # Built from pieces so that this file does not match itself.
    forbidden = re.compile(
        "|".join(
            [
                r"(?<![\w.])/(work|root|home)/\w",
                "py" + r"pi\.org",
                "python" + "hosted",
                "npm" + r"js\.(org|com)",
            ]
        )
    )
    found = []
    for path in tracked_files():
        if path.suffix in {".png", ".pdf"}:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if forbidden.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)


def test_nothing_unpickles() -> None:
    # numpy and torch read pickles only when asked to: nobody asks.
    forbidden = re.compile(
        r"import pickle|pickle\.load|allow_pickle=True|weights_only=False|\beval\(|\bexec\("
    )
    for path in tracked_files():
        # Tests write hostile files to see them refused.
        if path.suffix == ".py" and ROOT / "tests" not in path.parents:
            for number, line in enumerate(path.read_text().splitlines(), 1):
                allowed = "model.eval()" in line or ".eval()" in line
                assert allowed or not forbidden.search(line), (
                    f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
                )


def test_constraints_pin_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {
        re.split(r"[\[<>=!;, ]", entry)[0]
        for entry in project["dependencies"] + project["optional-dependencies"]["test"]
    }
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)

    def canonical(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    missing = {canonical(name) for name in names} - {canonical(name) for name in pins}
    assert not missing, f"constraints.txt lacks {sorted(missing)}"


def test_the_wheel_carries_configs_and_style(tmp_path: Path) -> None:
    import zipfile

    assert importlib.util.find_spec("build") is not None
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path))
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.endswith("conv_tower.json") for name in names)
    assert any(name.endswith(".mplstyle") for name in names)
    packages = {name.split("/")[0] for name in names if not name.startswith("quality_not_quantity")}
    assert packages == {"theory", "empirical"}


def test_the_source_distribution_is_the_checkout(tmp_path: Path) -> None:
    """Whoever unpacks it can run every command, redraw every figure and run the tests."""
    wanted = {path.relative_to(ROOT).as_posix() for path in tracked_files()}
    run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", str(tmp_path))
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    assert not {name for name in wanted - names if not name.startswith(".")}
    assert not [name for name in names if "__pycache__" in name]

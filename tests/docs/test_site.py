"""The documentation builds without a warning, names every public object and shows its formulas."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("mkdocs", "material", "mkdocstrings", "jupytext", "latex2mathml")


@pytest.mark.slow
def test_the_site_builds_strictly_and_names_the_public_objects(tmp_path) -> None:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(
            f"no {', '.join(missing)}: the documentation is not built; install it with: pip install -e '.[docs]'"
        )
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--site-dir",
        str(tmp_path),
    ]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    import theory

    page = (tmp_path / "api" / "theory.html").read_text(encoding="utf-8")
    absent = [name for name in theory.__all__ if not re.search(rf'id="theory\.(\w+\.)*{name}"', page)]
    assert absent == []
    derivations = (tmp_path / "derivations.html").read_text(encoding="utf-8")
    assert derivations.count("<math") > 300
    # A formula that is wider than the page scrolls in its own frame.
    blocks = re.findall(r'(.{21})<math[^>]*display="block"', derivations, re.S)
    assert len(blocks) > 100
    assert set(blocks) == {'<div class="formula">'}
    assert ".formula { overflow-x: auto;" in (tmp_path / "site.css").read_text(encoding="utf-8")
    assert not re.search(
        r"\\(frac|sum|sqrt)\b", re.sub(r"<(code|pre|script).*?</\1>", "", derivations, flags=re.S)
    )
    home = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "Quality Not Quantity" in home
    shown = re.findall(r'<img [^>]*src="(figures/[\w-]+\.png)"', home)
    assert len(shown) >= 2
    for figure in {*shown, *re.findall(r'href="(figures/[\w-]+\.png)"', home)}:
        assert (tmp_path / figure).stat().st_size > 10_000, figure
    for path in tmp_path.rglob("*.html"):
        fetched = re.findall(r'(?:src|<link[^>]+href)="(https?://[^"]+)"', path.read_text(encoding="utf-8"))
        assert fetched == [], f"{path.name} fetches {fetched[0]}"

"""The tutorial, run as a reader runs it, at smoke size."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "docs" / "tutorials" / "from_two_runs_to_the_mixture.py"


def load():
    spec = importlib.util.spec_from_file_location("tutorial", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_importing_it_trains_nothing_and_its_mediant_is_theorem_2(tmp_path, monkeypatch) -> None:
    import pandas as pd

    monkeypatch.setenv("TUTORIAL_FOLDER", str(tmp_path))
    tutorial = load()
    assert list(tmp_path.iterdir()) == []
    margins = pd.DataFrame({"reference": [2.0, 1.0], "sketch": [1.0, 0.9]}, index=["a", "b"])
    told = tutorial.predictions(margins, 0.3)
    assert told["mediant"] == pytest.approx((0.7 * 1.0 + 0.3 * 0.9) / (0.7 * 2.0 + 0.3 * 1.0))
    assert tutorial.mediant_by_theorem(margins, 0.3) == pytest.approx(told["mediant"])


def test_it_is_a_percent_script_with_text_and_code() -> None:
    cells = re.split(r"^# %%", SCRIPT.read_text(encoding="utf-8"), flags=re.M)[1:]
    text = [cell for cell in cells if cell.startswith(" [markdown]")]
    assert len(text) >= 6
    assert all(line.startswith("#") or not line.strip() for cell in text for line in cell.splitlines()[1:])
    assert len(cells) - len(text) >= 5


@pytest.mark.slow
def test_it_runs_at_smoke_size_and_shows_predictions_beside_the_measurement(tmp_path) -> None:
    environment = {**os.environ, "TUTORIAL_FOLDER": str(tmp_path), "TUTORIAL_PRESET": "smoke"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    table = [
        line.split()
        for line in done.stdout.splitlines()
        if line.startswith(("v2", "sketch", "rendition", "odd_view"))
    ]
    assert len(table) >= 2
    for _, *numbers in table:
        *rules, measured, low, high = map(float, numbers)
        assert low < measured < high
        assert all(0 < rule < 2 for rule in rules)
    assert "python experiments/report.py" in done.stdout
    report = [sys.executable, "experiments/report.py", str(tmp_path)]
    subprocess.run(report, cwd=ROOT, check=True, capture_output=True)
    assert (tmp_path / "report.html").stat().st_size > 1_000_000

import subprocess
import sys
from pathlib import Path

import pytest

from empirical.errors import StudyError
from paper_figures import committed, make_all

ROOT = Path(__file__).resolve().parents[2]


def test_every_figure_is_redrawn_from_committed_records_without_torch(tmp_path: Path) -> None:
    script = (
        "import sys; from paper_figures.make_all import main\n"
        f"sys.argv = ['make_all', '--out', {str(tmp_path)!r}]\n"
        "assert main() == 0\n"
        "assert 'torch' not in sys.modules, 'figures need no torch'\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True)
    for name in make_all.FIGURES:
        assert (tmp_path / f"{name}.png").stat().st_size > 20_000
        assert (tmp_path / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_a_missing_record_names_the_command_that_makes_it(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(committed, "RECORDS", tmp_path)
    with pytest.raises(StudyError, match=r"make it with: python experiments/dilution_sim\.py"):
        committed.read_table("dilution_sim", "mixing")


def test_an_unknown_figure_is_named(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["make_all", "--only", "moon"])
    assert make_all.main() == 2
    assert "no figure 'moon'" in capsys.readouterr().err

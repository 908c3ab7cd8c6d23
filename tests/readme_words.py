"""The README as one text, and numbers as it writes them."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GPU_STUDY = ROOT / "paper_figures/records/gpu_study"


def short(value: float, digits: int = 3) -> str:
    """The number as the README writes it: no zero before the point."""
    return f"{value:.{digits}f}".replace("0.", ".", 1)

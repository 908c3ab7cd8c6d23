"""Filtering in the linear setting (Theorem 3): predictions as lines, simulations as points."""

from pathlib import Path

from paper_figures.committed import read_table
from theory.panels.filtering import default_filtering_setting, filtering_curves
from theory.panels.filtering_figure import draw_filtering

STUDY = "dilution_sim"


def draw(stem: Path) -> None:
    """Draw from `records/dilution_sim`; the smooth lines are the closed forms again."""
    filtering = read_table(STUDY, "filtering")
    setting = default_filtering_setting(int(filtering["d"].iloc[0]))
    pool_size = int(filtering["pool_size"].iloc[0])
    curves = filtering_curves(setting, pool_size, float(filtering["kept_predicted"].min()))
    draw_filtering(filtering, curves, stem)

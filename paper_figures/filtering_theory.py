"""Filtering in the linear setting (Theorem 3): predictions as lines, simulations as points."""

from pathlib import Path

from paper_figures.committed import read_table
from theory.figures import draw_filtering
from theory.simulation_filtering import default_filtering_setting, filtering_curves

STUDY = "dilution_sim"


def draw(stem: Path) -> None:
    """Draw from `records/dilution_sim`; the smooth lines are the closed forms again."""
    filtering = read_table(STUDY, "filtering")
    setting = default_filtering_setting(int(filtering["d"].iloc[0]))
    pool_size = int(filtering["pool_size"].iloc[0])
    curves = filtering_curves(setting, pool_size, float(filtering["kept_predicted"].min()))
    draw_filtering(filtering, curves, stem)

"""Mixing in the linear setting: predictions as lines, simulations as points."""

from pathlib import Path

import numpy as np

from paper_figures.committed import read_table
from theory.panels.mixing import default_setting, place_curves
from theory.panels.mixing_figure import draw_dilution

STUDY = "dilution_sim"


def draw(stem: Path) -> None:
    """Draw from `records/dilution_sim`; the smooth lines are the closed forms again."""
    mixing, bias = read_table(STUDY, "mixing"), read_table(STUDY, "finite_d_bias")
    setting = default_setting(int(mixing["d"].iloc[0]))
    shares = mixing["share"].unique()
    middle = float(shares[np.abs(shares - 0.5).argmin()])
    grid = np.geomspace(mixing["n"].min(), mixing["n"].max(), 60)
    names = (setting.sources[0].name, setting.sources[1].name)
    draw_dilution(mixing, bias, place_curves(setting, middle, list(grid)), stem, names)

"""A contact sheet of near duplicates, so that a reader can judge them: `draw_duplicates`."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

_COLUMNS, _MOST = 4, 24


def draw_duplicates(
    pairs: pd.DataFrame, image_of: Mapping[tuple[str, str], np.ndarray], stem: str | Path, remark: str
) -> list[Path]:
    """Draw the first pairs of `near_duplicates.check_leakage` side by side, the window of the wider image framed.

    image_of maps (set, key) to its image, uint8 (3, S, S). Returns the files written.
    """
    import matplotlib.pyplot as plt
    from matplotlib.patches import Rectangle

    from theory.plotting import PALETTE, save_figure, use_style

    use_style()
    shown = pairs.head(_MOST)
    rows = max(1, -(-len(shown) // _COLUMNS))
    height = 1.95 * rows + 0.95
    fig = plt.figure(figsize=(12, height))
    fig.set_layout_engine("none")  # boxes are placed by hand
    title = f"{len(pairs)} pairs of images that show the same picture"
    if len(pairs) > len(shown):
        title += f", the first {len(shown)} of them"
    fig.text(0.02, 1 - 0.15 / height, title, va="top", fontsize=12, fontweight="bold")
    fig.text(0.02, 1 - 0.45 / height, remark, va="top", fontsize=8, color="#444444")
    if not len(shown):
        fig.text(0.5, 0.35, "none found", ha="center", fontsize=14, color="#444444")
    for number, (_, pair) in enumerate(shown.iterrows()):
        left = 0.25 + (number % _COLUMNS) * 2.95
        top = 0.8 + number // _COLUMNS * 1.95
        for side, at in (("first", left), ("second", left + 1.35)):
            axes = fig.add_axes((at / 12, 1 - (top + 1.3) / height, 1.3 / 12, 1.3 / height))
            image = image_of[str(pair[side]), str(pair[f"{side}_key"])]
            axes.imshow(image.transpose(1, 2, 0), interpolation="nearest")
            axes.set_axis_off()
            if pair["window_of"] == side:
                size = image.shape[-1]
                corner = (pair["left"] * size - 0.5, pair["top"] * size - 0.5)
                frame = Rectangle(corner, pair["side"] * size, pair["side"] * size, fill=False, lw=1.2)
                frame.set_edgecolor(PALETTE["orange"])
                axes.add_patch(frame)
            text = f"{pair[side]}\n{str(pair[f'{side}_key'])[-24:]}"
            fig.text((at + 0.65) / 12, 1 - (top + 1.33) / height, text, ha="center", va="top", fontsize=6.2)
        label = f"{'LEAK, ' if pair['leak'] else ''}{pair['kind']}, {pair['similarity']:.3f}"
        colour = PALETTE["vermillion"] if pair["leak"] else "#444444"
        fig.text(
            (left + 1.325) / 12,
            1 - (top - 0.03) / height,
            label,
            ha="center",
            va="bottom",
            fontsize=7,
            color=colour,
        )
    return save_figure(fig, stem)

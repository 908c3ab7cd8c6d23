"""Draws the contact sheet of the embedded world from its images and captions; use `draw_contact_sheet`."""

import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import UInt8

from theory.page import current_page, pt
from theory.plotting import save_figure, use_style

COLUMNS = ("kind", "name", "stands_for", "description", "column", "caption")
NUM_CAPTIONED = 5
"""Pairs per source shown with their captions; the further ones are a strip of small images."""
_STRIP_ROWS = 2
_DESIGN_WIDTH = 12.0
_SMALL = {"color": "#444444", "linespacing": 1.25}


def mosaic(images: UInt8[np.ndarray, "n 3 size size"], rows: int, gap: int = 2) -> UInt8[np.ndarray, "h w 3"]:
    """Images row by row on white, with white gaps."""
    n, _, size, _ = images.shape
    columns = n // rows
    step = size + gap
    canvas = np.full((rows * step - gap, columns * step - gap, 3), 255, np.uint8)
    for i, image in enumerate(images[: rows * columns]):
        top, left = i // columns * step, i % columns * step
        canvas[top : top + size, left : left + size] = image.transpose(1, 2, 0)
    return canvas


def draw_contact_sheet(
    images: UInt8[np.ndarray, "h w 3"], table: pd.DataFrame, path_stem: str | Path
) -> list[Path]:
    """Draw the sheet: sources with captioned pairs and a strip of further ones, test sets with one image per class.

    images: the mosaic of `world_contents`, a row per source and test set in the table's order. A narrow page shows fewer
    pairs. Returns the paths.
    """
    import matplotlib.pyplot as plt

    use_style()
    names = list(dict.fromkeys(zip(table["kind"], table["name"], strict=True)))
    size = len(images) // len(names)
    sources = [name for kind, name in names if kind == "source"]
    tests = [name for kind, name in names if kind == "test set"]
    page, scale = current_page(), pt(1.0) if current_page().width is None else pt(10.0) / 10.0
    # Everything is placed in inches of a sheet whose text has the screen's size, then scaled to the page's text.
    width = _DESIGN_WIDTH if page.width is None else page.width / scale
    margin, label, row_height, thumb, step = 0.2, 1.85, 1.14, 0.78, 0.98
    captioned = min(NUM_CAPTIONED, max(2, int((width - 2 * margin - label - 1.2) / step)))
    strip_left = margin + label + captioned * step + 0.1
    classes = table[(table["kind"] == "test set") & (table["name"] == tests[0])]["caption"].tolist()
    cell = (width - 2 * margin - 1.1) / len(classes)
    tilted = cell < 0.45
    head = 0.5 if tilted else 0.0
    height = 0.48 + len(sources) * row_height + 0.6 + head + len(tests) * (max(cell, 0.42) + 0.03) + 0.1
    fig = plt.figure(figsize=(width * scale, height * scale))
    fig.set_layout_engine("none")  # boxes are placed by hand

    def place(image: np.ndarray, left: float, top: float, wide: float, high: float) -> None:
        axes = fig.add_axes((left / width, 1 - (top + high) / height, wide / width, high / height))
        axes.imshow(image, aspect="equal", interpolation="nearest")
        axes.set_axis_off()

    def write(text: str, left: float, top: float, fontsize: float | int, **style) -> None:
        fig.text(
            left / width,
            1 - top / height,
            text,
            va=style.pop("va", "top"),
            fontsize=fontsize * scale,
            **style,
        )

    def image(row: int, column: int) -> np.ndarray:
        return images[row * size : (row + 1) * size, column * size : (column + 1) * size]

    write("Training sources of the embedded world", margin, 0.12, 12, fontweight="bold")
    # Over the small images, where the page leaves them a line beside the title.
    beside = strip_left > margin + 4.0
    write("further images" if beside else "", strip_left, 0.2, 8, **_SMALL)
    for row, name in enumerate(sources):
        own = table[(table["kind"] == "source") & (table["name"] == name)]
        top = 0.48 + row * row_height
        write(name.replace("_", " "), margin, top, 10, fontweight="bold")
        write(f"in the role of {own['stands_for'].iloc[0]}", margin, top + 0.19, 6.8, **_SMALL)
        facts = [
            part for line in str(own["description"].iloc[0]).split(" | ") for part in textwrap.wrap(line, 31)
        ]
        write("\n".join(facts), margin, top + 0.36, 6.8, **_SMALL)
        for column in range(captioned):
            left = margin + label + column * step
            place(image(row, column), left, top, thumb, thumb)
            caption = textwrap.fill(str(own["caption"].iloc[column]), 18)
            write(caption, left + thumb / 2, top + thumb + 0.03, 6.5, ha="center", linespacing=1.1)
        room = width - margin - strip_left
        fit = min((len(own) - NUM_CAPTIONED) // _STRIP_ROWS, max(1, int(room / 0.475)))
        chosen = range(NUM_CAPTIONED, NUM_CAPTIONED + fit * _STRIP_ROWS)
        strip = np.stack([image(row, column).transpose(2, 0, 1) for column in chosen])
        place(mosaic(strip, _STRIP_ROWS), strip_left, top, min(room, 0.475 * fit + 0.1), 0.95)

    top = 0.48 + len(sources) * row_height + 0.12
    write("Test sets: silhouettes held out of training", margin, top, 12, fontweight="bold")
    for k, name in enumerate(classes):
        where = margin + 1.1 + (k + 0.5) * cell, top + 0.3 + head
        style = {"rotation": 60, "va": "bottom", "rotation_mode": "anchor"} if tilted else {"ha": "center"}
        write(name, *((where[0] - 0.02, where[1] + 0.14) if tilted else where), 7.0, **style)
    for row, name in enumerate(tests):
        own = table[(table["kind"] == "test set") & (table["name"] == name)]
        at = top + 0.48 + head + row * (max(cell, 0.42) + 0.03)
        write(name.replace("_", " "), margin, at + (0.0 if tilted else 0.1), 10, fontweight="bold")
        write(f"as {own['stands_for'].iloc[0]}", margin, at + (0.19 if tilted else 0.29), 6.8, **_SMALL)
        row_images = np.stack([image(len(sources) + row, k).transpose(2, 0, 1) for k in range(len(classes))])
        place(mosaic(row_images, 1), margin + 1.1, at, cell * len(classes), cell)
    return save_figure(fig, path_stem)

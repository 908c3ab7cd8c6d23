"""A contact sheet of the embedded world, so that a reader sees what models are trained and tested on; use `draw_world`."""

import textwrap
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from empirical.world import SOURCE_NAMES, TEST_SET_NAMES, class_names, render_source, render_test_set
from empirical.world.constants import BLOCK_SIZE, STYLE_NAMES, WORLD

_CAPTIONED = 5  # pairs per source shown with their captions
_STRIP = (2, 10)  # rows and columns of further images per source
_IMAGE_SIZE = 64  # the scenes of 32 pixels, drawn finer for the eye
_INCHES = (12.0, 10.9)


def _mosaic(
    images: UInt8[np.ndarray, "n 3 size size"], rows: int, gap: int = 2
) -> UInt8[np.ndarray, "h w 3"]:
    """Images row by row on white, with white gaps."""
    n, _, size, _ = images.shape
    columns = n // rows
    step = size + gap
    canvas = np.full((rows * step - gap, columns * step - gap, 3), 255, np.uint8)
    for i, image in enumerate(images[: rows * columns]):
        top, left = i // columns * step, i % columns * step
        canvas[top : top + size, left : left + size] = image.transpose(1, 2, 0)
    return canvas


def _shares(names: tuple[str, ...], shares: tuple[float, ...]) -> str:
    return " ".join(f"{name} {100 * share:.0f}%" for name, share in zip(names, shares, strict=True) if share)


def draw_world(path_stem: str | Path, seed: int = 0, image_size: int = _IMAGE_SIZE) -> list[Path]:
    """Draw examples of every source, some with their captions, and of every test set; returns the .png and .pdf written.

    Captioned pairs are a source's first ones in every style it has, the strip the next ones as they come; captions may
    omit the class or name a wrong one, at the shares stated. Test sets show one image per class. Scenes are those that
    models see at 32 pixels, rendered at `image_size`.
    """
    import matplotlib.pyplot as plt

    from theory.plotting import save_figure, use_style

    use_style()
    width, height = _INCHES
    fig = plt.figure(figsize=_INCHES)
    fig.set_layout_engine("none")  # boxes are placed by hand

    def place(image: np.ndarray, left: float, top: float, wide: float, high: float) -> None:
        """An image in a box given in inches from the figure's upper left corner."""
        axes = fig.add_axes((left / width, 1 - (top + high) / height, wide / width, high / height))
        axes.imshow(image, aspect="equal", interpolation="nearest")
        axes.set_axis_off()

    def write(text: str, left: float, top: float, **style) -> None:
        fig.text(left / width, 1 - top / height, text, va="top", **style)

    margin, label, small = 0.2, 1.85, {"fontsize": 6.8, "color": "#444444", "linespacing": 1.25}
    write("Training sources of the embedded world", margin, 0.12, fontsize=12, fontweight="bold")
    row_height, thumb = 1.14, 0.78
    strip_left = margin + label + _CAPTIONED * 0.98 + 0.1
    for row, (name, spec) in enumerate(zip(SOURCE_NAMES, WORLD.sources, strict=True)):
        top = 0.48 + row * row_height
        write(name.replace("_", " "), margin, top, fontsize=10, fontweight="bold")
        write(f"in the role of {spec.stands_for}", margin, top + 0.19, **small)
        styles = _shares(STYLE_NAMES, spec.styles)
        views = _shares(tuple(v.name for v in WORLD.views), spec.views)
        mistakes = spec.mistakes
        captions = _shares(("omit", "wrong", "synonym"), (mistakes.omitted, mistakes.wrong, mistakes.synonym))
        lines = [styles, views, f"captions: {captions}" if captions else "captions: no mistakes"]
        write("\n".join(w for line in lines for w in textwrap.wrap(line, 31)), margin, top + 0.36, **small)
        pairs = render_source(name, seed, 0, BLOCK_SIZE, image_size)
        assert pairs.metadata is not None
        shown = [m["style"] for m in pairs.metadata]
        firsts = [shown.index(style) for style in STYLE_NAMES if style in shown]
        others = [i for i in range(len(shown)) if i not in firsts]
        chosen = (firsts[:1] + others[: _CAPTIONED - len(firsts)] + firsts[1:])[:_CAPTIONED]
        for column, i in enumerate(chosen):
            left = margin + label + column * 0.98
            place(pairs.images[i].transpose(1, 2, 0), left, top, thumb, thumb)
            caption = textwrap.fill(pairs.captions[i], 18)
            write(caption, left + thumb / 2, top + thumb + 0.03, ha="center", fontsize=6.5, linespacing=1.1)
        strip = [i for i in others if i not in chosen][: _STRIP[0] * _STRIP[1]]
        place(_mosaic(pairs.images[strip], _STRIP[0]), strip_left, top, width - margin - strip_left, 0.95)

    top = 0.48 + len(SOURCE_NAMES) * row_height + 0.12
    write("Test sets: silhouettes held out of training", margin, top, fontsize=12, fontweight="bold")
    names = class_names()
    cell = (width - 2 * margin - 1.1) / len(names)
    for k, name in enumerate(names):
        write(name, margin + 1.1 + (k + 0.5) * cell, top + 0.3, ha="center", fontsize=7.0)
    for row, (name, spec) in enumerate(zip(TEST_SET_NAMES, WORLD.test_sets, strict=True)):
        at = top + 0.48 + row * (cell + 0.03)
        write(name.replace("_", " "), margin, at + 0.1, fontsize=10, fontweight="bold")
        write(f"as {spec.stands_for}", margin, at + 0.29, **small)
        images = render_test_set(name, len(names), seed, image_size).images
        place(_mosaic(images, 1), margin + 1.1, at, cell * len(names), cell)
    return save_figure(fig, path_stem)

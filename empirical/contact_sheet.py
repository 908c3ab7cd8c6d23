"""A contact sheet of the embedded world, so that a reader sees what models are trained and tested on; use `draw_world`.

Beside the figure it leaves what the figure shows, as NAME_images.png and NAME.csv, from which
`empirical.figures.contact_sheet` redraws it without rendering anything.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from empirical.figures.contact_sheet import COLUMNS, NUM_CAPTIONED, draw_contact_sheet, mosaic
from empirical.tables import write_table
from empirical.world import SOURCE_NAMES, TEST_SET_NAMES, class_names, render_source, render_test_set
from empirical.world.constants import BLOCK_SIZE, STYLE_NAMES, WORLD

_STRIP = 20  # further images per source
_IMAGE_SIZE = 48  # the scenes of 32 pixels, drawn finer for the eye


def _shares(names: tuple[str, ...], shares: tuple[float, ...]) -> str:
    return " ".join(f"{name} {100 * share:.0f}%" for name, share in zip(names, shares, strict=True) if share)


def world_contents(seed: int = 0, image_size: int = _IMAGE_SIZE) -> tuple[np.ndarray, pd.DataFrame]:
    """Images of the sheet as one mosaic (h, w, 3) uint8 without gaps, and what is told of each (columns `COLUMNS`).

    One row of the mosaic per source (its captioned pairs, which are its first ones in every style it has, then the next
    ones as they come), then one per test set (an image of every class). Captions may omit the class or name a wrong one, at
    the shares that the description states. Scenes are those that models see at 32 pixels, rendered at `image_size`.
    """
    rows, table = [], []
    for name, spec in zip(SOURCE_NAMES, WORLD.sources, strict=True):
        mistakes = spec.mistakes
        wrong = _shares(("omit", "wrong", "synonym"), (mistakes.omitted, mistakes.wrong, mistakes.synonym))
        views = _shares(tuple(v.name for v in WORLD.views), spec.views)
        facts = [_shares(STYLE_NAMES, spec.styles), views, f"captions: {wrong or 'no mistakes'}"]
        pairs = render_source(name, seed, 0, BLOCK_SIZE, image_size)
        assert pairs.metadata is not None
        shown = [m["style"] for m in pairs.metadata]
        firsts = [shown.index(style) for style in STYLE_NAMES if style in shown]
        others = [i for i in range(len(shown)) if i not in firsts]
        chosen = (firsts[:1] + others[: NUM_CAPTIONED - len(firsts)] + firsts[1:])[:NUM_CAPTIONED]
        strip = [i for i in others if i not in chosen][:_STRIP]
        rows.append(pairs.images[[*chosen, *strip]])
        words = [*(pairs.captions[i] for i in chosen), *[""] * len(strip)]
        table += [
            ("source", name, spec.stands_for, " | ".join(facts), k, text) for k, text in enumerate(words)
        ]
    names = class_names()
    for name, spec in zip(TEST_SET_NAMES, WORLD.test_sets, strict=True):
        rows.append(render_test_set(name, len(names), seed, image_size).images)
        table += [("test set", name, spec.stands_for, "", k, text) for k, text in enumerate(names)]
    width = max(len(row) for row in rows)
    blank = np.full((width, 3, image_size, image_size), 255, np.uint8)
    padded = np.concatenate([np.concatenate([row, blank[len(row) :]]) for row in rows])
    return mosaic(padded, len(rows), gap=0), pd.DataFrame(table, columns=list(COLUMNS))


def draw_world(path_stem: str | Path, seed: int = 0, image_size: int = _IMAGE_SIZE) -> list[Path]:
    """Draw examples of every source, some with their captions, and of every test set; returns the figure's paths.

    Writes STEM_images.png and STEM.csv (`world_contents`) beside the figure.
    """
    from PIL import Image

    stem = Path(path_stem)
    images, table = world_contents(seed, image_size)
    stem.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(images).save(stem.with_name(f"{stem.name}_images.png"), optimize=True)
    write_table(table, stem.with_name(f"{stem.name}.csv"))
    return draw_contact_sheet(images, table, stem)

"""The contact sheet is drawn whole, from the world that models see."""

import numpy as np
from PIL import Image

from empirical.contact_sheet import draw_world
from empirical.figures.contact_sheet import mosaic


def test_a_mosaic_is_the_images_row_by_row():
    images = np.arange(6 * 3 * 4 * 4, dtype=np.uint8).reshape(6, 3, 4, 4)
    found = mosaic(images, rows=2, gap=1)
    assert found.shape == (9, 14, 3)
    assert np.array_equal(found[5:9, 5:9], images[4].transpose(1, 2, 0))
    assert (found[4] == 255).all()


def test_the_sheet_shows_sources_and_test_sets(tmp_path):
    paths = draw_world(tmp_path / "world", seed=1000, image_size=16)
    assert [p.name for p in paths] == ["world.png", "world.pdf"]
    pixels = np.asarray(Image.open(paths[0]).convert("RGB")).astype(int)
    dark = pixels.sum(2) < 120  # text, ink and neon
    thirds = np.array_split(dark.any(1), 12)
    assert all(band.any() for band in thirds)
    assert np.ptp(pixels, axis=2).max() > 150  # colours arrive on the page

"""Silhouettes, their distance fields, and the looks of the four styles."""

import dataclasses

import numpy as np
import pytest
import torch

from empirical.world import atlas as atlas_module
from empirical.world.atlas import atlas, atlas_names, silhouette_masks, world_hash
from empirical.world.constants import WORLD
from empirical.world.render import Scenes, render
from empirical.world.shapes import CANVAS, EXTENT, box, disk, polygon, stroke
from empirical.world.silhouettes import (
    HELD_OUT_VARIANTS,
    NUM_VARIANTS,
    SILHOUETTE_NAMES,
    TRAINING_VARIANTS,
    draw_silhouette,
)

K = len(WORLD.classes)


def overlap(a, b) -> float:
    """Intersection over union of two masks."""
    return (a & b).sum() / (a | b).sum()


def scenes(style: int, view: int = 0, n: int = K) -> Scenes:
    zeros = np.zeros(n, np.int64)
    return Scenes(np.arange(n) % K, zeros + 2, zeros + style, zeros + view, np.arange(n) % 8, zeros)


def test_the_atlas_holds_every_class_and_distractor():
    assert len(SILHOUETTE_NAMES) >= 24
    assert set(atlas_names()) <= set(SILHOUETTE_NAMES)
    assert tuple(atlas().shape[:2]) == (len(atlas_names()), NUM_VARIANTS)
    assert len(TRAINING_VARIANTS) >= 6
    assert len(HELD_OUT_VARIANTS) >= 3
    assert not set(TRAINING_VARIANTS) & set(HELD_OUT_VARIANTS)


@pytest.mark.parametrize("name", [c.name for c in WORLD.classes])
def test_held_out_silhouettes_differ_from_every_training_one(name):
    masks = silhouette_masks()[atlas_names().index(name)]
    for held_out in HELD_OUT_VARIANTS:
        nearest = max(overlap(masks[held_out], masks[v]) for v in TRAINING_VARIANTS)
        assert nearest < 0.92, f"variant {held_out} of {name} overlaps a training silhouette by {nearest:.3f}"


@pytest.mark.parametrize("name", [c.name for c in WORLD.classes])
def test_all_variants_of_a_class_differ(name):
    masks = silhouette_masks()[atlas_names().index(name)]
    for a in range(NUM_VARIANTS):
        for b in range(a):
            assert overlap(masks[a], masks[b]) < 0.94


def test_no_silhouette_of_two_classes_is_alike():
    flat = silhouette_masks()[:K].reshape(K, NUM_VARIANTS, -1)
    areas = flat.sum(-1)
    for a in range(K):
        for b in range(a):
            both = flat[a].astype(np.float32) @ flat[b].astype(np.float32).T
            union = areas[a][:, None] + areas[b][None] - both
            assert (both / union).max() < 0.82, (atlas_names()[a], atlas_names()[b])


def test_silhouettes_fit_their_canvas_and_are_visible():
    masks = silhouette_masks()
    for border in (masks[..., 0, :], masks[..., -1, :], masks[..., 0], masks[..., -1]):
        assert not border.any()
    share = masks.mean((-1, -2))
    assert share.min() > 0.04
    assert share.max() < 0.5


def test_distance_fields_agree_with_the_exact_distance_of_a_disk(monkeypatch):
    radius = 0.6
    fake = np.broadcast_to(disk(0.0, 0.0, radius), (1, 1, CANVAS, CANVAS))
    monkeypatch.setattr(atlas_module, "silhouette_masks", lambda: fake)
    field = atlas.__wrapped__()[0, 0].numpy()
    axis = ((np.arange(64) + 0.5) / 64 * 2 - 1) * EXTENT
    exact = np.hypot(*np.meshgrid(axis, axis)) - radius
    pixel = 2 * EXTENT / CANVAS
    assert np.abs(field - exact)[np.hypot(*np.meshgrid(axis, axis)) > 0.1].max() < 1.5 * pixel


def test_shapes_have_their_areas():
    pixel = (2 * EXTENT / CANVAS) ** 2
    assert box(-0.5, 0.5, -0.25, 0.25).sum() * pixel == pytest.approx(0.5, rel=0.05)
    assert disk(0.1, 0.1, 0.5).sum() * pixel == pytest.approx(np.pi / 4, rel=0.03)
    assert polygon([(0, 0), (1, 0), (0, 1)]).sum() * pixel == pytest.approx(0.5, rel=0.05)
    capsule = 0.8 * 0.2 + np.pi * 0.1**2
    assert stroke([(-0.4, 0), (0.4, 0)], 0.2).sum() * pixel == pytest.approx(capsule, rel=0.06)


def test_unknown_silhouettes_are_refused():
    with pytest.raises(ValueError, match="unknown silhouette 'zebra'"):
        draw_silhouette("zebra", 0)
    with pytest.raises(ValueError, match=r"variant must be in 0\.\.8, got 9"):
        draw_silhouette("star", 9)


def test_rendering_is_a_function_of_scenes_and_seed():
    assert np.array_equal(render(scenes(0), 3), render(scenes(0), 3))
    assert not np.array_equal(render(scenes(0), 3), render(scenes(0), 4))


def test_threads_do_not_change_pixels():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = render(scenes(0, n=256), 5)
        torch.set_num_threads(2)
        assert np.array_equal(one, render(scenes(0, n=256), 5))
    finally:
        torch.set_num_threads(before)


def test_sketches_are_gray_neon_is_dark_and_cartoons_are_bright():
    sketch, cartoon, neon = (render(scenes(style), 7).astype(float) for style in (1, 2, 3))
    assert np.abs(sketch[:, 0] - sketch[:, 1]).max() == 0
    assert np.median(neon.mean(1)) < 60
    assert neon.max() > 220
    assert np.median(cartoon.max(1)) > 200


def test_photos_are_noisier_in_v2_than_canonical():
    def roughness(view: int) -> float:
        images = render(scenes(0, view, 200), 9).astype(float)
        return float(np.abs(np.diff(images[:, :, :4, :4], axis=-1)).mean())  # corners: mostly background

    assert roughness(1) > 1.5 * roughness(0)


@pytest.mark.parametrize("style", range(4))
def test_an_image_shows_the_same_scene_at_every_size(style):
    small = render(scenes(style), 11, 32).astype(float)
    large = render(scenes(style), 11, 64).astype(float)
    shrunk = large.reshape(K, 3, 32, 2, 32, 2).mean((3, 5))
    correlation = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(small, shrunk, strict=True)]
    assert np.median(correlation) > 0.6
    assert np.median(correlation) > np.corrcoef(small[0].ravel(), shrunk[1].ravel())[0, 1]


def test_objects_cover_where_their_distance_is_negative():
    """A cartoon's fill is the named colour: the red ones must be red in the middle of a solid silhouette."""
    n = 64
    zeros = np.zeros(n, np.int64)
    heart = [c.name for c in WORLD.classes].index("heart")
    images = render(Scenes(zeros + heart, zeros + 2, zeros + 2, zeros, zeros, zeros), 13)
    center = images[:, :, 15:17, 15:17].mean((2, 3))
    assert (center[:, 0] > 180).all()
    assert (center[:, 1:] < 60).all()


def test_image_sizes_too_small_to_show_anything_are_refused():
    with pytest.raises(ValueError, match="at least 8 pixels, got 4"):
        render(scenes(0), 1, 4)


def test_every_constant_enters_the_hash(monkeypatch):
    def hash_with(**changes) -> str:
        with monkeypatch.context() as patch:
            patch.setattr(atlas_module, "WORLD", dataclasses.replace(WORLD, **changes))
            return world_hash.__wrapped__()

    base = hash_with()
    assert base == world_hash()
    for field in dataclasses.fields(WORLD):
        value = getattr(WORLD, field.name)
        if isinstance(value, int):
            changed = value + 1
        elif isinstance(value, tuple):
            changed = value[:-1]
        else:
            first = dataclasses.fields(value)[0]
            old = getattr(value, first.name)
            new = 0.123 if isinstance(old, float) else (0.123, 0.456)
            changed = dataclasses.replace(value, **{first.name: new})
        if field.name != "distractors":  # also changes the atlas's rows, which are cached here
            assert hash_with(**{field.name: changed}) != base, field.name

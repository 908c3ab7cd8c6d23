"""Draws batches of images from an atlas of signed-distance fields; use `render(scenes, seed, image_size)`.

One affine `grid_sample` gives each image's signed distance to its object's outline; a shader per style turns distances
into colours. Lengths inside shaders are in 1/32 of the image, so that the look does not depend on the image size.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from empirical.world.atlas import atlas
from empirical.world.constants import WORLD, Range
from empirical.world.shapes import EXTENT
from empirical.world.silhouettes import NUM_VARIANTS

Scalars = Float[Tensor, " n"]
Field = Float[Tensor, "n channels size size"]


@dataclass
class Scenes:
    """What each image shows, as indices into the world's constants (int64 arrays of equal length n)."""

    classes: Int64[np.ndarray, " n"]
    variants: Int64[np.ndarray, " n"]
    styles: Int64[np.ndarray, " n"]
    views: Int64[np.ndarray, " n"]
    colors: Int64[np.ndarray, " n"]
    backgrounds: Int64[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.classes)

    def select(self, index: Int64[np.ndarray, " m"]) -> "Scenes":
        """The scenes at the given positions."""
        return Scenes(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


class _Draws:
    """Random numbers for n images: scalars and pixel fields come from two streams, so that a scene has the same pose,
    colours and clutter at every image size."""

    def __init__(self, n: int, image_size: int, seed: int):
        self.n, self.image_size = n, image_size
        self._scalars = torch.Generator().manual_seed(seed)
        self._fields = torch.Generator().manual_seed(seed ^ 0x5DEECE66D)

    def uniform(self, limits: Range) -> Scalars:
        low, high = limits
        return torch.rand(self.n, generator=self._scalars) * (high - low) + low

    def symmetric(self, half_width: Scalars | float) -> Scalars:
        return (torch.rand(self.n, generator=self._scalars) * 2 - 1) * half_width

    def integers(self, high: int) -> Int64[Tensor, " n"]:
        return torch.randint(high, (self.n,), generator=self._scalars)

    def noise(self, channels: int) -> Field:
        """White noise of unit variance at every pixel."""
        return torch.randn(self.n, channels, self.image_size, self.image_size, generator=self._fields)

    def texture(self, channels: int, resolution: int) -> Field:
        """Smooth noise: `resolution` random values along a side, interpolated."""
        coarse = torch.randn(self.n, channels, resolution, resolution, generator=self._fields)
        return F.interpolate(
            coarse, size=(self.image_size, self.image_size), mode="bilinear", align_corners=False
        )


def _column(values: Tensor) -> Tensor:
    """Shape (n, ...) to (n, ..., 1, 1) for broadcasting over pixels."""
    return values[..., None, None]


def _per_image(values: Scalars) -> Tensor:
    return values[:, None, None, None]


def _rgb(hue: Scalars, saturation: Scalars, value: Scalars) -> Float[Tensor, "n 3 1 1"]:
    """Hue, saturation, value in [0, 1] (hue periodic) to RGB."""
    sector = (torch.tensor([5.0, 3.0, 1.0]) + hue[:, None] * 6) % 6
    ramp = torch.minimum(sector, 4 - sector).clamp(0, 1)
    return _column(value[:, None] * (1 - saturation[:, None] * ramp))


def _random_rgb(draws: _Draws, saturation: Range, value: Range) -> Float[Tensor, "n 3 1 1"]:
    return _rgb(draws.uniform((0.0, 1.0)), draws.uniform(saturation), draws.uniform(value))


def _blend(below: Tensor, above: Tensor, opacity: Tensor) -> Tensor:
    return below + (above - below) * opacity


def _axes(size: int) -> tuple[Tensor, Tensor]:
    """Pixel centres: x along the last axis, y (downwards) along the one before, both in [-1, 1]."""
    axis = (torch.arange(size) + 0.5) / size * 2 - 1
    return axis[None, None, None, :], axis[None, None, :, None]


def _across(angle: Scalars, size: int) -> Field:
    """Coordinate along the direction `angle`, about [-1, 1] over the image."""
    x, y = _axes(size)
    return torch.cos(_per_image(angle)) * x + torch.sin(_per_image(angle)) * y


def _signed_distance(
    fields: Float[Tensor, "n height width"],
    rotation: Scalars, scale: Scalars, shear: Scalars, aspect: Scalars, x: Scalars, y: Scalars, image_size: int,
) -> Float[Tensor, "n 1 size size"]:  # fmt: skip
    """Signed distance to each object's outline at every pixel, in 1/32 of the image (approximate under shear)."""
    cos, sin = torch.cos(rotation) / scale, torch.sin(rotation) / scale
    # image -> object coordinates: undo the shift, the rotation and scale, then shear and aspect
    xx, xy, yx, yy = cos, sin, -sin, cos
    xx, xy = (xx + shear * yx) * aspect, (xy + shear * yy) * aspect
    rows = torch.stack(
        [torch.stack([xx, xy, -(xx * x + xy * y)], 1), torch.stack([yx, yy, -(yx * x + yy * y)], 1)], 1
    )
    n = len(rotation)
    grid = F.affine_grid(rows / EXTENT, [n, 1, image_size, image_size], align_corners=False)
    distance = F.grid_sample(
        fields[:, None], grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    beyond = (grid.abs() - 1).clamp_(min=0).norm(dim=-1)[
        :, None
    ] * EXTENT  # off the canvas: add the way back to it
    return (distance + beyond) * (_per_image(scale) * 16)


def _pose(scenes: Scenes, draws: _Draws) -> Float[Tensor, "n 1 size size"]:
    views = torch.from_numpy(scenes.views)

    def of_view(name: str) -> Scalars:
        return torch.tensor([getattr(v, name) for v in WORLD.views])[views]

    low, high = torch.tensor([v.scale for v in WORLD.views])[views].unbind(1)
    rotation = draws.symmetric(of_view("rotation"))
    scale = low + draws.uniform((0.0, 1.0)) * (high - low)
    x, y = draws.symmetric(of_view("offset")), draws.symmetric(of_view("offset"))
    shear = draws.symmetric(of_view("shear"))
    aspect = torch.exp(draws.symmetric(WORLD.pose.aspect))
    fields = atlas()[torch.from_numpy(scenes.classes), torch.from_numpy(scenes.variants)]
    return _signed_distance(fields, rotation, scale, shear, aspect, x, y, draws.image_size)


def _object_hsv(scenes: Scenes, draws: _Draws) -> tuple[Scalars, Scalars, Scalars]:
    named = torch.tensor([(c.hue, c.saturation, c.value) for c in WORLD.colors])[
        torch.from_numpy(scenes.colors)
    ]
    jitter = WORLD.jitter
    hue = (named[:, 0] + draws.uniform(jitter.hue)) % 1
    saturation = (named[:, 1] + draws.uniform(jitter.saturation)).clamp(0, 1)
    return hue, saturation, (named[:, 2] + draws.uniform(jitter.value)).clamp(0, 1)


def _photo_background(scenes: Scenes, draws: _Draws) -> tuple[Field, Float[Tensor, "n 3 1 1"]]:
    """Two colours in a gradient, blotches, grain and clutter; also returns the second colour, which occluders take."""
    style, size, sharp = WORLD.photo, draws.image_size, draws.image_size / 2
    which = torch.from_numpy(scenes.backgrounds)
    low, high = torch.tensor([b.value for b in WORLD.backgrounds])[which].unbind(1)
    busy = torch.tensor([b.clutter for b in WORLD.backgrounds])[which]
    rough = _per_image(torch.tensor([b.texture for b in WORLD.backgrounds])[which])
    first, second = (
        _rgb(
            draws.uniform((0.0, 1.0)),
            draws.uniform(style.background_saturation),
            low + draws.uniform((0.0, 1.0)) * (high - low),
        )
        for _ in range(2)
    )
    image = _blend(first, second, _across(draws.uniform((0.0, 2 * math.pi)), size) * 0.5 + 0.5)
    grain = draws.texture(1, 12) * _per_image(draws.uniform(style.grain))
    image = image + (draws.texture(3, 4) * style.color_blotches + grain) * rough
    expected = torch.tensor([v.clutter for v in WORLD.views])[torch.from_numpy(scenes.views)] * busy
    x_axis, y_axis = _axes(size)
    for k in range(style.clutter_count):
        present = (draws.uniform((0.0, 1.0)) * style.clutter_count < expected).float()
        x, y, radius = draws.symmetric(1.0), draws.symmetric(1.0), draws.uniform(style.clutter_size)
        if k == style.clutter_count - 1:  # a silhouette of no class
            rows = atlas()[len(WORLD.classes) :]
            fields = rows[draws.integers(len(rows)), draws.integers(NUM_VARIANTS)]
            ones = torch.ones(draws.n)
            turn = draws.symmetric(math.pi)
            distance = _signed_distance(fields, turn, radius, ones * 0, ones, x, y, size) / 16
        else:  # boxes and disks
            dx, dy = (x_axis - _per_image(x)).abs(), (y_axis - _per_image(y)).abs()
            boxy = _per_image(draws.uniform((0.0, 1.0))) < 0.5
            distance = torch.where(boxy, torch.maximum(dx, dy * 1.5), torch.hypot(dx, dy)) - _per_image(
                radius
            )
        color = _random_rgb(draws, style.clutter_saturation, style.clutter_value)
        opacity = torch.sigmoid(-distance * sharp * 2) * _per_image(present * style.clutter_opacity)
        image = _blend(image, color, opacity)
    return image, second


def _photo(scenes: Scenes, draws: _Draws) -> Field:
    style, size, views = WORLD.photo, draws.image_size, torch.from_numpy(scenes.views)
    sharp = size / 32
    distance = _pose(scenes, draws)
    color = _rgb(*_object_hsv(scenes, draws))
    image, second = _photo_background(scenes, draws)
    across = _across(draws.uniform(style.light_angle), size)
    # light comes from the upper left: the shadow is the same distance field, moved by whole pixels
    shift = max(1, round(style.shadow_shift * size))
    moved = F.pad(distance, (shift, 0, shift, 0), mode="replicate")[:, :, :size, :size]
    shadow = torch.sigmoid(-moved / style.shadow_softness)
    image = image * (1 - style.shadow_depth * shadow)
    shading = 0.95 - style.light * across + style.bevel * (torch.tanh(-distance / 3) - 0.5)
    shading = shading + draws.texture(1, 8) * style.surface_texture
    image = _blend(image, color * shading, torch.sigmoid(-distance * (2.2 * sharp)))
    occluded = draws.uniform((0.0, 1.0)) < torch.tensor([v.occluded for v in WORLD.views])[views]
    edge = _across(draws.uniform((0.0, 2 * math.pi)), size) - _per_image(
        draws.uniform(style.occluder_position)
    )
    image = _blend(image, second, torch.sigmoid(edge * size) * _per_image(occluded.float()))
    contrast = torch.tensor([v.contrast for v in WORLD.views])[views] * draws.uniform(style.exposure)
    image = (image - 0.5) * _per_image(contrast) + (0.5 + _per_image(draws.uniform(style.brightness)))
    return image + draws.noise(3) * _per_image(torch.tensor([v.noise for v in WORLD.views])[views])


def _sketch(scenes: Scenes, draws: _Draws) -> Field:
    style, size = WORLD.sketch, draws.image_size
    sharp = size / 32
    distance = _pose(scenes, draws)
    wobbly = distance + draws.texture(1, 8) * style.wobble
    line = torch.sigmoid((_per_image(draws.uniform(style.line_width)) - wobbly.abs()) * (3 * sharp))
    pressure = 1 - style.pressure * draws.texture(1, 5).clamp(0, 1)
    line = line * pressure * _per_image(draws.uniform(style.ink))
    angle, period = draws.uniform((0.0, math.pi)), _per_image(draws.uniform(style.hatching_period))
    stripes = torch.sigmoid((torch.cos(_across(angle, size) * (32 * math.pi) / period) - 0.55) * (5 * sharp))
    hatched = (draws.uniform((0.0, 1.0)) < style.hatched).float() * style.hatching_depth
    hatching = stripes * torch.sigmoid(-distance * 2) * _per_image(hatched)
    x_axis, y_axis = _axes(size)
    tilt, spacing = _per_image(draws.symmetric(0.1)), _per_image(draws.uniform(style.rule_period))
    rules = torch.sigmoid(
        (torch.cos((y_axis + tilt * x_axis) * (32 * math.pi) / spacing) - 0.8) * (8 * sharp)
    )
    ruled = (draws.uniform((0.0, 1.0)) < style.ruled).float() * style.rule_depth
    hatching = torch.maximum(hatching, rules * _per_image(ruled))
    smudge = draws.texture(1, 4).clamp(min=0) * style.smudge
    paper = _per_image(draws.uniform(style.paper)) + draws.texture(1, 16) * style.paper_texture - smudge
    return (paper * (1 - torch.maximum(line, hatching))).expand(-1, 3, -1, -1)


def _cartoon(scenes: Scenes, draws: _Draws) -> Field:
    style, sharp = WORLD.cartoon, draws.image_size / 32
    distance = _pose(scenes, draws)
    hue, _, _ = _object_hsv(scenes, draws)
    fill = _rgb(hue, torch.ones(draws.n), draws.uniform(style.value))
    image = _blend(
        _random_rgb(draws, style.background_saturation, (1.0, 1.0)),
        fill,
        torch.sigmoid(-distance * (3 * sharp)),
    )
    return image * (
        1 - torch.sigmoid((_per_image(draws.uniform(style.outline)) - distance.abs()) * (3 * sharp))
    )


def _neon(scenes: Scenes, draws: _Draws) -> Field:
    style = WORLD.neon
    distance = _pose(scenes, draws).abs()
    hue, _, _ = _object_hsv(scenes, draws)
    tube = torch.exp(-((distance / _per_image(draws.uniform(style.tube))) ** 2))
    glow = tube + style.halo * torch.exp(-distance / style.halo_width)
    image = _rgb(hue, draws.uniform(style.saturation), torch.ones(draws.n)) * glow + style.core * tube**4
    return image + _per_image(draws.uniform(style.ambient)) + draws.noise(3) * style.noise


_SHADERS: tuple[Callable[[Scenes, _Draws], Tensor], ...] = (_photo, _sketch, _cartoon, _neon)


@torch.no_grad()
def render(scenes: Scenes, seed: int, image_size: int = 32) -> UInt8[np.ndarray, "n 3 size size"]:
    """Images of the given scenes, RGB in 0..255; the whole batch is one deterministic function of (scenes, seed, image_size).

    Each style's images are drawn together, so an image's random numbers depend on the batch it is in: callers render whole
    blocks and slice. Raises: ValueError for an image size below 8.
    """
    if image_size < 8:
        raise ValueError(f"image_size must be at least 8 pixels, got {image_size}")
    images = np.empty((len(scenes), 3, image_size, image_size), np.uint8)
    for style, shader in enumerate(_SHADERS):
        index = np.flatnonzero(scenes.styles == style)
        if len(index):
            draws = _Draws(len(index), image_size, (seed + 7919 * style) % 2**63)
            pixels = shader(scenes.select(index), draws)
            images[index] = pixels.clamp(0, 1).mul(255).round().to(torch.uint8).numpy()
    return images

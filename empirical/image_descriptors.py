"""Short descriptions of images that survive re-encoding and resizing, and windows that undo cropping.

`descriptors(images)` are unit vectors whose cosine tells two pictures apart; `crops(images, windows)` cuts out parts, so
that a cropped copy can be compared with the part it was cut from.
"""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

SIDE = 32
"""Pixels of the thumbnails that are described."""
_LUMINANCE = (0.299, 0.587, 0.114)
_BRIGHTNESS_WAVES, _COLOUR_WAVES = 10, 4
BLANK = 1.0
"""Contrast below which an image shows nothing to compare (an even area; a picture has 4 and more)."""


def thumbnails(images: UInt8[np.ndarray, "n 3 size size"] | Tensor) -> Float[Tensor, "n 3 double double"]:
    """Images in [0, 1], float32, of 2·SIDE pixels: from these all windows are cut."""
    pixels = torch.as_tensor(np.ascontiguousarray(images)) if isinstance(images, np.ndarray) else images
    pixels = pixels.float() / 255
    if pixels.shape[-1] == 2 * SIDE:
        return pixels
    return functional.interpolate(
        pixels, (2 * SIDE, 2 * SIDE), mode="bilinear", antialias=True, align_corners=False
    )


def crops(
    pictures: Float[Tensor, "n 3 s s"], windows: Float[Tensor, "n 3"]
) -> Float[Tensor, "n 3 side side"]:
    """The windows (left, top, side) of the pictures, in shares of their side, at SIDE pixels; mirrored beyond the edge."""
    n = len(pictures)
    left, top, side = windows.unbind(1)
    transform = torch.zeros((n, 2, 3), dtype=pictures.dtype, device=pictures.device)
    transform[:, 0, 0] = transform[:, 1, 1] = side
    transform[:, 0, 2] = 2 * left + side - 1
    transform[:, 1, 2] = 2 * top + side - 1
    grid = functional.affine_grid(transform, [n, 3, SIDE, SIDE], align_corners=False)
    return functional.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)


def _cosines(waves: int, device: torch.device) -> Float[Tensor, "waves side"]:
    """Rows of the orthonormal discrete cosine transform of SIDE numbers."""
    k = torch.arange(waves, device=device, dtype=torch.float32)[:, None]
    x = torch.arange(SIDE, device=device, dtype=torch.float32)[None] + 0.5
    rows = torch.cos(torch.pi * k * x / SIDE) * (2 / SIDE) ** 0.5
    rows[0] /= 2**0.5
    return rows


def _spectrum(plane: Float[Tensor, "n side side"], waves: int, floor: float) -> Float[Tensor, "n d"]:
    """The lowest waves x waves coefficients, each times its frequency: pictures have 1/f amplitudes, all weigh alike."""
    rows = _cosines(waves, plane.device)
    frequency = torch.arange(waves, device=plane.device, dtype=torch.float32)
    weight = torch.hypot(frequency[:, None], frequency[None]).clamp(min=floor)
    return (rows @ plane @ rows.T * weight).flatten(1)


def descriptors(small: Float[Tensor, "n 3 side side"]) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:
    """Unit vectors of SIDE-pixel images, and their contrast: the length, before normalising, of all but the mean colours.

    Brightness is described by 10 x 10 waves without their mean, so that exposure does not matter, colour by 4 x 4.
    """
    luminance = (small * small.new_tensor(_LUMINANCE).view(3, 1, 1)).sum(1)
    parts = [_spectrum(luminance, _BRIGHTNESS_WAVES, 0.0)[:, 1:]]
    parts += [_spectrum(small[:, channel] - luminance, _COLOUR_WAVES, 0.5) for channel in (2, 0)]
    contrast = torch.cat([parts[0], *(part[:, 1:] for part in parts[1:])], 1).norm(dim=1)
    return functional.normalize(torch.cat(parts, 1), dim=1, eps=1e-6), contrast


def correlation(
    first: Float[Tensor, "n 3 side side"], second: Float[Tensor, "n 3 side side"]
) -> Float[Tensor, " n"]:
    """Correlation of two pictures over all pixels and colours: unlike the descriptors it knows the grounds' colours."""
    a, b = (x.flatten(1) - x.flatten(1).mean(1, keepdim=True) for x in (first, second))
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp(min=1e-6)


def crop_windows(smallest: float = 0.8, step: float = 0.05) -> Float[Tensor, "w 3"]:
    """The whole image, then windows of sides 1 - step, 1 - 2 step, ... `smallest`, everywhere in steps of `step`."""
    windows = [(0.0, 0.0, 1.0)]
    for shrink in range(1, round((1 - smallest) / step) + 1):
        places = [step * i for i in range(shrink + 1)]
        windows += [(left, top, 1 - step * shrink) for top in places for left in places]
    return torch.tensor(windows)

"""Small shards, images and samples that the tests of readers share."""

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (3, 8, 8), np.uint8)


def image_file(kind: str = "PNG", size: tuple[int, int] = (8, 8), mode: str = "RGB", **options) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 256, (*size[::-1], 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def write_tar(path: Path, members: list[tuple[str, bytes]], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def good(key: str) -> list[tuple[str, bytes]]:
    return [(f"{key}.png", image_file()), (f"{key}.txt", f"a photo of {key}".encode())]

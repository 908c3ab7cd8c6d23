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


def coloured(key: str, number: int, size: int = 8) -> list[tuple[str, bytes]]:
    """A sample whose image and caption nobody else has."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (size, size, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return [(f"{key}.png", buffer.getvalue()), (f"{key}.txt", f"a photo of {key}".encode())]


def make_source(folder: Path, name: str, count: int, size: int = 8, number: int = 0) -> str:
    """A folder of shards of 16 such samples each."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(-(-count // 16)):
        here = range(shard * 16, min(count, shard * 16 + 16))
        members = [m for i in here for m in coloured(f"{name}{i:03d}", 1000 * number + i, size)]
        write_tar(folder / f"{shard:05d}.tar", members)
    return str(folder)

"""Small copies of ImageNet's shifted test sets in exactly their layouts, with made-up images."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image
from webdataset.writer import TarWriter

from empirical.imagenet_classes import class_name, imagenet_wnids


def picture(seed: int, width: int = 48, height: int = 40, kind: str = "PNG", border: int = 0) -> bytes:
    """A smooth picture of its own for each seed, optionally with a red frame."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (6, 6, 3)).astype(np.uint8)
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    if border:
        framed = Image.new("RGB", (width + 2 * border, height + 2 * border), (255, 0, 0))
        framed.paste(image, (border, border))
        image = framed
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def wnid_folders(root: Path, name: str, labels: dict[int, int]) -> Path:
    """An ImageFolder of wnids: label (in the set's own order) -> number of images; named as ImageNet names them."""
    wnids = imagenet_wnids(name if name in ("imagenet_r", "imagenet_a") else "imagenet")
    for label, count in labels.items():
        folder = root / wnids[label]
        folder.mkdir(parents=True)
        for i in range(count):
            (folder / f"{name}_{i:08d}.JPEG").write_bytes(picture(100 * label + i, kind="JPEG"))
    return root


def v2_folders(root: Path, labels: dict[int, int]) -> Path:
    """ImageNet-V2: folders are the labels as numbers, without leading zeros."""
    for label, count in labels.items():
        folder = root / str(label)
        folder.mkdir(parents=True)
        for i in range(count):
            (folder / f"{i:016x}.jpeg").write_bytes(picture(100 * label + i, kind="JPEG"))
    return root


def labelled_shards(
    root: Path, samples: list[tuple[int, bytes]], class_names: list[str] | None = None
) -> Path:
    """clip-benchmark's layout: test/0.tar of .png and .cls, classnames.txt beside it."""
    (root / "test").mkdir(parents=True)
    with (root / "test" / "0.tar").open("wb") as file, TarWriter(file, encoder=False) as writer:
        for i, (label, data) in enumerate(samples):
            writer.write({"__key__": f"s{i:04d}", "png": data, "cls": str(label).encode()})
    if class_names:
        (root / "classnames.txt").write_text("\n".join(class_names) + "\n")
    return root


OBJECTNET = {
    "air_freshener": ("Air freshener", ()),
    "band_aid": ("Band Aid", (419,)),
    "chair": ("Chair", (423, 559, 765)),
    "banana": ("Banana", (954,)),
}
"""Folder -> name and ImageNet labels; the first one is not a class of ImageNet."""


def objectnet(root: Path, counts: dict[str, int], border: int = 2) -> Path:
    """ObjectNet's archive: images/FOLDER/*.png with a red border, and its four mapping files."""
    for folder, count in counts.items():
        (root / "images" / folder).mkdir(parents=True)
        for i in range(count):
            data = picture(1000 + 10 * list(OBJECTNET).index(folder) + i, border=border)
            (root / "images" / folder / f"{i}.png").write_bytes(data)
    mappings = root / "mappings"
    mappings.mkdir()
    (mappings / "folder_to_objectnet_label.json").write_text(
        json.dumps({k: name for k, (name, _) in OBJECTNET.items()})
    )
    to_imagenet = {name: "; ".join(class_name(i) for i in ids) for name, ids in OBJECTNET.values() if ids}
    (mappings / "objectnet_to_imagenet_1k.json").write_text(json.dumps(to_imagenet))
    # The 2012 ids are in another order than PyTorch's labels: here reversed.
    (mappings / "pytorch_to_imagenet_2012_id.json").write_text(
        json.dumps({str(i): 999 - i for i in range(1000)})
    )
    (mappings / "imagenet_to_label_2012_v2").write_text(
        "\n".join(class_name(999 - i) for i in range(1000)) + "\n"
    )
    return root

"""Webdataset shards in and out; use `write_pairs` / `read_pairs` for sources, `write_test_set` for test sets.

Embedded sources and a user's own shards are read by the same code. Members are decoded here (PIL for images, UTF-8 for
captions): webdataset's own decoders would unpickle, and its opener would run `pipe:` commands. Nothing is ever extracted to
disk, so a member's name is only a key.
"""

import io
import json
import math
import os
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from braceexpand import braceexpand
from jaxtyping import UInt8
from PIL import Image
from webdataset.tariterators import base_plus_ext, group_by_keys
from webdataset.writer import TarWriter

from empirical.arrays import Pairs, ReadAccount, TestSet
from empirical.errors import DataError
from empirical.tar_members import read_members

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp")
SHARD_SUFFIXES = (".tar", ".tar.gz", ".tgz")
_MOST_SHARDS = 1_000_000
_RANGE = re.compile(r"\{(-?\d+)\.\.(-?\d+)")
_LONGEST = 16  # times its short side that a resized image may be long before its ends are cut off
_PNG_COMPRESSION = 1  # rendered noise hardly compresses; speed matters more

Sample = dict[str, Any]


class UnreadableSample(ValueError):
    """One sample cannot be used; its text is the reason under which it is counted."""


# ---------------------------------------------------------------- writing


def encode_png(image: UInt8[np.ndarray, "3 height width"]) -> bytes:
    """PNG file of one RGB image (8 bits, unfiltered rows: twice as fast as PIL's search for the best filter)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    _, height, width = image.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each row starts with its filter, 0 = none
    rows[:, 1:] = image.transpose(1, 2, 0).reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(rows.tobytes(), _PNG_COMPRESSION)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _write_shard(path: Path, samples: Iterable[Sample]) -> None:
    """Write under a temporary name and rename, so that a half-written shard never looks finished."""
    unfinished = path.with_name(path.name + ".tmp")
    try:
        with unfinished.open("wb") as file:
            with TarWriter(file, encoder=False, mtime=0) as writer:
                for sample in samples:
                    writer.write(sample)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _write_shards(
    folder: Path, name: str, samples: Callable[[int], Sample], count: int, per_shard: int
) -> list[Path]:
    if per_shard < 1:
        raise ValueError(f"samples_per_shard must be at least 1, got {per_shard}")
    if not count:
        raise DataError(f"{folder}: there are no samples to write")
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name.format(i) for i in range(-(-count // per_shard))]
    surplus = [p for p in folder.glob("*.tar") if p not in paths]
    foreign = sorted(p.name for p in surplus if not p.stem.isdigit())
    if foreign:
        raise DataError(f"{folder} already holds other shards ({foreign[0]}); write into an empty folder")
    for i, path in enumerate(paths):
        _write_shard(path, (samples(k) for k in range(i * per_shard, min(count, (i + 1) * per_shard))))
    for path in surplus:  # an older, longer write: its tail must not be read with the new shards
        path.unlink()
    return paths


def write_pairs(pairs: Pairs, folder: str | Path, samples_per_shard: int = 1000) -> list[Path]:
    """Write pairs as webdataset shards 00000.tar, ... of .png, .txt and .json members; returns their paths in order.

    Equal pairs give equal bytes. Raises: DataError when there is nothing to write or the folder holds other shards.
    """

    def sample(i: int) -> Sample:
        metadata = pairs.metadata[i] if pairs.metadata is not None else {}
        return {
            "__key__": pairs.keys[i],
            "png": encode_png(pairs.images[i]),
            "txt": pairs.captions[i].encode(),
            "json": json.dumps(
                {"key": pairs.keys[i], "caption": pairs.captions[i], **metadata}, sort_keys=True
            ).encode(),
        }

    return _write_shards(Path(folder), "{:05d}.tar", sample, len(pairs), samples_per_shard)


def write_test_set(test_set: TestSet, folder: str | Path, samples_per_shard: int = 1000) -> list[Path]:
    """Write a test set in clip-benchmark's layout: test/0.tar ... of .png and .cls, and the class and template lists.

    Raises: DataError when there is nothing to write or the folder holds other shards.
    """
    folder = Path(folder)

    def sample(i: int) -> Sample:
        label = str(int(test_set.labels[i])).encode()
        return {"__key__": test_set.keys[i], "png": encode_png(test_set.images[i]), "cls": label}

    paths = _write_shards(folder / "test", "{}.tar", sample, len(test_set), samples_per_shard)
    (folder / "test" / "nshards.txt").write_text(f"{len(paths)}\n", encoding="utf-8")
    (folder / "classnames.txt").write_text("\n".join(test_set.class_names) + "\n", encoding="utf-8")
    if test_set.templates:
        lines = [template.replace("{}", "{c}") for template in test_set.templates]
        (folder / "zeroshot_classification_templates.txt").write_text(
            "\n".join(lines) + "\n", encoding="utf-8"
        )
    return paths


# ---------------------------------------------------------------- finding


def _expand_one(pattern: str) -> Iterator[str]:
    path = Path(pattern)
    if path.is_dir():
        found = sorted(str(p) for p in path.iterdir() if p.name.endswith(SHARD_SUFFIXES))
        if not found:
            raise DataError(f"{pattern}: the folder holds no .tar shards; give the folder the shards are in")
        yield from found
    elif path.exists():
        yield pattern
    elif any(c in pattern for c in "*?["):
        found = sorted(str(p) for p in Path(path.anchor or ".").glob(str(path.relative_to(path.anchor))))
        if not found:
            raise DataError(
                f"{pattern}: no shard matches; check the pattern and the working folder ({Path.cwd()})"
            )
        yield from found
    else:
        raise DataError(f"{pattern}: no such file or folder; check the path, or download it")


def expand_shards(pattern: str) -> list[str]:
    """Paths of the shards that a pattern names, in order.

    A pattern is a .tar file, a folder of them, a glob (`*`), a brace expansion ({00000..00009}), or several of these joined
    by `::`. Raises: DataError naming the first shard that is missing or empty, or when the pattern names no local file.
    """
    found: list[str] = []
    for part in pattern.split("::"):
        if not part or part.startswith("pipe:") or "://" in part:
            raise DataError(f"{pattern!r}: shards are local .tar files; download remote ones first")
        if Path(part).exists():
            found += _expand_one(part)
            continue
        ranges = [abs(int(b) - int(a)) + 1 for a, b in _RANGE.findall(part)]
        if math.prod(ranges) > _MOST_SHARDS:  # braceexpand would first list them all
            raise DataError(f"{part}: names {math.prod(ranges):,} shards; check the range")
        try:
            names = braceexpand(part)
        except ValueError as error:
            raise DataError(f"{part}: {error}; write a range as {{00000..00009}}") from error
        for name in names:
            found += _expand_one(name)
    for name in found:
        if os.path.getsize(name) == 0:
            raise DataError(f"{name}: the shard is empty (0 bytes); remove it or fetch it again")
    return found


# ---------------------------------------------------------------- reading


def _tar_members(path: str, file: BinaryIO, account: ReadAccount) -> Iterator[Sample]:
    """Members of one shard in the form that webdataset groups into samples.

    webdataset drops members whose name has no suffix (also `._x.jpg`) without a word; here they are counted.
    """
    for found in read_members(path, file, account):
        if base_plus_ext(found.name)[0] is None:
            account.skip("member without key and suffix", f"{path}: {found.name}")
            continue
        yield {"fname": found.name, "data": found.data, "__url__": path}


def read_samples(path: str, account: ReadAccount) -> Iterator[Sample]:
    """Samples of one shard: `__key__` and the bytes of each member by suffix; damage is counted in the account.

    A truncated shard gives the samples before the cut and counts one loss, of unknown size, for the rest; a damaged
    header costs the member behind it. A shard without any file counts once, and so does every member that belongs to no
    sample or is refused (`tar_members.refusal`: absolute paths, `..`, links, devices).
    """

    def duplicate(error: Exception) -> bool:
        account.skip("member occurs twice", f"{path}: {error.args[0]}")
        return True

    account.shards += 1
    with open(path, "rb") as file:
        yield from group_by_keys(_tar_members(path, file, account), handler=duplicate)


def member(sample: Sample, suffixes: Sequence[str]) -> bytes | None:
    """The sample's first member with one of the suffixes (`img.v2.jpg` counts as jpg), None if there is none."""
    for suffix in suffixes:
        if suffix in sample:
            return sample[suffix]
    for name, data in sample.items():
        if not name.startswith("__") and name.rsplit(".", 1)[-1] in suffixes:
            return data
    return None


def decode_image(data: bytes, image_size: int, border: int = 0) -> UInt8[np.ndarray, "3 size size"]:
    """RGB image with its shorter side resized to `image_size` (bicubic) and the centre cropped, as open_clip evaluates.

    `border` pixels are cut off on every side first (ObjectNet's images have a red frame).
    Raises: UnreadableSample for files that PIL cannot read, and for those above PIL's limit on pixels.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as file:
            limit = Image.MAX_IMAGE_PIXELS
            if limit is not None and file.width * file.height > limit:
                raise UnreadableSample("image has too many pixels")
            image = (
                file.convert("RGBA").convert("RGB") if "transparency" in file.info else file.convert("RGB")
            )
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableSample("image has too many pixels") from error
    except UnreadableSample:
        raise
    except Exception as error:  # PIL's plugins raise OSError, SyntaxError, struct.error, ... on damaged files
        raise UnreadableSample("image is damaged or of an unknown format") from error
    if border:
        if 2 * border >= min(image.size):
            raise UnreadableSample("image is smaller than its border")
        image = image.crop((border, border, image.width - border, image.height - border))
    return to_square(image, image_size)


def to_square(image: Image.Image, image_size: int) -> UInt8[np.ndarray, "3 size size"]:
    """Resize the shorter side to `image_size` (bicubic) and crop the centre, with torchvision's rounding.

    Of an image much longer than wide only the centre is resized: the same pixels to within rounding, for a picture of a few
    kilobytes may be a line of millions of pixels, which no memory holds once it is `image_size` wide.
    """
    width, height = image.size
    if (width, height) != (image_size, image_size):
        short = min(width, height)
        width, height = int(image_size * width / short), int(image_size * height / short)
        left, top = round((width - image_size) / 2), round((height - image_size) / 2)
        square = (left, top, left + image_size, top + image_size)
        if max(width, height) > _LONGEST * image_size:
            across, down = image.width / width, image.height / height
            box = (square[0] * across, square[1] * down, square[2] * across, square[3] * down)
            image = image.resize((image_size, image_size), Image.Resampling.BICUBIC, box)
        else:
            image = image.resize((width, height), Image.Resampling.BICUBIC).crop(square)
    return np.asarray(image).transpose(2, 0, 1)


def decode_text(data: bytes, what: str) -> str:
    """Text of a member without surrounding white space; raises UnreadableSample unless it is non-empty UTF-8 text."""
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise UnreadableSample(f"{what} is not UTF-8 text") from error
    if not text:
        raise UnreadableSample(f"{what} is empty")
    if any(ord(c) < 32 and c not in "\t\n\r" for c in text):
        raise UnreadableSample(f"{what} holds binary data")
    return text


def _metadata(sample: Sample) -> dict[str, Any]:
    data = member(sample, ("json",))
    try:
        value = json.loads(data) if data else {}
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _caption(sample: Sample, metadata: dict[str, Any]) -> str:
    data = member(sample, ("txt",))
    if data is None:
        caption = metadata.get("caption")
        if caption is None:
            raise UnreadableSample("no caption (.txt)")
        if not isinstance(caption, str):
            raise UnreadableSample("caption is not text")
        data = caption.encode("utf-8", "surrogatepass")
    return decode_text(data, "caption")


def sample_caption(sample: Sample) -> str:
    """The sample's caption, of its .txt or its .json; raises UnreadableSample when it has none that is text."""
    return _caption(sample, _metadata(sample))


def class_label(sample: Sample, num_classes: int, shard: str | Path, classes: str) -> int:
    """The label (.cls) of a sample: a whole number below `num_classes`.

    Raises: UnreadableSample for none, or one that is no number; DataError for one outside the classes, which are wrong for the
        whole set then: `classes` says what they are and what to do.
    """
    data = member(sample, ("cls",))
    if data is None:
        raise UnreadableSample("no label (.cls)")
    text = decode_text(data, "label")
    if not (text.isascii() and text.isdigit()):
        raise UnreadableSample("label is not a whole number")
    if len(text) > 9 or int(text) >= num_classes:
        raise DataError(
            f"{shard}: {sample['__key__']}: label {text[:12]} is outside 0..{num_classes - 1}, {classes}"
        )
    return int(text)


def sample_image(sample: Sample, image_size: int) -> UInt8[np.ndarray, "3 size size"]:
    """The sample's decoded image; raises UnreadableSample when it has none or PIL cannot read it."""
    data = member(sample, IMAGE_SUFFIXES)
    if data is None:
        raise UnreadableSample(f"no image (.{', .'.join(IMAGE_SUFFIXES)})")
    return decode_image(data, image_size)


def decode_pair(
    sample: Sample, image_size: int
) -> tuple[UInt8[np.ndarray, "3 size size"], str, dict[str, Any]]:
    """Image, caption and metadata (its .json, {} without a readable one) of one sample; raises UnreadableSample."""
    metadata = _metadata(sample)
    return sample_image(sample, image_size), _caption(sample, metadata), metadata


def read_pairs(
    shards: str | Sequence[str],
    image_size: int,
    limit: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Pairs:
    """Image-text pairs of webdataset shards, in order, at most `limit` of them.

    Args: shards, a pattern for `expand_shards` or a list of paths; progress is called with the number of pairs read so far.
    Samples that cannot be read are skipped and counted by reason in `Pairs.account`, with examples as "file: key".
    Raises: DataError when no pair can be read at all, with the reasons.
    """
    paths = (
        expand_shards(shards) if isinstance(shards, str) else [p for s in shards for p in expand_shards(s)]
    )
    account, images, captions, keys, metadata = ReadAccount(), [], [], [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # refused by decode_image's own check
        for path in paths:
            if limit is not None and len(images) >= limit:
                break
            for sample in read_samples(path, account):
                if limit is not None and len(images) >= limit:
                    break
                try:
                    image, caption, extra = decode_pair(sample, image_size)
                except UnreadableSample as reason:
                    account.skip(str(reason), f"{path}: {sample['__key__']}")
                    continue
                images.append(image)
                captions.append(caption)
                keys.append(sample["__key__"])
                metadata.append(extra)
            if progress is not None:
                progress(len(images))
    account.samples_read = len(images)
    if not images and limit != 0:
        raise DataError(
            f"no readable image-text pair in {paths[0]} ... ({len(paths)} shards): {account.summary()}"
        )
    stacked = np.stack(images) if images else np.empty((0, 3, image_size, image_size), np.uint8)
    return Pairs(stacked, captions, keys, None, account, metadata if any(metadata) else None)

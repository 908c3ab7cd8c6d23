"""Images of every kind that the web serves, against Pillow's own conversion."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from web_server import encoded, picture, png_of

from empirical.sources.images import UnusableImage, prepare_image

LIMIT = 1_000_000
PICTURE = picture(3, (60, 40))
LAYER = Image.merge("RGBA", (*PICTURE.split(), Image.linear_gradient("L").resize((60, 40))))
ON_WHITE = Image.composite(PICTURE, Image.new("RGB", (60, 40), "white"), LAYER.getchannel("A"))
PALETTE = PICTURE.convert("P")


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 30}])
def test_sound_jpegs_stay_as_they_are(options: dict) -> None:
    for image in (PICTURE, PICTURE.convert("L")):
        data = encoded(image, "JPEG", **options)
        assert prepare_image(data, LIMIT) is data


@pytest.mark.parametrize(
    ("data", "expected", "tolerance"),
    [
        (encoded(PICTURE, "PNG"), PICTURE, 0),
        (encoded(PICTURE, "WEBP", lossless=True), PICTURE, 0),
        (encoded(PICTURE, "BMP"), PICTURE, 0),
        (encoded(PICTURE, "TIFF"), PICTURE, 0),
        (encoded(PICTURE.convert("CMYK"), "JPEG", quality=95), PICTURE, 6),
        (encoded(PICTURE.convert("CMYK"), "TIFF"), PICTURE, 1),
        (encoded(PICTURE.convert("L"), "PNG"), PICTURE.convert("L"), 0),
        (encoded(PICTURE.convert("1"), "PNG"), PICTURE.convert("1"), 0),
        (encoded(PALETTE, "PNG"), PALETTE, 0),
        (encoded(PALETTE, "GIF"), PALETTE, 0),
        (encoded(PALETTE, "GIF", save_all=True, append_images=[PALETTE.rotate(90)]), PALETTE, 0),
        (encoded(LAYER, "PNG"), ON_WHITE, 1),
        (encoded(LAYER.convert("LA"), "PNG"), ON_WHITE.convert("L"), 1),
        (encoded(LAYER, "WEBP", lossless=True, exact=True), ON_WHITE, 1),
    ],
    ids=range(14),
)
def test_other_kinds_become_rgb(data: bytes, expected: Image.Image, tolerance: int) -> None:
    prepared = prepare_image(data, LIMIT)
    image = Image.open(io.BytesIO(prepared))
    assert (image.format, image.mode, image.size) == ("BMP", "RGB", (60, 40))
    assert np.abs(pixels(prepared) - np.asarray(expected.convert("RGB")).astype(int)).max() <= tolerance


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    grey = np.linspace(0, 65535, 60 * 40).reshape(40, 60).astype(np.uint16)
    prepared = prepare_image(encoded(Image.fromarray(grey), "PNG"), LIMIT)
    assert np.abs(pixels(prepared)[..., 0] - grey / 257).max() <= 0.5


def test_transparent_palette_colours_lie_on_white() -> None:
    prepared = prepare_image(encoded(PALETTE, "PNG", transparency=PALETTE.getpixel((0, 0))), LIMIT)
    assert pixels(prepared)[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize(
    "data",
    [png_of(20_000, 20_000), png_of(1001, 1000), encoded(Image.new("RGB", (1001, 1000)), "JPEG")],
    ids=["bomb", "one row too many", "JPEG"],
)
def test_images_beyond_the_limit_are_refused_before_they_are_decoded(data: bytes) -> None:
    with pytest.raises(UnusableImage, match="too many pixels"):
        prepare_image(data, LIMIT)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_cut_off_images_are_refused(kind: str, share: float) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    data = encoded(noise, kind)
    with pytest.raises(UnusableImage):
        prepare_image(data[: int(share * len(data))], LIMIT)


@pytest.mark.parametrize(
    "data", [b"", b"<html>", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\xff\xd8\xff", b"GIF89a"]
)
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(UnusableImage, match=r"not an image|damaged"):
        prepare_image(data, LIMIT)


SEEDS = [encoded(PICTURE, kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")] + [
    encoded(LAYER, "PNG")
]


@given(st.sampled_from(SEEDS), st.data())
def test_damaged_files_are_refused_or_decoded_never_anything_else(seed: bytes, data: st.DataObject) -> None:
    damage_and_prepare(seed, data)


@pytest.mark.slow
@settings(max_examples=10_000)
@given(st.sampled_from(SEEDS), st.data())
def test_ten_thousand_damaged_files(seed: bytes, data: st.DataObject) -> None:
    damage_and_prepare(seed, data)


def damage_and_prepare(seed: bytes, data: st.DataObject) -> None:
    broken = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 8))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    try:
        prepared = prepare_image(bytes(broken), LIMIT)
    except UnusableImage:
        return
    with Image.open(io.BytesIO(prepared)) as image:
        image.load()
        assert image.width * image.height <= LIMIT

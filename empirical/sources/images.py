"""Images as they come from the web, made fit for img2dataset's resizer. Use `prepare_image`.

OpenCV, which img2dataset decodes with, expands an image before its size is known to be sane and turns 16 bits per channel
into white. So Pillow looks first: it reads the size from the header, decodes to see that nothing is missing, and turns
every pixel format but the plain JPEG ones into RGB of 8 bits.
"""

import io
import warnings

import numpy as np
from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")


class UnusableImage(ValueError):
    """The bytes cannot be used as an image; the text is the reason."""


def prepare_image(data: bytes, max_pixels: int) -> bytes:
    """The bytes for the resizer: those of a sound RGB or grey JPEG as they are, everything else as an RGB bitmap.

    Transparent pixels are laid on white. Animations give their first frame.
    Raises: UnusableImage with the reason.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is wrong with a file decides below, not Pillow's remarks on it
        try:
            image = Image.open(io.BytesIO(data), formats=[f for f in FORMATS if f in _known()])
        except Image.DecompressionBombError as error:
            raise UnusableImage("image has too many pixels") from error
        except (
            Exception
        ) as error:  # Pillow's plugins raise OSError, SyntaxError, struct.error, ... on damaged files
            raise UnusableImage("not an image of a known format") from error
        with image:
            if image.width * image.height > max_pixels:
                raise UnusableImage("image has too many pixels")
            try:
                if image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L"):
                    image.draft(
                        image.mode, (1, 1)
                    )  # all of the file is read, an eighth of the pixels is computed
                    image.load()
                    return data
                return _bitmap(to_rgb(image))
            except UnusableImage:
                raise
            except Exception as error:
                raise UnusableImage("image is damaged or cut off") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """RGB, 8 bits per channel: 16-bit grey is scaled, transparency laid on white."""
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.size and (values.min() < 0 or values.max() > 65535):
            raise UnusableImage("image has more than 16 bits per channel")
        return Image.fromarray(np.rint(values / 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise UnusableImage("image has floating-point pixels")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, "white")
        ground.alpha_composite(layer)
        return ground.convert("RGB")
    return image.convert("RGB")


def _bitmap(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "BMP")
    return buffer.getvalue()


def _known() -> frozenset[str]:
    Image.init()
    return frozenset(Image.OPEN)

"""Encoded images -> pixels, exactly as the exported graph does it.

Headers are read before anything is decoded, so a small file cannot claim a huge picture. EXIF
orientation is ignored, as in the graph.
"""

import io

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from service.errors import InvalidInput, TooLarge
from service.resizing import Pixels, resized

_MARGIN = 1.5
_JPEG = b"\xff\xd8\xff"
_QUICK = 500_000  # pixels: some 2 ms
_FORMATS = ("PNG", "JPEG", "GIF", "BMP")  # what the graph's DecodeImage reads too
_MOST_SCANS = 100  # progressive files have some ten; each costs a pass over the picture, however few bytes it has
_SEQUENTIAL, _SCAN = (0xC0, 0xC1, 0xC9), 0xDA


def quick(data: bytes) -> bool:
    """True for a JPEG that surely decodes in a few milliseconds: few pixels, one pass over them."""
    try:
        rows, columns, _, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except (ValueError, KeyError):
        return False
    return rows * columns <= _QUICK and _scans(data) == 1


def decode(data: bytes, height: int, width: int, max_pixels: int) -> Pixels:
    """RGB, uint8 [height, width, 3], from a JPEG, PNG, GIF (first frame) or BMP of any size.

    Raises InvalidInput for what is no such image, or only half of one, and TooLarge where its header
    claims more than `max_pixels`.
    """
    if not data:
        raise InvalidInput("the image is empty; send the bytes of a JPEG or PNG file")
    if not data.startswith(_JPEG):
        return resized(_other(data, max_pixels), height, width)
    try:
        rows, columns, colorspace, _ = simplejpeg.decode_jpeg_header(data, strict=False)
        _check_pixels(columns, rows, max_pixels)
        if (scans := _scans(data)) > _MOST_SCANS:
            raise TooLarge(f"the JPEG has {scans} scans; the limit is {_MOST_SCANS}, so save it again", scans=scans)
        if colorspace in ("CMYK", "YCCK"):
            return resized(_other(data, max_pixels), height, width)
        factor = _reduction(rows, columns, height, width)
        # The graph's decoder uses the fast DCT and smooth upsampling: with the same, pixels agree to 1/255.
        pixels = simplejpeg.decode_jpeg(
            data,
            "RGB",
            fastdct=True,
            fastupsample=False,
            strict=True,
            min_height=-(-rows // factor),
            min_width=-(-columns // factor),
        )
    except (ValueError, KeyError) as error:  # KeyError: a header cut before its colour space
        raise InvalidInput(f"the JPEG cannot be decoded, is the file whole? ({error})") from error
    # A last row or column that the reduction filled up must not shift all the others.
    return resized(pixels, height, width, covered=(rows / factor, columns / factor))


def _scans(data: bytes) -> int:
    """How often a JPEG's decoder may go over the picture. Once for a sequential file whose first scan has all of its
    components, which most are: only its headers are looked at.
    """
    at, components = 2, 0
    while at + 10 < len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _SEQUENTIAL:
            components = data[at + 9]
        if marker == _SCAN and data[at + 4] == components:
            return 1
        if marker == _SCAN:
            break
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return data.count(b"\xff\xda")


def _reduction(rows: int, columns: int, height: int, width: int) -> int:
    """2, 4 or 8 where libjpeg can leave out that much of the picture's detail (it scales in the DCT domain).

    What is left stays `_MARGIN` times as large as asked for, so that the resize still decides how it looks:
    on photographs, 1 level of 255 from the full decode on average (a test bounds it), and several times
    as fast (`make bench`). Other factors have no fast code in libjpeg-turbo.
    """
    fits = (f for f in (8, 4, 2) if rows >= f * _MARGIN * height and columns >= f * _MARGIN * width)
    return next(fits, 1)


def _other(data: bytes, max_pixels: int) -> Pixels:
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
            _check_pixels(picture.width, picture.height, max_pixels)
            return np.asarray(_rgb(picture))
    except UnidentifiedImageError as error:
        raise InvalidInput("this is no JPEG, PNG, GIF or BMP file") from error
    except Image.DecompressionBombError as error:  # Pillow's own limit, where ours is set above it
        raise TooLarge(f"the image is too large: {error}") from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise InvalidInput(f"the image cannot be decoded, is the file whole? ({error})") from error


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16"):  # Pillow would clip 16-bit gray at 255 instead of scaling it
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert("RGB")
    return picture.convert("RGB")


def _check_pixels(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise TooLarge(
            f"the image claims {width}x{height} pixels; the limit is {max_pixels:,} pixels, so send a smaller one",
            max_pixels=max_pixels,
        )

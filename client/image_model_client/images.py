"""Whatever a person calls an image -> bytes that the service decodes."""

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeGuard

from image_model_client.errors import UnreadableImage

if TYPE_CHECKING:
    from PIL.Image import Image

_KINDS = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
)
_PLAIN_MODES = ("L", "RGB", "RGBA")
_ORIENTATION, _TURNED = 0x0112, range(5, 9)  # EXIF: rows and columns change places
_SMALL_QUALITY = 90  # of a JPEG made smaller: pixels near those of the original, at a tenth of a photograph's bytes


class Readable(Protocol):
    def read(self) -> bytes: ...


Source: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | Readable | Image | Any"
"""A path, the address of a file (http:// or https://), an encoded image's bytes, an open binary file, a PIL image, or
an array [height, width, 1, 3 or 4] or [height, width] of uint8.
"""


def is_address(source: Source) -> TypeGuard[str]:
    return isinstance(source, str) and source.startswith(("http://", "https://"))


def find_kind(data: bytes) -> str:
    """An encoded image's media type, by its first bytes."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in _KINDS if data.startswith(start)), "application/octet-stream")


def read(source: Source) -> bytes:
    """An encoded image. Addresses are not read here. Raises UnreadableImage."""
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, str | os.PathLike):
        path = Path(os.fsdecode(source))
        try:
            return path.read_bytes()
        except OSError as error:
            raise UnreadableImage(f"{path} cannot be read: {error.strerror or error}") from error
        except ValueError as error:  # a null character
            raise UnreadableImage(f"{path!r} is no path: {error}") from error
    if hasattr(source, "read"):
        data = source.read()
        if not isinstance(data, bytes):
            raise UnreadableImage(f"expected a file of bytes, got {type(data).__name__}; open it with mode 'rb'")
        return data
    return _encode(_as_picture(source))


def shrink(data: bytes, width: int, height: int) -> bytes:
    """The same image with no more than twice the rows and columns of a network's input, as a JPEG; as it is where at
    least half of its pixels would stay, where that would not make it smaller, and where its pixels are of a kind that
    the service reads in a way of its own.

    The service resizes rows and columns to the input's, whatever their ratio (`preprocessing` in a manifest), so each
    side shrinks by itself. Twice the input's size is kept, so that the service's resizing still decides how an image
    looks.
    """
    try:
        from PIL import Image, ImageOps
    except ModuleNotFoundError as error:
        raise UnreadableImage("shrink=True needs Pillow: pip install 'image-model-client[images]'") from error
    try:
        picture = Image.open(io.BytesIO(data))
        if picture.mode not in _PLAIN_MODES:
            return data
        turned = picture.getexif().get(_ORIENTATION, 1) in _TURNED
        most = (2 * height, 2 * width) if turned else (2 * width, 2 * height)
        size = min(picture.width, most[0]), min(picture.height, most[1])
        if 2 * size[0] * size[1] >= picture.width * picture.height:
            return data
        picture.draft("RGB", size)
        small = picture.convert("RGB").resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
        upright = ImageOps.exif_transpose(small)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return data  # the service says what is wrong with it
    packed = io.BytesIO()
    upright.save(packed, "JPEG", quality=_SMALL_QUALITY, subsampling=0, exif=b"")
    return min(packed.getvalue(), data, key=len)


def _as_picture(source: Any) -> "Image":
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise UnreadableImage(
            f"a {type(source).__name__} is sent with Pillow: pip install 'image-model-client[images]'"
        ) from error
    if isinstance(source, Image.Image):
        return source
    if not hasattr(source, "__array_interface__"):
        raise UnreadableImage(
            f"expected a path, an address, bytes, an open file, a PIL image or an array, got {type(source).__name__}"
        )
    kind, shape = str(source.dtype), tuple(source.shape)
    if kind != "uint8":
        raise UnreadableImage(f"an array of pixels is uint8 from 0 to 255, got {kind}; scale and convert it first")
    if len(shape) == 3 and shape[2] == 1:
        source = source[:, :, 0]
    elif not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))):
        raise UnreadableImage(f"an array of pixels is [height, width] or [height, width, 1, 3 or 4], got {shape}")
    return Image.fromarray(source)


def _encode(picture: "Image") -> bytes:
    """As a PNG, which loses nothing; upright."""
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(picture)
    if upright.mode not in (*_PLAIN_MODES, "I;16"):
        upright = upright.convert("RGB")
    packed = io.BytesIO()
    upright.save(packed, "PNG", compress_level=1)
    return packed.getvalue()

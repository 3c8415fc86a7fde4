"""Encoded images -> upright pixels of the size asked for, otherwise exactly as the exported graph does it.

A file is decided by its pixels, and by its EXIF orientation, which says how they stand upright. What else lies beside
them (profiles, texts, later frames, bytes behind the end) is left out before a decoder sees it. A file that lacks a
part is refused; one with damaged pixels is read as far as browsers and TensorFlow read it.

| file | pixels |
| :--- | :--- |
| JPEG that libjpeg warns of (odd scan header, stray bytes, damaged blocks) | as TensorFlow |
| JPEG, PNG, GIF, BMP, WebP that ends early | refused |
| JPEG of four components | inverted with Adobe's marker only, as TensorFlow |
| JPEG, arithmetic; with one number for several components | as TensorFlow |
| JPEG of 12 bits, lossless or hierarchical; run-length BMP | refused |
| PNG: alpha, tRNS, gAMA | dropped, as TensorFlow |
| PNG: bad checksum of a chunk that pixels need, unknown such chunk, no palette | refused, as TensorFlow |
| PNG: other chunks between those of its pixels, a palette of an odd length | read; TensorFlow refuses it |
| animation | PNG: its default image; GIF and WebP: the first frame |
| GIF: transparent pixels | black, as TensorFlow |
| GIF whose first frame is smaller than its screen | read; TensorFlow sees other pixels |
| BMP with a palette, of 16 bits, with a core header | read; TensorFlow refuses it, or sees the palette's indexes |
| WebP with alpha, animated | read; TensorFlow refuses it |
| EXIF orientation of a JPEG, PNG or WebP | applied; TensorFlow ignores it |

Resizing is bilinear, its filter widened by the reduction (antialiased). fast_image_resize does it with SIMD, six times
as fast as Pillow (`python -m benchmarks.decoders`), and agrees with it to 1 level of 255. It has no package for Linux
on ARM, so Pillow stands in wherever it is missing.
"""

import importlib
import io
import os
import struct
import threading
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from service.errors import ServiceError, TooLarge
from service.preprocessing.headers import Format, Header, read_header, undecodable
from service.preprocessing.limits import DEFAULT_LIMITS, ImageLimits
from service.preprocessing.orientation import UPRIGHT, read_orientation, swap_sides, turn_upright
from service.types import Pixels

try:
    fast: Any = importlib.import_module("cykooz_resizer")
except ImportError:
    fast = None

_OF_THREAD = threading.local()
_MARGIN = 1.5
_TINY_PIXELS, _TINY_BYTES = 64 * 64, 8192  # some 0.1 ms
_QUICK_PIXELS, _QUICK_BYTES = 500_000, 1_000_000  # some 2 ms
_SCRATCH_BYTES = 4_000_000  # a megapixel
_UNWRITTEN = np.frombuffer(b"".join(os.urandom(3) + b"\0" for _ in range(4)), np.uint32)
"""What the last row of four bytes a pixel begins with until it is decoded. libjpeg-turbo writes 255 as the fourth of
RGBX, and nobody can know the others.
"""
_MAX_CHUNKS = 10_000  # of a PNG; libpng writes 4,096 of 8 KiB for 32 MiB

LONGEST_SIDE = 1536
"""Of what is decoded at its own size: the largest input of TensorFlow 2's detection model zoo (EfficientDet D7)."""

Reserve = Callable[[int], AbstractContextManager[object]]


def read_quick(data: bytes) -> Header | None:
    """The header of a JPEG that surely decodes in a few milliseconds: few pixels, one pass over them. None for others,
    and for what is no image.
    """
    if len(data) > _QUICK_BYTES or not data.startswith(b"\xff\xd8"):
        return None
    try:
        header = read_header(data)
    except ServiceError:
        return None
    return header if header.reduced is not None and header.pixels <= _QUICK_PIXELS else None


def read_tiny(data: bytes) -> Header | None:
    """The header of an image of so few pixels that decoding it takes less than its way to another thread and back.
    None for others, and for what is no image.
    """
    if len(data) > _TINY_BYTES:
        return None
    try:
        header = read_header(data)
    except ServiceError:
        return None
    return header if header.pixels <= _TINY_PIXELS else None


def find_orientation(data: bytes) -> int:
    """EXIF's number, 1 (upright) to 8, of an image that `decode` takes. Raises InvalidInput for others."""
    header = read_header(data)
    return _strip_png(data)[1] if header.format is Format.png else header.orientation


def measure(data: bytes) -> tuple[int, int, int]:
    """Rows and columns of an image once it stands upright, and the orientation that it is stored in.

    Raises InvalidInput for what `decode` does not take.
    """
    header, orientation = read_header(data), find_orientation(data)
    return *_stored_size(header.height, header.width, orientation), orientation


def _fit_size(data: bytes, height: int | None, width: int | None) -> tuple[int, int]:
    """What is asked for; where that is open, the image's own rows and columns, reduced to LONGEST_SIDE."""
    rows, columns, _ = measure(data)
    scale = min(1.0, LONGEST_SIDE / max(rows, columns, 1))
    return height or max(1, round(rows * scale)), width or max(1, round(columns * scale))


def decode(
    data: bytes,
    height: int | None,
    width: int | None,
    limits: ImageLimits = DEFAULT_LIMITS,
    reserve: Reserve = nullcontext,
    header: Header | None = None,
) -> Pixels:
    """RGB, uint8 [height, width, 3], upright, from a JPEG, PNG, GIF, BMP or WebP of any size.

    A `height` or `width` of None is the image's own, where its longer side is at most LONGEST_SIDE; else it is reduced.
    `reserve` is entered, with the bytes of memory that
    decoding takes, before anything is allocated; it may wait or raise. `header` is what `read_header` makes of `data`,
    where that is known. Raises InvalidInput for what is no such image, or only half of one, and TooLarge where its
    header claims more than `limits`.
    """
    header = header or read_header(data)
    limits.check_size(header, len(data))
    if height is None or width is None:
        height, width = _fit_size(data, height, width)
    factor = 1
    if header.reduced:
        factor = _reduction(header.height, header.width, *_stored_size(height, width, header.orientation))
    cost = header.reduced if header.reduced and factor > 1 else header.cost
    with reserve(limits.check_cost(header, cost, len(data))):
        if header.format is Format.png:
            file, orientation = _strip_png(data)
        else:
            file, orientation = _strip(data, header), header.orientation
        size = _stored_size(height, width, orientation)
        if header.format is Format.jpeg:
            pixels = _decode_jpeg(file, header, *size, factor)
        else:
            pixels = resized_picture(_decode_by_pillow(file, header), *size)
        return turn_upright(pixels, orientation)  # after resizing: what is turned is small, whatever the file is


def _stored_size(height: int, width: int, orientation: int) -> tuple[int, int]:
    """Rows and columns, as stored, of an image that is to stand upright in [height, width]."""
    return (width, height) if swap_sides(orientation) else (height, width)


def _reduction(rows: int, columns: int, height: int, width: int) -> int:
    """2, 4 or 8 where libjpeg can leave out that much of the picture's detail (it scales in the DCT domain).

    What is left stays `_MARGIN` times as large as asked for, so that the resize still decides how it looks:
    on photographs, 1 level of 255 from the full decode on average (a test bounds it), and several times
    as fast (`make bench`). Other factors have no fast code in libjpeg-turbo.
    """
    fits = (f for f in (8, 4, 2) if rows >= f * _MARGIN * height and columns >= f * _MARGIN * width)
    return next(fits, 1)


def _decode_jpeg(data: bytes, header: Header, height: int, width: int, factor: int) -> Pixels:
    # libjpeg only warns where it needs bytes past the end, as it does of much that browsers and TensorFlow read.
    if not data.endswith(b"\xff\xd9") and data.find(b"\xff\xd9", len(header.head)) < 0:
        raise undecodable(Format.jpeg, "its end is missing")
    inks = header.components == 4
    rows, columns = -(-header.height // factor), -(-header.width // factor)
    buffer = _scratch("image", rows, columns)
    last = buffer[-1].view(np.uint32)[:4, 0]  # a pixel each; rows are written from the top
    last[:] = _UNWRITTEN[: len(last)]
    try:
        # The graph's decoder uses the fast DCT and smooth upsampling: with the same, pixels agree to 1/255.
        pixels = simplejpeg.decode_jpeg(
            data,
            "CMYK" if inks else "RGBX",  # of four bytes a pixel, as the resizer reads it where it lies
            fastdct=True,
            fastupsample=False,
            strict=False,
            min_height=rows,
            min_width=columns,
            buffer=buffer,
        )
    except MemoryError as error:
        raise _no_memory(Format.jpeg) from error
    except Exception as error:  # whatever a decoder raises, the client's bytes are the cause
        raise undecodable(Format.jpeg, error) from error
    # After a warning, turbojpeg calls an error that ends decoding a warning too: what lay in the buffer before, perhaps
    # another client's image, would then be this one's pixels.
    if (last == _UNWRITTEN[: len(last)]).all():
        raise undecodable(Format.jpeg, "it breaks off")
    # A last row or column that the reduction filled up must not shift all the others.
    covered = (header.height / factor, header.width / factor)
    if inks:
        return resized_picture(Image.fromarray(_from_inks(pixels, header.adobe)), height, width, covered)
    return resized(pixels, height, width, covered)


def _from_inks(inks: Pixels, inverted: bool) -> Pixels:
    """uint8 [rows, columns, 4] to 3 channels, rounded down as TensorFlow does. Adobe's hold what is left blank."""
    pixels = np.empty((*inks.shape[:2], 3), np.uint8)
    black = inks[..., 3].astype(np.uint16)
    for channel in range(3):
        product = inks[..., channel].astype(np.uint16)
        if inverted:
            product *= black
        else:
            product = (255 - product) * (255 - black)
        pixels[..., channel] = (product + 1 + (product >> 8)) >> 8  # exactly product // 255
    return pixels


def _decode_by_pillow(data: bytes, header: Header) -> Image.Image:
    """L or RGB."""
    try:
        with Image.open(io.BytesIO(data), formats=(header.format,)) as picture:
            if picture.size != (header.width, header.height):
                raise undecodable(header.format, "its parts claim different sizes")
            picture.load()
            return _without_alpha(picture if header.transparent is None else _with_black(picture, header.transparent))
    except ServiceError:
        raise
    except UnidentifiedImageError as error:  # it names an object in memory, and not why
        raise undecodable(header.format, "its header is broken") from error
    except (MemoryError, Image.DecompressionBombError) as error:  # Pillow's own limit, where ours is set above it
        raise _no_memory(header.format) from error
    except Exception as error:  # whatever a decoder raises, the client's bytes are the cause
        raise undecodable(header.format, error) from error


def _no_memory(kind: Format) -> TooLarge:
    return TooLarge(f"there is no memory to decode this {kind}; send a smaller one")


def _with_black(picture: Image.Image, index: int) -> Image.Image:
    if picture.mode == "L":
        return picture.point([0 if value == index else value for value in range(256)])
    palette = picture.getpalette() or []
    palette[3 * index : 3 * index + 3] = [0, 0, 0][: max(0, len(palette) - 3 * index)]
    picture.putpalette(palette)
    return picture


def _without_alpha(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16"):  # Pillow would clip 16-bit gray at 255 instead of scaling it
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    wanted = "L" if picture.mode in ("1", "L", "LA") else "RGB"
    return picture if picture.mode == wanted else picture.convert(wanted)


def _strip(data: bytes, header: Header) -> bytes:
    """The file without what its pixels do not need."""
    whole = not header.start or data[: header.start] == header.head
    return data if whole else header.head + data[header.start :]


def _strip_png(data: bytes) -> tuple[bytes, int]:
    """The file without what its pixels do not need, and its EXIF orientation."""
    view, at, orientation = memoryview(data), 8, UPRIGHT
    kept = [view[:8]]
    for _ in range(_MAX_CHUNKS):
        if at + 12 > len(data):
            raise undecodable(Format.png, "its end is missing")
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if not name[0] & 0x20:  # pixels need it
            if end > len(data):
                raise undecodable(Format.png, "its end is missing")
            if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
                raise undecodable(Format.png, f"the checksum of {name!r} is wrong")
            if name not in (b"IHDR", b"PLTE", b"IDAT", b"IEND"):
                raise undecodable(Format.png, f"the chunk {name!r} is unknown")
            kept.append(view[at:end])
        elif name == b"eXIf" and zlib.crc32(view[at + 4 : end - 4]) == int.from_bytes(view[end - 4 : end]):
            orientation = read_orientation(data[at + 8 : end - 4])
        if name == b"IEND":
            break
        at = end
    else:
        raise TooLarge(f"the PNG has more than {_MAX_CHUNKS:,} chunks; save it again", max_chunks=_MAX_CHUNKS)
    if data[25] == 3 and not any(bytes(chunk[4:8]) == b"PLTE" for chunk in kept):
        raise undecodable(Format.png, "it has no palette")
    return b"".join(kept), orientation


def resized(pixels: Pixels, height: int, width: int, covered: tuple[float, float]) -> Pixels:
    """RGB, uint8 [height, width, 3], from RGBX, uint8 [rows, columns, 4], which is read where it lies in memory.

    `covered` is how many rows and columns of `pixels` count, from the top left; they need not be whole.
    """
    rows, columns = covered
    if (rows, columns) == (height, width):
        small = _wrap(pixels, "RGBX")
    elif fast is None:
        small = _wrap(pixels, "RGBX").resize((width, height), Image.Resampling.BILINEAR, (0.0, 0.0, columns, rows))
    else:
        target = _scratch("target", height, width)
        # The resizer takes no RGBX. CMYK has four channels too, none of which is alpha.
        _resizer().resize_pil(_wrap(pixels, "CMYK"), _wrap(target, "CMYK"), _options(rows, columns))
        small = _wrap(target, "RGBX")
    return np.frombuffer(small.tobytes("raw", "RGB"), np.uint8).reshape(height, width, 3)


def _wrap(pixels: Pixels, mode: str) -> Image.Image:
    """A picture of `mode` whose memory is that of `pixels`, uint8 [rows, columns, 4]."""
    return Image.frombuffer(mode, (pixels.shape[1], pixels.shape[0]), pixels, "raw", mode, 0, 1)


def resized_picture(
    picture: Image.Image, height: int, width: int, covered: tuple[float, float] | None = None
) -> Pixels:
    """RGB, uint8 [height, width, 3], from a picture of mode L or RGB, which is read where it lies in memory."""
    rows, columns = covered or (picture.height, picture.width)
    if (rows, columns) == (height, width):
        small = picture
    elif fast is None:
        small = picture.resize((width, height), Image.Resampling.BILINEAR, (0.0, 0.0, columns, rows))
    else:
        small = Image.new(picture.mode, (width, height))
        _resizer().resize_pil(picture, small, _options(rows, columns))
    return np.asarray(small.convert("RGB"))


def _options(rows: float, columns: float) -> Any:
    return fast.ResizeOptions(
        resize_alg=fast.ResizeAlg.convolution(fast.FilterType.bilinear),
        crop_box=fast.CropBox(0.0, 0.0, columns, rows),
        use_alpha=False,
    )


def _scratch(name: str, rows: int, columns: int) -> Pixels:
    """uint8 [rows, columns, 4]: memory that this thread's next call with `name` gives again.

    Memory that is allocated for each image may be given back to the system each time: 200 page faults cost as much as
    the resize (`python -m benchmarks.decoders`).
    """
    size = 4 * rows * columns
    if size > _SCRATCH_BYTES:
        return np.empty((rows, columns, 4), np.uint8)
    if not hasattr(_OF_THREAD, "scratch"):
        _OF_THREAD.scratch = {}
    kept = _OF_THREAD.scratch.get(name)
    if kept is None or len(kept) < size:
        kept = _OF_THREAD.scratch[name] = np.empty(size, np.uint8)
    pixels: Pixels = kept[:size].reshape(rows, columns, 4)
    return pixels


def _resizer() -> Any:
    """One a thread: it keeps its buffers between images, and two threads on one would wait for each other."""
    if not hasattr(_OF_THREAD, "resizer"):
        _OF_THREAD.resizer = fast.Resizer()
    return _OF_THREAD.resizer

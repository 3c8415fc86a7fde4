"""What an encoded image claims, read from its first bytes: the format, the size, and what decoding it costs at most.

Nothing is decoded, and nothing of the picture's size is allocated.
"""

import struct
from dataclasses import dataclass
from enum import StrEnum

from service.errors import InvalidInput, TooLarge
from service.preprocessing.orientation import UPRIGHT, read_orientation

_MAX_SEGMENTS = 1_000  # of a JPEG, before its first scan; 16 MB of colour profile and EXIF are 250
_MAX_SCANS = 100  # progressive files have some ten
_MAX_BLOCKS = 100_000  # of a GIF, before its first frame
_MAX_CHUNKS = 10_000  # of a WebP, before its EXIF; an animation has one a frame


class Format(StrEnum):
    jpeg = "JPEG"
    png = "PNG"
    gif = "GIF"
    bmp = "BMP"
    webp = "WebP"


NAMES = "JPEG, PNG, GIF, BMP or WebP"


@dataclass(frozen=True, slots=True)
class Cost:
    """The most that decoding takes: nanoseconds a pixel and an encoded byte on a core of 2023, and bytes of memory.

    All are of the dearest files that `benchmarks.worst_images` makes; usual ones take half of it.
    """

    pixel: float
    byte: float
    memory: float


@dataclass(frozen=True, slots=True)
class Header:
    """`cost` is that of all pixels; `reduced` that of half the rows and columns, None where none can be left out.

    A decoder needs `head` and what begins at `start`: a JPEG's first scan, a GIF's first frame. `components` and
    `adobe` (it has Adobe's marker) are a JPEG's; `transparent` is an index of a GIF's palette. `width` and `height` are
    those of the stored pixels, which `orientation` turns; a PNG's lies in any of its chunks, and is not read here.
    """

    format: Format
    width: int
    height: int
    cost: Cost
    reduced: Cost | None = None
    head: bytes = b""
    start: int = 0
    components: int = 3
    adobe: bool = False
    transparent: int | None = None
    orientation: int = UPRIGHT

    @property
    def pixels(self) -> int:
        return self.width * self.height


def read_header(data: bytes) -> Header:
    """Raises InvalidInput for what is no image, and for kinds of these formats that nothing here decodes."""
    if not data:
        raise InvalidInput("the image is empty; send the bytes of a JPEG or PNG file")
    for start, (kind, read) in _READERS.items():
        if data.startswith(start):
            try:
                return read(data)
            except (IndexError, struct.error) as error:
                raise undecodable(kind, "its header is cut") from error
    raise InvalidInput(f"this is no {NAMES} file")


def undecodable(kind: Format, why: object) -> InvalidInput:
    return InvalidInput(f"the {kind} cannot be decoded, is the file whole? ({why})")


# JPEG

_PARAMETERLESS = {0x01, *range(0xD0, 0xD8)}
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}
_OTHER_FRAMES = {0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF}
_PROGRESSIVE, _ARITHMETIC = {0xC2, 0xCA}, {0xC9, 0xCA}
_ENDS = {0xD8, 0xD9}
_SCAN, _TABLES = 0xDA, {0xC4, 0xCC, 0xDB, 0xDD}
_KEPT = _FRAMES | _TABLES
_JFIF = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"  # that there is one chooses colours; what it says may be anything
_TRANSFORMS = {3: (0, 1), 4: (0, 2)}  # Adobe's codes by components; libjpeg takes any other one for the last


def _read_jpeg(data: bytes) -> Header:
    at, marker, frame, head, adobe, exif = 2, 0, b"", [data[:2]], b"", b""
    for _ in range(_MAX_SEGMENTS):
        at = data.find(b"\xff", at)  # stray bytes are passed over, as in libjpeg
        while at >= 0 and data[at] == 0xFF:
            at += 1
        if at < 0:
            raise undecodable(Format.jpeg, "it has no pixels")
        code, begins = data[at], at - 1
        at += 1
        if code == 0 or code in _PARAMETERLESS:
            continue
        length = int.from_bytes(data[at : at + 2])
        segment = data[begins : at + length]
        if code == _SCAN:
            break
        if length < 2 or code in _ENDS:
            raise undecodable(Format.jpeg, "its header is broken")
        if code in _FRAMES:
            marker, frame = code, segment[4:]
        if code in _OTHER_FRAMES:
            raise undecodable(Format.jpeg, "lossless and hierarchical JPEG are not supported")
        if (
            code == 0xE0 and segment[4:].startswith(b"JFIF\0") and len(segment) >= len(_JFIF)
        ):  # libjpeg passes over less
            head.append(_JFIF)
        elif code == 0xEE and segment[4:].startswith(b"Adobe") and len(segment) >= 16:
            adobe = segment
        elif code == 0xE1 and not exif and segment[4:10] == b"Exif\0\0":
            exif = segment[4:]
        elif code in _KEPT:
            head.append(segment)
        at += length
    else:
        raise TooLarge(f"the JPEG has more than {_MAX_SEGMENTS:,} segments; save it again", max_segments=_MAX_SEGMENTS)
    if not marker:
        raise undecodable(Format.jpeg, "it has no size")
    bits, height, width, components = struct.unpack_from(">BHHB", frame)
    if bits != 8:
        raise InvalidInput(f"a JPEG of {bits} bits a sample is not supported; save it with 8")
    if adobe:
        head.append(_known_transform(adobe, components))
    shares = _shares(frame, components)
    passes = _passes(data, begins, shares, marker not in _PROGRESSIVE)
    full, reduced = _jpeg_cost(sum(share for _, share in shares), passes, components, marker in _ARITHMETIC)
    return Header(
        Format.jpeg,
        width,
        height,
        full,
        reduced,
        b"".join(head),
        begins,
        components,
        bool(adobe),
        orientation=read_orientation(exif),
    )


def _known_transform(adobe: bytes, components: int) -> bytes:
    """The segment, saying what libjpeg makes of it: where it warns of a code that it does not know, decoding ends."""
    codes = _TRANSFORMS.get(components, (adobe[15],))
    return adobe if adobe[15] in codes else adobe[:15] + bytes(codes[-1:]) + adobe[16:]


def _shares(frame: bytes, components: int) -> list[tuple[int, float]]:
    """Of each component its number, which another one may have too, and its samples as a share of the pixels."""
    parts = [frame[6 + 3 * index : 9 + 3 * index] for index in range(components)]
    sizes = [(part[0], (part[1] >> 4) * (part[1] & 15)) for part in parts]
    largest = max((size for _, size in sizes), default=0)
    if not largest:
        raise undecodable(Format.jpeg, "it has no components")
    return [(number, size / largest) for number, size in sizes]


def _passes(data: bytes, at: int, shares: list[tuple[int, float]], sequential: bool) -> float:
    """How many samples a pixel the decoder visits over all scans; 0 where one scan has all components, in one pass."""
    if sequential and data[at + 4] == len(shares):
        return 0.0
    by_number = dict(sorted(shares, key=lambda share: share[1]))  # of several with one number the largest
    visited, scans = 0.0, 0
    while at >= 0:
        scans += 1
        if scans > _MAX_SCANS:
            raise TooLarge(
                f"the JPEG has more than {_MAX_SCANS} scans; save it with fewer, or without", max_scans=_MAX_SCANS
            )
        chosen = data[at + 5 : at + 5 + 2 * data[at + 4] : 2] if at + 4 < len(data) else b""
        visited += sum(by_number.get(number, 1.0) for number in chosen[:4])
        at = data.find(b"\xff\xda", at + 2)
    return visited


def _jpeg_cost(samples: float, passes: float, components: int, arithmetic: bool) -> tuple[Cost, Cost | None]:
    # An arithmetic decoder goes on without data, and Huffman's refinement scans cost no bytes either.
    entropy = 30.0 * samples if arithmetic else 0.0
    colours = 11.5 if components == 4 else 0.0
    if passes:
        return Cost(1.0 + 0.9 * passes + entropy + colours, 29.0, 2 * samples + (18 if components == 4 else 6)), None
    memory = 18.0 if components == 4 else 6.0
    return Cost(2.0 + entropy + colours, 9.0, memory), Cost(0.7 + entropy + colours / 4, 7.0, memory / 4)


# PNG

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PNG_MEMORY = {0: 2.5, 2: 4.5, 3: 5.5, 4: 5.5, 6: 8.5}  # Pillow's picture, and one without alpha or palette


def _read_png(data: bytes) -> Header:
    width, height, bits, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    channels = _CHANNELS.get(colour, 0)
    if data[12:16] != b"IHDR" or not channels or bits not in (1, 2, 4, 8, 16):
        raise undecodable(Format.png, "its header is broken")
    raster = channels * bits / 8  # bytes a pixel
    memory = _PNG_MEMORY[colour] if bits < 16 or colour else 5.5
    each = (4.5 if interlaced else 1.0) + (3.5 if colour == 3 else 0.0)
    return Header(Format.png, width, height, Cost(5.5 * raster + each, 11.0, memory))


# GIF


def _read_gif(data: bytes) -> Header:
    width, height = struct.unpack_from("<HH", data, 6)
    at, blocks, transparent = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0), 0, None
    head = data[:at]
    while data[at] == 0x21:
        begins, label = at, data[at + 1]
        at += 2
        while size := data[at]:
            at += 1 + size
            blocks += 1
            if blocks > _MAX_BLOCKS:
                raise TooLarge(f"the GIF has more than {_MAX_BLOCKS:,} blocks before its picture; save it again")
        at += 1
        if label == 0xF9 and at - begins == 8:
            transparent = data[begins + 6] if data[begins + 3] & 1 else None
    if data[at] != 0x2C:
        raise undecodable(Format.gif, "it has no picture")
    left, top, columns, rows = struct.unpack_from("<HHHH", data, at + 1)
    width, height = max(width, left + columns), max(height, top + rows)
    return Header(Format.gif, width, height, Cost(7.0, 3.0, 7.0), head=head, start=at, transparent=transparent)


# BMP


def _read_bmp(data: bytes) -> Header:
    (size,) = struct.unpack_from("<I", data, 14)
    compression = 0
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    if compression in (1, 2):
        raise InvalidInput("a run-length encoded BMP is not supported; save it without compression, or as PNG")
    if compression not in (0, 3):
        raise undecodable(Format.bmp, f"its compression {compression} is unknown")
    height = abs(height)
    if len(data) < -(-width * bits // 32) * 4 * height:
        raise undecodable(Format.bmp, "it has fewer bytes than pixels")
    return Header(Format.bmp, width, height, Cost(3.0, 1.0, 9.0))


# WebP

_HAS_EXIF = 0x08  # a flag of the extended header


def _read_webp(data: bytes) -> Header:
    chunk, orientation = data[12:16], UPRIGHT
    if chunk == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    elif chunk == b"VP8L" and data[20] == 0x2F:
        (sides,) = struct.unpack_from("<I", data, 21)
        width, height = (sides & 0x3FFF) + 1, (sides >> 14 & 0x3FFF) + 1
    elif chunk == b"VP8X" and len(data) >= 30:
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        orientation = read_orientation(_find_exif(data)) if data[20] & _HAS_EXIF else UPRIGHT
    elif data[8:12] == b"WEBP" and len(data) >= 30:
        raise undecodable(Format.webp, "its first chunk is unknown")
    elif data[8:12] == b"WEBP":
        raise undecodable(Format.webp, "its header is cut")
    else:
        raise InvalidInput(f"this is no {NAMES} file")
    return Header(Format.webp, width, height, Cost(19.5, 22.0, 16.0), orientation=orientation)


def _find_exif(data: bytes) -> bytes:
    """A WebP's EXIF chunk, which lies behind its pixels; empty where there is none."""
    at = 12
    for _ in range(_MAX_CHUNKS):
        if at + 8 > len(data):
            break
        name, length = struct.unpack_from("<4sI", data, at)
        if name == b"EXIF":
            return data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
    return b""


_READERS = {
    b"\xff\xd8\xff": (Format.jpeg, _read_jpeg),
    b"\x89PNG\r\n\x1a\n": (Format.png, _read_png),
    b"GIF87a": (Format.gif, _read_gif),
    b"GIF89a": (Format.gif, _read_gif),
    b"BM": (Format.bmp, _read_bmp),
    b"RIFF": (Format.webp, _read_webp),
}

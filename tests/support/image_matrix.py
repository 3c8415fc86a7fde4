"""Files of every make that people have, and of makes that only attackers have: one table, one verdict each.

All are made here, by Pillow, simplejpeg or by hand, from one small part of a photograph. `ACCEPTED` files become the
same pixels in the gateway, in an exported graph and in the exporter. `BESIDE_THE_GRAPH` ones do in the gateway and the
exporter, where TensorFlow's decoder refuses them or sees others. The rest is refused, with words that hold `says`.
"""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from tests.support.images import PNG_START, photo, png_chunk, write_png

Samples = NDArray[np.uint8]


class Verdict(StrEnum):
    ACCEPTED = "accepted by gateway, exporter and graph"
    BESIDE_THE_GRAPH = "accepted by gateway and exporter; TensorFlow's decoder refuses it, or sees other pixels"
    REFUSED = "refused by all three"


@dataclass(frozen=True, slots=True)
class ImageFile:
    """`says` is part of what a refusal says; empty for files that are accepted."""

    name: str
    data: bytes
    verdict: Verdict
    says: str = ""

    @property
    def accepted(self) -> bool:
        return self.verdict is not Verdict.REFUSED


@cache
def all_files() -> list[ImageFile]:
    """Every row, in the order of formats."""
    return [*_jpegs(), *_pngs(), *_gifs(), *_bmps(), *_webps(), *_oriented(), *_others()]


WIDTH, HEIGHT = 61, 47  # no multiple of a block, nor of a byte's bits


@cache
def _picture() -> Image.Image:
    return Image.fromarray(photo()[150 : 150 + 5 * HEIGHT : 5, 100 : 100 + 5 * WIDTH : 5])


def _saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


# JPEG


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


def after_start(jpeg: bytes, *segments: bytes) -> bytes:
    """The file with these bytes right behind its SOI."""
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def change_header(jpeg: bytes, marker: int, change: Callable[[bytearray], object]) -> bytes:
    """The file with the segment of this marker changed in place (marker and length included)."""
    at = jpeg.index(bytes((0xFF, marker)))
    end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4])
    part = bytearray(jpeg[at:end])
    change(part)
    return jpeg[:at] + bytes(part) + jpeg[end:]


def number_components(jpeg: bytes, numbers: bytes) -> bytes:
    """The file, of one scan, with these numbers for its components."""

    def change(first: int, step: int) -> Callable[[bytearray], None]:
        def numbered(part: bytearray) -> None:
            for index, number in enumerate(numbers):
                part[first + step * index] = number

        return numbered

    return change_header(change_header(jpeg, 0xC0, change(10, 3)), 0xDA, change(5, 2))


def without(jpeg: bytes, marker: int) -> bytes:
    """The file without its segments of this marker."""
    while (at := jpeg.find(bytes((0xFF, marker)))) >= 0:
        jpeg = jpeg[:at] + jpeg[at + 2 + int.from_bytes(jpeg[at + 2 : at + 4]) :]
    return jpeg


def _set_bytes(at: int, values: bytes) -> Callable[[bytearray], object]:
    def change(part: bytearray) -> None:
        part[at : at + len(values)] = values

    return change


def _set_end(values: bytes) -> Callable[[bytearray], object]:
    def change(part: bytearray) -> None:
        part[-len(values) :] = values

    return change


def _jpegs() -> Iterator[ImageFile]:
    accepted, refused = Verdict.ACCEPTED, Verdict.REFUSED
    picture = _picture()
    base = _saved(picture, "JPEG", quality=90)
    progressive = _saved(picture, "JPEG", quality=90, progressive=True)
    gray = _saved(picture.convert("L"), "JPEG", quality=90)
    yield ImageFile("jpeg baseline", base, accepted)
    yield ImageFile("jpeg progressive", progressive, accepted)
    yield ImageFile("jpeg optimized", _saved(picture, "JPEG", quality=90, optimize=True), accepted)
    yield ImageFile("jpeg restart markers", _saved(picture, "JPEG", restart_marker_blocks=2), accepted)
    yield ImageFile(
        "jpeg progressive restarts", _saved(picture, "JPEG", progressive=True, restart_marker_rows=1), accepted
    )
    for kind in ("444", "422", "420", "440", "411"):
        encoded = simplejpeg.encode_jpeg(np.asarray(picture), 90, "RGB", kind)
        yield ImageFile(f"jpeg {':'.join(kind)}", encoded, accepted)
    yield ImageFile("jpeg gray", gray, accepted)
    yield ImageFile("jpeg gray progressive", _saved(picture.convert("L"), "JPEG", progressive=True), accepted)
    yield ImageFile("jpeg one pixel", _saved(picture.crop((0, 0, 1, 1)), "JPEG"), accepted)
    rgb = _saved(picture, "JPEG", quality=95, keep_rgb=True)
    yield ImageFile("jpeg rgb components", rgb, accepted)
    yield ImageFile("jpeg rgb components, short jfif", after_start(rgb, segment(0xE0, b"JFIF\0\1")), accepted)
    yield from _cmyk_jpegs(picture)
    yield from _odd_jpegs(base, progressive)
    twelve = change_header(base, 0xC0, lambda part: (_set_bytes(1, b"\xc1")(part), _set_bytes(4, b"\x0c")(part)))
    yield ImageFile("jpeg 12 bit", twelve, refused, "12 bits")
    arithmetic = without(change_header(gray, 0xC0, _set_bytes(1, b"\xc9")), 0xC4)
    start = arithmetic.index(b"\xff\xda") + 2 + 8
    arithmetic = arithmetic[:start] + bytes(64) + b"\xff\xd9"
    yield ImageFile("jpeg arithmetic", arithmetic, accepted)
    lossless = change_header(gray, 0xC0, _set_bytes(1, b"\xc3"))
    yield ImageFile("jpeg lossless", lossless, refused, "decoded")
    yield ImageFile("jpeg without height", change_header(base, 0xC0, _set_bytes(5, b"\0\0")), refused, "pixels")
    yield ImageFile("jpeg half", base[: len(base) // 2], refused, "whole")
    yield ImageFile("jpeg half progressive", progressive[: len(progressive) // 2], refused, "whole")
    yield ImageFile("jpeg without its end", base[:-2], refused, "whole")
    yield ImageFile("jpeg zeros for its second half", base[: len(base) // 2] + bytes(len(base) // 2), refused, "whole")
    yield ImageFile("jpeg headers only", base[: base.index(b"\xff\xda")], refused, "whole")
    yield ImageFile("jpeg without tables", without(base, 0xDB), refused, "decoded")
    yield ImageFile("jpeg start only", b"\xff\xd8\xff", refused, "whole")


def _cmyk_jpegs(picture: Image.Image) -> Iterator[ImageFile]:
    accepted = Verdict.ACCEPTED
    cmyk = picture.convert("CMYK")
    black = Image.fromarray((255 - np.asarray(picture.convert("L"))) // 2)  # Pillow makes none by itself
    cmyk = Image.merge("CMYK", (*cmyk.split()[:3], black))
    adobe = _saved(cmyk, "JPEG", quality=95)
    yield ImageFile("jpeg cmyk adobe", adobe, accepted)
    yield ImageFile("jpeg cmyk without adobe", without(adobe, 0xEE), accepted)
    yield ImageFile("jpeg cmyk progressive", _saved(cmyk, "JPEG", quality=95, progressive=True), accepted)
    colour = Image.merge("RGB", cmyk.split()[:3]).convert("YCbCr").split()
    ycck = _saved(Image.merge("CMYK", (*colour, black)), "JPEG", quality=95)
    for transform in (1, 2):
        file = change_header(ycck, 0xEE, _set_end(bytes((transform,))))
        yield ImageFile(f"jpeg ycck adobe transform {transform}", file, accepted)


def _odd_jpegs(base: bytes, progressive: bytes) -> Iterator[ImageFile]:
    accepted = Verdict.ACCEPTED
    zeros = _set_end(b"\0\0\0")
    yield ImageFile("jpeg scan header 00 00 00", change_header(base, 0xDA, zeros), accepted)
    yield ImageFile("jpeg scan header 00 3f 01", change_header(base, 0xDA, _set_end(b"\0\x3f\x01")), accepted)
    yield ImageFile("jpeg bytes before its end", base[:-2] + b"\x12\x34\x56" * 5 + base[-2:], accepted)
    yield ImageFile("jpeg zeros before its end", base[:-2] + bytes(64) + base[-2:], accepted)
    yield ImageFile("jpeg fill bytes before its end", base[:-2] + b"\xff" * 9 + base[-2:], accepted)
    yield ImageFile("jpeg bytes between segments", base[:20] + b"\x01\x02\x03" + base[20:], accepted)
    yield ImageFile("jpeg zeros behind", base + bytes(1000), accepted)
    yield ImageFile("jpeg text behind", base + b"the camera's own notes" * 10, accepted)
    yield ImageFile("jpeg jpeg behind", base + progressive, accepted)
    yield ImageFile("jpeg half a jpeg behind", base + progressive[: len(progressive) // 2], accepted)
    yield ImageFile("jpeg big application segments", after_start(base, *[segment(0xE5, b"x" * 65_000)] * 30), accepted)
    thumbnail = segment(0xE1, b"Exif\0\0" + progressive)
    yield ImageFile("jpeg thumbnail", after_start(base, thumbnail), accepted)
    yield ImageFile("jpeg broken exif", after_start(base, segment(0xE1, b"Exif\0\0MM\0\x2a\xff\xff\xff\xff")), accepted)
    yield ImageFile("jpeg comment", after_start(base, segment(0xFE, b"caf\xe9 \xff\xd9 \xff\xda")), accepted)
    yield ImageFile("jpeg broken colour profile", after_start(base, segment(0xE2, b"ICC_PROFILE\0\x07\x02x")), accepted)
    yield ImageFile("jpeg without jfif", without(base, 0xE0), accepted)
    for transform in (0, 1, 2, 3):
        adobe = segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes((transform,)))
        name = f"jpeg adobe transform {transform} of three components"
        yield ImageFile(name, after_start(without(base, 0xE0), adobe), accepted)
    yield ImageFile("jpeg one number for all components", number_components(base, b"\1\1\1"), accepted)
    yield ImageFile("jpeg one number for two components", number_components(base, b"\1\2\1"), accepted)
    yield ImageFile("jpeg odd jfif", change_header(base, 0xE0, _set_bytes(9, b"\x09\x09")), accepted)
    scan = base.index(b"\xff\xda")
    middle = (scan + len(base)) // 2
    damaged = base[:middle] + b"\xff\x00\x5a\xa5\x00\x00\x77" + base[middle + 7 :]
    yield ImageFile("jpeg damaged in its middle", damaged, accepted)
    yield ImageFile("jpeg entropy cut, end kept", base[:middle] + base[-2:], accepted)
    last = progressive.rindex(b"\xff\xda")
    yield ImageFile("jpeg progressive without its last scan", progressive[:last] + b"\xff\xd9", accepted)


# PNG


def png(samples: NDArray[Any], colour: int, depth: int, *extra: bytes, interlaced: bool = False) -> bytes:
    """A PNG of `samples` [height, width, channels], values of `depth` bits; `extra` chunks stand before IDAT."""
    height, width = samples.shape[:2]
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    parts = [samples[r::dr, c::dc] for r, c, dr, dc in passes] if interlaced else [samples]
    rows = b"".join(b"\0" + _packed(row, depth) for part in parts if part.size for row in part)
    return write_png(width, height, depth, colour, rows, *extra, interlaced=interlaced)


def _packed(row: NDArray[Any], depth: int) -> bytes:
    if depth == 16:
        return row.astype(">u2").tobytes()
    if depth == 8:
        return row.astype(np.uint8).tobytes()
    bits = np.unpackbits(row.astype(np.uint8).reshape(-1, 1), axis=1)[:, 8 - depth :]
    return np.packbits(bits.reshape(-1)).tobytes()


def _palette(colours: int) -> tuple[NDArray[np.uint8], bytes]:
    """The picture as indexes [height, width, 1], and its palette."""
    indexed = _picture().quantize(colours, dither=Image.Dither.NONE)
    table = bytes(indexed.getpalette() or ())[: 3 * colours]
    return np.asarray(indexed)[..., None], table.ljust(3 * colours, b"\0")


def _pngs() -> Iterator[ImageFile]:
    accepted = Verdict.ACCEPTED
    rgb = np.asarray(_picture())
    gray = np.asarray(_picture().convert("L"))[..., None]
    alpha = np.indices(rgb.shape[:2])[1][..., None] * 4 % 256
    noise = np.random.default_rng(0).integers(0, 256, rgb.shape)  # low bytes of 16-bit samples, which are cut off
    for interlaced in (False, True):
        suffix = " interlaced" if interlaced else ""
        for depth in (1, 2, 4):
            low = png(gray >> (8 - depth), 0, depth, interlaced=interlaced)
            yield ImageFile(f"png gray {depth} bit{suffix}", low, accepted)
        for depth in (1, 2, 4, 8):
            indexes, table = _palette(2**depth)
            file = png(indexes, 3, depth, png_chunk(b"PLTE", table), interlaced=interlaced)
            yield ImageFile(f"png palette {depth} bit{suffix}", file, accepted)
        for depth in (8, 16):
            shift, low_bytes = depth - 8, noise if depth == 16 else 0 * noise
            wide = (rgb.astype(int) << shift) + low_bytes
            thin = (gray.astype(int) << shift) + low_bytes[..., :1]
            veil = (alpha << shift) + low_bytes[..., :1]
            yield ImageFile(f"png gray {depth} bit{suffix}", png(thin, 0, depth, interlaced=interlaced), accepted)
            yield ImageFile(f"png rgb {depth} bit{suffix}", png(wide, 2, depth, interlaced=interlaced), accepted)
            both = png(np.concatenate([thin, veil], 2), 4, depth, interlaced=interlaced)
            yield ImageFile(f"png gray alpha {depth} bit{suffix}", both, accepted)
            four = png(np.concatenate([wide, veil], 2), 6, depth, interlaced=interlaced)
            yield ImageFile(f"png rgba {depth} bit{suffix}", four, accepted)
    yield from _transparent_pngs(rgb, gray)
    yield from _ancillary_pngs(rgb)
    yield from _broken_pngs(rgb)


def _transparent_pngs(rgb: Samples, gray: Samples) -> Iterator[ImageFile]:
    accepted = Verdict.ACCEPTED
    indexes, table = _palette(16)
    palette = png_chunk(b"PLTE", table)
    yield ImageFile("png palette tRNS", png(indexes, 3, 4, palette, png_chunk(b"tRNS", bytes(range(16)))), accepted)
    yield ImageFile("png palette tRNS one entry", png(indexes, 3, 4, palette, png_chunk(b"tRNS", b"\0")), accepted)
    yield ImageFile("png gray tRNS", png(gray, 0, 8, png_chunk(b"tRNS", b"\0\x80")), accepted)
    yield ImageFile("png rgb tRNS", png(rgb, 2, 8, png_chunk(b"tRNS", b"\0\x80\0\x80\0\x80")), accepted)
    yield ImageFile("png rgb tRNS cut", png(rgb, 2, 8, png_chunk(b"tRNS", b"\0")), accepted)
    yield ImageFile("png rgb with a palette", png(rgb, 2, 8, palette), accepted)
    short = png(indexes, 3, 4, png_chunk(b"PLTE", table[:24]))
    yield ImageFile("png indexes past the palette", short, accepted)


def _ancillary_pngs(rgb: Samples) -> Iterator[ImageFile]:
    accepted = Verdict.ACCEPTED
    noise = np.random.default_rng(1).bytes(1_500_000)
    chunks: dict[str, bytes] = {
        "gAMA": png_chunk(b"gAMA", struct.pack(">I", 45_455)),
        "gAMA of 1": png_chunk(b"gAMA", struct.pack(">I", 100_000)),
        "gAMA of 0": png_chunk(b"gAMA", bytes(4)),
        "gAMA cut": png_chunk(b"gAMA", b"\0"),
        "cHRM cut": png_chunk(b"cHRM", b"\0" * 7),
        "sRGB empty": png_chunk(b"sRGB", b""),
        "pHYs cut": png_chunk(b"pHYs", b"\0"),
        "sBIT": png_chunk(b"sBIT", b"\5\6\5"),
        "bKGD": png_chunk(b"bKGD", b"\0\x80\0\x80\0\x80"),
        "tEXt of 1.5 MB": png_chunk(b"tEXt", b"Comment\0" + b"x" * 1_500_000),
        "zTXt of 4 MB": png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"text" * 1_000_000)),
        "zTXt broken": png_chunk(b"zTXt", b"Comment\0\0not zlib"),
        "iTXt of 4 MB": png_chunk(b"iTXt", b"Comment\0\1\0en\0\0" + zlib.compress(b"text" * 1_000_000)),
        "iCCP of 1.5 MB": png_chunk(b"iCCP", b"profile\0\0" + zlib.compress(noise)),
        "iCCP broken": png_chunk(b"iCCP", b"profile\0\0not zlib"),
        "iCCP unknown method": png_chunk(b"iCCP", b"profile\0\7" + zlib.compress(b"x" * 200)),
        "eXIf orientation, bad CRC": png_chunk(b"eXIf", exif(6), crc=0),
        "private chunk": png_chunk(b"prVt", b"anything" * 100),
        "tIME twice": png_chunk(b"tIME", b"\x07\xea\1\1\0\0\0") * 2,
        "bad CRC of tEXt": png_chunk(b"tEXt", b"Comment\0hello", crc=0),
        "bad CRC of gAMA": png_chunk(b"gAMA", struct.pack(">I", 45_455), crc=0),
        "bad CRC of pHYs": png_chunk(b"pHYs", struct.pack(">IIB", 1, 1, 0), crc=0),
    }
    for name, chunk in chunks.items():
        yield ImageFile(f"png {name}", png(rgb, 2, 8, chunk), accepted)
    frames = [Image.fromarray(rgb), Image.fromarray(255 - rgb)]
    moving = _saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    yield ImageFile("png animated", moving, accepted)
    still = _saved(frames[0], "PNG", save_all=True, append_images=frames[1:], default_image=True)
    yield ImageFile("png animated with a default image", still, accepted)
    whole = png(rgb, 2, 8)
    yield ImageFile("png bytes behind", whole + b"anything" * 100, accepted)
    yield ImageFile("png text behind its pixels", whole[:-12] + chunks["tEXt of 1.5 MB"] + whole[-12:], accepted)


def _broken_pngs(rgb: Samples) -> Iterator[ImageFile]:
    refused = Verdict.REFUSED
    whole = png(rgb, 2, 8)
    pixels = whole.index(b"IDAT")
    length = int.from_bytes(whole[pixels - 4 : pixels])
    packed = whole[pixels + 4 : pixels + 4 + length]
    end = png_chunk(b"IEND", b"")
    split = b"".join(png_chunk(b"IDAT", packed[at : at + 100]) for at in range(0, length, 100))
    yield ImageFile("png many small IDAT", whole[: pixels - 4] + split + end, Verdict.ACCEPTED)
    parted = png_chunk(b"tEXt", b"Comment\0hello").join(
        png_chunk(b"IDAT", packed[at : at + 1000]) for at in range(0, length, 1000)
    )
    yield ImageFile("png text between its pixels", whole[: pixels - 4] + parted + end, Verdict.BESIDE_THE_GRAPH)
    yield ImageFile("png without its end", whole[:-12], refused, "whole")
    yield ImageFile("png half", whole[: len(whole) // 2], refused, "whole")
    yield ImageFile("png header only", whole[:33], refused, "whole")
    yield ImageFile("png start only", whole[:8], refused, "whole")
    yield ImageFile(
        "png half its pixels", whole[: pixels - 4] + png_chunk(b"IDAT", packed[: length // 2]) + end, refused, "whole"
    )
    yield ImageFile("png without pixels", whole[:33] + end, refused, "whole")
    yield ImageFile("png bad CRC of IHDR", whole[:29] + b"\0\0\0\0" + whole[33:], refused, "decoded")
    yield ImageFile(
        "png bad CRC of IDAT", whole[: pixels - 4] + png_chunk(b"IDAT", packed, crc=0) + end, refused, "decoded"
    )
    yield ImageFile(
        "png broken pixels", whole[: pixels - 4] + png_chunk(b"IDAT", b"no zlib data") + end, refused, "decoded"
    )
    indexes, table = _palette(16)
    odd = png(indexes, 3, 4, png_chunk(b"PLTE", table + b"\0"))
    yield ImageFile("png palette of 49 bytes, 4 bit", odd, Verdict.BESIDE_THE_GRAPH)
    yield ImageFile("png without its palette", png(indexes, 3, 4), refused, "palette")
    transparent = png(indexes, 3, 4, png_chunk(b"tRNS", bytes(range(16))))
    yield ImageFile("png tRNS without its palette", transparent, refused, "palette")
    yield ImageFile("png colour type 5", png(rgb, 5, 8), refused, "decoded")
    yield ImageFile(
        "png of width 0",
        PNG_START + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 0, 9, 8, 2, 0, 0, 0)) + end,
        refused,
        "pixels",
    )
    yield ImageFile("png unknown critical chunk", png(rgb, 2, 8, png_chunk(b"CRIT", b"?")), refused, "decoded")


# GIF


def _gifs() -> Iterator[ImageFile]:
    accepted, refused = Verdict.ACCEPTED, Verdict.REFUSED
    picture = _picture()
    indexed = picture.quantize(64, dither=Image.Dither.NONE)
    still = _saved(indexed, "GIF")
    yield ImageFile("gif 87a", b"GIF87a" + still[6:], accepted)
    yield ImageFile("gif", still, accepted)
    yield ImageFile("gif gray", _saved(picture.convert("L"), "GIF"), accepted)
    yield ImageFile("gif interlaced", _saved(indexed, "GIF", interlace=1), accepted)
    yield ImageFile("gif transparent", _saved(indexed, "GIF", transparency=3), accepted)
    other = Image.fromarray(255 - np.asarray(picture)).quantize(64, dither=Image.Dither.NONE)
    moving = _saved(indexed, "GIF", save_all=True, append_images=[other], duration=50, loop=0)
    yield ImageFile("gif animated", moving, accepted)
    yield ImageFile("gif comment", _saved(indexed, "GIF", comment=b"hello" * 50), accepted)
    yield ImageFile("gif bytes behind", still + b"anything", accepted)
    frame = still.index(b"\x2c\0\0\0\0")
    screen = struct.pack("<HH", WIDTH + 20, HEIGHT + 10)
    offset = still[:6] + screen + still[10:frame] + struct.pack("<BHH", 0x2C, 12, 5) + still[frame + 5 :]
    yield ImageFile("gif first frame offset", offset, Verdict.BESIDE_THE_GRAPH)
    yield ImageFile("gif half", still[: len(still) // 2], refused, "whole")
    yield ImageFile("gif header only", still[:13], refused, "whole")
    yield ImageFile("gif without its end", still[:-1], accepted)


# BMP


def bmp(
    samples: NDArray[Any], bits: int, palette: bytes = b"", *, core: bool = False, top_down: bool = False,
    compression: int = 0, masks: bytes = b"", pixels: bytes | None = None,
) -> bytes:  # fmt: skip
    """A BMP of `samples` [height, width, channels of one byte] in file order, or of these `pixels` already packed."""
    height, width = samples.shape[:2]
    if pixels is None:
        rows = samples if top_down else samples[::-1]
        packed = [_packed(row, min(bits, 8)) for row in rows]
        pixels = b"".join(row + bytes(-len(row) % 4) for row in packed)
    if core:
        table = b"".join(palette[at : at + 3] for at in range(0, len(palette), 4))
        header = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        table, signed = masks + palette, -height if top_down else height
        colours = len(palette) // 4
        header = struct.pack(
            "<IiiHHIIiiII", 40, width, signed, 1, bits, compression, len(pixels), 2835, 2835, colours, 0
        )
    start = 14 + len(header) + len(table)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + header + table + pixels


def _bmps() -> Iterator[ImageFile]:
    accepted, beside, refused = Verdict.ACCEPTED, Verdict.BESIDE_THE_GRAPH, Verdict.REFUSED
    bgr = np.asarray(_picture())[..., ::-1]
    yield ImageFile("bmp 24 bit", bmp(bgr, 24), accepted)
    yield ImageFile("bmp 24 bit top-down", bmp(bgr, 24, top_down=True), accepted)
    yield ImageFile("bmp 24 bit core header", bmp(bgr, 24, core=True), beside)
    for bits in (1, 4, 8):
        indexes, table = _palette(2**bits)
        palette = b"".join(bytes((table[at + 2], table[at + 1], table[at], 0)) for at in range(0, len(table), 3))
        yield ImageFile(f"bmp {bits} bit", bmp(indexes, bits, palette), beside)
        yield ImageFile(f"bmp {bits} bit core header", bmp(indexes, bits, palette, core=True), beside)
    four = np.concatenate([bgr, np.full((*bgr.shape[:2], 1), 255, np.uint8)], 2)
    yield ImageFile("bmp 32 bit", bmp(four, 32), accepted)
    masks = struct.pack("<III", 0xFF0000, 0xFF00, 0xFF)
    yield ImageFile("bmp 32 bit masks", bmp(four, 32, compression=3, masks=masks), accepted)
    high = bgr.astype(int)
    five = ((high[..., 2:] >> 3 << 10) | (high[..., 1:2] >> 3 << 5) | (high[..., :1] >> 3)).astype("<u2")
    words = five.view(np.uint8).reshape(HEIGHT, WIDTH, 2)
    yield ImageFile("bmp 16 bit", bmp(words, 16), beside)
    six = ((high[..., 2:] >> 3 << 11) | (high[..., 1:2] >> 2 << 5) | (high[..., :1] >> 3)).astype("<u2")
    words = six.view(np.uint8).reshape(HEIGHT, WIDTH, 2)
    masks = struct.pack("<III", 0xF800, 0x7E0, 0x1F)
    yield ImageFile("bmp 16 bit 5-6-5", bmp(words, 16, compression=3, masks=masks), beside)
    gray = np.zeros((4, 4, 1), np.uint8)
    ramp = b"".join(bytes((value, value, value, 0)) for value in range(256))
    runs = b"\4\x50\0\0" * 4 + b"\0\1"
    yield ImageFile("bmp 8 bit run-length", bmp(gray, 8, ramp, compression=1, pixels=runs), refused, "run-length")
    yield ImageFile("bmp 4 bit run-length", bmp(gray, 4, ramp[:64], compression=2, pixels=runs), refused, "run-length")
    yield ImageFile("bmp holds a jpeg", bmp(gray, 24, compression=4, pixels=runs), refused, "decoded")
    whole = bmp(bgr, 24)
    yield ImageFile("bmp half", whole[: len(whole) // 2], refused, "whole")
    yield ImageFile("bmp header only", whole[:54], refused, "whole")
    yield ImageFile("bmp start only", whole[:10], refused, "whole")


# WebP


def _webps() -> Iterator[ImageFile]:
    accepted, beside, refused = Verdict.ACCEPTED, Verdict.BESIDE_THE_GRAPH, Verdict.REFUSED
    picture = _picture()
    veiled = picture.copy()
    veiled.putalpha(Image.fromarray((np.indices((HEIGHT, WIDTH))[1] * 4 % 256).astype(np.uint8)))
    lossy = _saved(picture, "WEBP", quality=90)
    yield ImageFile("webp lossy", lossy, accepted)
    yield ImageFile("webp lossless", _saved(picture, "WEBP", lossless=True), accepted)
    yield ImageFile("webp lossy alpha", _saved(veiled, "WEBP", quality=90), beside)
    yield ImageFile("webp lossless alpha", _saved(veiled, "WEBP", lossless=True, exact=True), beside)
    other = Image.fromarray(255 - np.asarray(picture))
    yield ImageFile("webp animated", _saved(picture, "WEBP", save_all=True, append_images=[other], duration=50), beside)
    yield ImageFile("webp colour profile", _saved(picture, "WEBP", icc_profile=b"x" * 3000), accepted)
    yield ImageFile("webp bytes behind", lossy + b"anything" * 9, accepted)
    yield ImageFile("webp half", lossy[: len(lossy) // 2], refused, "whole")
    yield ImageFile("webp header only", lossy[:20], refused, "whole")


# EXIF orientation


def exif(orientation: int, kind: int = 3, order: str = ">") -> bytes:
    """A TIFF block of one entry; `kind` is the type of its number, 3 a SHORT."""
    start = b"MM\0\x2a" if order == ">" else b"II\x2a\0"
    return start + struct.pack(f"{order}IHHHIHHI", 8, 1, 0x0112, kind, 1, orientation, 0, 0)


_TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How a camera stores what it sees upright, by EXIF's number."""


def turned(picture: Image.Image, orientation: int) -> Image.Image:
    """The picture as it is stored in a file of this orientation."""
    return picture if orientation == 1 else picture.transpose(_TURNED[orientation])


def _oriented() -> Iterator[ImageFile]:
    """All of them are `_picture()` once they stand upright."""
    for orientation in range(1, 9):
        verdict = Verdict.ACCEPTED if orientation == 1 else Verdict.BESIDE_THE_GRAPH
        stored, block = turned(_picture(), orientation), exif(orientation)
        named = f"exif orientation {orientation}"
        segments = segment(0xE1, b"Exif\0\0" + block)
        yield ImageFile(f"jpeg {named}", after_start(_saved(stored, "JPEG", quality=95), segments), verdict)
        progressive = _saved(stored, "JPEG", quality=95, progressive=True)
        yield ImageFile(f"jpeg progressive {named}", after_start(progressive, segments), verdict)
        yield ImageFile(f"png {named}", png(np.asarray(stored), 2, 8, png_chunk(b"eXIf", block)), verdict)
        yield ImageFile(f"webp {named}", _saved(stored, "WEBP", lossless=True, exif=b"Exif\0\0" + block), verdict)
    yield from _odd_orientations()


def _odd_orientations() -> Iterator[ImageFile]:
    accepted, beside = Verdict.ACCEPTED, Verdict.BESIDE_THE_GRAPH
    upright, stored = _saved(_picture(), "JPEG", quality=95), _saved(turned(_picture(), 6), "JPEG", quality=95)

    def exif_segment(block: bytes) -> bytes:
        return segment(0xE1, b"Exif\0\0" + block)

    little, xmp = exif_segment(exif(6, order="<")), segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>")
    yield ImageFile("jpeg exif orientation 6, little-endian", after_start(stored, little), beside)
    yield ImageFile("jpeg exif orientation 6 behind XMP", after_start(stored, xmp, little), beside)
    twice = after_start(stored, exif_segment(exif(6)), exif_segment(exif(3)))
    yield ImageFile("jpeg exif twice, the first counts", twice, beside)
    blocks = {
        "0": exif(0),
        "9": exif(9),
        "of another type": exif(6, kind=2),
        "cut": exif(6)[:14],
        "cut in its entry": exif(6)[:16],
        "behind its end": b"MM\0\x2a" + struct.pack(">I", 0xFFFF_FF00) + exif(6)[8:],
        "of 65,535 entries": b"MM\0\x2a" + struct.pack(">IH", 8, 0xFFFF) + bytes(12) * 5000,
        "of another byte order": b"XX" + exif(6)[2:],
    }
    for name, block in blocks.items():
        yield ImageFile(f"jpeg exif orientation {name}", after_start(upright, exif_segment(block)), accepted)
    rgb = np.asarray(turned(_picture(), 6))
    whole, chunk = png(rgb, 2, 8), png_chunk(b"eXIf", exif(6))
    yield ImageFile("png exif orientation behind its pixels", whole[:-12] + chunk + whole[-12:], beside)


def _others() -> Iterator[ImageFile]:
    refused, picture = Verdict.REFUSED, _picture()
    yield ImageFile("empty", b"", refused, "empty")
    yield ImageFile("text", b"hello, I am text", refused, "no JPEG, PNG")
    yield ImageFile("text dressed as a jpeg", b"\xff\xd8\xff" + b"text" * 20, refused, "whole")
    yield ImageFile("tiff", _saved(picture, "TIFF"), refused, "no JPEG, PNG")
    yield ImageFile("ppm", _saved(picture, "PPM"), refused, "no JPEG, PNG")
    yield ImageFile("ico", _saved(picture, "ICO", sizes=[(32, 32)]), refused, "no JPEG, PNG")
    yield ImageFile("avif or heic", b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(64), refused, "no JPEG, PNG")
    yield ImageFile("svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", refused, "no JPEG, PNG")

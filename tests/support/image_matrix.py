"""Files of every make that people have, and of makes that only attackers have: one table, one verdict each.

All are made here, by Pillow, simplejpeg or by hand, from one small part of a photograph. `ACCEPTED` files become the
same pixels in the gateway, in an exported graph and in the exporter. `BESIDE_THE_GRAPH` ones do in the gateway and the
exporter, where TensorFlow's decoder refuses them or sees others. The rest is refused, with words that hold `says`.
"""

import io
import struct
import zlib
from collections.abc import Iterator
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


def _accept(name: str, data: bytes) -> ImageFile:
    return ImageFile(name, data, Verdict.ACCEPTED)


def _part(name: str, data: bytes) -> ImageFile:
    """The gateway and the graph part ways."""
    return ImageFile(name, data, Verdict.BESIDE_THE_GRAPH)


def _refuse(name: str, data: bytes, says: str) -> ImageFile:
    return ImageFile(name, data, Verdict.REFUSED, says)


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


def change_header(jpeg: bytes, marker: int, at: int, values: bytes) -> bytes:
    """The file with these bytes in the segment of this marker: `at` bytes from its start, from its end below 0."""
    start = jpeg.index(bytes((0xFF, marker)))
    end = start + 2 + int.from_bytes(jpeg[start + 2 : start + 4])
    place = at + (start if at >= 0 else end)
    return jpeg[:place] + values + jpeg[place + len(values) :]


def number_components(jpeg: bytes, numbers: bytes) -> bytes:
    """The file, of one scan, with these numbers for its components."""
    for index, number in enumerate(numbers):
        jpeg = change_header(jpeg, 0xC0, 10 + 3 * index, bytes((number,)))
        jpeg = change_header(jpeg, 0xDA, 5 + 2 * index, bytes((number,)))
    return jpeg


def without(jpeg: bytes, marker: int) -> bytes:
    """The file without its segments of this marker."""
    while (at := jpeg.find(bytes((0xFF, marker)))) >= 0:
        jpeg = jpeg[:at] + jpeg[at + 2 + int.from_bytes(jpeg[at + 2 : at + 4]) :]
    return jpeg


def _jpegs() -> Iterator[ImageFile]:
    picture = _picture()
    base = _saved(picture, "JPEG", quality=90)
    progressive = _saved(picture, "JPEG", quality=90, progressive=True)
    gray = _saved(picture.convert("L"), "JPEG", quality=90)
    yield _accept("jpeg baseline", base)
    yield _accept("jpeg progressive", progressive)
    yield _accept("jpeg optimized", _saved(picture, "JPEG", quality=90, optimize=True))
    yield _accept("jpeg restart markers", _saved(picture, "JPEG", restart_marker_blocks=2))
    yield _accept("jpeg progressive restarts", _saved(picture, "JPEG", progressive=True, restart_marker_rows=1))
    for kind in ("444", "422", "420", "440", "411"):
        yield _accept(f"jpeg {':'.join(kind)}", simplejpeg.encode_jpeg(np.asarray(picture), 90, "RGB", kind))
    yield _accept("jpeg gray", gray)
    yield _accept("jpeg gray progressive", _saved(picture.convert("L"), "JPEG", progressive=True))
    yield _accept("jpeg one pixel", _saved(picture.crop((0, 0, 1, 1)), "JPEG"))
    rgb = _saved(picture, "JPEG", quality=95, keep_rgb=True)
    yield _accept("jpeg rgb components", rgb)
    yield _accept("jpeg rgb components, short jfif", after_start(rgb, segment(0xE0, b"JFIF\0\1")))
    yield from _cmyk_jpegs(picture)
    yield from _odd_jpegs(base, progressive)
    twelve = change_header(change_header(base, 0xC0, 4, b"\x0c"), 0xC0, 1, b"\xc1")
    yield _refuse("jpeg 12 bit", twelve, "12 bits")
    arithmetic = without(change_header(gray, 0xC0, 1, b"\xc9"), 0xC4)
    start = arithmetic.index(b"\xff\xda") + 2 + 8
    arithmetic = arithmetic[:start] + bytes(64) + b"\xff\xd9"
    yield _accept("jpeg arithmetic", arithmetic)
    lossless = change_header(gray, 0xC0, 1, b"\xc3")
    yield _refuse("jpeg lossless", lossless, "decoded")
    yield _refuse("jpeg without height", change_header(base, 0xC0, 5, b"\0\0"), "pixels")
    yield _refuse("jpeg half", base[: len(base) // 2], "whole")
    yield _refuse("jpeg half progressive", progressive[: len(progressive) // 2], "whole")
    yield _refuse("jpeg without its end", base[:-2], "whole")
    yield _refuse("jpeg zeros for its second half", base[: len(base) // 2] + bytes(len(base) // 2), "whole")
    yield _refuse("jpeg headers only", base[: base.index(b"\xff\xda")], "whole")
    yield _refuse("jpeg without tables", without(base, 0xDB), "decoded")
    yield _refuse("jpeg start only", b"\xff\xd8\xff", "whole")


def _cmyk_jpegs(picture: Image.Image) -> Iterator[ImageFile]:
    cmyk = picture.convert("CMYK")
    black = Image.fromarray((255 - np.asarray(picture.convert("L"))) // 2)  # Pillow makes none by itself
    cmyk = Image.merge("CMYK", (*cmyk.split()[:3], black))
    adobe = _saved(cmyk, "JPEG", quality=95)
    yield _accept("jpeg cmyk adobe", adobe)
    yield _accept("jpeg cmyk without adobe", without(adobe, 0xEE))
    yield _accept("jpeg cmyk progressive", _saved(cmyk, "JPEG", quality=95, progressive=True))
    colour = Image.merge("RGB", cmyk.split()[:3]).convert("YCbCr").split()
    ycck = _saved(Image.merge("CMYK", (*colour, black)), "JPEG", quality=95)
    for transform in (1, 2):
        file = change_header(ycck, 0xEE, -1, bytes((transform,)))
        yield _accept(f"jpeg ycck adobe transform {transform}", file)


def _odd_jpegs(base: bytes, progressive: bytes) -> Iterator[ImageFile]:
    yield _accept("jpeg scan header 00 00 00", change_header(base, 0xDA, -3, bytes(3)))
    yield _accept("jpeg scan header 00 3f 01", change_header(base, 0xDA, -3, b"\0\x3f\x01"))
    yield _accept("jpeg bytes before its end", base[:-2] + b"\x12\x34\x56" * 5 + base[-2:])
    yield _accept("jpeg zeros before its end", base[:-2] + bytes(64) + base[-2:])
    yield _accept("jpeg fill bytes before its end", base[:-2] + b"\xff" * 9 + base[-2:])
    yield _accept("jpeg bytes between segments", base[:20] + b"\x01\x02\x03" + base[20:])
    yield _accept("jpeg zeros behind", base + bytes(1000))
    yield _accept("jpeg text behind", base + b"the camera's own notes" * 10)
    yield _accept("jpeg jpeg behind", base + progressive)
    yield _accept("jpeg half a jpeg behind", base + progressive[: len(progressive) // 2])
    yield _accept("jpeg big application segments", after_start(base, *[segment(0xE5, b"x" * 65_000)] * 30))
    thumbnail = segment(0xE1, b"Exif\0\0" + progressive)
    yield _accept("jpeg thumbnail", after_start(base, thumbnail))
    yield _accept("jpeg broken exif", after_start(base, segment(0xE1, b"Exif\0\0MM\0\x2a\xff\xff\xff\xff")))
    yield _accept("jpeg comment", after_start(base, segment(0xFE, b"caf\xe9 \xff\xd9 \xff\xda")))
    yield _accept("jpeg broken colour profile", after_start(base, segment(0xE2, b"ICC_PROFILE\0\x07\x02x")))
    yield _accept("jpeg without jfif", without(base, 0xE0))
    for transform in (0, 1, 2, 3):
        adobe = segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes((transform,)))
        name = f"jpeg adobe transform {transform} of three components"
        yield _accept(name, after_start(without(base, 0xE0), adobe))
    yield _accept("jpeg one number for all components", number_components(base, b"\1\1\1"))
    yield _accept("jpeg one number for two components", number_components(base, b"\1\2\1"))
    yield _accept("jpeg odd jfif", change_header(base, 0xE0, 9, b"\x09\x09"))
    scan = base.index(b"\xff\xda")
    middle = (scan + len(base)) // 2
    damaged = base[:middle] + b"\xff\x00\x5a\xa5\x00\x00\x77" + base[middle + 7 :]
    yield _accept("jpeg damaged in its middle", damaged)
    yield _accept("jpeg entropy cut, end kept", base[:middle] + base[-2:])
    last = progressive.rindex(b"\xff\xda")
    yield _accept("jpeg progressive without its last scan", progressive[:last] + b"\xff\xd9")


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
    rgb = np.asarray(_picture())
    gray = np.asarray(_picture().convert("L"))[..., None]
    alpha = np.indices(rgb.shape[:2])[1][..., None] * 4 % 256
    noise = np.random.default_rng(0).integers(0, 256, rgb.shape)  # low bytes of 16-bit samples, which are cut off
    for interlaced in (False, True):
        suffix = " interlaced" if interlaced else ""
        for depth in (1, 2, 4):
            yield _accept(f"png gray {depth} bit{suffix}", png(gray >> (8 - depth), 0, depth, interlaced=interlaced))
        for depth in (1, 2, 4, 8):
            indexes, table = _palette(2**depth)
            file = png(indexes, 3, depth, png_chunk(b"PLTE", table), interlaced=interlaced)
            yield _accept(f"png palette {depth} bit{suffix}", file)
        for depth in (8, 16):
            shift, low_bytes = depth - 8, noise if depth == 16 else 0 * noise
            wide = (rgb.astype(int) << shift) + low_bytes
            thin = (gray.astype(int) << shift) + low_bytes[..., :1]
            veil = (alpha << shift) + low_bytes[..., :1]
            yield _accept(f"png gray {depth} bit{suffix}", png(thin, 0, depth, interlaced=interlaced))
            yield _accept(f"png rgb {depth} bit{suffix}", png(wide, 2, depth, interlaced=interlaced))
            both = png(np.concatenate([thin, veil], 2), 4, depth, interlaced=interlaced)
            yield _accept(f"png gray alpha {depth} bit{suffix}", both)
            four = png(np.concatenate([wide, veil], 2), 6, depth, interlaced=interlaced)
            yield _accept(f"png rgba {depth} bit{suffix}", four)
    yield from _transparent_pngs(rgb, gray)
    yield from _ancillary_pngs(rgb)
    yield from _broken_pngs(rgb)


def _transparent_pngs(rgb: Samples, gray: Samples) -> Iterator[ImageFile]:
    indexes, table = _palette(16)
    palette = png_chunk(b"PLTE", table)
    yield _accept("png palette tRNS", png(indexes, 3, 4, palette, png_chunk(b"tRNS", bytes(range(16)))))
    yield _accept("png palette tRNS one entry", png(indexes, 3, 4, palette, png_chunk(b"tRNS", b"\0")))
    yield _accept("png gray tRNS", png(gray, 0, 8, png_chunk(b"tRNS", b"\0\x80")))
    yield _accept("png rgb tRNS", png(rgb, 2, 8, png_chunk(b"tRNS", b"\0\x80\0\x80\0\x80")))
    yield _accept("png rgb tRNS cut", png(rgb, 2, 8, png_chunk(b"tRNS", b"\0")))
    yield _accept("png rgb with a palette", png(rgb, 2, 8, palette))
    yield _accept("png indexes past the palette", png(indexes, 3, 4, png_chunk(b"PLTE", table[:24])))


def _ancillary_pngs(rgb: Samples) -> Iterator[ImageFile]:
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
        yield _accept(f"png {name}", png(rgb, 2, 8, chunk))
    frames = [Image.fromarray(rgb), Image.fromarray(255 - rgb)]
    yield _accept("png animated", _saved(frames[0], "PNG", save_all=True, append_images=frames[1:]))
    still = _saved(frames[0], "PNG", save_all=True, append_images=frames[1:], default_image=True)
    yield _accept("png animated with a default image", still)
    whole = png(rgb, 2, 8)
    yield _accept("png bytes behind", whole + b"anything" * 100)
    yield _accept("png text behind its pixels", whole[:-12] + chunks["tEXt of 1.5 MB"] + whole[-12:])


def _broken_pngs(rgb: Samples) -> Iterator[ImageFile]:
    whole = png(rgb, 2, 8)
    pixels = whole.index(b"IDAT")
    length = int.from_bytes(whole[pixels - 4 : pixels])
    packed = whole[pixels + 4 : pixels + 4 + length]
    end = png_chunk(b"IEND", b"")
    split = b"".join(png_chunk(b"IDAT", packed[at : at + 100]) for at in range(0, length, 100))
    yield _accept("png many small IDAT", whole[: pixels - 4] + split + end)
    parted = png_chunk(b"tEXt", b"Comment\0hello").join(
        png_chunk(b"IDAT", packed[at : at + 1000]) for at in range(0, length, 1000)
    )
    yield _part("png text between its pixels", whole[: pixels - 4] + parted + end)
    yield _refuse("png without its end", whole[:-12], "whole")
    yield _refuse("png half", whole[: len(whole) // 2], "whole")
    yield _refuse("png header only", whole[:33], "whole")
    yield _refuse("png start only", whole[:8], "whole")
    yield _refuse("png half its pixels", whole[: pixels - 4] + png_chunk(b"IDAT", packed[: length // 2]) + end, "whole")
    yield _refuse("png without pixels", whole[:33] + end, "whole")
    yield _refuse("png bad CRC of IHDR", whole[:29] + b"\0\0\0\0" + whole[33:], "decoded")
    yield _refuse("png bad CRC of IDAT", whole[: pixels - 4] + png_chunk(b"IDAT", packed, crc=0) + end, "decoded")
    yield _refuse("png broken pixels", whole[: pixels - 4] + png_chunk(b"IDAT", b"no zlib data") + end, "decoded")
    indexes, table = _palette(16)
    yield _part("png palette of 49 bytes, 4 bit", png(indexes, 3, 4, png_chunk(b"PLTE", table + b"\0")))
    yield _refuse("png without its palette", png(indexes, 3, 4), "palette")
    yield _refuse("png tRNS without its palette", png(indexes, 3, 4, png_chunk(b"tRNS", bytes(range(16)))), "palette")
    yield _refuse("png colour type 5", png(rgb, 5, 8), "decoded")
    yield _refuse(
        "png of width 0", PNG_START + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 0, 9, 8, 2, 0, 0, 0)) + end, "pixels"
    )
    yield _refuse("png unknown critical chunk", png(rgb, 2, 8, png_chunk(b"CRIT", b"?")), "decoded")


# GIF


def _gifs() -> Iterator[ImageFile]:
    picture = _picture()
    indexed = picture.quantize(64, dither=Image.Dither.NONE)
    still = _saved(indexed, "GIF")
    yield _accept("gif 87a", b"GIF87a" + still[6:])
    yield _accept("gif", still)
    yield _accept("gif gray", _saved(picture.convert("L"), "GIF"))
    yield _accept("gif interlaced", _saved(indexed, "GIF", interlace=1))
    yield _accept("gif transparent", _saved(indexed, "GIF", transparency=3))
    other = Image.fromarray(255 - np.asarray(picture)).quantize(64, dither=Image.Dither.NONE)
    yield _accept("gif animated", _saved(indexed, "GIF", save_all=True, append_images=[other], duration=50, loop=0))
    yield _accept("gif comment", _saved(indexed, "GIF", comment=b"hello" * 50))
    yield _accept("gif bytes behind", still + b"anything")
    frame = still.index(b"\x2c\0\0\0\0")
    screen = struct.pack("<HH", WIDTH + 20, HEIGHT + 10)
    offset = still[:6] + screen + still[10:frame] + struct.pack("<BHH", 0x2C, 12, 5) + still[frame + 5 :]
    yield _part("gif first frame offset", offset)
    yield _refuse("gif half", still[: len(still) // 2], "whole")
    yield _refuse("gif header only", still[:13], "whole")
    yield _accept("gif without its end", still[:-1])


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
    bgr = np.asarray(_picture())[..., ::-1]
    yield _accept("bmp 24 bit", bmp(bgr, 24))
    yield _accept("bmp 24 bit top-down", bmp(bgr, 24, top_down=True))
    yield _part("bmp 24 bit core header", bmp(bgr, 24, core=True))
    for bits in (1, 4, 8):
        indexes, table = _palette(2**bits)
        palette = b"".join(bytes((table[at + 2], table[at + 1], table[at], 0)) for at in range(0, len(table), 3))
        yield _part(f"bmp {bits} bit", bmp(indexes, bits, palette))
        yield _part(f"bmp {bits} bit core header", bmp(indexes, bits, palette, core=True))
    four = np.concatenate([bgr, np.full((*bgr.shape[:2], 1), 255, np.uint8)], 2)
    yield _accept("bmp 32 bit", bmp(four, 32))
    masks = struct.pack("<III", 0xFF0000, 0xFF00, 0xFF)
    yield _accept("bmp 32 bit masks", bmp(four, 32, compression=3, masks=masks))
    high = bgr.astype(int)
    five = ((high[..., 2:] >> 3 << 10) | (high[..., 1:2] >> 3 << 5) | (high[..., :1] >> 3)).astype("<u2")
    words = five.view(np.uint8).reshape(HEIGHT, WIDTH, 2)
    yield _part("bmp 16 bit", bmp(words, 16))
    six = ((high[..., 2:] >> 3 << 11) | (high[..., 1:2] >> 2 << 5) | (high[..., :1] >> 3)).astype("<u2")
    words = six.view(np.uint8).reshape(HEIGHT, WIDTH, 2)
    masks = struct.pack("<III", 0xF800, 0x7E0, 0x1F)
    yield _part("bmp 16 bit 5-6-5", bmp(words, 16, compression=3, masks=masks))
    gray = np.zeros((4, 4, 1), np.uint8)
    ramp = b"".join(bytes((value, value, value, 0)) for value in range(256))
    runs = b"\4\x50\0\0" * 4 + b"\0\1"
    yield _refuse("bmp 8 bit run-length", bmp(gray, 8, ramp, compression=1, pixels=runs), "run-length")
    yield _refuse("bmp 4 bit run-length", bmp(gray, 4, ramp[:64], compression=2, pixels=runs), "run-length")
    yield _refuse("bmp holds a jpeg", bmp(gray, 24, compression=4, pixels=runs), "decoded")
    whole = bmp(bgr, 24)
    yield _refuse("bmp half", whole[: len(whole) // 2], "whole")
    yield _refuse("bmp header only", whole[:54], "whole")
    yield _refuse("bmp start only", whole[:10], "whole")


# WebP


def _webps() -> Iterator[ImageFile]:
    picture = _picture()
    veiled = picture.copy()
    veiled.putalpha(Image.fromarray((np.indices((HEIGHT, WIDTH))[1] * 4 % 256).astype(np.uint8)))
    lossy = _saved(picture, "WEBP", quality=90)
    yield _accept("webp lossy", lossy)
    yield _accept("webp lossless", _saved(picture, "WEBP", lossless=True))
    yield _part("webp lossy alpha", _saved(veiled, "WEBP", quality=90))
    yield _part("webp lossless alpha", _saved(veiled, "WEBP", lossless=True, exact=True))
    other = Image.fromarray(255 - np.asarray(picture))
    yield _part("webp animated", _saved(picture, "WEBP", save_all=True, append_images=[other], duration=50))
    yield _accept("webp colour profile", _saved(picture, "WEBP", icc_profile=b"x" * 3000))
    yield _accept("webp bytes behind", lossy + b"anything" * 9)
    yield _refuse("webp half", lossy[: len(lossy) // 2], "whole")
    yield _refuse("webp header only", lossy[:20], "whole")


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
    upright, stored = _saved(_picture(), "JPEG", quality=95), _saved(turned(_picture(), 6), "JPEG", quality=95)

    def exif_segment(block: bytes) -> bytes:
        return segment(0xE1, b"Exif\0\0" + block)

    little, xmp = exif_segment(exif(6, order="<")), segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>")
    yield _part("jpeg exif orientation 6, little-endian", after_start(stored, little))
    yield _part("jpeg exif orientation 6 behind XMP", after_start(stored, xmp, little))
    twice = after_start(stored, exif_segment(exif(6)), exif_segment(exif(3)))
    yield _part("jpeg exif twice, the first counts", twice)
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
        yield _accept(f"jpeg exif orientation {name}", after_start(upright, exif_segment(block)))
    rgb = np.asarray(turned(_picture(), 6))
    whole, chunk = png(rgb, 2, 8), png_chunk(b"eXIf", exif(6))
    yield _part("png exif orientation behind its pixels", whole[:-12] + chunk + whole[-12:])


def _others() -> Iterator[ImageFile]:
    picture = _picture()
    yield _refuse("empty", b"", "empty")
    yield _refuse("text", b"hello, I am text", "no JPEG, PNG")
    yield _refuse("text dressed as a jpeg", b"\xff\xd8\xff" + b"text" * 20, "whole")
    yield _refuse("tiff", _saved(picture, "TIFF"), "no JPEG, PNG")
    yield _refuse("ppm", _saved(picture, "PPM"), "no JPEG, PNG")
    yield _refuse("ico", _saved(picture, "ICO", sizes=[(32, 32)]), "no JPEG, PNG")
    yield _refuse("avif or heic", b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(64), "no JPEG, PNG")
    yield _refuse("svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no JPEG, PNG")

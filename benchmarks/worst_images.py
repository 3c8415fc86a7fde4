"""The dearest files that the limits let through, and what each costs: `python -m benchmarks.worst_images`.

Each file is as large as the service's own estimate allows, of content that is as slow to decode as we know how to make
it. Each is decoded in a fresh process; memory is by how much that process grows. --write puts the table into
docs/security.md.
"""

import argparse
import io
import json
import math
import re
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageFile

from service.errors import TooLarge
from service.host.cpu import processor
from service.preprocessing.headers import read_header
from service.preprocessing.limits import DEFAULT_LIMITS, MAX_MEMORY
from service.settings import Settings

PAGE = Path(__file__).parents[1] / "docs" / "security.md"
TARGET = 224
MAX_BYTES: int = Settings.model_fields["max_body_bytes"].default
_TURNS = 5
_SAMPLE = 700

Make = Callable[[int, int], bytes]


@dataclass(frozen=True)
class Worst:
    """What decoding one file to TARGETxTARGET takes: milliseconds of a core (the least of _TURNS) and megabytes."""

    name: str
    width: int
    height: int
    size: int
    milliseconds: float
    megabytes: float


def measure_all(names: str = "") -> Iterator[Worst]:
    """Each of the files whose name holds `names`."""
    for name, (make, aspect) in CASES.items():
        if names in name:
            yield measure(name, largest(make, aspect))


def largest(make: Make, aspect: float) -> bytes:
    """The largest file of this make that the limits let through, by what a pixel of a small one costs."""
    sample = make(round(_SAMPLE * math.sqrt(aspect)), round(_SAMPLE / math.sqrt(aspect)))
    header = read_header(sample)
    bytes_a_pixel = len(sample) / header.pixels
    cost = header.reduced if header.reduced and aspect < 10 else header.cost
    pixels = min(
        DEFAULT_LIMITS.max_pixels,
        DEFAULT_LIMITS.max_milliseconds * 1e6 / (cost.pixel + bytes_a_pixel * cost.byte),
        MAX_MEMORY / (cost.memory + bytes_a_pixel),
        MAX_BYTES / bytes_a_pixel,
        DEFAULT_LIMITS.max_side**2 / aspect,
    )
    while True:  # a larger one may have other bytes a pixel
        data = make(int(math.sqrt(pixels * aspect)), int(math.sqrt(pixels / aspect)))
        try:
            DEFAULT_LIMITS.check_cost(read_header(data), cost, len(data))
            return data
        except TooLarge:
            pixels *= 0.97


def measure(name: str, data: bytes) -> Worst:
    header = read_header(data)
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        command = [sys.executable, "-c", _CHILD, file.name, str(TARGET), str(_TURNS)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    times, memory = json.loads(done.stdout)
    return Worst(name, header.width, header.height, len(data), 1000 * min(times), memory)


_CHILD = """
import json, re, sys, time
from pathlib import Path
from service.preprocessing import decode
from service.errors import TooLarge
from service.preprocessing.headers import read_header
def status(name):
    return int(re.findall(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[0]) / 1000
data, target = Path(sys.argv[1]).read_bytes(), int(sys.argv[2])
Path("/proc/self/clear_refs").write_text("5")
before, times = status("VmRSS"), []
for _ in range(int(sys.argv[3])):
    began = time.thread_time()  # CPU time of this thread: other processes do not count
    decode.decode(data, target, target)
    times.append(time.thread_time() - began)
print(json.dumps([times, status("VmHWM") - before]))
"""


# The files


def _noise(width: int, height: int, channels: int, levels: int = 256) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, levels, (height, width, channels), np.uint8)


def _saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    ImageFile.MAXBLOCK = 2**26  # Pillow writes a progressive file in one go
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _jpeg(quality: int, levels: int, sampling: str) -> Make:
    def make(width: int, height: int) -> bytes:
        return bytes(simplejpeg.encode_jpeg(_noise(width, height, 3, levels), quality, "RGB", sampling))

    return make


def _cmyk(width: int, height: int) -> bytes:
    return _saved(Image.fromarray(_noise(width, height, 4, 64), "CMYK"), "JPEG", quality=75)


def _progressive(quality: int, levels: int, repeated: int = 0) -> Make:
    """`repeated` times the last scan once more: each is a pass over all of the picture."""

    def make(width: int, height: int) -> bytes:
        picture = Image.fromarray(_noise(width, height, 3, levels))
        file = _saved(picture, "JPEG", quality=quality, progressive=True, subsampling=0)
        scan = file[file.rindex(b"\xff\xda") : -2]
        return file[:-2] + scan * repeated + file[-2:]

    return make


_COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def _png(channels: int, bits: int, levels: int, interlaced: bool = False, palette: bool = False) -> Make:
    """Rows of noise under Paeth's filter, whose branches no processor foresees; fewer `levels` make fewer bytes."""

    def make(width: int, height: int) -> bytes:
        packed = bytearray()
        for top, left, down, right in _PASSES if interlaced else ((0, 0, 1, 1),):
            columns, rows = -(-(width - left) // right), -(-(height - top) // down)
            row = -(-columns * channels * bits // 8)
            part = np.full((rows, row + 1), 4, np.uint8)
            part[:, 1:] = _noise(row, rows if levels > 1 else 1, 1, max(levels, 16))[..., 0]
            packed += part.tobytes()
        header = struct.pack(
            ">IIBBBBB", width, height, bits, 3 if palette else _COLOURS[channels], 0, 0, int(interlaced)
        )
        colours = [(b"PLTE", bytes(range(256)) * 3)] if palette else []
        parts = [(b"IHDR", header), *colours, (b"IDAT", zlib.compress(bytes(packed), 1)), (b"IEND", b"")]
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
            for name, content in parts
        )

    return make


def _gif(levels: int) -> Make:
    def make(width: int, height: int) -> bytes:
        return _saved(Image.fromarray(_noise(width, height, 1, levels)[..., 0]), "GIF")

    return make


def _bmp(mode: str) -> Make:
    def make(width: int, height: int) -> bytes:
        return _saved(Image.fromarray(_noise(width, height, 3)).convert(mode, dither=Image.Dither.NONE), "BMP")

    return make


def _webp(levels: int, **options: Any) -> Make:
    def make(width: int, height: int) -> bytes:
        channels = 4 if options.get("exact") else 3
        return _saved(Image.fromarray(_noise(width, height, channels, levels)), "WEBP", method=0, **options)

    return make


_SQUARE, _THIN = 4 / 3, 27.0
CASES: dict[str, tuple[Make, float]] = {
    "JPEG": (_jpeg(40, 160, "420"), _SQUARE),
    "JPEG, all of its bytes noise": (_jpeg(100, 256, "444"), _SQUARE),
    "JPEG too thin to be reduced": (_jpeg(90, 256, "444"), _THIN),
    "JPEG of four inks": (_cmyk, _SQUARE),
    "JPEG of four inks, thin": (_cmyk, _THIN),
    "JPEG, progressive": (_progressive(75, 24), _SQUARE),
    "JPEG, progressive, noise": (_progressive(90, 256), _SQUARE),
    "JPEG, progressive, 90 more scans": (_progressive(75, 64, 85), _SQUARE),
    "PNG, RGB": (_png(3, 8, 16), _SQUARE),
    "PNG, RGB, few bytes": (_png(3, 8, 1), _SQUARE),
    "PNG, RGBA": (_png(4, 8, 16), _SQUARE),
    "PNG, RGBA, 16 bits": (_png(4, 16, 16), _SQUARE),
    "PNG, RGBA, interlaced": (_png(4, 8, 16, interlaced=True), _SQUARE),
    "PNG, gray": (_png(1, 8, 1), _SQUARE),
    "PNG, gray, 16 bits": (_png(1, 16, 16), _SQUARE),
    "PNG, 1 bit, interlaced": (_png(1, 1, 256, interlaced=True), _SQUARE),
    "PNG, palette": (_png(1, 8, 16, palette=True), _SQUARE),
    "GIF": (_gif(256), _SQUARE),
    "GIF, few bytes": (_gif(2), _SQUARE),
    "BMP, RGB": (_bmp("RGB"), _SQUARE),
    "BMP, palette": (_bmp("P"), _SQUARE),
    "WebP, lossy": (_webp(64, quality=75), _SQUARE),
    "WebP, lossy, noise": (_webp(256, quality=100), _SQUARE),
    "WebP, lossless": (_webp(256, lossless=True, quality=0), _SQUARE),
    "WebP, lossless, alpha": (_webp(4, lossless=True, quality=0, exact=True), _SQUARE),
}


def table(found: list[Worst]) -> str:
    lines = ["| file | pixels | MB of it | ms | MB of memory |", "| :--- | ---: | ---: | ---: | ---: |"]
    for one in found:
        size = f"{one.width:,} x {one.height:,}"
        lines.append(f"| {one.name} | {size} | {one.size / 1e6:.1f} | {one.milliseconds:.0f} | {one.megabytes:.0f} |")
    return "\n".join(lines)


_BEGIN, _END = "<!-- worst images: written by benchmarks.worst_images -->", "<!-- end -->"


def write(text: str, page: Path = PAGE) -> None:
    whole = page.read_text()
    pattern = re.compile(f"{re.escape(_BEGIN)}.*?{re.escape(_END)}", re.DOTALL)
    page.write_text(pattern.sub(lambda _: f"{_BEGIN}\n{text}\n{_END}", whole))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worst_images", description=__doc__)
    parser.add_argument("--only", default="", help="files whose name holds this")
    parser.add_argument("--write", action="store_true", help="put the table into docs/security.md")
    options = parser.parse_args()
    found = []
    for worst in measure_all(options.only):
        found.append(worst)
        print(table([worst]).splitlines()[-1], flush=True)
    if options.write:
        write(f"{processor()}, one core, {date.today()}.\n\n{table(found)}")


if __name__ == "__main__":
    main()

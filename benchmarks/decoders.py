"""Ways to decode a 640x427 JPEG to 224x224, by time and by how near they are: `python -m benchmarks.decoders`.

Libraries that this project does not use take part where they are installed: opencv-python-headless, imagecodecs,
kornia_rs, pyvips with pyvips-binary. `--version` names an exported version of 224 pixels with a `model.tflite`: how
often its best label is that of the full decode, on crops of photographs.
"""

import argparse
import io
import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image

from loadtest.markdown import markdown
from service.preprocessing import decode as images
from service.types import Pixels

SIZE, TARGET = (640, 427), 224
_ROUNDS, _TURNS = 3, 40
_CROPS = 25  # of each photograph
_QUALITY = 85
_SEED = 17

Way = Callable[[bytes], Pixels]
"""JPEG of SIZE -> RGB, uint8 [TARGET, TARGET, 3]."""


@dataclass(frozen=True)
class Result:
    """`milliseconds` of one image on one thread and its page `faults`: pages of memory that the system had to give.
    Against the full decode: the `difference` of a pixel, a share of its range, mean over all images, and
    the share of images whose best label is `equal`, None without a network.
    """

    milliseconds: float
    faults: float
    difference: float
    equal: float | None


def _decode(data: bytes, colours: str, **options: Any) -> Pixels:
    options = {"fastdct": True, "fastupsample": False, "strict": False} | options
    pixels: Pixels = simplejpeg.decode_jpeg(data, colours, **options)
    return pixels


def _resize(pixels: Pixels) -> Pixels:
    """The service's filter, without copies, of RGBX."""
    return images.resized(pixels, TARGET, TARGET, pixels.shape[:2])


def _copy_and_resize(pixels: Pixels) -> Pixels:
    """The same filter through the resizer's own images, which copy what they are given and what they return."""
    fast = images.fast
    source = fast.ImageData(pixels.shape[1], pixels.shape[0], fast.PixelType.U8x3, pixels.tobytes())
    target = fast.ImageData(TARGET, TARGET, fast.PixelType.U8x3)
    options = fast.ResizeOptions(resize_alg=fast.ResizeAlg.convolution(fast.FilterType.bilinear), use_alpha=False)
    fast.Resizer().resize(source, target, options)
    return np.frombuffer(target.get_buffer(), np.uint8).reshape(TARGET, TARGET, 3)


def _pillow(data: bytes, draft: bool = False) -> Pixels:
    with Image.open(io.BytesIO(data)) as picture:
        if draft:
            picture.draft("RGB", (SIZE[0] // 2, SIZE[1] // 2))
        return np.asarray(picture.resize((TARGET, TARGET), Image.Resampling.BILINEAR))


def _scaled(eighths: int) -> Way:
    """libjpeg-turbo leaves out detail while it decodes; of its factors only 4/8, 2/8 and 1/8 have SIMD code."""
    least = {"min_width": SIZE[0] * eighths // 8, "min_height": SIZE[1] * eighths // 8}
    return lambda data: _resize(_decode(data, "RGBX", **least))


def _opencv(filter_name: str) -> Way:
    cv2 = import_module("cv2")
    cv2.setNumThreads(1)
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION

    def decode(data: bytes) -> Pixels:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        return np.asarray(cv2.resize(pixels, (TARGET, TARGET), interpolation=getattr(cv2, filter_name)))

    return decode


def _imagecodecs() -> Way:
    decode = import_module("imagecodecs").jpeg8_decode
    return lambda data: _copy_and_resize(decode(data))


def _kornia() -> Way:
    decode = import_module("kornia_rs.io").decode_image_jpeg
    return lambda data: _copy_and_resize(decode(data))


def _vips() -> Way:
    os.environ["VIPS_CONCURRENCY"] = "1"
    image = import_module("pyvips").Image
    return lambda data: image.thumbnail_buffer(data, TARGET, height=TARGET, size="force").numpy()[..., :3]


FULL, SERVICE = "simplejpeg RGB, resizer with its copies", "simplejpeg RGBX, resizer without copies (the service)"
WAYS: Mapping[str, tuple[str, Callable[[], Way]]] = {
    FULL: ("cykooz_resizer", lambda: lambda data: _copy_and_resize(_decode(data, "RGB"))),
    SERVICE: ("", lambda: lambda data: images.decode(data, TARGET, TARGET)),
    "simplejpeg, merged upsampling": ("", lambda: lambda data: _resize(_decode(data, "RGBX", fastupsample=True))),
    "simplejpeg, 7/8 of the size": ("", lambda: _scaled(7)),
    "simplejpeg, 6/8 of the size": ("", lambda: _scaled(6)),
    "simplejpeg, 5/8 of the size": ("", lambda: _scaled(5)),
    "simplejpeg, 4/8 of the size": ("", lambda: _scaled(4)),
    "Pillow": ("", lambda: _pillow),
    "Pillow, draft of half the size": ("", lambda: lambda data: _pillow(data, draft=True)),
    "OpenCV, area": ("cv2", lambda: _opencv("INTER_AREA")),
    "OpenCV, bilinear": ("cv2", lambda: _opencv("INTER_LINEAR")),
    "imagecodecs, resizer with its copies": ("imagecodecs", _imagecodecs),
    "kornia_rs, resizer with its copies": ("kornia_rs", _kornia),
    "libvips thumbnail": ("pyvips", _vips),
}
"""Name -> the module that it needs, "" for none, and what makes it."""


def measure(photographs: Sequence[bytes], predict: Callable[[Pixels], int] | None) -> dict[str, Result]:
    """Each way whose module is installed; `photographs` are JPEGs of SIZE. The ways take turns at the first of them,
    each time in a new process: what one allocates and frees changes what memory costs the next.
    """
    names = [name for name, (module, _) in WAYS.items() if not module or find_spec(module)]
    timed: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for _ in range(_ROUNDS):
        for name in names:
            with multiprocessing.get_context("spawn").Pool(1) as process:
                timed[name].append(process.apply(time_way, (name, photographs[0])))
    found = {}
    for name in names:
        way, levels, equal = WAYS[name][1](), 0.0, 0
        for photograph in photographs:
            full, pixels = images.decode(photograph, TARGET, TARGET), way(photograph)
            levels += float(np.abs(pixels.astype(int) - full).mean()) / 255
            equal += predict is not None and predict(pixels) == predict(full)
        milliseconds, faults = (statistics.median(each) for each in zip(*timed[name], strict=True))
        count = len(photographs)
        found[name] = Result(milliseconds, faults, levels / count, equal / count if predict is not None else None)
    return found


def time_way(name: str, photograph: bytes) -> tuple[float, float]:
    """Milliseconds of one image (median) and its page faults (mean), on this thread."""
    way, seconds = WAYS[name][1](), []
    for _ in range(_TURNS // 4):
        way(photograph)
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    for _ in range(_TURNS):
        began = time.perf_counter()
        way(photograph)
        seconds.append(time.perf_counter() - began)
    faults = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before
    return 1000 * statistics.median(seconds), faults / _TURNS


def cut_photographs() -> list[bytes]:
    """JPEGs of SIZE: the packaged photographs, each whole and then in crops of half its sides or more."""
    from export.data.photographs import list_examples

    random, found = np.random.default_rng(_SEED), []
    for example in list_examples():
        with Image.open(io.BytesIO(example.data)) as opened:
            picture = opened.convert("RGB")
        boxes = [(0.0, 0.0, float(picture.width), float(picture.height))]
        for _ in range(_CROPS - 1):
            width, height = (random.uniform(0.5, 1) * side for side in picture.size)
            left, top = random.uniform(0, picture.width - width), random.uniform(0, picture.height - height)
            boxes.append((left, top, left + width, top + height))
        for box in boxes:
            buffer = io.BytesIO()
            picture.resize(SIZE, Image.Resampling.BICUBIC, box).save(buffer, "JPEG", quality=_QUALITY)
            found.append(buffer.getvalue())
    return found


def _load(version: Path) -> Callable[[Pixels], int]:
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(model_path=str(version / "model.tflite"), num_threads=1).get_signature_runner("image")
    return lambda pixels: int(run(image=pixels[np.newaxis])["probabilities"].argmax())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decoders", description=__doc__.partition("\n")[0])
    parser.add_argument("--version", type=Path, metavar="FOLDER", help="an exported version, to compare best labels")
    arguments = parser.parse_args()
    photographs = cut_photographs()
    found = measure(photographs, _load(arguments.version) if arguments.version else None)
    rows = [
        (
            name,
            f"{one.milliseconds:.2f}",
            f"{one.faults:.0f}",
            f"{one.difference:.4f}",
            "-" if one.equal is None else f"{100 * one.equal:.1f} %",
        )
        for name, one in found.items()
    ]
    print(f"{len(photographs)} photographs of {SIZE[0]}x{SIZE[1]} to {TARGET}x{TARGET}, one thread")
    print(markdown(("way", "ms", "page faults", "mean difference", "best label equal"), rows))
    for name in WAYS.keys() - found.keys():
        print(f"{name}: {WAYS[name][0]} is not installed")
    return 0


if __name__ == "__main__":
    sys.exit(main())

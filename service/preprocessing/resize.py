"""Resizing as the exported graph does it: bilinear, its filter widened by the reduction (antialiased).

fast_image_resize does it with SIMD, six times as fast as Pillow (`make bench`), and agrees with it to 1
level of 255. It has no package for Linux on ARM, so Pillow stands in wherever it is missing.
"""

import importlib
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

try:
    fast: Any = importlib.import_module("cykooz_resizer")
except ImportError:
    fast = None

Pixels = NDArray[np.uint8]

_OF_THREAD = threading.local()


def resized(pixels: Pixels, height: int, width: int, covered: tuple[float, float] | None = None) -> Pixels:
    """RGB, uint8 [height, width, 3], from `pixels` of another size.

    `covered` is how many rows and columns of `pixels` count, from the top left; they need not be whole.
    """
    rows, columns = covered or pixels.shape[:2]
    if (rows, columns) == (height, width):
        return pixels
    if fast is None:
        return resized_picture(Image.fromarray(pixels), height, width, (rows, columns))
    source = fast.ImageData(pixels.shape[1], pixels.shape[0], fast.PixelType.U8x3, pixels.tobytes())
    target = fast.ImageData(width, height, fast.PixelType.U8x3)
    _resizer().resize(source, target, _options(rows, columns))
    return np.frombuffer(target.get_buffer(), np.uint8).reshape(height, width, 3)


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


def _resizer() -> Any:
    """One a thread: it keeps its buffers between images, and two threads on one would wait for each other."""
    if not hasattr(_OF_THREAD, "resizer"):
        _OF_THREAD.resizer = fast.Resizer()
    return _OF_THREAD.resizer

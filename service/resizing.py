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
        return _by_pillow(pixels, height, width, rows, columns)
    source = fast.ImageData(pixels.shape[1], pixels.shape[0], fast.PixelType.U8x3, pixels.tobytes())
    target = fast.ImageData(width, height, fast.PixelType.U8x3)
    options = fast.ResizeOptions(
        resize_alg=fast.ResizeAlg.convolution(fast.FilterType.bilinear),
        crop_box=fast.CropBox(0.0, 0.0, columns, rows),
        use_alpha=False,
    )
    _resizer().resize(source, target, options)
    return np.frombuffer(target.get_buffer(), np.uint8).reshape(height, width, 3)


def _resizer() -> Any:
    """One a thread: it keeps its buffers between images, and two threads on one would wait for each other."""
    if not hasattr(_OF_THREAD, "resizer"):
        _OF_THREAD.resizer = fast.Resizer()
    return _OF_THREAD.resizer


def _by_pillow(pixels: Pixels, height: int, width: int, rows: float, columns: float) -> Pixels:
    picture = Image.fromarray(pixels)
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR, (0.0, 0.0, columns, rows)))

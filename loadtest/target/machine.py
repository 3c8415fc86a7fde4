"""The machine a number was measured on, and the picture it was measured with."""

import datetime
import io
import os
import platform
from pathlib import Path

from PIL import Image

from service.host.cpu import cores, processor
from service.version import find_version

_PACKAGES = ("ai-edge-litert", "tensorflow", "fastapi", "uvicorn")
_QUALITY = 85


def describe() -> str:
    """Date, processor, cores, memory and the versions that matter, on one line."""
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ", ".join(f"{name} {find_version(name)}" for name in _PACKAGES)
    today = datetime.datetime.now(datetime.UTC).date()
    return f"{today}: {processor()}, {cores()} cores, {gib:.0f} GiB; Python {platform.python_version()}, {packages}"


def facts() -> dict[str, str]:
    """What -> which, for a report: `describe`, taken apart."""
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = (*_PACKAGES, "locust", "mlcommons-loadgen")
    return {
        "processor": processor(),
        "cores": str(cores()),
        "memory": f"{gib:.0f} GiB",
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        **{name: found for name in packages if (found := find_version(name))},  # its image has no TensorFlow
    }


def write_photo(path: Path) -> Path:
    """A real 640x427 photograph as a JPEG file: scikit-learn's `china.jpg`, encoded anew."""
    path.write_bytes(_photo())
    return path


def photo_bytes() -> int:
    return len(_photo())


def _photo() -> bytes:
    from sklearn.datasets import load_sample_image

    buffer = io.BytesIO()
    Image.fromarray(load_sample_image("china.jpg")).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()

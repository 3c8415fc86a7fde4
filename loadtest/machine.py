"""The machine a number was measured on, and the picture it was measured with."""

import datetime
import io
import os
import platform
from importlib.metadata import version
from pathlib import Path

from PIL import Image

_QUALITY = 85


def cores() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0))


def describe() -> str:
    """Date, processor, cores, memory and the versions that matter, on one line."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ", ".join(f"{name} {version(name)}" for name in ("ai-edge-litert", "tensorflow", "fastapi", "uvicorn"))
    today = datetime.datetime.now(datetime.UTC).date()
    return f"{today}: {cpu}, {cores()} cores, {gib:.0f} GiB; Python {platform.python_version()}, {packages}"


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

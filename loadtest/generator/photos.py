"""What is sent: real photographs as JPEGs of several sizes, or a folder of the user's own."""

import io
from collections.abc import Iterator
from pathlib import Path

SIZES = ((320, 213), (640, 427), (1280, 854))
_QUALITY = 85
_ENDINGS = (".jpg", ".jpeg")


def write(folder: Path) -> list[Path]:
    """scikit-learn's two photographs (640x427) in each of SIZES; the large ones are enlarged."""
    from PIL import Image
    from sklearn.datasets import load_sample_image

    written = []
    for name in ("china", "flower"):
        photo = Image.fromarray(load_sample_image(f"{name}.jpg"))
        for size in SIZES:
            path = folder / f"{name}-{size[0]}x{size[1]}.jpg"
            photo.resize(size, Image.Resampling.LANCZOS).save(path, "JPEG", quality=_QUALITY)
            written.append(path)
    return written


def tiny() -> bytes:
    """The smallest picture there is: what it costs to decode is next to nothing."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (90, 120, 150)).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def found(folder: Path) -> list[Path]:
    """The JPEGs of `folder`. Raises ValueError where it has none."""
    paths = sorted(_jpegs(folder)) if folder.is_dir() else []
    if not paths:
        raise ValueError(f"{folder} holds no .jpg files")
    return paths


def _jpegs(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.suffix.lower() in _ENDINGS)

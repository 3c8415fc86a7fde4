"""`python -m export augment`: a picture of what training will see.

One row an image, classes taking turns; the first column is the image as it is read.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export.arguments import Parser
from export.data import sources
from export.data.augmentation import Augmentation, build_augmenter
from export.data.names import escape
from export.data.options import DataOptions, add_augment_flag
from export.data.partition import divide
from export.data.sources import Source
from export.errors import ExportError, UsageError

_ROWS, _COLUMNS = 8, 8
_TEXT, _GAP = 16, 4
_PAPER, _INK = (255, 255, 255), (40, 40, 40)


def main(arguments: Sequence[str]) -> int:
    """Writes the sheet. Raises UsageError and ExportError."""
    parser = Parser(
        "export augment",
        "Draw what --augment does to your images, as a PNG: what training will see.",
        "--data photos/ --augment strong",
    )
    parser.add_argument(
        "--data", default=sources.DIGITS, metavar="digits|DIR|FILE.csv", help="the images (default: digits)"
    )
    add_augment_flag(parser.add_argument)
    parser.add_argument("--image-size", type=int, default=160, metavar="N", help="of each image (default: 160)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of what is drawn at random (default: 0)")
    parser.add_argument(
        "--output", type=Path, default=Path("augmentation.png"), metavar="FILE.png", help="(default: augmentation.png)"
    )
    args = parser.parse_args(arguments)
    options = DataOptions(augment=args.augment)
    if not 8 <= args.image_size <= 1024:
        raise UsageError(f"Invalid --image-size: expected a number from 8 to 1024, got {args.image_size}")
    if not 0 <= args.seed < 2**32:
        raise UsageError(f"Invalid --seed: expected a number from 0 to {2**32 - 1}, got {args.seed}")
    source = sources.find(args.data)
    augmentation = options.choose_augmentation(source.labels)

    from export.quiet import import_tensorflow

    import_tensorflow()
    draw(source, augmentation, args.image_size, args.seed).save(args.output, "PNG")
    done = ", ".join(f"{name} {value:g}" for name, value in augmentation.settings.items()) or "nothing"
    print(f"{escape(args.output)}: {args.augment} is {done}", file=sys.stderr)
    return 0


def draw(source: Source, augmentation: Augmentation, size: int, seed: int) -> Any:
    """A Pillow image: up to 8 rows of an image [size, size] as it is read and 7 times as training sees it, labelled.

    Raises ExportError where no image can be read.
    """
    import numpy as np
    import tensorflow as tf
    from PIL import Image, ImageDraw, ImageFont

    images, classes = _read_some(source, size)
    augment = build_augmenter(augmentation, len(source.labels), seed)
    columns = [(images, classes)]
    for _ in range(_COLUMNS - 1):
        pixels, labels = augment(tf.constant(images, tf.float32), tf.constant(classes))
        columns.append((np.rint(pixels).astype(np.uint8), np.asarray(labels)))
    step, fall = size + _GAP, size + _GAP + _TEXT
    sheet = Image.new("RGB", (_COLUMNS * step + _GAP, len(images) * fall + _GAP), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(_TEXT - 5)
    for column, (pixels, labels) in enumerate(columns):
        for row in range(len(images)):
            left, top = _GAP + column * step, _GAP + row * fall
            sheet.paste(Image.fromarray(pixels[row]), (left, top))
            text = _describe(labels[row], source.labels)
            while text and pen.textlength(text, font) > size:
                text = text[:-1]
            pen.text((left, top + size), text, _INK, font)
    return sheet


def _describe(label: Any, labels: tuple[str, ...]) -> str:
    """A class's name, or the shares of several, the largest first."""
    import numpy as np

    if np.ndim(label) == 0:
        return labels[int(label)]
    shares = [(float(share), name) for share, name in zip(label, labels, strict=True) if share >= 0.005]
    return " + ".join(f"{share:.0%} {name}" for share, name in sorted(shares, reverse=True))


def _read_some(source: Source, size: int) -> tuple[Any, Any]:
    """uint8 [N, size, size, 3] and int32 [N] of training images, classes taking turns, without unreadable ones."""
    import numpy as np

    from service.errors import ServiceError
    from service.preprocessing import decode

    train = divide(source.classes, source.parts).train
    turns: dict[int, int] = {}
    order = []
    for index in train.tolist():
        label = int(source.classes[index])
        turns[label] = turns.get(label, 0) + 1
        order.append((turns[label], label, index))
    images, classes = [], []
    for _, label, index in sorted(order):
        try:
            images.append(decode.decode(source.read(index), size, size))
        except (ServiceError, ExportError):  # an export lists them
            continue
        classes.append(label)
        if len(images) == _ROWS:
            break
    if not images:
        raise ExportError(f"no image of {source.name} can be read; an export lists the reasons")
    return np.stack(images), np.array(classes, np.int32)

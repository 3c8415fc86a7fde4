"""Augmentation: what happens to training images at random, and to no other image.

Geometry is one layer of our own, because Keras' layers resample an image once each (three times the milliseconds, and
more blur each time), and its RandomCrop cuts all images of a batch at one place. The rest is Keras'.
"""

import difflib
import itertools
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from export.errors import UsageError

NONE, LIGHT, MEDIUM, STRONG = "none", "light", "medium", "strong"


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far each kind goes at most; 0 and False leave it out.

    `rotation` is in degrees to either side; `zoom` and `translation` are shares of the image's sides; `crop` is the
    share of the sides that may be cut off, wherever. `contrast`, `brightness` and `rand_augment` are Keras' factors,
    `mixup` and `cutmix` Keras' alpha: they blend two images and their labels.
    """

    flip: bool = False
    rotation: float = 0.0
    zoom: float = 0.0
    translation: float = 0.0
    crop: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    rand_augment: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    @property
    def blends(self) -> bool:
        """True where labels become shares of classes."""
        return bool(self.mixup or self.cutmix)

    @property
    def settings(self) -> dict[str, float]:
        """Those that do something, by name."""
        return {name: value for name, value in asdict(self).items() if value}


PRESETS: Mapping[str, Augmentation] = {
    NONE: Augmentation(),
    LIGHT: Augmentation(rotation=8.6, zoom=0.1, translation=0.08),
    MEDIUM: Augmentation(flip=True, rotation=10, zoom=0.15, translation=0.1, contrast=0.2, brightness=0.1),
    STRONG: Augmentation(flip=True, rotation=20, zoom=0.2, translation=0.1, crop=0.4, contrast=0.4, brightness=0.2),
}
_ALONE = Augmentation(
    flip=True,
    rotation=10,
    zoom=0.15,
    translation=0.1,
    crop=0.3,
    contrast=0.2,
    brightness=0.1,
    rand_augment=0.3,
    mixup=0.2,
    cutmix=1.0,
)
"""What a kind does where it is asked for by its name."""

KINDS = tuple(field.name for field in fields(Augmentation))


def parse_augmentation(text: str) -> Augmentation:
    """`none`, `light`, `medium`, `strong`, kinds by name, or a preset and more kinds: `light,flip,mixup`.

    Raises UsageError with the nearest names for one that does not exist.
    """
    names = [name.strip().lower().replace("-", "_") for name in text.split(",")]
    chosen = Augmentation()
    for name in names:
        if name in PRESETS:
            if name != names[0]:
                raise UsageError(f"Invalid --augment: expected {name!r} first, and kinds behind it, got {text!r}")
            chosen = PRESETS[name]
        elif name in KINDS:
            chosen = replace(chosen, **{name: getattr(_ALONE, name)})
        else:
            offered = (*PRESETS, *KINDS)
            near = difflib.get_close_matches(name, offered, n=2, cutoff=0.5)
            meant = f"; did you mean {' or '.join(near)}?" if near else ""
            raise UsageError(f"Invalid --augment: expected some of {', '.join(offered)}, got {name!r}{meant}")
    return chosen


def fit_to_labels(augmentation: Augmentation, text: str, labels: tuple[str, ...]) -> Augmentation:
    """Without a preset's flip where a mirrored image would be another class, or none. `text` is what was asked for."""
    if "flip" in re.split(r"\s*,\s*", text.lower()) or not _have_sides(labels):
        return augmentation
    return replace(augmentation, flip=False)


def _have_sides(labels: tuple[str, ...]) -> bool:
    """True for digits, numbers and letters, and where a class is a side."""
    written = all(len(label) == 1 or label.isdecimal() for label in labels)
    return written or any(re.search(r"(?<![a-z])(left|right)(?![a-z])", label.lower()) for label in labels)


def build_augmenter(augmentation: Augmentation, classes: int, seed: int) -> Callable[[Any, Any], tuple[Any, Any]]:
    """(RGB, float32 [N, H, W, 3] of 0 to 255; int32 [N]) -> images of that shape and range, and labels.

    Labels stay int32 [N], or are float32 [N, classes] where images are blended. Runs in a `tf.data` pipeline.
    """
    import keras
    import tensorflow as tf

    layers = keras.layers
    seeds = (each % 2**32 for each in itertools.count(seed))  # one each, or two layers would draw the same numbers
    one = [_build_geometry(augmentation, next(seeds))] if _moves(augmentation) else []
    if augmentation.contrast:
        one.append(layers.RandomContrast(augmentation.contrast, seed=next(seeds)))
    if augmentation.brightness:
        one.append(layers.RandomBrightness(augmentation.brightness, seed=next(seeds)))
    if augmentation.rand_augment:
        one.append(layers.RandAugment(factor=augmentation.rand_augment, seed=next(seeds)))
    pairs = [layers.MixUp(augmentation.mixup, seed=next(seeds))] if augmentation.mixup else []
    if augmentation.cutmix:
        pairs.append(layers.CutMix(augmentation.cutmix, seed=next(seeds)))

    def augment(images: Any, labels: Any) -> tuple[Any, Any]:
        shape = images.shape
        for layer in one:
            images = layer(images, training=True)
        if pairs:
            labels = tf.one_hot(labels, classes)
        for layer in pairs:
            both = layer({"images": images, "labels": labels}, training=True)
            images, labels = both["images"], both["labels"]
        return tf.ensure_shape(tf.clip_by_value(images, 0.0, 255.0), shape), labels

    return augment


def _moves(augmentation: Augmentation) -> bool:
    return bool(
        augmentation.flip or augmentation.rotation or augmentation.zoom or augmentation.translation or augmentation.crop
    )


def _build_geometry(augmentation: Augmentation, seed: int) -> Any:
    """A layer that flips, turns, zooms, crops and shifts every image in one resampling; edges are continued."""
    import keras
    import tensorflow as tf

    class RandomGeometry(keras.layers.Layer):  # type: ignore[misc]  # Keras is untyped
        def __init__(self) -> None:
            super().__init__()
            self.generator = keras.random.SeedGenerator(seed)

        def call(self, images: Any, training: bool = False) -> Any:
            return self._move(images) if training else images

        def _move(self, images: Any) -> Any:
            count, height, width = tf.shape(images)[0], images.shape[1], images.shape[2]

            def draw(most: float, least: float | None = None) -> Any:
                return keras.random.uniform((count,), -most if least is None else least, most, seed=self.generator)

            turn = draw(math.radians(augmentation.rotation))
            shown = 1 - draw(augmentation.crop, 0.0)
            size = (1 + draw(augmentation.zoom)) * shown
            side = tf.sign(draw(1.0)) if augmentation.flip else tf.ones([count])
            cosine, sine = tf.cos(turn) * size, tf.sin(turn) * size
            # The operation maps output to input coordinates: around the middle, then shifted. A crop stays inside.
            x, y = (width - 1) / 2, (height - 1) / 2
            right = x * draw(1.0) * (1 - shown) + width * draw(augmentation.translation)
            below = y * draw(1.0) * (1 - shown) + height * draw(augmentation.translation)
            across = x - side * cosine * x + sine * y + right
            down = y - side * sine * x - cosine * y + below
            zero = tf.zeros([count])
            transform = tf.stack([side * cosine, -sine, across, side * sine, cosine, down, zero, zero], axis=1)
            return keras.ops.image.affine_transform(images, transform, "bilinear", "nearest")

    return RandomGeometry()

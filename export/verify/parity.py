"""Is what was staged what was trained? Every signature, read back from disk, against the Keras model."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from export.architectures.architecture import Architecture
from export.convert.litert import LiteModel
from export.convert.signatures import BYTES, CLASSES, IMAGE, PROBABILITIES, TENSOR
from export.data import pixels
from export.data.dataset import Dataset, Example
from export.data.reading import PIXEL_TOLERANCE, measure_levels
from export.errors import ExportError
from export.verify.answers import DIVERGED
from export.verify.readback import Outputs, Readback, run_in_batches
from service.errors import ServiceError
from service.plurals import format_items
from service.preprocessing import decode as gateway
from service.repository.manifest import FEATURES, IMAGE_FEATURES
from service.types import strings

TOLERANCE = 1e-4
"""Largest difference of one probability: float32 sums in another order, and no more."""

ENTRY_TOLERANCE = 1e-3
"""Mean difference of a probability between a quantized model's two entries: now and then a float sum in
another order ends on the other side of a rounding."""

ROUNDED_TOLERANCE = 0.05
"""Mean share of the probability that lies on other classes, of a file that rounds to 8 bits: a scaling such as from -1
to 1 puts pixels halfway between two of its levels, and float noise decides which they are."""

FEATURES_TOLERANCE = 1e-3
"""Largest difference of one feature, of the largest one of the same images: no bound keeps them small."""

_OTHER_SIZES = (1.5, 0.75)


@dataclass(frozen=True, slots=True)
class Parity:
    """Largest differences found over `images` encoded images: those that came, and two more files of each.

    `probabilities` has one entry an engine and signature, such as "LiteRT image". Of a Keras network, signatures that
    decode nothing were asked about the images that came, without the other files. The gateway's decoder is judged by
    `gateway_pixels`, mean levels of 255 of the worst image, and `gateway_probabilities` is what becomes of them.
    """

    images: int
    probabilities: Mapping[str, float]
    gateway_pixels: float
    gateway_probabilities: float

    @property
    def worst(self) -> float:
        return max(self.probabilities.values())


def check(staged: Readback, model: Any, architecture: Architecture, dataset: Dataset) -> Parity:
    """Compares on held-out images, as they came and re-encoded as PNG and JPEG in other sizes.

    Signatures that decode nothing are asked about them as they came. Raises ExportError naming the signature past
    tolerance, or where `classes` are not the labels.
    """
    import tensorflow as tf

    # Where there is a GPU, its 10-bit shortcut would drown what is looked for here.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    size = dataset.held_out.images.shape[1]
    files = [file for example in dataset.examples for file in encodings(example)]
    rows = np.stack([pixels.decode(file, size).numpy() for file in files])
    tensor = pixels.to_tensor(rows, architecture).numpy()
    wanted = compute_probabilities(model, tensor)
    if not np.isfinite(wanted).all():
        raise ExportError(DIVERGED)

    # The network is most of what this costs: signatures of one input share a run, and those that decode nothing are
    # asked about the images as they came.
    came = slice(None, None, len(files) // len(dataset.examples))
    features = staged.has_features
    encoded = staged.run_together([BYTES, FEATURES] if features else [BYTES], strings(files))
    decoded = staged.run_together([IMAGE, IMAGE_FEATURES] if features else [IMAGE], rows[came])
    scaled = staged.saved_model(TENSOR, tensor[came])
    lite = {IMAGE: staged.lite(IMAGE, rows[came]), TENSOR: staged.lite(TENSOR, tensor[came])}  # the other engine last
    answer = encoded[BYTES]
    named = [[label.decode() for label in row] for row in answer[CLASSES]]
    if named != [list(dataset.labels)] * len(files):
        raise ExportError("refused to publish: the graph names other classes than the dataset has")
    found = {
        f"SavedModel {BYTES}": _difference(answer, wanted),
        f"SavedModel {IMAGE}": _difference(decoded[IMAGE], wanted[came]),
        f"SavedModel {TENSOR}": _difference(scaled, wanted[came]),
        f"LiteRT {IMAGE}": _difference(lite[IMAGE], wanted[came]),
        f"LiteRT {TENSOR}": _difference(lite[TENSOR], wanted[came]),
    }
    if features:
        found[f"SavedModel {IMAGE_FEATURES}"] = _difference(decoded[IMAGE_FEATURES], wanted[came])
    for where, value in found.items():
        if value > TOLERANCE:
            raise ExportError(
                f"refused to publish: {where} differs from the trained network by {value:.1e} "
                f"on held-out images (at most {TOLERANCE:.0e})"
            )
    if features:
        _check_features(encoded[FEATURES][FEATURES][came], decoded[IMAGE_FEATURES][FEATURES], lite)
    seen = _as_gateway(dataset.examples, rows)
    return Parity(
        images=len(files),
        probabilities=found,
        gateway_pixels=max(measure_levels(one, other) for one, other in zip(seen, rows, strict=True)),
        gateway_probabilities=_difference(staged.lite(IMAGE, seen), wanted),
    )


def _check_features(encoded: Any, wanted: Any, lite: Mapping[str, Outputs]) -> None:
    """Features that the SavedModel gives for encoded and for decoded images, and what `model.tflite` does by signature.

    Raises ExportError where they differ, or are no numbers.
    """
    given = {f"SavedModel {FEATURES}": encoded, **{f"LiteRT {entry}": each[FEATURES] for entry, each in lite.items()}}
    for where, features in given.items():
        apart = float(np.abs(features - wanted).max() / max(np.abs(wanted).max(), np.finfo(np.float32).tiny))
        if not apart <= FEATURES_TOLERANCE:
            raise ExportError(
                f"refused to publish: the features of {where} differ by {apart:.1e} of the largest one on held-out "
                f"images (at most {FEATURES_TOLERANCE:.0e})"
            )


def compute_probabilities(model: Any, tensor: Any) -> Any:
    """What a Keras network answers to `tensor`, float32 [N, H, W, channels], as in use: float32 [N, classes].

    In a graph: called without one, it keeps what every layer makes of the images until its end.
    """
    import tensorflow as tf

    infer = tf.function(lambda some: model(some, training=False), reduce_retracing=True)
    return run_in_batches(lambda some: {PROBABILITIES: infer(tf.constant(some)).numpy()}, tensor)[PROBABILITIES]


def check_lite(data: bytes, model: Any, architecture: Architecture, dataset: Dataset, exact: bool) -> Parity:
    """The same of a `.tflite` file that was given two entries, several images at once, against `model`, the file as it
    came. Where that is not `exact`, ROUNDED_TOLERANCE is what they may differ by.

    Raises ExportError.
    """
    size = dataset.held_out.images.shape[1]
    files = [file for example in dataset.examples for file in encodings(example)]
    rows = np.stack([pixels.decode(file, size).numpy() for file in files])
    tensor = pixels.to_tensor(rows, architecture).numpy()
    wanted = model(tensor).numpy()
    lite = LiteModel(data, threads=1)
    try:
        answers = {"LiteRT " + entry: lite.run(entry, given) for entry, given in ((IMAGE, rows), (TENSOR, tensor))}
        decoded = _as_gateway(dataset.examples, rows)
        seen = lite.run(IMAGE, decoded)
    except (ValueError, RuntimeError) as error:
        raise ExportError(
            f"refused to publish: the file takes one image at a time ({str(error).partition(chr(10))[0]}); the service "
            "runs it as it is from REPOSITORY/NAME/1/model.tflite, without decoding"
        ) from error
    for where, answer in answers.items():
        given = answer[PROBABILITIES]
        if given.shape != wanted.shape:
            raise ExportError(
                f"refused to publish: {where} answers {format_items(len(wanted), 'image')} with shape {given.shape}"
            )
        apart = _difference(answer, wanted) if exact else float(np.abs(given - wanted).sum(-1).mean() / 2)
        if not apart <= (TOLERANCE if exact else ROUNDED_TOLERANCE):
            raise ExportError(
                f"refused to publish: {where} differs from the file as it came by {apart:.1e} on several images at once"
            )
    return Parity(
        images=len(files),
        probabilities={where: _difference(answer, wanted) for where, answer in answers.items()},
        gateway_pixels=max(measure_levels(one, other) for one, other in zip(decoded, rows, strict=True)),
        gateway_probabilities=_difference(seen, wanted),
    )


def check_entries(lite: LiteModel, architecture: Architecture, dataset: Dataset) -> None:
    """Raises ExportError where a quantized model answers otherwise through `tensor` than through `image`."""
    rows = np.asarray(dataset.held_out.images[: len(dataset.examples)])
    tensor = pixels.to_tensor(rows, architecture).numpy()
    apart = float(np.abs(lite.run(IMAGE, rows)[PROBABILITIES] - lite.run(TENSOR, tensor)[PROBABILITIES]).mean())
    if not apart <= ENTRY_TOLERANCE:
        raise ExportError(f"refused to publish: quantized, {IMAGE} and {TENSOR} differ by {apart:.1e} on average")


def _as_gateway(examples: tuple[Example, ...], rows: Any) -> Any:
    """The same files decoded by the gateway, uint8, shaped as `rows`. Raises ExportError past tolerance."""
    size = rows.shape[1]
    decoded: list[Any] = []
    for example in examples:
        for file in encodings(example):
            try:
                image = gateway.decode(file, size, size)
            except ServiceError as error:
                raise ExportError(f"refused to publish: the gateway cannot decode {example.origin}: {error}") from error
            levels = measure_levels(image, rows[len(decoded)])
            if levels > PIXEL_TOLERANCE:
                raise ExportError(
                    f"refused to publish: the gateway decodes {example.origin} {levels:.1f} levels of 255 "
                    f"apart from the model's own decoder on average (at most {PIXEL_TOLERANCE})"
                )
            decoded.append(image)
    return np.stack(decoded)


def encodings(example: Example) -> tuple[bytes, ...]:
    """An image's file as it came, and as PNG and JPEG at two other sizes and shapes."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(example.data)) as opened:
            image = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ExportError(f"{example.origin} is not a readable image: {error}") from error
    wide, narrow = (max(1, round(image.width * factor)) for factor in _OTHER_SIZES)
    high, low = (max(1, round(image.height * factor)) for factor in _OTHER_SIZES)
    png, jpeg = io.BytesIO(), io.BytesIO()
    image.resize((wide, low), Image.Resampling.BICUBIC).save(png, "PNG")
    image.resize((narrow, high), Image.Resampling.BICUBIC).save(jpeg, "JPEG", quality=90)
    return example.data, png.getvalue(), jpeg.getvalue()


def _difference(outputs: Mapping[str, Any], wanted: Any) -> float:
    """Largest absolute difference of a probability; infinite where the answer holds NaN."""
    largest = float(np.abs(outputs[PROBABILITIES] - wanted).max())
    return largest if np.isfinite(largest) else float("inf")

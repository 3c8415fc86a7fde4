"""Answers of object detectors: outputs named as by TensorFlow's Object Detection API -> boxes, labels and scores.

| output | shape | |
| :--- | :--- | :--- |
| detection_boxes | [N, M, 4] | top, left, bottom, right, as shares of the image's height and width |
| detection_scores | [N, M] | 0 to 1 |
| detection_classes | [N, M] | numbers, from 1 on where the model was trained with a label map |
| num_detections | [N] | how many of the M are filled, where a model says so |

Source: `object_detection/exporter_lib_v2.py` and `core/standard_fields.py` in tensorflow/models. Other outputs of such
a model (raw boxes, anchors, masks) are left to the other APIs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.errors import ServiceError
from service.preprocessing.decode import measure
from service.preprocessing.orientation import UPRIGHT, turn_box_upright
from service.repository.manifest import STRING, Manifest
from service.types import Array, PredictRequest, Tensors

BOXES, SCORES, CLASSES, COUNT = "detection_boxes", "detection_scores", "detection_classes", "num_detections"
_NOTHING = ("", "???", "background", "__background__")
"""What label files have in the line of class 0, which no detector answers."""
_FARTHEST = 2.0
"""A box may reach out of its image; one that ends this far out is in pixels."""


@dataclass(frozen=True, slots=True)
class Photo:
    """An image as it stands upright, `height` x `width` pixels. `orientation` is EXIF's, of one whose boxes are those
    of the stored pixels: a graph that decodes a file does not turn it.
    """

    height: int
    width: int
    orientation: int = UPRIGHT


@dataclass(frozen=True, slots=True)
class Choice:
    """Which detections are answered: the `most` best ones of an image, of a score of at least `min_score`."""

    min_score: float
    most: int


def is_detector(manifest: Manifest) -> bool:
    """True where a signature answers boxes."""
    return any(BOXES in signature.outputs for signature in manifest.signatures.values())


def measure_photos(manifest: Manifest, request: PredictRequest) -> list[Photo]:
    """What the boxes of each image in `request` lie on. Empty where that cannot be known: several inputs, or files that
    only the model can read.
    """
    if len(request.inputs) != 1:
        return []
    ((alias, array),) = request.inputs.items()
    if array.dtype != object:
        return [Photo(*array.shape[1:3])] * len(array) if array.ndim == 4 else []
    signature = manifest.signature(request.signature)
    spec = signature.inputs.get(alias or signature.only_input or "")
    by_graph = spec is not None and spec.dtype == STRING and manifest.decodes(request.signature) is None
    try:
        sizes = [measure(data) for data in array]
    except ServiceError:
        return []
    return [Photo(height, width, turned if by_graph else UPRIGHT) for height, width, turned in sizes]


def render_detections(
    outputs: Tensors, photos: Sequence[Photo], labels: Sequence[str], choice: Choice
) -> list[dict[str, Any]] | None:
    """One object an image; None where the outputs are no detector's, or its boxes are not shares of the image."""
    found = _read(outputs)
    if found is None or len(found) != len(photos):
        return None
    answers = []
    for (boxes, scores, classes), photo in zip(found, photos, strict=True):
        order = np.argsort(-scores, kind="stable")
        usable = np.isfinite(boxes).all(axis=1) & (scores >= choice.min_score)  # no NaN is
        chosen = order[usable[order]][: choice.most]
        if (np.abs(boxes[chosen]) > _FARTHEST).any():
            return None
        answers.append(
            {
                "width": photo.width,
                "height": photo.height,
                "detections": [
                    {
                        **_name(int(classes[index]), labels),
                        "score": float(f"{scores[index]:.7g}"),
                        **_place(boxes[index].tolist(), photo),
                    }
                    for index in chosen
                ],
            }
        )
    return answers


def _read(outputs: Tensors) -> list[tuple[Array, Array, Array]] | None:
    """Boxes [M, 4], scores [M] and classes [M] of each image; None for outputs of other names, kinds or shapes."""
    arrays = [outputs.get(alias) for alias in (BOXES, SCORES, CLASSES)]
    if any(array is None or array.dtype.kind not in "fiu" for array in arrays):
        return None
    boxes, scores, classes = (np.asarray(array) for array in arrays)
    if boxes.ndim == 2:  # a model of one image, without a dimension for it
        boxes, scores, classes = boxes[np.newaxis], scores[np.newaxis], classes[np.newaxis]
    if boxes.ndim != 3 or boxes.shape[2] != 4 or not boxes.shape[:2] == scores.shape == classes.shape:
        return None
    if not np.isfinite(classes).all():
        return None
    return list(_cut(boxes, scores, np.rint(classes), outputs.get(COUNT)))


def _cut(boxes: Array, scores: Array, classes: Array, count: Array | None) -> Iterator[tuple[Array, Array, Array]]:
    """Each image's, without what only fills it up."""
    counts = None if count is None or count.dtype.kind not in "fiu" else count.ravel()
    for row in range(len(boxes)):
        filled = boxes.shape[1]
        if counts is not None and len(counts) == len(boxes) and np.isfinite(counts[row]):
            filled = max(0, int(counts[row]))
        yield boxes[row, :filled], scores[row, :filled], classes[row, :filled]


def _name(number: int, labels: Sequence[str]) -> dict[str, Any]:
    """Lines count from 1, as label maps do, unless the first one is there for class 0."""
    line = number if labels and labels[0].strip().lower() in _NOTHING else number - 1
    return {"label": labels[line] if 0 <= line < len(labels) else str(number), "class": number}


def _place(box: Sequence[float], photo: Photo) -> dict[str, Any]:
    """Within the photo: a tenth of a pixel, and shares."""
    top, left, bottom, right = (min(1.0, max(0.0, edge)) for edge in turn_box_upright(box, photo.orientation))
    shares = {"left": left, "top": top, "right": right, "bottom": bottom}
    sides = {"left": photo.width, "top": photo.height, "right": photo.width, "bottom": photo.height}
    return {
        "box": {edge: round(share * sides[edge], 1) for edge, share in shares.items()},
        "normalized_box": {edge: float(f"{share:.7g}") for edge, share in shares.items()},
    }

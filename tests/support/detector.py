"""A small object detector of SSD's kind as a SavedModel: prior boxes, scores of two classes, and suppression."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

GRID, CELL = 8, 8
"""Prior boxes are the cells of a grid over the picture, which is resized to GRID * CELL pixels a side."""

RED, GREEN = 1, 2
MOST = 10


def write(folder: Path) -> None:
    """Signatures, all with TensorFlow's names for what a detector finds where nothing else is said:

    serving_default  input_tensor uint8 [1, any, any, 3]
    any_number       input_tensor uint8 [N, any, any, 3], whose answers have N rows
    encoded          image_bytes string [1], decoded by the graph
    proposals        input_tensor uint8 [N, any, any, 3] -> boxes [K, 4] and scores [K] of all images, K as many as are
                     found: declared as rows are
    yolo             input_tensor uint8 [N, any, any, 3] -> candidates [N, 64, 6]
    """
    import tensorflow as tf

    rows, columns = np.divmod(np.arange(GRID * GRID, dtype=np.float32), GRID)
    priors = np.stack([rows, columns, rows + 1, columns + 1], -1) / GRID

    def score(images: Any) -> Any:
        """float32 [N, 64, 2]: how red and how green each cell is, beyond its other colours."""
        side = GRID * CELL
        small = tf.image.resize(tf.cast(images, tf.float32) / 255, (side, side), method="area")
        red, green, blue = tf.unstack(small, axis=-1)
        over = tf.stack([red - tf.maximum(green, blue), green - tf.maximum(red, blue)], -1)
        return tf.reshape(tf.nn.avg_pool2d(tf.maximum(over, 0.0), CELL, CELL, "VALID"), (-1, GRID * GRID, 2))

    def detect(images: Any) -> dict[str, Any]:
        scores = score(images)
        boxes = tf.tile(tf.constant(priors)[None, :, None], (tf.shape(scores)[0], 1, 1, 1))
        found = tf.image.combined_non_max_suppression(boxes, scores, MOST, MOST, 0.5, 0.05)
        return {
            "detection_boxes": found.nmsed_boxes,
            "detection_scores": found.nmsed_scores,
            "detection_classes": found.nmsed_classes + 1.0,  # as label maps count
            "num_detections": tf.cast(found.valid_detections, tf.float32),
        }

    def propose(images: Any) -> dict[str, Any]:
        best = tf.reduce_max(score(images), -1)
        places = tf.where(best > 0.05)
        return {"boxes": tf.gather(tf.constant(priors), places[:, 1]), "scores": tf.gather_nd(best, places)}

    def list_candidates(images: Any) -> dict[str, Any]:
        scores = score(images)
        boxes = tf.tile(tf.constant(priors)[None], (tf.shape(scores)[0], 1, 1))
        return {"candidates": tf.concat([boxes, scores], -1)}

    one, many = (tf.TensorSpec((rows, None, None, 3), tf.uint8, name="input_tensor") for rows in (1, None))
    encoded = tf.TensorSpec((1,), tf.string, name="image_bytes")
    module = tf.Module()
    signatures = {
        "serving_default": tf.function(lambda input_tensor: detect(input_tensor)).get_concrete_function(one),
        "any_number": tf.function(lambda input_tensor: detect(input_tensor)).get_concrete_function(many),
        "encoded": tf.function(
            lambda image_bytes: detect(tf.image.decode_image(image_bytes[0], 3, expand_animations=False)[None])
        ).get_concrete_function(encoded),
        "proposals": tf.function(lambda input_tensor: propose(input_tensor)).get_concrete_function(many),
        "yolo": tf.function(lambda input_tensor: list_candidates(input_tensor)).get_concrete_function(many),
    }
    tf.saved_model.save(module, str(folder), signatures)


def draw(width: int, height: int, *cells: tuple[int, int, int]) -> Image.Image:
    """A gray picture with cells (row, column, class) in the colour of their class."""
    pixels = np.full((height, width, 3), 90, np.uint8)
    for row, column, kind in cells:
        rows = slice(row * height // GRID, (row + 1) * height // GRID)
        columns = slice(column * width // GRID, (column + 1) * width // GRID)
        pixels[rows, columns] = (240, 20, 20) if kind == RED else (20, 240, 20)
    return Image.fromarray(pixels)

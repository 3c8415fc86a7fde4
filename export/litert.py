"""A frozen SavedModel -> `model.tflite` for the embedded engine."""

from pathlib import Path

from export.quiet import silenced
from export.signatures import IMAGE, TENSOR


def convert(saved_model: Path, target: Path) -> None:
    """Writes a float32 LiteRT model with the signatures `image` and `tensor` over one set of weights.

    It converts the published graph itself, not the Keras model: a SavedModel that still has variables
    converts into one whose shared signatures answer NaN (TensorFlow 2.21).
    """
    with silenced():
        import tensorflow as tf

        converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model), signature_keys=[IMAGE, TENSOR])
        target.write_bytes(converter.convert())

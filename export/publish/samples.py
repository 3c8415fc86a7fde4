"""What travels beside a model for those who try, warm or check it: sample images, warm-up, golden answers."""

import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from export.architectures.architecture import Architecture
from export.convert.litert import LiteModel
from export.convert.signatures import BYTES, IMAGE, IMAGE_BYTES, PROBABILITIES, TENSOR
from export.data import pixels
from export.data.dataset import Dataset, Example
from service.repository.manifest import GOLDEN, SAMPLES, WARMUP

_SAMPLES = 10
_SAMPLE_SIZE = 512
_WARM_BATCHES = (1, 8)


def write(folder: Path, name: str, dataset: Dataset, architecture: Architecture, lite: LiteModel) -> None:
    """Writes `assets.extra/` of the model `name`: samples, golden answers, TensorFlow Serving's warm-up."""
    write_samples(folder, dataset.examples)
    images = np.asarray(dataset.held_out.images[: len(dataset.examples)])
    probabilities = lite.run(IMAGE, images)[PROBABILITIES]  # the engine that is asked them again at every load
    np.savez_compressed(folder / GOLDEN, images=images, probabilities=probabilities)
    rows = {
        BYTES: (IMAGE_BYTES, np.array(list_files(dataset.examples), object)),
        IMAGE: (IMAGE, images),
        TENSOR: (TENSOR, pixels.to_tensor(images, architecture).numpy()),
    }
    write_warmup(folder / WARMUP, name, rows)


def write_samples(folder: Path, examples: tuple[Example, ...]) -> None:
    """Writes a few of these images below `assets.extra/`, as PNG files."""
    (folder / SAMPLES).mkdir(parents=True)
    for example, file in _named(examples[:_SAMPLES]):
        (folder / SAMPLES / file).write_bytes(_png(example.data))


def list_files(examples: tuple[Example, ...]) -> list[bytes]:
    """These images as PNG files."""
    return [_png(example.data) for example in examples]


def _png(data: bytes) -> bytes:
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        small = image.convert("RGB")
    small.thumbnail((_SAMPLE_SIZE, _SAMPLE_SIZE))
    file = io.BytesIO()
    small.save(file, "PNG")
    return file.getvalue()


def _named(examples: tuple[Example, ...]) -> Iterator[tuple[Example, str]]:
    seen: dict[str, int] = {}
    for example in examples:
        label = re.sub(r"[^A-Za-z0-9._-]", "_", example.label)
        number = seen.get(label, 0)
        seen[label] = number + 1
        yield example, f"{label}-{number}.png"


def write_warmup(path: Path, name: str, rows: Mapping[str, tuple[str, Any]]) -> None:
    """A TFRecord of PredictionLog, as TensorFlow Serving replays: every signature of `rows` at two batch sizes.

    `rows` has each signature's only input and values for it.
    """
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, (alias, known) in rows.items():
            for size in _WARM_BATCHES:
                request = predict_pb2.PredictRequest()
                request.model_spec.name = name
                request.model_spec.signature_name = signature
                batch = np.resize(known, (size, *known.shape[1:]))  # repeats where there are fewer
                request.inputs[alias].CopyFrom(tf.make_tensor_proto(batch))
                log = prediction_log_pb2.PredictionLog()
                log.predict_log.request.CopyFrom(request)
                writer.write(log.SerializeToString())

"""`python -m service openvino MODEL MODEL.xml`: the same network as OpenVINO's own files. The exporter runs it for a
`model.tflite`, the service for the frozen graph of a foreign SavedModel.

In a process of its own: OpenVINO's readers and TensorFlow in one process have ended it.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from service.backends.embedded import openvino
from service.backends.embedded.litert import Layout, LiteRTRunner, ModelFile
from service.errors import ServiceError
from service.host.cpu import cores
from service.host.processes import end_with_parent
from service.types import Array

_IMAGE = "image"  # an export's signature of decoded images, and its input


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m service openvino",
        description="Writes a network as OpenVINO's files: a float32 TFLite file with weights in float16, and prints "
        "by how much its answers differ, as JSON; or a frozen TensorFlow graph as it is.",
    )
    parser.add_argument("model", type=Path, metavar="MODEL")
    parser.add_argument("target", type=Path, metavar="MODEL.xml")
    form = parser.add_mutually_exclusive_group(required=True)
    form.add_argument("--images", type=Path, metavar="FILE.npy", help="MODEL is TFLite: uint8 [N,H,W,3] to compare on")
    form.add_argument("--names", type=Path, metavar="FILE.json", help="MODEL is a graph: its tensors -> new names")
    given = parser.parse_args(arguments)
    end_with_parent()  # which a deployment may end at any moment
    if not openvino.find_version():
        print("python -m service openvino: OpenVINO is not installed", file=sys.stderr)
        return 1
    try:
        if given.names is not None:
            openvino.convert_graph(given.model, given.target, json.loads(given.names.read_text(encoding="utf-8")))
            return 0
        print(json.dumps({"difference": convert(given.model, given.target, np.load(given.images))}))
    except (OSError, ValueError, ServiceError) as error:
        print(f"python -m service openvino: {error}", file=sys.stderr)
        return 1
    return 0


def convert(tflite: Path, target: Path, images: Array) -> float:
    """Writes `target` and returns the largest difference of any output in float32 for `images`, as a share of that
    output's largest number where that is above 1: probabilities are below, features are not.

    Raises ValueError or ServiceError where either engine cannot run it.
    """
    openvino.convert(tflite, target)
    layout = Layout(1, cores())
    lite = LiteRTRunner(ModelFile.read(tflite), layout)
    written = openvino.OpenVINORunner(target, lite.signatures, openvino.FLOAT32, layout)
    if _IMAGE not in written.signatures:
        raise ValueError(f"{tflite}: OpenVINO answers {sorted(written.signatures)}, and not the signature of images")
    wanted, found = (runner.call(_IMAGE, {_IMAGE: images}) for runner in (lite, written))
    return max(
        float(np.abs(found[alias] - rows).max()) / max(1.0, float(np.abs(rows).max())) for alias, rows in wanted.items()
    )

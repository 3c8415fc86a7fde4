"""tf.Examples from JSON, typed by how their values are written."""

import base64
import json

from service.api.tfserving.examples import read_json
from service.protobuf.stubs import example_pb2


def features_of(serialized: bytes) -> dict[str, tuple[str | None, list[object]]]:
    found = {}
    for name, feature in example_pb2.Example.FromString(serialized).features.feature.items():
        kind = feature.WhichOneof("kind")
        found[name] = (kind, list(getattr(feature, kind).value) if kind else [])
    return found


def test_features_are_typed_by_how_they_are_written() -> None:
    raw = base64.b64encode(b"\xff").decode()
    features = {"f": 1.0, "fs": [1.0, 2.5, 1e300], "i": -(2**63), "b": [True, 0], "s": ["é", {"b64": raw}], "none": []}
    (serialized,) = read_json(json.loads(json.dumps({"examples": [features]})))
    assert features_of(serialized) == {
        "f": ("float_list", [1.0]),
        "fs": ("float_list", [1.0, 2.5, float("inf")]),
        "i": ("int64_list", [-(2**63)]),
        "b": ("int64_list", [1, 0]),
        "s": ("bytes_list", ["é".encode(), b"\xff"]),
        "none": (None, []),
    }


def test_an_example_says_more_than_its_context() -> None:
    document = {"context": {"x": 1.0, "y": 1.0}, "examples": [{}, {"x": 2.0}]}
    first, second = read_json(document)
    assert features_of(first) == {"x": ("float_list", [1.0]), "y": ("float_list", [1.0])}
    assert features_of(second) == {"x": ("float_list", [2.0]), "y": ("float_list", [1.0])}

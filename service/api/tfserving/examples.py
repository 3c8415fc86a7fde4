"""Classify and Regress: questions made of tf.Examples to a signature with the input `inputs`, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.api.http import json_values
from service.api.tfserving.json_request import Document
from service.errors import InvalidInput, UnknownSignature
from service.protobuf.stubs import classification_pb2, example_pb2, regression_pb2
from service.repository.manifest import Manifest
from service.types import DEFAULT_SIGNATURE, Array, PredictRequest, Tensors, strings

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"

_INPUT = "inputs"
_CLASSES, _SCORES, _OUTPUTS = "classes", "scores", "outputs"
_ASKED = {CLASSIFY: (_CLASSES, _SCORES), REGRESS: (_OUTPUTS,)}
_MOST_REPEATED = 2**25  # bytes: what stands once on the wire stands before every example here
_INT64 = range(-(2**63), 2**63)


def read_input(message: Any) -> list[bytes]:
    """The serialized Examples of a tensorflow.serving.Input. Raises InvalidInput where there are none."""
    context = b""
    listed = message.example_list
    if message.HasField("example_list_with_context"):
        listed = message.example_list_with_context
        # Bytes before bytes: protobuf merges the two messages, and what the example says itself wins.
        context = listed.context.SerializeToString()
    if not listed.examples:
        raise InvalidInput("input is empty; send at least one Example")
    _check_repeated(context, len(listed.examples))
    return [context + example.SerializeToString() for example in listed.examples]


def read_json(document: Document) -> list[bytes]:
    """The same from {"context": {...}, "examples": [{"feature": value or list, ...}, ...]}."""
    listed = document.get("examples")
    if not isinstance(listed, list) or not listed:
        raise InvalidInput("'examples' is a list with at least one object of features")
    context = _example("'context'", document["context"]) if "context" in document else b""
    _check_repeated(context, len(listed))
    return [context + _example(f"item {item} of 'examples'", example) for item, example in enumerate(listed)]


def build_request(manifest: Manifest, name: str, method: str, examples: list[bytes]) -> PredictRequest:
    """Raises what `find_outputs` raises."""
    return PredictRequest({_INPUT: strings(examples)}, name, find_outputs(manifest, name, method))


def find_outputs(manifest: Manifest, name: str, method: str) -> tuple[str, ...]:
    """What the method asks of a signature. Raises InvalidInput where that is not there, or not one for this method."""
    try:
        signature = manifest.signature(name)
    except UnknownSignature as error:
        raise InvalidInput(error.message, **error.detail) from error
    wanted = tuple(alias for alias in _ASKED[method] if alias in signature.outputs)
    if set(signature.inputs) != {_INPUT} or not wanted:
        raise InvalidInput(
            f"signature {name or DEFAULT_SIGNATURE!r} is not one for {method}: it takes {sorted(signature.inputs)} and "
            f"gives {sorted(signature.outputs)}, where {[_INPUT]} and {list(_ASKED[method])} belong"
        )
    return wanted


@dataclass(frozen=True, slots=True)
class Classes:
    """`labels` are bytes and `scores` float32, both [N, C]; what the model does not say is empty or 0."""

    labels: Array
    scores: Array

    @classmethod
    def from_outputs(cls, outputs: Tensors) -> "Classes":
        """Raises InvalidInput where the outputs have other shapes."""
        found = {alias: outputs[alias] for alias in (_CLASSES, _SCORES) if alias in outputs}
        said = {alias: f"{array.dtype.name} {list(array.shape)}" for alias, array in found.items()}
        shapes = {array.shape for array in found.values()}
        shape = next(iter(shapes))
        labels, scores = (
            found.get(_CLASSES, np.full(shape, b"", object)),
            found.get(_SCORES, np.zeros(shape, np.float32)),
        )
        if len(shapes) > 1 or len(shape) != 2 or labels.dtype != object or scores.dtype != np.float32:
            raise InvalidInput(f"classes and scores are string and float32 [examples, classes]; the model gave {said}")
        return cls(labels, scores)

    def to_proto(self) -> Any:
        result = classification_pb2.ClassificationResult()
        for labels, scores in zip(self.labels, self.scores, strict=True):
            row = result.classifications.add()
            for label, score in zip(labels, scores.tolist(), strict=True):
                row.classes.add(label=label.decode(errors="replace"), score=score)
        return result


def read_regressions(outputs: Tensors) -> Array:
    """One float a row, shape [N]. Raises InvalidInput where the model gave another shape."""
    values = outputs[_OUTPUTS]
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1 or values.dtype != np.float32:
        said = f"{values.dtype.name} {list(outputs[_OUTPUTS].shape)}"
        raise InvalidInput(f"a regression is float32 [examples] or [examples, 1]; the model gave {said}")
    return values


def build_regressions(values: Array) -> Any:
    result = regression_pb2.RegressionResult()
    for value in values.tolist():
        result.regressions.add(value=value)
    return result


def _check_repeated(context: bytes, examples: int) -> None:
    if len(context) * examples > _MOST_REPEATED:
        raise InvalidInput(
            f"the context's {len(context):,} bytes before each of {examples:,} examples are more than "
            f"{_MOST_REPEATED:,}; send fewer examples at once"
        )


def _example(where: str, features: Any) -> bytes:
    if not isinstance(features, dict):
        raise InvalidInput(f"{where} is an object of features")
    example = example_pb2.Example()
    for name, value in features.items():
        values = value if isinstance(value, list) else [value]
        if not name.isprintable():  # halves of surrogate pairs, and bytes that are not UTF-8, among them
            raise InvalidInput(f"{where}: the feature name {name!a:.70} is not text")
        feature = example.features.feature[name]
        kinds = {_kind(where, name, one) for one in values}
        if len(kinds) > 1:
            raise InvalidInput(f"{where}: feature {name!r} mixes {' and '.join(sorted(kinds))}; send one kind")
        for kind in kinds:
            if kind == "bytes":
                values = [json_values.read_bytes(f"{where}: feature {name!r}", one) for one in values]
            elif kind == "int64":
                values = [int(one) for one in values]
            getattr(feature, f"{kind}_list").value.extend(values)
    return bytes(example.SerializeToString())


def _kind(where: str, name: str, value: Any) -> str:
    if isinstance(value, int):  # booleans too: they are 0 and 1
        if value not in _INT64:
            raise InvalidInput(f"{where}: feature {name!r} has a number that int64 does not hold")
        return "int64"
    if isinstance(value, float):
        return "float"
    if isinstance(value, (str, Mapping)):
        return "bytes"
    raise InvalidInput(f"{where}: feature {name!r} holds a list of lists or null; send numbers, strings or b64 objects")

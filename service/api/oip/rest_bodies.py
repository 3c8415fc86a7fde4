"""Open Inference Protocol v2 over HTTP: JSON, with tensors in it as lists or behind it as bytes.

    {"id", "parameters", "inputs": [{"name", "shape", "datatype", "parameters", "data"}], "outputs"} bytes
    {"model_name", "model_version", "id", "outputs": [{"name", "shape", "datatype", "parameters", "data"}]} bytes

A tensor has data, or a binary_data_size in its parameters. Where bytes follow, the header
Inference-Header-Content-Length says how long the JSON is. Parameters that are not named here (sequences, priorities,
timeouts) are for schedulers that this service does not have: they are not read.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.api.http import json_values
from service.api.http.json_values import name_type
from service.api.oip import protocol
from service.api.oip.tensors import encode_raw, find_dtype, find_item_bytes, name_datatype, parse_raw, shape_values
from service.errors import BackendFailed, InvalidInput, listed
from service.repository.manifest import STRING, Manifest
from service.types import Array, PredictRequest, PredictResult, dtype_of, strings

_BINARY_SIZE = "binary_data_size"
_LOOKS_LIKE = (
    '{"inputs": [{"name": "image", "shape": [1, 28, 28, 3], "datatype": "UINT8", "data": [...]}]}, '
    "or with binary_data_size and Inference-Header-Content-Length"
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What an inference request says beside its inputs. No `outputs` means all, as bytes where `binary`."""

    id: str = ""
    outputs: tuple[protocol.Output, ...] = ()
    binary: bool = False


def parse_body(body: bytes, json_length: int | None, manifest: Manifest) -> tuple[PredictRequest, Asked]:
    """`json_length` is the header's: None where there is none and the body is JSON, 0 where it is one tensor's bytes.

    Raises InvalidInput, UnknownSignature or Unsupported.
    """
    if json_length == 0:
        return _only_bytes(body, manifest), Asked()
    end = len(body) if json_length is None else json_length
    if end > len(body):
        raise InvalidInput(f"Inference-Header-Content-Length says {end:,} bytes, the body has {len(body):,}")
    document = _parsed(body[:end])
    parameters = _parameters("the request", document)
    tensors = _objects(document, "inputs")
    inputs = {_name(tensor): tensor for tensor in tensors}
    if "inputs" not in document:
        raise InvalidInput(f"the request has no inputs; it looks like {_LOOKS_LIKE}")
    if len(inputs) < len(tensors):
        raise InvalidInput(f"an input is there twice: {listed([tensor['name'] for tensor in tensors])}")
    signature = protocol.find_signature(manifest, parameters, inputs)
    tail = memoryview(body)[end:]
    arrays: dict[str, Array] = {}
    for name, tensor in inputs.items():
        arrays[name], tail = _input(name, tensor, tail)
    if tail:
        raise InvalidInput(f"{len(tail):,} bytes follow the last tensor; is every {_BINARY_SIZE} right?")
    binary = _flag(parameters, "binary_data_output", False)
    outputs = tuple(_output(tensor, binary) for tensor in _objects(document, "outputs"))
    return protocol.build_request(manifest, signature, arrays, outputs), Asked(_id(document), outputs, binary)


def render_reply(result: PredictResult, asked: Asked) -> tuple[bytes, int | None]:
    """The body, and the length of its JSON where bytes follow it.

    Raises InvalidInput for text that JSON cannot spell, BackendFailed for dtypes that the protocol cannot carry.
    """
    described: list[dict[str, Any]] = []
    tails: list[bytes] = []
    for output, array in protocol.pick_outputs(result, asked.outputs, asked.binary):
        entry: dict[str, Any] = {
            "name": output.name,
            "datatype": name_datatype(dtype_of(array.dtype)),
            "shape": list(array.shape),
        }
        if output.binary:
            tails.append(encode_raw(array))
            entry["parameters"] = {_BINARY_SIZE: len(tails[-1])}
        else:
            entry["data"] = _values(output.name, array)
        described.append(entry)
    document: dict[str, Any] = {"model_name": result.ref.name, "model_version": str(result.ref.version)}
    if asked.id:
        document["id"] = asked.id
    header = json.dumps(document | {"outputs": described}, allow_nan=False, separators=(",", ":")).encode()
    return b"".join([header, *tails]), len(header) if tails else None


def parse_only_ready(body: bytes) -> bool:
    """Whether a repository index is asked for what answers alone: {"ready": true}; an empty body asks for all."""
    if not body:
        return False
    document = _parsed(body)
    return _flag(document, "ready", False)


def _only_bytes(body: bytes, manifest: Manifest) -> PredictRequest:
    """A body without JSON: one BYTES element, or all of one tensor whose shape has one unknown size at most."""
    name, signature = protocol.find_shown_signature(manifest)
    if (alias := signature.only_input) is None:
        raise InvalidInput(f"bytes alone are for models of one input; this one takes {sorted(signature.inputs)}")
    spec = signature.inputs[alias]
    if spec.dtype == STRING:
        return PredictRequest({alias: strings([body])}, name)
    datatype, shape = name_datatype(spec.dtype), spec.shape
    row = math.prod(size for size in shape or () if size is not None) * find_item_bytes(alias, datatype)
    if shape is None or shape.count(None) > 1 or not row:
        raise InvalidInput(f"bytes alone do not tell the shape of input {alias!r}; send JSON before them")
    sizes = [len(body) // row if size is None else size for size in shape]
    return PredictRequest({alias: parse_raw(alias, datatype, sizes, body)}, name)


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        document = json_values.parse(text, constants=True)
    except ValueError as error:
        raise InvalidInput(
            f"the request is not valid JSON ({error}); where bytes follow it, Inference-Header-Content-Length says "
            "how long it is"
        ) from error
    if not isinstance(document, dict):
        raise InvalidInput(f"the request is an object, got {name_type(document)}")
    return document


def _objects(document: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = document.get(key, [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise InvalidInput(f"{key!r} is a list of objects; a request looks like {_LOOKS_LIKE}")
    return found


def _name(tensor: Mapping[str, Any]) -> str:
    if not isinstance(name := tensor.get("name"), str):
        raise InvalidInput(f"every tensor has a name, got {name_type(name)}")
    return name


def _id(document: Mapping[str, Any]) -> str:
    if not isinstance(given := document.get("id", ""), str):
        raise InvalidInput(f"id is a string, got {name_type(given)}")
    return given


def _parameters(of: str, document: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters = document.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise InvalidInput(f"{of}: parameters is an object, got {name_type(parameters)}")
    return parameters


def _flag(parameters: Mapping[str, Any], key: str, default: bool) -> bool:
    if not isinstance(value := parameters.get(key, default), bool):
        raise InvalidInput(f"{key} is true or false, got {name_type(value)}")
    return value


def _input(name: str, tensor: Mapping[str, Any], tail: memoryview) -> tuple[Array, memoryview]:
    """The tensor's array, and what its bytes leave of `tail`."""
    parameters = _parameters(f"input {name!r}", tensor)
    protocol.refuse_shared_memory(name, parameters)
    shape, datatype = tensor.get("shape"), tensor.get("datatype")
    if not isinstance(shape, list) or not all(type(size) is int for size in shape):
        raise InvalidInput(f"input {name!r} needs a shape such as [1, 28, 28, 3]: a list of whole numbers", input=name)
    if not isinstance(datatype, str):
        raise InvalidInput(f"input {name!r} needs a datatype such as 'UINT8', got {name_type(datatype)}", input=name)
    if _BINARY_SIZE in parameters:
        size = protocol.read_whole_number(name, parameters, _BINARY_SIZE)
        if size > len(tail):
            raise InvalidInput(
                f"input {name!r}: {_BINARY_SIZE} says {size:,} bytes, {len(tail):,} are left behind the JSON; "
                "is Inference-Header-Content-Length right?",
                input=name,
            )
        return parse_raw(name, datatype, shape, tail[:size]), tail[size:]
    if not isinstance(data := tensor.get("data"), list):
        raise InvalidInput(f"input {name!r} needs data, a list, or a {_BINARY_SIZE} in its parameters", input=name)
    dtype = find_dtype(name, datatype)
    array = json_values.read_array(name, data, dtype, whole_floats=True)
    if dtype == STRING and parameters.get("content_type") == "base64" and not _is_decoded(data):
        encoded = [
            json_values.decode_base64(f"input {name!r}", text.decode(errors="replace")) for text in array.ravel()
        ]
        array = strings(encoded)
    return shape_values(name, array, shape), tail


def _is_decoded(data: Any) -> bool:
    """Whether its items are {"b64": ...}, which need no parameter to be read."""
    while isinstance(data, list) and data:
        data = data[0]
    return isinstance(data, dict)


def _output(tensor: Mapping[str, Any], binary: bool) -> protocol.Output:
    name = _name(tensor)
    parameters = _parameters(f"output {name!r}", tensor)
    return protocol.build_output(name, parameters, _flag(parameters, "binary_data", binary))


def _values(name: str, array: Array) -> list[Any]:
    """Row-major and flat. JSON has no NaN and no infinities: null."""
    flat = array.ravel()
    if dtype_of(array.dtype) == STRING:
        try:
            return [value.decode() if isinstance(value, bytes) else str(value) for value in flat]
        except UnicodeDecodeError as error:
            raise InvalidInput(f"output {name!r} is no text; ask for it with binary_data") from error
    if array.dtype.kind not in "biuf":
        raise BackendFailed(f"the model answered in {array.dtype.name}, which this protocol cannot carry")
    values: list[Any] = flat.tolist()
    if array.dtype.kind == "f" and not np.isfinite(flat).all():
        return [value if finite else None for value, finite in zip(values, np.isfinite(flat), strict=True)]
    return values

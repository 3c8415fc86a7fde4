"""The JSON bodies of TensorFlow Serving's REST API -> arrays.

Row form: {"instances": [...]}, a value a row, or an object of values by input. Columnar form: {"inputs": ...},
a value an input. Values are nested lists, numbers, booleans, strings and {"b64": "..."}.
"""

from collections.abc import Mapping
from typing import Any

from service.api.http import json_values
from service.errors import InvalidInput, Unsupported, listed
from service.repository.manifest import Signature, TensorSpec
from service.types import Array, Tensors

INSTANCES = "instances"
INPUTS = "inputs"
_SIGNATURE = "signature_name"
_NOT_CARRIED = ("float16", "uint16")  # by this API; others do

Document = Mapping[str, Any]


def parse_document(body: bytes) -> Document:
    """The first JSON value of a body, which is an object; what follows it is ignored.

    Raises InvalidInput where it is none, or its signature_name is no string.
    """
    if not body:
        raise InvalidInput('the body is empty; send JSON such as {"instances": [...]} or {"inputs": ...}')
    try:
        document = json_values.parse(body, strict=False)
    except ValueError as error:
        raise InvalidInput(f"JSON Parse error: {error}") from error
    if not isinstance(document, dict):
        raise InvalidInput('the body is not a JSON object such as {"instances": [...]}')
    if not isinstance(document.get(_SIGNATURE, ""), str):
        raise InvalidInput(f"{_SIGNATURE} is a string, got {json_values.name_type(document[_SIGNATURE])}")
    return document


def read_signature_name(document: Document) -> str:
    """Empty where it means the default one."""
    return str(document.get(_SIGNATURE, ""))


def read_tensors(document: Document, signature: Signature, checked: bool = False) -> Tensors:
    """`checked` says that shapes may be held against the signature's.

    Raises InvalidInput; Unsupported for `inputs` of a dtype that JSON does not carry.
    """
    if not signature.inputs:
        raise InvalidInput("the signature takes no inputs; such a one can be asked over gRPC only")
    rows, columns = INSTANCES in document, INPUTS in document
    if rows == columns:
        what = "has both" if rows else "has neither"
        raise InvalidInput(f"send either {INSTANCES!r} or {INPUTS!r}; the body {what}")
    read = _from_instances if rows else _from_inputs
    return read(document[INSTANCES if rows else INPUTS], signature.inputs, checked)


def _from_instances(instances: Any, specs: Mapping[str, TensorSpec], checked: bool) -> Tensors:
    if not isinstance(instances, list) or not instances:
        raise InvalidInput(f"{INSTANCES!r} is a list with at least one value")
    named = [_is_named(instance) for instance in instances]
    if any(named) and not all(named):
        raise InvalidInput(
            f"{INSTANCES!r} holds objects or values, not some of each; see item {named.index(not named[0])}"
        )
    if not named[0]:
        if len(specs) > 1:
            raise InvalidInput(
                f"the signature has several inputs: every item of {INSTANCES!r} is an object with {sorted(specs)}"
            )
        by_alias = {next(iter(specs)): instances}
    else:
        for item, instance in enumerate(instances):
            if instance.keys() != specs.keys():
                raise InvalidInput(
                    f"item {item} of {INSTANCES!r} has {listed(instance)}; it needs exactly {sorted(specs)}", item=item
                )
        by_alias = {alias: [instance[alias] for instance in instances] for alias in specs}
    try:
        return {alias: _array(alias, values, specs[alias], True, checked) for alias, values in by_alias.items()}
    except Unsupported as error:
        raise InvalidInput(error.message, **error.detail) from error


def _from_inputs(inputs: Any, specs: Mapping[str, TensorSpec], checked: bool) -> Tensors:
    if not _is_named(inputs):
        if len(specs) > 1:
            raise InvalidInput(f"the signature has several inputs: {INPUTS!r} is an object with {sorted(specs)}")
        inputs = {next(iter(specs)): inputs}
    if missing := [alias for alias in specs if alias not in inputs]:
        raise InvalidInput(f"{INPUTS!r} lacks {missing[0]!r}; it needs {sorted(specs)}", input=missing[0])
    return {alias: _array(alias, inputs[alias], spec, False, checked) for alias, spec in specs.items()}


def _is_named(value: Any) -> bool:
    """An object of values by input; {"b64": "..."} is a value."""
    return isinstance(value, dict) and not json_values.is_b64(value)


def _array(alias: str, value: Any, spec: TensorSpec, rows: bool, checked: bool) -> Array:
    """Errors count levels from a row's own, where the values of one input were gathered from rows."""
    if spec.dtype in _NOT_CARRIED:
        raise Unsupported(f"input {alias!r} is {spec.dtype}, which JSON does not carry; ask over gRPC", input=alias)
    first, items = (-1, INSTANCES) if rows else (0, "")
    return json_values.read_array(alias, value, spec.dtype, first, items, spec if checked else None)

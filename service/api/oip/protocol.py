"""Open Inference Protocol v2: what its HTTP and its gRPC share beside tensors. Signatures, outputs, descriptions."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.api.oip.tensors import name_datatype
from service.errors import InvalidInput, Unsupported, listed
from service.models.version import Status
from service.protobuf import signatures
from service.repository.manifest import STRING, Manifest, Signature, TensorSpec
from service.types import DEFAULT_SIGNATURE, Array, ModelRef, PredictRequest, PredictResult, Tensors, strings

EXTENSIONS = ("binary_tensor_data", "classification", "model_configuration", "parameters", "statistics")
PLATFORM = "tensorflow"
SIGNATURE_NAME = "signature_name"
CLASSIFICATION = "classification"
NO_SHARED_MEMORY = "shared memory is not served here; send and receive the data itself"
NO_LOADING = "models are loaded and unloaded as their folders come and go in the model repository"
NO_SETTINGS = "this is set by the service's own flags when it starts"
"""What Triton's clients can call and this service does not do."""

_READY = "READY"
_STATES = {"LOADING": "LOADING", "AVAILABLE": _READY, "UNLOADING": "UNLOADING", "END": "UNAVAILABLE"}
_SHARED_MEMORY = "shared_memory_region"


@dataclass(frozen=True, slots=True)
class Output:
    """One output asked for. `classes`: that many of the best, as text, instead of the numbers; 0 for the numbers.
    `binary` is for HTTP alone: behind the JSON or in it.
    """

    name: str
    classes: int = 0
    binary: bool = False


def parse_ref(name: str, version: str) -> ModelRef:
    """A version is a number, or a label. Raises InvalidInput for numbers out of range."""
    return ModelRef(name, label=version) if version and not version.isdigit() else ModelRef.parse(name, version)


def build_output(name: str, parameters: Mapping[str, Any], binary: bool = False) -> Output:
    """Raises InvalidInput or Unsupported for parameters that cannot be met."""
    refuse_shared_memory(name, parameters)
    return Output(name, read_whole_number(name, parameters, CLASSIFICATION), binary)


def read_whole_number(name: str, parameters: Mapping[str, Any], key: str) -> int:
    """A tensor's parameter, 0 where it has none. Raises InvalidInput."""
    value = parameters.get(key, 0)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidInput(f"tensor {name!r}: {key} is a whole number from 0")
    return value


def find_signature(manifest: Manifest, parameters: Mapping[str, Any], sent: Collection[str]) -> str:
    """The signature that the request's `parameters` name; else the one that takes the inputs sent, first the default.

    Raises UnknownSignature, or InvalidInput where none takes these inputs, or several do.
    """
    if not isinstance(asked := parameters.get(SIGNATURE_NAME, ""), str):
        raise InvalidInput(f"the parameter {SIGNATURE_NAME} is a string")
    if asked:
        manifest.signature(asked)
        return asked
    taking = [name for name, known in manifest.signatures.items() if set(known.inputs) == set(sent)]
    if DEFAULT_SIGNATURE in taking:
        return DEFAULT_SIGNATURE
    if len(taking) == 1:
        return taking[0]
    if taking:
        raise InvalidInput(
            f"several signatures take the inputs {listed(sent)}: name one of {sorted(taking)} "
            f"in the request's parameter {SIGNATURE_NAME!r}"
        )
    known = "; ".join(f"{name}: {sorted(known.inputs)}" for name, known in sorted(manifest.signatures.items()))
    raise InvalidInput(f"no signature takes the inputs {listed(sent)}; what they take: {known}")


def find_shown_signature(manifest: Manifest) -> tuple[str, Signature]:
    """The signature that metadata show: the default one, or the first where a model has no default."""
    name = DEFAULT_SIGNATURE if DEFAULT_SIGNATURE in manifest.signatures else min(manifest.signatures, default="")
    return name, manifest.signature(name)


def describe_model(manifest: Manifest, statuses: Iterable[Status]) -> dict[str, Any]:
    """A model's metadata, with the versions that answer, and the tensors of the signature that is shown: -1 for any
    size, [-1] where not even the rank is known.

    One value a row is [-1, 1], as Triton has it, whose clients cannot send [-1]; `build_request` takes both.
    """
    _, signature = find_shown_signature(manifest)
    inputs = (_describe(name, spec, list_input_sizes(signature, spec)) for name, spec in signature.inputs.items())
    outputs = (_describe(name, spec, list_sizes(spec)) for name, spec in signature.outputs.items())
    versions = [str(status.version) for status in statuses if _STATES[status.state] == _READY]
    return {
        "name": manifest.name,
        "versions": versions,
        "platform": PLATFORM,
        "inputs": list(inputs),
        "outputs": list(outputs),
    }


def _describe(name: str, spec: TensorSpec, sizes: list[int]) -> dict[str, Any]:
    return {"name": name, "datatype": name_datatype(spec.dtype), "shape": sizes}


def list_input_sizes(signature: Signature, spec: TensorSpec) -> list[int]:
    return [-1, 1] if is_one_value(spec) and not signature.fixed else list_sizes(spec)


def is_one_value(spec: TensorSpec) -> bool:
    """Whether a tensor has one value a row, and no dimension for it."""
    return spec.shape == (None,)


def list_sizes(spec: TensorSpec) -> list[int]:
    """-1 for any size, [-1] where not even the rank is known."""
    return [-1] if spec.shape is None else [-1 if size is None else size for size in spec.shape]


def list_versions(models: Mapping[str, Sequence[Status]], only_ready: bool) -> list[dict[str, str]]:
    """The repository's index: every version of every model, or those that answer."""
    rows = [
        {"name": name, "version": str(status.version), "state": _STATES[status.state], "reason": status.error}
        for name, statuses in models.items()
        for status in statuses
    ]
    return [row for row in rows if row["state"] == _READY or not only_ready]


def build_request(manifest: Manifest, name: str, inputs: Tensors, outputs: Sequence[Output]) -> PredictRequest:
    """Inputs left out take their defaults. Raises InvalidInput where classes are asked of an output without numbers."""
    specs, known = manifest.signature(name).inputs, manifest.signature(name).outputs
    inputs = {alias: _as_rows(array, specs.get(alias)) for alias, array in inputs.items()}
    if len(inputs) < len(manifest.signature(name).inputs):
        inputs = signatures.defaults(manifest, name) | inputs
    for output in outputs:
        if output.classes and output.name in known and known[output.name].dtype == STRING:
            raise InvalidInput(f"output {output.name!r} holds text; {CLASSIFICATION} needs numbers to rank")
    return PredictRequest(inputs, name, tuple(output.name for output in outputs))


def _as_rows(array: Array, spec: TensorSpec | None) -> Array:
    """[N, 1] as the [N] that is declared."""
    return array[:, 0] if spec is not None and is_one_value(spec) and array.shape[1:] == (1,) else array


def pick_outputs(
    result: PredictResult, outputs: Sequence[Output], binary: bool = False
) -> Iterator[tuple[Output, Array]]:
    """What was asked for, in that order; where nothing was named, all there is, as `binary` says.

    Raises InvalidInput for an output that the model has and an ensemble of it has not.
    """
    for output in outputs or [Output(name, binary=binary) for name in result.outputs]:
        if output.name not in result.outputs:
            raise InvalidInput(f"{result.ref} does not give {output.name!r}; it gives {sorted(result.outputs)}")
        array = result.outputs[output.name]
        yield output, rank_classes(array, result.labels, output.classes) if output.classes else array


def refuse_shared_memory(name: str, parameters: Collection[str]) -> None:
    if _SHARED_MEMORY in parameters:
        raise Unsupported(f"tensor {name!r}: {NO_SHARED_MEMORY}")


def rank_classes(array: Array, labels: Sequence[str], top: int) -> Array:
    """The `top` greatest values of each row as "value:index:label", without labels "value:index": [N, top]."""
    rows = array.reshape(1, -1) if array.ndim < 2 else array.reshape(len(array), -1)
    order = np.argsort(-rows.astype(np.float64), axis=-1, kind="stable")[:, :top]
    named = labels if len(labels) == rows.shape[1] else ()
    values = np.take_along_axis(rows, order, axis=-1)
    texts = [
        f"{value:f}:{index}:{named[index]}" if named else f"{value:f}:{index}"
        for value, index in zip(values.ravel().tolist(), order.ravel().tolist(), strict=True)
    ]
    found = strings([text.encode() for text in texts])
    return found if array.ndim < 2 else found.reshape(order.shape)

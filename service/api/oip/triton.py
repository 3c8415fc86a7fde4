"""Triton's extensions of the Open Inference Protocol: a model's configuration, and its statistics.

Both are JSON in the words of Triton's model_config.proto and grpc_service.proto; gRPC's messages are made of it.
https://github.com/triton-inference-server/server/tree/main/docs/protocol
"""

from collections.abc import Mapping
from typing import Any

from service.api.oip import protocol
from service.api.oip.tensors import name_datatype
from service.observability.metrics.statistics import Stage, Statistics
from service.repository.manifest import Manifest, Signature, TensorSpec

_NUMBERS = (
    *("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"),
    *("FP16", "FP32", "FP64", "BF16"),
)
_TYPES = {name: f"TYPE_{name}" for name in _NUMBERS} | {"BYTES": "TYPE_STRING"}
_MOST_ROWS = 2**31 - 1  # that the configuration can say


def describe_config(manifest: Manifest, max_rows: int) -> dict[str, Any]:
    """The configuration of the signature that metadata show. `max_rows` is the most that a request may have.

    `max_batch_size` is 0 where a tensor of the signature has no open first dimension; `dims` are without the rows
    otherwise. Triton has no input without dimensions: one value a row is [1], reshaped to none.
    """
    name, signature = protocol.find_shown_signature(manifest)
    batched, outputs = not signature.fixed, signature.outputs.items()
    return {
        "name": manifest.name,
        "platform": protocol.PLATFORM,
        "version_policy": {"specific": {"versions": [manifest.version]}},
        "max_batch_size": min(max_rows, _MOST_ROWS) if batched else 0,
        "input": [_describe_input(alias, spec, signature) for alias, spec in signature.inputs.items()],
        "output": [_describe_tensor(alias, spec, protocol.list_sizes(spec), batched) for alias, spec in outputs],
        **({"dynamic_batching": {}} if batched else {}),
        "parameters": {protocol.SIGNATURE_NAME: {"string_value": name}},
        "model_transaction_policy": {"decoupled": False},
    }


def _describe_input(alias: str, spec: TensorSpec, signature: Signature) -> dict[str, Any]:
    batched = not signature.fixed
    described = _describe_tensor(alias, spec, protocol.list_input_sizes(signature, spec), batched)
    return described | {"reshape": {"shape": []}} if batched and protocol.is_one_value(spec) else described


def _describe_tensor(alias: str, spec: TensorSpec, sizes: list[int], batched: bool) -> dict[str, Any]:
    data_type = _TYPES.get(name_datatype(spec.dtype), "TYPE_INVALID")
    return {"name": alias, "data_type": data_type, "dims": sizes[1:] if batched else sizes}


def describe_statistics(by_model: Mapping[str, Mapping[int, Statistics]]) -> dict[str, Any]:
    """`by_model` is model name -> version -> its statistics. Nanoseconds of failed requests are not counted, and the
    time of the last request is not kept: both are 0.
    """
    rows = [
        {
            "name": name,
            "version": str(version),
            "last_inference": 0,
            "inference_count": found.rows,
            "execution_count": found.batches,
            "inference_stats": {
                "success": _describe_stage(found.find_stage("total") + found.find_stage("render")),
                "fail": _describe_stage(Stage(found.failed)),
                "queue": _describe_stage(found.find_stage("queue") + found.find_stage("batch")),
                "compute_input": _describe_stage(found.find_stage("read") + found.find_stage("decode")),
                "compute_infer": _describe_stage(found.find_stage("compute")),
                "compute_output": _describe_stage(found.find_stage("render")),
                "cache_hit": _describe_stage(Stage()),
                "cache_miss": _describe_stage(Stage()),
            },
            "batch_stats": [],
            "memory_usage": [],
        }
        for name, versions in by_model.items()
        for version, found in versions.items()
    ]
    return {"model_stats": rows}


def _describe_stage(stage: Stage) -> dict[str, int]:
    return {"count": stage.count, "ns": round(stage.seconds * 1e9)}

"""y = x/2 + 2, TensorFlow Serving's own example: a model so small that whatever else is measured is not the model.

`python -m benchmarks.half_plus_two` serves it over gRPC with as little work a call as Python allows, so that it is
never what limits a gateway in front of it.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import grpc.aio
import uvloop

from service.protobuf import tensors as codec
from service.protobuf.stubs import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    meta_graph_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    types_pb2,
)

NAME, VERSION = "half_plus_two", 1
_PREDICT = "tensorflow/serving/predict"


class _Model(model_service_pb2_grpc.ModelServiceServicer, prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]  # generated
    async def Predict(self, request: Any, context: Any) -> Any:
        reply = predict_pb2.PredictResponse()
        reply.outputs["y"].CopyFrom(codec.to_proto(codec.to_array("x", request.inputs["x"]) / 2 + 2))
        return reply

    async def GetModelStatus(self, request: Any, context: Any) -> Any:
        if request.model_spec.name != NAME:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is {NAME} only")
        reply = get_model_status_pb2.GetModelStatusResponse()
        reply.model_version_status.add(version=VERSION, state=get_model_status_pb2.ModelVersionStatus.AVAILABLE)
        return reply

    async def GetModelMetadata(self, request: Any, context: Any) -> Any:
        signature = meta_graph_pb2.SignatureDef(method_name=_PREDICT)
        for tensors, alias in ((signature.inputs, "x"), (signature.outputs, "y")):
            tensors[alias].name, tensors[alias].dtype = f"{alias}:0", types_pb2.DT_FLOAT
            for size in (-1, 1):
                tensors[alias].tensor_shape.dim.add(size=size)
        definitions = get_model_metadata_pb2.SignatureDefMap()
        definitions.signature_def["serving_default"].CopyFrom(signature)
        reply = get_model_metadata_pb2.GetModelMetadataResponse()
        reply.metadata["signature_def"].Pack(definitions)
        return reply


async def serve() -> None:
    server = grpc.aio.server()
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(_Model(), server)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Model(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"gRPC on port {port}", flush=True)
    await server.wait_for_termination()


def write(repository: Path) -> None:
    """It as a SavedModel, for servers of models. Imports TensorFlow."""
    import tensorflow as tf

    module = tf.Module()
    spec = tf.TensorSpec([None, 1], tf.float32, name="x")
    function = tf.function(lambda x: {"y": x / 2 + 2}, input_signature=[spec])
    tf.saved_model.save(module, str(repository / NAME / str(VERSION)), signatures={"serving_default": function})


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--write":
        write(Path(sys.argv[2]))
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())

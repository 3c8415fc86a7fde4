"""The only importer of generated protobuf code, without the packages around it.

TensorFlow's message modules lie in `tensorflow`, whose `__init__` takes seconds and hundreds of megabytes; those of the
Open Inference Protocol in `tritonclient.grpc`, whose `__init__` imports a client (20 ms, 4 MB). During the import bare
modules with nothing but `__path__` stand in for these packages. A later real import shares the message classes.

The modules that describe services are for reflection, which finds what has been imported.
"""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def _bare(*packages: str) -> Iterator[None]:
    """Places stand-ins for `packages`, outer ones first. Packages that are imported already stay."""
    placed: list[str] = []
    try:
        for name in packages:
            if name not in sys.modules:
                sys.modules[name] = _stand_in(name)
                placed.append(name)
        yield
    finally:
        for name in placed:
            del sys.modules[name]


def _stand_in(name: str) -> ModuleType:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError(f"the protobuf modules of {name} are missing: pip install {name.partition('.')[0]}")
    bare = ModuleType(name)
    bare.__path__ = list(spec.submodule_search_locations)
    return bare


with _bare("tensorflow"):
    from tensorflow.core.example import example_pb2
    from tensorflow.core.framework import tensor_pb2, types_pb2
    from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
    from tensorflow_serving.apis import (
        classification_pb2,
        get_model_metadata_pb2,
        get_model_status_pb2,
        inference_pb2,
        model_management_pb2,
        model_pb2,
        model_service_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_log_pb2,
        prediction_service_pb2,
        prediction_service_pb2_grpc,
        regression_pb2,
    )
    from tensorflow_serving.config import model_server_config_pb2

with _bare("tritonclient", "tritonclient.grpc"):
    from tritonclient.grpc import service_pb2 as oip_pb2
    from tritonclient.grpc import service_pb2_grpc as oip_pb2_grpc

__all__ = [
    "classification_pb2",
    "example_pb2",
    "get_model_metadata_pb2",
    "get_model_status_pb2",
    "inference_pb2",
    "meta_graph_pb2",
    "model_management_pb2",
    "model_pb2",
    "model_server_config_pb2",
    "model_service_pb2",
    "model_service_pb2_grpc",
    "oip_pb2",
    "oip_pb2_grpc",
    "predict_pb2",
    "prediction_log_pb2",
    "prediction_service_pb2",
    "prediction_service_pb2_grpc",
    "regression_pb2",
    "saved_model_pb2",
    "tensor_pb2",
    "types_pb2",
]

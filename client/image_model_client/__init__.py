"""Asks image-model-server about images.

from image_model_client import Client

with Client("http://localhost:8000") as client:
    print(client.predict("efficientnet_lite0", "cat.jpg").label)
"""

from typing import TYPE_CHECKING, Any

from image_model_client.client import AsyncClient, Client
from image_model_client.errors import (
    ClientError,
    DeadlineExceeded,
    Forbidden,
    InvalidRequest,
    NotFound,
    Overloaded,
    Refused,
    ServerFailed,
    Unauthenticated,
    Unreachable,
    UnreadableImage,
)
from image_model_client.results import Embedding, Label, Model, Outcome, Prediction

if TYPE_CHECKING:
    from image_model_client.grpc import GrpcClient

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "DeadlineExceeded",
    "Embedding",
    "Forbidden",
    "GrpcClient",
    "InvalidRequest",
    "Label",
    "Model",
    "NotFound",
    "Outcome",
    "Overloaded",
    "Prediction",
    "Refused",
    "ServerFailed",
    "Unauthenticated",
    "Unreachable",
    "UnreadableImage",
]


def __getattr__(name: str) -> Any:
    """GrpcClient, imported where it is asked for: grpc and numpy are an extra."""
    if name != "GrpcClient":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from image_model_client.grpc import GrpcClient
    except ModuleNotFoundError as error:
        raise ImportError(f"GrpcClient needs {error.name}: pip install 'image-model-client[grpc]'") from error
    return GrpcClient

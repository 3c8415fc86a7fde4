"""Asks image-model-server about images.

from image_model_client import Client

with Client("http://localhost:8000") as client:
    print(client.predict("efficientnet_lite0", "cat.jpg").label)
"""

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

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "DeadlineExceeded",
    "Embedding",
    "Forbidden",
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

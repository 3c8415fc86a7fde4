"""Bodies of the Open Inference Protocol over HTTP, for the OpenAPI description: nothing is parsed with these models."""

from typing import Any

from pydantic import BaseModel, Field

from service.api.http.openapi import SAMPLE_B64


class InferError(BaseModel):
    """Every error of the Open Inference Protocol."""

    error: str


class ServerMetadata(BaseModel):
    name: str
    version: str
    extensions: list[str]


class ServerLive(BaseModel):
    live: bool


class ServerReady(BaseModel):
    ready: bool


class ModelReady(BaseModel):
    name: str
    ready: bool


class TensorMetadata(BaseModel):
    """-1 is any size."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """The default signature's tensors."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class TensorConfig(BaseModel):
    """`dims` are without the rows where the model takes several."""

    name: str
    data_type: str
    dims: list[int]


class ModelConfig(BaseModel):
    """Triton's configuration of a model; `max_batch_size` is the most rows of a request, 0 where it takes no rows."""

    name: str
    platform: str
    max_batch_size: int
    input: list[TensorConfig]
    output: list[TensorConfig]


class StageStatistics(BaseModel):
    """How often, and nanoseconds in all."""

    count: int
    ns: int


class ModelVersionStatistics(BaseModel):
    name: str
    version: str
    last_inference: int
    inference_count: int
    execution_count: int
    inference_stats: dict[str, StageStatistics]


class ModelStatistics(BaseModel):
    """What was counted since the service started."""

    model_stats: list[ModelVersionStatistics]


class InferInput(BaseModel):
    """A tensor: `data` is a list, nested or row-major and flat. BYTES are text or `{"b64": "..."}`."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]
    parameters: dict[str, Any] | None = None


class InferRequestedOutput(BaseModel):
    name: str
    parameters: dict[str, Any] | None = None


class InferRequest(BaseModel):
    """The names of `inputs` choose the signature, or the parameter `signature_name` does."""

    inputs: list[InferInput] = Field(min_length=1)
    outputs: list[InferRequestedOutput] = Field(default_factory=list)
    id: str = ""
    parameters: dict[str, Any] | None = None


class InferOutput(BaseModel):
    """`data` is row-major and flat; null where JSON has no number."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | None = None
    parameters: dict[str, Any] | None = None


class InferReply(BaseModel):
    model_name: str
    model_version: str
    outputs: list[InferOutput]
    id: str | None = None


class IndexRequest(BaseModel):
    """With `ready`, only versions that answer."""

    ready: bool = False


class IndexEntry(BaseModel):
    name: str
    version: str
    state: str
    reason: str


REQUESTS = (InferRequest, IndexRequest)
INFER_EXAMPLE = {
    "inputs": [{"name": "image_bytes", "shape": [1], "datatype": "BYTES", "data": [{"b64": SAMPLE_B64}]}],
    "outputs": [{"name": "probabilities"}],
}

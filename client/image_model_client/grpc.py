"""GrpcClient: the same questions over gRPC, as the Open Inference Protocol has them."""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, Unpack

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

from image_model_client.client import check_key, read
from image_model_client.errors import ClientError, Unreachable, find_class
from image_model_client.exchange import LabelOptions, Options, VersionOptions
from image_model_client.images import Source
from image_model_client.many import ask_many
from image_model_client.results import Embedding, Label, Model, Outcome, Prediction
from image_model_client.retry import Flow, T, drive, retry

_SECONDS = 60.0
_IMAGE, _PROBABILITIES, _FEATURES = "image_bytes", "probabilities", "features"
_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5000),  # without it a service that starts anew is found after up to two minutes
)
_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


@dataclass(frozen=True, slots=True)
class _Call:
    method: str
    message: Any
    seconds: float


@dataclass(frozen=True, slots=True)
class _Reply:
    message: Any
    request_id: str


class GrpcClient:
    """One service, over gRPC. Threads may share it. It needs `pip install 'image-model-client[grpc]'`.

    with GrpcClient("localhost:8500") as client:
        answer = client.predict("efficientnet_lite0", "cat.jpg")

    The protocol gives probabilities six decimals, and has no milliseconds of stages (`timings` is empty) and nothing
    calibrated. Models that are no classifiers are asked over HTTP.
    """

    def __init__(
        self,
        address: str = "localhost:8500",
        *,
        key: str | None = None,
        connections: int = 16,
        retries: int = 4,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        """`address` is host:port. `credentials` are grpc.ssl_channel_credentials(...) for a service with TLS.
        `connections` is how many calls of `predict_many` are under way at a time; one connection carries them.

        Raises ValueError for what is no address or no key.
        """
        if "://" in address or ":" not in address:
            raise ValueError(f"Invalid address: expected host:port such as localhost:8500, got {address!r}")
        self._metadata = (("authorization", f"Bearer {check_key(key)}"),) if key else ()
        if credentials is None:
            self._channel = grpc.insecure_channel(address, options=_OPTIONS)
        else:
            self._channel = grpc.secure_channel(address, credentials, options=_OPTIONS)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._connections, self._retries = connections, retries

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._channel.close()

    def predict(self, model: str, image: Source, **options: Unpack[LabelOptions]) -> Prediction:
        """As `Client.predict`."""
        return self._predict(model, Options.choose(LabelOptions, options, self._retries), image)

    def predict_many(
        self,
        model: str,
        sources: Iterable[Source],
        *,
        concurrency: int | None = None,
        progress: bool = False,
        **options: Unpack[LabelOptions],
    ) -> Iterator[Outcome]:
        """As `Client.predict_many`."""
        ask = partial(self._predict, model, Options.choose(LabelOptions, options, self._retries))
        return ask_many(ask, sources, concurrency or self._connections, progress)

    def embed(
        self, model: str, image: Source, *, normalize: bool = False, **options: Unpack[VersionOptions]
    ) -> Embedding:
        """As `Client.embed`."""
        chosen = Options.choose(VersionOptions, options, self._retries)
        message = _build_request(model, read(image), chosen)
        message.parameters["signature_name"].string_param = _FEATURES
        message.outputs.add(name=_FEATURES)
        reply = self._run(_ask("ModelInfer", message, chosen))
        vector = np.frombuffer(reply.message.raw_output_contents[0], "<f4")
        if normalize and (length := np.linalg.norm(vector)):
            vector = vector / length
        name, number = reply.message.model_name, int(reply.message.model_version)
        return Embedding(name, number, tuple(vector.tolist()), request_id=reply.request_id)

    def models(self) -> list[Model]:
        """Those that answer. Raises ClientError."""
        message = service_pb2.RepositoryIndexRequest(ready=True)
        reply = self._run(_ask("RepositoryIndex", message, Options(retries=self._retries)))
        found: dict[str, list[int]] = {}
        for each in reply.message.models:
            found.setdefault(each.name, []).append(int(each.version))
        return [Model(name, tuple(sorted(versions, reverse=True))) for name, versions in found.items()]

    def _predict(
        self, model: str, options: Options, image: Source, stopped: threading.Event | None = None
    ) -> Prediction:
        message = _build_request(model, read(image), options)
        output = message.outputs.add(name=_PROBABILITIES)
        output.parameters["classification"].int64_param = options.top_k
        reply = self._run(_ask("ModelInfer", message, options), stopped)
        version = int(reply.message.model_version)
        top = tuple(map(parse_label, _read_texts(reply.message.raw_output_contents[0])))
        return Prediction(reply.message.model_name, version, top, request_id=reply.request_id)

    def _run(self, flow: Flow[T], stopped: threading.Event | None = None) -> T:
        return drive(flow, self._send, stopped)

    def _send(self, call: _Call) -> _Reply | grpc.RpcError:
        try:
            method = getattr(self._stub, call.method)
            message, state = method.with_call(call.message, timeout=call.seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            return error
        return _Reply(message, _read_trailers(state).get("x-request-id", ""))


def _build_request(model: str, image: bytes, options: Options) -> Any:
    version = options.version_label or ("" if options.version is None else str(options.version))
    message = service_pb2.ModelInferRequest(model_name=model, model_version=version)
    message.inputs.add(name=_IMAGE, datatype="BYTES", shape=[1])
    message.raw_input_contents.append(len(image).to_bytes(4, "little") + image)
    return message


def _read_texts(raw: bytes) -> Iterator[str]:
    """The protocol's BYTES: each element behind its length of four bytes."""
    at = 0
    while at < len(raw):
        end = at + 4 + int.from_bytes(raw[at : at + 4], "little")
        yield raw[at + 4 : end].decode(errors="replace")
        at = end


def parse_label(text: str) -> Label:
    """Of "value:index:label"; the label may have colons."""
    value, _, label = text.split(":", 2)
    return Label(label, float(value))


def _ask(method: str, message: Any, options: Options) -> Flow[_Reply]:
    def build(seconds: float | None) -> _Call:
        return _Call(method, message, _SECONDS if seconds is None else seconds)

    return retry(build, _explain, options.deadline, options.retries)


def _explain(reply: _Reply | grpc.RpcError) -> ClientError | None:
    if isinstance(reply, _Reply):
        return None
    code, message, trailers = reply.code(), reply.details() or "", _read_trailers(reply)
    answered = "x-request-id" in trailers
    if code is grpc.StatusCode.UNAVAILABLE and not answered:
        return Unreachable(f"the service cannot be reached: {message}; is it running, and is the address right?")
    status = _STATUS.get(code, 500)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and not answered:  # gRPC's own word for a message that is too large
        status = 413
    pause = trailers.get("grpc-retry-pushback-ms")
    request_id = trailers.get("x-request-id", "")
    return find_class(status)(
        message, status, code.name, request_id, None, None if pause is None else max(0.0, float(pause) / 1000)
    )


def _read_trailers(call: Any) -> dict[str, str]:
    return {name: value for name, value in call.trailing_metadata() or () if isinstance(value, str)}

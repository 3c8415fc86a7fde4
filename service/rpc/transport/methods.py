"""What is served: filled by generated code (`add_XServicer_to_server`), asked by path."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc


@dataclass(frozen=True, slots=True)
class Method:
    """`behaviour` takes a message, or an iterator of them where requests stream, and a Context."""

    path: str
    behaviour: Callable[[Any, Any], Any]
    parse: Callable[[bytes], Any]
    serialize: Callable[[Any], bytes]
    requests_stream: bool
    replies_stream: bool

    @property
    def streams(self) -> bool:
        return self.requests_stream or self.replies_stream


@dataclass(frozen=True, slots=True)
class _Details:
    method: str
    invocation_metadata: tuple[Any, ...] = ()


class Methods:
    """As much of a grpc.Server as generated code uses."""

    def __init__(self) -> None:
        self._known: dict[str, Method] = {}
        self._generic: list[Any] = []

    def add_generic_rpc_handlers(self, handlers: Iterable[Any]) -> None:
        self._generic.extend(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        for name, handler in handlers.items():
            self._learn(f"/{service}/{name}", handler)

    def find(self, path: str) -> Method | None:
        if (known := self._known.get(path)) is not None:
            return known
        for generic in self._generic:
            if (handler := generic.service(_Details(path))) is not None:
                return self._learn(path, handler)
        return None

    def _learn(self, path: str, handler: "grpc.RpcMethodHandler[Any, Any]") -> Method:
        behaviour = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        assert behaviour is not None
        method = self._known[path] = Method(
            path,
            behaviour,
            handler.request_deserializer or bytes,
            handler.response_serializer or bytes,
            handler.request_streaming,
            handler.response_streaming,
        )
        return method

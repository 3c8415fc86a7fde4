"""Locust's users, one class a protocol: each takes a turn, asks, and says how it went.

What Locust itself records (its web page, its CSV) counts from the intended start too, and failures have no time.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import grpc
from locust import FastHttpUser, User, task

from loadtest.generator.dispatcher import Turn, Turns
from loadtest.generator.protocols import PROTOCOLS, Request

_CHANNELS = 4  # a service's workers share connections among them, not calls


class Asking(User):
    """`turns` and `requests` are set on the class before the first user is made."""

    abstract = True
    protocol: ClassVar[str]
    turns: ClassVar[Turns]
    requests: ClassVar[Sequence[Request]]
    patience: ClassVar[float] = 10.0

    @task
    def ask(self) -> None:
        turn = self.turns.take()
        self.send(self.requests[turn.number % len(self.requests)], turn)

    def send(self, request: Request, turn: Turn) -> None:
        """Each protocol's: asks, and notes on `turn` what came of it."""
        raise NotImplementedError  # Locust's own metaclass leaves no room for an abstract method


class HttpAsking(Asking, FastHttpUser):
    abstract = True

    def __init__(self, environment: Any) -> None:
        self.network_timeout = self.connection_timeout = self.patience
        super().__init__(environment)

    def send(self, request: Request, turn: Turn) -> None:
        headers = {**request.headers, "Accept-Encoding": "identity"}
        with self.client.request(
            "POST",
            request.path,
            data=request.body,  # type: ignore[arg-type]  # bytes are sent as they are
            headers=headers,
            catch_response=True,
        ) as reply:
            if reply.status_code == 200:
                turn.stages = reply.headers.get("server-timing", "") if reply.headers else ""
            else:
                turn.failure = str(reply.status_code or type(getattr(reply, "error", None)).__name__)
            self.turns.done(turn)
            reply.request_meta["response_time"] = None if turn.failure else 1000 * (turn.ended - turn.intended)


class GrpcAsking(Asking):
    """`address` is host:port; Locust's `host` is for HTTP."""

    abstract = True
    address: ClassVar[str]

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        number = environment.runner.user_count if environment.runner else 0
        self._channel = channel(self.address, number % _CHANNELS)

    def send(self, request: Request, turn: Turn) -> None:
        began, error, size = time.time(), None, 0
        try:
            call: Callable[..., bytes] = self._channel.unary_unary(request.path)
            size = len(call(request.body, timeout=self.patience))
        except grpc.RpcError as raised:
            error = raised
            turn.failure = raised.code().name
        self.turns.done(turn)
        self.environment.events.request.fire(
            request_type="gRPC",
            name=request.path,
            response_time=None if error else 1000 * (turn.ended - turn.intended),
            response_length=size,
            exception=error,
            context={},
            start_time=began,
        )


class PredictUser(HttpAsking):
    protocol = "predict"


class OipUser(HttpAsking):
    protocol = "oip"


class TFServingUser(HttpAsking):
    protocol = "tfserving"


class GrpcTFServingUser(GrpcAsking):
    protocol = "grpc-tfserving"


class GrpcOipUser(GrpcAsking):
    protocol = "grpc-oip"


USERS: dict[str, type[Asking]] = {
    user.protocol: user for user in (PredictUser, OipUser, TFServingUser, GrpcTFServingUser, GrpcOipUser)
}
assert USERS.keys() == PROTOCOLS.keys()

_channels: dict[tuple[str, int], grpc.Channel] = {}


def channel(address: str, number: int) -> grpc.Channel:
    """The channel of that number to `address`: a connection of its own, opened once."""
    if not _channels:
        from grpc.experimental.gevent import init_gevent

        init_gevent()
    if (address, number) not in _channels:
        options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        _channels[address, number] = grpc.insecure_channel(address, options)
    return _channels[address, number]

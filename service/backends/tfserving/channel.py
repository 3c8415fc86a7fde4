"""The gRPC client of one replica: messages as bytes, and one kind of failure."""

from typing import Any

import grpc
import grpc.aio
from grpc import ChannelConnectivity, StatusCode

from service.backends.tfserving.targets import Address
from service.observability.context import Metadata

_CONNECT_MS = 2_000  # for one attempt to connect; gRPC's default is 20 s
_FIRST_BACKOFF_MS, _LONGEST_BACKOFF_MS = 100, 1_000  # between attempts: a replica that is back gets work soon
_SILENCE_MS = 20_000  # of calls under way until a ping, and from the ping until the peer counts as gone

_WINDOW_BYTES = 2**20
"""Taken ahead of a call: gRPC's own 64 KiB are less than one image's pixels, which then wait for the other side."""

_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.http2.lookahead_bytes", _WINDOW_BYTES),
    ("grpc.http2.max_frame_size", _WINDOW_BYTES),
    ("grpc.use_local_subchannel_pool", 1),  # else all channels to one address share one connection
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.min_reconnect_backoff_ms", _CONNECT_MS),
    ("grpc.initial_reconnect_backoff_ms", _FIRST_BACKOFF_MS),
    ("grpc.max_reconnect_backoff_ms", _LONGEST_BACKOFF_MS),
    ("grpc.keepalive_time_ms", _SILENCE_MS),
    ("grpc.keepalive_timeout_ms", _SILENCE_MS),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)


class CallFailed(Exception):
    """A call has no answer. `lost`: there is no connection, or it broke."""

    def __init__(self, status: StatusCode, details: str, *, lost: bool = False) -> None:
        super().__init__(f"{status.name}: {details}")
        self.status, self.details, self.lost = status, details, lost
        self.peer = ""  # set by a caller that has several


class Channel:
    """One connection to `address`, opened by its first call and again after a loss.

    `authorities` are the certificates to trust, PEM; without any, calls are plain HTTP/2.
    """

    def __init__(self, address: Address, authorities: bytes | None) -> None:
        options = (*_OPTIONS, ("grpc.default_authority", address.authority))
        if authorities is None:
            self._channel = grpc.aio.insecure_channel(address.uri, options)
        else:
            credentials = grpc.ssl_channel_credentials(authorities)
            named = ("grpc.ssl_target_name_override", address.host)
            self._channel = grpc.aio.secure_channel(address.uri, credentials, (*options, named))
        self._calls: dict[str, Any] = {}
        self.load = 0
        """Calls under way."""

    async def call(self, path: str, message: bytes, timeout: float | None, metadata: Metadata = ()) -> bytes:
        """The answer to one unary call; `timeout` in seconds. Raises CallFailed."""
        if path not in self._calls:
            self._calls[path] = self._channel.unary_unary(path)
        self.load += 1
        try:
            answer: bytes = await self._calls[path](message, timeout=timeout, metadata=metadata)
            return answer
        except grpc.aio.AioRpcError as error:
            ready = self._channel.get_state() is ChannelConnectivity.READY
            lost = error.code() is StatusCode.UNAVAILABLE and not ready
            raise CallFailed(error.code(), error.details() or "no reason", lost=lost) from error
        except grpc.aio.UsageError as error:  # closed meanwhile
            raise CallFailed(StatusCode.UNAVAILABLE, "the replica is gone from DNS", lost=True) from error
        finally:
            self.load -= 1

    async def close(self, grace: float) -> None:
        """Lets calls under way finish for `grace` seconds; new ones fail."""
        await self._channel.close(grace)

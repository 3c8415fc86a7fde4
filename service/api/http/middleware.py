"""Around every HTTP request: an id, bounds on the body, an account of it, and a polite good-bye while draining."""

import asyncio
from collections.abc import Callable
from functools import partial

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.http.apis import Apis
from service.api.http.request import TRACE
from service.errors import Cancelled, DeadlineExceeded, TooLarge
from service.observability.access_log import Access
from service.observability.context import HEADERS, REQUEST_ID, begin_trace, set_trace

_HEADERS = tuple(name.encode() for name in HEADERS)


class RequestGuard:
    """Pure ASGI: no task, no queue, no copy of the body on the way."""

    def __init__(
        self,
        app: ASGIApp,
        apis: Apis,
        max_body_bytes: int,
        body_seconds: float,
        draining: Callable[[], bool],
        access: Access,
    ) -> None:
        self._app, self._apis, self._limit, self._seconds = app, apis, max_body_bytes, body_seconds
        self._draining, self._access = draining, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        trace = begin_trace("http", *(headers.get(name, b"").decode("latin-1") for name in _HEADERS))
        method, scheme, target = scope["method"], scope.get("scheme", "http"), scope.get("raw_path", b"")
        trace.describe = partial(self._apis.describe_span, method, scheme, target)
        set_trace(trace)
        scope[TRACE] = trace
        declared = headers.get(b"content-length", b"")
        status, sent = 500, 0
        deadline: float | None = None  # none before the route reads, and none once the body is there
        arrived = late = False

        async def bounded_receive() -> Message:
            nonlocal deadline, arrived, late
            if declared.isdigit() and int(declared) > self._limit:
                raise self._too_large()
            if arrived:
                return await receive()
            deadline = deadline or asyncio.get_running_loop().time() + self._seconds
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError as error:
                late = True
                raise DeadlineExceeded(f"the body did not arrive within {self._seconds:g} s") from error
            if message["type"] == "http.disconnect":
                raise Cancelled("the client went away while it sent its request")
            arrived = not message.get("more_body", False)
            trace.received += len(message.get("body", b""))
            if trace.received > self._limit:
                raise self._too_large()
            return message

        async def tagged_send(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                answer = MutableHeaders(scope=message)
                answer[REQUEST_ID] = trace.request_id
                if late or self._draining():  # clients reconnect elsewhere instead of meeting a closed socket
                    answer["connection"] = "close"
            else:
                sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, bounded_receive, tagged_send)
        finally:
            path = target.decode("ascii", "backslashreplace")
            self._access.finished(trace, f"{method} {path}", str(status), sent)

    def _too_large(self) -> TooLarge:
        return TooLarge(
            f"the body is larger than {self._limit:,} bytes; send fewer or smaller images", max_body_bytes=self._limit
        )

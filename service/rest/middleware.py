"""Around every HTTP request: an id, a bound on the body, and a polite good-bye while draining."""

import re
import uuid
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import TooLarge
from service.rest.errors import REQUEST_ID

_ID = re.compile(r"[\x21-\x7e]{1,128}")


class RequestGuard:
    """Pure ASGI: no task, no queue, no copy of the body on the way."""

    def __init__(self, app: ASGIApp, max_body_bytes: int, draining: Callable[[], bool]) -> None:
        self._app, self._limit, self._draining = app, max_body_bytes, draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get(REQUEST_ID, "")
        scope[REQUEST_ID] = given if _ID.fullmatch(given) else uuid.uuid4().hex
        declared = headers.get("content-length", "")
        received = 0

        async def bounded_receive() -> Message:
            nonlocal received
            if declared.isdigit() and int(declared) > self._limit:
                raise self._too_large()
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                raise self._too_large()
            return message

        async def tagged_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                answer[REQUEST_ID] = scope[REQUEST_ID]
                if self._draining():  # clients reconnect elsewhere instead of meeting a closed socket
                    answer["connection"] = "close"
            await send(message)

        await self._app(scope, bounded_receive, tagged_send)

    def _too_large(self) -> TooLarge:
        return TooLarge(
            f"the body is larger than {self._limit:,} bytes; send fewer or smaller images", max_body_bytes=self._limit
        )

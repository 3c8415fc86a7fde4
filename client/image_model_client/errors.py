"""Everything that can go wrong, as one tree.

ClientError
├── UnreadableImage    the image never left: no such file, no image, nothing that can be sent
├── Unreachable        nobody answered
└── Refused            the service answered, and not with what was asked for
    ├── InvalidRequest    the image or the request cannot be used: 400, 413, 415, 422
    ├── Unauthenticated   no API key, or one that is not valid: 401
    ├── Forbidden         a valid key, for other models: 403
    ├── NotFound          no such model, version or address: 404
    ├── Overloaded        too much at once, or not ready: 429 and 503, after all retries
    ├── DeadlineExceeded  not answered in time: 504, or the caller's own deadline
    └── ServerFailed      anything else
"""

from collections.abc import Mapping
from typing import Any


class ClientError(Exception):
    """Base of all of them; `str()` is a sentence that says what happened and what to do."""


class UnreadableImage(ClientError):
    pass


class Unreachable(ClientError):
    pass


class Refused(ClientError):
    """`code` is the service's word for it, such as INVALID_INPUT; `detail` what else it told."""

    def __init__(
        self,
        message: str,
        status: int = 0,
        code: str = "",
        request_id: str = "",
        detail: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.request_id = status, code, request_id
        self.detail, self.retry_after = detail or {}, retry_after


class InvalidRequest(Refused):
    pass


class Unauthenticated(Refused):
    pass


class Forbidden(Refused):
    pass


class NotFound(Refused):
    pass


class Overloaded(Refused):
    pass


class DeadlineExceeded(Refused):
    pass


class ServerFailed(Refused):
    pass


_BY_STATUS: Mapping[int, type[Refused]] = {
    400: InvalidRequest,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    413: InvalidRequest,
    415: InvalidRequest,
    422: InvalidRequest,
    429: Overloaded,
    503: Overloaded,
    504: DeadlineExceeded,
}


def find_class(status: int) -> type[Refused]:
    return _BY_STATUS.get(status, ServerFailed)

"""What every HTTP error looks like."""

import httpx


def error_of(reply: httpx.Response, status: int) -> dict[str, str]:
    assert reply.status_code == status, reply.text
    error = reply.json()["error"]
    assert set(error) >= {"code", "message", "request_id"} and error["request_id"] == reply.headers["x-request-id"]
    return dict(error)

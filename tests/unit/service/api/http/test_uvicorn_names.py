"""The names of uvicorn that are not public and that the connection class and the server rely on.

What they do is held by test_connection.py; these say at once, after an update, which of them changed.
"""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

_PARAMETERS: dict[Callable[..., Any], list[str]] = {
    HttpToolsProtocol.__init__: ["self", "config", "server_state", "app_state", "_loop"],
    HttpToolsProtocol._start_asgi_task: ["self", "cycle", "app"],
    HttpToolsProtocol._unset_keepalive_if_required: ["self"],
    HttpToolsProtocol.on_response_complete: ["self"],
    HttpToolsProtocol.shutdown: ["self"],
    FlowControl.__init__: ["self", "transport"],
    uvicorn.Server.startup: ["self", "sockets"],
    uvicorn.Server.capture_signals: ["self"],
}


@pytest.mark.parametrize("function", _PARAMETERS, ids=lambda function: function.__qualname__)
def test_a_function_takes_the_same_parameters(function: Callable[..., Any]) -> None:
    assert list(inspect.signature(function).parameters) == _PARAMETERS[function]


@pytest.mark.parametrize(
    ("caller", "called"),
    [
        (HttpToolsProtocol.on_headers_complete, "self._start_asgi_task("),
        (HttpToolsProtocol.on_response_complete, "self._start_asgi_task("),
        (HttpToolsProtocol.on_response_complete, "self.flow.resume_reading()"),
        (HttpToolsProtocol.connection_made, "self.flow ="),
        (uvicorn.Server._serve, "self.startup("),
        (uvicorn.Server.serve, "self.capture_signals()"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__qualname__,
)
def test_what_is_overridden_is_called(caller: Callable[..., Any], called: str) -> None:
    assert called in inspect.getsource(caller)


def test_a_cycle_has_the_fields_that_are_set() -> None:
    source = inspect.getsource(RequestResponseCycle.__init__)
    for field in ("disconnected", "response_started", "response_complete", "keep_alive", "body", "message_event"):
        assert f"self.{field} " in source or f"self.{field}:" in source, field
    for field in ("scope", "transport", "default_headers", "on_response"):
        assert f"self.{field} =" in source, field
    assert HIGH_WATER_LIMIT > 0

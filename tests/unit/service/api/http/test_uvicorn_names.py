"""The names of uvicorn that are not its public interface: all in one file, and each there in the version installed."""

import ast
import asyncio
import inspect
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from service.api import http
from service.api.http.connection import BoundedProtocol
from service.api.http.uvicorn_connection import UvicornConnection

HTTP = Path(next(iter(http.__path__)))


def read_attributes(owner: type, *of: str) -> set[str]:
    """Names that a class reads from variables, or from super(), and does not set there itself."""
    read: set[str] = set()
    stored: set[str] = set()
    for node in ast.walk(ast.parse(inspect.getsource(owner))):
        if isinstance(node, ast.Attribute):
            value = node.value.func if isinstance(node.value, ast.Call) else node.value
            if isinstance(value, ast.Name) and value.id in of:
                (stored if isinstance(node.ctx, ast.Store) else read).add(node.attr)
    return read - stored


@pytest.fixture
async def protocol() -> HttpToolsProtocol:
    async def app(scope: object, receive: object, send: object) -> None:
        pass

    config = uvicorn.Config(app, http=HttpToolsProtocol, ws="none", lifespan="off", log_config=None)
    config.load()
    ours, _ = socket.socketpair()
    protocol = HttpToolsProtocol(config, ServerState(), {})
    transport, _ = await asyncio.get_running_loop().create_connection(lambda: protocol, sock=ours)
    protocol.data_received(b"GET / HTTP/1.1\r\n\r\n")
    transport.close()
    return protocol


async def test_a_connection_has_what_is_used_of_it(protocol: HttpToolsProtocol) -> None:
    ours = (UvicornConnection, BoundedProtocol)
    own = {name for each in ours for name in vars(each)} - vars(HttpToolsProtocol).keys()
    own |= {"_setup", "_limits", "_door", "writer"}
    for each in ours:
        used = {"flow", "parser", "url"} | read_attributes(each, "self", "super") - own
        assert {name for name in used if not hasattr(protocol, name)} == set(), each
        assert len(used) > 5


async def test_a_request_has_what_is_used_of_it(protocol: HttpToolsProtocol) -> None:
    used = {"transport", "disconnected", "response_started", "response_complete", "keep_alive"}
    used |= read_attributes(UvicornConnection, "cycle", "running")
    assert isinstance(protocol.cycle, RequestResponseCycle) and len(used) > 8
    assert {name for name in used if not hasattr(protocol.cycle, name)} == set()


def test_what_is_overridden_is_called_as_it_was() -> None:
    """A method of ours that nobody calls any more would silently guard nothing."""
    source = inspect.getsource(HttpToolsProtocol)
    for call in (
        "self._start_asgi_task(self.cycle, app)",
        "self._start_asgi_task(cycle, app)",
        "on_response=self.on_response_complete",
        "cycle, app = self.pipeline.pop()",
        "self.pipeline.appendleft(",
    ):
        assert call in source, call
    for name in ("on_message_begin", "on_header", "on_headers_complete", "on_body", "on_message_complete", "shutdown"):
        assert callable(getattr(HttpToolsProtocol, name)), name
    assert "self._unset_keepalive_if_required()" in inspect.getsource(HttpToolsProtocol.data_received)
    assert {"read_paused", "resume_reading", "pause_reading"} <= set(dir(FlowControl)) | set(
        vars(FlowControl(asyncio.Transport()))
    )


def test_no_other_file_knows_uvicorns_protocols() -> None:
    knowing = {path.name for path in HTTP.parents[1].rglob("*.py") if "uvicorn.protocols" in path.read_text()}
    assert knowing == {"uvicorn_connection.py"}


@pytest.mark.parametrize(
    ("caller", "called"),
    [(uvicorn.Server._serve, "self.startup("), (uvicorn.Server.serve, "self.capture_signals()")],
    ids=["startup", "capture_signals"],
)
def test_what_the_server_overrides_is_called(caller: Callable[..., Any], called: str) -> None:
    assert called in inspect.getsource(caller)

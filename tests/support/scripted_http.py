"""A small real HTTP server that answers as it is told, and keeps what it was asked."""

import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Answer:
    """`hold` keeps the answer back until it is set."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    hold: threading.Event | None = None


LABEL = Answer(
    body=b'{"model": "m", "version": 3, "predictions": [{"top_k": [{"label": "cat", "probability": 0.75}]}]}',
    headers={"Content-Type": "application/json"},
)
"""What image-model-server answers of a cat."""


@dataclass
class Scripted:
    """`answers` are given in turn, the last one ever after; `asked` has path and headers of each request."""

    url: str
    answers: Sequence[Answer]
    asked: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    arrived: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    """Released once a request."""
    connections: set[tuple[str, int]] = field(default_factory=set)
    """Addresses that requests came from: one for each connection there was."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, path: str, headers: Mapping[str, str], address: tuple[str, int]) -> Answer:
        with self._lock:
            self.connections.add(address)
            self.asked.append((path, headers))
            answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
        self.arrived.release()
        return answer


@contextmanager
def scripted(*answers: Answer, tls: ssl.SSLContext | None = None) -> Iterator[Scripted]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = script.take(self.path, dict(self.headers), self.client_address)
            if answer.hold is not None:
                answer.hold.wait(60)
            try:
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)
            except OSError:  # nobody waits any more
                self.close_connection = True

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        script = Scripted(f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}", answers)
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield script
        finally:
            for answer in answers:
                if answer.hold is not None:
                    answer.hold.set()
            server.shutdown()
            thread.join()

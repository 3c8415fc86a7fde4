"""The way of one image: a real service answers one request and records which of its files hold the image."""

import io
import json
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from loadtest.target.process import ServerProcess

_ANSWER_SECONDS = 30.0


@dataclass(frozen=True)
class Step:
    path: Path
    """Relative to the repository."""
    function: str
    """Which held the image first in this file."""
    form: str
    """"bytes", as it was sent, or "pixels", an array."""


def record_steps(repository: Path, model: str) -> list[Step]:
    """The files that an image enters between socket and runner, in order: POST /predict/`model` with a PNG in the body.

    `repository` holds a version of `model` with preprocessing, as `python -m export` writes it. Raises RuntimeError
    where the service does not start or refuses the image.
    """
    with tempfile.TemporaryDirectory() as folder:
        trace, image = Path(folder, "trace.jsonl"), Path(folder, "image.png")
        image.write_bytes(_make_image())
        command = [sys.executable, "-m", "tools.architecture.tracing", str(trace), str(image)]
        command += ["--repository", str(repository), "--host", "127.0.0.1", "--http-port", "0", "--grpc-port", "0"]
        with ServerProcess(command, r"HTTP on port (\d+)", "/readyz", f"/predict/{model}") as server:
            _send(server.url, image.read_bytes())
            server.kill()  # nothing is left to drain
        steps = [
            Step(Path(line["file"]), line["function"], line["form"])
            for line in map(json.loads, trace.read_text().splitlines())
        ]
    backends = [position for position, step in enumerate(steps) if step.path.parts[1] == "backends"]
    if not backends:
        raise RuntimeError(f"{model} in {repository} was not given an image: {[str(step.path) for step in steps]}")
    return steps[: backends[-1] + 1]


def _make_image() -> bytes:
    """A PNG of noise, which no warm-up request holds."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def _send(url: str, image: bytes) -> None:
    """Head and body in one piece, so that the service reads the image in one piece."""
    parts = urlsplit(url)
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: image/png\r\nConnection: close\r\n"
    with socket.create_connection((parts.hostname, parts.port), timeout=_ANSWER_SECONDS) as connection:
        connection.sendall(f"{head}Content-Length: {len(image)}\r\n\r\n".encode() + image)
        reply = connection.makefile("rb").read()
    if not reply.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"the service does not answer the image: {reply[:1000].decode(errors='replace')}")

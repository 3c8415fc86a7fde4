"""Services that do everything the dashboard has a panel for, and a real Prometheus that watches them.

    clients ─> edge      keys, routes, a shadow, coalescing; LiteRT; a third version that is broken
    clients ─> gateway ─> two replicas, one of which is killed half-way

All of it on this machine, on free ports.
"""

import asyncio
import base64
import hashlib
import json
import random
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from loadtest.target.process import ServerProcess
from tools.dashboards.documents import RULES
from tools.dashboards.prometheus import Prometheus, free_port

MODEL = "lenet5"
_ROUTES = {
    "routes": {
        "digits": {
            "split": [{"target": f"{MODEL}/1", "weight": 70}, {"target": f"{MODEL}/2", "weight": 30}],
            "shadow": {"target": f"{MODEL}/1"},
            "max_in_flight": 1,  # what rushes past it is refused
        },
        "careful": {"target": "not-there-yet", "fallback": [f"{MODEL}/2"]},
    }
}
_SLO_MS = 60
_RUSH = 16  # requests more in each twentieth of a second


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the clients find everybody."""

    edge: str
    gateway: str
    replica: ServerProcess
    key: str
    keys_file: Path
    images: Sequence[bytes]


@contextmanager
def rehearsal(repository: Path) -> Iterator[tuple[Prometheus, Stage]]:
    """`repository` holds MODEL/1. Raises PrometheusMissing, RuntimeError where a service does not start."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        images = [path.read_bytes() for path in sorted((repository / MODEL / "1/assets.extra/samples").glob("*.png"))]
        for version in ("1", "2", "3"):
            shutil.copytree(repository / MODEL / "1", folder / "models" / MODEL / version)
        (folder / "models" / MODEL / "3" / "model.tflite").write_bytes(b"not a model")
        (folder / "routes.yaml").write_text(yaml.safe_dump(_ROUTES))
        key, keys_file = "ims_rehearsal", folder / "keys.yaml"
        digest = hashlib.sha256(key.encode()).hexdigest()
        keys_file.write_text(yaml.safe_dump([{"name": "clients", "hash": f"sha256:{digest}"}]))
        guards = ("--api-keys", str(keys_file), "--routes", str(folder / "routes.yaml"))
        models = ("--repository", str(folder / "models"))
        edge = stack.enter_context(_service(*models, *guards, "--coalesce", "--latency-slo-ms", str(_SLO_MS)))
        upstreams = []
        for _ in range(2):
            port = free_port()
            upstreams.append((stack.enter_context(_service("--repository", str(repository), grpc_port=port)), port))
        target = ",".join(f"127.0.0.1:{port}" for _, port in upstreams)
        gateway = stack.enter_context(_service(*models, "--backend", "tfserving", "--target", target))
        bases = [server.url.removesuffix(f"/predict/{MODEL}") for server in (edge, gateway)]
        prometheus = stack.enter_context(Prometheus([base.removeprefix("http://") for base in bases], RULES))
        yield prometheus, Stage(bases[0], bases[1], upstreams[1][0], key, keys_file, images)


def perform(stage: Stage, seconds: float, rush: tuple[float, float] = (0.4, 0.6)) -> None:
    """Load of every kind for `seconds`; in the part `rush` of it far more than can be done in time.

    At half, a replica is killed, and the keys' file is spoilt for a while.
    """
    asyncio.run(_perform(stage, seconds, rush))


async def _perform(stage: Stage, seconds: float, rush: tuple[float, float]) -> None:
    chance, began = random.Random(0), time.monotonic()
    limits = httpx.Limits(max_connections=200)
    good, spoilt = stage.keys_file.read_text(), False
    async with httpx.AsyncClient(timeout=10, limits=limits) as client:
        under_way: set[asyncio.Task[None]] = set()
        while (passed := (time.monotonic() - began) / seconds) < 1:
            if passed > 0.5 and not spoilt:
                spoilt = True
                stage.replica.kill()
                stage.keys_file.write_text("keys: what")
            elif passed > 0.9 and stage.keys_file.read_text() != good:
                stage.keys_file.write_text(good)
            calls = _calls(stage, client, chance)
            busy = rush[0] < passed < rush[1]
            for call in [*calls, *(_ask(client, stage, "digits", chance) for _ in range(_RUSH * busy))]:
                task = asyncio.create_task(call)
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            await asyncio.sleep(0.05)
        await asyncio.gather(*under_way)


def _calls(stage: Stage, client: httpx.AsyncClient, chance: random.Random) -> list[Coroutine[Any, Any, None]]:
    """One twentieth of a second's."""
    same = chance.choice(stage.images)
    calls: list[Coroutine[Any, Any, None]] = [
        _ask(client, stage, "digits", chance),
        _ask(client, stage, MODEL, chance),
        _ask(client, stage, MODEL, chance, base=stage.gateway),
        _ask(client, stage, MODEL, chance, base=stage.gateway),
    ]
    rare = chance.random()
    if rare < 0.3:
        calls += [_ask(client, stage, "careful", chance), *(_ask(client, stage, MODEL, chance, same) for _ in range(4))]
    elif rare < 0.35:
        calls.append(_ask(client, stage, MODEL, chance, b"no image"))
    elif rare < 0.4:
        calls.append(_ask(client, stage, "nobody", chance))
    elif rare < 0.45:
        calls.append(_ask(client, stage, MODEL, chance, key="wrong"))
    elif rare < 0.5:
        body = json.dumps({"instances": [{"b64": base64.b64encode(same).decode()}]}).encode()
        calls.append(_ask(client, stage, f"/v1/models/{MODEL}:predict", chance, body, base=stage.gateway))
    elif rare < 0.55:
        calls.append(asyncio.to_thread(_too_many_headers, stage.edge))
    return calls


async def _ask(
    client: httpx.AsyncClient,
    stage: Stage,
    model: str,
    chance: random.Random,
    image: bytes | None = None,
    base: str | None = None,
    key: str | None = None,
) -> None:
    headers = {"Authorization": f"Bearer {key or stage.key}", "Content-Type": "image/png"}
    path = model if model.startswith("/") else f"/predict/{model}"
    with suppress(httpx.HTTPError):  # what became of it is the services' to tell
        await client.post(f"{base or stage.edge}{path}", content=image or chance.choice(stage.images), headers=headers)


def _too_many_headers(edge: str) -> None:
    host, _, port = edge.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), 5) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + 64 * 1024 * b"a")


def _service(*flags: str, grpc_port: int = 0) -> ServerProcess:
    command = [sys.executable, "-m", "service", "--host", "127.0.0.1", "--http-port", "0"]
    command += ["--grpc-port", str(grpc_port), "--drain-seconds", "0", *flags]
    return ServerProcess(command, r"HTTP on port (\d+)", "/readyz", f"/predict/{MODEL}")

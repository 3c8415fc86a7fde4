"""The model servers that pip installs: how each is installed, started and asked."""

import base64
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from benchmarks.wrk import JPEG
from loadtest.target.process import ServerProcess
from service.host.cpu import cores

FOLDER = Path("build/rivals")
_PART = "benchmarks.rivals"
_COMPUTES = ("ai-edge-litert", "cykooz.resizer", "numpy", "pillow", "simplejpeg")
"""What `classifier` imports: each rival's environment has the versions of this one."""
_JSON = {"Content-Type": "application/json"}
_LAST = 300  # characters of a failed installation


class NotInstallable(Exception):
    """pip cannot install it here; `str()` is the last that pip said."""


def send_bytes(photo: bytes) -> bytes:
    return photo


def send_json(photo: bytes) -> bytes:
    return json.dumps({"image": base64.b64encode(photo).decode()}).encode()


def send_instances(photo: bytes) -> bytes:
    """The JSON of TensorFlow Serving's REST API, which is KServe's first protocol."""
    return json.dumps({"instances": [{"b64": base64.b64encode(photo).decode()}]}).encode()


def send_inference_request(photo: bytes) -> bytes:
    """The Open Inference Protocol's JSON."""
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"content_type": "base64"}}
    return json.dumps({"inputs": [tensor | {"data": [base64.b64encode(photo).decode()]}]}).encode()


@dataclass(frozen=True)
class Rival:
    """`arguments` follow its Python interpreter; in them and in `environment` stand {port}, {workers} and {empty}, an
    empty folder. `ready` and `predict` are paths. `sends` says in words what `body` makes of a photo.
    """

    name: str
    distribution: str
    arguments: tuple[str, ...]
    ready: str
    predict: str
    sends: str = "bytes"
    body: Callable[[bytes], bytes] = send_bytes
    headers: Mapping[str, str] = field(default_factory=lambda: JPEG)
    extras: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


RIVALS = {
    "fastapi": Rival(
        "FastAPI, by hand",
        "fastapi",
        ("-m", "uvicorn", f"{_PART}.fastapi_app:app", "--port", "{port}", "--workers", "{workers}", "--no-access-log"),
        "/openapi.json",
        "/predict",
        extras=("uvicorn[standard]",),
    ),
    "mosec": Rival(
        "mosec",
        "mosec",
        ("-m", f"{_PART}.mosec_server", "--address", "127.0.0.1", "--port", "{port}", "--timeout", "60000"),
        "/",
        "/inference",
    ),
    "litserve": Rival(
        "LitServe",
        "litserve",
        ("-m", f"{_PART}.litserve_server", "{port}"),
        "/health",
        "/predict",
        "JSON, base64",
        send_json,
        _JSON,
    ),
    "bentoml": Rival(
        "BentoML",
        "bentoml",
        ("-m", "bentoml", "serve", f"{_PART}.bentoml_service:Classify", "--host", "127.0.0.1", "--port", "{port}"),
        "/readyz",
        "/predict",
        environment={"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": "{empty}"},
    ),
    "mlserver": Rival(
        "MLServer",
        "mlserver",
        ("-c", "from mlserver.cli import main; main()", "start", "{empty}"),
        "/v2/health/ready",
        "/v2/models/classify/infer",
        "OIP's JSON, base64",
        send_inference_request,
        _JSON,
        extras=("uvloop<0.22",),  # later ones make no event loop of themselves, and its processes fail
        environment={
            "MLSERVER_HOST": "127.0.0.1",
            "MLSERVER_HTTP_PORT": "{port}",
            "MLSERVER_GRPC_PORT": "{port2}",
            "MLSERVER_METRICS_PORT": "{port3}",
            "MLSERVER_PARALLEL_WORKERS": "{workers}",
            "MLSERVER_DEBUG": "false",
            "MLSERVER_MODEL_NAME": "classify",
            "MLSERVER_MODEL_IMPLEMENTATION": f"{_PART}.mlserver_model.Classify",
        },
    ),
    "ray": Rival(
        "Ray Serve",
        "ray",
        ("-m", f"{_PART}.ray_deployment", "{port}"),
        "/-/healthz",
        "/predict",
        extras=("ray[serve]",),
        environment={"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"},
    ),
    "kserve": Rival(
        "KServe's Python server",
        "kserve",
        ("-m", f"{_PART}.kserve_model", "{port}"),
        "/v2/health/ready",
        "/v1/models/classify:predict",
        "JSON, base64",
        send_instances,
        _JSON,
    ),
}


def install(name: str) -> Path:
    """The Python of `name`'s environment, which is made where it is missing. Raises NotInstallable."""
    rival, folder = RIVALS[name], FOLDER / name
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        same = [f"{package}=={version(package)}" for package in _COMPUTES]
        for command in (
            [sys.executable, "-m", "venv", str(folder)],
            [str(python), "-m", "pip", "install", "--quiet", rival.distribution, *rival.extras, *same],
        ):
            ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if ended.returncode:
                raise NotInstallable(" ".join(ended.stdout.split())[-_LAST:])
        done.touch()
    return python.absolute()


def find_version(name: str, python: Path) -> str:
    code = f"import importlib.metadata as m; print(m.version({RIVALS[name].distribution!r}))"
    return subprocess.run([str(python), "-c", code], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def start(name: str, python: Path, version_folder: Path, empty: Path) -> ServerProcess:
    """`version_folder` is the exported version that it serves. It is started on entering."""
    rival, ports = RIVALS[name], find_ports(3)
    values = {"port": ports[0], "port2": ports[1], "port3": ports[2], "workers": cores(), "empty": empty}
    environment = {variable: value.format(**values) for variable, value in rival.environment.items()}
    paths = {"MODEL": str(version_folder.absolute()), "PYTHONPATH": str(Path.cwd())}
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"  # some start programs of their environment by name
    command = [str(python), *(argument.format(**values) for argument in rival.arguments)]
    return ServerProcess(command, ports[0], rival.ready, rival.predict, environment | paths | {"PATH": path})


def find_ports(count: int) -> list[int]:
    """Free ones of the loopback."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()

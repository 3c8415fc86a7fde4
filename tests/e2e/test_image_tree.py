"""The gateway from the files its image has, as its user, with a root that cannot be written and no other packages."""

import base64
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from service import version as about
from service.protobuf import tensors as codec
from service.protobuf.stubs import predict_pb2, prediction_service_pb2_grpc
from tests.support import image_sandbox as confined
from tests.support.exporter import ROOT
from tests.support.images import encode, photo
from tests.support.service_process import Service, running

pytestmark = confined.needs_root

PHOTO = encode(photo(), "JPEG")
# What Debian's slim images have of system libraries, as far as wheels may use them.
BASE_LIBRARIES = {"libc.so.6", "libdl.so.2", "libgcc_s.so.1", "libm.so.6", "libpthread.so.0", "librt.so.1"}
BASE_LIBRARIES |= {"libstdc++.so.6", "libutil.so.1", "libz.so.1", "ld-linux-x86-64.so.2"}
MEGABYTES = 250.0


@pytest.fixture(scope="module")
def embedded(tree: Path, models: Path) -> Iterator[Service]:
    with confined.serving(tree, mounts={"/models": models}) as service:
        service.wait_ready()
        yield service


@pytest.fixture(scope="module")
def in_front(tree: Path, lenet5_repository: Path) -> Iterator[Service]:
    with running("--repository", lenet5_repository) as upstream:
        upstream.wait_ready()
        target = f"127.0.0.1:{upstream.grpc_port}"
        with confined.serving(tree, "--backend", "tfserving", "--target", target) as service:
            service.wait_ready()
            yield service


@pytest.fixture(params=["embedded", "in_front"])
def gateway(request: pytest.FixtureRequest) -> Service:
    found: Service = request.getfixturevalue(request.param)
    return found


def test_it_is_small_and_has_no_tensorflow(tree: Path) -> None:
    files = [path for path in tree.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files) / 1e6
    said = re.search(r"(\d+) MB, on a base", (ROOT / "docs" / "containers.md").read_text())
    assert size < MEGABYTES and said and abs(float(said[1]) - size) < 5, f"{size:.0f} MB; docs/containers.md differs"
    tensorflow = [path for path in files if path.is_relative_to(tree / "app" / "tensorflow")]
    assert tensorflow and all(path.name.split(".")[0].endswith("_pb2") for path in tensorflow)
    assert not list(tree.rglob("keras")) and not list(tree.rglob("tests"))


def test_its_libraries_find_theirs_in_it_or_in_a_slim_base(tree: Path) -> None:
    wanted = set()
    for library in tree.rglob("*.so*"):
        printed = subprocess.run(["ldd", library], capture_output=True, text=True).stdout
        assert "not found" not in printed, f"{library}\n{printed}"
        wanted |= {Path(line.split()[0]).name for line in printed.splitlines() if str(tree) not in line}
    assert wanted - {"linux-vdso.so.1", "statically"} <= BASE_LIBRARIES


def test_every_module_of_it_can_be_imported(tree: Path) -> None:
    """Also those that no test below comes to: a file that was left out is found here."""
    code = """
import importlib, pkgutil, service, export.tfserving.__main__
for module in pkgutil.walk_packages(service.__path__, "service."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
import grpc_health.v1.health_pb2_grpc, opentelemetry.exporter.otlp.proto.http.trace_exporter, obstore.store
import sys; print("tensorflow" in sys.modules)
"""
    ended = confined.run(tree, "-c", code)
    assert ended.stdout.split() == ["False"], ended.stderr


def test_http(gateway: Service) -> None:
    reply = httpx.post(f"{gateway.url}/predict/lenet5?top_k=1", content=PHOTO, timeout=30)
    assert reply.status_code == 200 and len(reply.json()["predictions"][0]["top_k"]) == 1
    for picture in ("PNG", "GIF", "BMP"):
        assert httpx.post(f"{gateway.url}/predict/lenet5", content=encode(photo(), picture)).status_code == 200
    body = {"instances": [{"b64": base64.b64encode(PHOTO).decode()}]}
    assert httpx.post(f"{gateway.url}/v1/models/lenet5:predict", json=body).status_code == 200
    assert httpx.get(f"{gateway.url}/v2/models/lenet5").json()["name"] == "lenet5"
    assert "model_server_requests_total" in httpx.get(f"{gateway.url}/metrics").text
    page = httpx.get(f"{gateway.url}/docs").text
    assets = re.findall(r"(?:src|href)=\"(/[^\"]+)\"", page)
    assert assets and all(httpx.get(gateway.url + path).status_code == 200 for path in assets)


def test_grpc(gateway: Service) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "lenet5", "image"
    codec.fill_request(request.inputs["image"], photo()[np.newaxis, :28, :28])
    with gateway.channel() as channel:
        reply = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=30)
    assert len(reply.outputs["probabilities"].float_val) == 10


def test_it_says_which_version_it_is_and_complains_of_nothing(embedded: Service) -> None:
    assert httpx.get(f"{embedded.url}/v2").json()["version"] == about.version()
    assert not re.search("WARNING|ERROR|Traceback", embedded.log()), embedded.log()


@pytest.mark.slow
def test_workers_keys_and_traces(tree: Path, models: Path, tmp_path: Path) -> None:
    made = confined.run(tree, "-m", "service", "keys", "cats-team")
    (tmp_path / "keys.yaml").write_text(made.stdout)
    confined.readable(tmp_path)
    key = made.stderr.partition("once: ")[2].split()[0]
    arguments = ("--workers", 2, "--api-keys", "/keys/keys.yaml", "--otlp-endpoint", "http://127.0.0.1:1")
    with confined.serving(tree, *arguments, mounts={"/models": models, "/keys": tmp_path}) as service:
        service.wait_ready()
        asked = {header: httpx.post(f"{service.url}/predict/lenet5", content=PHOTO, headers={"authorization": header})
                 for header in (f"Bearer {key}", "Bearer wrong")}  # fmt: skip
        assert [reply.status_code for reply in asked.values()] == [200, 401]
        assert service.stop() == 0
        assert "Traceback" not in service.log()


def test_the_health_check_of_the_image(tree: Path, models: Path) -> None:
    with confined.serving(tree, mounts={"/models": models}) as service:
        service.wait_ready()
        port = {"SERVICE_HTTP_PORT": str(service.http_port)}
        for path in ((), ("/readyz",)):
            assert confined.run(tree, "-m", "service", "healthcheck", *path, env=port).returncode == 0
        assert "404" in confined.run(tree, "-m", "service", "healthcheck", "/nothing", env=port).stdout
        assert service.stop() == 0
    ended = confined.run(tree, "-m", "service", "healthcheck", env=port)
    assert ended.returncode == 1 and "does not answer" in ended.stdout and "Traceback" not in ended.stderr


def test_models_are_synced_and_tensorflow_servings_files_written_by_it(
    tree: Path, models: Path, tmp_path: Path
) -> None:
    node = tmp_path / "node"
    node.mkdir()
    node.chmod(0o777)  # as a volume with the pod's fsGroup is
    mounts = {"/source": models, "/models+": node}
    ended = confined.run(tree, "-m", "service", "sync", "/source", "/models", "--keep", "2", mounts=mounts)
    assert ended.returncode == 0 and "1 brought" in ended.stderr, ended.stderr
    ended = confined.run(tree, "-m", "export.tfserving", "--repository", "/models", mounts=mounts)
    assert ended.returncode == 0, ended.stderr
    assert (node / "models.config").is_file() and (node / "lenet5" / "1" / "batching_params.pbtxt").is_file()


def test_the_image_is_what_the_script_made(tree: Path) -> None:
    """The Dockerfile has no list of its own."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    stage = dockerfile[dockerfile.index(" AS gateway\n") :]
    assert re.findall(r"^COPY (.*)$", stage, re.MULTILINE) == ["--from=trees /trees/gateway/ /"]
    assert "RUN" not in stage and f"USER {confined.USER}:{confined.USER}" in stage
    environment = dict(re.findall(r"(SERVICE_\w+|PYTHON\w+)=([^\s\\]+)", dockerfile))
    settings = {name: value for name, value in environment.items() if name.startswith("SERVICE_")}
    ended = confined.run(tree, "-c", f"import os; os.environ |= {settings}\n"
                         "from service.settings import Settings; print(Settings().model_dump_json())")  # fmt: skip
    known = json.loads(ended.stdout)
    assert known["repository"] == "/models" and known["cache_dir"].startswith("/tmp/")


@pytest.mark.skipif(shutil.which("hadolint", path=str(Path(sys.executable).parent)) is None, reason="no hadolint here")
def test_the_dockerfile_is_linted() -> None:
    lint = Path(sys.executable).parent / "hadolint"
    ended = subprocess.run([lint, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.slow
def test_the_load_tests_image_measures_a_service(models: Path, tmp_path: Path) -> None:
    made = ROOT / "build" / "image-tree-loadtest"
    subprocess.run([sys.executable, "containers/tree.py", "loadtest", made], cwd=ROOT, check=True, timeout=280)
    tmp_path.chmod(0o777)
    with running("--repository", models) as service:
        service.wait_ready()
        arguments = ("--url", service.url, "--grpc-target", f"127.0.0.1:{service.grpc_port}", "--seconds", 2)
        ended = confined.run(
            made,
            *("-m", "loadtest", *arguments, "--scenario", "single_stream", "--output", "/results"),
            mounts={"/results+": tmp_path},
            env={"HOME": "/tmp"},
        )
    assert ended.returncode == 0, ended.stderr
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} >= {".html", ".png", ".csv", ".json"}


def test_an_extra_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    command: list[str | Path] = [
        sys.executable,
        "containers/tree.py",
        "gateway",
        tmp_path / "root",
        "--extras",
        "openvine",
    ]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2 and "got openvine" in ended.stderr and "openvino" in ended.stderr
    assert not (tmp_path / "root").exists()


@pytest.mark.slow
def test_openvino_computes_where_the_image_was_made_with_it(models: Path) -> None:
    made = ROOT / "build" / "image-tree-openvino"
    command: list[str | Path] = [sys.executable, "containers/tree.py", "gateway", made, "--extras", "openvino"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=280)
    with confined.serving(made, "--engine", "openvino", mounts={"/models": models}) as service:
        service.wait_ready()
        assert 'engine="openvino' in httpx.get(f"{service.url}/metrics").text
        assert httpx.post(f"{service.url}/predict/lenet5", content=PHOTO, timeout=30).status_code == 200

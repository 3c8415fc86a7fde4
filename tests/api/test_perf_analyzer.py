"""Triton's load generator, as it is, in every way that it can ask: `PERF_ANALYZER`, or the program on the PATH."""

import base64
import json
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from tests.support.service_process import Service
from tests.support.testdata import needs_testdata

_PROGRAM = os.environ.get("PERF_ANALYZER") or shutil.which("perf_analyzer") or ""
_SHORT = ("--measurement-mode", "count_windows", "--measurement-request-count", "20", "-p", "200", "-r", "10")


def _runs() -> bool:
    """Not where the C library is older than the one it was built for."""
    return bool(_PROGRAM) and subprocess.run([_PROGRAM, "--version"], capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not _runs(), reason="perf_analyzer is not here, or does not start")


def measure(service: Service, *arguments: str) -> str:
    port = service.http_port if "http" in arguments else service.grpc_port
    # Whether windows agree with each other is no matter here, so that each run may differ from the last by any factor.
    command = [_PROGRAM, *_SHORT, "-s", "10000", "-u", f"127.0.0.1:{port}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0 and "Throughput:" in done.stdout, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("batch", ["1", "4"])
@needs_testdata
def test_random_numbers(service: Service, protocol: str, batch: str) -> None:
    said = measure(service, "-m", "half_plus_two", "-i", protocol, "-b", batch)
    assert f"Batch size: {batch}" in said and "Server:" in said and "Inference count:" in said


@pytest.mark.parametrize(
    "way",
    [("-i", "http"), ("-i", "grpc"), ("-i", "grpc", "--streaming", "--async", "--concurrency-range", "4")],
    ids=str,
)
def test_images(service: Service, samples: dict[str, bytes], tmp_path: Path, way: tuple[str, ...]) -> None:
    element = struct.pack("<I", len(samples["7"])) + samples["7"]
    content = {"content": {"b64": base64.b64encode(element).decode()}, "shape": [1]}
    (tmp_path / "images.json").write_text(json.dumps({"data": [{"image_bytes": content}]}))
    measure(service, "-m", "lenet5", "-b", "4", "--input-data", str(tmp_path / "images.json"), *way)


@pytest.mark.parametrize("signature", ["image", "tensor"])
@pytest.mark.parametrize("batch", ["1", "4"])
def test_random_pixels_as_tensorflow_serving_takes_them(service: Service, signature: str, batch: str) -> None:
    kind = ("--service-kind", "tfserving", "-i", "grpc")
    measure(service, "-m", "lenet5", *kind, "--model-signature-name", signature, "-b", batch)

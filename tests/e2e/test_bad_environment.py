"""What is wrong around a gateway in its container: each ends in a line of the log, a failing readiness probe that says
the same, and a series; the process stays, so that nothing is restarted that a restart cannot mend.
"""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from service.repository import checksums as contents
from tests.support import image_sandbox as confined
from tests.support.exporter import ROOT
from tests.support.images import encode, photo
from tests.support.service_process import Service, running
from tests.support.testdata import TESTDATA, needs_testdata

pytestmark = confined.needs_root

PHOTO = encode(photo(), "JPEG")


def expect(service: Service, *, log: str, reason: str, series: str = "model_server_ready 0.0") -> None:
    """Of a gateway that cannot answer."""
    service.wait_until(lambda: re.search(log, service.log()) is not None, 30)
    service.wait_until(lambda: reason in httpx.get(f"{service.url}/readyz").text, 30)
    reply = httpx.get(f"{service.url}/readyz")
    assert reply.status_code == 503 and reply.json()["status"] == "not ready"
    assert httpx.get(f"{service.url}/healthz").status_code == 200, "a restart would not mend it"
    page = httpx.get(f"{service.url}/metrics").text
    assert series in page and "model_server_ready 0.0" in page
    assert "Traceback" not in service.log()


def recovers(service: Service) -> None:
    service.wait_until(lambda: httpx.get(f"{service.url}/readyz").status_code == 200, 30)
    assert "model_server_ready 1.0" in httpx.get(f"{service.url}/metrics").text
    assert httpx.post(f"{service.url}/predict/lenet5", content=PHOTO, timeout=30).status_code == 200


def test_a_volume_that_is_not_mounted(tree: Path) -> None:
    says = "the model repository /models cannot be read (No such file or directory); mount its volume"
    with confined.serving(tree) as service:
        expect(service, log=re.escape(says), reason=says)


def test_a_volume_of_somebody_else(tree: Path, models: Path, tmp_path: Path) -> None:
    private = shutil.copytree(models, tmp_path / "models")
    private.chmod(0o700)
    with confined.serving(tree, mounts={"/models": private}) as service:
        expect(service, log=r"cannot be read \(Permission denied\)", reason="Permission denied")
        private.chmod(0o755)
        recovers(service)


def test_an_empty_repository_that_fills(tree: Path, models: Path, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    confined.readable(volume)
    with confined.serving(tree, mounts={"/models": volume}) as service:
        expect(service, log="not ready: there are no models", reason="there are no models; export one with")
        volume.chmod(0o777)
        ended = confined.run(tree, "-m", "service", "sync", "/from", "/to", mounts={"/from": models, "/to+": volume})
        assert ended.returncode == 0, ended.stderr
        recovers(service)


@needs_testdata
def test_a_model_that_needs_what_the_image_has_not(tree: Path, tmp_path: Path) -> None:
    assert TESTDATA is not None
    volume = tmp_path / "volume"
    shutil.copytree(TESTDATA / "saved_model_half_plus_two_cpu", volume / "half_plus_two")
    with confined.serving(tree, mounts={"/models": confined.readable(volume)}) as service:
        expect(
            service,
            log=r"half_plus_two/123 was not loaded: /models/half_plus_two/\d+ needs TensorFlow, which is not installed",
            reason="no model could be loaded: half_plus_two/123: half_plus_two/00000123 needs TensorFlow",
            series='model_server_version_failed{model="half_plus_two",version="123"} 1.0',
        )


def test_one_model_that_fails_leaves_the_others_ready(tree: Path, models: Path, tmp_path: Path) -> None:
    volume = shutil.copytree(models, tmp_path / "volume")
    (volume / "broken" / "1").mkdir(parents=True)
    (volume / "broken" / "1" / "model.tflite").write_bytes(b"half of one")
    with confined.serving(tree, mounts={"/models": confined.readable(volume)}) as service:
        recovers(service)
        page = httpx.get(f"{service.url}/metrics").text
        assert 'model_server_version_failed{model="broken",version="1"} 1.0' in page
        assert "broken/1 was not loaded" in service.log()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "/keys/keys.yaml cannot be read: No such file or directory"),
        ("- name: cats\n  hash: secret\n", "invalid hash: expected sha256:"),
        ("no keys", "/keys/keys.yaml: "),
    ],
)
def test_a_key_file_that_cannot_be_used_ends_the_start_with_its_reason(
    tree: Path, models: Path, tmp_path: Path, content: str | None, says: str
) -> None:
    """Serving everybody instead would be worse, and the last line of the log is what an orchestrator shows."""
    if content is not None:
        (tmp_path / "keys.yaml").write_text(content)
    mounts = {"/models": models, "/keys": confined.readable(tmp_path)}
    with confined.serving(tree, "--api-keys", "/keys/keys.yaml", mounts=mounts) as service:
        assert service.process.wait(30) == 1
        last = service.log().splitlines()[-1]
        assert last.startswith("python -m service: ") and says in last and "Traceback" not in service.log()


def test_an_upstream_that_wants_a_key(tree: Path, models: Path, tmp_path: Path) -> None:
    made = confined.run(tree, "-m", "service", "keys", "cats-team")
    (tmp_path / "keys.yaml").write_text(made.stdout)
    with running("--repository", models, "--api-keys", tmp_path / "keys.yaml") as upstream:
        upstream.wait_ready()
        target = f"127.0.0.1:{upstream.grpc_port}"
        with confined.serving(tree, "--backend", "tfserving", "--target", target) as service:
            log = f"the upstream {target} answered UNAUTHENTICATED"
            expect(service, log=log, reason="the upstream answered UNAUTHENTICATED")


def test_a_place_for_temporary_files_is_missing(tree: Path, models: Path) -> None:
    """One process needs none; several do."""
    with confined.serving(tree, mounts={"/models": models}, writable=False) as service:
        recovers(service)
        assert "Traceback" not in service.log()
    with confined.serving(tree, "--workers", 2, mounts={"/models": models}, writable=False) as service:
        assert service.process.wait(30) == 1
        assert "mount one at /tmp" in service.log().splitlines()[-1] and "Traceback" not in service.log()


def later_version(folder: Path) -> Path:
    """This service as a later release might be: manifests of another format, another number."""
    for package in ("service", "export"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for path, now, later in (
        ("repository/manifest.py", "\nFORMAT = 1\n", "\nFORMAT = 2\n"),
        ("version.py", 'return find_version(NAME) or "unknown"', 'return "99.0"'),
    ):
        file = folder / "service" / path
        assert now in file.read_text()
        file.write_text(file.read_text().replace(now, later))
    return folder


@pytest.fixture
def later_models(models: Path, tmp_path: Path) -> Path:
    """As a later exporter writes them."""
    volume = shutil.copytree(models, tmp_path / "later_models")
    path = volume / "lenet5" / "1" / "assets.extra" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2, "invented": {"later": True}}))
    contents.write(volume / "lenet5" / "1")
    return confined.readable(volume)


def test_models_of_a_later_exporter(tree: Path, models: Path, later_models: Path) -> None:
    with confined.serving(tree, mounts={"/models": later_models}) as service:
        says = "format 2, where this service reads 1"
        expect(
            service,
            log=f"lenet5/1 was not loaded: .*{says}.*update the service",
            reason=says,
            series='model_server_version_failed{model="lenet5",version="1"} 1.0',
        )
        (later_models / "lenet5" / "1").rename(later_models / "lenet5" / "2")
        confined.readable(shutil.copytree(models / "lenet5" / "1", later_models / "lenet5" / "1"))
        recovers(service)  # with the one that it can read


@pytest.mark.parametrize("in_front", ["this one in front", "the later one in front"])
def test_gateways_of_two_versions_one_behind_the_other(
    tree: Path, models: Path, later_models: Path, tmp_path: Path, in_front: str
) -> None:
    later = {"PYTHONPATH": str(later_version(tmp_path / "later")), "PYTHONSAFEPATH": "1"}
    target = ("--backend", "tfserving", "--poll-interval-seconds", 0.2, "--target")
    if in_front == "this one in front":
        with running("--repository", later_models, env=later) as upstream:
            upstream.wait_ready()
            assert httpx.get(f"{upstream.url}/v2").json()["version"] == "99.0"
            mounts: Mapping[str, Path] = {"/models": later_models}
            with confined.serving(tree, *target, f"127.0.0.1:{upstream.grpc_port}", mounts=mounts) as service:
                recovers(service)  # without the manifest that it cannot read, which it says
                assert "the upstream's own description of lenet5/1 is used" in service.log()
    else:
        with confined.serving(tree, mounts={"/models": models}) as upstream:
            upstream.wait_ready()
            arguments = (*target, f"127.0.0.1:{upstream.grpc_port}", "--repository", later_models)
            with running(*arguments, env=later) as service:
                recovers(service)
                assert "WARNING" not in service.log()

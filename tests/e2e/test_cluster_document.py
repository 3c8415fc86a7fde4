"""docs/cluster.md as far as a machine without a cluster can follow it: what is applied renders, what is named is there,
what is a program of ours takes its arguments; and the pods' own commands, run as processes.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import synthetic_runs as measured
from tests.support.service_process import Service, running
from tools.k8s_check.pods import Container, pods
from tools.k8s_check.programs import argument_problems
from tools.k8s_check.rendering import ROOT, Manifest, folders, render

DOCUMENT = (ROOT.parent / "docs" / "cluster.md").read_text()
COMMANDS = [
    line for block in re.findall(r"```bash\n(.*?)```", DOCUMENT, re.DOTALL) for line in block.splitlines() if line
]
KINDS = {"deploy": "Deployment", "svc": "Service", "cronjob": "CronJob", "configmap": "ConfigMap", "job": "Job"}


@cache
def _everything() -> list[Manifest]:
    return [manifest for folder in folders() for manifest in render(folder)]


def _container(folder: str, name: str) -> Container:
    found = (one for pod in pods(render(ROOT / folder)) for one in pod.containers() if one.name == name)
    return next(found)


def test_what_is_applied_is_there() -> None:
    applied = {words[words.index("-k") + 1] for words in map(shlex.split, COMMANDS) if "-k" in words}
    assert len(applied) >= 6
    for folder in applied:
        assert render(ROOT.parent / folder), folder
    for folder in re.findall(r"`(k8s/(?:overlays|variants|components)/[\w-]+)`", DOCUMENT):
        assert (ROOT.parent / folder).is_dir(), folder


def test_what_is_named_is_there() -> None:
    names = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in _everything()}
    made = set(re.findall(r"create job --from=\S+ (\S+)", DOCUMENT))
    asked = re.findall(r"\b(deploy|svc|cronjob|configmap|job)[/ ]([a-z][\w-]*)", "\n".join(COMMANDS))
    assert asked
    for kind, name in asked:
        assert (KINDS[kind], name) in names or name in made, f"{kind}/{name}"
    containers = {container.name for pod in pods(_everything()) for container in pod.containers()}
    assert set(re.findall(r" -c (\S+)", "\n".join(COMMANDS))) <= containers
    namespaces = {manifest["metadata"].get("namespace") for manifest in _everything()} - {None}
    assert namespaces == set(re.findall(r"-n (\S+)", "\n".join(COMMANDS))) == {"image-models"}


def test_our_programs_take_what_they_are_told() -> None:
    checked = set()
    for words in map(shlex.split, COMMANDS):
        if (
            words[:2] != ["python", "-m"]
            or words[2] in ("loadtest", "loadtest.sizing")
            or words[2:4] == ["service", "keys"]
        ):
            continue
        checked.add(words[2])
        assert list(argument_problems(words[2], words[3:])) == []
    assert checked == {"export"}
    targets = re.findall(r"make ([\w-]+)", DOCUMENT)
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", (ROOT.parent / "Makefile").read_text(), re.MULTILINE), target


def test_the_load_tests_commands_are_taken(tmp_path: Path) -> None:
    """Up to where they would load a service: a repository that is not there."""
    command = next(line for line in COMMANDS if line.startswith("python -m loadtest "))
    words = [sys.executable, *shlex.split(command)[1:], "--repository", str(tmp_path / "none")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "is not a folder; export a model" in done.stderr
    results = tmp_path / "reports" / "now" / "results.json"
    measured.run(networks=4, seconds=2).write(results)
    command = next(line for line in COMMANDS if line.startswith("python -m loadtest.sizing"))
    words = [sys.executable, *shlex.split(command)[1:]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT.parent)}
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, timeout=60, env=environment)
    assert done.returncode == 0 and "mobilenet_v3_small" in done.stdout, done.stderr


def _here(container: Container, places: Mapping[str, Path]) -> list[str]:
    """A container's arguments with folders of this machine for what is mounted in the pod."""
    made = []
    for argument in container.arguments:
        for inside, here in places.items():
            argument = re.sub(rf"(^|=){inside}(?=/|$)", rf"\g<1>{here}", argument)
        made.append(argument.replace("$(MODELS_SOURCE)", str(places["/published"])))
    return made


def _run(container: Container, places: Mapping[str, Path]) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", *container.program.split(), *_here(container, places)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    names = {
        "/published": "published",
        "/models": "models",
        "/cache": "cache",
        "/work": "work",
        "/etc/image-model-server": "etc",
    }
    for name in names.values():
        (tmp_path / name).mkdir()
    config: Any = next(one for one in render(ROOT / "variants" / "gpu-canary") if one["metadata"]["name"] == "routes")
    (tmp_path / "etc" / "routes.yaml").write_text(config["data"]["routes.yaml"])
    return {inside: tmp_path / name for inside, name in names.items()}


def _gateway(folder: str, places: Mapping[str, Path]) -> Any:
    return running(*_here(_container(folder, "gateway"), places), "--poll-interval-seconds", 0.1)


def _served_by(service: Service, image: bytes, model: str, times: int) -> set[str]:
    with httpx.Client(base_url=service.url) as client:
        replies = [client.post(f"/predict/{model}", content=image) for _ in range(times)]
    answered = [reply for reply in replies if reply.status_code == 200]
    assert {reply.status_code for reply in replies} <= {200, 429, 504} and len(answered) > 0.9 * times, "late at most"
    return {reply.headers["x-served-by"] for reply in answered}


def test_an_empty_volume_is_said_and_takes_no_traffic(places: dict[str, Path]) -> None:
    ended = _run(_container("overlays/embedded", "model-sync"), places)
    assert ended.returncode == 1 and "has no version of *" in ended.stderr and "Traceback" not in ended.stderr
    assert "has no version of *" in DOCUMENT
    with _gateway("overlays/embedded", places) as service:
        service.wait_until(lambda: "there are no models" in httpx.get(f"{service.url}/readyz").text)
        assert "there are no models" in DOCUMENT
        assert httpx.get(f"{service.url}/readyz").status_code == 503
        assert httpx.get(f"{service.url}/healthz").status_code == 200
        assert "model_server_ready 0.0" in httpx.get(f"{service.url}/metrics").text


def test_a_model_published_by_the_job_is_brought_served_and_followed_by_a_canary(
    places: dict[str, Path], demo_repository: Path
) -> None:
    """The export itself aside, each container's own command: batching, publish, sync, gateway."""
    model = "mobilenet_v3_small"
    shutil.copytree(demo_repository / model, places["/work"] / "models" / model)
    for name in ("batching", "publish"):
        ended = _run(_container("variants/export-job", name), places)
        assert ended.returncode == 0, ended.stderr
    published = places["/published"] / model
    assert (published / "1" / "batching_params.pbtxt").exists(), "each version brings how it is batched"
    (places["/work"] / "models" / model / "1" / "assets.extra" / "note").write_text("not the same version")
    assert _run(_container("variants/export-job", "publish"), places).returncode == 0
    assert {path.name for path in published.iterdir()} >= {"1", "2"}
    assert _run(_container("overlays/embedded", "model-sync"), places).returncode == 0
    image = (demo_repository / model / "1" / "assets.extra" / "samples" / "7-0.png").read_bytes()
    with _gateway("overlays/embedded", places) as service:
        service.wait_ready()
        assert _served_by(service, image, model, 200) == {f"{model}/1", f"{model}/2"}
        assert service.stop(signal.SIGTERM) == 0

"""Every overlay and variant passes, and each rule refuses what it is there to refuse."""

import copy
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydantic_settings import CliApp

from service.api.http import operations
from service.server import lifecycle
from service.settings import Settings
from tools.k8s_check.__main__ import problems
from tools.k8s_check.pods import Container, pods
from tools.k8s_check.programs import ending_seconds, settings
from tools.k8s_check.rendering import ROOT, Manifest, folders, render

_PROJECT = ROOT.parent


@cache
def _rendered(name: str) -> list[Manifest]:
    return render(ROOT / name)


def _of(manifests: list[Manifest], kind: str, name: str) -> Any:
    return next(one for one in manifests if one["kind"] == kind and one["metadata"]["name"] == name)


def _gateway(manifests: list[Manifest]) -> Any:
    return _of(manifests, "Deployment", "gateway")["spec"]["template"]["spec"]["containers"][0]


@pytest.mark.parametrize("folder", list(folders()), ids=lambda folder: str(folder.relative_to(ROOT)))
def test_passes(folder: Path) -> None:
    assert problems(_rendered(str(folder.relative_to(ROOT)))) == []


def _no_seccomp(pod: Any) -> None:
    del pod["securityContext"]["seccompProfile"]


def _set(path: str, value: Any) -> Callable[[Any], None]:
    """On a pod's spec: `a.0.b` is a path; value None deletes."""

    def change(pod: Any) -> None:
        *parents, last = path.split(".")
        for key in parents:
            pod = pod[int(key) if key.isdigit() else key]
        if value is None:
            del pod[int(last) if last.isdigit() else last]
        else:
            pod[int(last) if last.isdigit() else last] = value

    return change


_REFUSED: list[tuple[Callable[[Any], None], str]] = [
    (_set("securityContext.runAsNonRoot", False), "runAsNonRoot is not true"),
    (_set("securityContext.runAsUser", 0), "names no user but root"),
    (_no_seccomp, "seccompProfile"),
    (_set("containers.0.securityContext.allowPrivilegeEscalation", None), "allowPrivilegeEscalation"),
    (_set("containers.0.securityContext.readOnlyRootFilesystem", False), "readOnlyRootFilesystem"),
    (_set("containers.0.securityContext.capabilities", {"drop": ["NET_RAW"]}), "capabilities"),
    (_set("containers.0.securityContext.privileged", True), "privileged"),
    (_set("containers.0.resources.limits.memory", None), "resources.limits.memory is not set"),
    (_set("initContainers.0.resources.requests", {}), "resources.requests.cpu is not set"),
    (_set("containers.0.image", "registry.example.com:5000/image-model-server"), "has no tag"),
    (_set("containers.0.image", "image-model-server:latest"), "has no tag"),
    (_set("containers.0.startupProbe", None), "no startupProbe"),
    (_set("containers.0.readinessProbe.httpGet.port", 8080), "asks port 8080"),
    (_set("containers.0.livenessProbe.httpGet.path", "/readyz"), "livenessProbe asks /readyz, and means /healthz"),
    (_set("containers.0.volumeMounts.3", {"name": "tmp", "mountPath": "/var"}), "nothing is mounted at /tmp"),
    (_set("automountServiceAccountToken", None), "automountServiceAccountToken"),
    (_set("enableServiceLinks", True), "enableServiceLinks"),
    (_set("volumes.1", {"name": "models", "emptyDir": {}}), "no sizeLimit"),
    (_set("volumes.1", {"name": "models", "hostPath": {"path": "/"}}), "node's own file system"),
    (_set("volumes.1", {"name": "other", "emptyDir": {"sizeLimit": "1Gi"}}), "models is mounted and not declared"),
    (_set("topologySpreadConstraints", []), "topologySpreadConstraints"),
    (_set("terminationGracePeriodSeconds", 49), "preStop, drain and the rest take up to 50"),
    (_set("containers.0.args.0", "--repositry=/models"), "python -m service refuses"),
    (_set("containers.0.args.0", "--repository=/model"), "nothing is mounted there"),
    (_set("containers.0.args.0", "--http-port=8080"), "its ports are"),
    (_set("containers.0.resources.limits.cpu", "1.5"), "would stand still"),
    (_set("initContainers.0.args.2", "--kept=2"), "python -m service sync refuses"),
    (_set("initContainers.0.args.0", "$(MODELS)"), "$(MODELS) is set nowhere"),
    (_set("serviceAccountName", "nobody"), "ServiceAccount nobody is not there"),
    (_set("volumes.0.persistentVolumeClaim.claimName", "none"), "PersistentVolumeClaim none, which is not there"),
    (_set("containers.0.lifecycle.preStop.sleep", {"second": 5}), "second"),
    (_set("containers.0.args.0", "--target=unix:/models/sock"), "go together"),
]


@pytest.mark.parametrize(("change", "expected"), _REFUSED, ids=[expected for _, expected in _REFUSED])
def test_a_pod_that_breaks_a_rule_is_told_of(change: Callable[[Any], None], expected: str) -> None:
    manifests = copy.deepcopy(_rendered("overlays/embedded"))
    change(_of(manifests, "Deployment", "gateway")["spec"]["template"]["spec"])
    assert any(expected in problem for problem in problems(manifests)), problems(manifests)


_UNRELATED: list[tuple[str, str, str, Any, str]] = [
    ("Service", "gateway", "selector", {"app.kubernetes.io/name": "gate"}, "selects no pod"),
    ("Service", "gateway", "ports", [{"name": "x", "port": 80, "targetPort": "web"}], "goes to web"),
    ("PodDisruptionBudget", "gateway", "selector", {"matchLabels": {"a": "b"}}, "selects no pod"),
    ("PodDisruptionBudget", "gateway", "maxUnavailabel", 1, "maxUnavailabel"),
    ("HorizontalPodAutoscaler", "gateway", "scaleTargetRef", {"kind": "Deployment", "name": "x"}, "which is not there"),
    ("NetworkPolicy", "gateway", "ingress", [{"ports": [{"port": "https"}]}], "lets in port https"),
]


@pytest.mark.parametrize(("kind", "name", "field", "value", "expected"), _UNRELATED)
def test_what_names_nothing_is_told_of(kind: str, name: str, field: str, value: Any, expected: str) -> None:
    manifests = copy.deepcopy(_rendered("overlays/embedded"))
    _of(manifests, kind, name)["spec"][field] = value
    assert any(expected in problem for problem in problems(manifests)), problems(manifests)


def test_a_monitor_of_nothing_is_told_of() -> None:
    manifests = copy.deepcopy(_rendered("observability"))
    monitor = _of(manifests, "ServiceMonitor", "gateway")["spec"]
    monitor["endpoints"][0]["port"] = "metrics"
    assert any("scrapes port metrics" in problem for problem in problems(manifests))
    monitor["selector"]["matchLabels"] = {"app.kubernetes.io/name": "gate"}
    assert any("selects 0 Services" in problem for problem in problems(manifests))


def test_a_custom_resources_typing_errors_are_told_of() -> None:
    manifests = copy.deepcopy(_rendered("variants/embedded-keda"))
    _of(manifests, "ScaledObject", "gateway")["spec"]["triggers"][0]["metadata"]["threshold"] = 100
    assert any("100 is not of type 'string'" in problem for problem in problems(manifests))


def test_what_tensorflow_serving_would_ignore_is_told_of() -> None:
    manifests = copy.deepcopy(_rendered("overlays/cpu"))
    server = _of(manifests, "Deployment", "gateway")["spec"]["template"]["spec"]["initContainers"][-1]
    assert server["name"] == "tensorflow-serving"
    server["args"] += ["--enable_bathcing=true"]
    server["resources"]["limits"]["cpu"] = "8"
    found = "\n".join(problems(manifests))
    assert "no flag --enable_bathcing" in found and "--tensorflow_intra_op_parallelism=4 is not limits.cpu" in found
    server["args"][1] = "--grpc_socket_path=/tmp/other.sock"
    assert "nobody in the pod opens unix:" in "\n".join(problems(manifests))


def test_the_pods_end_after_the_service_has() -> None:
    """What the service says it takes: no number of the manifests' own."""
    usual = CliApp.run(Settings, cli_args=[])
    assert ending_seconds(usual) == usual.drain_seconds + lifecycle.GRACE + lifecycle.UNLOAD
    for overlay in ("embedded", "cpu", "gpu"):
        pod = _of(_rendered(f"overlays/{overlay}"), "Deployment", "gateway")["spec"]["template"]["spec"]
        pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        given = settings(Container("main", pod["containers"][0]))
        assert pod["terminationGracePeriodSeconds"] > pause + ending_seconds(given)
        assert given.drain_seconds >= 2 * pod["containers"][0]["readinessProbe"]["periodSeconds"]


def test_probes_ask_routes_that_there_are() -> None:
    routes = {getattr(route, "path", "") for route in operations.make_router(None, None).routes}  # type: ignore[arg-type]  # none is asked
    for overlay in ("embedded", "cpu", "gpu"):
        gateway = _gateway(_rendered(f"overlays/{overlay}"))
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert gateway[probe]["httpGet"]["path"] in routes


def test_images_are_this_versions_and_one_tensorflow_serving() -> None:
    version = tomllib.loads((_PROJECT / "pyproject.toml").read_text())["project"]["version"]
    images = {
        container.spec["image"]
        for folder in folders()
        for pod in pods(_rendered(str(folder.relative_to(ROOT))))
        for container in pod.containers()
    }
    ours = {image for image in images if "image-model-server" in image}
    assert len(ours) == 3 and {image.rpartition(":")[2] for image in ours} == {version}
    theirs = {image.rpartition(":")[2] for image in images - ours}
    assert len(theirs) == 2 and len({tag.removesuffix("-gpu") for tag in theirs}) == 1
    assert set(re.findall(r"image: tensorflow/serving:(\S+)", (_PROJECT / "compose.yaml").read_text())) <= theirs


@pytest.mark.slow
def test_locust_takes_what_the_jobs_tell_it() -> None:
    """In a process of its own, for Locust's gevent changes the one it is imported in."""
    code = """
import json, sys
import loadtest.locustfile
from locust.argument_parser import parse_options
for arguments, valid in json.loads(sys.argv[1]):
    try:
        parse_options(arguments)
    except SystemExit:
        assert not valid, arguments
    else:
        assert valid, arguments
"""
    jobs = [container for pod in pods(_rendered("variants/load-test")) for container in pod.containers()]
    assert [container.program for container in jobs] == ["locust", "locust"]
    given = [[one.replace("/app/", f"{_PROJECT}/") for one in container.arguments] for container in jobs]
    cases = [(arguments + extra, not extra) for arguments in given for extra in ([], ["--expect-wokers=4"])]
    done = subprocess.run([sys.executable, "-c", code, json.dumps(cases)], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_command_has_a_line_for_each_and_fails_where_one_does(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("resources: [nothing.yaml]\n")
    command = [sys.executable, "-m", "tools.k8s_check", "k8s/overlays/embedded", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=_PROJECT, timeout=60)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert re.search(r"^overlays/embedded +\d+ objects  ok$", done.stdout, re.MULTILINE)
    assert "cannot be rendered" in done.stdout and done.stdout.endswith("1 passed, 1 failed\n")

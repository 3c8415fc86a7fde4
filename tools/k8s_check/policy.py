"""What every pod of ours has to keep, whatever overlay it comes from: the least privilege, bounded, probed, pinned."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tools.k8s_check.pods import Container, Pod, pods
from tools.k8s_check.rendering import Manifest

_PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


def problems(manifests: Iterable[Manifest]) -> Iterator[str]:
    for pod in pods(manifests):
        for rule in _POD_RULES:
            yield from (f"{pod.kind} {pod.name}: {problem}" for problem in rule(pod))
        for container in pod.containers():
            for check in _CONTAINER_RULES:
                yield from (f"{pod.kind} {pod.name}, {container.name}: {problem}" for problem in check(pod, container))


def _no_root(pod: Pod, container: Container) -> Iterator[str]:
    merged = {**pod.spec.get("securityContext", {}), **container.spec.get("securityContext", {})}
    if merged.get("runAsNonRoot") is not True:
        yield "runAsNonRoot is not true"
    if not merged.get("runAsUser"):
        yield "runAsUser names no user but root: images whose user is a name are refused otherwise"
    if merged.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "seccompProfile is not RuntimeDefault"


def _least_privilege(pod: Pod, container: Container) -> Iterator[str]:
    context = container.spec.get("securityContext", {})
    if context.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if context.get("readOnlyRootFilesystem") is not True:
        yield "readOnlyRootFilesystem is not true"
    if context.get("capabilities") != {"drop": ["ALL"]}:
        yield "capabilities are not dropped, all of them"
    if context.get("privileged"):
        yield "privileged"


def _limits(pod: Pod, container: Container) -> Iterator[str]:
    resources = container.spec.get("resources", {})
    for kind in ("requests", "limits"):
        yield from (
            f"resources.{kind}.{what} is not set" for what in ("cpu", "memory") if what not in resources.get(kind, {})
        )


def _pinned(pod: Pod, container: Container) -> Iterator[str]:
    image = container.spec["image"]
    _, _, tag = image.rpartition("/")[2].partition(":")
    if "@sha256:" not in image and (not tag or tag.startswith("latest")):
        yield f"image {image} has no tag that stays what it is"


def _probed(pod: Pod, container: Container) -> Iterator[str]:
    """Whoever takes requests is asked for its life and its readiness, which are different questions."""
    if not container.spec.get("ports") or pod.kind in ("Job", "CronJob"):
        return
    wanted = _PROBES if container.role == "main" else _PROBES[1:]
    yield from (f"no {probe}" for probe in wanted if probe not in container.spec)
    if container.spec.get("livenessProbe", 0) == container.spec.get("readinessProbe", 1):
        yield "liveness and readiness are one question: what is not ready would be restarted"
    for probe in _PROBES:
        for action in container.spec.get(probe, {}).values():
            port = action.get("port") if isinstance(action, dict) else None
            if port is not None and port not in (*container.ports(), *container.ports().values()):
                yield f"{probe} asks port {port}, which the container does not have"


def _writable(pod: Pod, container: Container) -> Iterator[str]:
    """Temporary files need a place: with a read-only root that is a volume."""
    if "/tmp" not in {mount["mountPath"] for mount in container.spec.get("volumeMounts", [])}:
        yield "nothing is mounted at /tmp"


def _no_token(pod: Pod) -> Iterator[str]:
    # KServe makes the pod of a ServingRuntime: its InferenceService says it.
    if pod.kind != "ServingRuntime" and pod.spec.get("automountServiceAccountToken") is not False:
        yield "automountServiceAccountToken is not false: nobody here asks the API server"
    if pod.kind != "ServingRuntime" and pod.spec.get("enableServiceLinks") is not False:
        yield "enableServiceLinks is not false: a Service called `service` would set SERVICE_HOST, a setting of ours"


def _bounded_volumes(pod: Pod) -> Iterator[str]:
    for volume in pod.spec.get("volumes", []):
        if "emptyDir" in volume and "sizeLimit" not in (volume["emptyDir"] or {}):
            yield f"emptyDir {volume['name']} has no sizeLimit: it could fill the node's disk"
        if "hostPath" in volume:
            yield f"volume {volume['name']} is the node's own file system"


def _mounted(pod: Pod) -> Iterator[str]:
    declared = {volume["name"] for volume in pod.spec.get("volumes", [])}
    used = {mount["name"] for container in pod.containers() for mount in container.spec.get("volumeMounts", [])}
    yield from (f"volume {name} is mounted and not declared" for name in sorted(used - declared))
    yield from (f"volume {name} is declared and not mounted" for name in sorted(declared - used))


def _spread(pod: Pod) -> Iterator[str]:
    if pod.kind == "Deployment" and not pod.spec.get("topologySpreadConstraints"):
        yield "no topologySpreadConstraints: one node's end could be everybody's"


def _ends(pod: Pod) -> Iterator[str]:
    if pod.kind == "Job" and pod.spec.get("restartPolicy") != "Never":
        yield "a Job's pods are kept for their logs: restartPolicy Never"


_POD_RULES: tuple[Callable[[Pod], Iterator[str]], ...] = (_no_token, _bounded_volumes, _mounted, _spread, _ends)
_CONTAINER_RULES: tuple[Callable[[Pod, Container], Iterator[Any]], ...] = (
    _no_root,
    _least_privilege,
    _limits,
    _pinned,
    _probed,
    _writable,
)

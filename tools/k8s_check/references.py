"""Whether what one manifest names is there in another: a selector without pods fails nobody until it is needed."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tools.k8s_check.pods import Container, Pod, pods
from tools.k8s_check.rendering import Manifest

# Made by whoever runs the cluster, for they are secret, or large: docs/cluster.md says how.
_GIVEN = {("Secret", "api-keys"), ("Secret", "gateway-tls"), ("Secret", "models")}


def problems(manifests: Iterable[Manifest], others: Iterable[Manifest] = ()) -> Iterator[str]:
    """`others` are applied to the same namespace too."""
    mine = list(manifests)
    everything = [*mine, *others]
    there = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in everything} | _GIVEN
    known = list(pods(everything))
    for manifest in mine:
        name = f"{manifest['kind']} {manifest['metadata']['name']}"
        if manifest["kind"] == "ServiceMonitor":
            yield from (f"{name}: {problem}" for problem in _monitor(manifest["spec"], everything))
        looks = _LOOKS.get(manifest["kind"])
        if looks is not None:
            yield from (f"{name}: {problem}" for problem in looks(manifest["spec"], known, there))
    for pod in pods(mine):
        yield from (f"{pod.kind} {pod.name}: {problem}" for problem in _pod(pod, there, everything))


def _matching(selector: Mapping[str, str], known: Iterable[Pod]) -> list[Pod]:
    return [pod for pod in known if selector.items() <= pod.labels.items()]


def _service(spec: Any, known: list[Pod], there: set[tuple[str, str]]) -> Iterator[str]:
    found = _matching(spec["selector"], known)
    if not found:
        yield f"selects no pod: {spec['selector']}"
    for pod in found:
        for port in spec["ports"]:
            if port["targetPort"] not in pod.ports():
                yield f"port {port['name']} goes to {port['targetPort']}, which {pod.name} does not have"
            elif port["port"] != pod.ports()[port["targetPort"]]:
                yield f"port {port['name']} is {port['port']}, and {pod.ports()[port['targetPort']]} in {pod.name}"


def _budget(spec: Any, known: list[Pod], there: set[tuple[str, str]]) -> Iterator[str]:
    if not _matching(spec["selector"]["matchLabels"], known):
        yield f"selects no pod: {spec['selector']['matchLabels']}"


def _network(spec: Any, known: list[Pod], there: set[tuple[str, str]]) -> Iterator[str]:
    labels = spec["podSelector"].get("matchLabels", {})
    found = _matching(labels, known)
    if not found:
        yield f"selects no pod: {labels}"
    for rule in spec.get("ingress", []):
        for port in rule.get("ports", []):
            yield from (
                f"lets in port {port['port']}, which {pod.name} does not have"
                for pod in found
                if port["port"] not in (*pod.ports(), *pod.ports().values())
            )


def _scaled(spec: Any, known: list[Pod], there: set[tuple[str, str]]) -> Iterator[str]:
    target = spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"]
    if target not in there:
        yield f"scales {' '.join(target)}, which is not there"
    for metric in spec.get("metrics", []):
        if metric["type"] == "ContainerResource":
            wanted = metric["containerResource"]["container"]
            names = {container.name for pod in known if pod.name == target[1] for container in pod.containers()}
            if wanted not in names:
                yield f"looks at container {wanted}; there are {sorted(names)}"


def _monitor(spec: Any, everything: list[Manifest]) -> Iterator[str]:
    wanted = spec["selector"]["matchLabels"].items()
    services = [one for one in everything if one["kind"] == "Service"]
    found = [one for one in services if wanted <= one["metadata"].get("labels", {}).items()]
    if len(found) != 1:
        yield f"selects {len(found)} Services: {dict(wanted)}"
    for service in found:
        ports = {port["name"] for port in service["spec"]["ports"]}
        yield from (
            f"scrapes port {endpoint['port']}, which Service {service['metadata']['name']} does not have"
            for endpoint in spec["endpoints"]
            if endpoint["port"] not in ports
        )


_LOOKS = {
    "Service": _service,
    "PodDisruptionBudget": _budget,
    "NetworkPolicy": _network,
    "HorizontalPodAutoscaler": _scaled,
    "ScaledObject": _scaled,
}


def _pod(pod: Pod, there: set[tuple[str, str]], everything: list[Manifest]) -> Iterator[str]:
    account = pod.spec.get("serviceAccountName")
    if account is not None and ("ServiceAccount", account) not in there:
        yield f"ServiceAccount {account} is not there"
    for volume in pod.spec.get("volumes", []):
        for key, kind, called in (
            ("configMap", "ConfigMap", "name"),
            ("secret", "Secret", "secretName"),
            ("persistentVolumeClaim", "PersistentVolumeClaim", "claimName"),
        ):
            if key in volume and (kind, volume[key][called]) not in there:
                yield f"volume {volume['name']} is {kind} {volume[key][called]}, which is not there"
    for container in pod.containers():
        yield from _environment(container, there, everything)
        yield from _target(container, pod, everything)


def _environment(container: Container, there: set[tuple[str, str]], everything: list[Manifest]) -> Iterator[str]:
    given = {entry["name"] for entry in container.spec.get("env", [])}
    for source in container.spec.get("envFrom", []):
        for key, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
            if key in source and (kind, source[key]["name"]) not in there:
                yield f"{container.name}: {kind} {source[key]['name']} is not there"
            given |= {
                name
                for manifest in everything
                if key in source and (manifest["kind"], manifest["metadata"]["name"]) == (kind, source[key]["name"])
                for name in manifest.get("data", {})
            }
    used = {name for argument in container.arguments for name in re.findall(r"\$\((\w+)\)", argument)}
    yield from (f"{container.name}: $({name}) is set nowhere" for name in sorted(used - given))


def _target(container: Container, pod: Pod, everything: list[Manifest]) -> Iterator[str]:
    """Where a gateway's upstream is said to be, somebody listens."""
    for argument in container.arguments:
        if not argument.startswith("--target=") or container.program != "service":
            continue
        target = argument.partition("=")[2]
        if target.startswith("unix:"):
            asked = f"--grpc_socket_path={target.removeprefix('unix:')}"
            if not any(asked in other.arguments for other in pod.containers()):
                yield f"nobody in the pod opens {target}"
            continue
        name, _, port = target.partition(":")
        services = [one for one in everything if one["kind"] == "Service" and one["metadata"]["name"] == name]
        if not any(int(port) == each["port"] for one in services for each in one["spec"]["ports"]):
            yield f"no Service {name} has port {port}"
        if any(one["spec"].get("clusterIP") != "None" for one in services):
            yield f"Service {name} has one address for all: the gateway could not tell its pods apart"

"""The pods that manifests would start, wherever in them they are described."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from tools.k8s_check.rendering import Manifest

_TEMPLATES = {
    "Deployment": ("spec", "template", "spec"),
    "Job": ("spec", "template", "spec"),
    "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
    "ServingRuntime": ("spec",),
}
_LABELS = {"Deployment": ("spec", "template", "metadata", "labels"), "Job": ("spec", "template", "metadata", "labels")}


@dataclass(frozen=True, slots=True)
class Container:
    """`role`: main, init (it ends before the others start) or sidecar (it runs beside them, and ends after them)."""

    role: str
    spec: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    @property
    def program(self) -> str:
        """`service sync` of `python -m service sync`; empty for programs of others."""
        return " ".join(self._words)

    @property
    def arguments(self) -> list[str]:
        words = self._words
        return [*self.spec.get("command", [])[2 + len(words) if words else 1 :], *self.spec.get("args", [])]

    @property
    def _words(self) -> list[str]:
        command = self.spec.get("command", [])
        ours = command[2:] if command[:2] == ["python", "-m"] else []
        return list(takewhile(lambda word: not word.startswith("-"), ours))

    def ports(self) -> dict[str, int]:
        return {port["name"]: port["containerPort"] for port in self.spec.get("ports", [])}


@dataclass(frozen=True, slots=True)
class Pod:
    kind: str
    name: str
    spec: dict[str, Any]
    labels: dict[str, str]

    def containers(self) -> Iterator[Container]:
        for spec in self.spec.get("initContainers", []):
            yield Container("sidecar" if spec.get("restartPolicy") == "Always" else "init", spec)
        for spec in self.spec["containers"]:
            yield Container("main", spec)

    def ports(self) -> dict[str, int]:
        return {name: port for container in self.containers() for name, port in container.ports().items()}


def pods(manifests: Iterable[Manifest]) -> Iterator[Pod]:
    for manifest in manifests:
        kind = manifest["kind"]
        if kind in _TEMPLATES:
            labels = _down(manifest, _LABELS[kind]) if kind in _LABELS else {}
            yield Pod(kind, manifest["metadata"]["name"], _down(manifest, _TEMPLATES[kind]), labels)


def _down(manifest: Manifest, path: tuple[str, ...]) -> dict[str, Any]:
    found = manifest
    for key in path:
        found = found[key]
    return found

"""The service that is measured: one that runs already, or one started for it; and the models it serves."""

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from export.architectures import ARCHITECTURES
from loadtest.results import Subject
from loadtest.target import processes
from loadtest.target.process import ServerProcess
from service.errors import NotReady
from service.repository.repository import Repository

FAKE = "fake"
"""What `--backend fake` serves."""
_START_SECONDS = 180.0  # a first load measures the model
_GRPC_PORT = 8500
_LAST_LINES = 12


class TargetError(Exception):
    """There is nothing to measure; the message says what to do."""


@dataclass(frozen=True)
class Served:
    """One version that takes encoded images, in its input `alias`; what the report says of it is in `subject`."""

    subject: Subject
    alias: str


@dataclass
class Target:
    """`url` is http://host:port, `grpc` host:port. `pid` is None where its processes are not on this machine."""

    url: str
    grpc: str
    description: str
    pid: int | None = None
    repository: Path | None = None
    process: ServerProcess | None = field(default=None, repr=False)

    def trouble(self) -> str | None:
        """How it died, where that can be told."""
        return self.process.death() if self.process else None

    def names(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """Those wanted, or all. Raises TargetError for names that are not served."""
        return _chosen(wanted, self._models(), self.url)

    def model(self, name: str) -> Served | Subject:
        """Its newest version; one that takes no images comes as a Subject with its problem. Raises TargetError."""
        versions = self._models().get(name)
        if not versions:
            raise TargetError(f"{self.url} does not serve {name} any more")
        version = versions[0]
        manifest = self._get(f"/models/{name}?version={version}")["manifest"]
        facts, recipe = manifest.get("facts") or {}, manifest.get("preprocessing") or {}
        profile = manifest.get("profile") or {}
        architecture = manifest.get("architecture") or name
        accuracy, source = known_accuracy(architecture, facts)
        subject = Subject(
            name,
            version,
            architecture=architecture,
            precision=manifest.get("precision") or "",
            image_size=recipe.get("height") or 0,
            parameters=facts.get("parameters"),
            bytes_on_disk=self._bytes(name, version, facts),
            accuracy=accuracy,
            accuracy_source=source,
            engine=profile.get("engine") or "",
            engine_precision=profile.get("precision") or "",
            macs=facts.get("macs"),
        )
        inputs = manifest["signatures"].get("serving_default", {}).get("inputs", {})
        images = [alias for alias, spec in inputs.items() if spec["dtype"] == "string"]
        if len(inputs) == len(images) == 1:
            return Served(subject, images[0])
        subject.problem = "its default signature does not take encoded images alone"
        return subject

    def _models(self) -> dict[str, list[int]]:
        found = self._get("/models").get("models")
        if not isinstance(found, dict):
            raise TargetError(f"{self.url} is not this service: its /models has no models")
        return found

    def _bytes(self, name: str, version: int, facts: dict[str, Any]) -> int | None:
        """Of the file that is run: model.tflite where there is one, else the SavedModel's graph."""
        sizes = facts.get("file_bytes") or {}
        if self.repository is not None:
            folder = self.repository / name / str(version)
            sizes = {path.name: path.stat().st_size for path in folder.glob("*") if path.is_file()} or sizes
        return sizes.get("model.tflite") or sizes.get("saved_model.pb")

    def _get(self, path: str) -> Any:
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=10) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            raise TargetError(f"{self.url}{path} answers {error.code}: {error.read()[:200].decode()}") from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise TargetError(f"no service answers at {self.url}: {reason}; leave --url out to start one") from error


def known_accuracy(architecture: str, facts: dict[str, Any]) -> tuple[float | None, str | None]:
    """A share of 1 and its source: what was measured on held-out images, or what those who publish weights say of
    them, where the network has these or has learnt nothing.
    """
    training, dataset = facts.get("training") or {}, facts.get("dataset") or {}
    untrained = not training.get("epochs") and training.get("weights", "none") == "none"
    if facts.get("accuracy") is not None and not untrained:
        return facts["accuracy"], f"{dataset.get('held_out')} held-out images of {dataset.get('name')}"
    if published := facts.get("published_accuracy"):
        return published["top1"], f"ImageNet top-1, published with the weights from {published['by']}"
    row = ARCHITECTURES.get(architecture)
    if row is None or row.top1 is None or not untrained:
        return None, None
    return row.top1, f"ImageNet top-1, published with the weights from {row.weights_by}; untrained copies were measured"


def names(repository: Path, wanted: Sequence[str]) -> tuple[str, ...]:
    """The models in a folder of models: those wanted, or all. Raises TargetError for names that are not there."""
    try:
        return _chosen(wanted, Repository(repository).scan(), str(repository))
    except NotReady as error:
        raise TargetError(error.message) from error


def _chosen(wanted: Sequence[str], found: Collection[str], where: str) -> tuple[str, ...]:
    if unknown := [name for name in wanted if name not in found]:
        raise TargetError(f"{where} does not have {', '.join(unknown)}; it has {', '.join(sorted(found)) or 'none'}")
    if not found:
        raise TargetError(f"{where} has no model; export one (python -m export --model lenet5)")
    return tuple(wanted) or tuple(sorted(found))


@contextmanager
def started(repository: Path, arguments: Sequence[str]) -> Iterator[Target]:
    """A service of our own with the models of `repository`, ended afterwards. Raises TargetError."""
    process = ServerProcess.service(repository, "", *arguments, patience=_START_SECONDS)
    try:
        process.__enter__()
    except RuntimeError as error:
        lines = str(error).splitlines()
        raise TargetError("\n  ".join([lines[0], *lines[1:][-_LAST_LINES:]])) from error
    try:
        yield Target(process.base, process.grpc, process.command, process.pid, repository, process)
    finally:
        process.__exit__()


def existing(url: str, grpc: str) -> Target:
    """One that runs at `url`; `grpc` is host:port, or empty for port 8500 of the same host. Raises TargetError."""
    parts = urlsplit(url if "//" in url else f"http://{url}")
    if parts.scheme != "http" or not parts.hostname or parts.path.strip("/"):
        raise TargetError(f"invalid --url: expected http://host:8000, got {url!r}")
    base = f"http://{parts.netloc}"
    port = parts.port or 80
    pid = processes.find_listener(port) if _is_here(parts.hostname) else None
    return Target(base, grpc or f"{parts.hostname}:{_GRPC_PORT}", base, pid)


def _is_here(host: str) -> bool:
    try:
        return socket.gethostbyname(host).startswith("127.")
    except OSError:
        return False

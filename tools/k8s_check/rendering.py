"""What `kubectl apply -k` would send."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]
"""One object as the API server gets it."""

ROOT = Path(__file__).parents[2] / "k8s"


class RenderError(Exception):
    """What kustomize could not put together, in its words."""


def folders() -> Iterator[Path]:
    """Everything that is applied by itself; components are parts of these."""
    for kind in ("overlays", "variants"):
        yield from sorted(path.parent for path in (ROOT / kind).glob("*/kustomization.yaml"))
    if (ROOT / "observability" / "kustomization.yaml").exists():
        yield ROOT / "observability"


def render(folder: Path) -> list[Manifest]:
    """Raises RenderError."""
    command = [_kubectl(), "kustomize", str(folder)]
    # What lies outside a kustomization's folder is taken only where it is a kustomization too: as in a user's hands.
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise RenderError(done.stderr.strip()[:500])
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def _kubectl() -> str:
    """The one of this environment (a dev dependency), or else the system's. Raises RenderError."""
    beside = Path(sys.executable).with_name("kubectl")
    found = str(beside) if beside.exists() else shutil.which("kubectl")
    if found is None:
        raise RenderError("there is no kubectl; `make` installs one, or put one on the PATH")
    return found

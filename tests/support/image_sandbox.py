"""Programs run as the gateway's image would run them: its files, its user, a root that cannot be written.

No container engine is needed, but root is, for a mount namespace of the program's own. All it sees is the image's tree,
an interpreter with no packages, the system's libraries, what is mounted for it, and an empty /tmp.
"""

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.service_process import DEFAULTS, Service, started

USER = 10001

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")

_ENV = {
    "PYTHONPATH": "/app",
    "PYTHONSAFEPATH": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
    "HOME": "/",
}
_LIBRARIES = ("/lib", "/lib64", "/usr/lib")


def readable(folder: Path) -> Path:
    """`folder`, opened for the user that programs run as here."""
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def command(tree: Path, root: Path, *arguments: object, mounts: Mapping[str, Path], writable: bool = True) -> list[str]:
    """What runs `python ARGUMENTS` confined; `root` is an empty folder for its root.

    `mounts` is path inside -> folder outside, read-only unless the path ends with `+`. Without `writable` there is no
    /tmp either.
    """
    inside = shlex.quote(str(root))
    packages = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    steps = [
        "set -e",
        f"mount -t tmpfs tmpfs {inside}",
        f"mkdir -p {inside}/proc {inside}/dev {inside}/etc {inside}/none",
    ]
    steps += [f"echo '127.0.0.1 localhost' > {inside}/etc/hosts"]

    def bind(source: object, target: str, options: str = "ro") -> None:
        place = shlex.quote(f"{root}{target}")
        steps.append(f"mkdir -p {place} && mount --rbind {shlex.quote(str(source))} {place}")
        if options == "ro":
            steps.append(f"mount -o remount,bind,ro {place}")

    for library in filter(os.path.isdir, _LIBRARIES):
        bind(library, library)
    bind(sys.base_prefix, sys.base_prefix)  # where it looks for its own library
    bind(root / "none", f"{sys.base_prefix}/{packages}", "as it is")
    bind("/proc", "/proc", "as it is")
    bind("/dev", "/dev", "as it is")
    bind(tree / "app", "/app")
    for target, source in mounts.items():
        bind(source, target.removesuffix("+"), "as it is" if target.endswith("+") else "ro")
    if writable:
        steps.append(f"mkdir {inside}/tmp && mount -t tmpfs -o mode=1777 tmpfs {inside}/tmp")
    steps.append(f"mount -o remount,ro {inside}")
    program = shlex.join([f"{sys.base_prefix}/bin/python3", *map(str, arguments)])
    steps.append(f"exec chroot --userspec={USER}:{USER} {inside} {program}")
    return ["unshare", "--mount", "sh", "-c", "\n".join(steps)]


def run(
    tree: Path,
    *arguments: object,
    mounts: Mapping[str, Path] | None = None,
    env: Mapping[str, str] | None = None,
    writable: bool = True,
) -> "subprocess.CompletedProcess[str]":
    """`python ARGUMENTS`, ended or not well."""
    with tempfile.TemporaryDirectory() as root:
        line = command(tree, Path(root), *arguments, mounts=mounts or {}, writable=writable)
        return subprocess.run(line, env={**_ENV, **(env or {})}, capture_output=True, text=True, timeout=60)


@contextmanager
def serving(
    tree: Path,
    *arguments: object,
    mounts: Mapping[str, Path] | None = None,
    env: Mapping[str, str] | None = None,
    writable: bool = True,
) -> Iterator[Service]:
    """The gateway on free ports, killed at the end if it still runs. `wait_ready` is the caller's."""
    inside = {
        "SERVICE_REPOSITORY": "/models",
        "SERVICE_CACHE_DIR": "/tmp/image-model-server",
        "SERVICE_POLL_INTERVAL_SECONDS": "0.2",
    }
    with tempfile.TemporaryDirectory() as root:
        line = command(tree, Path(root), "-m", "service", *arguments, mounts=mounts or {}, writable=writable)
        with started(line, {**_ENV, **DEFAULTS, **inside, **(env or {})}) as service:
            yield service

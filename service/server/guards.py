"""Keys and certificates: from the files that settings name to what is in force, and kept so."""

import ipaddress
from pathlib import Path

from service.observability.metrics.registry import Metrics
from service.security import api_keys as keys
from service.security.authorizer import Gate
from service.security.file_watcher import Contents, ReloadError, Reloading
from service.security.tls import Certificates, TlsError


def key_file(path: Path, gate: Gate, metrics: Metrics) -> Reloading:
    """The gate with the file's keys. Raises ReloadError."""

    def apply(contents: Contents) -> None:
        try:
            gate.replace(keys.parse(contents[0]))
        except keys.KeysError as error:
            raise ReloadError(f"{path}: {error}") from error

    reloading = Reloading("API keys", (path,), apply, metrics)
    reloading.load()
    return reloading


def certificate_files(
    certificate: Path, key: Path, client_ca: Path | None, metrics: Metrics
) -> tuple[Certificates, Reloading]:
    """Raises ReloadError."""
    certificates = Certificates()

    def apply(contents: Contents) -> None:
        try:
            certificates.renew(*contents)
        except TlsError as error:
            raise ReloadError(str(error)) from error

    paths = [certificate, key] if client_ca is None else [certificate, key, client_ca]
    reloading = Reloading("certificates", paths, apply, metrics)
    reloading.load()
    return certificates, reloading


def exposure(host: str, api_keys: Path | None, tls_client_ca: Path | None) -> str:
    """A sentence for the start where everybody who reaches `host` may ask everything; empty where not."""
    if api_keys is not None or tls_client_ca is not None or _is_loopback(host):
        return ""
    return (
        f"--host {host} takes requests from other machines, and nobody needs a key: "
        "set --api-keys (docs/security.md), or --host 127.0.0.1"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

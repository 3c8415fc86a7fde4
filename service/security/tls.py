"""TLS for both edges: a certificate, its key, and the authorities of clients' certificates."""

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from service.host.file_watcher import ReloadError

_MISFITS = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate with its chain, its private key, and the authorities of clients' certificates (None: clients need
    none), all PEM.
    """

    certificate: bytes
    key: bytes
    client_ca: bytes | None = None


class Certificates:
    """The certificates in force (`renew` first): gRPC takes the `identity`, Python's ssl the `context` made of it."""

    identity: Identity
    context: ssl.SSLContext

    def renew(self, certificate: bytes, key: bytes, client_ca: bytes | None = None) -> None:
        """Raises ReloadError, and then nothing has changed."""
        self.context = _context(certificate, key, client_ca)
        self.identity = Identity(certificate, key, client_ca)

    def for_http(self) -> ssl.SSLContext:
        """A context for HTTP's listeners that gives each new connection the one in force."""
        context = _InForce(ssl.PROTOCOL_TLS_SERVER)
        context.certificates = self
        return context


class _InForce(ssl.SSLContext):
    """A context that hands each new connection to the one in force: an SSLContext itself cannot forget an
    authority, and is left broken by a key that does not fit.
    """

    certificates: Certificates

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        return self.certificates.context.wrap_bio(*arguments, **named)


def _context(certificate: bytes, key: bytes, client_ca: bytes | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        with _file(certificate) as certificate_path, _file(key) as key_path:
            context.load_cert_chain(certificate_path, key_path, password=_no_password)
    except ssl.SSLError as error:
        raise ReloadError(_why(certificate, key, error)) from error
    if client_ca is not None:
        try:
            context.load_verify_locations(cadata=client_ca.decode("ascii"))
        except (ssl.SSLError, UnicodeDecodeError) as error:
            raise ReloadError("--tls-client-ca holds no certificate in PEM form") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _why(certificate: bytes, key: bytes, error: ssl.SSLError) -> str:
    if error.reason in _MISFITS:
        return "--tls-key does not belong to the certificate in --tls-cert"
    if b"-----BEGIN CERTIFICATE-----" not in certificate:
        return "--tls-cert holds no certificate in PEM form"
    if b"PRIVATE KEY-----" not in key:
        return "--tls-key holds no private key in PEM form"
    return f"--tls-cert and --tls-key cannot be used: {error.reason or error}"


def _no_password() -> str:
    raise ReloadError("--tls-key is encrypted; give it without a passphrase (`openssl pkey -in KEY -out PLAIN`)")


@contextmanager
def _file(content: bytes) -> Iterator[str]:
    """A path to this content in memory: OpenSSL reads what was read before, not what is on disk by now."""
    descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)

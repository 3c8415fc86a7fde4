"""What is no certificate, no key or no pair of them is refused, and leaves those in force as they are."""

import pytest

from service.host.file_watcher import ReloadError
from service.security.tls import Certificates
from tests.support.certificates import Authority

ONE, TWO = Authority("one").signs("server"), Authority("two").signs("server")


@pytest.mark.parametrize(
    ("certificate", "key", "client_ca", "says"),
    [
        (ONE.certificate, TWO.key, None, "--tls-key does not belong to the certificate in --tls-cert"),
        (b"no certificate", ONE.key, None, "--tls-cert holds no certificate"),
        (ONE.certificate, ONE.certificate, None, "--tls-key holds no private key"),
        (ONE.certificate, ONE.key, ONE.key, "--tls-client-ca holds no certificate"),
    ],
    ids=["another's key", "text", "no key", "no authority"],
)
def test_wrong_content_is_named_and_changes_nothing(
    certificate: bytes, key: bytes, client_ca: bytes | None, says: str
) -> None:
    certificates = Certificates()
    certificates.renew(TWO.certificate, TWO.key)
    context = certificates.context
    with pytest.raises(ReloadError, match=says):
        certificates.renew(certificate, key, client_ca)
    assert certificates.context is context and certificates.identity.key == TWO.key

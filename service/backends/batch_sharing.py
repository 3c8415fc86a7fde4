"""Which signatures of a version share batches between requests, and why the others do not."""

import logging
from collections.abc import Mapping

from service.types import ModelRef, Tensors

_log = logging.getLogger(__name__)


class BatchSharing:
    """Owns the reasons of one loaded version. A signature that stops sharing batches never starts again."""

    def __init__(self, version: ModelRef, unshared: Mapping[str, str]) -> None:
        """`unshared` maps each signature whose requests must run alone to the reason."""
        self._version, self.unshared = version, dict(unshared)

    def allows(self, signature: str) -> bool:
        return signature not in self.unshared

    def stop(self, signature: str, reason: str) -> None:
        """Makes every later request to `signature` run alone. Logs the reason once."""
        if self.allows(signature):
            self.unshared[signature] = reason
            _log.warning(
                "%s: requests to signature %r run alone from now on: %s",
                self._version,
                signature,
                reason,
            )


def find_mismatch(outputs: Tensors, rows: int) -> str:
    """Names an output whose dim 0 is not `rows`; empty where every output has `rows` rows."""
    for alias, array in outputs.items():
        if array.ndim == 0 or len(array) != rows:
            return f"output {alias!r} has shape {list(array.shape)}, expected {rows} rows"
    return ""

"""The end of every request, whatever its protocol: its sizes and last stage as metrics, and a line in the log."""

import logging
import time

from service.observability import logs
from service.observability.context import Trace
from service.observability.metrics.registry import Metrics

_log = logging.getLogger("service.observability.access_log")
_LONGEST = 200  # characters of a path


class Access:
    """With `log`, each request gets a line."""

    def __init__(self, metrics: Metrics, log: bool) -> None:
        self._metrics, self._log = metrics, log

    def finished(self, request: Trace, what: str, status: str, sent: int) -> None:
        """`what` is the method and path, `status` is in the protocol's words, `sent` is in bytes."""
        now = time.monotonic()
        if request.ref is not None and (request.received or request.answered is not None):  # else nothing was read
            render = None if request.answered is None else now - request.answered
            self._metrics.finished(request, render, sent)
        if not self._log:
            return
        milliseconds = round(1000 * (now - request.began), 3)
        method, _, path = what.rpartition(" ")
        model = {"model": request.ref.name, "version": request.ref.version} if request.ref else {}
        _log.info(
            "%s %s %.1f ms, %d bytes in, %d out, request %s",
            what[:_LONGEST],
            status,
            milliseconds,
            request.received,
            sent,
            request.request_id,
            extra=logs.fields(
                method=method or path.rpartition("/")[2],
                path=path[:_LONGEST],
                status=status,
                protocol=request.protocol,
                **model,
                duration_ms=milliseconds,
                received_bytes=request.received,
                sent_bytes=sent,
            ),
        )

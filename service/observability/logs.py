"""The form of log lines: text for people, JSON for machines."""

import datetime
import json
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, TextIO

from service.observability.context import get_trace

_OURS = "service"
_FIELDS = "fields"
_STDERR = 2
_LEVELS = {"I": logging.INFO, "W": logging.WARNING, "E": logging.ERROR, "F": logging.CRITICAL}
_native = logging.getLogger("service.native")
_capturing = threading.Lock()


LogFormat = Literal["text", "json"]


def configure(level: str, style: LogFormat, worker: int | None = None, secrets: re.Pattern[str] | None = None) -> None:
    """Sends all logging to stderr. `worker` is the number of this process, if it has one. A match of `secrets` in a
    line is cut to its group "shown".

    `level` is for the loggers of this project. Libraries log warnings only: their lower levels may hold what clients
    send, API keys too.
    """
    # A descriptor of its own, so that `native_lines` catches none of the service's own lines.
    handler = _Handler(os.fdopen(os.dup(_STDERR), "w", encoding="utf-8", errors="backslashreplace"), secrets)
    if style == "json":
        handler.setFormatter(JsonFormatter(worker))
        logging.captureWarnings(True)
        _log_what_python_prints()
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # before gRPC is imported: its C core writes lines of its own
    else:
        who = "" if worker is None else f"worker {worker}: "
        handler.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)-7s {who}%(name)s: %(message)s"))
    logging.basicConfig(level=max(logging.WARNING, logging.getLevelName(level)), handlers=[handler], force=True)
    logging.getLogger(_OURS).setLevel(level)


def report_end(message: str) -> None:
    """The reason why this process does not start, for whoever reads stderr: a person, or a machine that takes JSON."""
    handlers = logging.getLogger().handlers
    if any(isinstance(handler.formatter, JsonFormatter) for handler in handlers):
        logging.getLogger(_OURS).critical("%s", message)
    else:
        print(message, file=sys.stderr)


def _log_what_python_prints() -> None:
    """Tracebacks that nobody caught, and those of threads and destructors, are events too."""
    log = logging.getLogger(_OURS)

    def on_exception(kind: type[BaseException], error: BaseException, _: object) -> None:
        if issubclass(kind, KeyboardInterrupt):  # the process ends by its signal, and that is no error
            return
        log.critical("unexpected %s", kind.__name__, exc_info=error)

    def on_thread(args: threading.ExceptHookArgs) -> None:
        name = args.thread.name if args.thread else "a thread"
        log.error("unexpected %s in %s", args.exc_type.__name__, name, exc_info=args.exc_value)

    def on_unraisable(args: Any) -> None:
        log.error("unexpected %s in %r", args.exc_type.__name__, args.object, exc_info=args.exc_value)

    sys.excepthook, threading.excepthook, sys.unraisablehook = on_exception, on_thread, on_unraisable


def fields(**values: Any) -> dict[str, Any]:
    """For `extra=`: members of a JSON line. They must be plain values."""
    return {_FIELDS: values}


class _Handler(logging.StreamHandler[TextIO]):
    def __init__(self, stream: TextIO, secrets: re.Pattern[str] | None) -> None:
        super().__init__(stream)
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        """Masks secrets: a client may write its key where a name belongs, in a path, a message or a field."""
        line = super().format(record)
        return line if self._secrets is None else self._secrets.sub(r"\g<shown>***", line)


@contextmanager
def native_lines() -> Iterator[None]:
    """Logs what C++ libraries write to stderr in the block, once it has ended.

    For short blocks that are known to write, such as an engine's start: what a library writes before it ends the
    process would be lost.
    """
    if not hasattr(os, "memfd_create"):  # not Linux
        yield
        return
    with _capturing:
        stderr, caught = os.dup(_STDERR), os.memfd_create("native-lines")
        try:
            sys.stderr.flush()
            os.dup2(caught, _STDERR)
            yield
        finally:
            os.dup2(stderr, _STDERR)
            os.close(stderr)
            with os.fdopen(caught, "rb") as file:
                file.seek(0)
                lines = file.read().decode("utf-8", "backslashreplace").splitlines()
    for line in lines:
        if found := _NATIVE.fullmatch(line):
            _native.log(_LEVELS[found["level"]], "%s", found["text"])
        elif line.strip():
            _native.warning("%s", line)


# `INFO: text`, as LiteRT writes, and `I0000 00:00:1795788133.011074   23916 port.cc:153] text`, as TensorFlow does.
_NATIVE = re.compile(r"(?P<level>[IWEF])(?:[A-Z]+: |\d{4} [\d:.]+ +\d+ \S+\] )(?P<text>.*)")


class JsonFormatter(logging.Formatter):
    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self._worker = {} if worker is None else {"worker": worker}

    def format(self, record: logging.LogRecord) -> str:
        request = get_trace()
        known = {
            "request_id": request.request_id,
            "trace_id": request.trace_id,
            "model": str(request.ref) if request.ref else "",
        }
        line = {
            "time": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **self._worker,
            **{name: value for name, value in known.items() if value},
            **getattr(record, _FIELDS, {}),
        }
        if record.exc_info:
            line["stack"] = self.formatException(record.exc_info)
        return json.dumps(line)

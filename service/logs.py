"""How a log line looks: text for people, JSON for machines."""

import datetime
import json
import logging
from enum import StrEnum
from typing import Any

from service import current

_OURS = "service"
_FIELDS = "fields"


class LogFormat(StrEnum):
    text = "text"
    json = "json"


def configure(level: str, style: LogFormat, worker: int | None = None) -> None:
    """Everything that is logged goes to stderr. `worker` is this process's number, if it has one.

    `level` is for this project's own loggers. Libraries warn and no more: what some of them say of their work at lower
    levels holds what clients send, API keys too.
    """
    handler = logging.StreamHandler()
    if style is LogFormat.json:
        handler.setFormatter(JsonFormatter(worker))
        logging.captureWarnings(True)
    else:
        who = "" if worker is None else f"worker {worker}: "
        handler.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)-7s {who}%(name)s: %(message)s"))
    logging.basicConfig(level=max(logging.WARNING, logging.getLevelName(level)), handlers=[handler], force=True)
    logging.getLogger(_OURS).setLevel(level)


def fields(**values: Any) -> dict[str, Any]:
    """For `extra=`: members of their own in a JSON line. They must be plain values."""
    return {_FIELDS: values}


class JsonFormatter(logging.Formatter):
    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self._worker = {} if worker is None else {"worker": worker}

    def format(self, record: logging.LogRecord) -> str:
        request = current.get()
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

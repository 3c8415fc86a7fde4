"""The file of routes under a running service: read, looked at again every second, taken over whole or not at all."""

import asyncio
import logging
from pathlib import Path

from service.host.files import write_whole
from service.observability.metrics.registry import Metrics
from service.routing import schema
from service.routing.plan import Routes
from service.routing.schema import RoutesError

_log = logging.getLogger(__name__)


def load(path: Path) -> Routes:
    """Raises RoutesError, one line that names the file."""
    return _parse(path, _read(path))


class RoutesFile:
    """Owns the routes in force. `path` None means that there are none, and every name is a model's.

    `kept` holds a copy of what is in force: a worker that is started again while the file is broken goes on with it.
    """

    def __init__(self, path: Path | None, metrics: Metrics, kept: Path | None = None) -> None:
        """Raises RoutesError where the file cannot be used, and there is no copy."""
        self.path, self._metrics, self._kept = path, metrics, kept
        self.routes = Routes()
        self.error = ""
        """What is wrong with the file on disk, where it is not what is in force."""
        self._taken: bytes = b""
        self._seen: bytes | None = None
        if path is None:
            return
        try:
            content = _read(path)
            routes = _parse(path, content)
        except RoutesError as error:
            if kept is None or not kept.exists():
                raise
            content = _read(kept)
            routes = _parse(kept, content)
            self._refuse(str(error))
        else:
            metrics.routes.file(ok=True)
        self._take(routes, content)

    async def watch(self, interval: float) -> None:
        """Looks every `interval` seconds until cancelled."""
        while True:
            await asyncio.sleep(interval)
            await self.look()

    async def look(self) -> None:
        """Takes over what the file says once it says the same at two looks: a half-written one is no error, and may
        even be valid. What cannot be used changes nothing and is logged once.
        """
        try:
            await self._look()
        except Exception:  # a fault of ours must not end the watch
            _log.exception("the look at the routes failed")

    async def _look(self) -> None:
        if self.path is None:
            return
        try:
            content = await asyncio.to_thread(_read, self.path)
        except RoutesError as error:
            self._seen = None
            self._refuse(str(error))
            return
        if content != self._seen:  # may still be being written
            self._seen = content
            return
        if content == self._taken:
            if self.error:
                self._accept("the routes in force are those of %s again")
            return
        try:
            routes = _parse(self.path, content)
        except RoutesError as error:
            self._refuse(str(error))
            return
        self._take(routes, content)
        self._accept("routes taken over from %s: " + (", ".join(sorted(routes.by_name)) or "none"))

    def _accept(self, message: str) -> None:
        self.error = ""
        self._metrics.routes.file(ok=True)
        _log.info(message, self.path)

    def _refuse(self, error: str) -> None:
        if error != self.error:
            self.error = error
            self._metrics.routes.file(ok=False)
            _log.error("%s; the routes in force stay", error)

    def _take(self, routes: Routes, content: bytes) -> None:
        self.routes, self._taken = routes, content
        if self._kept is not None:  # another worker may be reading it
            write_whole(self._kept, content)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RoutesError(f"{path} cannot be read: {error.strerror}") from error


def _parse(path: Path, content: bytes) -> Routes:
    try:
        return schema.parse(content.decode())
    except UnicodeDecodeError as error:
        raise RoutesError(f"{path}: not UTF-8 ({error.reason})") from error
    except RoutesError as error:
        raise RoutesError(f"{path}: {error}") from error

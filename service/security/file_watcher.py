"""Files that may change while the service runs: keys and certificates are rotated without a restart."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from service.observability.metrics.registry import Metrics

_log = logging.getLogger("service.security.file_watcher")
_INTERVAL = 0.5  # seconds between looks; what changed is in force after two of them

Contents = tuple[bytes, ...]


class ReloadError(Exception):
    """Why what the files hold cannot be put in force, in one line."""


class Reloading:
    """Some files that make sense only together, and what puts them in force: `apply`, which raises ReloadError for
    what it cannot use and then has changed nothing.

    Contents are compared, not times: symlinks that are swapped (Kubernetes' secrets) and quick rewrites are seen alike.
    What is half written is not used: files must read the same twice.
    """

    def __init__(self, what: str, paths: Sequence[Path], apply: Callable[[Contents], None], metrics: Metrics) -> None:
        self._what, self._paths, self._apply, self._metrics = what, tuple(paths), apply, metrics
        self._in_force: Contents | None = None
        self._before: Contents | None = None
        self._refused: object = None

    def load(self) -> None:
        """For the start. Raises ReloadError."""
        contents = self._read()
        self._apply(contents)
        self._in_force = contents
        self._metrics.guards.reloaded(self._what, in_force=True)

    async def watch(self) -> None:
        """Looks until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL)
            await self.look()

    async def look(self) -> None:
        """Puts in force what reads as it did at the look before. What cannot be used is logged once, and changes
        nothing.
        """
        try:
            contents = await asyncio.to_thread(self._read)
            settled, self._before = contents == self._before, contents
            if not settled:
                return
            if contents == self._in_force:
                if self._refused is not None:
                    self._back()
            elif contents != self._refused:
                self._take(contents)
        except ReloadError as error:  # not readable
            self._before = None
            self._refuse(error, str(error))
        except Exception:  # a fault of ours must not end the rotation
            _log.exception("the look at the %s failed", self._what)

    def _take(self, contents: Contents) -> None:
        try:
            self._apply(contents)
        except ReloadError as error:
            self._refuse(error, contents)
            return
        self._in_force, self._refused = contents, None
        self._metrics.guards.reloaded(self._what, in_force=True)
        _log.info("new %s in force", self._what)

    def _back(self) -> None:
        self._refused = None
        self._metrics.guards.reloaded(self._what, in_force=True)
        _log.info("the %s on disk are those in force again", self._what)

    def _refuse(self, error: ReloadError, mark: object) -> None:
        if self._refused != mark:
            self._refused = mark
            self._metrics.guards.reloaded(self._what, in_force=False)
            _log.error("%s; the earlier %s stay in force", error, self._what)

    def _read(self) -> Contents:
        try:
            return tuple(path.read_bytes() for path in self._paths)
        except OSError as error:
            raise ReloadError(f"cannot read {error.filename}: {error.strerror}") from error

"""Files that change while the service runs: routes, API keys and certificates are replaced without a restart."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

_log = logging.getLogger(__name__)
_INTERVAL = 0.5  # seconds between looks; a change is in force after two of them

Contents = tuple[bytes, ...]


class ReloadError(Exception):
    """Why the files cannot be used, in one line."""


class FileWatcher:
    """Puts in force what `paths` hold, all of them or none.

    Half a file is often valid, so contents are used once two looks read the same. Contents that cannot be used change
    nothing and are logged once. `what` names the files in the log. `apply` puts contents in force, or raises
    ReloadError. `report` hears whether what is on disk is in force, whenever that was decided anew.
    """

    def __init__(
        self,
        what: str,
        paths: Sequence[Path],
        apply: Callable[[Contents], None],
        report: Callable[[bool], None],
        kept: Contents | None = None,
    ) -> None:
        """Loads the files; where they cannot be used, `kept`, which was in force before. Raises ReloadError."""
        self._what, self._paths, self._apply, self._report = what, tuple(paths), apply, report
        self.error = ""
        """Why what is on disk is not in force; empty where it is."""
        self._refused: Contents | None = None
        self._before: Contents | None = None
        try:
            contents = self._read()
            apply(contents)
        except ReloadError as error:
            if kept is None:
                raise
            apply(kept)
            contents = kept
            self._refuse(str(error), None)
        else:
            report(True)
        self._in_force = contents

    async def watch(self) -> None:
        """Looks until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL)
            await self.look()

    async def look(self) -> None:
        try:
            contents = await asyncio.to_thread(self._read)
            settled, self._before = contents == self._before, contents
            if settled:
                self._use(contents)
        except ReloadError as error:  # not readable
            self._before = None
            self._refuse(str(error), None)
        except Exception:  # a bug must not end the watch
            _log.exception("the look at the %s failed", self._what)

    def _use(self, contents: Contents) -> None:
        if contents == self._in_force:
            if self.error:
                self._accept(contents, "the %s on disk are those in force again")
        elif contents != self._refused:
            try:
                self._apply(contents)
            except ReloadError as error:
                self._refuse(str(error), contents)
            else:
                self._accept(contents, "new %s in force")

    def _accept(self, contents: Contents, message: str) -> None:
        self._in_force, self._refused, self.error = contents, None, ""
        self._report(True)
        _log.info(message, self._what)

    def _refuse(self, error: str, contents: Contents | None) -> None:
        self._refused = contents
        if error != self.error:
            self.error = error
            self._report(False)
            _log.error("%s; the earlier %s stay in force", error, self._what)

    def _read(self) -> Contents:
        try:
            return tuple(path.read_bytes() for path in self._paths)
        except OSError as error:
            raise ReloadError(f"{error.filename} cannot be read: {error.strerror}") from error

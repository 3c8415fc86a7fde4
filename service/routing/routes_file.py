"""The file of routes under a running service."""

from pathlib import Path

from service.host.file_watcher import Contents, FileWatcher, ReloadError
from service.host.files import write_whole
from service.observability.metrics.registry import Metrics
from service.routing import schema
from service.routing.plan import Routes


class RoutesFile:
    """Owns the routes in force. `path` None means that there are none, and every name is a model's.

    `kept` holds a copy of what is in force: a worker that is started again while the file is broken goes on with it.
    """

    def __init__(self, path: Path | None, metrics: Metrics, kept: Path | None = None) -> None:
        """Raises ReloadError, one line that names the file, where it cannot be used and there is no copy."""
        self.path, self._kept = path, kept
        self.routes = Routes()
        self.watcher: FileWatcher | None = None
        if path is not None:
            copy = (kept.read_bytes(),) if kept is not None and kept.exists() else None
            self.watcher = FileWatcher("routes", (path,), self._apply, metrics.routes.reloaded, copy)

    @property
    def error(self) -> str:
        """What is wrong with the file on disk, where it is not what is in force."""
        return self.watcher.error if self.watcher is not None else ""

    def _apply(self, contents: Contents) -> None:
        assert self.path is not None
        self.routes = parse(self.path, contents[0])
        if self._kept is not None:  # another worker may be reading it
            write_whole(self._kept, contents[0])


def parse(path: Path, content: bytes) -> Routes:
    """Raises ReloadError, one line that names the file."""
    try:
        return schema.parse(content.decode())
    except UnicodeDecodeError as error:
        raise ReloadError(f"{path}: not UTF-8 ({error.reason})") from error
    except schema.RoutesError as error:
        raise ReloadError(f"{path}: {error}") from error

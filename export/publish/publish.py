"""A version is staged in a hidden sibling and appears by one rename: a reader sees all of it or none."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from export.errors import ExportError
from service.repository import checksums as contents
from service.repository import staging as stages


@contextmanager
def staging(repository: Path, name: str) -> Iterator[Path]:
    """An empty folder `<repository>/<name>/.staging-…` that is gone after the block unless published.

    First clears what killed exporters left. Raises ExportError where the repository cannot be written.
    """
    home = repository / name
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(stages.staging(home))
        except OSError as error:
            raise ExportError(f"the model repository {home} cannot be written: {error.strerror}") from error
        yield folder


def publish(folder: Path, finish: Callable[[int], None]) -> int:
    """Renames a staged folder to the next whole number beside it, with a list of its files, and returns that number.

    `finish(version)` writes what depends on the number; it runs again where another exporter was faster.
    Everything is on disk before the name is. Raises OSError where the disk refuses.
    """

    def finished(version: int) -> None:
        finish(version)
        contents.write(folder)

    return stages.publish_next(folder, finished)

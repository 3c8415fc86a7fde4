"""A client that disconnects ends the work for its request: the connection says so, and no task has to watch it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import Cancelled


class Disconnect:
    """Of one request. Owns whether its client has gone, and the task to cancel then."""

    def __init__(self) -> None:
        self._lost = False
        self._task: asyncio.Task[object] | None = None

    def set_lost(self) -> None:
        """Called by the connection."""
        self._lost = True
        if self._task is not None:
            self._task.cancel()

    @contextmanager
    def cancels_task(self) -> Iterator[None]:
        """What runs inside is cancelled with the connection. Raises Cancelled then."""
        task = self._task = asyncio.current_task()
        assert task is not None
        if self._lost:
            task.cancel()
        try:
            yield
        except asyncio.CancelledError:
            if self._lost and task.uncancel() == 0:  # by us, and by nobody else
                raise Cancelled("the client went away") from None
            raise
        finally:
            self._task = None

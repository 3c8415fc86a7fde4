"""The memory of decoding: one budget for all requests. An image that needs more than is free waits."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import TooLarge


class DecodingMemory:
    """Owns the budget, in bytes. Threads wait in order, so that small images do not starve a large one."""

    def __init__(self, total: int) -> None:
        self._total = self._free = total
        self._line = threading.Lock()
        self._changed = threading.Condition()

    @contextmanager
    def share(self, size: int) -> Iterator[None]:
        """Holds `size` bytes once they are free. Raises TooLarge where `size` exceeds the whole budget."""
        if size > self._total:
            raise TooLarge(
                f"the image takes {size / 1e6:.0f} MB to decode; the limit is {self._total / 1e6:.0f} MB, so send a "
                "smaller one",
                max_decoding_mb=self._total // 10**6,
            )
        with self._line, self._changed:
            self._changed.wait_for(lambda: self._free >= size)
            self._free -= size
        try:
            yield
        finally:
            with self._changed:
                self._free += size
                self._changed.notify_all()

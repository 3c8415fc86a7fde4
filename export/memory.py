"""Memory that nothing uses any more, given back to the system."""

import ctypes
import gc
from contextlib import suppress


def release_memory() -> None:
    """Collects cycles and returns what malloc keeps for later, where the C library can (glibc).

    A graph with its weights is freed in pieces: after ResNet50 was frozen malloc held 0.9 GB that nothing used.
    """
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)

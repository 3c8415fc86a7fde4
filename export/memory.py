"""Memory that nothing uses any more, given back to the system."""

import gc

from service.host import processes


def release_memory() -> None:
    """Collects cycles and returns what malloc keeps for later, where the C library can (glibc).

    A graph with its weights is freed in pieces: after ResNet50 was frozen malloc held 0.9 GB that nothing used.
    """
    gc.collect()
    processes.release_memory()

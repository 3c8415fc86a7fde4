"""Who computes gives way to who talks: where cores are busy, the event loop runs as soon as it has something to do.

Without it each hand-over between the loop and a model's threads waits for a core, and a small model for the loop.
"""

import os
import threading
from contextlib import suppress

_NICE = 5


def give_way() -> None:
    """Lowers the priority of the thread that calls it; for threads that compute for milliseconds at a time."""
    with suppress(OSError, AttributeError):  # a system without priorities of threads
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)

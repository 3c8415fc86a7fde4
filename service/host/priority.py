"""Priorities of threads: on busy cores the event loop runs before the threads that compute.

Otherwise each hand-over between the loop and a model's threads waits for a core.
"""

import os
import threading
from contextlib import suppress

_NICE = 5


def give_way() -> None:
    """Lowers the calling thread's priority; for threads that compute for milliseconds at a time."""
    with suppress(OSError, AttributeError):  # a system without priorities of threads
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, max(_NICE, os.getpriority(os.PRIO_PROCESS, thread)))

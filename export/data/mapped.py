"""Large arrays in unnamed files on disk: as large as the disk allows, and no larger in memory than what is in use."""

import math
import os
import tempfile
from typing import Any

import numpy as np

from export.data.scratch import release_pages
from export.errors import ExportError


def allocate(what: str, shape: tuple[int, ...], dtype: Any) -> Any:
    """An array in an unnamed file in TMPDIR, which goes with it.

    Raises ExportError that calls its contents `what` where the file does not fit.
    """
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the map below keeps it for as long as it is used
    try:
        if hasattr(os, "posix_fallocate"):  # else a full disk ends the process (SIGBUS) once it is written to
            os.posix_fallocate(file.fileno(), 0, max(1, math.prod(shape) * np.dtype(dtype).itemsize))
        return np.memmap(file, dtype, "w+", shape=shape)
    except OSError as error:
        raise ExportError(
            f"{what} do not fit in {tempfile.gettempdir()}: {error.strerror}; set TMPDIR to a larger disk"
        ) from error


def read_rows(array: Any, rows: Any) -> Any:
    """A copy of these rows (indices or a slice), of any array."""
    chosen = np.array(array[rows])
    release_pages(array)
    return chosen

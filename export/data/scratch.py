"""Pixels of many images in an unnamed file that the system pages: a folder of images may exceed memory."""

import errno
import mmap
import os
import tempfile
from contextlib import suppress
from typing import Any

import numpy as np

from export.errors import ExportError
from service.plurals import format_items


class PixelFile:
    """Owns a file of N images, uint8 [size, size, 3] each, in TMPDIR; it is gone once nothing maps it any more.

    Written and not mapped while it is filled, so that pages of the file are never this process's memory.
    """

    def __init__(self, rows: int, size: int) -> None:
        """Reserves all of the disk. Raises ExportError, with what is needed, where it is not there."""
        self.size = size
        self._rows, self._shape = rows, (size, size, 3)
        self._row_bytes = size * size * 3
        try:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - the map keeps it for as long as it is used
            self._reserve()
        except OSError as error:
            raise ExportError(
                f"{format_items(rows, 'image')} at {size}x{size} take {self.file_bytes / 1e6:,.0f} MB of "
                f"{tempfile.gettempdir()}: "
                f"{error.strerror}; set TMPDIR to a larger disk, or choose a smaller --image-size"
            ) from error

    @property
    def file_bytes(self) -> int:
        return self._rows * self._row_bytes

    def write(self, row: int, pixels: Any) -> None:
        os.pwrite(self._file.fileno(), np.ascontiguousarray(pixels, np.uint8).data, row * self._row_bytes)

    def permute(self, order: Any) -> None:
        """Row i becomes what row `order[i]` was, in place; `order` has every row once."""
        done = np.zeros(self._rows, bool)
        for start in range(self._rows):
            if done[start] or order[start] == start:
                continue
            kept, at = self._read(start), start
            while order[at] != start:
                self._write_bytes(at, self._read(int(order[at])))
                done[at] = True
                at = int(order[at])
            self._write_bytes(at, kept)
            done[at] = True

    def map(self, rows: int) -> Any:
        """The first `rows` images, uint8 [rows, size, size, 3], read-only."""
        return np.memmap(self._file, np.uint8, "r", shape=(rows, *self._shape))

    def _reserve(self) -> None:
        # A sparse file would end the process (SIGBUS) where the disk is full once it is written.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self._file.fileno(), 0, self.file_bytes)
        elif os.statvfs(tempfile.gettempdir()).f_bavail * os.statvfs(tempfile.gettempdir()).f_frsize < self.file_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        else:
            self._file.truncate(self.file_bytes)

    def _read(self, row: int) -> bytes:
        return os.pread(self._file.fileno(), self._row_bytes, row * self._row_bytes)

    def _write_bytes(self, row: int, data: bytes) -> None:
        os.pwrite(self._file.fileno(), data, row * self._row_bytes)


def release_pages(images: Any) -> None:
    """Gives back memory that reading mapped images took in this process; they stay in the system's cache.

    Nothing happens to arrays that are mapped from no file.
    """
    mapped = getattr(images, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        with suppress(ValueError, OSError):  # closed meanwhile
            mapped.madvise(mmap.MADV_DONTNEED)

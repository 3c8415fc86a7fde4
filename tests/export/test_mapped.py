"""Arrays on disk: what was written is there after memory was released, and a full disk is an error, not a signal."""

from pathlib import Path

import numpy as np
import pytest

from export.data import mapped
from export.errors import ExportError


def resident_kilobytes() -> int:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssFile"].split()[0]) + int(fields["RssShmem"].split()[0])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux' procfs")
def test_what_is_released_leaves_memory_and_keeps_its_numbers() -> None:
    array = mapped.allocate("rows", (64, 1 << 20), np.uint8)
    before = resident_kilobytes()
    array[:] = np.arange(64, dtype=np.uint8)[:, None]
    assert resident_kilobytes() > before + 30_000
    part = array[10:]
    rows = mapped.read_rows(part, [3, 5])
    assert resident_kilobytes() < before + 10_000
    np.testing.assert_array_equal(rows[:, 0], [13, 15])
    np.testing.assert_array_equal(array[:, -1], np.arange(64))


def test_rows_of_other_arrays_are_copied() -> None:
    array = np.arange(6)
    rows = mapped.read_rows(array, slice(2, 4))
    rows[:] = 0
    np.testing.assert_array_equal(array, np.arange(6))


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(ExportError, match=r"7 images do not fit in .*set TMPDIR to a larger disk"):
        mapped.allocate("7 images", (7, 1 << 50), np.uint8)

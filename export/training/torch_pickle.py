"""The tensors in a PyTorch file of before 1.6 ("legacy"), read without PyTorch and without running what it names.

Five pickles (magic number, protocol, machine, tensors, keys of their storages) with each storage's numbers behind them:
torch/serialization.py, `_legacy_save`.
"""

import pickle
import struct
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from export.data.names import escape
from export.errors import ExportError

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_COUNT = struct.Struct("<q")

_DTYPES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8"}

_BROKEN = (
    pickle.UnpicklingError, AttributeError, EOFError, ImportError, IndexError, KeyError, OSError, OverflowError,
    TypeError, ValueError, struct.error,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Storage:
    key: str
    dtype: str
    count: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A view of a storage: its first element's place, sizes, and how many elements a step of each axis skips."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def read(self, numbers: NDArray[Any]) -> NDArray[Any]:
        last = self.offset + sum((size - 1) * step for size, step in zip(self.shape, self.strides, strict=True))
        if min(self.offset, *self.shape, *self.strides, 0) < 0 or last >= len(numbers):
            raise ValueError("a tensor reaches beyond its storage")
        strides = tuple(step * numbers.itemsize for step in self.strides)
        return np.lib.stride_tricks.as_strided(numbers[self.offset :], self.shape, strides, writeable=False).copy()


class _Unpickler(pickle.Unpickler):
    """Builds tensors and nothing else: any other name in the file is refused, so that no code of it runs."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: _Tensor(storage, offset, tuple(shape), tuple(strides))
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is no part of a tensor")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, count, view = pid
        if kind != "storage" or view is not None:
            raise pickle.UnpicklingError("it holds a storage of an unknown kind")
        return _Storage(key, dtype, count)


def read(path: Path) -> Mapping[str, NDArray[Any]]:
    """Name -> array, in the file's order. Raises ExportError where it is no such file."""
    try:
        with path.open("rb") as file:
            if _Unpickler(file).load() != _MAGIC or _Unpickler(file).load() != _PROTOCOL:
                raise pickle.UnpicklingError("it does not begin as such a file does")
            if not _Unpickler(file).load()["little_endian"]:
                raise pickle.UnpicklingError("its numbers are big-endian")
            tensors: Mapping[str, _Tensor] = _Unpickler(file).load()
            storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
            numbers = {key: _read_storage(file, storages[key]) for key in _Unpickler(file).load()}
            return {name: tensor.read(numbers[tensor.storage.key]) for name, tensor in tensors.items()}
    except _BROKEN as error:
        raise ExportError(f"{escape(path)} is not a readable file of PyTorch tensors: {error}") from error


def _read_storage(file: BinaryIO, storage: _Storage) -> NDArray[Any]:
    (count,) = _COUNT.unpack(file.read(_COUNT.size))
    if count != storage.count:
        raise ValueError(f"a storage of {storage.count} numbers holds {count}")
    numbers = np.frombuffer(file.read(count * np.dtype(storage.dtype).itemsize), storage.dtype)
    if len(numbers) != count:
        raise ValueError("it ends early")
    return numbers

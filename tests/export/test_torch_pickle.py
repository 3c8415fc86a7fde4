"""PyTorch's older files: tensors are read as they lie, and nothing that a file names is run."""

import io
import pickle
import struct
import sys
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from export.errors import ExportError
from export.training import torch_pickle

MAGIC, PROTOCOL, MACHINE = 0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}


class Stored:
    """A tensor as PyTorch pickles one: a call of its function by name."""

    def __init__(self, numbers: Any, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
        self.numbers = numbers
        self.arguments: tuple[Any, ...] = (offset, shape, strides, False, OrderedDict())

    def __reduce__(self) -> Any:
        return sys.modules["torch._utils"]._rebuild_tensor_v2, (Storage(self.numbers), *self.arguments)


class Storage:
    def __init__(self, numbers: Any) -> None:
        self.numbers = numbers


@pytest.fixture(autouse=True)
def names_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules by PyTorch's names, so that a file can be written that names them."""
    torch, utils = ModuleType("torch"), ModuleType("torch._utils")
    for module, name in ((torch, "FloatStorage"), (torch, "LongStorage"), (utils, "_rebuild_tensor_v2")):
        made = type(name, (), {"__module__": module.__name__, "__qualname__": name})
        setattr(module, name, made)
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


def write(path: Path, tensors: dict[str, Any], magic: int = MAGIC) -> Path:
    storages: dict[str, Any] = {}

    class Pickler(pickle.Pickler):
        def persistent_id(self, found: Any) -> Any:
            if not isinstance(found, Storage):
                return None
            kind = "LongStorage" if found.numbers.dtype == np.int64 else "FloatStorage"
            key = str(id(found.numbers))
            storages[key] = found.numbers
            return "storage", getattr(sys.modules["torch"], kind), key, "cpu", found.numbers.size, None

    file = io.BytesIO()
    for each in (magic, PROTOCOL, MACHINE):
        pickle.dump(each, file, 2)
    Pickler(file, 2).dump(OrderedDict(tensors))
    pickle.dump(sorted(storages), file, 2)
    for key in sorted(storages):
        file.write(struct.pack("<q", storages[key].size) + storages[key].tobytes())
    path.write_bytes(file.getvalue())
    return path


def test_strides_and_offsets_are_honoured(tmp_path: Path) -> None:
    numbers = np.arange(10, dtype=np.float32)
    tensors = {
        "rows": Stored(numbers, 0, (2, 3), (3, 1)),
        "columns": Stored(numbers, 1, (2, 3), (1, 2)),
        "count": Stored(np.array([7]), 0, (), ()),
    }
    found = torch_pickle.read(write(tmp_path / "x.pth", tensors))
    assert list(found) == ["rows", "columns", "count"]
    np.testing.assert_array_equal(found["rows"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(found["columns"], [[1, 3, 5], [2, 4, 6]])
    assert found["count"] == 7 and found["count"].dtype == np.int64


class Hostile:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


def test_nothing_that_a_file_names_is_run(tmp_path: Path) -> None:
    file = write(tmp_path / "x.pth", {"weight": Hostile(tmp_path / "ran")})
    with pytest.raises(ExportError, match=r"it names .*, which is no part of a tensor"):
        torch_pickle.read(file)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "tensor",
    [
        (0, (2, 3), (4, 1)),
        (6, (2,), (1,)),
        (-1, (2,), (1,)),
        (0, (2,), (-1,)),
    ],
    ids=["strides", "offset", "before", "backwards"],
)
def test_a_tensor_beyond_its_storage_is_refused(tmp_path: Path, tensor: Any) -> None:
    with pytest.raises(ExportError, match="beyond its storage"):
        torch_pickle.read(write(tmp_path / "x.pth", {"weight": Stored(np.zeros(6, np.float32), *tensor)}))


def test_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "x.pth", {"weight": Stored(np.zeros(6, np.float32), 0, (6,), (1,))})
    data = whole.read_bytes()
    write(tmp_path / "other.pth", {}, magic=1)
    for name, content in (("cut.pth", data[:-4]), ("early.pth", data[:60]), ("text.pth", b"nonsense"), ("no.pth", b"")):
        (tmp_path / name).write_bytes(content)
    for name in ("cut.pth", "early.pth", "text.pth", "no.pth", "other.pth", "gone.pth"):
        with pytest.raises(ExportError, match=f"{name} is not a readable file of PyTorch tensors: "):
            torch_pickle.read(tmp_path / name)

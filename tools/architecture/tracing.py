"""`python -m tools.architecture.tracing FILE IMAGE FLAGS...`: the service, with a record of where one image goes.

A profile function looks at the locals of every function of `service/` that is called or returns, in all threads. The
first time that a file holds the image, encoded or as pixels, is one line of JSON in FILE.
"""

import dataclasses
import functools
import json
import runpy
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import numpy as np

from tools.architecture.packages import ROOT

_SERVICE = f"{ROOT / 'service'}/"
_DEPTH = 4
"""How many containers inside of one another are looked into: a message, its fields, a list, an array."""


class ImageTrace:
    """Which files of the service have held the image. It writes each once, when it first does."""

    def __init__(self, image: bytes, out: TextIO) -> None:
        self._image, self._out = image, out
        self._arrived = False
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    def install(self) -> None:
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)

    def _profile(self, frame: FrameType, event: str, result: Any) -> None:
        if event in ("call", "return") and frame.f_code.co_filename.startswith(_SERVICE):
            callers = []
            caller: FrameType | None = frame
            while caller is not None:
                if caller.f_code.co_filename.startswith(_SERVICE):
                    callers.append(caller)
                caller = caller.f_back
            for each in reversed(callers):  # whoever hands the image on had it first
                self._look(each, result if each is frame else None)

    def _look(self, frame: FrameType, result: Any) -> None:
        path = frame.f_code.co_filename.removeprefix(_SERVICE)
        if path in self._seen:
            return
        values = [value for name, value in frame.f_locals.items() if name not in ("self", "cls")]
        if (form := self._find([*values, result], _DEPTH)) is not None:
            with self._lock:
                if path not in self._seen:
                    self._seen.add(path)
                    function = frame.f_code.co_qualname.partition(".<locals>")[0]
                    line = {"file": f"service/{path}", "function": function, "form": form}
                    print(json.dumps(line), file=self._out, flush=True)

    def _find(self, values: Iterable[Any], depth: int) -> str | None:
        """What the image is among these values, "bytes" or "pixels", or None."""
        for value in values:
            if isinstance(value, bytes | bytearray | memoryview):
                if self._image in bytes(value):
                    self._arrived = True
                    return "bytes"
            # One request is under way: from its arrival on, an array of three dimensions and more is its image.
            elif isinstance(value, np.ndarray) and self._arrived and value.ndim >= 3:
                return "pixels"
            if depth and (form := self._find(_open_container(value), depth - 1)) is not None:
                return form
        return None


def _open_container(value: Any) -> Iterable[Any]:
    """What lies directly in a container; nothing where it is none."""
    if isinstance(value, np.ndarray):
        return list(value.ravel()) if value.dtype == object else []
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, functools.partial):
        return [*value.args, *value.keywords.values()]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name, None) for field in dataclasses.fields(value)]
    return []


def main() -> None:
    file, image, *flags = sys.argv[1:]
    sys.argv = ["service", *flags]
    with Path(file).open("w") as out:
        ImageTrace(Path(image).read_bytes(), out).install()
        runpy.run_module("service", run_name="__main__", alter_sys=False)


if __name__ == "__main__":
    main()

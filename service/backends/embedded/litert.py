"""LiteRT (XNNPACK) runs `model.tflite`: fast on CPUs, without TensorFlow in the process."""

import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from service.backends.batch_sharing import find_mismatch
from service.backends.embedded.threads import Threads, run_timed
from service.errors import BackendFailed, InvalidInput, ServiceError
from service.observability import logs
from service.repository.manifest import STRING, Signature, TensorSpec
from service.types import DEFAULT_SIGNATURE, Tensors

_introduced = threading.Event()
"""Set once LiteRT has named its delegate on stderr, which it does once a process."""

LARGEST_RUN = 4  # rows; more gain nothing, except in tiny networks, and need memory for their activations (measured)
_MOST_KEPT = 4096  # characters of errors, all of which an interpreter keeps, after which it is made anew
_MOST_TEXT = 200  # characters of one error
_INVOKED = "failed to invoke"  # TFLite's words for a failure in an operation, not in preparing its inputs


@dataclass(frozen=True, slots=True)
class Layout:
    """How the cores are shared out: `lanes` interpreters that each use `threads` threads."""

    lanes: int
    threads: int


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model file, read once for all of its lanes.

    LiteRT would map a file that it is given by path. A mapped file that is overwritten or cut short changes answers, or
    ends the process with SIGBUS.
    """

    path: Path
    content: bytes

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises ValueError where it cannot be read, or is empty."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror}") from error
        if not content:
            raise ValueError(f"{path} is empty: it is still being copied, or was damaged")
        return cls(path, content)


class Lane:
    """One interpreter; one call at a time."""

    def __init__(self, model: ModelFile, threads: int) -> None:
        """Raises ValueError, naming the file, where it is no TFLite model."""
        self._model, self._threads = model, threads
        self._make()
        self.signatures = self._read_signatures()

    def call(self, signature: str, inputs: Tensors, in_parts: bool = True) -> Tensors:
        """Outputs by alias. Raises InvalidInput or BackendFailed.

        With `in_parts` a large batch goes in runs of `LARGEST_RUN`: an interpreter never gives back the memory of its
        largest one. It goes whole where the parts' outputs turn out not to have its rows.
        """
        self._check(signature, inputs)
        rows = {array.shape[0] if array.ndim else 1 for array in inputs.values()}
        if not in_parts or max(rows, default=1) <= LARGEST_RUN or len(rows) > 1:
            return self._invoke(signature, inputs)
        parts = []
        for start in range(0, count := rows.pop(), LARGEST_RUN):
            part = {alias: array[start : start + LARGEST_RUN] for alias, array in inputs.items()}
            parts.append(self._invoke(signature, part))
            if find_mismatch(parts[-1], min(LARGEST_RUN, count - start)):
                return self._invoke(signature, inputs)
        return {alias: np.concatenate([part[alias] for part in parts]) for alias in parts[0]}

    def _make(self) -> None:
        try:
            self._interpreter = Interpreter(model_content=self._model.content, num_threads=self._threads)
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"{self._model.path} is not a TFLite model, or only half of one: {error}") from error
        if not _introduced.is_set():
            with logs.native_lines(), suppress(RuntimeError):  # some models fail without a request's shapes
                self._interpreter.allocate_tensors()
            _introduced.set()
        # A signature runner takes as long to make as a small network takes to run.
        self._by_signature = {
            name: self._interpreter.get_signature_runner(name) for name in self._interpreter.get_signature_list()
        }
        self._kept_errors = ""  # each error text of an interpreter begins with those before it

    def _read_signatures(self) -> dict[str, Signature]:
        if not self._by_signature:
            inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
            return {
                DEFAULT_SIGNATURE: Signature(
                    {_alias(detail): _spec(detail) for detail in inputs},
                    {_alias(detail): _spec(detail) for detail in outputs},
                )
            }
        return {
            name: Signature(_specs(runner.get_input_details()), _specs(runner.get_output_details()))
            for name, runner in self._by_signature.items()
        }

    def _check(self, signature: str, inputs: Tensors) -> None:
        """Raises InvalidInput where a shape is not the declared one; dim 0 is resized, as TensorFlow Serving does."""
        for alias, array in inputs.items():
            spec = self.signatures[signature].inputs[alias]
            if not array.size:  # TFLite would answer without any rows
                raise InvalidInput(f"input {alias!r} has no values: its shape is {list(array.shape)}", input=alias)
            # Old converters write 1 for any size, and no sizes for any rank: then the interpreter decides.
            if spec.shape and (None in spec.shape or 1 not in spec.shape[1:]):
                TensorSpec(spec.dtype, (None, *spec.shape[1:])).check_shape(alias, array.shape)

    def _invoke(self, signature: str, inputs: Tensors) -> Tensors:
        try:
            if self._by_signature:
                result: Tensors = self._by_signature[signature](**inputs)
                return result
            return self._invoke_by_name(inputs)
        except ValueError as error:
            raise InvalidInput(f"the model refused its input: {str(error)[:_MOST_TEXT]}") from error
        except RuntimeError as error:
            raise self._failure(str(error)) from None  # the log would have the whole of it

    def _failure(self, text: str) -> ServiceError:
        """The error that a RuntimeError with `text` means. Makes the interpreter anew if it failed in the middle of a
        run, or keeps too much text.
        """
        error, self._kept_errors = text.removeprefix(self._kept_errors), text
        failed = _INVOKED in error
        if failed or len(text) > _MOST_KEPT:
            self._make()
        if failed:
            return BackendFailed(f"LiteRT failed: {error[:_MOST_TEXT]}")
        return InvalidInput(f"the model refused the shape of its input: {error[:_MOST_TEXT]}")

    def _invoke_by_name(self, inputs: Tensors) -> Tensors:
        """For a file without signatures: tensors go by name, resized to the request as TensorFlow Serving does."""
        interpreter = self._interpreter
        details = {_alias(detail): detail["index"] for detail in interpreter.get_input_details()}
        for alias, array in inputs.items():
            interpreter.resize_tensor_input(details[alias], array.shape)
        interpreter.allocate_tensors()
        for alias, array in inputs.items():
            interpreter.set_tensor(details[alias], array)
        interpreter.invoke()
        return {_alias(detail): interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()}


class LiteRTRunner:
    """A pool of lanes over one model.

    Any batch size runs on any lane: with XNNPACK a new batch size costs a reshape, not a
    repacking of weights (measured: no difference between one size repeated and sizes in turn).
    """

    def __init__(self, model: ModelFile, layout: Layout, made: Mapping[int, Lane] | None = None) -> None:
        """`made` are lanes that exist already, by their threads.

        Raises ValueError, naming the file, where it is no TFLite model.
        """
        ready: dict[int, Lane | None] = dict(made or {})
        lanes = [ready.pop(layout.threads, None) or Lane(model, layout.threads) for _ in range(layout.lanes)]
        self.slots = layout.lanes
        self.signatures = lanes[0].signatures
        self._whole = {name for name, signature in self.signatures.items() if signature.fixed}
        self._free: SimpleQueue[Lane] = SimpleQueue()
        for lane in lanes:
            self._free.put(lane)
        self._threads = Threads(layout.lanes)

    def keep_whole(self, signatures: Iterable[str]) -> None:
        """Never splits batches of these signatures: their rows depend on each other."""
        self._whole |= set(signatures)

    async def run(self, signature: str, inputs: Tensors, outputs: tuple[str, ...], timeout: float | None) -> Tensors:
        return await self._threads.run(run_timed, self.call, signature, inputs)

    def call(self, signature: str, inputs: Tensors) -> Tensors:
        """`run` for a thread that may block."""
        lane = self._free.get()
        try:
            return lane.call(signature, inputs, signature not in self._whole)
        finally:
            self._free.put(lane)

    async def close(self) -> None:
        await self._threads.close()
        while not self._free.empty():
            self._free.get()


def _specs(details: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {alias: _spec(detail) for alias, detail in details.items()}


def _spec(detail: Mapping[str, Any]) -> TensorSpec:
    dtype = np.dtype(detail["dtype"])
    name = STRING if dtype.kind in "SO" else dtype.name
    return TensorSpec(name, tuple(None if size < 0 else int(size) for size in detail["shape_signature"]))


def _alias(detail: Mapping[str, Any]) -> str:
    return str(detail["name"]).removesuffix(":0")

"""LiteRT (XNNPACK) runs `model.tflite`: the fast way on CPUs, and no TensorFlow in the process."""

import asyncio
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from service.backends.base import run_timed
from service.errors import BackendFailed, InvalidInput
from service.manifest import STRING, Signature, TensorSpec
from service.messages import DEFAULT_SIGNATURE, Tensors
from service.priority import give_way

LARGEST_RUN = 8  # more gain no speed on a CPU (measured), and every one needs its activations in memory


@dataclass(frozen=True, slots=True)
class Layout:
    """How the cores are shared out: `lanes` interpreters that each use `threads` threads."""

    lanes: int
    threads: int


class Lane:
    """One interpreter of a memory-mapped model file; one call at a time."""

    def __init__(self, path: Path, threads: int) -> None:
        """Raises ValueError, naming the file, where it is no TFLite model."""
        try:
            self._interpreter = Interpreter(model_path=os.fspath(path), num_threads=threads)
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"{path} is not a TFLite model, or only half of one: {error}") from error
        # Making one takes as long as a small network does.
        self._by_signature = {
            name: self._interpreter.get_signature_runner(name) for name in self._interpreter.get_signature_list()
        }

    @property
    def signatures(self) -> dict[str, Signature]:
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

    def call(self, signature: str, inputs: Tensors) -> Tensors:
        """Outputs by alias. Raises InvalidInput or BackendFailed.

        A large batch goes in runs of `LARGEST_RUN`: an interpreter never gives back the memory of its largest one.
        """
        rows = {array.shape[0] if array.ndim else 1 for array in inputs.values()}
        if max(rows, default=1) <= LARGEST_RUN or len(rows) > 1:
            return self._invoke(signature, inputs)
        parts = [
            self._invoke(signature, {alias: array[start : start + LARGEST_RUN] for alias, array in inputs.items()})
            for start in range(0, rows.pop(), LARGEST_RUN)
        ]
        return {alias: np.concatenate([part[alias] for part in parts]) for alias in parts[0]}

    def _invoke(self, signature: str, inputs: Tensors) -> Tensors:
        try:
            if self._by_signature:
                result: Tensors = self._by_signature[signature](**inputs)
                return result
            return self._invoke_by_name(inputs)
        except ValueError as error:
            raise InvalidInput(f"the model refused its input: {error}") from error
        except RuntimeError as error:
            raise BackendFailed(f"LiteRT failed: {error}") from error

    def _invoke_by_name(self, inputs: Tensors) -> Tensors:
        """For a file without signatures: tensors go by name, resized to the request as TensorFlow Serving does."""
        interpreter = self._interpreter
        details = {_alias(detail): detail["index"] for detail in interpreter.get_input_details()}
        try:
            for alias, array in inputs.items():
                interpreter.resize_tensor_input(details[alias], array.shape)
            interpreter.allocate_tensors()
        except RuntimeError as error:
            raise InvalidInput(f"the model refused the shape of its input: {error}") from error
        for alias, array in inputs.items():
            interpreter.set_tensor(details[alias], array)
        interpreter.invoke()
        return {_alias(detail): interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()}


class LiteRTRunner:
    """A pool of lanes over one model file.

    Any batch size runs on any lane: with XNNPACK a new batch size costs a reshape, not a
    repacking of weights (measured: no difference between one size repeated and sizes in turn).
    """

    def __init__(self, path: Path, layout: Layout, made: Mapping[int, Lane] | None = None) -> None:
        """`made` are lanes there already, by their threads.

        Raises ValueError, naming the file, where it is no TFLite model.
        """
        there: dict[int, Lane | None] = dict(made or {})
        lanes = [there.pop(layout.threads, None) or Lane(path, layout.threads) for _ in range(layout.lanes)]
        self.slots = layout.lanes
        self.signatures = lanes[0].signatures
        self._free: SimpleQueue[Lane] = SimpleQueue()
        for lane in lanes:
            self._free.put(lane)
        self._pool = ThreadPoolExecutor(layout.lanes, thread_name_prefix="litert", initializer=give_way)

    async def run(self, signature: str, inputs: Tensors, outputs: tuple[str, ...], timeout: float | None) -> Tensors:
        return await asyncio.get_running_loop().run_in_executor(self._pool, run_timed, self.call, signature, inputs)

    def call(self, signature: str, inputs: Tensors) -> Tensors:
        """`run`, for a thread that may block."""
        lane = self._free.get()
        try:
            return lane.call(signature, inputs)
        finally:
            self._free.put(lane)

    async def close(self) -> None:
        await asyncio.to_thread(self._pool.shutdown)
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

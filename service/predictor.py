"""The one object both edges know: admit, resolve, decode, batch, time."""

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from service import images
from service.catalog import Catalog
from service.errors import Code, DeadlineExceeded, InvalidInput, Overloaded, ServiceError
from service.failures import FailureLog
from service.manifest import CLASSES, Manifest, Preprocessing, Signature
from service.messages import (
    DEFAULT_SIGNATURE,
    ModelRef,
    PredictRequest,
    PredictResult,
    Tensors,
    Timings,
    strings,
)
from service.metrics import Metrics
from service.servable import Servable, Status


@dataclass(frozen=True, slots=True)
class Limits:
    max_pixels: int
    max_in_flight: int


class Predictor:
    """Owns nothing but the decoding threads and the count of requests under way."""

    def __init__(self, catalog: Catalog, metrics: Metrics, limits: Limits, decode_threads: int) -> None:
        self._catalog, self._metrics, self._limits = catalog, metrics, limits
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(decode_threads, thread_name_prefix="decode")
        self._failures = FailureLog()
        self._in_flight = 0
        self._draining = False

    async def predict(self, request: PredictRequest, protocol: str) -> PredictResult:
        """The answer of the version that `request.ref` means. Raises ServiceError; a cancelled call leaves no trace
        in any batch. `protocol` ("http", "grpc") is for the metrics.
        """
        started = time.monotonic()
        resolved: ModelRef | None = None
        self._metrics.started()
        self._in_flight += 1
        try:
            self._admit()
            async with asyncio.timeout(None if request.deadline is None else request.deadline - started):
                await self._catalog.look_for(request.ref.name)
                with self._catalog.lease(request.ref) as servable:
                    resolved = servable.ref
                    result = await self._answer(servable, request)
        except ServiceError as error:
            self._failed(protocol, error, request.ref, resolved)
            raise
        except TimeoutError as cause:
            late = DeadlineExceeded("the deadline passed before the model answered")
            self._failed(protocol, late, request.ref, resolved)
            raise late from cause
        except BaseException as error:
            cancelled = isinstance(error, asyncio.CancelledError)
            self._metrics.failed(protocol, "CANCELLED" if cancelled else Code.BACKEND, resolved)
            raise
        finally:
            self._in_flight -= 1
        result = replace(result, timings=replace(result.timings, total=time.monotonic() - started))
        self._metrics.succeeded(protocol, result)
        return result

    async def describe(self, ref: ModelRef) -> Manifest:
        """Raises NotFound or NotReady."""
        await self._catalog.look_for(ref.name)
        with self._catalog.lease(ref) as servable:
            return servable.manifest

    async def statuses(self, name: str) -> list[Status]:
        """Every version ever seen of a model, newest first. Raises NotFound."""
        await self._catalog.look_for(name)
        return self._catalog.statuses(name)

    def available(self) -> Mapping[str, list[int]]:
        """Model name -> versions that answer, newest first."""
        return self._catalog.available()

    @property
    def trouble(self) -> str:
        """Why no new traffic should come here; empty where it should."""
        return "shutting down" if self._draining else self._catalog.trouble

    def drain(self) -> None:
        """Readiness goes; requests are still answered until the edges close."""
        self._draining = True

    @property
    def draining(self) -> bool:
        return self._draining

    def close(self) -> None:
        self._threads.shutdown()

    def _failed(self, protocol: str, error: ServiceError, asked: ModelRef, resolved: ModelRef | None) -> None:
        self._metrics.failed(protocol, error.code, resolved)
        self._failures.record(asked, error)

    def _admit(self) -> None:
        if self._in_flight > self._limits.max_in_flight:
            raise Overloaded(f"{self._limits.max_in_flight} requests are under way already; ask again later")

    async def _answer(self, servable: Servable, request: PredictRequest) -> PredictResult:
        manifest = servable.manifest
        call = await self._prepare(manifest, request)
        answer = await servable.batcher.submit(
            call.signature, call.inputs, call.outputs, shared=call.shared, deadline=request.deadline
        )
        timings = Timings(decode=call.decode, queue=answer.queue, compute=answer.compute)
        outputs = _complete(manifest, request, answer.outputs)
        return PredictResult(servable.ref, request.signature or DEFAULT_SIGNATURE, outputs, manifest.labels, timings)

    async def _prepare(self, manifest: Manifest, request: PredictRequest) -> "_Call":
        """What the model will really be asked: names resolved, images decoded, dtypes and shapes checked."""
        name = request.signature or DEFAULT_SIGNATURE
        signature = manifest.signature(name)
        inputs = _aliased(signature, name, request.inputs)
        if unknown := [alias for alias in request.outputs if alias not in signature.outputs]:
            raise InvalidInput(f"signature {name!r} has no output {unknown[0]!r}; it has {sorted(signature.outputs)}")
        outputs, decode = request.outputs, 0.0
        if recipe := manifest.decodes(name):
            began = time.monotonic()
            inputs = await self._decode(manifest, recipe, signature, inputs)
            decode = time.monotonic() - began
            name, signature = recipe.image_signature, manifest.signature(recipe.image_signature)
            outputs = tuple(alias for alias in outputs if alias in signature.outputs)
        for alias, array in inputs.items():
            spec = signature.inputs[alias]
            if manifest.checked:
                spec.check(alias, array)
            else:  # TensorFlow Serving leaves a foreign graph's shapes to the graph
                spec.check_dtype(alias, array)
        return _Call(name, inputs, outputs, _shared(signature, inputs), decode)

    async def _decode(
        self, manifest: Manifest, recipe: Preprocessing, signature: Signature, inputs: Tensors
    ) -> Tensors:
        ((alias, encoded),) = inputs.items()
        signature.inputs[alias].check(alias, encoded)
        if len(encoded) == 0:
            raise InvalidInput(f"input {alias!r} has no rows; send at least one image")
        pixels = await asyncio.gather(*(self._decode_one(recipe, index, data) for index, data in enumerate(encoded)))
        target = manifest.signature(recipe.image_signature).only_input
        assert target is not None  # our exports have exactly one
        return {target: pixels[0][np.newaxis] if len(pixels) == 1 else np.stack(pixels)}

    async def _decode_one(self, recipe: Preprocessing, index: int, data: bytes) -> images.Pixels:
        try:
            return await self._loop.run_in_executor(
                self._threads, images.decode, data, recipe.height, recipe.width, self._limits.max_pixels
            )
        except ServiceError as error:
            raise type(error)(error.message, row=index, **error.detail) from error


@dataclass(frozen=True, slots=True)
class _Call:
    signature: str
    inputs: Tensors
    outputs: tuple[str, ...]
    shared: bool
    decode: float


def _aliased(signature: Signature, name: str, inputs: Tensors) -> Tensors:
    """The inputs under the signature's own names; a lone one keyed "" is the signature's only one."""
    if set(inputs) == {""} and signature.only_input is not None:
        return {signature.only_input: inputs[""]}
    if set(inputs) != set(signature.inputs):
        raise InvalidInput(f"signature {name!r} takes the inputs {sorted(signature.inputs)}, got {sorted(inputs)}")
    return inputs


def _shared(signature: Signature, inputs: Tensors) -> bool:
    """True where dim 0 of every input counts the rows, so that requests may share a batch."""
    batched = bool(inputs) and all(spec.batched for spec in signature.inputs.values())
    if not batched or any(array.ndim == 0 for array in inputs.values()):
        return False
    rows = {alias: len(array) for alias, array in inputs.items()}
    if 0 in rows.values():
        raise InvalidInput(f"input {min(rows, key=rows.__getitem__)!r} has no rows; send at least one")
    return len(set(rows.values())) == 1


def _complete(manifest: Manifest, request: PredictRequest, outputs: Tensors) -> Tensors:
    """The outputs asked for, in the signature's order; labels are the manifest's where no graph gave them."""
    wanted = request.outputs or tuple(manifest.signature(request.signature).outputs)
    complete = dict(outputs)
    if CLASSES in wanted and CLASSES not in complete:
        rows = len(next(iter(outputs.values())))
        labels = strings([label.encode() for label in manifest.labels])
        complete[CLASSES] = np.broadcast_to(labels, (rows, len(labels)))
    return {alias: complete[alias] for alias in wanted}

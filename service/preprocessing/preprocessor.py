"""From what a caller asks to what a model is run on: names resolved, images decoded, arrays checked.

Models take turns at the decoding threads, so that one with a thousand images waiting does not hold up another's one.
"""

import asyncio
import re
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import numpy as np

from service.errors import InvalidInput, Overloaded, ServiceError, TooLarge, listed
from service.host.fair_queue import Places, Turns
from service.host.priority import give_way
from service.preprocessing import decode as images
from service.preprocessing.limits import MAX_MILLISECONDS, MAX_SIDE
from service.preprocessing.memory import DecodingMemory
from service.preprocessing.resize import Pixels
from service.repository.manifest import CLASSES, Manifest, Preprocessing, Signature
from service.types import DEFAULT_SIGNATURE, Array, PredictRequest, Tensors, strings

_BASE64 = re.compile(rb"\s*(data:[^,]{0,200},|[A-Za-z0-9+/_-]{32})")
_BASE64_HINT = (
    '; it looks like base64: in JSON send {"b64": "..."}, in the Open Inference Protocol with the tensor\'s parameter '
    '"content_type": "base64"; elsewhere the file itself'
)
_NEWEST = 0.05  # weight of the newest image in what one takes
_DEAREST = 20  # images as dear as one may be, that one request may have

_Decoded = tuple[Pixels, float]
"""An image, and the seconds that its decoding took."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`max_rows` bounds one request. `max_pixels`, `max_side` and `max_milliseconds` bound one image, by its header.

    `max_bytes` bounds all that wait to be decoded, encoded; `max_memory` all that are being decoded, in bytes. The
    images of one request may take _DEAREST times `max_milliseconds`.
    """

    max_rows: int
    max_pixels: int
    max_bytes: int
    max_side: int = MAX_SIDE
    max_milliseconds: float = MAX_MILLISECONDS
    max_memory: int = 512 * 10**6


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run of the model. `shared` says that dim 0 counts rows; `decode` is the seconds spent on images."""

    signature: str
    inputs: Tensors
    outputs: tuple[str, ...]
    shared: bool
    decode: float


class Preparation:
    """Owns the decoding threads.

    With one core a second thread decodes no sooner and two switches between threads are lost, so a request's one
    small JPEG is decoded right here.
    """

    def __init__(self, limits: Limits, threads: int) -> None:
        """`threads`: one a core."""
        self._limits = limits
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="decode", initializer=give_way)
        self._memory = DecodingMemory(limits.max_memory)
        self._alone = threads == 1
        self._places = Places(threads)
        self._turns: defaultdict[str, Turns] = defaultdict(lambda: Turns(self._places))
        self._bytes = 0
        self._image = 0.0  # seconds that one takes, lately

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    @property
    def ahead(self) -> float:
        """Seconds that an image which comes now is expected to wait and take."""
        waiting = sum(map(len, self._turns.values()))
        return self._image * (1 + waiting / self._places.places)

    async def prepare(self, manifest: Manifest, request: PredictRequest) -> Prepared:
        """Raises UnknownSignature, InvalidInput or TooLarge."""
        name = request.signature or DEFAULT_SIGNATURE
        signature = manifest.signature(name)
        inputs = _aliased(signature, name, request.inputs)
        _check_outputs(signature, name, request.outputs)
        outputs, decode = request.outputs, 0.0
        if recipe := manifest.decodes(name):
            began = time.monotonic()
            inputs = await self._decode(manifest, recipe, signature, inputs)
            decode = time.monotonic() - began
            name, signature = recipe.image_signature, manifest.signature(recipe.image_signature)
            outputs = tuple(alias for alias in outputs if alias in signature.outputs)
        self._check(manifest, signature, inputs)
        # Sorted: who asks for the same outputs in another order may share the batch.
        return Prepared(name, inputs, tuple(sorted(outputs)), _shared(signature, inputs), decode)

    def _check(self, manifest: Manifest, signature: Signature, inputs: Tensors) -> None:
        for alias, array in inputs.items():
            spec = signature.inputs[alias]
            if manifest.checked:
                spec.check(alias, array)
            elif manifest.definitions:  # a graph, which TensorFlow runs, here or upstream
                spec.check_foreign(alias, array)
            else:  # LiteRT refuses by itself what it cannot take
                spec.check_dtype(alias, array)
            if spec.batched and array.ndim:
                self._check_rows(alias, len(array))

    def _check_rows(self, alias: str, rows: int) -> None:
        if rows == 0:
            raise InvalidInput(f"input {alias!r} has no rows; send at least one")
        if rows > self._limits.max_rows:
            most = self._limits.max_rows
            raise TooLarge(f"input {alias!r} has {rows} rows; send at most {most} in one request", max_rows=most)

    async def _decode(
        self, manifest: Manifest, recipe: Preprocessing, signature: Signature, inputs: Tensors
    ) -> Tensors:
        ((alias, encoded),) = inputs.items()
        signature.inputs[alias].check(alias, encoded)
        self._check_rows(alias, len(encoded))
        size = sum(map(len, encoded))
        if self._bytes and self._bytes + size > self._limits.max_bytes:
            soon = round(1000 * self.ahead, 1)
            raise Overloaded(
                f"{self._bytes / 1e6:.0f} MB of images wait to be decoded; ask again later", retry_after_ms=soon
            )
        self._bytes += size
        turns = self._turns[manifest.name]
        try:
            pixels = await self._pixels(turns, recipe, encoded)
        finally:
            self._bytes -= size
        target = manifest.signature(recipe.image_signature).only_input
        assert target is not None  # our exports have exactly one
        return {target: pixels[0][np.newaxis] if len(pixels) == 1 else np.stack(pixels)}

    async def _pixels(self, turns: Turns, recipe: Preprocessing, encoded: Array) -> list[Pixels]:
        if len(encoded) == 1:
            return [await self._decode_one(turns, recipe, 0, encoded[0], self._alone, _Spent())]
        spent = _Spent()
        rows = [  # never here: several would hold up the event loop
            asyncio.ensure_future(self._decode_one(turns, recipe, row, data, False, spent))
            for row, data in enumerate(encoded)
        ]
        try:
            return await asyncio.gather(*rows)
        finally:
            while rows:  # one bad image fails the request: nobody waits for the others, and none keeps its bytes
                rows.pop().cancel()

    async def _decode_one(
        self, turns: Turns, recipe: Preprocessing, row: int, data: bytes, here: bool, spent: "_Spent"
    ) -> Pixels:
        await turns.take(self._image)
        if spent.seconds > (most := _DEAREST * self._limits.max_milliseconds / 1000):
            turns.leave()
            raise TooLarge(
                f"the images of this request take more than {most:g} s to decode; send fewer in one", row=row
            )
        limits = self._limits.max_pixels, self._limits.max_side, self._limits.max_milliseconds
        count = partial(spent.count, images.decode, data, recipe.height, recipe.width, *limits, self._memory.share)
        decode = partial(_timed, count)
        try:
            pixels, seconds = (
                _at_once(decode, turns) if here and images.quick(data) else await self._aside(decode, turns)
            )
        except ServiceError as error:
            hint = _BASE64_HINT if _BASE64.match(data) else ""
            raise error.copy(error.message + hint, row=row) from error
        self._image += _NEWEST * (seconds - self._image)
        return pixels

    async def _aside(self, decode: Callable[[], _Decoded], turns: Turns) -> _Decoded:
        loop = asyncio.get_running_loop()

        def done(_: Future[_Decoded]) -> None:
            with suppress(RuntimeError):  # the loop is closed: it was the service's last image
                loop.call_soon_threadsafe(turns.leave)

        work = self._threads.submit(decode)
        work.add_done_callback(done)  # a thread goes on where its caller has left, and is not free before it is done
        try:
            return await asyncio.wrap_future(work)
        finally:
            del work  # its error leads back here, and the image would stay until a collection


class _Spent:
    """Seconds of processor time that the images of one request have taken."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def count(self, decode: Callable[..., Pixels], *given: object) -> Pixels:
        began = time.thread_time()
        try:
            return decode(*given)
        finally:
            self.seconds += time.thread_time() - began


def _timed(decode: Callable[[], Pixels]) -> _Decoded:
    """Where it runs: what the event loop is late by in taking the pixels is no cost of theirs."""
    began = time.monotonic()
    pixels = decode()
    return pixels, time.monotonic() - began


def _at_once(decode: Callable[[], _Decoded], turns: Turns) -> _Decoded:
    try:
        return decode()
    finally:
        turns.leave()


def complete(manifest: Manifest, request: PredictRequest, outputs: Tensors) -> Tensors:
    """The outputs asked for, in the signature's order; labels are the manifest's where no graph gave them."""
    declared = manifest.signature(request.signature).outputs
    wanted = [alias for alias in declared if not request.outputs or alias in request.outputs]
    found = dict(outputs)
    if CLASSES in wanted and CLASSES not in found:
        rows = len(next(iter(outputs.values())))
        labels = strings([label.encode() for label in manifest.labels])
        found[CLASSES] = np.broadcast_to(labels, (rows, len(labels)))
    return {alias: found[alias] for alias in wanted}


def _aliased(signature: Signature, name: str, inputs: Tensors) -> Tensors:
    """The inputs under the signature's own names; a lone one keyed "" is the signature's only one."""
    if set(inputs) == {""} and signature.only_input is not None:
        return {signature.only_input: inputs[""]}
    if set(inputs) != set(signature.inputs):
        raise InvalidInput(f"signature {name!r} takes the inputs {sorted(signature.inputs)}, got {listed(inputs)}")
    return inputs


def _check_outputs(signature: Signature, name: str, outputs: tuple[str, ...]) -> None:
    if unknown := [alias for alias in outputs if alias not in signature.outputs]:
        raise InvalidInput(f"signature {name!r} has no output {unknown[0]!r:.70}; it has {sorted(signature.outputs)}")
    if len(set(outputs)) < len(outputs):
        raise InvalidInput(f"an output is asked for twice: {listed(outputs)}")


def _shared(signature: Signature, inputs: Tensors) -> bool:
    """True where dim 0 of every input counts the rows, so that requests may share a batch."""
    if not inputs or not all(spec.batched for spec in signature.inputs.values()):
        return False
    return all(array.ndim > 0 for array in inputs.values()) and len({len(array) for array in inputs.values()}) == 1

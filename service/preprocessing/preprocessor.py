"""Turns a request into a run of the model: resolves names, decodes images, checks arrays.

Models take turns at the decoding threads: a thousand images that wait for one model do not hold up another model's one.
"""

import asyncio
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from service.errors import InvalidInput, Overloaded, ServiceError, TooLarge, listed
from service.host.fair_queue import Places, Turns
from service.host.priority import give_way
from service.plurals import format_items
from service.preprocessing import decode as images
from service.preprocessing.headers import Header
from service.preprocessing.limits import DEFAULT_LIMITS, ImageLimits
from service.preprocessing.memory import DecodingMemory
from service.repository.manifest import CLASSES, FEATURES, IMAGE_FEATURES, Manifest, Preprocessing, Signature
from service.types import DEFAULT_SIGNATURE, Array, Pixels, PredictRequest, Tensors, strings

_BASE64 = re.compile(rb"\s*(data:[^,]{0,200},|[A-Za-z0-9+/_-]{32})")
_BASE64_HINT = (
    '; it looks like base64: in JSON send {"b64": "..."}, in the Open Inference Protocol with the tensor\'s parameter '
    '"content_type": "base64"; elsewhere the file itself'
)
_NEWEST = 0.05  # weight of the newest image in the average
_IMAGES_A_REQUEST = 20  # times the decoding time that one image may take

_Decoded = tuple[Pixels, float]
"""An image, and the seconds that its decoding took in its thread."""

_Size = tuple[int | None, int | None]
"""Rows and columns to decode to; None is the image's own."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`max_rows` bounds one request and `image` one image. `max_bytes` bounds the encoded images that await decoding.
    `max_memory` bounds, in bytes, what all decoding takes at a time.
    """

    max_rows: int
    max_bytes: int
    max_memory: int = 512 * 10**6
    image: ImageLimits = DEFAULT_LIMITS


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

    A request's only image, if it is tiny, is decoded on the event loop: while both want Python's lock, two threads pass
    it on some 3 ms late each (lenet5, 2 cores). With one core a second thread gains nothing and costs two switches, and
    so is a small JPEG.
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
        self._image = 0.0  # seconds that one image takes, on average

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    @property
    def ahead(self) -> float:
        """Seconds until an image that comes now is expected to be decoded."""
        waiting = sum(map(len, self._turns.values()))
        return self._image * (1 + waiting / self._places.places)

    async def prepare(self, manifest: Manifest, request: PredictRequest) -> Prepared:
        """Raises UnknownSignature, InvalidInput or TooLarge."""
        name = request.signature or DEFAULT_SIGNATURE
        signature = manifest.signature(name)
        inputs = _name_inputs(signature, name, request.inputs)
        _check_outputs(signature, name, request.outputs)
        outputs, decode = request.outputs, 0.0
        began = time.monotonic()
        if recipe := manifest.decodes(name):
            inputs = await self._decode(manifest, recipe, signature, inputs)
            decode = time.monotonic() - began
            wanted, name = outputs or tuple(signature.outputs), recipe.image_signature
            signature = manifest.signature(name)
            computed = tuple(alias for alias in wanted if alias in signature.outputs)
            outputs = computed if outputs or len(computed) < len(signature.outputs) else ()
        elif not manifest.checked and set(request.inputs) == {""} and _lacks_pixels(signature, inputs):
            inputs = await self._decode_to_shape(manifest, signature, inputs)
            decode = time.monotonic() - began
        if request.features:
            name, signature, inputs = _add_features(manifest, name, inputs)
            outputs = (*outputs, FEATURES) if outputs else ()
        self._check(manifest, signature, inputs)
        if twin := manifest.twins.get(name):
            name, outputs = twin, ()
            signature, inputs = manifest.signature(twin), _rename(inputs, manifest.signature(twin))
        # Sorted: requests for the same outputs in another order share a batch.
        return Prepared(name, inputs, tuple(sorted(outputs)), _shares_batch(signature, inputs), decode)

    def _check(self, manifest: Manifest, signature: Signature, inputs: Tensors) -> None:
        for alias, array in inputs.items():
            spec = signature.inputs[alias]
            if manifest.checked:
                spec.check(alias, array)
            elif manifest.definitions:  # a graph, which TensorFlow runs, here or upstream
                spec.check_foreign(alias, array)
            else:  # LiteRT refuses by itself what it cannot run
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
        pixels = await self._decode_rows(manifest, alias, encoded, (recipe.height, recipe.width))
        target = manifest.signature(recipe.image_signature).only_input
        assert target is not None  # our exports have exactly one
        return {target: _stack(pixels)}

    async def _decode_to_shape(self, manifest: Manifest, signature: Signature, inputs: Tensors) -> Tensors:
        """Pixels in the shape that the graph declares, each open side of it as long as the image's own."""
        ((alias, encoded),) = inputs.items()
        shape = signature.inputs[alias].shape
        assert shape is not None
        if shape[0] is not None and len(encoded) != shape[0]:
            raise InvalidInput(f"the model takes {format_items(shape[0], 'image')} a request, got {len(encoded)}")
        pixels = await self._decode_rows(manifest, alias, encoded, (shape[1], shape[2]))
        if len(sizes := {image.shape[:2] for image in pixels}) > 1:
            given = listed([f"{width}x{height}" for height, width in sizes])
            raise InvalidInput(
                f"this model takes images of one size in a request, got {given}; send each in a request of its own"
            )
        return {alias: _stack(pixels)}

    async def _decode_rows(self, manifest: Manifest, alias: str, encoded: Array, target: _Size) -> list[Pixels]:
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
            return await self._pixels(turns, target, encoded)
        finally:
            self._bytes -= size

    async def _pixels(self, turns: Turns, target: _Size, encoded: Array) -> list[Pixels]:
        if len(encoded) == 1:
            if (header := images.read_tiny(encoded[0])) is not None:
                return [self._decode_tiny(target, encoded[0], header)]
            return [await self._decode_row(turns, target, 0, encoded[0], self._alone, _Spent())]
        spent = _Spent()
        rows = [  # never here: several would hold up the event loop
            asyncio.ensure_future(self._decode_row(turns, target, row, data, False, spent))
            for row, data in enumerate(encoded)
        ]
        try:
            return await asyncio.gather(*rows)
        finally:
            while rows:  # one bad image fails the request: the others are cancelled, and none keeps its bytes
                rows.pop().cancel()

    async def _decode_row(
        self, turns: Turns, target: _Size, row: int, data: bytes, here: bool, spent: "_Spent"
    ) -> Pixels:
        await turns.take(self._image)
        most = _IMAGES_A_REQUEST * self._limits.image.max_milliseconds / 1000
        if spent.seconds > most:
            turns.leave()
            raise TooLarge(
                f"the images of one request may take {most:g} s to decode, {_IMAGES_A_REQUEST} times what one image "
                "may (--max-decode-ms); send fewer images per request",
                row=row,
            )
        header = images.read_quick(data) if here else None
        work = partial(self._decode_timed, target, data, header, spent)
        with _naming_row(row, data):
            pixels, seconds = await self._run(work, turns, header is not None)
        self._image += _NEWEST * (seconds - self._image)
        return pixels

    def _decode_tiny(self, target: _Size, data: bytes, header: Header) -> Pixels:
        """On this thread, which must not wait for memory: a tiny image takes none worth counting."""
        began = time.monotonic()
        with _naming_row(0, data):
            pixels = images.decode(data, *target, self._limits.image, header=header)
        self._image += _NEWEST * (time.monotonic() - began - self._image)
        return pixels

    def _decode_timed(self, target: _Size, data: bytes, header: Header | None, spent: "_Spent") -> _Decoded:
        """Timed where it runs: a late event loop adds nothing to an image's cost."""
        began, processor = time.monotonic(), time.thread_time()
        try:
            pixels = images.decode(data, *target, self._limits.image, self._memory.share, header)
            return pixels, time.monotonic() - began
        finally:
            spent.seconds += time.thread_time() - processor

    async def _run(self, work: Callable[[], _Decoded], turns: Turns, here: bool) -> _Decoded:
        """What `work` returns, on this thread (`here`) or a decoding thread. Leaves `turns` when `work` ends."""
        if here:
            try:
                return work()
            finally:
                turns.leave()
        loop = asyncio.get_running_loop()

        def leave(_: Future[_Decoded]) -> None:
            with suppress(RuntimeError):  # the loop is closed: it was the service's last image
                loop.call_soon_threadsafe(turns.leave)

        future = self._threads.submit(work)
        future.add_done_callback(leave)  # a cancelled caller does not free the thread
        try:
            return await asyncio.wrap_future(future)
        finally:
            del future  # its error leads back here, and the image would stay until a collection


@dataclass(slots=True)
class _Spent:
    """Seconds of processor time that the images of one request have taken."""

    seconds: float = 0.0


@contextmanager
def _naming_row(row: int, data: bytes) -> Iterator[None]:
    """An error about an image says which one it is, and what it looks like."""
    try:
        yield
    except ServiceError as error:
        hint = _BASE64_HINT if _BASE64.match(data) else ""
        raise error.copy(error.message + hint, row=row) from error


def _add_features(manifest: Manifest, name: str, inputs: Tensors) -> tuple[str, Signature, Tensors]:
    """The signature that takes what `name` does and gives features too. Raises UnknownSignature or InvalidInput."""
    manifest.check_features()
    recipe = manifest.preprocessing
    if recipe is None or IMAGE_FEATURES not in manifest.signatures or name != recipe.image_signature:
        raise InvalidInput(
            f"signature {name!r} gives no features beside its outputs: send images, or ask the signature {FEATURES!r}"
        )
    signature = manifest.signature(IMAGE_FEATURES)
    return IMAGE_FEATURES, signature, _rename(inputs, signature)


def _rename(inputs: Tensors, signature: Signature) -> Tensors:
    """The only input under the signature's own name."""
    (array,), alias = inputs.values(), signature.only_input
    assert alias is not None  # our exports have exactly one
    return {alias: array}


def complete(manifest: Manifest, request: PredictRequest, outputs: Tensors) -> Tensors:
    """The outputs asked for, in the signature's order; labels are the manifest's where no graph gave them."""
    declared = manifest.signature(request.signature).outputs
    wanted = [alias for alias in declared if not request.outputs or alias in request.outputs]
    if request.features:
        wanted.append(FEATURES)
    found = dict(outputs)
    if CLASSES in wanted and CLASSES not in found:
        rows = len(next(iter(outputs.values())))
        found[CLASSES] = np.broadcast_to(_encode_labels(manifest.labels), (rows, len(manifest.labels)))
    return {alias: found[alias] for alias in wanted}


@lru_cache(maxsize=16)
def _encode_labels(labels: tuple[str, ...]) -> Array:
    """Kept: a thousand labels take 50 us, a tenth of what Python does for a request."""
    return strings([label.encode() for label in labels])


def _name_inputs(signature: Signature, name: str, inputs: Tensors) -> Tensors:
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


def _lacks_pixels(signature: Signature, inputs: Tensors) -> bool:
    """Whether encoded images are given to a signature whose only input is uint8 RGB, [N, height, width, 3]."""
    if len(inputs) != 1 or signature.only_input is None:
        return False
    spec, array = signature.inputs[signature.only_input], inputs[signature.only_input]
    shape = spec.shape or ()
    return array.dtype == object and spec.dtype == "uint8" and len(shape) == 4 and shape[3] in (3, None)


def _stack(pixels: list[Pixels]) -> Array:
    return pixels[0][np.newaxis] if len(pixels) == 1 else np.stack(pixels)


def _shares_batch(signature: Signature, inputs: Tensors) -> bool:
    """True where dim 0 of every input counts the rows, so that requests may share a batch."""
    if not inputs or not all(spec.batched for spec in signature.inputs.values()):
        return False
    return all(array.ndim > 0 for array in inputs.values()) and len({len(array) for array in inputs.values()}) == 1

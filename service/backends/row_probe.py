"""Shows that a model answers row for row, before requests share a batch.

Declared shapes promise rows; only a run shows them. Two different rows run apart, then two and three rows run together
in other orders. A model whose answer to a row then differs computes across rows.
"""

import asyncio
import io
from collections.abc import Iterable, Iterator, Mapping
from math import prod

import numpy as np
from PIL import Image

from service.backends.base import Runner
from service.backends.batch_sharing import find_mismatch
from service.errors import DeadlineExceeded, NotReady, Overloaded, ServiceError
from service.repository.manifest import STRING, Signature, TensorSpec
from service.types import DEFAULT_SIGNATURE, Array, Tensors

_SECONDS = 10.0  # for all signatures of a version
_PAUSE = 0.2  # seconds until an upstream that is not ready gets the next try
_OPEN = 96  # the size tried for an open inner dimension: enough for the pooling of an image network
_MOST_VALUES = 2**22  # of a generated row
_ROUNDING = 0.01  # of a row's largest value: batch sizes differ in their kernels, on GPUs in TF32 or bfloat16
_MOST_TEXT = 160  # characters of a model's own message
_ADVICE = "warm-up requests can show that it answers row for row"

Examples = Iterable[tuple[str, Tensors]]


def find_declared(signatures: Mapping[str, Signature]) -> dict[str, str]:
    """Signatures whose declared shapes make their requests run alone -> the reason."""
    return {name: signature.fixed for name, signature in signatures.items() if signature.fixed}


async def probe_rows(
    runner: Runner, signatures: Mapping[str, Signature], examples: Examples = (), seconds: float = _SECONDS
) -> dict[str, str]:
    """Signatures that are not shown to answer row for row within `seconds` -> the reason. Their requests run alone.

    `examples` are requests of (signature, inputs); their rows are used before generated ones. Raises nothing but
    cancellation: a model that refuses the rows is served all the same.
    """
    unshared, examples = find_declared(signatures), list(examples)
    until = asyncio.get_running_loop().time() + seconds
    for name in sorted(signatures.keys() - unshared.keys(), key=lambda name: (name != DEFAULT_SIGNATURE, name)):
        given = [inputs for other, inputs in examples if other == name]
        try:
            async with asyncio.timeout_at(until):
                reason = await _find_reason(runner, name, signatures[name], given)
        except TimeoutError:
            reason = f"the probe did not end within {seconds:g} s"
        if reason:
            unshared[name] = reason
    return unshared


async def _find_reason(runner: Runner, name: str, signature: Signature, examples: list[Tensors]) -> str:
    """Empty where rows come back row for row."""
    pair = _two_rows(signature, examples)
    if pair is None:
        return f"no two rows to probe it with are known; {_ADVICE}"
    try:
        apart = [await _run(runner, name, row) for row in pair]
        for outputs in apart:
            if wrong := find_mismatch(outputs, 1):
                return wrong
        for order in ((0, 1), (1, 0, 1)):  # three too: some models treat a pair like a lone row
            inputs = {alias: np.concatenate([pair[row][alias] for row in order]) for alias in pair[0]}
            together = await _run(runner, name, inputs)
            if wrong := find_mismatch(together, len(order)):
                return wrong
            for place, row in enumerate(order):
                for alias, alone in apart[row].items():
                    if not _same(alone, together[alias][place : place + 1]):
                        return f"output {alias!r} of a row depends on the other rows of its batch"
    except Exception as error:  # whatever a model or its engine makes of generated rows
        message = error.message if isinstance(error, ServiceError) else repr(error)
        return f"the probe failed: {message[:_MOST_TEXT]}; {_ADVICE}"
    return ""


async def _run(runner: Runner, name: str, inputs: Tensors) -> Tensors:
    while True:
        try:
            return await runner.run(name, inputs, (), None)
        except (NotReady, Overloaded, DeadlineExceeded):  # passing trouble of the upstream, not of the model
            await asyncio.sleep(_PAUSE)


def _same(one: Array, other: Array) -> bool:
    if one.shape != other.shape or one.dtype.kind != "f":
        return np.array_equal(one, other)
    one, other = one.astype(np.float64), other.astype(np.float64)
    largest = float(np.abs(one[np.isfinite(one)]).max(initial=0.0))
    return np.allclose(one, other, rtol=0.0, atol=_ROUNDING * largest, equal_nan=True)


def _two_rows(signature: Signature, examples: list[Tensors]) -> tuple[Tensors, Tensors] | None:
    """Two different rows that fit into one batch: examples where there are any, else generated."""
    known = list(_rows(signature, examples))
    first = known[0] if known else _generate_row(signature, 0, None)
    if first is None:
        return None
    others = [*known[1:], *filter(None, (_generate_row(signature, number, first) for number in (1, 0)))]
    return next(((first, other) for other in others if _fits(first, other) and _differs(first, other)), None)


def _rows(signature: Signature, examples: list[Tensors]) -> Iterator[Tensors]:
    for inputs in examples:
        arrays = list(inputs.values())
        if inputs.keys() != signature.inputs.keys() or not all(array.ndim for array in arrays):
            continue
        for row in range(min(map(len, arrays))):
            yield {alias: array[row : row + 1] for alias, array in inputs.items()}


def _fits(one: Tensors, other: Tensors) -> bool:
    return all(array.shape == other[alias].shape and array.dtype == other[alias].dtype for alias, array in one.items())


def _differs(one: Tensors, other: Tensors) -> bool:
    return any(not np.array_equal(array, other[alias]) for alias, array in one.items())


def _generate_row(signature: Signature, number: int, like: Tensors | None) -> Tensors | None:
    """Row 0 or 1, in the shapes of `like`; None where it would be too large, or NumPy lacks its dtype."""
    shapes = {
        alias: like[alias].shape if like else (1, *(_OPEN if size is None else size for size in (spec.shape or ())[1:]))
        for alias, spec in signature.inputs.items()
    }
    if sum(map(prod, shapes.values())) > _MOST_VALUES:
        return None
    chance = np.random.default_rng(number)
    try:
        return {alias: _generate(spec, shapes[alias], number, chance) for alias, spec in signature.inputs.items()}
    except TypeError:
        return None


def _generate(spec: TensorSpec, shape: tuple[int, ...], number: int, chance: np.random.Generator) -> Array:
    if spec.dtype == STRING:  # most inputs of strings are images
        array = np.empty(shape, object)
        array.fill(_encode_png(chance))
        return array
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":  # two scales: what leaks from one row into the other is large
        return (chance.random(shape) * (255.0 if number else 1.0)).astype(dtype)
    if dtype.itemsize == 1 and dtype.kind in "iu":
        return (chance.integers(0, 60, shape) + 60 * number).astype(dtype)
    # Integers may be indices: small ones, 0 1 0 1 or all 1.
    return (np.arange(prod(shape)).reshape(shape) % 2 | number).astype(dtype)


def _encode_png(chance: np.random.Generator) -> bytes:
    """8x8 pixels of noise, RGB."""
    file = io.BytesIO()
    Image.fromarray(chance.integers(0, 256, (8, 8, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()

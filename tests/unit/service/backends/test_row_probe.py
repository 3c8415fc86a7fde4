"""What is shown to answer row for row shares batches; what is not, or cannot be shown, never does."""

import asyncio
from collections.abc import Callable
from itertools import count

import numpy as np
import pytest

from service.backends import row_probe
from service.backends.fake import FakeRunner, double
from service.errors import BackendFailed, InvalidInput, Overloaded
from service.repository.manifest import Signature, TensorSpec
from service.types import Array, Tensors, strings

Shape = tuple[int | None, ...] | None


def signature(dtype: str = "float32", shape: Shape = (None, 4), output: Shape = (None, 4)) -> Signature:
    return Signature({"x": TensorSpec(dtype, shape)}, {"y": TensorSpec("float32", output)})


def answering(y: Callable[[Array], Array]) -> FakeRunner:
    async def compute(signature: str, inputs: Tensors) -> Tensors:
        return {"y": y(inputs["x"])}

    return FakeRunner(compute)


async def reason(runner: FakeRunner, asked: Signature | None = None, *examples: Tensors, seconds: float = 5.0) -> str:
    given = [("s", inputs) for inputs in examples]
    found = await row_probe.probe_rows(runner, {"s": asked or signature()}, given, seconds)
    return found.get("s", "")


def softmax(x: Array, axis: int) -> Array:
    powers = np.exp(x / 255)
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True))


def rounded_by_batch(x: Array) -> Array:
    """As on hardware that computes other batch sizes by other kernels."""
    return np.asarray((x * (1 + 1e-4 * len(x))).astype(np.float32))


BY_ROW: dict[str, Callable[[Array], Array]] = {
    "itself": lambda x: x,
    "softmax of each row": lambda x: softmax(x, 1),
    "most probable": lambda x: x.argmax(axis=1),
    "rounded by batch": rounded_by_batch,
    "not a number": lambda x: np.where(x > 0.5, np.nan, np.inf),
    "names": lambda x: strings([b"%.3f" % row[0] for row in x]),
}
ACROSS: dict[str, Callable[[Array], Array]] = {
    "softmax of each column": lambda x: softmax(x, 0),
    "less the mean": lambda x: x - x.mean(axis=0),
    "a little of the mean": lambda x: x + 0.001 * x.mean(axis=0),
    "times the largest": lambda x: x / x.max(),
    "sorted": lambda x: np.sort(x, axis=0),
    "turned round": lambda x: x[::-1],
    "all before": lambda x: np.cumsum(x, axis=0),
    "the first everywhere": lambda x: np.repeat(x[:1], len(x), axis=0),
    "most probable of all": lambda x: np.full(len(x), x.argmax()),
    "less the mean of three and more": lambda x: x - x.mean(axis=0) if len(x) > 2 else x,
    "names by place": lambda x: strings([b"%d" % row for row in range(len(x))]),
}
NO_ROWS: dict[str, Callable[[Array], Array]] = {
    "a scalar": lambda x: np.asarray(2.5),
    "always two": lambda x: np.zeros((2, 3)),
    "always one": lambda x: np.zeros((1, 3)),
    "the first two": lambda x: x[:2],
    "twice as many": lambda x: np.repeat(x, 2, axis=0),
    "flat": lambda x: x.ravel(),
    "the first only": lambda x: x[:1],
    "those above one": lambda x: x[x[:, 0] > 1],
}


@pytest.mark.parametrize("name", BY_ROW)
async def test_what_answers_row_for_row_shares_batches(name: str) -> None:
    assert await reason(answering(BY_ROW[name])) == ""


@pytest.mark.parametrize("name", ACROSS)
async def test_what_computes_across_rows_never_does(name: str) -> None:
    assert "other rows" in await reason(answering(ACROSS[name]))


@pytest.mark.parametrize("name", NO_ROWS)
async def test_what_gives_something_else_than_rows_never_does(name: str) -> None:
    assert "'y' has shape" in await reason(answering(NO_ROWS[name]))


async def test_what_has_a_state_never_does() -> None:
    counter = count()
    assert "other rows" in await reason(answering(lambda x: x + next(counter)))


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (signature(output=(10,)), "output 'y'"),
        (signature(output=(1, 10)), "output 'y'"),
        (signature(output=()), "output 'y'"),
        (signature(output=None), "output 'y'"),
        (signature(shape=(1, 4)), "input 'x'"),
        (signature(shape=None), "input 'x'"),
        (Signature({}, {"y": TensorSpec("float32", (None,))}), "no inputs"),
    ],
)
async def test_what_declares_no_rows_is_not_even_asked(asked: Signature, says: str) -> None:
    runner = FakeRunner()
    assert says in await reason(runner, asked) and runner.calls == []


@pytest.mark.parametrize("shape", [(None,), (None, 1), (None, 2, 2), (None, None, None, 3)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint8", "int32", "int64", "bool"])
async def test_rows_are_made_up_for_every_number(dtype: str, shape: Shape) -> None:
    seen: list[Array] = []

    async def compute(signature: str, inputs: Tensors) -> Tensors:
        seen.append(inputs["x"])
        return {"y": inputs["x"]}

    assert await reason(FakeRunner(compute), signature(dtype, shape)) == ""
    one, other = seen[:2]
    assert one.dtype == np.dtype(dtype) and one.ndim == len(shape or ()) and not np.array_equal(one, other)
    assert sorted(map(len, seen)) == [1, 1, 2, 3]


@pytest.mark.parametrize("dtype", ["DT_BFLOAT16", "DT_QINT8"])
async def test_what_nobody_can_make_up_is_not_believed(dtype: str) -> None:
    assert "warm-up requests" in await reason(FakeRunner(), signature(dtype))


async def test_huge_rows_are_not_made_up() -> None:
    assert "no two rows" in await reason(FakeRunner(), signature(shape=(None, 100_000, 100_000)))


async def test_a_model_that_refuses_made_up_rows_is_believed_its_warm_up_requests() -> None:
    async def compute(name: str, inputs: Tensors) -> Tensors:
        if any(not text.startswith(b"good") for text in inputs["x"]):
            raise InvalidInput("bad text, and much more of it " * 100)
        return {"y": np.asarray([[float(text[4:])] for text in inputs["x"]])}

    asked = signature("string", (None,))
    refused = await reason(FakeRunner(compute), asked)
    assert "bad text" in refused and "warm-up requests" in refused and len(refused) < 300
    one, two = {"x": strings([b"good1"])}, {"x": strings([b"good1", b"good2"])}
    assert await reason(FakeRunner(compute), asked, one, two) == ""
    assert "bad text" in await reason(FakeRunner(compute), asked, one, one), "one row shows nothing"


async def test_examples_that_are_no_requests_do_no_harm() -> None:
    examples: list[Tensors] = [{}, {"z": np.zeros(3)}, {"x": np.asarray(1.0)}, {"x": np.zeros((0, 4), np.float32)}]
    assert await reason(answering(lambda x: x), None, *examples) == ""


@pytest.mark.parametrize("error", [InvalidInput("no"), BackendFailed("no"), RuntimeError("no"), KeyError("no")])
async def test_a_model_that_only_takes_one_row_or_fails_is_served_and_never_shares(error: Exception) -> None:
    async def compute(name: str, inputs: Tensors) -> Tensors:
        if len(inputs["x"]) > 1:
            raise error
        return await double(name, inputs)

    assert "no" in await reason(FakeRunner(compute))


async def test_a_probe_ends_in_time_whatever_the_model_does() -> None:
    async def hangs(name: str, inputs: Tensors) -> Tensors:
        await asyncio.Event().wait()
        raise AssertionError

    runner = FakeRunner(hangs, slots=1)
    found = await asyncio.wait_for(row_probe.probe_rows(runner, {"a": signature(), "b": signature()}, seconds=0.05), 5)
    assert set(found) == {"a", "b"} and "0.05 s" in found["a"] and runner.running == 0


async def test_an_upstream_that_is_busy_is_asked_again() -> None:
    trouble: list[Exception] = [Overloaded("later")]

    async def compute(name: str, inputs: Tensors) -> Tensors:
        if trouble:
            raise trouble.pop()
        return {"y": inputs["x"]}

    assert await reason(FakeRunner(compute)) == ""


async def test_cancelling_ends_a_probe() -> None:
    began = asyncio.Event()

    async def hangs(name: str, inputs: Tensors) -> Tensors:
        began.set()
        await asyncio.Event().wait()
        raise AssertionError

    task: asyncio.Task[dict[str, str]] = asyncio.create_task(
        row_probe.probe_rows(FakeRunner(hangs), {"s": signature()})
    )
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

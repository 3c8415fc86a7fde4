import asyncio

import numpy as np
import pytest

from service.backends.base import Loaded
from service.backends.fake import FakeRunner
from service.errors import InvalidInput, TooLarge
from service.models import zero_shot
from service.models.zero_shot import LabelEmbeddings
from service.repository.manifest import (
    IMAGE_EMBEDDING,
    PROBABILITIES,
    SIGMOID,
    TEXT_EMBEDDING,
    TOKENS,
    Manifest,
    Signature,
    TensorSpec,
    ZeroShot,
)
from service.routing.router import Router
from service.types import (
    DEFAULT_SIGNATURE,
    MOST_LABELS,
    Array,
    CandidateLabels,
    ModelRef,
    PredictRequest,
    PredictResult,
    Tensors,
)
from tests.support.routing_world import World, context, says

MERGES = (("a", "t</w>"), ("c", "at</w>"))


class Encoder:
    """Embeds a text as the number of its tokens, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Array] = []

    async def __call__(self, tokens: Array) -> Array:
        self.asked.append(tokens)
        return np.stack([(tokens > 0).sum(axis=1), np.zeros(len(tokens))], axis=1).astype(np.float32)


def labels(*names: str, template: str = "{}") -> CandidateLabels:
    return CandidateLabels(names, template)


async def test_a_label_set_is_embedded_once() -> None:
    embeddings, encoder = LabelEmbeddings(ZeroShot(1.0, context=8), MERGES), Encoder()
    first = await embeddings.embed(labels("cat", "dog"), encoder)
    assert (await embeddings.embed(labels("cat", "dog"), encoder)) is first
    assert len(encoder.asked) == 1
    np.testing.assert_array_equal(encoder.asked[0], [[514, 513, 515, 0, 0, 0, 0, 0], [514, 67, 78, 326, 515, 0, 0, 0]])
    for other in (labels("dog", "cat"), labels("cat", "dog", template="a {}"), labels("cat")):
        await embeddings.embed(other, encoder)
    assert len(encoder.asked) == 4


async def test_the_label_sets_that_were_asked_of_last_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zero_shot, "_KEPT", 3)
    embeddings, encoder = LabelEmbeddings(ZeroShot(1.0, context=8), MERGES), Encoder()
    for names in (["a"], ["b"], ["a"], ["c", "d"], ["a"], ["b"]):
        await embeddings.embed(labels(*names), encoder)
    assert [len(tokens) for tokens in encoder.asked] == [1, 1, 2, 1]
    await embeddings.embed(labels("e", "f", "g", "h"), encoder)
    await embeddings.embed(labels("e", "f", "g", "h"), encoder)
    assert len(encoder.asked) == 5


async def test_what_fails_is_not_kept() -> None:
    embeddings, encoder = LabelEmbeddings(ZeroShot(1.0, context=8), MERGES), Encoder()

    async def fail(tokens: Array) -> Array:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await embeddings.embed(labels("cat"), fail)
    await embeddings.embed(labels("cat"), encoder)
    assert len(encoder.asked) == 1


async def test_a_label_that_is_too_long_is_named() -> None:
    embeddings, encoder = LabelEmbeddings(ZeroShot(1.0, context=4), MERGES), Encoder()
    with pytest.raises(
        InvalidInput, match=r"label 1: 'cat cat cat'\.\.\. is too long: expected at most 4 tokens"
    ) as caught:
        await embeddings.embed(labels("cat", "cat cat cat"), encoder)
    assert caught.value.detail["label"] == 1
    assert not encoder.asked


def test_a_softmax_shares_one_probability_among_the_labels() -> None:
    embeddings = LabelEmbeddings(ZeroShot(100.0), MERGES)
    images = np.array([[1, 0], [0.6, 0.8], [0, 1]], np.float32)
    texts = np.array([[1, 0], [0, 1]], np.float32)
    found = embeddings.compare(images, texts)
    assert found.dtype == np.float32 and found.shape == (3, 2)
    np.testing.assert_allclose(found[1, 1], 1 / (1 + np.exp(-20.0)), rtol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)


def test_a_sigmoid_judges_each_label_by_itself() -> None:
    embeddings = LabelEmbeddings(ZeroShot(10.0, -5.0, SIGMOID), MERGES)
    found = embeddings.compare(np.array([[0.8, 0.6]], np.float32), np.array([[1, 0], [0, 1], [-1, 0]], np.float32))
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-np.array([[3.0, 1.0, -13.0]]))), rtol=1e-5)


def test_there_are_as_many_labels_as_a_request_may_bring() -> None:
    names = tuple(map(str, range(MOST_LABELS + 1)))
    CandidateLabels(names[1:])
    with pytest.raises(TooLarge, match="1,001 labels are too many: send at most 1,000"):
        CandidateLabels(names)


@pytest.mark.parametrize(
    ("names", "template", "message"),
    [
        ((), "{}", "labels is empty"),
        (("a", " "), "{}", "label 1 is blank"),
        (("a", "b", "a"), "{}", "label 'a' is given twice"),
        (("a",), "a photo", "invalid template"),
    ],
)
def test_labels_that_say_nothing_are_refused(names: tuple[str, ...], template: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        CandidateLabels(names, template)


@pytest.mark.parametrize(
    "fields", [{"scale": np.inf}, {"scale": 1.0, "activation": "tanh"}, {"scale": 1.0, "context": 2}]
)
def test_a_head_that_makes_no_probabilities_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        ZeroShot(**fields)  # type: ignore[arg-type]


FIRST, SECOND = [1.0, 0.0], [0.0, 1.0]


async def encode(signature: str, inputs: Tensors) -> Tensors:
    """Images are embedded as they are, and a text as `FIRST` where it begins with a cat."""
    if signature == "text":
        begins = np.where(inputs[TOKENS][:, 1:2] == 513, FIRST, SECOND)
        return {TEXT_EMBEDDING: begins.astype(np.float32)}
    return {IMAGE_EMBEDDING: inputs["x"]}


def add_clip(world: World, name: str) -> FakeRunner:
    images = Signature({"x": TensorSpec("float32", (None, 2))}, {IMAGE_EMBEDDING: TensorSpec("float32", (None, 2))})
    texts = Signature({TOKENS: TensorSpec("int32", (None, 8))}, {TEXT_EMBEDDING: TensorSpec("float32", (None, 2))})
    manifest = Manifest(
        name, 1, {DEFAULT_SIGNATURE: images, "text": texts}, checked=True, zero_shot=ZeroShot(2.0, context=8)
    )
    runner = FakeRunner(encode)
    world.backend.versions[name, 1] = Loaded(manifest, runner, merges=MERGES)
    return runner


async def ask_clip(router: Router, name: str, candidates: CandidateLabels | None, signature: str = "") -> PredictResult:
    images = np.array([FIRST, SECOND], np.float32)
    inputs = {"x": images} if signature == "" else {TOKENS: np.zeros((2, 8), np.int32)}
    admission = await router.admit(context(), ModelRef(name))
    return await admission.predict(PredictRequest(inputs, signature, candidates=candidates))


async def test_a_route_answers_among_the_labels_of_a_request_and_runs_its_texts_once(world: World) -> None:
    runner = add_clip(world, "clip")
    router = await world.router("routes: {a: {target: gone, fallback: [clip]}}")
    for _ in range(2):
        result = await ask_clip(router, "a", labels("cat", "dog", "a cat"))
        assert result.labels == ("cat", "dog", "a cat") and set(result.outputs) == {PROBABILITIES}
    assert runner.calls == [3, 2, 2]
    near, far = np.exp(2.0), 1.0
    expected = np.array([[near, far, far], [far, near, near]])
    np.testing.assert_allclose(result.outputs[PROBABILITIES], expected / expected.sum(1, keepdims=True), rtol=1e-5)
    plain = await ask_clip(router, "clip", None)
    assert set(plain.outputs) == {IMAGE_EMBEDDING} and plain.labels == ()


async def test_labels_are_refused_where_nothing_compares_them(world: World) -> None:
    add_clip(world, "clip")
    own = world.add("own", says(0.9))
    router = await world.router("routes: {}")
    with pytest.raises(InvalidInput, match="model 'own' has labels of its own"):
        await ask_clip(router, "own", labels("cat"))
    with pytest.raises(InvalidInput, match="signature 'text' takes no images"):
        await ask_clip(router, "clip", labels("cat"), "text")
    assert own.calls == []

"""What TensorFlow Serving's REST API is asked and answers: the bodies of :predict, :classify and :regress."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from starlette.requests import Request

from service.manifest import Manifest
from service.messages import PredictRequest, Tensors
from service.rest import calls
from service.wire import examples, json_to_tensors, tensors_to_json
from service.wire.json_to_tensors import Document

_T = TypeVar("_T")

_LARGE_BODY = 2**18  # bytes past which reading JSON leaves the event loop to the others,
_LARGE_ANSWER = 2**13  # and numbers past which writing it does


@dataclass(frozen=True, slots=True)
class Verb:
    """`check` is what can be said of a body without its model. It and `ask` raise InvalidInput."""

    check: Callable[[Document], object]
    ask: Callable[[Document, Manifest], PredictRequest]
    write: Callable[[Document, Tensors], bytes]


def _ask_tensors(document: Document, manifest: Manifest) -> PredictRequest:
    name = json_to_tensors.signature_name(document)
    return PredictRequest(json_to_tensors.tensors(document, manifest.signature(name)), name)


def _write_tensors(document: Document, outputs: Tensors) -> bytes:
    by_rows = json_to_tensors.INSTANCES in document
    return tensors_to_json.predictions(outputs) if by_rows else tensors_to_json.columns(outputs)


def _ask_examples(method: str) -> Callable[[Document, Manifest], PredictRequest]:
    def ask(document: Document, manifest: Manifest) -> PredictRequest:
        name = json_to_tensors.signature_name(document)
        return examples.question(manifest, name, method, examples.from_json(document))

    return ask


def _write_classes(_: Document, outputs: Tensors) -> bytes:
    classes = examples.Classes.of(outputs)
    return tensors_to_json.classifications(classes.labels, classes.scores)


def _write_regressions(_: Document, outputs: Tensors) -> bytes:
    return tensors_to_json.regressions(examples.regressions(outputs))


VERBS = {
    "predict": Verb(lambda document: None, _ask_tensors, _write_tensors),
    "classify": Verb(examples.from_json, _ask_examples(examples.CLASSIFY), _write_classes),
    "regress": Verb(examples.from_json, _ask_examples(examples.REGRESS), _write_regressions),
}


class Body:
    """One request's body, taken off the wire when it is first needed."""

    def __init__(self, request: Request, verb: Verb) -> None:
        self._request, self._verb = request, verb
        self._document: Document | None = None
        self._large = False

    async def check(self) -> None:
        """Raises InvalidInput or TooLarge for what is wrong whatever the model is."""
        document = await self._parsed()
        await _aside(self._large, lambda: self._verb.check(document))

    async def read(self, manifest: Manifest) -> PredictRequest:
        document = await self._parsed()
        return await _aside(self._large, lambda: self._verb.ask(document, manifest))

    async def answer(self, outputs: Tensors) -> bytes:
        """The reply's text. Raises InvalidInput for outputs that this form of answer has no place for."""
        document = await self._parsed()
        large = sum(array.size for array in outputs.values()) > _LARGE_ANSWER
        return await _aside(large, lambda: self._verb.write(document, outputs))

    async def _parsed(self) -> Document:
        if self._document is None:
            body = await calls.body(self._request)
            self._large = len(body) > _LARGE_BODY
            self._document = await _aside(self._large, lambda: json_to_tensors.parse(body))
        return self._document


async def _aside(large: bool, work: Callable[[], _T]) -> _T:
    """In a thread where it takes long."""
    return await asyncio.to_thread(work) if large else work()

"""What TensorFlow Serving's REST API is asked and answers: the bodies of :predict, :classify and :regress."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from starlette.requests import Request

from service.api.http import large_json
from service.api.tfserving import examples
from service.api.tfserving.json_request import INSTANCES, Document, parse_document, read_signature_name, read_tensors
from service.api.tfserving.json_response import (
    render_classifications,
    render_columns,
    render_predictions,
    render_regressions,
)
from service.repository.manifest import Manifest
from service.types import PredictRequest, Tensors

_T = TypeVar("_T")

_LARGE_ANSWER = 2**13  # numbers past which writing JSON leaves the event loop to the others


@dataclass(frozen=True, slots=True)
class Verb:
    """`check` is what can be said of a body without its model. It and `ask` raise InvalidInput. `write` is told whether
    the question was asked by rows.
    """

    check: Callable[[Document], object]
    ask: Callable[[Document, Manifest], PredictRequest]
    write: Callable[[bool, Tensors], bytes]


def _ask_tensors(document: Document, manifest: Manifest) -> PredictRequest:
    name = read_signature_name(document)
    return PredictRequest(read_tensors(document, manifest.signature(name), manifest.checked), name)


def _write_tensors(by_rows: bool, outputs: Tensors) -> bytes:
    return render_predictions(outputs) if by_rows else render_columns(outputs)


def _ask_examples(method: str) -> Callable[[Document, Manifest], PredictRequest]:
    def ask(document: Document, manifest: Manifest) -> PredictRequest:
        name = read_signature_name(document)
        return examples.build_request(manifest, name, method, examples.read_json(document))

    return ask


def _write_classes(_: bool, outputs: Tensors) -> bytes:
    classes = examples.Classes.from_outputs(outputs)
    return render_classifications(classes.labels, classes.scores)


def _write_regressions(_: bool, outputs: Tensors) -> bytes:
    return render_regressions(examples.read_regressions(outputs))


VERBS = {
    "predict": Verb(lambda document: None, _ask_tensors, _write_tensors),
    "classify": Verb(examples.read_json, _ask_examples(examples.CLASSIFY), _write_classes),
    "regress": Verb(examples.read_json, _ask_examples(examples.REGRESS), _write_regressions),
}


class Body:
    """One request's body, taken off the wire when it is first needed. Of what it says no more is kept than the
    answer's form: the values of a large one are many times its bytes.
    """

    def __init__(self, request: Request, verb: Verb) -> None:
        self._request, self._verb = request, verb
        self._by_rows = False

    async def check(self) -> None:
        """Raises InvalidInput or TooLarge for what is wrong whatever the model is."""
        await self._read(self._verb.check)

    async def read(self, manifest: Manifest) -> PredictRequest:
        return await self._read(lambda document: self._verb.ask(document, manifest))

    async def answer(self, outputs: Tensors) -> bytes:
        """The reply's text. Raises InvalidInput for outputs that this form of answer has no place for."""
        if sum(array.size for array in outputs.values()) > _LARGE_ANSWER:
            return await asyncio.to_thread(self._verb.write, self._by_rows, outputs)
        return self._verb.write(self._by_rows, outputs)

    async def _read(self, work: Callable[[Document], _T]) -> _T:
        body = await self._request.body()

        def parse_and_work() -> _T:
            document = parse_document(body)
            self._by_rows = INSTANCES in document
            return work(document)

        return await large_json.read(len(body), parse_and_work)
